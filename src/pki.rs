//! From PEM texts to TLS configurations for dialling.

use crate::core::reason::Fault;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::sync::Arc;

/// Without a CA the platform's roots are taken. Errors name the request's field.
pub fn client_config(ca: &str, cert: &str, key: &str) -> Result<Arc<ClientConfig>, Fault> {
    let roots = if ca.is_empty() { platform_roots() } else { given_roots(ca)? };
    let builder = ClientConfig::builder().with_root_certificates(roots);
    if cert.is_empty() {
        return Ok(Arc::new(builder.with_no_client_auth()));
    }
    let chain: Vec<_> = CertificateDer::pem_slice_iter(cert.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| Fault::invalid("tls.client_cert", "is not PEM"))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|_| Fault::invalid("tls.client_key", "is not a PEM private key"))?;
    let config = builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| Fault::invalid("tls.client_cert", error.to_string()))?;
    Ok(Arc::new(config))
}

fn given_roots(ca: &str) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        let certificate = certificate.map_err(|_| Fault::invalid("tls.ca", "is not PEM"))?;
        roots.add(certificate).map_err(|error| Fault::invalid("tls.ca", error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(Fault::invalid("tls.ca", "holds no certificate"));
    }
    Ok(roots)
}

/// A platform without roots is no error here: a dial to a public server then says what is missing.
fn platform_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

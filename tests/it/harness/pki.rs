//! An authority of the test's own, and what it signs.

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub struct Pki {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The latest certificate that was made for the service: (chain, key).
    served: Mutex<Option<Identity>>,
}

#[derive(Clone)]
pub struct Identity {
    /// PEM.
    pub cert: String,
    pub key: String,
}

impl Pki {
    pub fn new() -> Arc<Self> {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are valid names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        Arc::new(Pki { issuer, served: Mutex::new(None) })
    }

    /// The authority's certificate, PEM.
    pub fn ca(&self) -> String {
        self.issuer.pem()
    }

    pub fn server(&self, name: &str) -> Identity {
        self.identity(name, ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub fn client(&self, name: &str) -> Identity {
        self.identity(name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn identity(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity { cert: cert.pem(), key: key.serialize_pem() }
    }

    /// The service's certificate and key, written into `folder`; the same until `renew`.
    pub fn server_files(&self, folder: &Path) -> (PathBuf, PathBuf) {
        let mut served = self.served.lock();
        let identity = served.get_or_insert_with(|| self.server("localhost"));
        write(folder, identity)
    }

    /// A new certificate in the same files; its leaf in DER, to be recognised.
    pub fn renew(&self, folder: &Path) -> Vec<u8> {
        let identity = self.server("localhost");
        write(folder, &identity);
        let leaf = der(&identity.cert);
        *self.served.lock() = Some(identity);
        leaf.to_vec()
    }

    pub fn client_config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(der(&self.ca())).expect("an authority");
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    /// For an upstream; with `ask`, it wants a client certificate of this authority.
    pub fn acceptor(&self, identity: &Identity, ask: bool) -> TlsAcceptor {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.expect("versions");
        let builder = if ask {
            let mut roots = RootCertStore::empty();
            roots.add(der(&self.ca())).expect("an authority");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key");
        let config = builder.with_single_cert(vec![der(&identity.cert)], key).expect("a certificate");
        TlsAcceptor::from(Arc::new(config))
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate in PEM")
}

fn write(folder: &Path, identity: &Identity) -> (PathBuf, PathBuf) {
    let (cert, key) = (folder.join("server.pem"), folder.join("server.key"));
    fs::write(&key, &identity.key).expect("the key is written");
    fs::write(&cert, &identity.cert).expect("the certificate is written");
    (cert, key)
}

/// With `h2` for gRPC, whose ports agree on the protocol by ALPN.
pub fn connector(config: &Arc<ClientConfig>, h2: bool) -> TlsConnector {
    let mut config = ClientConfig::clone(config);
    config.alpn_protocols = vec![if h2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    TlsConnector::from(Arc::new(config))
}

pub fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

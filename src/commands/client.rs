//! How the commands reach a running service: plain or TLS, HTTP/1.1 or gRPC.

use super::{Failure, cause};
use crate::{config::Config, limits};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use std::{io, path::Path, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

#[cfg(test)]
mod tests;

/// What the answer to a small question may hold.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// A service that vanished without a word is noticed after this and as long again.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// A port of a running service.
#[derive(Clone)]
pub struct Target {
    url: String,
    host: String,
    port: u16,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub struct Answer {
    pub status: u16,
    pub body: Bytes,
}

impl Target {
    /// `given`, or else the HTTP port of this machine's service: it speaks gRPC too.
    pub fn of(config: &Config, given: Option<&str>) -> Result<Self, Failure> {
        match given {
            Some(url) => Target::parse(url, config),
            None if config.http_port == 0 => Err(
                "http_port is 0, so the service picked a port: name it with --url, as its ready line has it"
                    .into(),
            ),
            None => Target::parse(&config.local_url(), config),
        }
    }

    /// `http`, `grpc`: plain; `https`, `grpcs`: TLS.
    pub fn parse(text: &str, config: &Config) -> Result<Self, Failure> {
        let bad = |why: &str| format!("the address '{text}' {why}; give one such as http://127.0.0.1:5001");
        let url = url::Url::parse(text).map_err(|error| bad(&error.to_string()))?;
        let (tls, usual) = match url.scheme() {
            "http" | "grpc" => (false, 80),
            "https" | "grpcs" => (true, 443),
            _ => return Err(bad("is neither http nor https").into()),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| bad("has no host"))?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let tls = match tls {
            false => None,
            true => {
                let name =
                    ServerName::try_from(host.clone()).map_err(|_| bad("has a host that TLS cannot name"))?;
                Some((Arc::new(tls_config(config)?), name))
            }
        };
        Ok(Target {
            url: text.trim_end_matches('/').to_owned(),
            host,
            port: url.port().unwrap_or(usual),
            tls,
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub async fn http(&self, method: Method, path: &str) -> Result<Answer, Failure> {
        let io = TokioIo::new(self.dial(b"http/1.1").await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, self.authority())
            .body(Full::<Bytes>::default())?;
        let asking = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
            Ok(Answer { status: head.status.as_u16(), body })
        };
        let mut asking = pin!(asking);
        tokio::select! {
            biased;
            answer = &mut asking => answer,
            ended = connection => match ended {
                // In the turn in which it handed over the answer.
                Ok(()) => asking.await,
                Err(error) => Err(cause(&error).into()),
            },
        }
    }

    /// Connected, so that an error here is one of reaching the service.
    pub async fn grpc(&self) -> Result<Channel, Failure> {
        let target = self.clone();
        let connector = tower::service_fn(move |_: http::Uri| {
            let target = target.clone();
            async move { target.dial(b"h2").await.map(TokioIo::new) }
        });
        // TLS is the connector's matter, so the scheme here is always the plain one.
        let endpoint = Endpoint::from_shared(format!("http://{}", self.authority()))?
            .connect_timeout(limits::HANDSHAKE_DEADLINE)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE);
        endpoint.connect_with_connector(connector).await.map_err(|error| cause(&error).into())
    }

    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    async fn dial(&self, protocol: &[u8]) -> io::Result<Box<dyn Io>> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        tcp.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(tcp)),
            Some((config, name)) => {
                let mut config = ClientConfig::clone(config);
                config.alpn_protocols = vec![protocol.to_vec()];
                Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name.clone(), tcp).await?))
            }
        }
    }
}

fn tls_config(config: &Config) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(ring::default_provider());
    let own = config.tls.as_ref().map(|files| certificates(&files.cert)).transpose()?.unwrap_or_default();
    let mut roots = RootCertStore::empty();
    let trusted = match &config.tls_roots {
        Some(path) => certificates(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    // Our own chain too: on a machine without any authority the verifier would refuse to be built.
    roots.add_parsable_certificates(trusted.into_iter().chain(own.iter().cloned()));
    let trusted = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| {
            format!(
                "no authority to check the service's certificate by ({error}): name one with --tls-roots FILE"
            )
        })?;
    let verifier = OwnOrTrusted { own: own.into_iter().next(), trusted };
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.map_err(|error| format!("the certificate file {} cannot be read: {error}", path.display()).into())
}

/// The very certificate that `--tls-cert` names, whatever it is called and whoever signed it: a
/// command on the service's own machine calls it by an address, which certificates seldom hold. Any
/// other is checked as usual.
#[derive(Debug)]
struct OwnOrTrusted {
    own: Option<CertificateDer<'static>>,
    trusted: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for OwnOrTrusted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.own.as_ref() == Some(end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        self.trusted.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    // That the peer holds the certificate's key is always checked.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.trusted.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.trusted.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trusted.supported_verify_schemes()
    }
}

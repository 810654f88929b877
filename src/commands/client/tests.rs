use super::*;
use crate::config::TlsFiles;
use std::fs;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

fn config() -> Config {
    Config::with_defaults(1)
}

fn on_port(port: u16) -> Config {
    let mut config = config();
    config.http_port = port;
    config
}

fn with_files(files: TlsFiles) -> Config {
    let mut config = config();
    config.tls = Some(files);
    config
}

#[test]
fn addresses_are_understood_or_refused_with_the_way_out() {
    let authority =
        |text: &str| Target::parse(text, &config()).map(|it| it.authority()).map_err(|it| it.to_string());
    assert_eq!(authority("http://localhost:5002/").as_deref(), Ok("localhost:5002"));
    assert_eq!(authority("grpc://[::1]:7").as_deref(), Ok("[::1]:7"));
    assert_eq!(authority("http://h").as_deref(), Ok("h:80"));
    for text in ["ws://h:1", "h:1", "", "http://", "ftp://h"] {
        let why = authority(text).expect_err(text);
        assert!(why.contains("http://127.0.0.1:5001"), "{why}");
    }
}

#[test]
fn the_configured_port_is_the_default_unless_it_is_picked_at_start() {
    let target = Target::of(&on_port(81), None).expect("a target");
    assert_eq!(target.url(), "http://127.0.0.1:81");
    let why = Target::of(&on_port(0), None).err().expect("a refusal").to_string();
    assert!(why.contains("--url"), "{why}");
}

/// Answers one request on TLS with a certificate of its own for a name nobody calls it by.
async fn secure(folder: &Path) -> (u16, TlsFiles) {
    let made = rcgen::generate_simple_self_signed(vec!["elsewhere.example".into()]).expect("a certificate");
    let files = TlsFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
    fs::write(&files.cert, made.cert.pem()).expect("written");
    fs::write(&files.key, made.signing_key.serialize_pem()).expect("written");
    let key = rustls::pki_types::PrivateKeyDer::from_pem_file(&files.key).expect("a key");
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            if let Ok(mut tls) = TlsAcceptor::from(Arc::new(server.clone())).accept(tcp).await {
                let mut head = [0; 1024];
                let _ = tls.read(&mut head).await;
                let _ = tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                let _ = tls.shutdown().await;
            }
        }
    });
    (port, files)
}

#[tokio::test]
async fn our_own_certificate_is_known_by_itself_and_no_other_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let (port, files) = secure(folder.path()).await;
    let url = format!("https://127.0.0.1:{port}");
    let own = with_files(files);
    let answer =
        Target::parse(&url, &own).expect("a target").http(Method::GET, "/").await.expect("an answer");
    assert_eq!((answer.status, &answer.body[..]), (200, &b"ok"[..]));

    let other = tempfile::tempdir().expect("a folder");
    let (_, files) = secure(other.path()).await;
    let foreign = with_files(files);
    let refused = Target::parse(&url, &foreign).expect("a target").http(Method::GET, "/").await;
    let why = refused.err().expect("a stranger's certificate").to_string();
    assert!(why.contains("certificate"), "{why}");
}

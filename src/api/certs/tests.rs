use super::*;
use crate::api::testing::{edge, on_a_shard, start_with};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls};

/// A certificate of its own for localhost, in these files.
fn write_pair(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

fn open(folder: &Path) -> Certificates {
    Certificates::open(&folder.join("cert.pem"), &folder.join("key.pem"), Arc::default()).unwrap()
}

#[test]
fn a_changed_pair_is_taken_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path());
    let certificates = open(folder.path());
    let first = certificates.current();
    certificates.look();
    assert!(Arc::ptr_eq(&first, &certificates.current()), "nothing changed");

    fs::write(folder.path().join("cert.pem"), "not a certificate").unwrap();
    certificates.look();
    certificates.look();
    assert!(Arc::ptr_eq(&first, &certificates.current()));
    assert_eq!(certificates.counters.certificates_refused.get(), 1);

    // A new certificate whose key is not there yet, then both.
    let key = fs::read(folder.path().join("key.pem")).unwrap();
    write_pair(folder.path());
    let new_key = fs::read(folder.path().join("key.pem")).unwrap();
    fs::write(folder.path().join("key.pem"), [key, b"\n".to_vec()].concat()).unwrap();
    certificates.look();
    assert!(Arc::ptr_eq(&first, &certificates.current()), "certificate and key do not belong together");
    fs::write(folder.path().join("key.pem"), [new_key, b"\n\n".to_vec()].concat()).unwrap();
    certificates.look();
    assert!(!Arc::ptr_eq(&first, &certificates.current()));
    assert_eq!(certificates.counters.certificates_reloaded.get(), 1);

    fs::remove_file(folder.path().join("key.pem")).unwrap();
    certificates.look();
    assert_eq!(certificates.counters.certificates_refused.get(), 3);
}

#[test]
fn a_bad_pair_at_start_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    assert!(Certificates::open(&certificate, &key, Arc::default()).is_err());
    write_pair(folder.path());
    fs::write(&certificate, "").unwrap();
    assert!(Certificates::open(&certificate, &key, Arc::default()).is_err());
}

#[test]
fn https_on_the_port() {
    on_a_shard(async {
        let folder = tempfile::tempdir().unwrap();
        let certificate = write_pair(folder.path());
        let running = start_with(edge(), Some(open(folder.path())), Arc::default());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).unwrap();
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        for (protocol, expected) in [(&b"http/1.1"[..], &b"HTTP/1.1 200 OK"[..]), (b"h2", b"\0\0")] {
            config.alpn_protocols = vec![protocol.to_vec()];
            let tcp = TcpStream::connect(running.address).await.unwrap();
            let connector = TlsConnector::from(Arc::new(config.clone()));
            let mut tls = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(protocol));
            let request: &[u8] = match protocol {
                b"h2" => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
                _ => b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n",
            };
            tls.write_all(request).await.unwrap();
            let mut answer = vec![0; expected.len()];
            tls.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, expected);
        }
        let mut plain = TcpStream::connect(running.address).await.unwrap();
        plain.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
        assert_eq!(running.counters.tls_failures.get(), 1);
    });
}

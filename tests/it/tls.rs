//! TLS on our ports, with certificates that are read again, and TLS towards upstreams.

use crate::harness::{Client, Service, Upstream, fault, grpc, pki::Pki, service::Plan, wait_for};
use serde_json::{Value, json};
use std::{io::Write, sync::Arc};
use tokio::net::TcpStream;
use tonic::{Code, Status};
use websocket_manager::proto::{ConnectRequest, ListRequest};

#[tokio::test]
async fn both_public_ports_speak_tls_and_admin_does_not() {
    let pki = Pki::new();
    let service = Plan::new().tls(&pki).start().await;
    let mut client = service.grpc().await;
    client.list(ListRequest::default()).await.expect("gRPC over TLS");
    assert_eq!(service.http().get("/livez").await.status, 200, "HTTP over TLS");
    assert_eq!(service.admin().get("/livez").await.status, 200);
    assert!(
        grpc::channel(service.ready.grpc, Some(&Pki::new())).await.is_err(),
        "another authority is not trusted"
    );
}

/// The certificate that a new connection to this port is shown.
async fn shown(service: &Service, pki: &Pki, port: u16) -> Vec<u8> {
    let tcp = TcpStream::connect((service.ready.http.ip(), port)).await.expect("the port answers");
    let connector = crate::harness::pki::connector(&pki.client_config(), false);
    let tls = connector.connect(crate::harness::pki::localhost(), tcp).await.expect("TLS");
    tls.get_ref().1.peer_certificates().expect("certificates")[0].to_vec()
}

#[tokio::test]
async fn a_new_certificate_is_used_without_a_restart() {
    let pki = Pki::new();
    let service = Plan::new().tls(&pki).start().await;
    let port = service.ready.http.port();
    let before = shown(&service, &pki, port).await;
    let mut held = service.grpc().await;
    let after = pki.renew(&service.data_dir());
    assert_ne!(before, after);
    wait_for("the new certificate", async || (shown(&service, &pki, port).await == after).then_some(()))
        .await;
    held.list(ListRequest::default()).await.expect("old connections go on");
}

#[tokio::test]
async fn a_broken_certificate_file_leaves_the_old_one_in_use() {
    let pki = Pki::new();
    let service = Plan::new().tls(&pki).start().await;
    let port = service.ready.http.port();
    let before = shown(&service, &pki, port).await;
    std::fs::write(service.data_dir().join("server.pem"), "no certificate").expect("it is written");
    wait_for("the log to say so", async || {
        // It looks when somebody comes.
        assert_eq!(shown(&service, &pki, port).await, before);
        service.log().to_lowercase().contains("certificate").then_some(())
    })
    .await;
}

/// The files change between the look at the settings and the start of the shards.
#[tokio::test]
async fn a_certificate_that_is_broken_meanwhile_ends_the_start_with_its_error() {
    let pki = Pki::new();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (cert, key) = pki.server_files(folder.path());
    let (once, broken) = (folder.path().join("once.pem"), folder.path().join("broken.pem"));
    std::fs::write(&broken, "no certificate").expect("it is written");
    let made = std::process::Command::new("mkfifo").arg(&once).status().expect("mkfifo runs");
    assert!(made.success());
    let (path, chain) = (once.clone(), std::fs::read(cert).expect("the certificate"));
    // Whoever opens the pipe first reads the certificate; everybody after that finds another file.
    let writer = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        let mut pipe = std::fs::File::options().write(true).open(&path)?;
        std::fs::rename(broken, path)?;
        pipe.write_all(&chain)
    });
    let files = ["--tls-cert", &once.to_string_lossy(), "--tls-key", &key.to_string_lossy()];
    let (code, out, errors) = Plan::new().args(&files).run_to_end().await;
    writer.await.expect("the writer ends").expect("the pipe takes the certificate");
    assert_eq!((code, out.as_str()), (1, ""), "{errors}");
    assert!(errors.contains("does not run"), "{errors}");
}

async fn dial(client: &mut Client, upstream: &Upstream, tls: Value) -> Result<String, Status> {
    let request = json!({"url": upstream.url(), "tls": tls});
    let request: ConnectRequest = serde_json::from_value(request).expect("a request");
    client.connect(request).await.map(|answer| answer.into_inner().id)
}

async fn upstream(pki: &Arc<Pki>, name: &str, ask: bool) -> Upstream {
    Upstream::start_tls(pki.acceptor(&pki.server(name), ask)).await
}

/// `localhost` may resolve to both families; the tests' upstreams listen on one.
async fn service() -> Service {
    Plan::new().args(&["--egress-allow", "::1/128"]).start().await
}

#[tokio::test]
async fn an_upstream_is_checked_against_the_given_authority() {
    let (pki, service) = (Pki::new(), service().await);
    let mut client = service.grpc().await;
    let mut good = upstream(&pki, "localhost", false).await;
    dial(&mut client, &good, json!({"ca": pki.ca()})).await.expect("the authority signed it");
    good.peer().await;
    let wrong = [
        ("no authority given", json!({})),
        ("another authority", json!({"ca": Pki::new().ca()})),
        ("another name", json!({"ca": pki.ca(), "serverName": "other.example"})),
    ];
    for (what, tls) in wrong {
        let status = dial(&mut client, &good, tls).await.expect_err(what);
        assert_eq!(
            (status.code(), fault(&status).reason.as_str()),
            (Code::Unavailable, "dial_failed"),
            "{what}"
        );
    }
    let other = upstream(&pki, "other.example", false).await;
    dial(&mut client, &other, json!({"ca": pki.ca()})).await.expect_err("the name is another one");
    dial(&mut client, &other, json!({"ca": pki.ca(), "serverName": "other.example"}))
        .await
        .expect("by its own name");
}

#[tokio::test]
async fn an_upstream_may_ask_for_a_certificate() {
    let (pki, service) = (Pki::new(), service().await);
    let mut client = service.grpc().await;
    let mut strict = upstream(&pki, "localhost", true).await;
    let own = pki.client("caller");
    let tls = json!({"ca": pki.ca(), "clientCert": own.cert, "clientKey": own.key});
    dial(&mut client, &strict, tls).await.expect("with a certificate of its authority");
    strict.peer().await;
    dial(&mut client, &strict, json!({"ca": pki.ca()})).await.expect_err("without one");
    let foreign = Pki::new().client("caller");
    let tls = json!({"ca": pki.ca(), "clientCert": foreign.cert, "clientKey": foreign.key});
    dial(&mut client, &strict, tls).await.expect_err("with one of somebody else's");
}

#[tokio::test]
async fn roots_of_the_operator_replace_the_platforms() {
    let pki = Pki::new();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, pki.ca()).expect("it is written");
    let plan = Plan::new().args(&["--egress-allow", "::1/128", "--tls-roots", &roots.to_string_lossy()]);
    let service = plan.start().await;
    let upstream = upstream(&pki, "localhost", false).await;
    dial(&mut service.grpc().await, &upstream, json!({})).await.expect("trusted by the operator");
}

#[tokio::test]
async fn plain_bytes_on_a_tls_port_and_tls_on_a_plain_one_hurt_nobody() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let pki = Pki::new();
    let service = Plan::new().tls(&pki).start().await;
    for address in [service.ready.http, service.ready.grpc] {
        let mut tcp = TcpStream::connect(address).await.expect("the port answers");
        tcp.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("the bytes leave");
        let mut answer = Vec::new();
        let _ = crate::harness::within("the end", tcp.read_to_end(&mut answer)).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
    service.grpc().await.list(ListRequest::default()).await.expect("others are served");
}

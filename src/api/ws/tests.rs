use super::*;
use crate::{
    api::{
        certs::Certificates,
        http::{self, HttpSettings},
        testing::{Running, ask, on_a_shard, raw, service, start, start_with},
        validate::Defaults,
    },
    core::{
        id::{ConnectionId, Place},
        io::SocketKey,
        rooms::{Access, Admit},
        spec::Settings,
    },
    shard::mailbox::Io,
};
use parking_lot::Mutex;
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tokio_rustls::{TlsConnector, rustls};
use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest, protocol::Role};

type Attached = (ConnectionId, SocketKey, Io, Vec<u8>);

/// Answers for the shards: what was admitted is kept, what was attached is handed on.
struct Shards {
    admitted: Mutex<Vec<(Context, Admit)>>,
    attached: mpsc::Sender<Attached>,
    refuse: Option<Fault>,
}

const KEY: SocketKey = SocketKey { conn: Place { index: 3, generation: 4 }, nth: 5 };

impl Admission for Shards {
    fn mint(&self) -> ConnectionId {
        ConnectionId::parse("~minted").unwrap()
    }

    fn settings(&self) -> Arc<Settings> {
        Defaults::default().settings
    }

    fn admit(&self, context: Context, admit: Box<Admit>) -> Admitted {
        self.admitted.lock().push((context, *admit));
        let refused = self.refuse.clone();
        Box::pin(async { refused.map_or(Ok(KEY), Err) })
    }

    fn attach(&self, id: &ConnectionId, socket: SocketKey, io: Io, ahead: Vec<u8>) {
        assert!(self.attached.try_send((id.clone(), socket, io, ahead)).is_ok());
    }
}

struct World {
    running: Running,
    shards: Arc<Shards>,
    counters: Arc<WsCounters>,
    attached: mpsc::Receiver<Attached>,
}

fn world(refuse: Option<Fault>, settings: IngressSettings) -> World {
    world_by(None, refuse, settings)
}

fn world_by(certificates: Option<Certificates>, refuse: Option<Fault>, settings: IngressSettings) -> World {
    let (sender, attached) = mpsc::channel(16);
    let shards = Arc::new(Shards { admitted: Mutex::default(), attached: sender, refuse });
    let counters = settings.counters.clone();
    let ingress = Ingress::over(shards.clone(), settings).unwrap();
    let settings = HttpSettings { ingress: Some(ingress), ..HttpSettings::default() };
    let running = start_with(http::router(&service(), settings), certificates, Arc::default());
    World { running, shards, counters, attached }
}

fn plain() -> World {
    world(None, IngressSettings::default())
}

impl World {
    fn refused(&self, reason: WsRefusal) -> u64 {
        self.counters.refused(reason).get()
    }

    /// A handshake with these further headers; its whole answer.
    async fn come(&self, path: &str, headers: &str) -> crate::api::testing::Answer {
        raw(self.running.address, &handshake(path, &format!("host: {}\r\n{headers}", self.running.address)))
            .await
    }
}

fn handshake(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

async fn head(tcp: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn a_client_comes_in_and_nothing_it_sent_early_is_lost() {
    on_a_shard(async {
        let mut world = plain();
        let mut tcp = TcpStream::connect(world.running.address).await.unwrap();
        let request = handshake(
            "/ws/lobby?epoch=1&offset=2",
            "host: a.example\r\nsec-websocket-protocol: x, wsm.rooms.v1\r\nsec-websocket-extensions: permessage-deflate\r\n",
        );
        tcp.write_all(format!("{request}early bytes").as_bytes()).await.unwrap();
        let head = head(&mut tcp).await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        assert!(head.contains("sec-websocket-protocol: wsm.rooms.v1\r\n") && !head.contains("extensions"));
        let (id, socket, mut io, mut ahead) = world.attached.recv().await.unwrap();
        assert_eq!((id.as_str(), socket), ("~minted", KEY));
        tcp.write_all(b", later").await.unwrap();
        while ahead.len() < "early bytes, later".len() {
            ahead.push(io.read_u8().await.unwrap());
        }
        assert_eq!(ahead, b"early bytes, later");
        io.write_all(b"hello").await.unwrap();
        io.flush().await.unwrap();
        let mut hello = [0; 5];
        tcp.read_exact(&mut hello).await.unwrap();
        let (_, admit) = world.shards.admitted.lock().pop().unwrap();
        assert_eq!(admit.rooms[0].room.as_str(), "lobby");
        assert_eq!(admit.spec.dial.target.redacted(), "ws://a.example/ws/lobby");
        assert!(!admit.given && admit.protocol && admit.may_join == Access::Any);
        assert_eq!((world.counters.accepted.get(), world.counters.vanished.get()), (1, 0));
    });
}

#[test]
fn another_implementation_takes_the_handshake() {
    on_a_shard(async {
        let mut world = plain();
        let mut request = format!("ws://{}/ws/a", world.running.address).into_client_request().unwrap();
        request
            .headers_mut()
            .insert("traceparent", format!("00-{}-{}-01", "a".repeat(32), "b".repeat(16)).parse().unwrap());
        let (mut client, response) = tokio_tungstenite::connect_async(request).await.unwrap();
        assert_eq!(response.status(), 101);
        let (_, _, io, ahead) = world.attached.recv().await.unwrap();
        let mut server =
            tokio_tungstenite::WebSocketStream::from_partially_read(io, ahead, Role::Server, None).await;
        futures_util::SinkExt::send(&mut server, Message::text("from the server")).await.unwrap();
        let got = futures_util::StreamExt::next(&mut client).await.unwrap().unwrap();
        assert_eq!(got, Message::text("from the server"));
        assert!(world.shards.admitted.lock()[0].0.trace.as_deref().unwrap().starts_with("00-aaaa"));
        let refused = tokio_tungstenite::connect_async(format!("ws://{}/wss", world.running.address)).await;
        assert!(matches!(refused, Err(tungstenite::Error::Http(answer)) if answer.status() == 404));
    });
}

#[test]
fn what_does_not_come_in_is_told_why_and_counted() {
    on_a_shard(async {
        let world = plain();
        let at = world.running.address;
        let page = ask(at, "GET", "/ws/a", "", "").await;
        assert_eq!((page.status, page.header("sec-websocket-version")), (426, Some("13")));
        assert_eq!((page.header("upgrade"), page.header("connection")), (Some("websocket"), Some("close")));
        assert_eq!((page.json()["code"].clone(), world.refused(WsRefusal::Handshake)), (3.into(), 1));
        let post = ask(at, "POST", "/ws/a", "", "{}").await;
        assert_eq!((post.status, post.header("allow")), (405, Some("GET")));
        let unknown = world.come("/chat/a", "connection: close\r\n").await;
        assert_eq!((unknown.status, unknown.json()["code"].clone()), (404, 5.into()));
        let name = world.come("/ws/a%2Cb", "").await;
        assert_eq!(name.status, 400);
        assert!(name.json()["message"].as_str().unwrap().starts_with("room: "), "{}", name.body);
        assert_eq!(world.refused(WsRefusal::Arguments), 1);
        for foreign in ["origin: https://evil.example\r\n", "origin: null\r\n"] {
            assert_eq!(world.come("/ws/a", foreign).await.status, 403);
        }
        assert_eq!(world.refused(WsRefusal::Origin), 2);
        let smuggled = handshake("/ws/a", "host: a\r\ncontent-length: 5\r\n");
        let answer = raw(at, &format!("{smuggled}GET /livez HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert_eq!((answer.status, answer.body.matches("HTTP/1.1").count()), (400, 0), "{}", answer.body);
        assert!(world.shards.admitted.lock().is_empty());
        assert_eq!(world.counters.accepted.get(), 0);
    });
}

#[test]
fn pages_that_are_allowed_and_the_servers_own() {
    on_a_shard(async {
        let listed = Origins::of(&["https://app.example"]).unwrap();
        let any = vec![Route::parse("/any/{room} origin=*").unwrap()];
        let mut world =
            world(None, IngressSettings { origins: listed, routes: any, ..IngressSettings::default() });
        let mut plain = plain();
        let own = format!("origin: http://{}\r\n", plain.running.address);
        for (is_plain, path, origin) in [
            (true, "/ws/a", own.as_str()),
            (false, "/ws/a", "origin: https://APP.example\r\n"),
            (false, "/any/a", "origin: https://evil.example\r\n"),
        ] {
            let world = if is_plain { &mut plain } else { &mut world };
            let mut tcp = TcpStream::connect(world.running.address).await.unwrap();
            let host = format!("host: {}\r\n{origin}", world.running.address);
            tcp.write_all(handshake(path, &host).as_bytes()).await.unwrap();
            assert!(head(&mut tcp).await.starts_with("HTTP/1.1 101 "), "{path} {origin}");
            world.attached.recv().await.unwrap();
        }
        let own = format!("origin: http://{}\r\n", world.running.address);
        assert_eq!(world.come("/ws/a", &own).await.status, 403, "a list is the whole list");
    });
}

#[test]
fn the_shards_refusals_reach_the_client() {
    on_a_shard(async {
        let full = Fault::full("too many connections", Duration::from_millis(100));
        let world = world(Some(full), IngressSettings::default());
        let answer = world.come("/ws/a", "").await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
        assert_eq!((world.refused(WsRefusal::Full), world.counters.accepted.get()), (1, 0));
        // Over a service whose shards are not there yet.
        let ingress = Ingress::new(&service(), IngressSettings::default()).unwrap();
        let settings = HttpSettings { ingress: Some(ingress), ..HttpSettings::default() };
        let running = start(http::router(&service(), settings));
        let request = handshake("/ws/a", &format!("host: {}\r\n", running.address));
        assert_eq!(raw(running.address, &request).await.status, 503);
    });
}

#[test]
fn a_token_is_asked_for_where_the_route_says_so() {
    on_a_shard(async {
        let routes = vec![Route::parse("/members/{room} auth=token").unwrap()];
        let world =
            world(None, IngressSettings { routes, token_in_query: true, ..IngressSettings::default() });
        for (headers, query) in [
            ("", ""),
            ("authorization: Basic eDp5\r\n", ""),
            ("authorization: Bearer\r\n", ""),
            ("authorization: Bearer a.b.c\r\n", ""),
            ("", "?access_token=a.b.c"),
            ("sec-websocket-protocol: bearer.a.b.c\r\n", ""),
        ] {
            let answer = world.come(&format!("/members/a{query}"), headers).await;
            assert_eq!(
                (answer.status, answer.header("www-authenticate")),
                (401, Some("Bearer")),
                "{headers}"
            );
            assert_eq!(answer.json()["code"], 16);
        }
        assert_eq!(world.refused(WsRefusal::Credentials), 6);
        let twice = world.come("/members/a?access_token=a", "authorization: Bearer a\r\n").await;
        assert_eq!(twice.status, 400);
    });
}

#[test]
fn an_authoriser_that_is_away_lets_nobody_in() {
    on_a_shard(async {
        let tls = crate::pki::client_config("", "", "").unwrap();
        let timeout = Duration::from_secs(1);
        let authoriser = Some(AuthoriserSettings { url: "http://127.0.0.1:1/".into(), timeout, tls });
        let settings = IngressSettings { auth: Auth::Authoriser, authoriser, ..IngressSettings::default() };
        let world = world(None, settings);
        assert_eq!(world.come("/ws/a", "").await.status, 503);
        assert_eq!(world.refused(WsRefusal::AuthoriserFailed), 1);
    });
}

#[test]
fn a_client_comes_in_by_tls_with_what_it_sent_early() {
    on_a_shard(async {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let certificates = Certificates::open(&cert, &key, Arc::default()).unwrap();
        let mut world = world_by(Some(certificates), None, IngressSettings::default());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        let tcp = TcpStream::connect(world.running.address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let mut tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        let host = format!("localhost:{}", world.running.address.port());
        let request = handshake("/ws/a", &format!("host: {host}\r\norigin: https://{host}\r\n"));
        tls.write_all(format!("{request}early").as_bytes()).await.unwrap();
        assert!(head(&mut tls).await.starts_with("HTTP/1.1 101 "));
        let (_, _, mut io, mut ahead) = world.attached.recv().await.unwrap();
        assert!(io.is_tls());
        while ahead.len() < "early".len() {
            ahead.push(io.read_u8().await.unwrap());
        }
        assert_eq!(ahead, b"early");
        assert_eq!(io.try_write(b"x").unwrap(), 1);
        assert_eq!(tls.read_u8().await.unwrap(), b'x');
        let (_, admit) = world.shards.admitted.lock().pop().unwrap();
        assert_eq!(admit.spec.dial.target.redacted(), format!("wss://{host}/ws/a"));
    });
}

use super::*;
use crate::api::{
    routes::{ROUTES, Shape},
    testing::{ask, edge, on_a_shard, service, start, start_with},
};

const JSON: &str = "content-type: application/json\r\n";

#[test]
fn every_route_of_the_table_reaches_the_service() {
    on_a_shard(async {
        let running = start(edge());
        for route in ROUTES {
            let path = route.path.replace("{id}", "a-1").replace("{key}", "k%20y");
            let path = path.replace("{room}", "a%2Fb").replace("{user}", "u%40x");
            let path = if route.path == "/v1/messages" { format!("{path}?topic=t") } else { path };
            let (headers, body) = if route.body { (JSON, "{}") } else { ("", "") };
            let answer = ask(running.address, route.method, &path, headers, body).await;
            assert_eq!(answer.status, 503, "{} {path}: {}", route.method, answer.body);
            assert_eq!(answer.json()["code"], 14);
            assert_eq!(answer.json()["details"][0]["domain"], "websocketmanager");
            assert!(crate::api::openapi::statuses(route).contains(&503));
            if route.body {
                let empty = ask(running.address, route.method, &path, "", "").await;
                assert_eq!(empty.status, 503, "an empty body is the empty message: {path}");
                let unknown = ask(running.address, route.method, &path, JSON, r#"{"bogus":1}"#).await;
                assert_eq!((unknown.status, &unknown.json()["code"]), (400, &3.into()), "{path}");
                assert!(unknown.json()["message"].as_str().unwrap().starts_with("bogus"));
                let form =
                    ask(running.address, route.method, &path, "content-type: text/plain\r\n", "{}").await;
                assert_eq!((form.status, &form.json()["code"]), (415, &3.into()), "{path}");
            } else {
                let refused = ask(running.address, route.method, &path, JSON, "{}").await;
                assert_eq!(refused.status, 400, "{path}");
            }
            let joined = if path.contains('?') { "&" } else { "?" };
            let query = ask(running.address, route.method, &format!("{path}{joined}bogus=1"), "", "").await;
            assert_eq!(query.status, 400, "{path}");
            assert!(query.json()["message"].as_str().unwrap().starts_with("bogus: "));
            assert!(matches!(route.shape, Shape::Unary | Shape::Events));
        }
    });
}

#[test]
fn unknown_routes_and_methods() {
    on_a_shard(async {
        let running = start(edge());
        let unknown = ask(running.address, "GET", "/v1/nothing", "", "").await;
        assert_eq!((unknown.status, &unknown.json()["code"]), (404, &5.into()));
        let wrong = ask(running.address, "PUT", "/v1/connections/a", "", "").await;
        assert_eq!((wrong.status, &wrong.json()["code"]), (405, &12.into()));
        let allow = wrong.header("allow").unwrap();
        assert!(["GET", "PATCH", "DELETE"].iter().all(|method| allow.contains(method)), "{allow}");
        assert_eq!(ask(running.address, "OPTIONS", "/v1/connections", "", "").await.status, 405);
        let escape = ask(running.address, "GET", "/v1/connections/%ff", "", "").await;
        assert_eq!(escape.status, 400);
        let control = ask(running.address, "GET", "/v1/connections?%0d%0aset-cookie%3a1=1", "", "").await;
        assert_eq!(control.status, 400);
        assert!(!control.body.contains('\n') && !control.json()["message"].as_str().unwrap().contains('\n'));
    });
}

#[test]
fn bodies_have_bounds() {
    on_a_shard(async {
        let running = start(edge());
        let headers = format!("{JSON}content-length: 99999999\r\n");
        let large = ask(running.address, "POST", "/v1/connections", &headers, "").await;
        assert_eq!((large.status, &large.json()["code"]), (413, &3.into()));
        let chunk = format!("{:x}\r\n{}\r\n0\r\n\r\n", 5 << 20, "x".repeat(5 << 20));
        let request = format!(
            "POST /v1/connections HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{JSON}transfer-encoding: chunked\r\n\r\n{chunk}"
        );
        let mut tcp = tokio::net::TcpStream::connect(running.address).await.unwrap();
        let (mut reader, mut writer) = tcp.split();
        // The server answers before it read everything: the rest of the write may fail.
        let write = tokio::io::AsyncWriteExt::write_all(&mut writer, request.as_bytes());
        let mut head = [0; 12];
        let read = tokio::io::AsyncReadExt::read_exact(&mut reader, &mut head);
        let (_, read) = tokio::join!(write, read);
        read.unwrap();
        assert_eq!(&head, b"HTTP/1.1 413");
        let gzip = format!("{JSON}content-encoding: gzip\r\n");
        assert_eq!(ask(running.address, "POST", "/v1/connections", &gzip, "{}").await.status, 415);
    });
}

#[test]
fn health_documents_and_pages() {
    on_a_shard(async {
        let running = start(edge());
        let at = |path: &'static str| ask(running.address, "GET", path, "", "");
        let health = at("/health").await;
        assert_eq!(
            (health.status, health.json()["version"].as_str()),
            (200, Some(env!("CARGO_PKG_VERSION")))
        );
        assert_eq!(at("/livez").await.status, 200);
        let ready = at("/readyz").await;
        assert_eq!((ready.status, ready.json()["reason"].as_str()), (503, Some("starting")));
        assert_eq!(at("/openapi.json").await.json()["openapi"], "3.0.3");
        for path in ["/swagger", "/swagger/", "/swagger?x=onload"] {
            let page = at(path).await;
            assert_eq!(page.status, 200);
            assert!(page.body.contains("/openapi.json") && !page.body.contains("x=onload"), "{path}");
        }
        assert_eq!(at("/swagger/swagger-ui.css").await.status, 200);
        assert!(at("/swagger/swagger-ui-bundle.js").await.body.len() > 100_000);
        for path in ["/metrics", "/config", "/drain"] {
            assert_eq!(at(path).await.status, 404, "{path} belongs to the admin port");
        }
    });
}

/// Over HTTP/2, through flow control, with gathered and deferred writes.
#[test]
fn large_answers_over_http2() {
    on_a_shard(async {
        let running = start(edge());
        let tcp = tokio::net::TcpStream::connect(running.address).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(tcp);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut client, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        let connection = tokio::spawn(connection);
        let expected = ask(running.address, "GET", "/swagger/swagger-ui-bundle.js", "", "").await.body;
        let request = |path: &str| {
            Request::builder()
                .uri(format!("http://a{path}"))
                .body(http_body_util::Empty::<Bytes>::new())
                .unwrap()
        };
        for _ in 0..3 {
            let answer = client.send_request(request("/swagger/swagger-ui-bundle.js")).await.unwrap();
            let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
            assert_eq!(String::from_utf8_lossy(&body).len(), expected.len());
        }
        let small = client.send_request(request("/readyz")).await.unwrap();
        assert_eq!(small.status(), 503);
        drop(client);
        connection.await.unwrap().unwrap();
    });
}

#[test]
fn other_origins_are_refused_unless_allowed() {
    on_a_shard(async {
        let foreign = "origin: https://evil.example\r\n";
        let running = start(edge());
        assert_eq!(ask(running.address, "DELETE", "/v1/connections/a", foreign, "").await.status, 403);
        let read = ask(running.address, "GET", "/livez", foreign, "").await;
        assert_eq!((read.status, read.header("access-control-allow-origin")), (200, None));
        let same = format!("origin: http://{}\r\n", running.address);
        assert_eq!(ask(running.address, "DELETE", "/v1/connections/a", &same, "").await.status, 503);

        let settings =
            HttpSettings { cors_origins: vec!["https://good.example/".into()], ..HttpSettings::default() };
        let running = start(router(&service(), settings));
        let preflight = "origin: https://good.example\r\naccess-control-request-method: PATCH\r\naccess-control-request-headers: x-a, content-type\r\n";
        let answer = ask(running.address, "OPTIONS", "/v1/connections/a", preflight, "").await;
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://good.example"));
        assert_eq!(answer.header("access-control-allow-headers"), Some("x-a, content-type"));
        assert!(answer.header("access-control-allow-methods").unwrap().contains("PATCH"));
        let call =
            ask(running.address, "DELETE", "/v1/connections/a", "origin: https://good.example\r\n", "").await;
        assert_eq!(
            (call.status, call.header("access-control-allow-origin")),
            (503, Some("https://good.example"))
        );
        assert!(call.header("access-control-expose-headers").unwrap().contains("grpc-status"));
        assert_eq!(ask(running.address, "DELETE", "/v1/connections/a", foreign, "").await.status, 403);
    });
}

#[test]
fn a_panic_is_an_answer_and_is_counted() {
    on_a_shard(async {
        let counters = Arc::<Counters>::default();
        let extra = Router::new()
            .route("/panic", axum::routing::get(async || -> Response<Body> { panic!("on purpose") }));
        let settings = HttpSettings { counters: counters.clone(), extra, ..HttpSettings::default() };
        let running = start_with(router(&service(), settings), None, counters);
        let answer = ask(running.address, "GET", "/panic", "", "").await;
        assert_eq!((answer.status, &answer.json()["code"]), (500, &13.into()));
        assert!(!answer.body.contains("on purpose"));
        assert_eq!(running.counters.handler_panics.get(), 1);
        assert_eq!(ask(running.address, "GET", "/livez", "", "").await.status, 200);
    });
}

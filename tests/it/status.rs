//! The table of status codes, over gRPC, REST and Connect at once.

use crate::harness::{Service, Upstream, fault, grpc};
use serde_json::{Value, json};
use tonic::{Code, Status};
use websocket_manager::proto::*;

/// One call that must fail: how it is made over gRPC and over REST, and what both must say.
struct Row {
    what: &'static str,
    rpc: &'static str,
    /// The message as JSON; over REST what the path names is left out of the body.
    message: Value,
    rest: (&'static str, &'static str),
    code: Code,
    http: u16,
    reason: &'static str,
    field: &'static str,
}

fn row(what: &'static str, rpc: &'static str, rest: (&'static str, &'static str), message: Value) -> Row {
    Row { what, rpc, message, rest, code: Code::NotFound, http: 404, reason: "not_found", field: "" }
}

impl Row {
    fn says(self, code: Code, http: u16, reason: &'static str, field: &'static str) -> Self {
        Row { code, http, reason, field, ..self }
    }

    fn invalid(self, field: &'static str) -> Self {
        self.says(Code::InvalidArgument, 400, "invalid", field)
    }
}

#[allow(clippy::too_many_lines, reason = "a table")]
fn rows(upstream: &str) -> Vec<Row> {
    let post = |path| ("POST", path);
    let many: serde_json::Map<_, _> = (0..51).map(|n| (format!("k{n}"), "v".into())).collect();
    vec![
        row("get nobody", "Get", ("GET", "/v1/connections/nobody"), json!({"id": "nobody"})),
        row("disconnect nobody", "Disconnect", ("DELETE", "/v1/connections/nobody"), json!({"id": "nobody"})),
        row(
            "send to nobody",
            "Send",
            post("/v1/connections/nobody/send"),
            json!({"id": "nobody", "message": "x"}),
        ),
        row(
            "raw to nobody",
            "SendRaw",
            post("/v1/connections/nobody/sendraw"),
            json!({"id": "nobody", "message": "x"}),
        ),
        row(
            "publish nobody",
            "StartPublish",
            post("/v1/connections/nobody/publish"),
            json!({"id": "nobody", "topic": "t"}),
        ),
        row(
            "stop nobody",
            "StopPublish",
            post("/v1/connections/nobody/stop-publish"),
            json!({"id": "nobody"}),
        ),
        row("tags of nobody", "GetTags", ("GET", "/v1/connections/nobody/tags"), json!({"id": "nobody"})),
        row(
            "no such tag",
            "GetTag",
            ("GET", "/v1/connections/open/tags/none"),
            json!({"id": "open", "key": "none"}),
        ),
        row("no URL", "Connect", post("/v1/connections"), json!({})).invalid("url"),
        row("a wrong scheme", "Connect", post("/v1/connect"), json!({"url": "http://127.0.0.1/"}))
            .invalid("url"),
        row(
            "message and data",
            "Send",
            post("/v1/connections/open/send"),
            json!({"id": "open", "message": "x", "data": "AA=="}),
        )
        .invalid("message"),
        row("neither of them", "SendRaw", post("/v1/connections/open/send-raw"), json!({"id": "open"}))
            .invalid("message"),
        row(
            "arguments come before NOT_FOUND",
            "Send",
            post("/v1/connections/nobody/send"),
            json!({"id": "nobody"}),
        )
        .invalid("message"),
        row(
            "a negative timeout",
            "Send",
            post("/v1/connections/open/send"),
            json!({"id": "open", "message": "x", "timeoutMs": -1}),
        )
        .invalid("timeout_ms"),
        row(
            "a bad topic",
            "StartPublish",
            post("/v1/connections/open/publish"),
            json!({"id": "open", "topic": "../t"}),
        )
        .invalid("topic"),
        row("no topic", "StartPublish", post("/v1/connections/open/publish"), json!({"id": "open"}))
            .invalid("topic"),
        row("51 tags", "SetTags", ("PUT", "/v1/connections/open/tags"), json!({"id": "open", "tags": many}))
            .invalid("tags"),
        row(
            "a tag too long",
            "SetTag",
            post("/v1/connections/open/tags/k"),
            json!({"id": "open", "key": "k", "value": "x".repeat(1025)}),
        )
        .invalid("value"),
        row(
            "a bad close code",
            "Disconnect",
            ("DELETE", "/v1/connections/open?code=1006"),
            json!({"id": "open", "code": 1006}),
        )
        .invalid("code"),
        row("egress", "Connect", post("/v1/connections"), json!({"url": "ws://169.254.169.254/"})).says(
            Code::PermissionDenied,
            403,
            "egress_denied",
            "url",
        ),
        row(
            "an id in use",
            "Connect",
            post("/v1/connections"),
            json!({"url": format!("{upstream}?b"), "connectionId": "open"}),
        )
        .says(Code::AlreadyExists, 409, "id_in_use", "connection_id"),
        row(
            "a closed socket",
            "Send",
            post("/v1/connections/closed/send"),
            json!({"id": "closed", "message": "x"}),
        )
        .says(Code::FailedPrecondition, 400, "not_open", ""),
        row("a failed dial", "Connect", post("/v1/connections"), json!({"url": "ws://127.0.0.1:1/"})).says(
            Code::Unavailable,
            503,
            "dial_failed",
            "",
        ),
        row(
            "no reply",
            "Send",
            post("/v1/connections/open/send"),
            json!({"id": "open", "message": "{\"id\":1}", "timeoutMs": 20}),
        )
        .says(Code::DeadlineExceeded, 504, "timed_out", ""),
    ]
}

async fn call(client: &mut grpc::Client, rpc: &str, message: Value) -> Result<(), Status> {
    macro_rules! unary {
        ($($name:literal => $method:ident,)+) => {
            match rpc {
                $($name => client.$method(tonic::Request::new(serde_json::from_value(message).expect("a message"))).await.map(drop),)+
                other => panic!("no such method here: {other}"),
            }
        };
    }
    unary! {
        "Connect" => connect, "Get" => get, "Disconnect" => disconnect, "Send" => send, "SendRaw" => send_raw,
        "StartPublish" => start_publish, "StopPublish" => stop_publish, "GetTag" => get_tag, "GetTags" => get_tags,
        "SetTag" => set_tag, "SetTags" => set_tags,
    }
}

async fn prepared() -> (Service, Upstream) {
    let service = Service::start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    for id in ["open", "closed"] {
        let request = ConnectRequest { connection_id: id.into(), ..grpc::to(&upstream.url()) };
        grpc::dial(&mut client, request).await;
        let mut peer = upstream.peer().await;
        if id == "closed" {
            peer.end().await;
            grpc::once(&mut client, id, ConnectionStatus::Disconnected).await;
        } else {
            // Read and never answered; held by the task for as long as the test runs.
            tokio::spawn(async move { while peer.next().await.is_some() {} });
        }
    }
    (service, upstream)
}

#[tokio::test]
async fn the_whole_table_holds_over_grpc() {
    let (service, upstream) = prepared().await;
    let mut client = service.grpc().await;
    let mut wrong = Vec::new();
    for row in rows(&upstream.url()) {
        let status = call(&mut client, row.rpc, row.message).await.expect_err(row.what);
        let told = fault(&status);
        let field = row.field.is_empty() || told.fields.iter().any(|field| field == row.field);
        if (status.code(), told.reason.as_str()) != (row.code, row.reason) || !field {
            wrong.push(format!("{}: {:?} {told:?} '{}'", row.what, status.code(), status.message()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn the_whole_table_holds_over_rest() {
    let (service, upstream) = prepared().await;
    let http = service.http();
    let mut wrong = Vec::new();
    for row in rows(&upstream.url()) {
        let (method, path) = row.rest;
        let mut body = row.message;
        let body = body.as_object_mut().filter(|_| method != "GET" && method != "DELETE").map(|fields| {
            fields.remove("id");
            fields.remove("key");
            Value::Object(fields.clone())
        });
        let answer = http.call(method, path, body.as_ref()).await;
        let status = answer.json();
        let info = &status["details"][0];
        if (answer.status, &status["code"], &info["reason"])
            != (row.http, &json!(row.code as i32), &json!(row.reason))
        {
            wrong.push(format!("{}: {} {status}", row.what, answer.status));
        }
        assert_eq!(info["@type"], "type.googleapis.com/google.rpc.ErrorInfo", "{}", row.what);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn rest_takes_both_spellings_and_refuses_unknown_fields() {
    let (service, upstream) = prepared().await;
    let http = service.http();
    for (body, status) in [
        (json!({"url": upstream.url(), "connectionId": "camel", "autoReconnect": false}), 200),
        (json!({"url": upstream.url(), "connection_id": "snake", "auto_reconnect": false}), 200),
        (json!({"url": upstream.url(), "nonsense": 1}), 400),
        (json!({"url": 5}), 400),
        (json!(["url"]), 400),
    ] {
        let answer = http.post("/v1/connections", &body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    let connection = http.get("/v1/connections/snake").await.json();
    assert_eq!(connection["connection"]["id"], "snake");
    assert_eq!(connection["connection"]["status"], "CONNECTED");
    let list = http.get("/v1/connections?pageSize=1").await.json();
    assert_eq!(list["connections"].as_array().expect("a list").len(), 1);
    assert!(list["nextPageToken"].is_string());
    assert_eq!(http.get("/v1/connections?nonsense=1").await.status, 400);
    assert_eq!(http.get("/v1/nowhere").await.status, 404);
    assert_eq!(http.call("PUT", "/v1/connections", None).await.status, 405);
}

#[tokio::test]
async fn a_foreign_page_is_given_no_leave() {
    let service = Service::start().await;
    let request = |method: &str| {
        let request = http::Request::builder().method(method).uri("/v1/connections");
        let request = request.header("origin", "https://elsewhere.example");
        request.header("access-control-request-method", "POST").body(Default::default()).expect("a request")
    };
    for method in ["GET", "OPTIONS"] {
        let answer = service.http().send(request(method)).await;
        assert!(
            !answer.headers.contains_key("access-control-allow-origin"),
            "{method}: {:?}",
            answer.headers
        );
    }
}

#[tokio::test]
async fn what_is_not_built_says_so() {
    let service = Service::start().await;
    let http = service.http();
    for path in ["/v1/rooms", "/v1/rooms/a/members", "/v1/rooms/a/messages"] {
        let answer = http.get(path).await;
        assert!(answer.status == 501 || answer.status == 200, "{path}: {}", answer.status);
    }
}

#[tokio::test]
async fn every_page_is_listed_once() {
    let service = Service::start().await;
    let upstream = Upstream::echo().await;
    let mut client = service.grpc().await;
    for n in 0..25 {
        let request = ConnectRequest { connection_id: format!("c{n:02}"), ..grpc::to(&upstream.url()) };
        grpc::dial(&mut client, request).await;
    }
    let (mut token, mut seen, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let request = ListRequest { page_size: 10, page_token: token, ..Default::default() };
        let page = client.list(request).await.expect("a page").into_inner();
        assert_eq!(page.total, 25, "of all pages");
        assert!(page.connections.len() <= 10);
        seen.extend(page.connections.into_iter().map(|connection| connection.id));
        pages += 1;
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, 3);
    let unique: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), unique.len()), (25, 25));
    let request = ListRequest { page_token: "garbage".into(), ..Default::default() };
    assert_eq!(client.list(request).await.expect_err("no token of ours").code(), Code::InvalidArgument);
}

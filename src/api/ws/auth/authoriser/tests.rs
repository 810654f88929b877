use super::*;
use crate::{
    api::testing::{on_a_shard, start},
    core::rooms::RoomName as Room,
    pki,
};
use axum::{
    Router,
    body::{Body, Bytes as Sent},
    extract::State,
    routing::post,
};
use http::Response;
use std::{future::pending, net::SocketAddr};

type Script = Arc<Mutex<Vec<Value>>>;

/// Answers what the question's header `x-want` says, and keeps the questions.
async fn answer(State(asked): State<Script>, body: Sent) -> Response<Body> {
    let question: Value = serde_json::from_slice(&body).unwrap();
    let want = question["headers"]["x-want"].as_str().unwrap_or_default().to_owned();
    asked.lock().push(question);
    let (status, text) = want.split_once(' ').unwrap_or((&want, ""));
    if status == "hang" {
        pending::<()>().await;
    }
    let text =
        if text == "long" { "x".repeat(limits::AUTHORISER_ANSWER_BYTES_MAX + 1) } else { text.to_owned() };
    Response::builder()
        .status(status.parse::<u16>().unwrap_or(200))
        .header("content-type", "text/plain")
        .header("set-cookie", "not=passed")
        .body(text.into())
        .unwrap()
}

fn over(address: SocketAddr) -> Authoriser {
    let tls = pki::client_config("", "", "").unwrap();
    let timeout = Duration::from_millis(500);
    Authoriser::new(&AuthoriserSettings { url: format!("http://{address}/ask?k=v"), timeout, tls }).unwrap()
}

fn request(want: &str) -> Parts {
    let request = Request::get("/ws/a%20b?x=1&y")
        .header("host", "example.com")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("connection", "upgrade, X-Hop")
        .header("upgrade", "websocket")
        .header("x-hop", "1")
        .header("keep-alive", "1")
        .header("sec-websocket-key", "k")
        .header("x-want", want);
    let mut parts = request.body(()).unwrap().into_parts().0;
    parts.extensions.insert(Peer { address: "192.0.2.1:7".parse().unwrap(), tls: false });
    parts
}

async fn passed(authoriser: &Authoriser, answer: &str) -> Option<Box<Pass>> {
    match authoriser.ask(&request(&format!("200 {answer}"))).await {
        Verdict::In(pass) => Some(pass),
        Verdict::Failed => None,
        Verdict::Out { .. } | Verdict::Full => panic!("{answer}"),
    }
}

#[test]
fn whom_it_lets_in_and_what_it_is_asked() {
    on_a_shard(async {
        let asked = Script::default();
        let running = start(Router::new().route("/ask", post(answer)).with_state(asked.clone()));
        let authoriser = over(running.address);
        let pass = passed(&authoriser, "{}").await.unwrap();
        assert!(pass.user.is_none() && pass.joins.is_empty() && pass.valid_for.is_none());
        while authoriser.kept.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        let any = Room::parse("room", "any").unwrap();
        assert!(pass.reach.allows(&any) && !pass.may_join.allows(&any));
        let text =
            r#"{"user":"ann","rooms":["a","b"],"may_join":["c-*"],"tags":{"t":"1"},"valid_for_ms":1500}"#;
        let pass = passed(&authoriser, text).await.unwrap();
        assert_eq!((pass.user.as_deref(), pass.valid_for), (Some("ann"), Some(Duration::from_millis(1500))));
        assert_eq!(pass.joins.iter().map(Room::as_str).collect::<Vec<_>>(), ["a", "b"]);
        let named = |name: &str| Room::parse("room", name).unwrap();
        assert!(pass.joins_beside && pass.reach.allows(&named("a")) && !pass.reach.allows(&named("c-1")));
        assert!(pass.may_join.allows(&named("c-1")) && pass.may_join.allows(&named("b")));
        assert_eq!(pass.tags, [("t".into(), "1".into())]);
        let question = asked.lock()[0].clone();
        assert_eq!(question["method"], "GET");
        assert_eq!((&question["path"], &question["query"]), (&"/ws/a%20b".into(), &"x=1&y".into()));
        assert_eq!(question["remote"], "192.0.2.1:7");
        let headers = json!({"host": "example.com", "cookie": "a=1, b=2", "x-want": "200 {}"});
        assert_eq!(question["headers"], headers);
        assert_eq!(running.counters.accepted.get(), 1, "one kept connection asks all");
    });
}

#[test]
fn its_own_refusals_go_to_the_client_and_all_else_is_a_failure() {
    on_a_shard(async {
        let running = start(Router::new().route("/ask", post(answer)).with_state(Script::default()));
        let authoriser = over(running.address);
        let Verdict::Out { status, content_type, body } = authoriser.ask(&request("402 pay first")).await
        else {
            panic!("not refused")
        };
        assert_eq!((status.as_u16(), &body[..]), (402, &b"pay first"[..]));
        assert_eq!(content_type.unwrap(), "text/plain");
        for want in ["500 x", "302 x", "204", "201 {}", "403 long", "hang"] {
            assert!(matches!(authoriser.ask(&request(want)).await, Verdict::Failed), "{want}");
        }
        for bad in [
            "",
            "[]",
            "null",
            r#"{"user":1}"#,
            r#"{"rooms":"a"}"#,
            r#"{"rooms":["a,b"]}"#,
            r#"{"rooms":["a*"]}"#,
            r#"{"tags":[]}"#,
            r#"{"valid_for_ms":0}"#,
            r#"{"valid_for_ms":"1"}"#,
        ] {
            assert!(passed(&authoriser, bad).await.is_none(), "{bad}");
        }
        assert!(passed(&authoriser, r#"{"user":null,"rooms":null}"#).await.is_some());
    });
}

#[test]
fn a_service_that_went_away_and_too_many_questions() {
    on_a_shard(async {
        let asked = Script::default();
        let running = start(Router::new().route("/ask", post(answer)).with_state(asked.clone()));
        let authoriser = Arc::new(over(running.address));
        assert!(passed(&authoriser, "{}").await.is_some());
        running.stop.stop();
        running.ended.await.unwrap().unwrap();
        assert!(passed(&authoriser, "{}").await.is_none(), "nobody listens");
        let running = start(Router::new().route("/ask", post(answer)).with_state(asked.clone()));
        let authoriser = Arc::new(over(running.address));
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..limits::AUTHORISER_IN_FLIGHT {
            let authoriser = authoriser.clone();
            waiting.spawn_local(async move { authoriser.ask(&request("hang")).await });
        }
        while authoriser.under_way.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(authoriser.ask(&request("200 {}")).await, Verdict::Full));
        while let Some(verdict) = waiting.join_next().await {
            assert!(matches!(verdict.unwrap(), Verdict::Failed));
        }
        assert!(passed(&authoriser, "{}").await.is_some(), "room again");
    });
}

#[test]
fn a_url_that_cannot_be_asked_is_a_bad_configuration() {
    let tls = pki::client_config("", "", "").unwrap();
    let new = |url: &str| {
        let settings = AuthoriserSettings { url: url.into(), timeout: Duration::ZERO, tls: tls.clone() };
        Authoriser::new(&settings).map(|_| ())
    };
    assert!(new("https://auth.example/ask").is_ok());
    assert!(new("ws://auth.example").unwrap_err().contains("neither http nor https"));
}

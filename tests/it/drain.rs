//! SIGTERM: nothing new, what is under way ends, sockets are closed in order, the exit code tells.

use crate::harness::{Service, Upstream, fault, grpc, service::Plan, wait_for, within};
use std::time::Duration;
use tonic::Code;
use websocket_manager::proto::SendRequest;

/// Long enough to see each phase, short enough for a test.
fn plan() -> Plan {
    Plan::new().args(&["--drain-timeout", "20s", "--drain-lame-duck", "4s"])
}

#[tokio::test]
async fn a_drain_without_work_ends_with_0_and_a_close_frame() {
    let mut service = Service::start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    grpc::dial(&mut client, grpc::to(&upstream.url())).await;
    let mut peer = upstream.peer().await;
    service.signal("TERM").await;
    let code = peer.closed().await;
    assert!(matches!(code, Some(1001 | 1012)), "an orderly end: {code:?}");
    assert_eq!(service.exit().await, 0, "{}", service.log());
}

#[tokio::test]
async fn readiness_falls_first_while_liveness_and_work_go_on() {
    let mut service = plan().start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    let id = grpc::dial(&mut client, grpc::to(&upstream.url())).await;
    let mut peer = upstream.peer().await;
    let http = service.http();
    assert_eq!(http.get("/readyz").await.status, 200);
    service.signal("TERM").await;
    wait_for("/readyz to be 503", async || (http.get("/readyz").await.status == 503).then_some(())).await;
    assert_eq!(http.get("/livez").await.status, 200);
    // The lame duck still works.
    let send = SendRequest { id, message: r#"{"id": 1}"#.into(), ..Default::default() };
    let send = tokio::spawn(async move { client.send(send).await });
    let asked = peer.text().await;
    peer.say(asked).await;
    within("the reply", send).await.expect("the task ends").expect("a reply");
    assert_eq!(service.exit().await, 0, "{}", service.log());
}

#[tokio::test]
async fn sends_under_way_end_with_their_reply_and_new_ones_are_refused() {
    let mut service = Plan::new().args(&["--drain-timeout", "10s", "--drain-lame-duck", "0s"]).start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    let id = grpc::dial(&mut client, grpc::to(&upstream.url())).await;
    let mut peer = upstream.peer().await;
    let request = |text: &str| SendRequest { id: id.clone(), message: text.into(), ..Default::default() };
    let (mut caller, first) = (client.clone(), request(r#"{"id": 1}"#));
    let send = tokio::spawn(async move { caller.send(first).await });
    let asked = peer.text().await;
    service.signal("TERM").await;
    let refused = wait_for("new work to be refused", async || {
        let late = SendRequest { timeout_ms: 20, ..request("late") };
        client.send(late).await.err().filter(|status| status.code() == Code::Unavailable)
    })
    .await;
    let told = fault(&refused);
    assert!(told.reason == "not_sent" || told.reason == "unavailable" || told.reason.is_empty(), "{told:?}");
    peer.say(asked).await;
    within("the reply", send).await.expect("the task ends").expect("the Send under way has its reply");
    assert_eq!(service.exit().await, 0, "{}", service.log());
}

#[tokio::test]
async fn the_admin_port_drains_too() {
    let mut service = Service::start().await;
    let answer = service.admin().post("/drain", &serde_json::Value::Null).await;
    assert_eq!(answer.status, 202);
    assert_eq!(service.exit().await, 0, "{}", service.log());
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut service = Plan::new().args(&["--drain-timeout", "1h", "--drain-lame-duck", "30m"]).start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    let id = grpc::dial(&mut client, grpc::to(&upstream.url())).await;
    let mut peer = upstream.peer().await;
    let request =
        SendRequest { id, message: r#"{"id": 1}"#.into(), timeout_ms: 3_000_000, ..Default::default() };
    let send = tokio::spawn(async move { client.send(request).await });
    peer.text().await;
    service.signal("TERM").await;
    let http = service.http();
    wait_for("the drain to begin", async || (http.get("/readyz").await.status == 503).then_some(())).await;
    service.signal("TERM").await;
    assert_eq!(service.exit().await, 2, "what remained was left: {}", service.log());
    let outcome = within("the outcome", send).await.expect("the task ends");
    assert!(outcome.is_err(), "no reply was made up");
}

#[tokio::test]
async fn a_drain_that_runs_out_of_time_is_forced_and_says_so() {
    let mut service =
        Plan::new().args(&["--drain-timeout", "500ms", "--drain-lame-duck", "0s"]).start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    let id = grpc::dial(&mut client, grpc::to(&upstream.url())).await;
    let mut peer = upstream.peer().await;
    let request =
        SendRequest { id, message: r#"{"id": 1}"#.into(), timeout_ms: 60_000, ..Default::default() };
    let send = tokio::spawn(async move { client.send(request).await });
    peer.text().await;
    service.signal("TERM").await;
    let status = within("the outcome", send).await.expect("the task ends").expect_err("no reply came");
    assert!(
        matches!(status.code(), Code::Aborted | Code::Unavailable | Code::Unknown | Code::Cancelled),
        "{status:?}"
    );
    assert_eq!(service.exit().await, 2);
    assert!(service.log().contains("drain_forced"), "what remained is counted: {}", service.log());
}

#[tokio::test]
async fn followers_are_not_in_the_way() {
    let mut service = Service::start().await;
    let upstream = Upstream::echo().await;
    let mut client = service.grpc().await;
    let id = grpc::dial(&mut client, grpc::to(&upstream.url())).await;
    let _events = service.http().events(&format!("/v1/connections/{id}/messages"), None).await;
    let _watch = service.http().events("/v1/watch", None).await;
    let idle = tokio::net::TcpStream::connect(service.ready.http).await.expect("the port answers");
    service.signal("TERM").await;
    let ended = tokio::time::timeout(Duration::from_secs(15), service.exit()).await;
    assert_eq!(ended.expect("long before the drain's 25 s are over"), 0, "{}", service.log());
    drop(idle);
}

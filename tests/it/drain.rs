//! SIGTERM: nothing new, what is under way ends, sockets are closed in order, the exit code tells.

use crate::harness::{Client, Service, Upstream, fault, grpc, service::Plan, wait_for, within};
use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};
use tokio_stream::StreamExt;
use tonic::{Code, Status, Streaming};
use websocket_manager::proto::{
    ConnectRequest, ListRequest, PublishOptions, ReceiveRequest, ReceivedMessage, SendRequest, TagFilter,
    TagFilters, WatchRequest, receive_request::Source, received_message::Body,
};

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
    let mut topic = service.http().events("/v1/messages?topic=quiet", None).await;
    let idle = tokio::net::TcpStream::connect(service.ready.http).await.expect("the port answers");
    service.signal("TERM").await;
    let ended = tokio::time::timeout(Duration::from_secs(15), service.exit()).await;
    assert_eq!(ended.expect("long before the drain's 25 s are over"), 0, "{}", service.log());
    // Its stream was ended, not cut.
    let told = topic.next().await;
    assert_eq!((told.name.as_str(), &told.data["code"]), ("error", &14.into()), "{told:?}");
    drop(idle);
}

/// A topic whose events cannot be written: a file stands where its folder belongs.
struct Stuck(PathBuf);

impl Stuck {
    const TOPIC: &str = "stuck";

    fn at(service: &Service) -> Self {
        let folder = service.data_dir().join("bus").join(Self::TOPIC);
        fs::write(&folder, "").expect("nothing was published to it yet");
        Stuck(folder)
    }

    fn release(self) {
        fs::remove_file(self.0).expect("it is still there");
    }

    /// A connection that comes back with the next start, and publishes there.
    async fn dial(client: &mut Client, upstream: &Upstream) -> String {
        let publish = PublishOptions { topic: Self::TOPIC.into(), ..Default::default() };
        let request = ConnectRequest {
            auto_reconnect: true,
            publish: Some(publish),
            tags: BTreeMap::from([("venue".to_owned(), "x".to_owned())]),
            ..grpc::to(&upstream.url())
        };
        grpc::dial(client, request).await
    }
}

type Followed = tokio::task::JoinHandle<(Vec<Body>, Status)>;

/// Everything that still comes of a stream, and how it ends.
async fn rest(mut stream: Streaming<ReceivedMessage>) -> (Vec<Body>, Status) {
    let mut bodies = Vec::new();
    while let Some(item) = stream.next().await {
        match item {
            Ok(message) => bodies.extend(message.body),
            Err(status) => return (bodies, status),
        }
    }
    (bodies, Status::ok(""))
}

async fn follow(client: &mut Client, source: Source) -> Followed {
    let request = ReceiveRequest { source: Some(source), ..Default::default() };
    tokio::spawn(rest(client.receive(request).await.expect("a stream").into_inner()))
}

fn assert_told(what: &str, status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{what}: {status:?}");
    let ours = ["this instance is leaving", "the shard has stopped"];
    assert!(ours.iter().any(|words| status.message().contains(words)), "{what} was cut: {status:?}");
}

#[tokio::test]
async fn what_comes_back_is_not_gone_while_the_last_events_are_written() {
    let mut service = Plan::new().args(&["--drain-lame-duck", "0s"]).start().await;
    let stuck = Stuck::at(&service);
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    let id = Stuck::dial(&mut client, &upstream).await;
    let mut peer = upstream.peer().await;
    let by_id = follow(&mut client, Source::Id(id.clone())).await;
    let filters = vec![TagFilter { key: "venue".into(), value: "x".into() }];
    let mut others = Vec::new();
    for source in [
        Source::Filter(TagFilters { filters }),
        Source::Topic(Stuck::TOPIC.into()),
        Source::Topic("quiet".into()),
        Source::Room("lobby".into()),
    ] {
        others.push((format!("{source:?}"), follow(&mut client, source).await));
    }
    let mut watch = client.watch(WatchRequest::default()).await.expect("a stream").into_inner();
    peer.say("last words").await;

    service.signal("TERM").await;
    let what = "the connection to be let go of";
    let refused = wait_for(what, async || grpc::get(&mut client, &id).await.err()).await;
    assert_eq!((refused.code(), &*fault(&refused).reason), (Code::Unavailable, "not_sent"), "{refused:?}");
    let answer = service.http().get(&format!("/v1/connections/{id}")).await;
    assert_eq!((answer.status, &answer.json()["code"]), (503, &14.into()));
    let short = client.list(ListRequest::default()).await.expect_err("it would not be whole");
    assert_eq!(short.code(), Code::Unavailable, "{short:?}");
    let (bodies, status) = within("the end of the connection", by_id).await.expect("the task ends");
    assert!(bodies.contains(&Body::Text("last words".into())), "{bodies:?}");
    assert!(matches!(bodies.last(), Some(Body::End(_))), "first its last record: {bodies:?}");
    assert_told("Receive by id", &status);
    let again = follow(&mut client, Source::Id(id.clone())).await;
    assert_told("Receive by id, again", &within("its end", again).await.expect("the task ends").1);

    stuck.release();
    for (what, follower) in others {
        let (_, status) = within(&what, follower).await.expect("the task ends");
        assert_told(&what, &status);
    }
    let end = within("the end of Watch", async {
        loop {
            match watch.next().await {
                Some(Ok(_)) => {}
                Some(Err(status)) => return status,
                None => return Status::ok(""),
            }
        }
    });
    assert_told("Watch", &end.await);
    assert_eq!(service.exit().await, 0, "{}", service.log());
    service = service.start_again().await;
    let mut client = service.grpc().await;
    assert_eq!(grpc::get(&mut client, &id).await.expect("it is back").id, id);
}

#[tokio::test]
async fn a_flush_that_does_not_end_is_forced() {
    let args = ["--drain-timeout", "500ms", "--drain-lame-duck", "0s"];
    let mut service = Plan::new().args(&args).start().await;
    let _stuck = Stuck::at(&service);
    let upstream = Upstream::echo().await;
    let mut client = service.grpc().await;
    let id = Stuck::dial(&mut client, &upstream).await;
    let by_id = follow(&mut client, Source::Id(id)).await;
    service.signal("TERM").await;
    let (_, status) = within("the end of the connection", by_id).await.expect("the task ends");
    assert_told("Receive by id", &status);
    assert_eq!(service.exit().await, 2);
    assert!(service.log().contains("drain_forced"), "what remained is counted: {}", service.log());
}

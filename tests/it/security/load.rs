//! Too much of everything: what is asked for is bounded, and what was given up is given back.

use super::{Neighbour, reaches, request};
use crate::harness::{Service, Upstream, fault, grpc, upstream::RawUpstream, wait_for, within};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tonic::Code;
use websocket_manager::proto::{
    GetRequest, ListRequest, ReceiveRequest, SendRequest, receive_request::Source,
};

const MIB: f64 = 1024.0 * 1024.0;

/// What no call may leave behind.
async fn nothing_is_left(service: &Service) {
    for name in [
        "wsm_sends_in_flight",
        "wsm_shard_callers_waiting",
        "wsm_followers",
        "wsm_outbox_bytes",
        "wsm_mailbox_depth",
    ] {
        reaches(service, name, &[], 0.0).await;
    }
    reaches(service, "wsm_connections", &[("status", "connecting")], 0.0).await;
}

#[tokio::test]
async fn ten_thousand_requests_at_once_are_all_answered() {
    const MANY: usize = 10_000;
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    // Several HTTP/2 connections, so that all shards are met.
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(service.grpc().await);
    }
    let calls: Vec<_> = (0..MANY)
        .map(|n| {
            let mut client = clients[n % clients.len()].clone();
            let known = n % 2 == 0;
            let id = if known { "neighbour".to_owned() } else { format!("nobody-{n}") };
            tokio::spawn(async move { (known, client.get(GetRequest { id }).await.map(drop)) })
        })
        .collect();
    neighbour.is_well().await;
    for call in calls {
        match within("an answer", call).await.expect("the task ends") {
            (true, answer) => answer.expect("it is found"),
            (false, answer) => assert_eq!(answer.expect_err("nobody").code(), Code::NotFound),
        }
    }
    nothing_is_left(&service).await;
    neighbour.is_well().await;
}

/// Calls are dropped at every stage: before they are written, on their way, while they wait.
#[tokio::test]
async fn cancelled_calls_leave_nothing_behind() {
    const ROUNDS: u64 = 300;
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let silent = Upstream::handled(|mut peer| async move { while peer.next().await.is_some() {} }).await;
    let mute = RawUpstream::start(|_, tcp| async move {
        let _held = tcp;
        std::future::pending::<()>().await;
    })
    .await;
    let mut client = service.grpc().await;
    let connect = request(json!({"url": silent.url(), "connectionId": "silent"}));
    grpc::dial(&mut client, connect).await;
    for round in 0..ROUNDS {
        // A connection that resets too many streams before they are looked at is cut, rightly.
        if round % 5 == 0 {
            client = service.grpc().await;
        }
        let (mut sender, mut dialler, mut follower) = (client.clone(), client.clone(), client.clone());
        let url = mute.url();
        let send = tokio::spawn(async move {
            let message = format!(r#"{{"id":{round}}}"#);
            sender
                .send(SendRequest { id: "silent".into(), message, timeout_ms: 600_000, ..Default::default() })
                .await
                .map(drop)
        });
        let dial = tokio::spawn(async move {
            let connect = json!({"url": url, "connectTimeoutMs": 2000, "tags": {"n": round.to_string()}});
            dialler.connect(request(connect)).await.map(drop)
        });
        let follow = tokio::spawn(async move {
            let source = Some(Source::Id("silent".into()));
            let mut stream =
                follower.receive(ReceiveRequest { source, ..Default::default() }).await?.into_inner();
            stream.next().await.transpose().map(drop)
        });
        for _ in 0..round % 40 {
            tokio::task::yield_now().await;
        }
        for call in [send, dial, follow] {
            call.abort();
            let _ = call.await;
        }
    }
    nothing_is_left(&service).await;
    // What was still on its way to the service when its caller gave up comes and ends a little later.
    wait_for("each accepted Send to have ended once", async || {
        let ended = service.metric("wsm_sends_ended_total", &[]).await;
        (ended == service.metric("wsm_sends_accepted_total", &[]).await).then_some(())
    })
    .await;
    let list = neighbour.client.list(ListRequest::default()).await;
    let total = list.expect("a list").into_inner().total;
    assert_eq!(total, 2, "only what was connected");
    neighbour.is_well().await;
}

/// One client follows a fast feed and never reads.
#[tokio::test]
async fn a_follower_that_never_reads_costs_a_bounded_amount() {
    const MESSAGES: usize = 4000;
    const BYTES: usize = 64 * 1024;
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    let connect = request(json!({"url": upstream.url(), "connectionId": "fast"}));
    grpc::dial(&mut client, connect).await;
    let mut peer = upstream.peer().await;
    // The rings are full once, so that what they keep is not taken for growth.
    for _ in 0..256 {
        peer.say_bytes(vec![1; BYTES]).await;
    }
    reaches(&service, "wsm_messages_total", &[("direction", "in")], 256.0).await;
    let before = service.metric("wsm_process_resident_memory_bytes", &[]).await;

    let mut stalled = Vec::new();
    for _ in 0..4 {
        let mut reader = service.grpc().await;
        let source = Some(Source::Id("fast".into()));
        let request = ReceiveRequest { source, from_start: true, ..Default::default() };
        stalled.push((reader.receive(request).await.expect("a stream"), reader));
    }
    for n in 0..MESSAGES {
        peer.say_bytes(vec![2; BYTES]).await;
        if n % 1000 == 0 {
            neighbour.is_well().await;
        }
    }
    reaches(&service, "wsm_messages_total", &[("direction", "in")], 256.0 + MESSAGES as f64 + 4.0).await;
    let grown = service.metric("wsm_process_resident_memory_bytes", &[]).await - before;
    assert!(grown < 64.0 * MIB, "{} MiB more", grown / MIB);
    neighbour.is_well().await;
    drop(stalled);
    nothing_is_left(&service).await;
}

#[tokio::test]
async fn two_thousand_connects_to_a_dead_port_all_fail_and_leave_nothing() {
    const MANY: usize = 2000;
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("an address"));
    drop(listener);
    let client = service.grpc().await;
    let calls: Vec<_> = (0..MANY)
        .map(|n| {
            let mut client = client.clone();
            let connect =
                request(json!({"url": url, "connectionId": format!("dead-{n}"), "autoReconnect": true}));
            tokio::spawn(async move { client.connect(connect).await })
        })
        .collect();
    neighbour.is_well().await;
    for call in calls {
        let status = within("an answer", call).await.expect("the task ends").expect_err("nobody listens");
        let told = (status.code(), fault(&status));
        let dead = told.0 == Code::Unavailable && told.1.reason == "dial_failed";
        assert!(dead || (told.0 == Code::ResourceExhausted && told.1.retry), "{status:?}");
    }
    nothing_is_left(&service).await;
    let dials = service.metric("wsm_dials_total", &[]).await;
    assert_eq!(service.metric("wsm_dial_failures_total", &[]).await, dials - 1.0, "all but the neighbour's");
    assert_eq!(client.clone().list(ListRequest::default()).await.expect("a list").into_inner().total, 1);
    neighbour.is_well().await;
}

/// Names of callers must not become series.
#[tokio::test]
async fn metrics_do_not_grow_with_names() {
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let upstream = Upstream::echo().await;
    let mut client = service.grpc().await;
    let before = wait_for("a scrape", async || Some(service.metrics().await.series().len())).await;
    for n in 0..50 {
        let (id, topic) = (format!("name-{n}"), format!("topic-{n}"));
        let connect = json!({"url": upstream.url(), "connectionId": id, "tags": {format!("k{n}"): "v"}, "publish": {"topic": topic}});
        grpc::dial(&mut client, request(connect)).await;
        let _ = client.get(GetRequest { id: format!("nobody-{n}") }).await;
        let _ = service.http().get(&format!("/v1/nowhere-{n}")).await;
    }
    let page = service.admin().get("/metrics").await.text();
    assert_eq!(service.metrics().await.series().len(), before, "{page}");
    assert!(!page.contains("name-1") && !page.contains("topic-1") && !page.contains("nowhere"), "{page}");
    neighbour.is_well().await;
}

//! What the service tells of itself moves with what it measures.

use crate::harness::{
    Service, Upstream, Visitor,
    fleet::{Backing, FleetPlan},
    grpc::{self, dial},
    metrics::Metrics,
    service::Plan,
    wait_for, wait_long,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};
use tokio_tungstenite::tungstenite::Message;
use websocket_manager::proto::{ConnectRequest, ConnectionStatus, GetRequest};

#[tokio::test]
async fn calls_are_told_by_method_and_end_whatever_the_protocol() {
    let service = Service::start().await;
    let upstream = Upstream::echo().await;
    let mut client = service.grpc().await;
    let id = dial(&mut client, grpc::to(&upstream.url())).await;
    let http = service.http();
    assert_eq!(http.get(&format!("/v1/connections/{id}")).await.status, 200);
    assert_eq!(http.get("/v1/connections/nobody").await.status, 404);
    let connect = "/virtufin.WebSocketManager/Get";
    assert_eq!(http.post(connect, &json!({"id": id})).await.status, 200);
    assert_eq!(http.post("/v1/connect", &json!({"url": "ws://127.0.0.1:1/"})).await.status, 503);
    assert!(client.get(GetRequest { id: "-".repeat(500) }).await.is_err());
    let metrics = service.metrics().await;
    let ended = |method, outcome| metrics.sum("wsm_calls_total", &[("method", method), ("outcome", outcome)]);
    assert_eq!((ended("Connect", "ok"), ended("Connect", "failed")), (1.0, 1.0));
    assert_eq!((ended("Get", "ok"), ended("Get", "refused")), (2.0, 2.0));
    assert_eq!(metrics.sum("wsm_call_seconds_count", &[("method", "Get")]), 4.0);
    assert_eq!(metrics.sum("wsm_calls_in_flight", &[]), 0.0);
}

fn venues(metrics: &Metrics) -> BTreeSet<String> {
    let named = metrics.series().iter().filter(|series| series.name == "wsm_venue_dials_total");
    named.map(|series| series.labels[0].1.clone()).collect()
}

#[tokio::test]
async fn venues_are_told_apart_by_host_and_their_names_are_bounded() {
    let service = Service::start().await;
    let mut client = service.grpc().await;
    // Nobody listens there: none of them gets a name.
    for n in 0..300 {
        let url = format!("ws://127.8.{}.{}:1/", n / 200, n % 200 + 1);
        assert!(client.connect(grpc::to(&url)).await.is_err());
    }
    let before = service.metrics().await;
    assert_eq!(venues(&before), BTreeSet::from(["other".to_owned()]));
    assert_eq!(before.sum("wsm_venue_dial_failures_total", &[("venue", "other")]), 300.0);

    let mut first = Upstream::start_at("127.9.0.1:0".parse().expect("an address")).await;
    let url = format!("ws://{}/", first.address);
    let id = dial(&mut client, ConnectRequest { url, auto_reconnect: true, ..Default::default() }).await;
    first.peer().await.end().await;
    // Held: dropped it would be one more reconnect.
    let _back = first.peer().await;
    grpc::once(&mut client, &id, ConnectionStatus::Connected).await;
    let mut others = Vec::new();
    for n in 0..90 {
        let upstream = Upstream::start_at(format!("127.9.1.{}:0", n + 1).parse().expect("an address")).await;
        dial(&mut client, grpc::to(&format!("ws://{}/", upstream.address))).await;
        others.push(upstream);
    }
    let metrics = service.metrics().await;
    let of = |name, venue| metrics.sum(name, &[("venue", venue)]);
    assert_eq!(of("wsm_venue_reconnects_total", "127.9.0.1"), 1.0);
    assert!(of("wsm_venue_dials_total", "127.9.0.1") >= 2.0);
    // 32 of each of two shards, and the others.
    assert!((33..=65).contains(&venues(&metrics).len()), "{:?}", venues(&metrics));
    assert!(of("wsm_venue_dials_total", "other") > 300.0, "the rest is among the others");
    let all = metrics.sum("wsm_venue_dials_total", &[]);
    assert_eq!(all, metrics.sum("wsm_dials_total", &[]));
}

#[tokio::test]
async fn a_hot_shard_stands_out() {
    let service = Service::start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    dial(&mut client, grpc::to(&upstream.url())).await;
    let mut peer = upstream.peer().await;
    let flood = tokio::spawn(async move { while peer.try_send(Message::text("x".repeat(64))).await {} });
    let hot = wait_for("messages", async || {
        let metrics = service.metrics().await;
        let read =
            |shard: &&str| metrics.sum("wsm_messages_total", &[("shard", shard), ("direction", "in")]) > 0.0;
        ["0", "1"].iter().copied().find(read)
    })
    .await;
    let cold = if hot == "0" { "1" } else { "0" };
    let before = service.metrics().await;
    wait_for("the hot shard to stand out", async || {
        let now = service.metrics().await;
        let busy = |shard| {
            let of = |metrics: &Metrics| metrics.sum("wsm_shard_busy_seconds_total", &[("shard", shard)]);
            of(&now) - of(&before)
        };
        (busy(hot) > 0.2 && busy(hot) > 4.0 * busy(cold)).then_some(())
    })
    .await;
    flood.abort();
}

#[tokio::test]
async fn what_waits_in_queues_is_timed() {
    let service = Plan::new().args(&["--publish-linger", "50ms"]).start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    let id = dial(&mut client, grpc::to(&upstream.url())).await;
    let path = format!("/v1/connections/{id}");
    // Each request is taken by one of two shards; those of the other one cross threads.
    wait_for("mail that was timed", async || {
        assert_eq!(service.http().get(&path).await.status, 200);
        let metrics = service.metrics().await;
        let timed = metrics.sum("wsm_mailbox_wait_seconds_count", &[]);
        (timed >= 3.0 && metrics.sum("wsm_mailbox_wait_seconds_sum", &[]) > 0.0).then_some(())
    })
    .await;
    let body = json!({"topic": "t"});
    assert_eq!(service.http().post(&format!("{path}/publish"), &body).await.status, 200);
    upstream.peer().await.say("one").await;
    let metrics = wait_for("the batch to be taken", async || {
        let metrics = service.metrics().await;
        (metrics.sum("wsm_publish_delivered_total", &[]) == 1.0).then_some(metrics)
    })
    .await;
    // The lifecycle events had a batch of their own.
    assert!(metrics.sum("wsm_publish_wait_seconds_count", &[]) >= 1.0);
    // A batch that is not full lingers.
    assert!(metrics.sum("wsm_publish_wait_seconds_sum", &[]) >= 0.05);
    assert!(metrics.sum("wsm_shard_lag_seconds_count", &[]) >= 1.0, "the linger was a deadline");
}

#[tokio::test]
async fn who_does_not_read_is_behind() {
    let service = Plan::new().args(&["--reader-bytes-max", "64MiB"]).start().await;
    let visitor = Visitor::new(&service, "/ws/slow").await;
    let body = json!({"message": "x".repeat(512 * 1024)});
    wait_for("a member that is behind", async || {
        assert_eq!(service.http().post("/v1/rooms/slow/messages", &body).await.status, 200);
        (service.metric("wsm_room_members_behind", &[]).await == 1.0).then_some(())
    })
    .await;
    drop(visitor);
    wait_for("nobody to be behind", async || {
        (service.metric("wsm_room_members_behind", &[]).await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_process_and_its_bounds_are_plausible() {
    let service = Service::start().await;
    let upstream = Upstream::echo().await;
    let mut client = service.grpc().await;
    let before = service.metrics().await;
    for _ in 0..20 {
        dial(&mut client, grpc::to(&upstream.url())).await;
    }
    let metrics = service.metrics().await;
    let is = |name| metrics.sum(name, &[]);
    let opened = is("wsm_process_open_fds") - before.sum("wsm_process_open_fds", &[]);
    assert!((20.0..60.0).contains(&opened), "{opened}");
    assert!(is("wsm_process_max_fds") == 0.0 || is("wsm_process_max_fds") > is("wsm_process_open_fds"));
    assert!(is("wsm_process_resident_memory_bytes") >= is("wsm_process_anonymous_memory_bytes"));
    assert!(is("wsm_process_anonymous_memory_bytes") > 0.0);
    assert!(is("wsm_allocator_reserved_bytes") >= is("wsm_allocator_committed_bytes"));
    assert!(is("wsm_allocator_committed_bytes") > 1e6, "{}", is("wsm_allocator_committed_bytes"));
    assert!(is("wsm_memory_bound_bytes") > is("wsm_process_anonymous_memory_bytes"));
    assert!(is("wsm_scrape_seconds") > 0.0 && is("wsm_thread_busy_seconds_total") > 0.0);
    assert_eq!((is("wsm_ready"), is("wsm_draining")), (1.0, 0.0));
    let build = [("version", env!("CARGO_PKG_VERSION")), ("backend", "embedded")];
    assert_eq!(metrics.sum("wsm_build_info", &build), 1.0);
    // Only a fleet has a lease that ends.
    assert!(metrics.series().iter().all(|series| series.name != "wsm_lease_left_seconds"));
}

#[tokio::test]
async fn a_lease_shows_what_is_left_and_what_its_store_takes() {
    let Some(fleet) = FleetPlan::new(1, Backing::Redis).start().await else { return };
    let service = &fleet.members[0].service;
    let upstream = Upstream::echo().await;
    dial(&mut service.grpc().await, grpc::to(&upstream.url())).await;
    let renewals = service.metric("wsm_lease_renewal_seconds_count", &[]).await;
    let metrics = wait_long("another renewal", async || {
        let metrics = service.metrics().await;
        let left = metrics.sum("wsm_lease_left_seconds", &[]);
        assert!((0.0..10.0).contains(&left), "{left}");
        (metrics.sum("wsm_lease_renewal_seconds_count", &[]) > renewals).then_some(metrics)
    })
    .await;
    assert!(metrics.sum("wsm_lease_left_seconds", &[]) > 0.0);
    for call in ["read", "write"] {
        let count = |name| metrics.sum(name, &[("call", call)]);
        assert!(count("wsm_fleet_document_seconds_count") > 0.0, "{call}");
        assert!(count("wsm_redis_call_seconds_count") > 0.0, "{call}");
        assert!(count("wsm_redis_call_seconds_sum") > 0.0, "{call}");
    }
    assert!(metrics.sum("wsm_thread_busy_seconds_total", &[("work", "redis")]) > 0.0);
}

#[tokio::test]
async fn promtool_finds_nothing_to_complain_of() {
    let service = Service::start().await;
    let page = service.admin().get("/metrics").await.text();
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut running) = promtool.spawn() else {
        return eprintln!("SKIPPED: no promtool here (Debian package: prometheus)");
    };
    let mut stdin = running.stdin.take().expect("it is piped");
    std::io::Write::write_all(&mut stdin, page.as_bytes()).expect("it reads the page");
    drop(stdin);
    let said = running.wait_with_output().expect("it ends");
    let complaints =
        format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && complaints.is_empty(), "{complaints}");
}

#[tokio::test]
async fn logs_in_json_are_one_object_a_line() {
    let mut service = Plan::new().args(&["--log-format", "json", "--log-level", "debug"]).start().await;
    assert_eq!(service.terminate().await, 0);
    let log = service.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "{field}: {line}");
        }
    }
    let drained = lines.iter().find(|line| line["message"] == "drained").expect("it was drained");
    assert_eq!((&drained["code"], &drained["level"]), (&json!(0), &json!("INFO")));
}

#[tokio::test]
async fn a_collector_that_is_away_does_no_harm() {
    let nobody =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let mut service = Plan::new().args(&["--otlp-endpoint", &format!("http://{nobody}")]).start().await;
    let upstream = Upstream::echo().await;
    let id = dial(&mut service.grpc().await, grpc::to(&upstream.url())).await;
    let sent = service.http().post(&format!("/v1/connections/{id}/send"), &json!({"message": "x"})).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    wait_for("spans that failed", async || {
        let failed = service.metric("wsm_trace_spans_total", &[("outcome", "failed")]).await;
        (failed >= 3.0).then_some(())
    })
    .await;
    assert_eq!(service.metric("wsm_trace_spans_total", &[("outcome", "sent")]).await, 0.0);
    assert_eq!(service.log().matches("takes no traces").count(), 1);
    assert_eq!(service.terminate().await, 0);
}

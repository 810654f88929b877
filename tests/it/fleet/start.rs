//! Starting: with much to take over, before the backend is there, and with a clean slate.

use super::{all_open, dial, index_is, listed, published, readiness};
use crate::harness::{
    daemon::free_ports,
    feed::Feed,
    fleet::{Backing, FleetPlan},
    http::Http,
    redis::Redis,
    service::{Plan, Starting},
    sidecar::{Behind, Options, Sidecar},
    wait_for, wait_long,
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Instant};

const MANY: usize = 300;

/// Commands by which documents are written, as Redis itself counts them.
async fn writes(redis: &Redis) -> u64 {
    let stats: String = redis.run(&["INFO", "commandstats"]).await;
    let calls = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let counts = matches!(name, "set" | "del" | "pexpire" | "hset");
        counts.then(|| rest.split(',').next()?.parse::<u64>().ok()).flatten()
    };
    stats.lines().filter_map(calls).sum()
}

pub async fn many_are_taken_up_after_a_crash() {
    let Some(mut fleet) = FleetPlan::new(1, Backing::Redis).start().await else { return };
    let feed = Feed::silent().await;
    let client = fleet.service(0).grpc().await;
    let names: Vec<String> = (0..MANY).map(|number| format!("m-{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let dials = stream::iter(&names).map(|name| {
        let (mut client, ask) = (client.clone(), published(&feed, name, "many"));
        async move { dial(&mut client, ask).await }
    });
    dials.buffer_unordered(16).for_each(|_| async {}).await;
    index_is(&fleet, &names).await;

    // Nothing changes now: what is written is the lease alone.
    let renewals = async || fleet.service(0).metric("wsm_lease_renewals_total", &[]).await;
    let first = renewals().await;
    wait_long("the first renewal", async || (renewals().await > first).then_some(())).await;
    let (begin, before) = (Instant::now(), writes(fleet.redis()).await);
    let first = renewals().await;
    wait_long("two more", async || (renewals().await >= first + 2.0).then_some(())).await;
    let (spent, written) = (begin.elapsed().as_secs_f64(), writes(fleet.redis()).await - before);
    assert!(written as f64 <= spent, "{written} writes in {spent:.1} s");

    let mut client = fleet.service(0).grpc().await;
    let before = listed(&mut client).await;
    fleet.kill(0).await;
    fleet.restart(0).await;
    assert_eq!(readiness(fleet.service(0)).await.0, 200);
    assert!(feed.open() < MANY, "ready before everything is dialled again");
    let mut client = fleet.service(0).grpc().await;
    let after = all_open(&mut client, &names).await;
    assert!(names.iter().all(|name| after[*name].epoch > before[*name].epoch));
    assert_eq!(feed.alive().len(), MANY);
    assert!(names.iter().all(|name| feed.sockets(name).len() == 2), "each was dialled once more");
    feed.assert_no_overlap();
    index_is(&fleet, &names).await;
    assert_eq!(fleet.service(0).metric("wsm_fleet_owned_connections", &[]).await, MANY as f64);
}

pub async fn a_clean_slate_forgets_what_was_stored() {
    let Some(mut fleet) = FleetPlan::new(1, Backing::Redis).start().await else { return };
    let feed = Feed::silent().await;
    let mut client = fleet.service(0).grpc().await;
    for name in ["a", "b"] {
        dial(&mut client, published(&feed, name, "slate")).await;
    }
    index_is(&fleet, &["a", "b"]).await;
    fleet.kill(0).await;
    let clears = fleet.plan(0, None).args(&["--clear-all-on-start"]).start().await;
    let mut client = clears.grpc().await;
    dial(&mut client, published(&feed, "new", "slate")).await;
    for key in ["websocket-a", "websocket-b"] {
        wait_long("the record to be forgotten", async || fleet.document(key).await.is_none().then_some(()))
            .await;
    }
    index_is(&fleet, &["new"]).await;
    assert_eq!(listed(&mut client).await.into_keys().collect::<Vec<_>>(), ["new"]);
    assert_eq!((feed.sockets("a").len(), feed.sockets("new").len()), (1, 1), "nothing was dialled again");
    assert!(fleet.document("websocket-new").await.is_some());
}

/// Started while its backend is away; its HTTP port.
fn early(args: &[&str], backend: Backing) -> (Starting, Http) {
    let [port] = free_ports();
    let plan = Plan::new().set("--backend", backend.name()).set("--http-port", &port.to_string()).args(args);
    (plan.begin(), Http::new(SocketAddr::from(([127, 0, 0, 1], port)), None))
}

async fn says(http: &Http, what: &str) -> Value {
    wait_for(&format!("/readyz to name {what}"), async || {
        let answer = http.try_get("/readyz").await?;
        assert_eq!(answer.status, 503, "{}", answer.text());
        let body = answer.json();
        let reason = body["reason"].as_str()?.to_lowercase();
        reason.contains(what).then_some(body)
    })
    .await
}

pub async fn a_service_waits_for_its_redis() {
    let Some(mut redis) = Redis::start().await else { return };
    redis.kill().await;
    let url = redis.url();
    let (waiting, http) = early(&["--redis-url", &url], Backing::Redis);
    let body = says(&http, "redis").await;
    assert_eq!(body["status"], "not_ready", "{body}");
    assert_eq!(http.get("/livez").await.status, 200);
    assert_eq!(waiting.terminate().await, 0);
    let (waiting, http) = early(&["--redis-url", &url], Backing::Redis);
    says(&http, "redis").await;
    redis.start_again().await;
    let service = waiting.ready().await;
    assert_eq!(readiness(&service).await.0, 200);
}

pub async fn a_service_waits_for_its_sidecar() {
    let Some(redis) = Redis::start().await else { return };
    let Some(mut sidecar) = Sidecar::start(Behind::Redis(&redis), Options::new("wsmgr")).await else {
        return;
    };
    sidecar.kill().await;
    let args = sidecar.service_args();
    let args = args.each_ref().map(|it| &**it);
    let (waiting, http) = early(&args, Backing::Dapr);
    let body = says(&http, "sidecar").await;
    assert_eq!(body["backend"], json!("dapr"), "{body}");
    assert_eq!(waiting.terminate().await, 0);
    let (waiting, http) = early(&args, Backing::Dapr);
    says(&http, "sidecar").await;
    sidecar.start_again().await;
    let service = waiting.ready().await;
    assert_eq!(readiness(&service).await.0, 200);
}

//! Names: of components that the sidecar does not have, of topics that look odd, and a wrong token.

use super::request;
use crate::harness::{
    Upstream,
    daemon::free_ports,
    fault,
    fleet::{Backing, FleetPlan},
    http::Http,
    redis::Redis,
    service::Plan,
    sidecar::{Behind, Options, Sidecar},
    wait_for,
};
use serde_json::json;
use std::net::SocketAddr;
use tonic::Code;

/// `/readyz` and the log both say this, though the service has not become ready.
async fn is_told(args: &[&str], options: Options, parts: &[&str]) {
    let Some(redis) = Redis::start().await else { return };
    let Some(sidecar) = Sidecar::start(Behind::Redis(&redis), options).await else { return };
    let [port] = free_ports();
    let plan = Plan::new().set("--backend", "dapr").set("--http-port", &port.to_string());
    let plan = plan.args(&sidecar.service_args().each_ref().map(|it| &**it)).args(args);
    let service = plan.start_unready();
    let http = Http::new(SocketAddr::from(([127, 0, 0, 1], port)), None);
    let what = format!("{parts:?} in /readyz");
    let said = |text: &str| parts.iter().all(|part| text.contains(part));
    wait_for(&what, async || {
        let body = http.try_get("/readyz").await?.text();
        said(&body).then_some(())
    })
    .await;
    wait_for(&format!("{parts:?} in the log"), async || service.log().lines().any(said).then_some(())).await;
}

#[tokio::test]
async fn a_pubsub_that_the_sidecar_does_not_have_is_named() {
    let told = ["component 'nope' (pubsub) is not configured", "(it has: pubsub)"];
    is_told(&["--pubsub-name", "nope"], Options::new("wsmgr"), &told).await;
}

#[tokio::test]
async fn a_state_store_that_the_sidecar_does_not_have_is_named() {
    let told = ["component 'nope' (state) is not configured", "(it has: statestore)"];
    is_told(&["--state-store-name", "nope"], Options::new("wsmgr"), &told).await;
}

#[tokio::test]
async fn a_token_that_the_sidecar_refuses_is_told() {
    let options = Options { api_token: Some("right".into()), ..Options::new("wsmgr") };
    is_told(&["--dapr-api-token", "wrong-one"], options, &["it refuses our token", "DAPR_API_TOKEN"]).await;
}

#[tokio::test]
async fn the_token_opens_the_sidecar() {
    let options = Options { api_token: Some("right".into()), ..Options::new("wsmgr") };
    let plan = FleetPlan::new(1, Backing::Dapr).args(&["--dapr-api-token", "right"]).sidecar(options);
    let Some(fleet) = plan.start().await else { return };
    wait_for("the service to be ready", async || {
        (fleet.service(0).http().get("/readyz").await.status == 200).then_some(())
    })
    .await;
    assert!(!fleet.service(0).log().contains("right"), "the token is not shown: {}", fleet.service(0).log());
}

const ODD: [&str; 9] =
    ["größe", "话题", "a/b/c", "a-b_c:d@e", "$x", "(x)=[y]", "{a}", "a,b;c|d", "\"q\"'&<!~^`"];
const REFUSED: [&str; 8] = ["a b", "a?b", "a#b", "a%2fb", "a/../b", "a*", "\u{202e}a", "a\nb"];

async fn odd_topics(backing: Backing) {
    let Some(fleet) = FleetPlan::new(1, backing).start().await else { return };
    let mut upstream = Upstream::start().await;
    let mut client = fleet.service(0).grpc().await;
    let redis = fleet.redis.as_ref().expect("it is there");
    for topic in REFUSED {
        let refused = request(json!({"url": upstream.url(), "publish": {"topic": topic}}));
        let status = client.connect(refused).await.expect_err(topic);
        assert_eq!(
            (status.code(), fault(&status).fields),
            (Code::InvalidArgument, vec!["publish.topic".to_owned()])
        );
    }
    for topic in ODD {
        let open = request(json!({"url": upstream.url(), "publish": {"topic": topic}}));
        if let Err(status) = client.connect(open).await {
            assert_eq!(status.code(), Code::InvalidArgument, "{topic}: {status:?}");
            println!("refused at the edge: {topic}");
            continue;
        }
        upstream.peer().await.say(topic).await;
        let events = wait_for(&format!("an event of {topic}"), async || {
            Some(redis.events(topic).await).filter(|events| !events.is_empty())
        })
        .await;
        assert_eq!(events[0]["data"]["payload"], topic);
    }
}

#[tokio::test]
async fn odd_names_of_topics_are_refused_or_arrive_unharmed_on_dapr() {
    odd_topics(Backing::Dapr).await;
}

#[tokio::test]
async fn odd_names_of_topics_are_refused_or_arrive_unharmed_on_redis() {
    odd_topics(Backing::Redis).await;
}

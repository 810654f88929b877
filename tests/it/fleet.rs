//! Several instances of the real binary that own their connections together: on a real Redis, and
//! where it matters on real sidecars.

mod calls;
mod crash;
mod documents;
mod pause;
mod rolling;
mod start;
mod store;

use crate::harness::{Client, Service, feed::Feed, fleet::Fleet, grpc, redis::Redis, wait_long};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
};
use tokio::task::{LocalSet, spawn_local};
use tonic::Code;
use websocket_manager::proto::{ConnectRequest, ConnectionStatus, ListRequest, WebSocketConnection};

type Scenario = (&'static str, Pin<Box<dyn Future<Output = ()>>>);

/// Scenarios by their names, side by side: most of the time they wait for a lease to run out. Each
/// runs to its end, and every one that fails is named.
macro_rules! side_by_side {
    ($($scenario:path),+ $(,)?) => {
        run(vec![$((stringify!($scenario), Box::pin($scenario()))),+]).await
    };
}

async fn run(scenarios: Vec<Scenario>) {
    let all = async {
        let tasks: Vec<_> =
            scenarios.into_iter().map(|(name, scenario)| (name, spawn_local(scenario))).collect();
        let mut failed = Vec::new();
        for (name, task) in tasks {
            if task.await.is_err() {
                failed.push(name);
            }
        }
        assert!(failed.is_empty(), "what failed is told above: {failed:?}");
    };
    LocalSet::new().run_until(all).await;
}

#[tokio::test]
async fn any_instance_answers_any_call() {
    side_by_side!(calls::any_instance_answers_on_redis, calls::any_instance_answers_on_dapr);
}

#[tokio::test]
async fn what_an_owner_lost_is_taken_by_others() {
    side_by_side!(
        crash::survivors_take_over_on_redis,
        crash::survivors_take_over_on_dapr,
        crash::a_name_is_not_an_identity,
        pause::who_overslept_writes_nothing_and_begins_anew,
        rolling::a_rolling_restart_fails_nothing,
    );
}

#[tokio::test]
async fn a_store_may_go_away_and_come_back() {
    side_by_side!(
        store::members_without_their_store_stop_and_come_back,
        store::who_is_alone_goes_on_without_his_store,
        store::owners_write_again_what_the_store_lost,
        store::who_leaves_while_the_store_is_away_comes_to_an_end,
    );
}

#[tokio::test]
async fn what_stands_under_our_keys_need_not_be_ours() {
    side_by_side!(
        documents::what_is_broken_is_left_alone_and_what_is_old_is_adopted,
        documents::a_stranger_at_a_members_address_is_told_nothing,
    );
}

#[tokio::test]
async fn an_instance_starts_with_whatever_it_finds() {
    side_by_side!(
        start::many_are_taken_up_after_a_crash,
        start::a_clean_slate_forgets_what_was_stored,
        start::a_service_waits_for_its_redis,
        start::a_service_waits_for_its_sidecar,
    );
}

fn request(value: Value) -> ConnectRequest {
    serde_json::from_value(value).expect("a request")
}

/// A connection by this name to the feed, which is dialled again and published to `topic`.
fn published(feed: &Feed, name: &str, topic: &str) -> Value {
    json!({
        "connectionId": name, "url": feed.url(name), "autoReconnect": true,
        "reconnect": {"baseMs": 10, "maxMs": 200}, "publish": {"topic": topic, "format": "PUBLISH_FORMAT_PAYLOAD"},
    })
}

async fn dial(client: &mut Client, value: Value) -> String {
    grpc::dial(client, request(value)).await
}

/// Everything that the fleet lists, asked for in pages; nothing may be listed twice. None while a
/// member whose lease still lives cannot be asked.
async fn try_listed(client: &mut Client) -> Option<BTreeMap<String, WebSocketConnection>> {
    let mut found = BTreeMap::new();
    let mut page_token = String::new();
    loop {
        let page = client.list(ListRequest { page_token, page_size: 500, ..Default::default() }).await;
        let page = match page {
            Ok(page) => page.into_inner(),
            Err(status) if status.code() == Code::Unavailable => return None,
            Err(status) => panic!("List: {status:?}"),
        };
        for connection in page.connections {
            let before = found.insert(connection.id.clone(), connection);
            assert!(before.is_none(), "listed twice: {before:?}");
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Some(found);
        }
    }
}

async fn listed(client: &mut Client) -> BTreeMap<String, WebSocketConnection> {
    wait_long("the whole list", async || try_listed(client).await).await
}

/// These connections, and only these, once all are open.
async fn all_open(client: &mut Client, names: &[&str]) -> BTreeMap<String, WebSocketConnection> {
    let names: BTreeSet<&str> = names.iter().copied().collect();
    wait_long(&format!("{names:?} to be open"), async || {
        let found = try_listed(client).await?;
        let open = found.values().all(|it| it.status() == ConnectionStatus::Connected);
        (open && found.keys().map(String::as_str).eq(names.iter().copied())).then_some(found)
    })
    .await
}

/// The feed says no more, and everything it ever said is accounted for.
async fn accounted(feed: &Feed, redis: &Redis, topic: &str) -> Vec<Value> {
    feed.hush();
    let mut last = None;
    let done = async || {
        let events = redis.events(topic).await;
        let account = feed.sent().audit(&events);
        let clean = account.violations.is_empty();
        last = Some(account);
        clean.then_some(events)
    };
    // What is still on its way shows as missing; what is wrong stays wrong.
    match tokio::time::timeout(crate::harness::wait::PATIENCE, wait_long("a clean account", done)).await {
        Ok(events) => events,
        Err(_) => {
            last.expect("it was audited").assert_clean();
            unreachable!("the account had violations")
        }
    }
}

/// Gap records of a connection with this cause: their `from.epoch`s, and whether nothing follows.
fn gaps(events: &[Value], name: &str, cause: &str) -> Vec<(u64, bool)> {
    let data = events.iter().map(|event| &event["data"]);
    let ours = data.filter(|data| data["websocketId"] == name && data["cause"] == cause);
    ours.map(|data| (data["from"]["epoch"].as_u64().expect("an epoch"), data["to"].is_null())).collect()
}

/// The derived index lists exactly these.
async fn index_is(fleet: &Fleet, names: &[&str]) {
    let names: BTreeSet<&str> = names.iter().copied().collect();
    wait_long(&format!("the index to list {names:?}"), async || {
        let index = fleet.document("websocket-index").await?;
        let ids: BTreeSet<&str> = index.as_array()?.iter().filter_map(Value::as_str).collect();
        (ids == names).then_some(())
    })
    .await;
}

/// What `/readyz` says: its status code and its body.
async fn readiness(service: &Service) -> (u16, Value) {
    let answer = service.http().get("/readyz").await;
    (answer.status, answer.json())
}

/// The names of the runs that are members, by instance.
async fn incarnations(fleet: &Fleet, instance: &str) -> BTreeSet<String> {
    let members = fleet.document("wsm-members").await.unwrap_or_default();
    let ours = members.as_array().into_iter().flatten().filter(|member| member["instance"] == instance);
    ours.filter_map(|member| Some(member["incarnation"].as_str()?.to_owned())).collect()
}

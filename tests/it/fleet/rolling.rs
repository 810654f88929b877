//! Instances are restarted one after the other while everything goes on: connections are handed
//! over before their sockets are closed, and nobody outside notices more than a typed refusal.

use super::{accounted, all_open, dial, published};
use crate::harness::{
    Client,
    feed::Feed,
    fleet::{Backing, FleetPlan},
    grpc::{self, fault},
    wait_for,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{sync::watch, task::JoinSet};
use tonic::Code;
use websocket_manager::proto::SendRequest;

const CONNECTIONS: usize = 9;

/// Sends one after the other on one connection, through whoever is up, until told to stop. Answers
/// how many had their reply and how many were refused in a way that may be tried again.
async fn load(
    name: String,
    mut through: watch::Receiver<Option<Client>>,
    total: Arc<AtomicU64>,
) -> (u64, u64) {
    let (mut replied, mut refused) = (0, 0);
    loop {
        let Some(mut client) = through.borrow_and_update().clone() else { return (replied, refused) };
        let message = format!("{{\"id\":\"{name}-{}\"}}", replied + refused);
        let send = SendRequest { id: name.clone(), message: message.clone(), ..Default::default() };
        match client.send(send).await {
            Ok(answer) => {
                assert_eq!(answer.into_inner().response, message);
                replied += 1;
                total.fetch_add(1, Ordering::Relaxed);
            }
            Err(status) => {
                let told = fault(&status);
                assert_eq!((status.code(), &*told.reason), (Code::Unavailable, "not_sent"), "{status:?}");
                refused += 1;
            }
        }
    }
}

/// Looks at one connection after the other, through whoever is up, until told to stop: each is always
/// somewhere, or on its way. Answers how many times one was found.
async fn look(names: Vec<String>, mut through: watch::Receiver<Option<Client>>) -> u64 {
    let mut found = 0;
    for name in names.iter().cycle() {
        let Some(mut client) = through.borrow_and_update().clone() else { return found };
        match grpc::get(&mut client, name).await {
            Ok(connection) => {
                assert_eq!(connection.id, *name);
                found += 1;
            }
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{name}: {status:?}"),
        }
    }
    found
}

pub async fn a_rolling_restart_fails_nothing() {
    let plan = FleetPlan::new(3, Backing::Redis).args(&["--drain-lame-duck", "1s"]);
    let Some(mut fleet) = plan.start().await else { return };
    fleet.gathered().await;
    let feed = Feed::start().await;
    let names: Vec<String> = (0..CONNECTIONS).map(|number| format!("roll-{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        let mut client = fleet.service(number % 3).grpc().await;
        dial(&mut client, published(&feed, name, "rolling")).await;
    }
    let mut client = fleet.service(1).grpc().await;
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let before = all_open(&mut client, &known).await;
    let (through, reader) = watch::channel(Some(client));
    let total = Arc::new(AtomicU64::new(0));
    let mut loads = JoinSet::new();
    for name in &names {
        loads.spawn(load(name.clone(), reader.clone(), total.clone()));
    }
    let looking = tokio::spawn(look(names.clone(), reader));
    for number in 0..3 {
        let other = (number + 1) % 3;
        through.send_replace(Some(fleet.service(other).grpc().await));
        // The load has moved when every connection was heard of through the other one.
        let so_far = total.load(Ordering::Relaxed);
        wait_for("the load to go on", async || {
            (total.load(Ordering::Relaxed) > so_far + 4 * CONNECTIONS as u64).then_some(())
        })
        .await;
        assert_eq!(fleet.terminate(number).await, 0, "drained in order");
        fleet.restart(number).await;
        fleet.gathered().await;
    }
    through.send_replace(None);
    let mut outcomes = BTreeMap::new();
    while let Some(ended) = loads.join_next().await {
        let (replied, refused) = ended.expect("no Send failed otherwise");
        outcomes.insert(outcomes.len(), (replied, refused));
    }
    assert!(outcomes.values().all(|(replied, _)| *replied > 0), "{outcomes:?}");
    assert!(looking.await.expect("none was ever taken for gone") > 0);
    let mut client = fleet.service(0).grpc().await;
    let after = all_open(&mut client, &known).await;
    for name in &known {
        assert!(after[*name].epoch > before[*name].epoch, "{name} was handed over");
    }
    assert!(feed.overlaps() > 0, "the new socket stood before the old one was closed");
    let events = accounted(&feed, fleet.redis(), "rolling").await;
    let crashes = events.iter().filter(|event| event["data"]["cause"] == "crash").count();
    assert_eq!(crashes, 0, "everything ended in order");
    assert!(events.iter().any(|event| event["possibleduplicate"] == true), "overlaps are marked");
}

//! A request for another shard: what the mailbox and the way back cost; and that a request for the
//! caller's own shard needs neither.

use crate::common::{
    median,
    peer::Peer,
    runs, scaled,
    shard::{self, Shard},
    table::Row,
};
use std::sync::mpsc;
use websocket_manager::{
    core::{
        id::ConnectionId,
        io::{Command, Context},
    },
    shard::mailbox::{Hub, Mailbox},
};

const IN_FLIGHT: usize = 512;

pub fn run() -> Vec<Row> {
    let hub = Hub::new(vec![Mailbox::new(8192), Mailbox::new(8192)], 1);
    let shards = [Shard::start(0, 0, &hub), Shard::start(1, 1, &hub)];
    let peer = Peer::listen();
    let ids = shard::connect_all(&hub, peer.address, 16, false);
    let _streams = peer.take(16);
    let of = |shard: u32| ids.iter().find(|id| hub.owner(id) == shard).expect("16 ids on 2 shards").clone();
    let (own, other) = (of(0), of(1));

    let calls = scaled(400_000);
    let (mut same, mut cross) = (Vec::new(), Vec::new());
    for run in 0..=runs() {
        let (here, there) = (ask(&shards, &hub, &own, calls), ask(&shards, &hub, &other, calls));
        if run > 0 {
            same.push(here);
            cross.push(there);
        }
    }
    let (same, cross) = (median(same), median(cross));
    let refused = without_a_mailbox();
    vec![
        Row {
            goal: "same-shard request".into(),
            bound: "no channel operation".into(),
            measured: format!("{} of 64 needed the mailbox ({same:.2} us each)", refused),
            floor: "-".into(),
            met: refused == 0,
        },
        Row::absolute("cross-shard hop, 512 in flight, both cores", 0.8, cross, same, "us"),
    ]
}

/// CPU microseconds of both shards a call; the caller is a task on the first.
fn ask(shards: &[Shard; 2], hub: &Hub, id: &ConnectionId, calls: usize) -> f64 {
    let (hub, id) = (hub.clone(), id.clone());
    let (sender, done) = mpsc::sync_channel(65_536);
    let owner = hub.owner(&id);
    let spent = || shards.iter().map(|shard| shard.clock.nanos()).sum::<u64>();
    let before = spent();
    shards[0].run(move |_| async move {
        let callers: Vec<_> = (0..IN_FLIGHT)
            .map(|_| {
                let (hub, id) = (hub.clone(), id.clone());
                tokio::task::spawn_local(async move {
                    for _ in 0..calls / IN_FLIGHT {
                        let answer = hub.call(owner, Context::default(), Command::GetTags(id.clone())).await;
                        std::hint::black_box(answer.expect("connected"));
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.expect("no panic");
        }
        let _ = sender.send(());
    });
    // This thread sleeps: the second shard has its core.
    done.recv().expect("an end");
    (spent() - before) as f64 / (calls / IN_FLIGHT * IN_FLIGHT) as f64 / 1000.0
}

/// Of 64 calls in one breath on the shard's own thread, with a mailbox that holds one: how many
/// it refused. Had they gone through it, there would be 63.
fn without_a_mailbox() -> usize {
    let hub = Hub::new(vec![Mailbox::new(1)], 1);
    let shard = Shard::start(0, 0, &hub);
    let (sender, counted) = mpsc::sync_channel(65_536);
    shard.run(move |_| async move {
        let id = ConnectionId::parse("nobody").expect("valid");
        let calls: Vec<_> =
            (0..64).map(|_| hub.call(0, Context::default(), Command::GetTags(id.clone()))).collect();
        let mut refused = 0;
        for call in calls {
            let fault = call.await.expect_err("there is nobody");
            refused += usize::from(fault.kind != websocket_manager::core::reason::FaultKind::NotFound);
        }
        let _ = sender.send(refused);
    });
    counted.recv().expect("a count")
}

//! Rooms over the members' own channels: real sockets, a scripted directory.

use super::rig::{KEY, Plan, Rig};
use crate::{
    api::{
        peers::hello::{self, Side},
        testing::on_a_shard,
    },
    core::{
        correlation::Kind,
        fleet::weight_of,
        names::RoomName,
        reason::{Certainty, Fault, FaultKind},
        rooms::{Kept, Message, Place, Position, Post},
    },
    limits,
    ports::{RoomBus, RoomListener},
    proto::fleet::{RoomPlace, RoomsAsk, peers_client::PeersClient, rooms_told::Told},
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};
use tokio::sync::oneshot;
use tonic::{Code, transport::Endpoint};

/// What one instance heard.
#[derive(Default)]
struct Ear {
    arrived: Mutex<Vec<(RoomName, Position, Arc<Message>)>>,
    resumed: Mutex<Vec<(RoomName, Position)>>,
}

impl RoomListener for Ear {
    fn arrived(&self, room: RoomName, at: Position, message: Arc<Message>) {
        assert_eq!(message.at(&room), Some(at));
        self.arrived.lock().push((room, at, message));
    }

    fn resumed(&self, room: RoomName, head: Position) {
        self.resumed.lock().push((room, head));
    }
}

impl Ear {
    fn of(&self, room: &RoomName) -> Vec<Position> {
        let arrived = self.arrived.lock();
        arrived.iter().filter(|(name, ..)| name == room).map(|(_, at, _)| *at).collect()
    }
}

struct World {
    rig: Rig,
    ears: Vec<Arc<Ear>>,
}

const NAMES: [&str; 3] = ["one", "two", "three"];

impl World {
    async fn start(count: usize) -> Self {
        let ears: Vec<Arc<Ear>> = (0..count).map(|_| Arc::default()).collect();
        let plan = |(name, ear): (&&'static str, &Arc<Ear>)| {
            let rooms: Arc<dyn RoomListener> = ear.clone();
            Plan { shards: 1, rooms: Some(rooms), ..Plan::new(name) }
        };
        let rig = Rig::of(NAMES.iter().zip(&ears).map(plan).collect()).await;
        let world = World { rig, ears };
        // Everybody has seen the others and can number what is its own.
        for instance in 0..count {
            for numbered in 0..count {
                world.send(instance, &[&world.room_of(numbered, "begin")], "begin").await;
            }
        }
        world
    }

    /// A room that this instance is first for.
    fn room_of(&self, instance: usize, prefix: &str) -> RoomName {
        let weight = |room: &RoomName, of: usize| weight_of(room.as_str(), &format!("{}#1", NAMES[of]));
        let mut rooms = (0..).map(|n| RoomName::parse("room", &format!("{prefix}-{n}")).unwrap());
        let all = 0..self.ears.len();
        let first = |room: &RoomName| all.clone().max_by_key(|of| weight(room, *of)) == Some(instance);
        rooms.find(first).unwrap()
    }

    fn bus(&self, instance: usize) -> Arc<dyn RoomBus> {
        self.rig.instances[instance].rooms.clone().unwrap()
    }

    async fn post(&self, instance: usize, rooms: &[&RoomName], text: &str) -> Result<Vec<Place>, Fault> {
        let (done, answer) = oneshot::channel();
        let rooms: Arc<[RoomName]> = rooms.iter().map(|room| (*room).clone()).collect();
        let post = Post { kind: Kind::Text, payload: text.to_owned().into() };
        self.bus(instance).publish(rooms, post, Box::new(move |result| drop(done.send(result))));
        answer.await.unwrap()
    }

    /// Again as long as it was surely not sent.
    async fn send(&self, instance: usize, rooms: &[&RoomName], text: &str) -> Vec<Place> {
        loop {
            match self.post(instance, rooms, text).await {
                Ok(places) => return places,
                Err(fault) => {
                    let tried = fault.certainty == Some(Certainty::NotSent);
                    assert!(tried && fault.retry_after.is_some(), "{fault:?}");
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Again while the sequencer does not answer: on a busy machine it may have begun a moment ago.
    async fn subscribe(&self, instance: usize, room: &RoomName) -> Position {
        loop {
            let (done, answer) = oneshot::channel();
            self.bus(instance).subscribe(room, Box::new(move |result| drop(done.send(result))));
            match answer.await.unwrap() {
                Ok(head) => return head,
                Err(error) => assert!(error.transient, "{error}"),
            }
        }
    }

    async fn since(&self, instance: usize, room: &RoomName, after: Option<Position>) -> Kept {
        let (done, answer) = oneshot::channel();
        self.bus(instance).since(room, after, 1000, Box::new(move |result| drop(done.send(result))));
        answer.await.unwrap().unwrap()
    }

    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        while !condition(self) {
            tokio::task::yield_now().await;
        }
    }

    fn forget(&self, instance: usize) {
        self.rig.shared.lock().members.remove(&format!("{}#1", NAMES[instance]));
    }
}

#[test]
fn whoever_posts_everybody_who_is_interested_hears_it_in_order() {
    on_a_shard(async {
        let world = World::start(3).await;
        let rooms: Vec<RoomName> = (0..3).map(|instance| world.room_of(instance, "r")).collect();
        for room in &rooms {
            for instance in 0..3 {
                assert_eq!(world.subscribe(instance, room).await.offset, 0);
            }
        }
        for n in 0..20 {
            for room in &rooms {
                for instance in 0..3 {
                    world.send(instance, &[room], &n.to_string()).await;
                }
            }
        }
        let heard = |world: &World| {
            let all = |ear: &Arc<Ear>| rooms.iter().all(|room| ear.of(room).len() == 60);
            world.ears.iter().all(all)
        };
        world.until(heard).await;
        for ear in &world.ears {
            for room in &rooms {
                let offsets: Vec<u64> = ear.of(room).iter().map(|at| at.offset).collect();
                assert_eq!(offsets, (1..=60).collect::<Vec<_>>());
            }
        }
        // Of no more interest: nothing comes, and what came is kept at the sequencer.
        world.bus(2).unsubscribe(&rooms[0]);
        let last = world.send(1, &[&rooms[0]], "more").await;
        world.until(|world| world.ears[1].of(&rooms[0]).len() == 61).await;
        let kept = world.since(2, &rooms[0], Some(Position { offset: 59, ..last[0].at })).await;
        assert_eq!((kept.messages.len(), kept.recovered, kept.head), (2, true, last[0].at));
    });
}

#[test]
fn a_message_for_rooms_of_several_sequencers_names_all_its_places() {
    on_a_shard(async {
        let world = World::start(3).await;
        let mut rooms: Vec<RoomName> = (0..3).map(|instance| world.room_of(instance, "r")).collect();
        rooms.push(RoomName::everyone());
        for room in &rooms {
            world.subscribe(1, room).await;
        }
        let places = world.send(0, &rooms.iter().collect::<Vec<_>>(), "to all").await;
        assert_eq!(places.len(), 4);
        world.until(|world| world.ears[1].arrived.lock().len() == 4).await;
        let arrived: BTreeMap<_, _> = world.ears[1]
            .arrived
            .lock()
            .iter()
            .map(|(room, at, m)| (room.clone(), (*at, m.clone())))
            .collect();
        for place in &places {
            let (at, message) = &arrived[&place.room];
            assert_eq!(
                (*at, &*message.places, &message.payload[..]),
                (place.at, &places[..], &b"to all"[..])
            );
        }
    });
}

#[test]
fn after_a_crash_a_room_waits_for_a_lease_and_begins_anew() {
    on_a_shard(async {
        let mut world = World::start(2).await;
        let room = world.room_of(1, "doomed");
        world.subscribe(0, &room).await;
        let before = world.send(0, &[&room], "before").await[0].at;
        world.until(|world| world.ears[0].of(&room) == [before]).await;
        world.rig.instances[1].kill();
        let fault = loop {
            match world.post(0, &[&room], "lost").await {
                Err(fault) if fault.kind == FaultKind::NotSent => break fault,
                Err(_) => {}
                Ok(_) => panic!("nobody could take it"),
            }
        };
        assert!(fault.retry_after.is_some(), "{fault:?}");
        world.forget(1);
        let waits = |fault: &Fault| fault.message.contains("changes its sequencer");
        while !waits(&world.post(0, &[&room], "early").await.unwrap_err()) {}
        world.rig.shared.lock().ahead.fetch_add(limits::LEASE.as_millis() as u64, Ordering::SeqCst);
        let after = world.send(0, &[&room], "after").await[0].at;
        assert!(after.epoch > before.epoch && after.offset == 1, "{before:?} {after:?}");
        world.until(|world| world.ears[0].of(&room) == [before, after]).await;
        assert!(world.ears[0].resumed.lock().iter().any(|(name, _)| *name == room));
        assert!(!world.since(0, &room, Some(before)).await.recovered);
    });
}

#[test]
fn who_leaves_in_order_hands_over_numbers_and_history() {
    on_a_shard(async {
        let world = World::start(3).await;
        let room = world.room_of(2, "moving");
        for instance in 0..3 {
            world.subscribe(instance, &room).await;
        }
        let mut last = Position::default();
        for n in 0..10 {
            last = world.send(0, &[&room], &n.to_string()).await[0].at;
        }
        world.rig.instances[2].rooms.as_ref().unwrap().leave().await;
        // Its member is listed still; all post on, the leaving one too.
        for (n, instance) in [0, 1, 2].into_iter().enumerate() {
            let at = world.send(instance, &[&room], "on").await[0].at;
            assert_eq!(at, Position { offset: 11 + n as u64, ..last });
        }
        world.forget(2);
        let kept = world.since(1, &room, Some(Position { offset: 3, ..last })).await;
        assert_eq!((kept.recovered, kept.messages.len()), (true, 10));
        let complete = |ear: &Arc<Ear>| {
            let resumed = ear.resumed.lock().iter().map(|(_, head)| *head).max();
            ear.of(&room).last().copied().max(resumed) >= Some(kept.head)
        };
        world.until(|world| world.ears[..2].iter().all(complete)).await;
        assert!(world.ears.iter().all(|ear| ear.of(&room).is_sorted()));
    });
}

#[test]
fn a_room_without_history_comes_from_each_instance_by_its_own_numbers() {
    on_a_shard(async {
        let world = World::start(2).await;
        let room = RoomName::parse("room", "none").unwrap();
        for instance in 0..2 {
            assert_eq!(world.subscribe(instance, &room).await, Position::default());
        }
        for instance in [0, 1, 0, 1] {
            world.send(instance, &[&room], "x").await;
        }
        world.until(|world| world.ears.iter().all(|ear| ear.of(&room).len() == 4)).await;
        for ear in &world.ears {
            let mut numbers = BTreeMap::<String, Vec<u64>>::new();
            for (_, at, message) in &*ear.arrived.lock() {
                numbers.entry(message.from.as_deref().unwrap().to_owned()).or_default().push(at.offset);
            }
            assert_eq!(numbers, BTreeMap::from([("one".into(), vec![1, 2]), ("two".into(), vec![1, 2])]));
        }
    });
}

#[test]
fn who_is_too_slow_is_dropped_and_told_and_a_stranger_is_told_nothing() {
    on_a_shard(async {
        let world = World::start(2).await;
        let room = world.room_of(0, "busy");
        // Answered when the sequencer of the room has begun.
        world.subscribe(1, &room).await;
        let address = world.rig.instances[0].address;
        let open = async |key| {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
            let mut client = PeersClient::new(endpoint.connect().await.unwrap());
            let hello = hello::greet(key, Side::Caller, "reader#1", "one#1", None);
            let join = vec![RoomPlace { room: room.as_str().into(), ..RoomPlace::default() }];
            let first = RoomsAsk { hello: Some(hello), ..RoomsAsk::default() };
            let asks = [first, RoomsAsk { join, ..RoomsAsk::default() }];
            let forever = tokio_stream::StreamExt::chain(tokio_stream::iter(asks), tokio_stream::pending());
            client.rooms(forever).await
        };
        assert_eq!(open(&None).await.unwrap_err().code(), Code::FailedPrecondition);
        let mut telling = open(&KEY).await.unwrap().into_inner();
        let told = telling.message().await.unwrap().unwrap().told.unwrap();
        assert!(matches!(told, Told::Hello(_)));
        let told = telling.message().await.unwrap().unwrap().told.unwrap();
        assert!(matches!(&told, Told::Heads(heads) if heads.heads[0].refused.is_empty()), "{told:?}");
        // It does not read; everybody else goes on.
        let large = "x".repeat(1 << 20);
        let rooms = world.rig.instances[0].rooms.clone().unwrap();
        let mut sent = 0;
        while rooms.dropped() == 0 {
            world.send(1, &[&room], &large).await;
            sent += 1;
            world.until(|world| world.ears[1].of(&room).len() == sent).await;
        }
        let ended = loop {
            match telling.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended without a word"),
                Err(status) => break status,
            }
        };
        assert_eq!(ended.code(), Code::ResourceExhausted, "{ended:?}");
    });
}

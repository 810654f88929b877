use super::*;
use crate::{
    core::{
        correlation::Kind,
        id::ConnectionId,
        publish::batch::{Batch, PublishError},
        rooms::Place,
    },
    ports::{
        Ack, BackendError, Bus, Delivery, Directory, Documents, Done, Expect, Holder, Inbox, Member, Pending,
        Put, TopicChunk, TopicEvent, TopicFrom, Version, Versioned,
    },
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    task::{Context, Poll},
};
use tokio::sync::{mpsc, oneshot};

/// Rooms that answer as they are told, and then well.
#[derive(Default)]
struct Rooms {
    taken: Mutex<Vec<(String, String)>>,
    faults: Mutex<VecDeque<FaultKind>>,
}

impl Rooms {
    fn taken(&self) -> Vec<(String, String)> {
        self.taken.lock().clone()
    }
}

impl Poster for Rooms {
    fn post(&self, rooms: Vec<RoomName>, post: Post) -> Pending<Result<Vec<Place>, Fault>> {
        if let Some(kind) = self.faults.lock().pop_front() {
            return Box::pin(std::future::ready(Err(Fault::new(kind, "as told"))));
        }
        assert_eq!(post.kind, Kind::Text);
        let text = String::from_utf8_lossy(&post.payload).into_owned();
        self.taken.lock().push((rooms[0].as_str().to_owned(), text));
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

/// Refuses what holds a word.
struct NoWord(&'static str);

impl Check for NoWord {
    fn check(&self, payload: &[u8]) -> Result<(), Fault> {
        match String::from_utf8_lossy(payload).contains(self.0) {
            true => Err(Fault::invalid("message", "holds the word")),
            false => Ok(()),
        }
    }
}

/// From which offset, and who waits for it.
type Parked = (u64, Done<Result<TopicChunk, BackendError>>);

/// One topic's log.
#[derive(Default)]
struct Log {
    events: Mutex<Vec<Bytes>>,
    parked: Mutex<Vec<Parked>>,
}

impl Log {
    fn push(&self, event: impl Into<Bytes>) {
        self.events.lock().push(event.into());
        for (from, done) in std::mem::take(&mut *self.parked.lock()) {
            self.fetch("", TopicFrom::Offset(from), 1, done);
        }
    }
}

impl Bus for Log {
    fn publish(&self, _: Arc<Batch>, done: Done<Result<(), PublishError>>) {
        done.complete(Ok(()));
    }

    fn fetch(&self, _: &str, from: TopicFrom, _: usize, done: Done<Result<TopicChunk, BackendError>>) {
        let events = self.events.lock();
        let end = events.len() as u64;
        let from = match from {
            TopicFrom::Now => {
                return done.complete(Ok(TopicChunk { events: Vec::new(), next: end, skipped: 0 }));
            }
            TopicFrom::Start => 0,
            TopicFrom::Offset(from) if from > end => {
                let message = "the topic is not that long".to_owned();
                return done.complete(Err(BackendError { message, transient: false }));
            }
            TopicFrom::Offset(from) if from == end => return self.parked.lock().push((from, done)),
            TopicFrom::Offset(from) => from,
        };
        let published = |(offset, event): (usize, &Bytes)| TopicEvent {
            offset: offset as u64,
            unix_nanos: 0,
            event: event.clone(),
        };
        let events = events.iter().enumerate().skip(from as usize).map(published).collect();
        done.complete(Ok(TopicChunk { events, next: end, skipped: 0 }));
    }
}

#[derive(Default)]
struct Shelf(Mutex<BTreeMap<String, (Bytes, u64)>>);

impl Documents for Shelf {
    fn get(&self, keys: Vec<String>) -> Pending<Result<Vec<Option<Versioned>>, BackendError>> {
        let shelf = self.0.lock();
        let got = keys.iter().map(|key| {
            let (value, version) = shelf.get(key)?;
            Some(Versioned { value: value.clone(), version: version.to_string().into() })
        });
        Box::pin(std::future::ready(Ok(got.collect())))
    }

    fn put(
        &self,
        key: String,
        value: Bytes,
        expect: Expect,
        _: Option<Duration>,
    ) -> Pending<Result<Put, BackendError>> {
        let mut shelf = self.0.lock();
        let now = shelf.get(&key).map(|(_, version)| *version);
        let expected = match expect {
            Expect::Absent => now.is_none(),
            Expect::Version(version) => now.is_some_and(|now| version == now.to_string()),
        };
        let version = now.unwrap_or(0) + 1;
        let put = match expected {
            true => {
                shelf.insert(key, (value, version));
                Put::Written(version.to_string().into())
            }
            false => Put::Conflict,
        };
        Box::pin(std::future::ready(Ok(put)))
    }

    fn delete(&self, _: String, _: Version) -> Pending<Result<Put, BackendError>> {
        Box::pin(std::future::ready(Ok(Put::Conflict)))
    }
}

struct World {
    rooms: Arc<Rooms>,
    parts: Parts,
}

impl World {
    fn new() -> Self {
        let rooms: Arc<Rooms> = Arc::default();
        let check: Arc<dyn Check> = Arc::new(NoWord("forbidden"));
        let parts = Parts { poster: rooms.clone(), check: Some(check), counters: Arc::default() };
        World { rooms, parts }
    }

    fn lane(&self, bindings: &[&str]) -> Lane {
        let bindings: Vec<_> = bindings.iter().map(|text| Binding::parse(text).expect("a binding")).collect();
        let mut lanes = lanes(&bindings, &self.parts);
        assert_eq!(lanes.len(), 1);
        lanes.remove(0)
    }

    /// Follows the log until the returned sender is dropped.
    fn follow(
        &self,
        log: &Arc<Log>,
        book: Arc<dyn Book>,
        turn: &Arc<AtomicBool>,
    ) -> (oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let (stop, stopped) = oneshot::channel::<()>();
        let (lane, log, turn) = (self.lane(&[BINDING]), log.clone(), turn.clone());
        let following = async move {
            follow(lane, log, book, move || turn.load(Relaxed), async { drop(stopped.await) }).await;
        };
        (stop, tokio::spawn(following))
    }
}

const BINDING: &str = "topic=t room=user-{/user}";

fn event(user: &str) -> String {
    format!(r#"{{"specversion":"1.0","data":{{"user":"{user}"}}}}"#)
}

fn posted(users: &[&str]) -> Vec<(String, String)> {
    users.iter().map(|user| (format!("user-{user}"), format!(r#"{{"user":"{user}"}}"#))).collect()
}

/// Time stands still in these tests but when all wait, so this ends at once or not at all.
async fn until(what: impl Fn() -> bool) {
    let wait = async {
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        while !what() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3600), wait).await.expect("it happens");
}

#[tokio::test(start_paused = true)]
async fn an_event_goes_to_the_room_of_each_binding_and_bad_ones_are_counted() {
    let world = World::new();
    let mut lane = world.lane(&[BINDING, "topic=t room=all message-id=user.seen"]);
    assert_eq!(lane.carry(&event("a").into()).await, Carried::Posted);
    assert_eq!(
        world.rooms.taken(),
        [
            ("user-a".to_owned(), r#"{"user":"a"}"#.to_owned()),
            ("all".to_owned(), r#"{"MESSAGE_ID":"user.seen","message":{"user":"a"}}"#.to_owned()),
        ]
    );
    // Without a room for the first binding, still one for the second.
    assert_eq!(lane.carry(&Bytes::from_static(br#"{"data":{}}"#)).await, Carried::Posted);
    assert_eq!(lane.carry(&event("forbidden").into()).await, Carried::Useless);
    assert_eq!(lane.carry(&Bytes::from_static(b"[]")).await, Carried::Useless);
    let record =
        br#"{"source":"urn:com.virtufin.websocketmanager","type":"com.virtufin.websocketmanager.gap"}"#;
    assert_eq!(lane.carry(&Bytes::from_static(record)).await, Carried::Passed);
    let counters = &world.parts.counters;
    let counted = [
        (counters.events_read.get(), 5),
        (counters.events_posted.get(), 3),
        (counters.events_without_room.get(), 1),
        (counters.events_invalid.get(), 3),
        (counters.events_records.get(), 1),
    ];
    assert!(counted.iter().all(|(is, should)| is == should), "{counted:?}");
    assert_eq!((lane.unsaid, lane.said.is_some()), (3, true));
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again_and_what_will_not_is_let_go() {
    let world = World::new();
    let mut lane = world.lane(&[BINDING]);
    world.rooms.faults.lock().extend([FaultKind::Full, FaultKind::NotSent, FaultKind::MaybeSent]);
    assert_eq!(lane.carry(&event("a").into()).await, Carried::Posted);
    world.rooms.faults.lock().extend([FaultKind::Invalid]);
    assert_eq!(lane.carry(&event("b").into()).await, Carried::Useless);
    assert_eq!(world.rooms.taken(), posted(&["a"]));
    let counters = &world.parts.counters;
    assert_eq!((counters.events_retried.get(), counters.events_refused.get()), (3, 1));
}

struct Deliveries(mpsc::Receiver<Delivery>);

impl Inbox for Deliveries {
    fn poll_delivery(&mut self, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        self.0.poll_recv(context)
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_acked_after_its_room_took_it() {
    let world = World::new();
    let (sender, deliveries) = mpsc::channel(8);
    let (acked, mut acks) = mpsc::channel(8);
    for (name, text) in [("a", event("a")), ("bad", "{}".into()), ("b", event("b"))] {
        let acked = acked.clone();
        let ack = Box::new(move |ack| acked.try_send((name, ack)).expect("room"));
        assert!(sender.try_send(Delivery { event: text.into(), ack }).is_ok());
    }
    world.rooms.faults.lock().extend([FaultKind::Unavailable]);
    drop(sender);
    receive(world.lane(&[BINDING]), Deliveries(deliveries), std::future::pending()).await;
    drop(acked);
    let mut order = Vec::new();
    while let Some(ack) = acks.recv().await {
        order.push(ack);
    }
    assert_eq!(order, [("a", Ack::Done), ("bad", Ack::Drop), ("b", Ack::Done)]);
    assert_eq!(world.rooms.taken(), posted(&["a", "b"]));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_under_way_at_the_stop_is_not_acked() {
    let world = World::new();
    world.rooms.faults.lock().extend([FaultKind::Unavailable; 1000]);
    let (sender, deliveries) = mpsc::channel(8);
    let acked: Arc<Mutex<Vec<Ack>>> = Arc::default();
    let told = acked.clone();
    let ack = Box::new(move |ack| told.lock().push(ack));
    assert!(sender.try_send(Delivery { event: event("a").into(), ack }).is_ok());
    let counters = world.parts.counters.clone();
    let stop = until(move || counters.events_retried.get() > 3);
    receive(world.lane(&[BINDING]), Deliveries(deliveries), stop).await;
    assert!(acked.lock().is_empty() && world.rooms.taken().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_log_is_read_from_now_on_and_then_from_where_it_was_left() {
    let world = World::new();
    let (log, turn) = (Arc::<Log>::default(), Arc::new(AtomicBool::new(true)));
    let folder = tempfile::tempdir().expect("a folder");
    let book = || Arc::new(FileBook::new(&folder.path().join("bindings")));
    log.push(event("before"));
    let (stop, ended) = world.follow(&log, book(), &turn);
    until(|| !log.parked.lock().is_empty()).await;
    assert_eq!(book().load("t").await, Ok(Some(1)));
    log.push(event("a"));
    log.push(event("b"));
    until(|| world.rooms.taken().len() == 2).await;
    drop(stop);
    ended.await.expect("no panic");
    assert_eq!(book().load("t").await, Ok(Some(3)));
    log.push(event("c"));
    let (stop, ended) = world.follow(&log, book(), &turn);
    until(|| world.rooms.taken().len() == 3).await;
    drop(stop);
    ended.await.expect("no panic");
    assert_eq!(world.rooms.taken(), posted(&["a", "b", "c"]));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_began_again_is_read_from_its_start() {
    let world = World::new();
    let (log, turn) = (Arc::<Log>::default(), Arc::new(AtomicBool::new(true)));
    let shelf: Arc<Shelf> = Arc::default();
    let book = Arc::new(SharedBook::new(shelf.clone()));
    assert_eq!(book.save("t", 7).await, Ok(true));
    log.push(event("a"));
    let (stop, ended) = world.follow(&log, book, &turn);
    until(|| world.rooms.taken().len() == 1).await;
    drop(stop);
    ended.await.expect("no panic");
    assert_eq!(SharedBook::new(shelf).load("t").await, Ok(Some(1)));
}

#[tokio::test(start_paused = true)]
async fn the_next_reader_goes_on_where_the_last_one_ended() {
    let (one, two) = (World::new(), World::new());
    let log: Arc<Log> = Arc::default();
    let shelf: Arc<Shelf> = Arc::default();
    let (first, second) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let book = || Arc::new(SharedBook::new(shelf.clone()));
    let (_stop, _one) = one.follow(&log, book(), &first);
    let (_stop_too, _two) = two.follow(&log, book(), &second);
    until(|| !log.parked.lock().is_empty()).await;
    log.push(event("a"));
    until(|| one.rooms.taken().len() == 1).await;
    // The book has it before the second one is told.
    until(|| shelf.0.lock().values().all(|(place, _)| place == "1")).await;
    first.store(false, Relaxed);
    second.store(true, Relaxed);
    log.push(event("b"));
    until(|| two.rooms.taken().len() == 1).await;
    assert_eq!(two.rooms.taken(), posted(&["b"]));
    // Both take themselves for the reader: each event is sent by one of them at least.
    first.store(true, Relaxed);
    for user in ["c", "d", "e"] {
        log.push(event(user));
        let sent = |world: &World| world.rooms.taken().contains(&posted(&[user])[0]);
        until(|| sent(&one) || sent(&two)).await;
    }
}

#[tokio::test]
async fn a_book_that_somebody_else_wrote_says_so() {
    let shelf: Arc<Shelf> = Arc::default();
    let (one, two) = (SharedBook::new(shelf.clone()), SharedBook::new(shelf.clone()));
    assert_eq!(one.load("a/b").await, Ok(None));
    assert_eq!(one.save("a/b", 1).await, Ok(true));
    assert_eq!(two.save("a/b", 2).await, Ok(false));
    assert_eq!(two.load("a/b").await, Ok(Some(1)));
    assert_eq!(two.save("a/b", 2).await, Ok(true));
    assert_eq!(one.save("a/b", 3).await, Ok(false));
    shelf.0.lock().insert("wsm-binding-x".into(), ("nonsense".into(), 1));
    let error = one.load("x").await.expect_err("no number");
    assert!(error.message.contains("delete it"), "{error}");
}

struct Members(&'static str, &'static [&'static str]);

impl Directory for Members {
    fn me(&self) -> Arc<str> {
        self.0.into()
    }
    fn members(&self) -> Arc<[Member]> {
        let member = |name: &&str| Member {
            incarnation: (*name).into(),
            instance: (*name).into(),
            address: "".into(),
        };
        self.1.iter().map(member).collect()
    }
    fn locate(&self, _: &ConnectionId) -> Pending<Result<Holder, BackendError>> {
        Box::pin(std::future::ready(Ok(Holder::Nobody)))
    }
    fn claim(&self, _: &ConnectionId) -> Pending<Result<Holder, BackendError>> {
        Box::pin(std::future::ready(Ok(Holder::Me)))
    }
    fn unclaim(&self, _: &ConnectionId) {}
    fn recorded(&self, _: &str) -> Pending<Result<Vec<Bytes>, BackendError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

#[test]
fn the_smallest_incarnation_reads() {
    assert!(is_reader(&Members("a", &[])));
    assert!(is_reader(&Members("a", &["b", "c"])));
    assert!(!is_reader(&Members("b", &["c", "a"])));
}

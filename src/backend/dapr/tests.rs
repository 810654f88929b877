use self::fake::{Fake, Mood, StoreMood, World, component};
use super::*;
use crate::{
    core::{
        id::ConnectionId,
        publish::batch::{Batch, BatchId, Event, EventKind, PublishError},
    },
    ports::{Expect, Put, TopicFrom},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::mpsc::{Receiver, sync_channel},
    time::{Duration, Instant},
};
use tonic::Status;

mod documents;
mod fake;
mod real;

/// Only an error of the test takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    let (_keep, never) = sync_channel::<()>(0);
    while !there() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        let _ = never.recv_timeout(Duration::from_millis(5));
    }
}

fn open(fake: &Fake, change: impl FnOnce(&mut DaprConfig)) -> Dapr {
    let mut config = DaprConfig::new(local(fake.port));
    change(&mut config);
    Dapr::open(config).unwrap()
}

/// `count` events of each connection, seqs from `first`, each event a text `c<connection> <seq>`.
fn batch(topic: &str, connections: usize, first: u64, count: u64) -> Arc<Batch> {
    let mut batch = Batch { id: BatchId(first), bytes: Vec::new(), events: Vec::new() };
    for seq in first..first + count {
        for number in 0..connections {
            let start = batch.bytes.len();
            batch.bytes.extend_from_slice(format!(r#"{{"id":"c{number} {seq}"}}"#).as_bytes());
            batch.events.push(Event {
                topic: topic.into(),
                connection: ConnectionId::parse(&format!("c{number}")).unwrap(),
                kind: EventKind::Message,
                epoch: 1,
                first_seq: seq,
                last_seq: seq,
                messages: 1,
                relaxed: false,
                range: start..batch.bytes.len(),
            });
        }
    }
    Arc::new(batch)
}

fn publish(dapr: &Dapr, batch: &Arc<Batch>) -> Receiver<Result<(), PublishError>> {
    let (answer, answered) = sync_channel(1);
    let done = move |result| answer.send(result).unwrap();
    dapr.bus().publish(batch.clone(), Box::new(done));
    answered
}

fn answer(answered: &Receiver<Result<(), PublishError>>) -> Result<(), PublishError> {
    answered.recv_timeout(PATIENCE).expect("an answer")
}

/// Each lane's events by their first arrival.
fn lanes(arrived: &[(String, Vec<u8>)]) -> BTreeMap<String, Vec<u64>> {
    let mut lanes: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (_, event) in arrived {
        let text = std::str::from_utf8(event).unwrap();
        let id = text.trim_start_matches(r#"{"id":""#).trim_end_matches(r#""}"#);
        let Some((connection, seq)) = id.split_once(' ') else { continue };
        let (lane, seq) = (lanes.entry(connection.to_owned()).or_default(), seq.parse().unwrap());
        if !lane.contains(&seq) {
            lane.push(seq);
        }
    }
    lanes
}

fn assert_in_order(fake: &Fake, connections: usize, count: u64) {
    let lanes = lanes(&fake.world.lock().arrived);
    assert_eq!(lanes.len(), connections);
    for (connection, seqs) in lanes {
        assert_eq!(seqs, (1..=count).collect::<Vec<_>>(), "{connection}");
    }
}

#[test]
fn lanes_keep_their_order_through_partial_failures_without_a_list() {
    let fake = Fake::start(World::new());
    fake.world.lock().bulk_moods = [2, 3, 1, 5]
        .map(Mood::Partly)
        .into_iter()
        .chain([Mood::Fails(Status::unknown("transport error")), Mood::Partly(4)])
        .collect();
    let dapr = open(&fake, |_| {});
    let answers: Vec<_> = (0..4).map(|i| publish(&dapr, &batch("t", 20, 1 + i * 10, 10))).collect();
    assert!(answers.iter().all(|answered| answer(answered) == Ok(())));
    assert_in_order(&fake, 20, 40);
    let stats = dapr.stats();
    assert_eq!((stats.events, stats.refused_events), (800, 0));
    assert!(stats.bulk_retries >= 6 && stats.errors[2] >= 5, "{stats:?}");
    dapr.close().unwrap();
}

#[test]
fn an_older_sidecar_is_found_out_once() {
    for from_start in [true, false] {
        let fake = Fake::start(World { knows_only_alpha: from_start, ..World::new() });
        let dapr = open(&fake, |config| config.bulk_in_flight = 1);
        assert_eq!(answer(&publish(&dapr, &batch("t", 3, 1, 5))), Ok(()));
        let calls = fake.world.lock().stable_calls;
        assert_eq!(calls, if from_start { 1 } else { 5 });
        assert_eq!(dapr.stats().fallback, u64::from(from_start));
        assert_in_order(&fake, 3, 5);
    }
}

#[test]
fn a_sidecar_that_restarts_gets_what_it_had_not_taken() {
    let mut fake = Fake::start(World::new());
    let dapr = open(&fake, |_| {});
    assert_eq!(answer(&publish(&dapr, &batch("t", 10, 1, 10))), Ok(()));
    fake.stop();
    let held = batch("t", 10, 11, 10);
    let behind = batch("t", 10, 21, 10);
    let (first, second) = (publish(&dapr, &held), publish(&dapr, &behind));
    assert_eq!(answer(&first), Err(PublishError::Retry));
    assert_eq!(answer(&second), Err(PublishError::Retry));
    wait_for("the probe to see it", || !dapr.health().is_ready());
    assert!(dapr.health().to_string().starts_with("waiting for the sidecar at 127.0.0.1:"));
    fake.restart();
    for batch in [held, behind] {
        while answer(&publish(&dapr, &batch)) != Ok(()) {}
    }
    assert_in_order(&fake, 10, 30);
    assert_eq!(fake.world.lock().arrived.len(), 300, "nothing was sent twice");
    wait_for("the probe", || dapr.health().is_ready());
}

#[test]
fn a_stalled_call_ends_at_its_deadline_and_its_events_go_again() {
    let fake = Fake::start(World::new());
    fake.world.lock().bulk_moods = VecDeque::from([Mood::Stalls]);
    let dapr = open(&fake, |_| {});
    let one = batch("t", 4, 1, 4);
    while answer(&publish(&dapr, &one)) != Ok(()) {}
    assert_in_order(&fake, 4, 4);
    assert_eq!(dapr.stats().errors[0], 1);
}

#[test]
fn a_poisoned_event_is_refused_and_goes_to_the_dead_letter_topic() {
    let large = Status::resource_exhausted("grpc: received message larger than max (5 vs. 4)");
    for (status, stalled) in [(Some(large), false), (None, true)] {
        let fake = Fake::start(World { poison: Some((b"c3 2\"", status)), ..World::new() });
        let dapr = open(&fake, |config| config.dead_letter_topic = Some("dead".into()));
        let answered = publish(&dapr, &batch("t", 8, 1, 3));
        if stalled {
            wait_for("its neighbours", || fake.world.lock().arrived.len() >= 22);
            assert!(answered.try_recv().is_err(), "it may be a broker's trouble for a while");
        }
        assert_eq!(answer(&answered), Err(PublishError::Refused(vec![8 + 3])));
        let stats = dapr.stats();
        assert_eq!((stats.events, stats.refused_events, stats.dead_lettered), (23, 1, 0));
    }
    let fake = Fake::start(World::new());
    let denied = Status::permission_denied("topic t is not allowed for app id x");
    fake.world.lock().bulk_moods = VecDeque::from([Mood::Fails(denied)]);
    let dapr = open(&fake, |config| config.dead_letter_topic = Some("dead".into()));
    assert_eq!(answer(&publish(&dapr, &batch("t", 2, 1, 1))), Err(PublishError::Refused(vec![0, 1])));
    assert!(fake.world.lock().arrived.iter().all(|(topic, _)| topic == "dead"));
    assert_eq!(dapr.stats().dead_lettered, 2);
}

#[test]
fn health_says_what_is_missing() {
    let world = World { components: vec![component("other", "state.redis", &[])], ..World::new() };
    let fake = Fake::start(World { token: Some("t".into()), ..world });
    let denied = open(&fake, |_| {});
    wait_for("a refusal", || denied.health().to_string().contains("DAPR_API_TOKEN"));
    let dapr = open(&fake, |config| config.api_token = Some("t".into()));
    let says = |part: &str| wait_for(part, || dapr.health().to_string().contains(part));
    says("component 'pubsub' (pubsub) is not configured in the sidecar (it has: none)");
    fake.world.lock().components.push(component("pubsub", "pubsub.kafka", &["BULK_PUBSUB"]));
    says("component 'statestore' (state) is not configured in the sidecar (it has: other)");
    fake.world.lock().components.push(component("statestore", "state.x", &["TTL"]));
    says("store 'statestore' has no ETAG");
    fake.world.lock().components[2].capabilities.push("ETAG".into());
    says("ready (daprd 1.18.2)");
    let expected =
        Capabilities { etag: true, ttl: true, ordered_bulk: true, broadcast: false, durable: true };
    assert_eq!(dapr.capabilities(), expected);
}

#[test]
fn topics_cannot_be_read_through_the_sidecar() {
    let fake = Fake::start(World::new());
    let dapr = open(&fake, |_| {});
    let (answer, answered) = sync_channel(1);
    let done = move |result| answer.send(result).unwrap();
    dapr.bus().fetch("t", TopicFrom::Now, 1, Box::new(done));
    let error = answered.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert!(error.message.contains("not available on this backend") && !error.transient);
}

#[test]
fn without_a_sidecar_opening_works_and_batches_come_back() {
    let mut fake = Fake::start(World::new());
    fake.stop();
    let dapr = open(&fake, |_| {});
    assert_eq!(answer(&publish(&dapr, &batch("t", 2, 1, 2))), Err(PublishError::Retry));
    assert!(!dapr.health().is_ready());
    dapr.close().unwrap();
    let answered = publish(&dapr, &batch("t", 2, 1, 2));
    assert!(answered.recv_timeout(PATIENCE).is_err(), "dropped: it has stopped");
    let error = block_on(dapr.documents().get(vec!["k".into()])).unwrap_err();
    assert!(error.message.contains("stopped"));
}

fn block_on<T>(pending: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(pending)
}

use super::{RedisServer, batch, fetch, hand_over, id_of, ids, open, opened, publish, wait_for};
use crate::{
    core::publish::batch::{Batch, PublishError},
    ports::{Bus, TopicFrom},
};
use redis::Value;
use std::{collections::BTreeMap, sync::Arc};

/// The ids in a stream as it stands in the server, in its order.
fn stream(server: &RedisServer, topic: &str) -> Vec<String> {
    let Value::Array(entries) = server.call(&["XRANGE", topic, "-", "+"]) else { panic!("no list") };
    let data = |entry: &Value| {
        let Value::Array(entry) = entry else { panic!("no entry") };
        let Value::Array(fields) = &entry[1] else { panic!("no fields") };
        assert_eq!(fields[0], Value::BulkString("data".into()));
        let Value::BulkString(event) = &fields[1] else { panic!("no data") };
        id_of(event)
    };
    entries.iter().map(data).collect()
}

#[test]
fn batches_stand_in_the_streams_in_their_order() {
    let server = RedisServer::start(&["--appendfsync", "no"]);
    let redis = opened(&server);
    let bus = redis.bus();
    let mut answers = Vec::new();
    let mut wanted = Vec::new();
    for id in 0..200 {
        let seqs = id * 3 + 1..id * 3 + 4;
        let mut events: Vec<(&str, &str, u64)> = seqs.map(|seq| ("orders", "a", seq)).collect();
        events.insert(1, ("other", "b", id + 1));
        wanted.extend(
            events.iter().filter(|event| event.0 == "orders").map(|event| format!("a/1/{}", event.2)),
        );
        answers.push(hand_over(&*bus, &batch(id, &events)));
    }
    for answer in answers {
        assert_eq!(answer.recv_timeout(super::PATIENCE), Ok(Ok(())));
    }
    assert_eq!(stream(&server, "orders"), wanted);
    assert_eq!(stream(&server, "other").len(), 200);
    let stats = redis.stats();
    assert_eq!((stats.published_batches, stats.published_events, stats.publish_retries), (200, 800, 0));
}

#[test]
fn a_topic_that_is_no_stream_refuses_only_its_own_events() {
    let server = RedisServer::start(&[]);
    let redis = opened(&server);
    server.call(&["SET", "poison", "x"]);
    let events = [("good", "a", 1), ("poison", "a", 2), ("good", "a", 3), ("poison", "b", 1)];
    assert_eq!(publish(&*redis.bus(), &batch(1, &events)), Err(PublishError::Refused(vec![1, 3])));
    assert_eq!(publish(&*redis.bus(), &batch(2, &[("good", "a", 4)])), Ok(()));
    assert_eq!(stream(&server, "good"), ["a/1/1", "a/1/3", "a/1/4"]);
    assert_eq!(server.call(&["GET", "poison"]), Value::BulkString("x".into()));
    assert_eq!(redis.stats().refused_events, 2);
}

#[test]
fn a_server_without_memory_takes_a_batch_whole_or_not_at_all() {
    let server = RedisServer::start(&[]);
    let redis = opened(&server);
    let bus = redis.bus();
    assert_eq!(publish(&*bus, &batch(1, &[("t", "a", 1)])), Ok(()));
    server.call(&["CONFIG", "SET", "maxmemory", "1"]);
    let second = batch(2, &[("t", "a", 2), ("u", "a", 3)]);
    let third = batch(3, &[("t", "a", 4)]);
    let answers = [hand_over(&*bus, &second), hand_over(&*bus, &third)];
    for answer in answers {
        assert_eq!(answer.recv_timeout(super::PATIENCE), Ok(Err(PublishError::Retry)));
    }
    wait_for("the reason", || redis.health().is_err_and(|why| why.contains("OOM")));
    server.call(&["CONFIG", "SET", "maxmemory", "0"]);
    // Handed over before its publisher heard of the failure of the second one.
    assert_eq!(publish(&*bus, &third), Err(PublishError::Retry));
    wait_for("the second batch", || publish(&*bus, &second).is_ok());
    wait_for("the third batch", || publish(&*bus, &third).is_ok());
    assert_eq!(stream(&server, "t"), ["a/1/1", "a/1/2", "a/1/4"]);
    assert_eq!(stream(&server, "u"), ["a/1/3"]);
    wait_for("health", || redis.health().is_ok());
}

#[test]
fn what_the_stream_keeps_is_bounded() {
    let server = RedisServer::start(&["--appendfsync", "no", "--stream-node-max-entries", "10"]);
    let mut config = super::RedisConfig::new(server.url());
    config.stream_events_max = 100;
    let redis = super::Redis::open(config).expect("it opens");
    let bus = redis.bus();
    for id in 0..50 {
        let events: Vec<_> = (0..20).map(|seq| ("t", "a", id * 20 + seq)).collect();
        wait_for("the batch", || publish(&*bus, &batch(id, &events)).is_ok());
    }
    let kept = stream(&server, "t").len();
    assert!((100..120).contains(&kept), "{kept}");
    let chunk = fetch(&*bus, "t", TopicFrom::Offset(0)).expect("a chunk");
    assert_eq!(chunk.skipped as usize, 1000 - kept);
    assert_eq!(chunk.events[0].offset as usize, 1000 - kept);
    assert_eq!(ids(&chunk)[0], format!("a/1/{}", 1000 - kept));
}

/// Hands batches over as a shard does: several under way; after a failure nothing new, and what
/// failed goes again from the oldest on, alone.
struct Shard {
    bus: Arc<dyn Bus>,
    connection: String,
    batches: Vec<Arc<Batch>>,
}

impl Shard {
    fn run(&self) {
        let mut next = 0;
        while next < self.batches.len() {
            let some = &self.batches[next..self.batches.len().min(next + 4)];
            let answers: Vec<_> = some.iter().map(|batch| hand_over(&*self.bus, batch)).collect();
            let mut failed = false;
            for (batch, answer) in some.iter().zip(answers) {
                let answer = answer.recv_timeout(super::PATIENCE).expect("an answer");
                assert!(!failed || answer.is_err(), "{}: taken behind a failed one", self.connection);
                failed |= answer.is_err();
                if answer.is_err() {
                    wait_for("a batch to be taken again", || publish(&*self.bus, batch).is_ok());
                }
            }
            next += some.len();
        }
    }
}

#[test]
fn a_killed_server_loses_nothing_and_keeps_every_lane_in_order() {
    const BATCHES: u64 = 300;
    let mut server = RedisServer::start(&[]);
    let redis = open(&server);
    let shards: Vec<_> = (0..4)
        .map(|shard| {
            let connection = format!("c{shard}");
            let of = |id: u64| [("t", &*connection, id * 2 + 1), ("t", &*connection, id * 2 + 2)];
            let batches = (0..BATCHES).map(|id| batch(id, &of(id))).collect();
            let shard = Shard { bus: redis.bus(), connection: connection.clone(), batches };
            std::thread::spawn(move || shard.run())
        })
        .collect();
    for round in 1..=3 {
        wait_for("some to be published", || redis.stats().published_batches > round * 200);
        server.kill();
        wait_for("a failure", || redis.stats().publish_retries > 0 && redis.health().is_err());
        server.run();
    }
    shards.into_iter().for_each(|shard| shard.join().expect("a shard"));
    let mut lanes: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for id in stream(&server, "t") {
        let (lane, seq) = id.rsplit_once('/').expect("an id");
        let lane = lanes.entry(lane.to_owned()).or_default();
        let seq = seq.parse().expect("a number");
        // Copies of what came already are told by their ids.
        if !lane.contains(&seq) {
            lane.push(seq);
        }
    }
    assert_eq!(lanes.len(), 4);
    for (lane, seqs) in lanes {
        assert!(seqs.iter().copied().eq(1..=BATCHES * 2), "{lane}: {seqs:?}");
    }
}

#[test]
fn a_batch_whose_answer_was_lost_is_not_sent_twice() {
    let server = RedisServer::start(&[]);
    let mut config = super::RedisConfig::new(server.url());
    config.command_timeout = std::time::Duration::from_millis(300);
    let redis = super::Redis::open(config).expect("it opens");
    wait_for("a connection", || redis.health().is_ok());
    let bus = redis.bus();
    assert_eq!(publish(&*bus, &batch(1, &[("t", "a", 1)])), Ok(()));
    server.signal("STOP");
    let second = batch(2, &[("t", "a", 2)]);
    assert_eq!(publish(&*bus, &second), Err(PublishError::Retry));
    server.signal("CONT");
    wait_for("the second batch", || publish(&*bus, &second).is_ok());
    assert_eq!(publish(&*bus, &batch(3, &[("t", "a", 3)])), Ok(()));
    // Either the server had taken it, and it was not sent again; or it was fenced off.
    assert_eq!(stream(&server, "t"), ["a/1/1", "a/1/2", "a/1/3"]);
}

/// A measurement: `WSM_MEASURE=1 cargo test --lib -- --nocapture script_against_pipeline`
#[test]
fn script_against_pipeline() {
    use std::time::Instant;
    if std::env::var_os("WSM_MEASURE").is_none() {
        eprintln!("SKIPPED: WSM_MEASURE is not set");
        return;
    }
    const ROUNDS: u32 = 2000;
    let server = RedisServer::start(&["--appendfsync", "everysec"]);
    let redis = opened(&server);
    let pad = "x".repeat(300);
    let event = format!(r#"{{"id":"{pad}"}}"#);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = redis::Client::open(server.url()).expect("a client");
    runtime.block_on(async {
        let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            let mut pipeline = redis::pipe();
            for _ in 0..100 {
                pipeline.cmd("XADD").arg("p").arg("MAXLEN").arg("~").arg(1_000_000).arg("*");
                pipeline.arg("data").arg(&event).ignore();
            }
            let () = pipeline.query_async(&mut connection).await.expect("taken");
        }
        eprintln!("pipeline, one at a time: {:?} a batch of 100", begun.elapsed() / ROUNDS);
    });
    let bus = redis.bus();
    let mut hundred = Batch { id: super::BatchId(1), bytes: Vec::new(), events: Vec::new() };
    for seq in 0..100 {
        let start = hundred.bytes.len();
        hundred.bytes.extend_from_slice(event.as_bytes());
        let mut one = batch(1, &[("s", "a", seq)]).events[0].clone();
        one.range = start..hundred.bytes.len();
        hundred.events.push(one);
    }
    let hundred = Arc::new(hundred);
    for under_way in [1, 4] {
        let begun = Instant::now();
        let mut answers = std::collections::VecDeque::new();
        for _ in 0..ROUNDS {
            answers.push_back(hand_over(&*bus, &hundred));
            if answers.len() >= under_way {
                assert_eq!(answers.pop_front().expect("one").recv(), Ok(Ok(())));
            }
        }
        answers.into_iter().for_each(|answer| assert_eq!(answer.recv(), Ok(Ok(()))));
        eprintln!("script, {under_way} at a time: {:?} a batch of 100", begun.elapsed() / ROUNDS);
    }
}

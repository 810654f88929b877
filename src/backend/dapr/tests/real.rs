//! Against a real sidecar, when one is named: `WSM_TEST_DAPR=127.0.0.1:50001`, with components
//! `pubsub` and `statestore`. The reader of the broker proves the order; this proves the answers.
//! Without one they say so and end: the tests of the running service bring a sidecar of their own.

use super::*;
use bytes::Bytes;

fn real() -> Option<Dapr> {
    let Ok(endpoint) = std::env::var("WSM_TEST_DAPR") else {
        eprintln!("SKIPPED: WSM_TEST_DAPR names no sidecar");
        return None;
    };
    let dapr = Dapr::open(DaprConfig::new(parse(&endpoint).unwrap())).unwrap();
    wait_for("the sidecar", || dapr.health().is_ready());
    Some(dapr)
}

#[test]
fn lanes_through_a_real_sidecar() {
    let Some(dapr) = real() else { return };
    println!("{} {:?}", dapr.health(), dapr.capabilities());
    for (topic, connections, count) in [("lanes64", 64, 1000), ("lanes1000", 1000, 100)] {
        let start = Instant::now();
        // As a shard does: four batches under way.
        let mut under_way = VecDeque::new();
        for first in (1..=count).step_by(10) {
            let batch = batch(topic, connections, first, 10);
            under_way.push_back((publish(&dapr, &batch), batch));
            while under_way.len() >= 4 {
                let (answered, batch) = under_way.pop_front().unwrap();
                let mut result = answer(&answered);
                while result == Err(PublishError::Retry) {
                    result = answer(&publish(&dapr, &batch));
                }
                assert_eq!(result, Ok(()));
            }
        }
        for (answered, _) in under_way {
            assert_eq!(answer(&answered), Ok(()));
        }
        let took = start.elapsed();
        let events = connections as u64 * count;
        println!("{topic}: {events} events in {took:?}: {:.0}/s", events as f64 / took.as_secs_f64());
    }
    println!("{:?}", dapr.stats());
    assert_eq!(dapr.stats().events, 164_000);
}

#[test]
fn documents_through_a_real_sidecar() {
    let Some(dapr) = real() else { return };
    let documents = dapr.documents();
    let key = format!("test-{}", std::process::id());
    let put = |value: &'static str, expect| {
        let ttl = Some(Duration::from_secs(60));
        block_on(documents.put(key.clone(), Bytes::from_static(value.as_bytes()), expect, ttl)).unwrap()
    };
    let Put::Written(first) = put("1", Expect::Absent) else { panic!("not written") };
    assert_eq!(put("x", Expect::Absent), Put::Conflict);
    let start = Instant::now();
    let Put::Written(second) = put("2", Expect::Version(first.clone())) else { panic!("not written") };
    println!("a write took {:?}", start.elapsed());
    assert_eq!(put("3", Expect::Version(first.clone())), Put::Conflict);
    let start = Instant::now();
    let found = block_on(documents.get(vec![key.clone(), "no such key".into()])).unwrap();
    println!("a read took {:?}", start.elapsed());
    assert_eq!((found[0].as_ref().unwrap().version.clone(), found[1].is_none()), (second.clone(), true));
    assert_eq!(block_on(documents.delete(key.clone(), first)), Ok(Put::Conflict));
    assert!(matches!(block_on(documents.delete(key.clone(), second)), Ok(Put::Written(_))));
}

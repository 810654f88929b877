use super::*;
use bytes::Bytes;

fn put(dapr: &Dapr, key: &str, value: &'static str, expect: Expect) -> Result<Put, BackendError> {
    let ttl = Some(Duration::from_millis(1500));
    block_on(dapr.documents().put(key.into(), Bytes::from_static(value.as_bytes()), expect, ttl))
}

fn written(answer: Result<Put, BackendError>) -> Expect {
    match answer {
        Ok(Put::Written(version)) => Expect::Version(version),
        other => panic!("{other:?}"),
    }
}

fn version(expect: &Expect) -> Bytes {
    match expect {
        Expect::Version(version) => version.clone(),
        Expect::Absent => panic!("no version"),
    }
}

#[test]
fn compare_and_set_on_either_kind_of_store() {
    for redis in [true, false] {
        let fake = Fake::start(World { redis, ..World::new() });
        let dapr = open(&fake, |_| {});
        let first = written(put(&dapr, "k", "1", Expect::Absent));
        assert_eq!(fake.world.lock().last_ttl.as_deref(), Some("2"));
        assert_eq!(put(&dapr, "k", "x", Expect::Absent), Ok(Put::Conflict));
        let second = written(put(&dapr, "k", "2", first.clone()));
        assert_ne!(first, second);
        assert_eq!(put(&dapr, "k", "3", first.clone()), Ok(Put::Conflict));
        let keys = vec!["k".to_owned(), "none".into(), "k".into()];
        let answers = block_on(dapr.documents().get(keys)).unwrap();
        let values: Vec<_> = answers.iter().map(|a| a.as_ref().map(|v| &v.value[..])).collect();
        assert_eq!(values, [Some(&b"2"[..]), None, Some(b"2")]);
        assert_eq!(version(&second), answers[0].as_ref().unwrap().version);
        let delete = |expect: &Expect| block_on(dapr.documents().delete("k".into(), version(expect)));
        assert_eq!(delete(&first), Ok(Put::Conflict));
        assert!(matches!(delete(&second), Ok(Put::Written(_))));
        assert!(matches!(delete(&second), Ok(Put::Written(_))), "gone is gone");
    }
}

#[test]
fn a_dead_store_is_never_a_conflict() {
    let fake = Fake::start(World { redis: true, ..World::new() });
    let dapr = open(&fake, |_| {});
    let first = written(put(&dapr, "k", "1", Expect::Absent));
    fake.world.lock().store_mood = StoreMood::Dead;
    let error = put(&dapr, "k", "2", first.clone()).unwrap_err();
    assert!(error.transient && error.message.contains("connection refused"), "{error}");
    assert!(put(&dapr, "new", "2", Expect::Absent).is_err());
    assert!(block_on(dapr.documents().get(vec!["k".into()])).is_err(), "OK with errors is an error");
    assert!(block_on(dapr.documents().delete("k".into(), version(&first))).is_err());
    // It lives again, but the save came to nothing: what we read still stands.
    fake.world.lock().store_mood = StoreMood::Flaky;
    assert!(put(&dapr, "k", "2", first.clone()).is_err());
    assert!(put(&dapr, "new", "2", Expect::Absent).is_err(), "nothing stands there: no conflict");
    assert!(block_on(dapr.documents().delete("k".into(), version(&first))).is_err());
    // Somebody else's value, surely.
    fake.world.lock().documents.insert("k".into(), (b"theirs".to_vec(), "2".into()));
    assert_eq!(put(&dapr, "k", "2", first), Ok(Put::Conflict));
    assert!(dapr.stats().state_doubts >= 4);
}

#[test]
fn a_write_that_took_place_is_believed_whatever_was_answered() {
    let fake = Fake::start(World { redis: true, store_mood: StoreMood::LiesAfterWriting, ..World::new() });
    let dapr = open(&fake, |_| {});
    let first = written(put(&dapr, "k", "1", Expect::Absent));
    assert_eq!(version(&first), "1");
    assert_eq!(version(&written(put(&dapr, "k", "2", first))), "2");
}

#[test]
fn many_keys_go_in_chunks_and_bad_keys_not_at_all() {
    let fake = Fake::start(World::new());
    let stored = (0..500).map(|i| (format!("k{i}"), (format!("v{i}").into_bytes(), "e".to_owned())));
    fake.world.lock().documents = stored.collect();
    let dapr = open(&fake, |_| {});
    let answers = block_on(dapr.documents().get((0..501).map(|i| format!("k{i}")).collect())).unwrap();
    assert!(answers[..500].iter().enumerate().all(|(i, a)| a.as_ref().unwrap().value == format!("v{i}")));
    assert_eq!(answers[500], None);
    for key in ["", "a||b"] {
        assert!(!put(&dapr, key, "v", Expect::Absent).unwrap_err().transient);
        assert!(block_on(dapr.documents().get(vec!["k1".into(), key.into()])).is_err());
    }
}

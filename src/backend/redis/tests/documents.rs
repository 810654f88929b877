use super::{RedisServer, block, opened, wait_for};
use crate::ports::{Documents, Expect, Put, Version};
use bytes::Bytes;
use std::{
    sync::{Arc, Barrier},
    time::Duration,
};

fn put(documents: &dyn Documents, key: &str, value: &str, expect: Expect) -> Put {
    block(documents.put(key.into(), Bytes::copy_from_slice(value.as_bytes()), expect, None)).expect("put")
}

fn version(put: Put) -> Version {
    match put {
        Put::Written(version) => version,
        Put::Conflict => panic!("a conflict"),
    }
}

#[test]
fn a_document_is_written_read_and_deleted_only_by_who_saw_it() {
    let server = RedisServer::start(&[]);
    let redis = opened(&server);
    let documents = redis.documents();
    for value in ["", "short", &"long ".repeat(100)] {
        let first = version(put(&*documents, "websocket-a", value, Expect::Absent));
        assert_eq!(server.call(&["GET", "websocket-a"]), redis::Value::BulkString(value.into()));
        let got = block(documents.get(vec!["no".into(), "websocket-a".into()])).expect("got");
        assert_eq!(got[0], None);
        let found = got[1].clone().expect("it is there");
        assert_eq!((&found.value[..], &found.version), (value.as_bytes(), &first));
        assert_eq!(put(&*documents, "websocket-a", "x", Expect::Absent), Put::Conflict);
        let second = version(put(&*documents, "websocket-a", "other", Expect::Version(first.clone())));
        assert_eq!(put(&*documents, "websocket-a", "x", Expect::Version(first.clone())), Put::Conflict);
        let deleted = |version: &Version| {
            block(documents.delete("websocket-a".into(), version.clone())).expect("deleted")
        };
        assert_eq!(deleted(&first), Put::Conflict);
        assert!(matches!(deleted(&second), Put::Written(_)));
        assert!(matches!(deleted(&second), Put::Written(_)), "already gone");
        assert_eq!(
            put(&*documents, "websocket-a", "x", Expect::Version(second)),
            Put::Conflict,
            "it is gone"
        );
    }
    assert!(redis.stats().document_conflicts >= 9);
}

#[test]
fn of_eight_writers_exactly_one_wins_each_round() {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 100;
    let server = RedisServer::start(&["--appendfsync", "no"]);
    let redis = opened(&server);
    let documents = redis.documents();
    let barrier = Arc::new(Barrier::new(WRITERS));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (documents, barrier) = (documents.clone(), barrier.clone());
            std::thread::spawn(move || {
                let mut won = Vec::new();
                for round in 0..ROUNDS {
                    barrier.wait();
                    let seen = block(documents.get(vec!["contested".into()])).expect("got").remove(0);
                    let expect = seen.map_or(Expect::Absent, |seen| Expect::Version(seen.version));
                    barrier.wait();
                    // Every other round with a value that is longer than its version.
                    let value = format!("{writer} in {round}{}", " ".repeat(round % 2 * 100));
                    won.push(matches!(put(&*documents, "contested", &value, expect), Put::Written(_)));
                }
                won
            })
        })
        .collect();
    let won: Vec<Vec<bool>> = writers.into_iter().map(|writer| writer.join().expect("a writer")).collect();
    for round in 0..ROUNDS {
        let winners = won.iter().filter(|rounds| rounds[round]).count();
        assert_eq!(winners, 1, "round {round}");
    }
}

#[test]
fn a_document_expires_when_it_is_told_to() {
    let server = RedisServer::start(&[]);
    let redis = opened(&server);
    let documents = redis.documents();
    let short = Some(Duration::from_millis(50));
    block(documents.put("lease".into(), "1".into(), Expect::Absent, short)).expect("put");
    wait_for("the end of the lease", || block(documents.get(vec!["lease".into()])).expect("got") == [None]);
    let long = Some(Duration::from_secs(100));
    let written =
        version(block(documents.put("lease".into(), "2".into(), Expect::Absent, long)).expect("put"));
    assert!(matches!(server.call(&["PTTL", "lease"]), redis::Value::Int(1..=100_000)));
    put(&*documents, "lease", "3", Expect::Version(written));
    assert_eq!(server.call(&["PTTL", "lease"]), redis::Value::Int(-1), "none was asked for");
}

#[test]
fn a_key_of_somebody_else_is_not_touched_and_holds_nothing_up() {
    let server = RedisServer::start(&[]);
    let redis = opened(&server);
    let documents = redis.documents();
    server.call(&["HSET", "websocket-h", "data", "theirs"]);
    put(&*documents, "websocket-i", "ours", Expect::Absent);
    let found = block(documents.get(vec!["websocket-h".into(), "websocket-i".into()])).expect("both");
    let [Some(theirs), Some(ours)] = &found[..] else { panic!("{found:?}") };
    assert!(theirs.value.starts_with(b"(a Redis hash"), "{theirs:?}");
    assert_eq!(&ours.value[..], b"ours");
    assert_eq!(put(&*documents, "websocket-h", "x", Expect::Version(theirs.version.clone())), Put::Conflict);
    assert_eq!(put(&*documents, "websocket-h", "x", Expect::Absent), Put::Conflict);
    assert_eq!(put(&*documents, "websocket-h", "x", Expect::Version("=x".into())), Put::Conflict);
    assert_eq!(block(documents.delete("websocket-h".into(), "=x".into())), Ok(Put::Conflict));
    assert_eq!(server.call(&["HGET", "websocket-h", "data"]), redis::Value::BulkString("theirs".into()));
}

#[test]
fn many_keys_are_read_in_their_order() {
    let server = RedisServer::start(&["--appendfsync", "no"]);
    let redis = opened(&server);
    let keys: Vec<String> = (0..1200).map(|key| format!("k{key}")).collect();
    for key in &keys {
        put(&*redis.documents(), key, key, Expect::Absent);
    }
    let got = block(redis.documents().get(keys.clone())).expect("got");
    let values: Vec<Bytes> = got.into_iter().map(|found| found.expect("it is there").value).collect();
    assert_eq!(values, keys);
    assert_eq!(block(redis.documents().get(Vec::new())), Ok(Vec::new()));
}

#[test]
fn scripts_that_the_server_forgot_are_sent_again() {
    let server = RedisServer::start(&[]);
    let redis = opened(&server);
    put(&*redis.documents(), "a", "1", Expect::Absent);
    server.call(&["SCRIPT", "FLUSH"]);
    assert_eq!(put(&*redis.documents(), "a", "1", Expect::Absent), Put::Conflict);
}

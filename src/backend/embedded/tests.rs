use super::*;
use crate::{core::id::ConnectionId, ports::TopicFrom};
use bytes::Bytes;
use crossbeam::channel::bounded;
use std::{fs, path::Path};

const PATIENCE: Duration = Duration::from_secs(20);

fn ask<T: Send + 'static>(call: impl FnOnce(crate::ports::Done<T>)) -> T {
    let (sender, answer) = bounded(1);
    call(Box::new(move |value| drop(sender.send(value))));
    answer.recv_timeout(PATIENCE).unwrap()
}

fn open(dir: &Path, shards: u32) -> Result<Embedded, BackendError> {
    Embedded::open(EmbeddedConfig::new(dir, shards))
}

#[test]
fn all_parts_open_close_and_come_back() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data");
    let id = ConnectionId::parse("c1").unwrap();
    let embedded = open(&dir, 2).unwrap();
    let Err(error) = open(&dir, 2) else { panic!("two at once") };
    assert!(error.message.contains("LOCK"), "{error}");
    ask(|done| embedded.store().put(&id, Bytes::from_static(b"doc"), done)).unwrap();
    let sealed = embedded.local().sealer().seal(b"c1", b"secret").unwrap();
    assert!(ask(|done| embedded.local().spill(1).unwrap().append(b"rest".to_vec(), done)).unwrap());
    assert!(embedded.local().spill(2).is_none());
    assert!(embedded.capabilities().durable && !embedded.capabilities().broadcast);
    embedded.close().unwrap();
    embedded.close().unwrap();
    drop(embedded);

    let embedded = open(&dir, 2).unwrap();
    assert_eq!(embedded.store().load().unwrap(), vec![(id, Bytes::from_static(b"doc"))]);
    assert_eq!(embedded.local().sealer().open(b"c1", &sealed).unwrap(), b"secret");
    assert_eq!(ask(|done| embedded.local().spill(1).unwrap().peek(done)).unwrap(), Some(b"rest".to_vec()));
    assert_eq!(ask(|done| embedded.bus().fetch("t", TopicFrom::Now, 1, done)).unwrap().next, 0);
    assert!(embedded.local().stats().spill_bytes > 0);
    assert!(embedded.local().leftovers().unwrap().is_empty());
}

#[test]
fn what_other_shards_left_is_found_drained_and_removed() {
    let root = tempfile::tempdir().unwrap();
    let before = open(root.path(), 4).unwrap();
    for shard in [0u8, 3] {
        assert!(ask(|done| before.local().spill(shard.into()).unwrap().append(vec![shard], done)).unwrap());
    }
    drop(before);
    let now = open(root.path(), 2).unwrap();
    assert_eq!(
        ask(|done| now.local().spill(0).unwrap().peek(done)).unwrap(),
        None,
        "it may be another shard's now"
    );
    let left = now.local().leftovers().unwrap();
    assert_eq!(left.len(), 2);
    for (folder, expected) in left.iter().zip([0u8, 3]) {
        let log = now.local().open_leftover(folder).unwrap();
        assert_eq!(ask(|done| log.peek(done)).unwrap(), Some(vec![expected]));
        if expected == 0 {
            ask(|done| log.pop(done)).unwrap();
        }
    }
    assert!(now.local().open_leftover(root.path()).is_err());
    drop(now);
    assert!(!left[0].exists(), "drained");
    let again = open(root.path(), 3).unwrap();
    assert_eq!(again.local().leftovers().unwrap(), left[1..]);
}

#[test]
fn another_key_file_must_exist() {
    let root = tempfile::tempdir().unwrap();
    let mut config = EmbeddedConfig::new(root.path().join("d"), 1);
    config.secret_key_file = Some(root.path().join("fleet.key"));
    let Err(error) = Embedded::open(config.clone()) else { panic!("opened") };
    assert!(error.message.contains("fleet.key"));
    fs::write(root.path().join("fleet.key"), "ab".repeat(32)).unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(root.path().join("fleet.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let embedded = Embedded::open(config).unwrap();
    assert!(!embedded.local().data_dir().join("secret.key").exists());
}

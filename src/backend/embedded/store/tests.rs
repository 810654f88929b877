use super::*;
use crate::backend::embedded::disk::{RealDisk, faulty::FaultyDisk};
use crate::core::random::Rng;
use std::{collections::BTreeMap, sync::atomic::Ordering::SeqCst, time::Duration};

const PATIENCE: Duration = Duration::from_secs(20);

struct Rig {
    store: Arc<EmbeddedStore>,
    thread: Thread,
    tools: Tools,
}

impl Rig {
    fn open(path: &Path) -> Rig {
        Rig::on(path, Fsync::Always, Arc::new(RealDisk))
    }

    fn on(path: &Path, fsync: Fsync, disk: Arc<dyn crate::backend::embedded::disk::Disk>) -> Rig {
        let tools = Tools { disk, counters: Arc::default() };
        let (store, thread) = start(path.to_owned(), fsync, tools.clone()).unwrap();
        Rig { store, thread, tools }
    }

    fn write_async(&self, key: &str, document: Option<&str>) -> Receiver<Result<(), BackendError>> {
        let (sender, answer) = bounded(1);
        let done = Box::new(move |result| drop(sender.send(result)));
        match document {
            Some(text) => self.store.put(&id(key), Bytes::copy_from_slice(text.as_bytes()), done),
            None => self.store.delete(&id(key), done),
        }
        answer
    }

    fn write(&self, key: &str, document: Option<&str>) -> Result<(), BackendError> {
        self.write_async(key, document).recv_timeout(PATIENCE).unwrap()
    }

    fn load(&self) -> Vec<(String, String)> {
        let documents = self.store.load().unwrap();
        documents
            .into_iter()
            .map(|(id, d)| (id.to_string(), String::from_utf8(d.to_vec()).unwrap()))
            .collect()
    }

    fn close(self) {
        self.store.stop();
        self.thread.join().unwrap().unwrap();
    }
}

fn id(text: &str) -> ConnectionId {
    ConnectionId::parse(text).unwrap()
}

fn pairs(documents: &[(&str, &str)]) -> Vec<(String, String)> {
    documents.iter().map(|(id, d)| ((*id).to_owned(), (*d).to_owned())).collect()
}

#[test]
fn documents_survive_and_come_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("connections.redb");
    for fsync in [Fsync::Always, Fsync::UnsafeNever] {
        let rig = Rig::on(&path, fsync, Arc::new(RealDisk));
        rig.write("b", Some("2")).unwrap();
        rig.write("a", Some("1")).unwrap();
        rig.write("c", Some("3")).unwrap();
        rig.write("b", Some(fsync.name())).unwrap();
        rig.write("c", None).unwrap();
        rig.write("never-was", None).unwrap();
        rig.close();
        let rig = Rig::open(&path);
        assert_eq!(rig.load(), pairs(&[("a", "1"), ("b", fsync.name())]));
        rig.close();
    }
}

#[test]
fn a_crash_keeps_all_that_was_answered() {
    for fsync in [Fsync::Always, Fsync::UnsafeNever] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("connections.redb");
        let rig = Rig::on(&path, fsync, Arc::new(RealDisk));
        for n in 0..50 {
            rig.write(&format!("c{n:02}"), Some("x")).unwrap();
            if n % 10 == 3 {
                // The file as a killed process leaves it.
                let copied = dir.path().join("copy.redb");
                fs::copy(&path, &copied).unwrap();
                let after = Rig::open(&copied);
                assert_eq!(after.load().len(), n + 1, "{}", fsync.name());
                after.close();
            }
        }
        rig.close();
    }
}

#[test]
fn writes_that_wait_together_share_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::unlimited();
    let rig = Rig::on(&dir.path().join("connections.redb"), Fsync::Always, disk.clone());
    let gate = disk.gate.lock().unwrap();
    let answers: Vec<_> =
        (0..500).map(|n| rig.write_async(&format!("c{}", n % 50), Some(&n.to_string()))).collect();
    assert!(answers.iter().all(Receiver::is_empty));
    drop(gate);
    for answer in answers {
        answer.recv_timeout(PATIENCE).unwrap().unwrap();
    }
    let stats = rig.tools.counters.read();
    assert!(stats.store_commits <= 2 && stats.store_writes == 500, "{stats:?}");
    let loaded: BTreeMap<_, _> = rig.load().into_iter().collect();
    assert!((0..50).all(|n| loaded[&format!("c{n}")] == (450 + n).to_string()), "the last write wins");
    rig.close();
}

#[test]
fn unsafe_never_forces_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::unlimited();
    let rig = Rig::on(&dir.path().join("connections.redb"), Fsync::UnsafeNever, disk.clone());
    rig.write("a", Some("1")).unwrap();
    rig.close();
    assert_eq!(disk.syncs.load(SeqCst), 0);
}

#[test]
fn a_full_disk_is_an_error_and_later_writes_work() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("connections.redb");
    let disk = FaultyDisk::unlimited();
    let rig = Rig::on(&path, Fsync::Always, disk.clone());
    rig.write("a", Some("1")).unwrap();
    for quota in [0, 100, 5000, 9000] {
        disk.allow(quota);
        let error = rig.write("b", Some(&"2".repeat(20_000))).unwrap_err();
        assert!(error.transient && error.message.contains("connections.redb"), "{error}");
        disk.allow(u64::MAX);
        rig.write("c", Some(&quota.to_string())).unwrap();
        assert_eq!(rig.load(), pairs(&[("a", "1"), ("c", &quota.to_string())]));
    }
    disk.sync_fails.store(true, SeqCst);
    rig.write("d", Some("4")).unwrap_err();
    disk.sync_fails.store(false, SeqCst);
    rig.write("e", Some("5")).unwrap();
    rig.close();
    let rig = Rig::open(&path);
    assert_eq!(rig.load().first().unwrap().1, "1");
    rig.close();
}

#[test]
fn a_damaged_file_is_a_clear_error_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("connections.redb");
    let rig = Rig::open(&path);
    (0..200).for_each(|n| drop(rig.write_async(&format!("c{n}"), Some(&"d".repeat(300)))));
    rig.load();
    rig.close();
    let good = fs::read(&path).unwrap();
    let page = |at: usize| {
        let mut bent = good.clone();
        bent[at..at + 64].fill(0xA5);
        bent
    };
    let leaf = good.windows(64).position(|w| w == [b'd'; 64]).unwrap();
    let mut cases = vec![Vec::new(), b"not a database".to_vec(), vec![0; good.len()], page(leaf), page(0)];
    cases.push(good[..good.len() / 2].to_vec());
    for (case, bytes) in cases.into_iter().enumerate() {
        fs::write(&path, &bytes).unwrap();
        let tools = Tools { disk: Arc::new(RealDisk), counters: Arc::default() };
        let Err(error) = start(path.clone(), Fsync::Always, tools) else { panic!("case {case} was taken") };
        assert!(
            error.message.contains("connections.redb") && error.message.contains("move it away"),
            "{error}"
        );
        assert!(!error.transient);
        assert_eq!(fs::read(&path).unwrap(), bytes, "case {case}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was renamed");
    }
    fs::write(&path, &good).unwrap();
    assert_eq!(Rig::open(&path).load().len(), 200);
}

#[test]
fn damage_anywhere_is_either_harmless_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("connections.redb");
    let rig = Rig::open(&path);
    (0..100).for_each(|n| drop(rig.write_async(&format!("c{n}"), Some(&"d".repeat(300)))));
    assert_eq!(rig.load().len(), 100);
    let killed = fs::read(&path).unwrap();
    rig.close();
    let closed = fs::read(&path).unwrap();
    let mut random = Rng(1);
    let mut below = |bound| random.index(bound);
    let mut refused = 0;
    for round in 0..120 {
        let mut bytes = if round % 2 == 0 { killed.clone() } else { closed.clone() };
        // The first pages hold what all else hangs on.
        let reach = if round % 3 == 0 { 8192 } else { bytes.len() - 64 };
        let (at, length) = (below(reach), 1 + below(64));
        bytes[at..at + length].iter_mut().for_each(|byte| *byte ^= 1 + below(255) as u8);
        fs::write(&path, &bytes).unwrap();
        let tools = Tools { disk: Arc::new(RealDisk), counters: Arc::default() };
        match start(path.clone(), Fsync::UnsafeNever, tools.clone()) {
            Err(error) => {
                refused += 1;
                assert!(error.message.contains("connections.redb"), "{error}");
                assert!(fs::metadata(&path).unwrap().len() > 0);
            }
            Ok((store, thread)) => {
                let rig = Rig { store, thread, tools };
                // After a kill, a damaged last commit looks like one that never ended, and the one
                // before it holds.
                let whole = rig.load().len() == 100;
                assert!(whole || round % 2 == 0, "round {round} at {at}");
                rig.close();
            }
        }
    }
    assert!(refused > 0);
}

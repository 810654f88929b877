use super::*;
use crate::backend::embedded::disk::{RealDisk, faulty::FaultyDisk};
use crate::core::random::Rng;
use std::{collections::VecDeque, fs, path::Path, time::Duration};

const PATIENCE: Duration = Duration::from_secs(20);

struct Rig {
    log: Arc<SpillLog>,
    thread: SpillThread,
    tools: Tools,
}

impl Rig {
    fn open(dir: &Path, bytes_max: u64) -> Rig {
        Rig::on(dir, bytes_max, Arc::new(RealDisk))
    }

    fn on(dir: &Path, bytes_max: u64, disk: Arc<dyn crate::backend::embedded::disk::Disk>) -> Rig {
        let tools = Tools { disk, counters: Arc::default() };
        let config = SpillConfig { dir: dir.to_owned(), bytes_max, fsync: false };
        let (log, thread) = start(config, tools.clone()).unwrap();
        Rig { log, thread, tools }
    }

    fn append(&self, record: &[u8]) -> Result<bool, BackendError> {
        let (sender, answer) = bounded(1);
        self.log.append(record.to_vec(), Box::new(move |r| sender.send(r).unwrap()));
        answer.recv_timeout(PATIENCE).unwrap()
    }

    fn peek(&self) -> Option<Vec<u8>> {
        let (sender, answer) = bounded(1);
        self.log.peek(Box::new(move |r| sender.send(r).unwrap()));
        answer.recv_timeout(PATIENCE).unwrap().unwrap()
    }

    fn pop(&self) {
        let (sender, answer) = bounded(1);
        self.log.pop(Box::new(move |r| sender.send(r).unwrap()));
        answer.recv_timeout(PATIENCE).unwrap().unwrap();
    }

    fn close(self) {
        self.log.stop();
        self.thread.join().unwrap().unwrap();
    }
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

#[test]
fn first_in_first_out_across_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path(), 1 << 20);
    assert_eq!(rig.peek(), None);
    rig.pop();
    for n in 0..100u8 {
        assert_eq!(rig.append(&vec![n; 1000]), Ok(true));
    }
    for n in 0..30u8 {
        assert_eq!(rig.peek(), Some(vec![n; 1000]));
        assert_eq!(rig.peek(), Some(vec![n; 1000]), "it stays until popped");
        rig.pop();
    }
    rig.close();
    let rig = Rig::open(dir.path(), 1 << 20);
    for n in 30..100u8 {
        assert_eq!(rig.peek(), Some(vec![n; 1000]));
        rig.pop();
    }
    assert_eq!(rig.peek(), None);
    assert_eq!(rig.append(b"next"), Ok(true));
    assert_eq!(rig.peek(), Some(b"next".to_vec()));
    rig.close();
}

#[test]
fn the_bound_holds_and_space_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path(), 100_000);
    let mut kept = 0u32;
    while rig.append(&[7; 1000]) == Ok(true) {
        kept += 1;
    }
    assert_eq!(kept, 100_000 / (1000 + HEADER_BYTES as u32));
    assert_eq!(rig.append(&[7; 1000]), Ok(false));
    assert!(rig.log.bytes() <= 100_000 && rig.tools.counters.read().spill_refused == 2);
    rig.pop();
    assert_eq!(rig.append(&[8; 1000]), Ok(true));
    assert_eq!(rig.append(&[8; 1000]), Ok(false));
    for _ in 0..kept {
        rig.pop();
    }
    assert_eq!(rig.peek(), None);
    assert_eq!(rig.append(&vec![1; 100_001]), Ok(false), "longer than the log may be");
    let on_disk =
        || -> u64 { fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum() };
    assert!(on_disk() < 10_000, "popped segments are deleted");
    rig.close();
}

/// Appends, pops, clean restarts and crashes (a copy of the files as they are): never a loss, never
/// another order; what was popped may come again only when the head file is lost.
#[test]
fn any_script_is_a_queue() {
    for seed in 1..=8u64 {
        let mut random = Rng(seed);
        let mut below = |bound| random.below(bound);
        let mut dir = tempfile::tempdir().unwrap();
        let mut rig = Rig::open(dir.path(), 60_000);
        let mut model: VecDeque<Vec<u8>> = VecDeque::new();
        let mut popped: Vec<Vec<u8>> = Vec::new();
        let mut number = 0u32;
        for _ in 0..120 {
            match below(12) {
                0..6 => {
                    let mut record = number.to_le_bytes().to_vec();
                    record.resize(4 + below(3000) as usize, 1);
                    number += 1;
                    if rig.append(&record).unwrap() {
                        model.push_back(record);
                    }
                }
                6..11 => {
                    assert_eq!(rig.peek().as_ref(), model.front(), "seed {seed}");
                    rig.pop();
                    popped.extend(model.pop_front());
                }
                _ => {
                    let (crash, lose_head) = (below(2) == 0, below(2) == 0);
                    if crash {
                        let copied = copy(dir.path());
                        rig.close();
                        dir = copied;
                        if lose_head {
                            let _ = fs::remove_file(dir.path().join(HEAD_FILE));
                        }
                    } else {
                        rig.close();
                    }
                    rig = Rig::open(dir.path(), 60_000);
                    if crash && lose_head {
                        // Some of what was popped comes again, in order, then all the rest.
                        while let Some(record) = rig.peek().filter(|record| Some(record) != model.front()) {
                            assert!(popped.contains(&record));
                            rig.pop();
                        }
                    }
                }
            }
        }
        for record in model {
            assert_eq!(rig.peek(), Some(record));
            rig.pop();
        }
        assert_eq!(rig.peek(), None);
        rig.close();
    }
}

#[test]
fn damage_loses_the_damaged_record_only() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path(), 1 << 20);
    (0..5u8).for_each(|n| assert_eq!(rig.append(&[n; 100]), Ok(true)));
    rig.close();
    let path = dir.path().join(format!("{:020}.log", 0));
    let mut bytes = fs::read(&path).unwrap();
    bytes[2 * (HEADER_BYTES + 100) + 50] ^= 1;
    bytes.truncate(bytes.len() - 1);
    fs::write(&path, bytes).unwrap();
    let rig = Rig::open(dir.path(), 1 << 20);
    for n in [0, 1, 3] {
        assert_eq!(rig.peek(), Some(vec![n; 100]));
        rig.pop();
    }
    assert_eq!(rig.peek(), None);
    assert_eq!(rig.tools.counters.read().damaged_places, 1);
    rig.close();
}

#[test]
fn a_full_disk_is_an_error_that_passes() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::unlimited();
    let rig = Rig::on(dir.path(), 1 << 20, disk.clone());
    assert_eq!(rig.append(b"one"), Ok(true));
    disk.allow(10);
    assert!(rig.append(b"two").unwrap_err().transient);
    rig.pop();
    assert_eq!(rig.peek(), None, "popped although it could not be noted");
    disk.allow(u64::MAX);
    assert_eq!(rig.append(b"three"), Ok(true));
    assert_eq!(rig.peek(), Some(b"three".to_vec()));
    rig.close();
}

#[test]
fn records_after_a_lost_log_are_not_taken_for_popped_ones() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path(), 1 << 20);
    for _ in 0..5 {
        rig.append(b"old").unwrap();
        rig.pop();
    }
    rig.close();
    fs::remove_file(dir.path().join(format!("{:020}.log", 0))).unwrap();
    let rig = Rig::open(dir.path(), 1 << 20);
    assert_eq!(rig.append(b"new"), Ok(true));
    rig.close();
    let rig = Rig::open(dir.path(), 1 << 20);
    assert_eq!(rig.peek(), Some(b"new".to_vec()));
    rig.close();
}

//! Disks that are full or fail, and processes that die.

use super::*;
use crate::core::random::Rng;

#[test]
fn a_full_disk_asks_for_another_try_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::unlimited();
    let rig = Rig::with(dir.path(), Fsync::Always, disk.clone());
    rig.publish(&[("t", "0")]).unwrap();
    disk.allow(100);
    assert_eq!(rig.publish(&[("t", "1"), ("t", "2")]), Err(PublishError::Retry));
    disk.allow(u64::MAX);
    disk.sync_fails.store(true, SeqCst);
    assert_eq!(rig.publish(&[("t", "unsure")]), Err(PublishError::Retry));
    disk.sync_fails.store(false, SeqCst);
    rig.publish(&[("t", "1"), ("t", "2")]).unwrap();
    assert!(rig.tools.counters.read().bus_errors >= 2);
    rig.close();
    let rig = Rig::open(dir.path());
    let chunk = rig.fetch("t", TopicFrom::Start, 1).unwrap();
    assert_eq!(texts(&chunk), ["0"]);
    let mut all = Vec::new();
    let mut at = 0;
    while at < 4 {
        let chunk = rig.fetch("t", offset(at), 999).unwrap();
        at = chunk.next;
        all.extend(texts(&chunk));
    }
    assert_eq!(all, ["0", "unsure", "1", "2"]);
    rig.close();
}

/// Batches over three topics, reads, restarts, and crashes: the files as they stand, perhaps with a
/// torn end. What was answered and not torn is there, in order, under its number.
#[test]
fn any_script_with_crashes_is_three_vectors() {
    let topics = ["a", "b/c", "d"];
    for seed in 1..=6u64 {
        let mut random = Rng(seed);
        let mut below = |bound| random.below(bound);
        let mut dir = tempfile::tempdir().unwrap();
        let fsync = [Fsync::UnsafeNever, Fsync::Interval(Duration::from_millis(1))][(seed % 2) as usize];
        let mut rig = Rig::with(dir.path(), fsync, Arc::new(RealDisk));
        let mut models: [Vec<String>; 3] = Default::default();
        let mut number = 0;
        for _ in 0..60 {
            match below(8) {
                0..4 => {
                    let events: Vec<(usize, String)> = (0..=below(30))
                        .map(|_| {
                            number += 1;
                            let text = format!("{number}{}", "x".repeat(below(300) as usize));
                            (below(3) as usize, text)
                        })
                        .collect();
                    let named: Vec<_> = events.iter().map(|(t, text)| (topics[*t], text.as_str())).collect();
                    rig.publish(&named).unwrap();
                    events.into_iter().for_each(|(topic, text)| models[topic].push(text));
                }
                4..7 => {
                    let topic = below(3) as usize;
                    let model = &models[topic];
                    if model.is_empty() {
                        continue;
                    }
                    let from = below(model.len() as u64);
                    let chunk = rig.fetch(topics[topic], offset(from), 1 + below(3000) as usize).unwrap();
                    let found = texts(&chunk);
                    assert_eq!((chunk.skipped, chunk.next), (0, from + found.len() as u64));
                    assert_eq!(found[..], model[from as usize..][..found.len()], "seed {seed}");
                }
                _ => {
                    let crashed = tempfile::tempdir().unwrap();
                    copy_tree(dir.path(), crashed.path());
                    rig.close();
                    let topic = below(3) as usize;
                    if below(2) == 0 && tear(crashed.path(), topics[topic], 1 + below(20)) {
                        // Less than any record: exactly one is torn.
                        models[topic].pop();
                    }
                    dir = crashed;
                    rig = Rig::with(dir.path(), fsync, Arc::new(RealDisk));
                }
            }
        }
        for (topic, model) in topics.iter().zip(&models) {
            let next = rig.fetch(topic, TopicFrom::Now, 1).unwrap().next;
            assert_eq!(next, model.len() as u64, "seed {seed}");
        }
        rig.close();
    }
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Cuts the end of the topic's last file; false when there is nothing to cut.
fn tear(dir: &Path, topic: &str, bytes: u64) -> bool {
    let folder = dir.join(crate::backend::embedded::topic::folder_name(topic));
    let Ok(entries) = fs::read_dir(folder) else { return false };
    let Some(last) = entries.map(|e| e.unwrap().path()).max() else { return false };
    let length = fs::metadata(&last).unwrap().len();
    if length == 0 {
        return false;
    }
    crate::backend::embedded::disk::open_file(&last, false).unwrap().set_len(length - bytes).unwrap();
    true
}

#[test]
fn a_file_whose_fsync_fails_behind_is_left_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::unlimited();
    disk.sync_fails.store(true, SeqCst);
    let rig = Rig::with(dir.path(), Fsync::Interval(Duration::from_millis(1)), disk.clone());
    let files = || fs::read_dir(dir.path().join("t")).map_or(0, Iterator::count);
    let began = Instant::now();
    let mut published = 0;
    while files() < 2 && began.elapsed() < PATIENCE {
        rig.publish(&[("t", "1")]).unwrap();
        published += 1;
    }
    assert!(files() >= 2 && rig.tools.counters.read().fsync_errors > 0);
    disk.sync_fails.store(false, SeqCst);
    rig.publish(&[("t", "last")]).unwrap();
    assert_eq!(rig.fetch("t", offset(published), 99).unwrap().events.len(), 1);
    rig.bus.stop();
    let _ = rig.thread.join().unwrap();
}

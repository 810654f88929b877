use super::*;
use crate::backend::embedded::disk::{RealDisk, faulty::FaultyDisk};
use crate::core::random::Rng;
use std::sync::atomic::Ordering::SeqCst;

fn tools() -> Tools {
    Tools { disk: Arc::new(RealDisk), counters: Arc::default() }
}

fn open(dir: &Path, segment_bytes: u64, tools: &Tools) -> Log {
    Log::open(0, dir.to_owned(), segment_bytes, tools.clone()).unwrap()
}

fn put(log: &mut Log, files: &mut Files, nanos: u64, body: &[u8]) {
    log.stage(files, nanos, &[body]).unwrap();
    log.flush(files).unwrap();
}

/// Asks until there is an answer, like the bus does.
fn read(log: &mut Log, files: &mut Files, from: u64, bytes_max: usize) -> (Vec<(u64, Vec<u8>)>, u64, u64) {
    for _ in 0..1000 {
        match log.read(files, from, bytes_max).unwrap() {
            Read::Again => {}
            Read::AtEnd => return (Vec::new(), from, 0),
            Read::Beyond => panic!("beyond"),
            Read::Records { frames, next, skipped } => {
                return (frames.iter().map(|f| (f.sequence, f.body.to_vec())).collect(), next, skipped);
            }
        }
    }
    panic!("no progress")
}

fn read_all(log: &mut Log, files: &mut Files) -> (Vec<(u64, Vec<u8>)>, u64) {
    let (mut all, mut at, mut skipped_all) = (Vec::new(), log.first(), 0);
    while at < log.next() {
        let (some, next, skipped) = read(log, files, at, 300);
        assert!(next > at);
        all.extend(some);
        skipped_all += skipped;
        at = next;
    }
    (all, skipped_all)
}

fn body(number: u64) -> Vec<u8> {
    format!("{{\"number\":{number}}}").into_bytes()
}

#[test]
fn a_tail_torn_at_every_byte_loses_the_last_record_only() {
    let whole = {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, mut files) = (open(dir.path(), 1 << 20, &tools()), Files::default());
        (0..5).for_each(|n| put(&mut log, &mut files, n, &body(n)));
        fs::read(dir.path().join(format!("{:020}.log", 0))).unwrap()
    };
    let record = whole.len() / 5;
    for end in whole.len() - record..whole.len() {
        // Cut short, and once more filled with what a power cut leaves.
        for filler in [None, Some(0u8), Some(0xFF)] {
            let dir = tempfile::tempdir().unwrap();
            let mut bytes = whole[..end].to_vec();
            if let Some(filler) = filler {
                bytes.resize(whole.len() + 100, filler);
                if bytes[..whole.len()] == whole[..] {
                    continue;
                }
            }
            let path = dir.path().join(format!("{:020}.log", 0));
            fs::write(&path, &bytes).unwrap();
            let tools = tools();
            let (mut log, mut files) = (open(dir.path(), 1 << 20, &tools), Files::default());
            assert_eq!(log.next(), 4, "cut at {end} filled {filler:?}");
            assert_eq!(tools.counters.torn_bytes.load(SeqCst), (bytes.len() - 4 * record) as u64);
            put(&mut log, &mut files, 9, b"again");
            let (all, skipped) = read_all(&mut log, &mut files);
            assert_eq!(skipped, 0);
            let expected: Vec<_> = (0..4).map(|n| (n, body(n))).chain([(4, b"again".to_vec())]).collect();
            assert_eq!(all, expected);
            assert_eq!(tools.counters.damaged_places.load(SeqCst), 0);
        }
    }
}

#[test]
fn damage_in_the_middle_is_reported_and_skipped_and_never_cut() {
    for sealed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, mut files) = (open(dir.path(), 1 << 20, &tools()), Files::default());
        (0..6).for_each(|n| put(&mut log, &mut files, n, &body(n)));
        if sealed {
            log.roll(&mut files).unwrap();
        }
        let path = dir.path().join(format!("{:020}.log", 0));
        let whole = fs::read(&path).unwrap();
        let record = whole.len() / 6;
        for at in 2 * record..3 * record {
            let mut bent = whole.clone();
            bent[at] ^= 0x55;
            fs::write(&path, &bent).unwrap();
            let tools = tools();
            let (mut log, mut files) = (open(dir.path(), 1 << 20, &tools), Files::default());
            assert_eq!(log.next(), 6);
            assert_eq!(read(&mut log, &mut files, 0, 9999), (vec![(0, body(0)), (1, body(1))], 2, 0));
            let rest = (3..6).map(|n| (n, body(n))).collect();
            assert_eq!(read(&mut log, &mut files, 2, 9999), (rest, 6, 1), "byte {at}");
            assert_eq!(tools.counters.damaged_places.load(SeqCst), 1);
            assert_eq!(fs::read(&path).unwrap(), bent, "evidence stays");
        }
    }
}

#[test]
fn a_sealed_segment_damaged_to_its_end_or_missing_is_skipped_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, mut files) = (open(dir.path(), 100, &tools()), Files::default());
    (0..10).for_each(|n| put(&mut log, &mut files, n, &body(n)));
    let bases: Vec<u64> = log.segments.iter().map(|s| s.base).collect();
    assert!(bases.len() >= 4, "{bases:?}");
    fs::write(log.path(bases[1]), vec![7u8; 90]).unwrap();
    fs::remove_file(log.path(bases[2])).unwrap();
    let (mut log, mut files) = (open(dir.path(), 100, &tools()), Files::default());
    let (all, skipped) = read_all(&mut log, &mut files);
    assert_eq!(skipped, bases[3] - bases[1]);
    let kept: Vec<u64> = all.iter().map(|r| r.0).collect();
    assert_eq!(kept, (0..bases[1]).chain(bases[3]..10).collect::<Vec<_>>());
}

#[test]
fn text_of_a_message_is_never_taken_for_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, mut files) = (open(dir.path(), 1 << 20, &tools()), Files::default());
    let mut inner = Vec::new();
    encode(&mut inner, 1, 1, &[b"inner"]);
    // As it would stand in JSON: not UTF-8, so replaced.
    let text = String::from_utf8_lossy(&inner).into_owned().into_bytes();
    put(&mut log, &mut files, 0, &text);
    let path = dir.path().join(format!("{:020}.log", 0));
    let mut bytes = fs::read(&path).unwrap();
    bytes[5] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(open(dir.path(), 1 << 20, &tools()).next(), 0);
}

#[test]
fn retention_by_bytes_and_by_age_keeps_the_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let tools = tools();
    let (mut log, mut files) = (open(dir.path(), 200, &tools), Files::default());
    (0..100).for_each(|n| put(&mut log, &mut files, n * 10, &body(n)));
    log.retain(&mut files, 1000, 0).unwrap();
    assert!(log.bytes() <= 1000 && log.bytes() > 700, "{}", log.bytes());
    let first = log.first();
    assert!(first > 70);
    assert_eq!(read(&mut log, &mut files, 3, 1).2, first - 3);

    // By age, also for segments of which a new process knows nothing.
    let (mut log, mut files) = (open(dir.path(), 200, &tools), Files::default());
    log.retain(&mut files, 1000, 900).unwrap();
    assert!(log.first() > first && log.first() <= 90, "{}", log.first());
    log.retain(&mut files, 1000, u64::MAX).unwrap();
    assert_eq!((log.first(), log.next(), log.bytes(), log.segments()), (100, 100, 0, 1));
    let (mut log, mut files) = (open(dir.path(), 200, &tools), Files::default());
    assert_eq!(log.next(), 100);
    put(&mut log, &mut files, 0, b"x");
    assert_eq!(read(&mut log, &mut files, 0, 9), (vec![(100, b"x".to_vec())], 101, 100));
}

#[test]
fn a_far_place_is_found_in_bounded_steps_and_then_known() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, mut files) = (open(dir.path(), 1 << 30, &tools()), Files::default());
    let big = vec![b'a'; 10_000];
    for n in 0..500 {
        log.stage(&mut files, n, &[&big]).unwrap();
    }
    log.flush(&mut files).unwrap();
    log.roll(&mut files).unwrap();
    let (mut log, mut files) = (open(dir.path(), 1 << 30, &tools()), Files::default());
    let mut steps = 0;
    while log.read(&mut files, 499, 1).unwrap() == Read::Again {
        steps += 1;
    }
    assert!((3..=6).contains(&steps), "{steps}");
    assert!(matches!(log.read(&mut files, 480, 1).unwrap(), Read::Records { .. }), "now indexed");
    // A record longer than a step does not stop the walk.
    put(&mut log, &mut files, 0, &vec![1; 3_000_000]);
    (0..3).for_each(|_| put(&mut log, &mut files, 0, &vec![2; 3_000_000]));
    log.roll(&mut files).unwrap();
    let (mut log, mut files) = (open(dir.path(), 1 << 30, &tools()), Files::default());
    assert_eq!(read(&mut log, &mut files, 503, 1).1, 504);
}

#[test]
fn a_full_disk_fails_whole_groups_and_heals() {
    for truncate_fails in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::unlimited();
        let tools = Tools { disk: disk.clone(), counters: Arc::default() };
        let (mut log, mut files) = (open(dir.path(), 1 << 20, &tools), Files::default());
        put(&mut log, &mut files, 0, &body(0));
        // Room for two whole records and a half of the group's four.
        disk.allow(5 * (HEADER_BYTES + body(1).len()) as u64 / 2);
        disk.truncate_fails.store(truncate_fails, SeqCst);
        (1..5).for_each(|n| log.stage(&mut files, n, &[&body(n)]).unwrap());
        let error = log.flush(&mut files).unwrap_err();
        assert!(
            error.transient && error.message.contains(".log") && error.message.contains("space"),
            "{error}"
        );
        assert_eq!((log.next(), log.staged_bytes()), (1, 0));
        assert_eq!(read_all(&mut log, &mut files).0.len(), 1);
        disk.allow(u64::MAX);
        if truncate_fails {
            log.stage(&mut files, 0, &[b"x"]).unwrap();
            assert!(log.flush(&mut files).is_err(), "not before the rest was cut");
            disk.truncate_fails.store(false, SeqCst);
        }
        put(&mut log, &mut files, 0, b"after");
        let expected = vec![(0, body(0)), (1, b"after".to_vec())];
        assert_eq!(read_all(&mut log, &mut files).0, expected);
        let (mut log, mut files) = (open(dir.path(), 1 << 20, &tools), Files::default());
        assert_eq!(read_all(&mut log, &mut files), (expected, 0));
    }
}

#[test]
fn few_files_stay_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = Files::default();
    let mut log = open(dir.path(), 1, &tools());
    (0..200).for_each(|n| put(&mut log, &mut files, n, &body(n)));
    assert_eq!(log.segments(), 200);
    assert_eq!(read_all(&mut log, &mut files).0.len(), 200);
    assert!(files.len() <= crate::limits::LOG_FILES_OPEN_MAX);
}

/// Any script of appends, reads, retention, restarts and crashes against a plain vector.
#[test]
fn it_behaves_like_a_vector_across_crashes() {
    for seed in 1..=30 {
        let mut rng = Rng(0x9E37_79B9_7F4A_7C15u64.wrapping_mul(seed));
        let dir = tempfile::tempdir().unwrap();
        let (tools, segment_bytes) = (tools(), 300 + rng.below(3000));
        let (mut log, mut files) = (open(dir.path(), segment_bytes, &tools), Files::default());
        // (number, body) of all records that were ever confirmed and not lost.
        let mut model: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut next = 0;
        for _ in 0..60 {
            match rng.below(10) {
                0..5 => {
                    for _ in 0..=rng.below(8) {
                        let long = if rng.below(20) == 0 { 70_000 } else { 200 };
                        let bytes = vec![b'a' + (next % 26) as u8; rng.below(long) as usize];
                        log.stage(&mut files, next, &[&bytes[..bytes.len() / 2], &bytes[bytes.len() / 2..]])
                            .unwrap();
                        model.push((next, bytes));
                        next += 1;
                    }
                    log.flush(&mut files).unwrap();
                }
                5..8 => {
                    let from = rng.below(next + 1);
                    let (records, upto, skipped) =
                        read(&mut log, &mut files, from, 1 + rng.below(2000) as usize);
                    let start = if from == next { from } else { from.max(log.first()) };
                    assert_eq!(skipped, start - from);
                    assert_eq!(upto, start + records.len() as u64);
                    assert!(start == next || !records.is_empty());
                    let place = model.partition_point(|r| r.0 < start);
                    assert_eq!(records[..], model[place..place + records.len()]);
                }
                8 => log.retain(&mut files, 2000 + rng.below(4000), rng.below(next + 1)).unwrap(),
                _ => {
                    let active = log.segments.back().map(|s| (s.base, s.bytes));
                    let crash = rng.below(2) == 0;
                    drop(log);
                    if let (true, Some((base, bytes))) = (crash, active) {
                        let cut = rng.below(bytes + 1).min(rng.below(500));
                        let path = dir.path().join(format!("{base:020}.log"));
                        open_file_len(&path, bytes - cut);
                        let mut lost = 0;
                        while lost < cut {
                            lost += (HEADER_BYTES + model.pop().unwrap().1.len()) as u64;
                            next -= 1;
                        }
                    }
                    files = Files::default();
                    log = open(dir.path(), segment_bytes, &tools);
                }
            }
            assert_eq!(log.next(), next, "seed {seed}");
        }
        let (all, skipped) = read_all(&mut log, &mut files);
        assert_eq!(skipped, 0);
        let kept = model.partition_point(|r| r.0 < log.first());
        assert_eq!(all[..], model[kept..], "seed {seed}");
        assert_eq!(tools.counters.damaged_places.load(SeqCst), 0);
    }
}

fn open_file_len(path: &Path, bytes: u64) {
    crate::backend::embedded::disk::open_file(path, false).unwrap().set_len(bytes).unwrap();
}

#[test]
fn a_record_with_an_old_number_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    for number in [0, 1, 0, 1, 2] {
        encode(&mut bytes, number, 1, &[&body(number)]);
    }
    fs::write(dir.path().join(format!("{:020}.log", 0)), &bytes).unwrap();
    let tools = tools();
    let (mut log, mut files) = (open(dir.path(), 1 << 20, &tools), Files::default());
    assert_eq!(read_all(&mut log, &mut files), ((0..3).map(|n| (n, body(n))).collect(), 0));
    assert_eq!(tools.counters.damaged_places.load(SeqCst), 1);
}

mod crashes;

use super::*;
use crate::{
    backend::embedded::disk::{RealDisk, faulty::FaultyDisk},
    core::{
        id::ConnectionId,
        publish::batch::{BatchId, Event, EventKind},
    },
    ports::Completion,
};
use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

const TOPICS_IN_TEST: usize = 30;
const PATIENCE: Duration = Duration::from_secs(20);

struct Rig {
    bus: Arc<EmbeddedBus>,
    thread: Thread,
    tools: Tools,
    clock: Arc<AtomicU64>,
}

fn config(dir: &Path, fsync: Fsync, clock: &Arc<AtomicU64>) -> BusConfig {
    let clock = clock.clone();
    BusConfig {
        dir: dir.to_owned(),
        fsync,
        topic_bytes_max: 1 << 20,
        age_max: Duration::from_nanos(1_000_000),
        segment_bytes: 1 << 16,
        topics_max: TOPICS_IN_TEST,
        clock: Arc::new(move || clock.load(SeqCst)),
    }
}

impl Rig {
    fn open(dir: &Path) -> Rig {
        Rig::with(dir, Fsync::Interval(Duration::from_millis(1)), Arc::new(RealDisk))
    }

    fn with(dir: &Path, fsync: Fsync, disk: Arc<dyn crate::backend::embedded::disk::Disk>) -> Rig {
        let clock = Arc::new(AtomicU64::new(7));
        let tools = Tools { disk, counters: Arc::default() };
        let (bus, thread) = start(config(dir, fsync, &clock), tools.clone()).unwrap();
        Rig { bus, thread, tools, clock }
    }

    fn publish_async(&self, events: &[(&str, &str)]) -> Receiver<Result<(), PublishError>> {
        let (sender, answer) = bounded(1);
        self.bus.publish(batch(events), Box::new(move |result| sender.send(result).unwrap()));
        answer
    }

    fn publish(&self, events: &[(&str, &str)]) -> Result<(), PublishError> {
        self.publish_async(events).recv_timeout(PATIENCE).unwrap()
    }

    fn fetch_async(
        &self,
        topic: &str,
        from: TopicFrom,
        max: usize,
    ) -> Receiver<Result<TopicChunk, BackendError>> {
        let (sender, answer) = bounded(1);
        self.bus.fetch(topic, from, max, Box::new(move |result| drop(sender.send(result))));
        answer
    }

    fn fetch(&self, topic: &str, from: TopicFrom, max: usize) -> Result<TopicChunk, BackendError> {
        self.fetch_async(topic, from, max).recv_timeout(PATIENCE).unwrap()
    }

    fn close(self) {
        self.bus.stop();
        self.thread.join().unwrap().unwrap();
    }
}

fn batch(events: &[(&str, &str)]) -> Arc<Batch> {
    let mut batch = Batch { id: BatchId(1), bytes: Vec::new(), events: Vec::new() };
    for (topic, json) in events {
        let start = batch.bytes.len();
        batch.bytes.extend_from_slice(json.as_bytes());
        batch.events.push(Event {
            topic: (*topic).into(),
            connection: ConnectionId::parse("c-1").unwrap(),
            kind: EventKind::Message,
            epoch: 3,
            first_seq: 1,
            last_seq: 1,
            messages: 1,
            relaxed: false,
            range: start..batch.bytes.len(),
        });
    }
    Arc::new(batch)
}

fn texts(chunk: &TopicChunk) -> Vec<String> {
    chunk.events.iter().map(|e| String::from_utf8(e.event.to_vec()).unwrap()).collect()
}

fn offset(at: u64) -> TopicFrom {
    TopicFrom::Offset(at)
}

#[test]
fn events_stand_in_the_file_when_answered_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    for fsync in [Fsync::Always, Fsync::Interval(Duration::from_millis(100)), Fsync::UnsafeNever] {
        let rig = Rig::with(dir.path(), fsync, Arc::new(RealDisk));
        let json = format!("{{\"data\":\"{}\"}}", fsync.name());
        rig.publish(&[("a/b", &json), ("c", "{}"), ("a/b", "{\"z\":1}")]).unwrap();
        let file = fs::read(dir.path().join("a%2Fb/00000000000000000000.log")).unwrap();
        assert!(file.windows(json.len()).any(|w| w == json.as_bytes()));
        rig.close();
    }
    let rig = Rig::open(dir.path());
    let chunk = rig.fetch("a/b", TopicFrom::Start, 9999).unwrap();
    assert_eq!(texts(&chunk)[..2], ["{\"data\":\"always\"}", "{\"z\":1}"]);
    assert_eq!((chunk.events.len(), chunk.next, chunk.skipped), (6, 6, 0));
    assert_eq!(chunk.events[5].offset, 5);
    assert_eq!(chunk.events[5].unix_nanos, 7);
    assert_eq!(rig.fetch("c", offset(1), 9999).unwrap().events.len(), 2);
    assert_eq!(
        rig.fetch("c", TopicFrom::Now, 9).unwrap(),
        TopicChunk { events: vec![], next: 3, skipped: 0 }
    );
    rig.close();
}

#[test]
fn batches_that_wait_together_are_written_and_forced_together() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::unlimited();
    let rig = Rig::with(dir.path(), Fsync::Always, disk.clone());
    let gate = disk.gate.lock().unwrap();
    let answers: Vec<_> = (0..100).map(|n| rig.publish_async(&[("t", &format!("{n}"))])).collect();
    assert!(answers.iter().all(Receiver::is_empty), "nothing is answered before it is written");
    drop(gate);
    for answer in &answers {
        assert_eq!(answer.recv_timeout(PATIENCE).unwrap(), Ok(()));
    }
    assert!(disk.writes.load(SeqCst) <= 2 && disk.syncs.load(SeqCst) <= 2);
    let chunk = rig.fetch("t", TopicFrom::Start, 99_999).unwrap();
    assert_eq!(texts(&chunk), (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    let stats = rig.tools.counters.read();
    assert_eq!(stats.appended_events, 100);
    assert_eq!(stats.fsync_buckets.iter().sum::<u64>(), stats.fsyncs);
    rig.close();
}

#[test]
fn parked_readers_wake_in_their_order_and_dead_ones_are_forgotten() {
    struct Waiter(Arc<AtomicBool>, Sender<(u32, usize)>, u32);
    impl Completion<Result<TopicChunk, BackendError>> for Waiter {
        fn complete(self: Box<Self>, answer: Result<TopicChunk, BackendError>) {
            self.1.send((self.2, answer.unwrap().events.len())).unwrap();
        }
        fn wanted(&self) -> bool {
            self.0.load(SeqCst)
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path());
    let (sender, woken) = bounded(100);
    let (alive, dead) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    // The topic does not exist yet.
    for n in 0..20 {
        let life = if n % 4 == 1 { &dead } else { &alive };
        let from = if n % 2 == 0 { TopicFrom::Start } else { offset(0) };
        rig.bus.fetch("t", from, 1000, Box::new(Waiter(life.clone(), sender.clone(), n)));
    }
    // An answered fetch: those before it are parked by now.
    assert_eq!(rig.fetch("t", TopicFrom::Now, 1).unwrap().next, 0);
    assert!(woken.is_empty());
    dead.store(false, SeqCst);
    rig.publish(&[("t", "1"), ("t", "2")]).unwrap();
    for n in (0..20).filter(|n| n % 4 != 1) {
        assert_eq!(woken.recv_timeout(PATIENCE).unwrap(), (n, 2));
    }
    assert!(woken.is_empty());
    rig.close();
}

#[test]
fn now_never_misses_what_is_published_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::unlimited();
    let rig = Rig::with(dir.path(), Fsync::UnsafeNever, disk.clone());
    rig.publish(&[("t", "0")]).unwrap();
    let gate = disk.gate.lock().unwrap();
    let before = rig.publish_async(&[("t", "1")]);
    let now = rig.fetch_async("t", TopicFrom::Now, 100);
    let after = rig.publish_async(&[("t", "2")]);
    drop(gate);
    before.recv_timeout(PATIENCE).unwrap().unwrap();
    after.recv_timeout(PATIENCE).unwrap().unwrap();
    let position = now.recv_timeout(PATIENCE).unwrap().unwrap().next;
    assert!((1..=2).contains(&position));
    assert!(texts(&rig.fetch("t", offset(position), 100).unwrap()).contains(&"2".to_owned()));
    rig.close();
}

#[test]
fn a_cursor_beyond_the_end_is_an_error_and_an_old_one_says_what_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path());
    let waits = rig.fetch_async("t", offset(50), 10);
    rig.publish(&[("t", "0")]).unwrap();
    let error = waits.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert!(
        error.message.contains("cursor 50") && error.message.contains("'t'") && !error.transient,
        "{error}"
    );
    assert!(rig.fetch("t", offset(2), 10).unwrap_err().message.contains("cursor 2"));

    // 1 MiB is kept; this is three.
    let long = "x".repeat(1000);
    for _ in 0..30 {
        rig.publish(&vec![("t", long.as_str()); 100]).unwrap();
    }
    let chunk = rig.fetch("t", offset(1), 10).unwrap();
    assert_eq!(chunk.skipped, chunk.events[0].offset - 1);
    assert!(chunk.skipped > 1500 && chunk.next == chunk.events[0].offset + 1);
    assert_eq!(rig.fetch("t", TopicFrom::Start, 10).unwrap().skipped, 0);
    assert!(rig.tools.counters.read().segments_deleted > 10);
    let kept: u64 =
        fs::read_dir(dir.path().join("t")).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert!(kept <= 1 << 20);

    // All of it ages out, the numbers go on, also after a restart.
    rig.clock.store(1 << 40, SeqCst);
    rig.publish(&[("t", "late")]).unwrap();
    assert_eq!(rig.fetch("t", offset(3001), 10).unwrap().events[0].offset, 3001);
    rig.close();
    let rig = Rig::open(dir.path());
    assert_eq!(rig.fetch("t", TopicFrom::Now, 10).unwrap().next, 3002);
    rig.close();
}

#[test]
fn two_readers_at_different_speeds_see_all() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path());
    let (mut fast, mut slow) = (Vec::new(), Vec::new());
    let (mut fast_at, mut slow_at) = (0, 0);
    for round in 0..50u32 {
        let texts_in: Vec<String> = (0..7).map(|n| format!("{round}-{n}")).collect();
        rig.publish(&texts_in.iter().map(|t| ("t", t.as_str())).collect::<Vec<_>>()).unwrap();
        let chunk = rig.fetch("t", offset(fast_at), 100_000).unwrap();
        fast_at = chunk.next;
        fast.extend(texts(&chunk));
        let chunk = rig.fetch("t", offset(slow_at), 1).unwrap();
        assert_eq!(chunk.events.len(), 1);
        slow_at = chunk.next;
        slow.extend(texts(&chunk));
    }
    while slow_at < 350 {
        let chunk = rig.fetch("t", offset(slow_at), 20).unwrap();
        slow_at = chunk.next;
        slow.extend(texts(&chunk));
    }
    assert_eq!(fast.len(), 350);
    assert_eq!(fast, slow);
    rig.close();
}

#[test]
fn topics_past_the_bound_are_refused_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::with(dir.path(), Fsync::UnsafeNever, Arc::new(RealDisk));
    let names: Vec<String> = (0..TOPICS_IN_TEST).map(|n| format!("t{n}")).collect();
    rig.publish(&names.iter().map(|n| (n.as_str(), "1")).collect::<Vec<_>>()).unwrap();
    let result = rig.publish(&[("t0", "2"), ("more", "2"), ("t1", "2"), ("yet-more", "2")]);
    assert_eq!(result, Err(PublishError::Refused(vec![1, 3])));
    assert_eq!(rig.fetch("t1", offset(1), 9).unwrap().next, 2);
    rig.close();
    let rig = Rig::open(dir.path());
    assert_eq!(rig.fetch("t29", TopicFrom::Now, 9).unwrap().next, 1);
    assert_eq!(rig.fetch("more", TopicFrom::Now, 9).unwrap().next, 0);
    rig.close();
}

#[test]
fn any_topic_name_keeps_its_own_folder() {
    use crate::backend::embedded::topic::folder_name;
    let long = "é".repeat(100);
    let names = ["a", "A/b", "..", ".", "", "a%2Fb", "%%x", "日本", &long, "a b\0c", ".hidden"];
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path());
    for name in names {
        let folder = folder_name(name);
        assert!(folder.len() <= 255 && !folder.contains('/') && !folder.starts_with('.'), "{folder}");
        rig.publish(&[(name, name)]).unwrap();
    }
    rig.close();
    let rig = Rig::open(dir.path());
    for name in names {
        let chunk = rig.fetch(name, TopicFrom::Start, 10).unwrap();
        assert_eq!((texts(&chunk), chunk.next), (vec![name.to_owned()], 1));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), names.len());
    rig.close();
}

#[test]
fn after_the_stop_completions_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path());
    let parked = rig.fetch_async("t", TopicFrom::Start, 1);
    let last = rig.publish_async(&[("u", "1")]);
    let bus = rig.bus.clone();
    rig.close();
    last.try_recv().unwrap().unwrap();
    assert!(parked.try_recv().is_err());
    let (sender, answer) = bounded::<()>(1);
    bus.publish(batch(&[("t", "1")]), Box::new(move |_| drop(sender)));
    assert!(answer.recv_timeout(PATIENCE).is_err());
}

#[test]
fn readers_past_the_bound_are_refused() {
    use crate::limits::PARKED_PER_TOPIC_MAX;
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path());
    let mut parked = Vec::new();
    while parked.len() < PARKED_PER_TOPIC_MAX {
        parked.extend((0..512).map(|_| rig.fetch_async("t", TopicFrom::Start, 9)));
        rig.fetch("t", TopicFrom::Now, 9).unwrap();
    }
    let error = rig.fetch("t", TopicFrom::Start, 9).unwrap_err();
    assert!(error.transient && error.message.contains("'t'"), "{error}");
    rig.publish(&[("t", "1")]).unwrap();
    assert!(parked.iter().all(|p| p.recv_timeout(PATIENCE).unwrap().unwrap().events.len() == 1));
    rig.close();
}

use super::*;
use crate::{
    core::{
        publish::{Format, Gaps, Ordering, Overflow, batch::PublishError},
        reason::GapCause,
        time::{Time, Wall},
    },
    wire::event::{Body, LifecycleState, parse_event},
};
use std::time::Duration;

const EPOCH: u64 = 5;
const REFUSE: Result<(), PublishError> = Err(PublishError::Retry);

fn at(millis: u64) -> Now {
    Now { mono: Time::from_millis(millis), wall: Wall::from_unix_millis(1_700_000_000_000 + millis) }
}

fn bounds() -> Bounds {
    Bounds {
        batch_bytes: 1_000_000,
        batch_count: 4,
        linger: Duration::from_millis(5),
        in_flight: 1,
        queue_bytes: 8000,
        spill: false,
        lane_wait_bytes: 4000,
    }
}

fn key_of(payload: &[u8], pointer: &str) -> Option<Vec<u8>> {
    assert_eq!(pointer, "/k");
    payload.first().filter(|byte| **byte != b'-').map(|byte| vec![*byte])
}

struct Rig {
    publisher: Publisher,
    lane: LaneKey,
    seq: u64,
}

impl Rig {
    fn new(bounds: Bounds, spec: Spec) -> Self {
        let mut publisher = Publisher::new(at(0), bounds, "lifecycle", key_of);
        let lane = publisher.open_lane(&ConnectionId::parse("c").unwrap(), "wss://h/", spec);
        Rig { publisher, lane, seq: 0 }
    }

    fn with(overflow: Overflow) -> Self {
        Rig::new(bounds(), Spec { overflow, ..Spec::new("t") })
    }

    fn send(&mut self, now: Now, payload: &[u8]) -> Taken {
        self.seq += 1;
        let stamp = Stamp { epoch: EPOCH, seq: self.seq, ..Stamp::default() };
        let taken = self.publisher.message(now, self.lane, stamp, MessageKind::Text, payload);
        self.publisher.check().unwrap();
        taken
    }

    fn sends(&mut self, now: Now, count: usize) {
        for _ in 0..count {
            self.send(now, b"m");
        }
    }

    fn actions(&mut self, now: Now) -> Vec<Action> {
        let actions = std::iter::from_fn(|| self.publisher.poll(now)).collect();
        self.publisher.check().unwrap();
        actions
    }

    /// The one batch that is to be published now.
    fn batch(&mut self, now: Now) -> Arc<Batch> {
        let mut batches = self.actions(now).into_iter().filter_map(|action| match action {
            Action::Publish(batch) => Some(batch),
            _ => None,
        });
        let batch = batches.next().unwrap();
        assert_eq!(batches.next(), None);
        batch
    }

    /// Fills memory with the bus silent, then lets everything out.
    fn congest(&mut self, messages: usize, payload: impl Fn(usize) -> Vec<u8>) -> Vec<Taken> {
        (0..messages).map(|number| self.send(at(1), &payload(number))).collect()
    }

    fn drain(&mut self) -> String {
        let mut out = Vec::new();
        for step in 0..200 {
            let now = at(1000 + step * 10);
            for action in self.actions(now) {
                if let Action::Publish(batch) = action {
                    out.push(summary(&batch));
                    self.publisher.published(now, batch.id, Ok(()));
                }
            }
        }
        assert!(self.publisher.is_drained());
        out.join(" ")
    }
}

/// Numbers are messages, `(from-to:count)` gaps, `E` ends.
fn summary(batch: &Batch) -> String {
    let mut out = Vec::new();
    for event in &batch.events {
        for item in parse_event(&batch.bytes[event.range.clone()]) {
            out.push(match item.body {
                Body::Text(_) | Body::Binary(_) => item.seq.to_string(),
                Body::Gap(gap) => {
                    let seq = |seq: Option<u64>| seq.map_or("?".into(), |seq| seq.to_string());
                    format!("({}-{}:{})", seq(gap.from.1), seq(gap.to.map(|to| to.1)), seq(gap.count))
                }
                Body::End { .. } => "E".into(),
                Body::Foreign(_) => "L".into(),
            });
        }
    }
    out.join(" ")
}

fn gap(from: u64, to: u64) -> Gap {
    Gap { from: (EPOCH, Some(from)), to: Some((EPOCH, to)), cause: GapCause::Reconnect, count: None }
}

#[test]
fn a_batch_leaves_by_count_by_bytes_and_by_age() {
    let mut rig = Rig::with(Overflow::Pause);
    rig.sends(at(1), 3);
    assert_eq!(rig.actions(at(1)), []);
    assert_eq!(rig.publisher.poll_timeout(), Some(Time::from_millis(6)));
    rig.send(at(2), b"m");
    assert_eq!(summary(&rig.batch(at(2))), "1 2 3 4");
    rig.send(at(2), b"m");
    assert_eq!(rig.publisher.poll_timeout(), None, "the window is full: age does not matter");
    assert_eq!(rig.actions(at(50)), []);
    rig.publisher.published(at(50), BatchId(at(0).wall.unix_nanos()), Ok(()));
    assert_eq!(summary(&rig.batch(at(50))), "5");

    let bounds = Bounds { batch_bytes: 500, ..bounds() };
    let mut rig = Rig::new(bounds, Spec { overflow: Overflow::Pause, ..Spec::new("t") });
    rig.send(at(1), &[b'x'; 400]);
    assert_eq!(summary(&rig.batch(at(1))), "1");
}

#[test]
fn draining_does_not_linger() {
    let mut rig = Rig::with(Overflow::Pause);
    rig.send(at(1), b"m");
    rig.publisher.flush();
    assert!(!rig.publisher.is_drained());
    let batch = rig.batch(at(1));
    rig.publisher.published(at(1), batch.id, Ok(()));
    assert!(rig.publisher.is_drained());
    rig.send(at(1), b"m");
    assert_eq!(rig.publisher.abandon(), 1);
    assert_eq!(rig.publisher.counters().dropped_by(DropReason::DrainForced), 1);
    rig.publisher.check().unwrap();
}

#[test]
fn frames_are_one_event_a_batch_and_records_keep_their_place() {
    let mut rig = Rig::new(
        Bounds { batch_count: 100, ..bounds() },
        Spec { overflow: Overflow::Pause, format: Format::Frames, ..Spec::new("t") },
    );
    rig.sends(at(1), 3);
    rig.publisher.gap(at(1), rig.lane, &gap(3, 4));
    rig.sends(at(1), 2);
    rig.publisher.end(at(1), rig.lane, EPOCH, 5);
    let batch = rig.batch(at(6));
    assert_eq!(summary(&batch), "1 2 3 (3-4:?) 4 5 E");
    let kinds: Vec<_> = batch
        .events
        .iter()
        .map(|event| (event.kind, event.first_seq, event.last_seq, event.messages))
        .collect();
    assert_eq!(
        kinds,
        [
            (EventKind::Message, 1, 3, 3),
            (EventKind::Gap, 3, 3, 0),
            (EventKind::Message, 4, 5, 2),
            (EventKind::End, 5, 5, 0)
        ]
    );
}

#[test]
fn a_frame_holds_one_epoch_and_outlives_its_lane() {
    let mut rig = Rig::new(
        Bounds { batch_count: 100, spill: true, ..bounds() },
        Spec { overflow: Overflow::Pause, format: Format::Frames, ..Spec::new("t") },
    );
    for (epoch, seq) in [(5, 1), (5, 2), (6, 1)] {
        let stamp = Stamp { epoch, seq, ..Stamp::default() };
        rig.publisher.message(at(1), rig.lane, stamp, MessageKind::Text, b"m");
    }
    rig.publisher.close_lane(at(1), rig.lane);
    // Takes the place of the closed lane, in the other class of batches.
    let other = ConnectionId::parse("d").unwrap();
    rig.lane = rig.publisher.open_lane(&other, "", Spec { format: Format::Frames, ..Spec::new("t") });
    rig.send(at(1), b"m");
    let batch = rig.batch(at(6));
    let got: Vec<_> =
        batch.events.iter().map(|event| (event.connection.as_str(), event.epoch, event.messages)).collect();
    assert_eq!(got, [("c", 5, 2), ("c", 6, 1)]);
    rig.publisher.published(at(6), batch.id, Ok(()));
    assert_eq!(rig.actions(at(6)), [Action::PeekSpill]);
    rig.publisher.unspilled(at(6), Ok(None));
    assert_eq!(summary(&rig.batch(at(6))), "1");
}

#[test]
fn records_go_where_the_lane_says() {
    for (gaps, topic) in [(Gaps::InBand, "t"), (Gaps::Lifecycle, "lifecycle")] {
        let mut rig = Rig::new(bounds(), Spec { gaps, ..Spec::new("t") });
        rig.send(at(1), b"m");
        rig.publisher.gap(at(1), rig.lane, &gap(1, 2));
        rig.publisher.end(at(1), rig.lane, EPOCH, 1);
        let id = ConnectionId::parse("c").unwrap();
        rig.publisher.lifecycle(
            at(1),
            &LifecycleEvent {
                state: LifecycleState::Error,
                connection: &id,
                redacted_url: "",
                instance_id: "",
                reason: "",
                attempt: None,
            },
        );
        let batch = rig.batch(at(6));
        let topics: Vec<_> = batch.events.iter().map(|event| &*event.topic).collect();
        assert_eq!(topics, ["t", topic, topic, "lifecycle"]);
        assert_eq!(summary(&batch), "1 (1-2:?) E L");
    }
}

#[test]
fn failed_batches_go_again_in_order_with_growing_pauses() {
    let spec = Spec { overflow: Overflow::Pause, ..Spec::new("t") };
    let mut rig = Rig::new(Bounds { in_flight: 3, batch_count: 1, ..bounds() }, spec);
    rig.sends(at(1), 4);
    let sent: Vec<_> = rig.actions(at(1));
    assert_eq!(sent.len(), 3);
    let ids: Vec<_> = (0..3).map(|n| BatchId(at(0).wall.unix_nanos() + n)).collect();
    rig.publisher.published(at(1), ids[0], REFUSE);
    assert_eq!(rig.actions(at(1000)), [], "others are still under way");
    rig.publisher.published(at(1000), ids[2], REFUSE);
    rig.publisher.published(at(1000), ids[1], Ok(()));
    assert_eq!(rig.actions(at(1049)), []);
    assert_eq!(rig.publisher.poll_timeout(), Some(Time::from_millis(1050)));
    let mut now = 1050;
    for pause in [100, 200, 400, 800, 1600, 2000, 2000] {
        let again = rig.batch(at(now));
        assert_eq!(again.id, ids[0]);
        rig.publisher.published(at(now), again.id, REFUSE);
        assert_eq!(rig.actions(at(now + pause - 1)), []);
        now += pause;
    }
    assert_eq!(rig.batch(at(now)).id, ids[0]);
    rig.publisher.published(at(now), ids[0], Ok(()));
    assert_eq!(rig.batch(at(now)).id, ids[2]);
    rig.publisher.published(at(now), ids[2], Ok(()));
    rig.publisher.published(at(now), ids[2], Ok(()));
    assert_eq!(summary(&rig.batch(at(now))), "4");
    assert_eq!(rig.publisher.counters().delivered, 3);
}

#[test]
fn a_relaxed_lane_does_not_wait_for_a_failed_batch() {
    let spec = Spec { ordering: Ordering::Relaxed, overflow: Overflow::Pause, ..Spec::new("t") };
    let mut rig = Rig::new(Bounds { in_flight: 2, batch_count: 1, ..bounds() }, spec);
    rig.send(at(1), b"m");
    let first = rig.batch(at(1));
    assert!(first.events[0].relaxed);
    rig.publisher.published(at(1), first.id, REFUSE);
    rig.send(at(1), b"m");
    assert_eq!(summary(&rig.batch(at(1))), "2");
    assert_eq!(rig.batch(at(60)).id, first.id);
}

#[test]
fn refused_events_are_counted_and_announced() {
    let mut rig = Rig::with(Overflow::Pause);
    rig.sends(at(1), 4);
    let batch = rig.batch(at(1));
    rig.publisher.published(at(1), batch.id, Err(PublishError::Refused(vec![3, 1, 1, 0, 99])));
    assert_eq!(rig.publisher.counters().dropped_by(DropReason::BusRefused), 3);
    let gaps = rig.batch(at(6));
    assert_eq!(summary(&gaps), "(0-3:2) (3-5:1)");
    rig.publisher.published(at(6), gaps.id, Err(PublishError::Refused(vec![0, 1])));
    assert_eq!(rig.actions(at(20)), [], "a refused record is not announced by another one");
    assert_eq!(rig.publisher.counters().records_refused, 2);
    // A lane that is closed by now.
    rig.send(at(20), b"m");
    let batch = rig.batch(at(25));
    rig.publisher.close_lane(at(25), rig.lane);
    rig.publisher.published(at(25), batch.id, Err(PublishError::Refused(vec![0])));
    assert_eq!(summary(&rig.batch(at(30))), "(4-6:1)");
}

#[test]
fn pause_stops_reading_at_the_bound_and_loses_nothing() {
    for overflow in [Overflow::Pause, Overflow::Spill] {
        let mut rig = Rig::with(overflow);
        rig.congest(24, |_| b"m".to_vec());
        assert!(rig.actions(at(1)).contains(&Action::PauseReads(rig.lane)));
        // One read buffer's worth still comes.
        assert_eq!(rig.congest(8, |_| b"m".to_vec()), [Taken::Queued; 8]);
        // Two reconnects with nothing between them are told as one.
        rig.publisher.gap(at(1), rig.lane, &gap(32, 33));
        rig.publisher.gap(at(1), rig.lane, &gap(32, 33));
        let all = (1..=32).map(|seq| seq.to_string()).collect::<Vec<_>>().join(" ");
        let mut out = Vec::new();
        let mut resumed = false;
        rig.publisher.published(at(1), BatchId(at(0).wall.unix_nanos()), Ok(()));
        for step in 0..100 {
            for action in rig.actions(at(10 + step * 10)) {
                match action {
                    Action::Publish(batch) => {
                        out.push(summary(&batch));
                        rig.publisher.published(at(10 + step * 10), batch.id, Ok(()));
                    }
                    Action::ResumeReads(lane) => resumed = lane == rig.lane,
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(resumed);
        assert_eq!(format!("1 2 3 4 {}", out.join(" ")), format!("{all} (32-33:?)"));
        assert_eq!(rig.publisher.counters().dropped_in_all(), 0);
    }
}

#[test]
fn drop_newest_loses_at_the_door() {
    let mut rig = Rig::with(Overflow::DropNewest);
    let taken = rig.congest(40, |_| b"m".to_vec());
    let queued = taken.iter().filter(|taken| **taken == Taken::Queued).count();
    let dropped = Taken::Dropped(DropReason::OverflowDropNewest);
    assert!(taken[..queued].iter().all(|taken| *taken == Taken::Queued));
    assert!(taken[queued..].iter().all(|taken| *taken == dropped));
    let kept = (1..=queued).map(|seq| seq.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(rig.drain(), format!("{kept} ({queued}-41:{})", 40 - queued));
    assert_eq!(rig.publisher.counters().dropped_by(DropReason::OverflowDropNewest), 40 - queued as u64);
    assert_eq!(rig.send(at(900), b"m"), Taken::Queued);
    assert_eq!(rig.drain(), "41");
}

#[test]
fn drop_oldest_keeps_the_newest() {
    let mut rig = Rig::with(Overflow::DropOldest);
    let taken = rig.congest(60, |_| b"m".to_vec());
    let queued = taken.iter().filter(|taken| **taken == Taken::Queued).count() as u64;
    let dropped = rig.publisher.counters().dropped_by(DropReason::OverflowDropOldest);
    let seqs =
        |range: std::ops::RangeInclusive<u64>| range.map(|seq| seq.to_string()).collect::<Vec<_>>().join(" ");
    let resumes = queued + dropped + 1;
    assert!(resumes < 60);
    let expected = format!("{} ({queued}-{resumes}:{dropped}) {}", seqs(1..=queued), seqs(resumes..=60));
    assert_eq!(rig.drain(), expected);
}

#[test]
fn keep_latest_keeps_one_of_each_key() {
    for format in [Format::Envelope, Format::Frames] {
        let overflow = Overflow::KeepLatest { key: Some("/k".into()) };
        let mut rig = Rig::new(bounds(), Spec { overflow, format, ..Spec::new("t") });
        while rig.send(at(1), b"m") == Taken::Queued {}
        let first = rig.seq;
        // Waiting now: m, a, b, -, a, b, -
        for key in [b"a", b"b", b"-", b"a", b"b", b"-"] {
            assert_eq!(rig.send(at(1), key), Taken::Waiting);
        }
        let queued = (1..first).map(|seq| seq.to_string()).collect::<Vec<_>>().join(" ");
        let expected = format!(
            "{queued} {first} ({first}-{}:2) {} {} {} {}",
            first + 3,
            first + 3,
            first + 4,
            first + 5,
            first + 6
        );
        assert_eq!(rig.drain(), expected);
        assert_eq!(rig.publisher.counters().dropped_by(DropReason::OverflowKeepLatest), 2);
    }
}

#[test]
fn closing_a_lane_keeps_what_waits() {
    let mut rig = Rig::with(Overflow::DropOldest);
    rig.congest(60, |_| b"m".to_vec());
    rig.publisher.end(at(1), rig.lane, EPOCH, 60);
    rig.publisher.close_lane(at(1), rig.lane);
    assert_eq!(rig.send(at(1), b"m"), Taken::NoLane);
    assert!(rig.drain().ends_with("59 60 E"));
}

mod spill;

/// What the next process publishes of this log: the records, then what is put in behind them.
fn after_a_crash(records: &[Vec<u8>], then: impl FnOnce(&mut Publisher)) -> Vec<String> {
    let mut publisher = Publisher::new(at(9000), Bounds { spill: true, ..bounds() }, "lifecycle", key_of);
    then(&mut publisher);
    let mut log: VecDeque<&Vec<u8>> = records.iter().collect();
    let mut out = Vec::new();
    for step in 0..100 {
        let now = at(9000 + step * 10);
        while let Some(action) = publisher.poll(now) {
            match action {
                Action::Publish(batch) => {
                    out.push(summary(&batch));
                    publisher.published(now, batch.id, Ok(()));
                }
                Action::PeekSpill => publisher.unspilled(now, Ok(log.front().map(|record| &record[..]))),
                Action::PopSpill => {
                    log.pop_front();
                    publisher.popped(now, Ok(()));
                }
                Action::Spill { id, .. } => publisher.spilled(now, id, Ok(false)),
                other => panic!("{other:?}"),
            }
            publisher.check().unwrap();
        }
    }
    out
}

#[test]
fn a_crash_while_spilled_is_told_on_both_sides_of_what_was_spilled() {
    let mut rig = Rig::new(Bounds { spill: true, ..bounds() }, Spec::new("t"));
    assert_eq!(rig.actions(at(0)), [Action::PeekSpill]);
    rig.publisher.unspilled(at(0), Ok(None));
    let mut records = Vec::new();
    for step in 0..30 {
        rig.send(at(step), &[b'x'; 2000]);
        for action in rig.actions(at(step)) {
            if let Action::Spill { id, record } = action {
                records.push(record);
                rig.publisher.spilled(at(step), id, Ok(true));
            }
        }
    }
    let spilled: Vec<Batch> = records.iter().map(|record| Batch::decode(record).unwrap()).collect();
    let first = spilled[0].events[0].first_seq;
    let last = spilled.last().unwrap().events.last().unwrap().last_seq;
    assert!(first > 1 && last > first, "one batch was on its way, the others on disk");
    let new_epoch = |publisher: &mut Publisher| {
        let lane = publisher.open_lane(&ConnectionId::parse("c").unwrap(), "wss://h/", Spec::new("t"));
        let to = Some((EPOCH + 1, 1));
        let gap = Gap { from: (EPOCH, None), to, cause: GapCause::Crash, count: None };
        publisher.gap(at(9000), lane, &gap);
    };
    let told = after_a_crash(&records, new_epoch).join(" ");
    let numbers: Vec<String> = (first..=last).map(|seq| seq.to_string()).collect();
    assert_eq!(told, format!("(?-{first}:?) {} ({last}-1:?)", numbers.join(" ")));
    // Somebody else has gone on meanwhile.
    let told = after_a_crash(&records, |publisher| {
        publisher.superseded(&ConnectionId::parse("c").unwrap(), EPOCH + 1);
        new_epoch(publisher);
    });
    assert_eq!(told, ["(?-1:?)"]);
}

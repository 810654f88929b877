mod overflow;
mod spill;

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
        let taken = self.publisher.message(now, self.lane, stamp, Kind::Text, payload);
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
        rig.publisher.message(at(1), rig.lane, stamp, Kind::Text, b"m");
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

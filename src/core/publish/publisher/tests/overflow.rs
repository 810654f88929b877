//! What becomes of messages that the bus does not take in time.

use super::*;

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

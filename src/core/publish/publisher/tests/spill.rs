use super::*;

fn spilling() -> Rig {
    let mut rig = Rig::new(Bounds { spill: true, ..bounds() }, Spec::new("t"));
    assert_eq!(rig.actions(at(0)), [Action::PeekSpill]);
    rig
}

fn ready() -> Rig {
    let mut rig = spilling();
    rig.publisher.unspilled(at(0), Ok(None));
    rig
}

fn record_of(actions: &[Action]) -> Option<(BatchId, Vec<u8>)> {
    actions.iter().find_map(|action| match action {
        Action::Spill { id, record } => Some((*id, record.clone())),
        _ => None,
    })
}

#[test]
fn what_an_earlier_process_left_goes_first() {
    let mut earlier = ready();
    earlier.sends(at(1), 4);
    let left = earlier.batch(at(1)).encode();

    let mut rig = spilling();
    rig.seq = 100;
    rig.sends(at(1), 4);
    assert_eq!(rig.actions(at(1)), [], "ours waits until the log has answered");
    rig.publisher.unspilled(at(1), Ok(Some(&left)));
    let mut actions = rig.actions(at(1));
    let (id, record) = record_of(&actions).expect("ours goes behind what is there");
    let Action::Publish(first) = actions.remove(0) else { panic!("{actions:?}") };
    assert_eq!(summary(&first), "1 2 3 4");
    rig.publisher.published(at(2), first.id, Ok(()));
    assert_eq!(rig.publisher.counters().restored, 4);
    assert_eq!(rig.actions(at(2)), [Action::PopSpill]);
    rig.publisher.spilled(at(2), id, Ok(true));
    rig.publisher.popped(at(2), Ok(()));
    assert_eq!(rig.actions(at(2)), [Action::PeekSpill]);
    rig.publisher.unspilled(at(2), Ok(Some(&record)));
    let second = rig.batch(at(2));
    assert_eq!(summary(&second), "101 102 103 104");
    rig.publisher.published(at(2), second.id, Ok(()));
    rig.publisher.check().unwrap();
}

#[test]
fn a_full_log_pauses_reads_and_space_resumes_them() {
    let mut rig = ready();
    rig.congest(30, |_| b"m".to_vec());
    let actions = rig.actions(at(1));
    let (id, record) = record_of(&actions).unwrap();
    assert!(!actions.contains(&Action::PauseReads(rig.lane)));
    rig.publisher.spilled(at(1), id, Ok(true));
    let (id, _) = record_of(&rig.actions(at(1))).unwrap();
    rig.publisher.spilled(at(1), id, Ok(false));
    assert_eq!(rig.actions(at(1)), [Action::PauseReads(rig.lane)]);
    rig.congest(3, |_| b"m".to_vec());
    assert_eq!(record_of(&rig.actions(at(100))), None, "not offered again before something changed");

    rig.publisher.published(at(100), BatchId(at(0).wall.unix_nanos()), Ok(()));
    assert_eq!(rig.actions(at(100)), [Action::PeekSpill]);
    rig.publisher.unspilled(at(100), Ok(Some(&record)));
    let batch = rig.batch(at(100));
    assert_eq!(summary(&batch), "5 6 7 8");
    rig.publisher.published(at(100), batch.id, Ok(()));
    assert_eq!(rig.actions(at(100)), [Action::PopSpill]);
    rig.publisher.popped(at(100), Ok(()));
    // The log is empty: what waits goes straight to the bus again.
    let mut out = Vec::new();
    let mut resumed = false;
    for step in 0..50 {
        for action in rig.actions(at(200 + 10 * step)) {
            match action {
                Action::Publish(batch) => {
                    out.push(summary(&batch));
                    rig.publisher.published(at(200 + 10 * step), batch.id, Ok(()));
                }
                Action::ResumeReads(_) => resumed = true,
                Action::Spill { id, .. } => rig.publisher.spilled(at(200), id, Ok(false)),
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(resumed);
    assert_eq!(out.join(" "), (9..=33).map(|seq| seq.to_string()).collect::<Vec<_>>().join(" "));
}

#[test]
fn a_batch_that_is_under_way_does_not_keep_reads_paused() {
    let mut rig = ready();
    let large = |_| vec![b'm'; 1500];
    rig.congest(4, large);
    let first = rig.batch(at(1));
    assert!(first.bytes.len() > bounds().queue_bytes / 2);
    rig.congest(12, large);
    let mut actions = rig.actions(at(2));
    assert!(actions.contains(&Action::PauseReads(rig.lane)), "{actions:?}");
    while let Some((id, _)) = record_of(&actions) {
        rig.publisher.spilled(at(2), id, Ok(true));
        actions = rig.actions(at(2));
    }
    assert_eq!(actions, [Action::ResumeReads(rig.lane)], "the log has taken all that it can be given");
}

#[test]
fn a_failing_log_is_asked_again_after_a_while() {
    let mut rig = spilling();
    rig.publisher.unspilled(at(0), Err(()));
    assert_eq!(rig.actions(at(1999)), []);
    assert_eq!(rig.publisher.poll_timeout(), Some(Time::from_millis(2000)));
    assert_eq!(rig.actions(at(2000)), [Action::PeekSpill]);
}

#[test]
fn a_lost_record_is_counted_and_announced() {
    for garbage in [None, Some(&b"garbage"[..])] {
        let mut rig = ready();
        rig.congest(30, |_| b"m".to_vec());
        let (id, _) = record_of(&rig.actions(at(1))).unwrap();
        rig.publisher.spilled(at(1), id, Ok(true));
        rig.publisher.published(at(1), BatchId(at(0).wall.unix_nanos()), Ok(()));
        assert!(rig.actions(at(1)).contains(&Action::PeekSpill));
        rig.publisher.unspilled(at(1), Ok(garbage));
        rig.publisher.check().unwrap();
        assert_eq!(rig.publisher.counters().dropped_by(DropReason::SpillLost), 4);
        assert_eq!(rig.publisher.counters().records_unreadable, u64::from(garbage.is_some()));
        rig.publisher.abandon();
        rig.publisher.check().unwrap();
    }
}

#[test]
fn lanes_of_the_other_policies_do_not_wait_for_the_log() {
    let mut rig = ready();
    let other = ConnectionId::parse("d").unwrap();
    let direct = rig.publisher.open_lane(&other, "", Spec { overflow: Overflow::Pause, ..Spec::new("t") });
    rig.congest(30, |_| b"m".to_vec());
    let (id, _) = record_of(&rig.actions(at(1))).unwrap();
    rig.publisher.spilled(at(1), id, Ok(true));
    let stamp = Stamp { epoch: EPOCH, seq: 1, ..Stamp::default() };
    rig.publisher.message(at(1), direct, stamp, Kind::Text, b"m");
    rig.publisher.published(at(1), BatchId(at(0).wall.unix_nanos()), Ok(()));
    let sent = rig.actions(at(10)).into_iter().find_map(|action| match action {
        Action::Publish(batch) => Some(batch),
        _ => None,
    });
    assert_eq!(sent.unwrap().events[0].connection, other);
}

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

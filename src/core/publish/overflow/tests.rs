use super::*;
use crate::core::time::Wall;

const COST: usize = ENTRY_COST + 10;

fn waiting(seq: u64, key: Option<&str>) -> Waiting {
    Waiting {
        epoch: 7,
        seq,
        time: TimeText::at(Wall::default()),
        rendered: [b'x'; 10].into(),
        key: key.map(|key| key.as_bytes().into()),
    }
}

/// The room in short: numbers are messages, `(from-to:count)` gaps, `E` ends.
fn contents(room: &mut Room) -> String {
    let mut out = Vec::new();
    while let Some(entry) = room.pop() {
        out.push(match entry {
            Entry::Message(message) => message.seq.to_string(),
            Entry::Gap(gap) => {
                let count = gap.count.map_or("?".into(), |count| count.to_string());
                format!("({}-{}:{count})", gap.from.1.unwrap(), gap.to.unwrap().1)
            }
            Entry::End { .. } => "E".into(),
        });
    }
    assert_eq!((room.cost, room.messages, room.gaps, room.keys.len()), (0, 0, 0, 0));
    out.join(" ")
}

fn explicit(at: u64) -> Gap {
    Gap { from: (7, Some(at)), to: Some((7, at + 1)), cause: GapCause::Reconnect, count: None }
}

#[test]
fn drop_oldest_leaves_one_gap_in_front() {
    let mut room = Room::new(4 * COST, GapCause::OverflowDropOldest);
    let lost: u64 = (1..=9).map(|seq| room.push(waiting(seq, None)).messages).sum();
    assert_eq!(lost, 6);
    assert_eq!(contents(&mut room), "(0-7:6) 7 8 9");
}

#[test]
fn keep_latest_leaves_gaps_where_messages_stood() {
    let mut room = Room::new(100 * COST, GapCause::OverflowKeepLatest);
    let script = [(1, "a"), (2, "b"), (3, "c"), (4, "a"), (5, "c"), (6, "c"), (7, "d")];
    let lost: u64 = script.map(|(seq, key)| room.push(waiting(seq, Some(key))).messages).iter().sum();
    assert_eq!(lost, 3);
    assert_eq!(contents(&mut room), "(0-2:1) 2 (2-4:1) 4 (4-6:1) 6 7");
    for (seq, key) in [(1, "a"), (2, "b"), (3, "a"), (4, "b"), (5, "a")] {
        room.push(waiting(seq, Some(key)));
    }
    assert_eq!(contents(&mut room), "(0-4:3) 4 5");
    for seq in 1..=5 {
        room.push(waiting(seq, Some("")));
    }
    assert_eq!(contents(&mut room), "(0-5:4) 5");
}

#[test]
fn messages_without_a_key_are_kept_until_the_bound() {
    let mut room = Room::new(4 * COST, GapCause::OverflowKeepLatest);
    for seq in 1..=6 {
        room.push(waiting(seq, None));
    }
    assert_eq!(contents(&mut room), "(0-4:3) 4 5 6");
}

#[test]
fn announced_gaps_keep_their_place_until_room_is_short() {
    let mut room = Room::new(100 * COST, GapCause::OverflowDropOldest);
    room.push(waiting(1, None));
    room.push_gap(explicit(1));
    room.push(waiting(2, None));
    room.push_end(7, 2);
    assert_eq!(contents(&mut room), "1 (1-2:?) 2 E");
    let mut room = Room::new(4 * COST, GapCause::OverflowDropOldest);
    for seq in 1..=20 {
        room.push(waiting(seq, None));
        room.push_gap(explicit(seq));
        assert!(room.cost <= 4 * COST);
    }
    assert_eq!(contents(&mut room), "(0-20:?) (19-20:?) 20 (20-21:?)");
}

#[test]
fn a_message_larger_than_the_room_stays_alone() {
    let mut room = Room::new(10, GapCause::OverflowDropOldest);
    for seq in 1..=3 {
        room.push(waiting(seq, None));
    }
    for at in 3..300 {
        room.push_gap(explicit(at));
    }
    assert!(room.entries.len() <= GAPS_HELD_MAX + 2);
    assert!(contents(&mut room).starts_with("(0-3:2) 3 "));
}

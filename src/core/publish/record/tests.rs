use super::*;
use crate::core::random::Rng;

fn event(topic: &str, connection: &str, kind: EventKind, range: std::ops::Range<usize>) -> Event {
    Event {
        topic: topic.into(),
        connection: ConnectionId::parse(connection).unwrap(),
        kind,
        epoch: u64::MAX,
        first_seq: 3,
        last_seq: 9,
        messages: 7,
        relaxed: false,
        range,
    }
}

fn batch() -> Batch {
    Batch {
        id: BatchId(1_700_000_000_000_000_000),
        bytes: b"{\"a\":1}{}{\"b\":2}x".to_vec(),
        events: vec![
            event("t", "c", EventKind::Message, 0..7),
            event("t", "c", EventKind::Gap, 7..9),
            event("t\u{e9}", "~other", EventKind::End, 9..16),
            event("", "c", EventKind::Lifecycle, 16..17),
        ],
    }
}

#[test]
fn comes_back_as_it_was() {
    let empty = Batch { id: BatchId(0), bytes: Vec::new(), events: Vec::new() };
    for batch in [batch(), empty] {
        assert_eq!(Batch::decode(&batch.encode()), Some(batch));
    }
    let decoded = Batch::decode(&batch().encode()).unwrap();
    assert!(Arc::ptr_eq(&decoded.events[0].topic, &decoded.events[1].topic));
    assert_eq!(decoded.messages(), 28);
}

#[test]
fn garbage_is_refused_and_never_panics() {
    let record = batch().encode();
    for length in 0..record.len() {
        assert_eq!(Batch::decode(&record[..length]), None);
    }
    let mut longer = record.clone();
    longer.push(0);
    assert_eq!(Batch::decode(&longer), None);
    let mut random = Rng(1);
    for at in 0..record.len() {
        for _ in 0..20 {
            let mut changed = record.clone();
            changed[at] = random.word() as u8;
            if let Some(batch) = Batch::decode(&changed) {
                assert!(batch.events.iter().all(|event| event.range.end <= batch.bytes.len()));
            }
        }
    }
    let mut many = b"WSB1\0\0\0\0\0\0\0\0".to_vec();
    many.extend_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Batch::decode(&many), None);
}

#[test]
fn relaxed_events_stay_relaxed_and_other_records_keep_their_form() {
    let ordered = batch().encode();
    let mut relaxed = batch();
    relaxed.events[1].relaxed = true;
    let record = relaxed.encode();
    assert_eq!(Batch::decode(&record), Some(relaxed));
    let differing: Vec<(u8, u8)> =
        ordered.iter().zip(&record).filter(|(a, b)| a != b).map(|(a, b)| (*a, *b)).collect();
    assert_eq!(differing, [(1, 0x81)]);
}

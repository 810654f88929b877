use super::*;
use crate::core::random::Rng;

const ALL: usize = usize::MAX;

fn key(index: u32) -> ConnKey {
    ConnKey { index, generation: index * 3 }
}

fn head(index: u32, seq: u64) -> Head {
    Head {
        kind: RecordKind::Text,
        key: key(index),
        epoch: 1_700_000_000_000,
        seq,
        wall: Wall::from_unix_nanos(seq * 5),
        reply: seq.is_multiple_of(2),
        possible_duplicate: seq.is_multiple_of(3),
    }
}

type Taken = Vec<(Head, Vec<u8>)>;

fn read(ring: &Ring, from: Position, wanted: Option<u32>, bytes: usize, records: usize) -> (Taken, ReadEnd) {
    let mut taken = Vec::new();
    let mut want = |k: ConnKey| wanted.is_none_or(|index| k == key(index));
    let end = ring.read(from, &mut want, bytes, records, &mut |record| {
        assert_eq!(record.payload.bytes(), record.payload.to_vec());
        assert_eq!(record.payload.len(), record.payload.to_vec().len());
        taken.push((record.head, record.payload.to_vec()));
    });
    (taken, end)
}

#[test]
fn holds_nothing_while_empty() {
    let ring = Ring::new(crate::limits::RING_BYTES_DEFAULT);
    assert_eq!(ring.allocated_bytes(), 0);
    assert_eq!(ring.start(), ring.end());
    let (taken, end) = read(&ring, Position::ZERO, None, ALL, ALL);
    assert!(taken.is_empty());
    assert_eq!(end, ReadEnd { next: Position::ZERO, more: false, overrun: false });
    assert_eq!(ring.seat(u64::MAX), Position::ZERO);
    let (_, end) = read(&ring, Position(u64::MAX), None, ALL, ALL);
    assert_eq!(end.next, ring.end());
}

#[test]
fn one_message_costs_one_chunk_and_comes_back_whole() {
    let mut ring = Ring::new(crate::limits::RING_BYTES_DEFAULT);
    let kinds = RecordKind::ALL;
    for (seq, kind) in kinds.into_iter().enumerate() {
        ring.append(&Head { kind, ..head(4, seq as u64) }, b"hello");
    }
    assert_eq!(ring.allocated_bytes(), 1 << CHUNK_SHIFT);
    let (taken, _) = read(&ring, ring.start(), None, ALL, ALL);
    assert_eq!(taken.len(), kinds.len());
    for (seq, (kind, taken)) in kinds.into_iter().zip(taken).enumerate() {
        assert_eq!(taken, (Head { kind, ..head(4, seq as u64) }, b"hello".to_vec()));
    }
}

#[test]
fn both_bounds_stop_a_read_and_it_goes_on_where_it_stopped() {
    let mut ring = Ring::new(1 << 20);
    for seq in 1..=100 {
        ring.append(&head((seq % 10) as u32, seq), &[7; 100]);
    }
    let (taken, end) = read(&ring, ring.start(), Some(3), ALL, 25);
    assert_eq!(taken.iter().map(|(h, _)| h.seq).collect::<Vec<_>>(), [3, 13, 23]);
    assert!(end.more, "25 records were looked at");
    let (taken, end) = read(&ring, end.next, Some(3), 300, ALL);
    assert_eq!(taken.iter().map(|(h, _)| h.seq).collect::<Vec<_>>(), [33, 43]);
    assert!(end.more, "a third one would exceed the bytes");
    let (taken, end) = read(&ring, end.next, Some(3), 0, ALL);
    assert_eq!(taken.len(), 1, "one at least");
    let (taken, end) = read(&ring, end.next, Some(3), ALL, ALL);
    assert_eq!(taken.iter().map(|(h, _)| h.seq).collect::<Vec<_>>(), [63, 73, 83, 93]);
    assert_eq!(end, ReadEnd { next: ring.end(), more: false, overrun: false });
}

#[test]
fn a_message_too_large_leaves_a_gap_record_in_its_place() {
    let mut ring = Ring::new(1 << 20);
    let largest = ring.payload_bytes_max();
    assert!(largest + HEADER_BYTES == 1 << 18);
    ring.append(&head(1, 1), &vec![1; largest]);
    ring.append(&head(1, 2), &vec![2; largest + 1]);
    ring.append(&Head { kind: RecordKind::Lifecycle, ..head(1, 9) }, &vec![2; largest + 1]);
    ring.append(&head(1, 3), b"three");
    let mut seen = Vec::new();
    ring.read(ring.start(), &mut |_| true, ALL, ALL, &mut |record| {
        seen.push((record.head.kind, record.payload.len(), record.gap()));
    });
    let gap = Gap::of_one(1_700_000_000_000, 2, GapCause::NotRetained);
    assert_eq!(seen[0], (RecordKind::Text, largest, None));
    assert_eq!((seen[1].0, seen[1].2), (RecordKind::Gap, Some(gap)));
    assert_eq!(seen[2], (RecordKind::Text, 5, None));
    assert_eq!(seen.len(), 3);
}

#[test]
fn a_reader_at_the_border_of_a_chunk_is_not_overrun_by_padding() {
    // Of every length some end where the rest of a chunk is too short for the next header.
    for len in 0..200 {
        let mut ring = Ring::with_chunks(8, 4);
        for seq in 1..=200u64 {
            let waiting = ring.end();
            ring.append(&head(1, seq), &vec![seq as u8; len.min(ring.payload_bytes_max())]);
            let (taken, end) = read(&ring, waiting, None, ALL, ALL);
            assert!(!end.overrun);
            assert_eq!(taken.iter().map(|(h, _)| h.seq).collect::<Vec<_>>(), [seq]);
        }
    }
}

struct Model {
    /// Every record ever appended: its place and content.
    all: Vec<(Position, Head, Vec<u8>)>,
}

impl Model {
    fn from(&self, at: Position, wanted: Option<u32>) -> Taken {
        self.all
            .iter()
            .filter(|(place, h, _)| *place >= at && wanted.is_none_or(|i| h.key == key(i)))
            .map(|(_, h, payload)| (*h, payload.clone()))
            .collect()
    }
}

fn append_random(ring: &mut Ring, model: &mut Model, random: &mut Rng) {
    let seq = model.all.len() as u64 + 1;
    let largest = ring.payload_bytes_max() as u64;
    let len = match random.below(12) {
        0 => random.below(largest + 1),
        1 => largest,
        2..=4 => random.below(200),
        _ => random.below(40),
    };
    let payload: Vec<u8> = (0..len).map(|at| (at ^ seq) as u8).collect();
    let head = head(random.below(4) as u32, seq);
    let before = ring.end();
    let at = ring.append(&head, &payload);
    assert!(at >= before && ring.end() > at, "positions only rise");
    model.all.push((at, head, payload));
}

#[test]
fn agrees_with_a_list_of_everything() {
    for seed in 1..=40u64 {
        let mut random = Rng(seed);
        let chunks = 4 + random.below(12) as usize;
        let mut ring = Ring::with_chunks(8, chunks);
        let mut model = Model { all: Vec::new() };
        // Readers of any speed, each with what it was given so far.
        let mut readers = [(ring.start(), None::<u32>, 0usize); 4];
        for (index, reader) in readers.iter_mut().enumerate() {
            reader.1 = (index > 0).then_some(index as u32);
        }
        for _ in 0..600 {
            for _ in 0..random.below(8) {
                append_random(&mut ring, &mut model, &mut random);
            }
            assert!(ring.allocated_bytes() <= chunks << 8);
            let oldest_kept = model.all.iter().find(|(at, ..)| *at >= ring.start());
            assert_eq!(oldest_kept.map_or(ring.end(), |(at, ..)| *at), ring.start());
            let kept = (ring.end().0 - ring.start().0) as usize;
            let lost_to_cuts = ring.payload_bytes_max() + HEADER_BYTES + 2 * 256;
            assert!(
                ring.start() == Position::ZERO || kept + lost_to_cuts >= chunks << 8,
                "evicted before its time: {kept} bytes kept"
            );

            let (at, wanted, _) = &mut readers[random.below(4) as usize];
            let (bytes, records) = match random.below(3) {
                0 => (ALL, ALL),
                1 => (random.below(500) as usize, ALL),
                _ => (ALL, random.below(10) as usize),
            };
            let expected = model.from((*at).max(ring.start()), *wanted);
            let lost = model.all.iter().any(|(place, ..)| place >= at && *place < ring.start());
            let (taken, end) = read(&ring, *at, *wanted, bytes, records);
            assert_eq!(end.overrun, lost, "overrun exactly when something was lost, seed {seed}");
            assert_eq!(taken, expected[..taken.len()], "seed {seed}");
            assert!(end.more || (taken.len() == expected.len() && end.next == ring.end()));
            assert_eq!(model.from(end.next, *wanted), expected[taken.len()..], "goes on exactly there");
            *at = end.next;
        }
    }
}

#[test]
fn a_forged_place_never_shows_payload_as_a_record() {
    let mut random = Rng(5);
    let mut ring = Ring::with_chunks(8, 8);
    let mut model = Model { all: Vec::new() };
    // Payload that looks like headers.
    for seq in 1..=200 {
        let fake: Vec<u8> = (0..5).flat_map(|_| encode(&head(9, seq), 8)).collect();
        let record = head(1, seq);
        let at = ring.append(&record, &fake[..random.below(200) as usize]);
        model.all.push((at, record, Vec::new()));
    }
    for claimed in 0..ring.end().0 + 600 {
        let seat = ring.seat(claimed);
        let (taken, end) = read(&ring, seat, None, ALL, ALL);
        // Behind the last record of a chunk that is gone nothing is missing: the next one begins there.
        assert_eq!(end.overrun, ring.header_place(claimed) < ring.start().0, "claimed {claimed}");
        let from = Position(claimed).max(ring.start());
        let expected = model.all.iter().filter(|(at, ..)| *at >= from).map(|(_, h, _)| *h);
        assert!(taken.iter().map(|(h, _)| *h).eq(expected), "claimed {claimed}");
    }
    // A place of another ring, taken as it is, must not break anything either.
    for claimed in 0..ring.end().0 {
        read(&ring, Position(claimed), None, ALL, ALL);
    }
}

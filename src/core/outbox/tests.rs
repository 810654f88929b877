use super::*;
use crate::wire::ws::{Bounds, Decoder, Event, Role};

const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

fn decode(bytes: &mut [u8]) -> Vec<String> {
    let mut decoder = Decoder::new(Role::Server);
    let bounds = Bounds { message_bytes_max: 1 << 20, fragments_max: 8 };
    let mut seen = Vec::new();
    decoder
        .feed(&bounds, bytes, &mut |event| match event {
            Event::Text(text) => seen.push(text.to_string()),
            Event::Ping(_) => seen.push("ping".into()),
            other => panic!("unexpected {other:?}"),
        })
        .unwrap();
    seen
}

/// Whatever the kernel takes at each step, the peer reads every frame whole and in order, and each
/// owner hears `Begun` at its first byte and `Finished` at its last.
#[test]
fn partial_writes_of_every_size_keep_frames_whole() {
    for step in 1..40 {
        let mut outbox = Outbox::default();
        let (mut wire, mut told) = (Vec::new(), Vec::new());
        for n in 0..7u64 {
            outbox.push(Opcode::Text, Bytes::from(format!("message {n}")), Origin::Send(Ticket(n)));
        }
        while !outbox.is_empty() {
            let mut buffer = Vec::new();
            outbox.fill(&mut buffer, 64, || MASK);
            let taken = step.min(buffer.len());
            wire.extend_from_slice(&buffer[..taken]);
            outbox.wrote(&buffer, taken, true, |origin, progress| told.push((origin, progress)));
            outbox.check();
        }
        assert_eq!(decode(&mut wire), (0..7).map(|n| format!("message {n}")).collect::<Vec<_>>());
        let expected: Vec<_> = (0..7)
            .flat_map(|n| {
                [(Origin::Send(Ticket(n)), Progress::Begun), (Origin::Send(Ticket(n)), Progress::Finished)]
            })
            .collect();
        assert_eq!(told, expected, "step {step}");
    }
}

#[test]
fn a_frame_can_be_taken_back_until_it_is_begun() {
    let mut outbox = Outbox::default();
    for n in 0..3u64 {
        outbox.push(Opcode::Text, Bytes::from_static(b"0123456789"), Origin::Send(Ticket(n)));
    }
    let mut buffer = Vec::new();
    outbox.fill(&mut buffer, 1024, || MASK);
    outbox.wrote(&buffer, 1, true, |_, _| {});
    assert!(!outbox.take_back(Origin::Send(Ticket(0))), "its first byte is out");
    assert!(outbox.take_back(Origin::Send(Ticket(1))));
    assert!(!outbox.take_back(Origin::Send(Ticket(1))), "only once");
    let mut left = Vec::new();
    outbox.clear(|origin, begun| left.push((origin, begun)));
    assert_eq!(left, [(Origin::Send(Ticket(0)), true), (Origin::Send(Ticket(2)), false)]);
    assert!(outbox.is_empty());
    outbox.check();
}

#[test]
fn control_frames_overtake_waiting_data() {
    let mut outbox = Outbox::default();
    outbox.push(Opcode::Text, Bytes::from_static(b"data"), Origin::Raw(Ticket(1)));
    outbox.push_control(Opcode::Ping, Bytes::new());
    let mut buffer = Vec::new();
    assert_eq!(outbox.fill(&mut buffer, 1024, || MASK).frames, 2);
    assert_eq!(decode(&mut buffer), ["ping", "data"]);
}

#[test]
fn a_lone_message_fits_and_a_second_is_bounded() {
    let mut outbox = Outbox::default();
    assert!(outbox.has_room(100, 10));
    outbox.push(Opcode::Binary, Bytes::from(vec![0; 100]), Origin::Raw(Ticket(1)));
    assert!(!outbox.has_room(1, 10));
    assert!(outbox.has_room(28, 128));
}

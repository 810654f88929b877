//! The decoder against tungstenite: the same bytes, the same messages, refused or not.
//!
//! tungstenite is laxer in places; there its verdict is not asked:
//! - a length that is not in its shortest form, which it takes;
//! - a close code that may not be sent: it hands out a close of 1002 in its place;
//! - close code 1014, assigned after its table was made, which it takes for a bad one (stricter).
//!
//! And it judges a frame when it is whole, where we judge its head and each byte of its text as they
//! come: when we refused, it is given the rest of the frame as zeros before its verdict is asked.

use crate::core::random::Rng;
use std::io::{self, Read, Write};

use tokio_tungstenite::tungstenite::{
    self, Error, Message,
    protocol::{self, WebSocketConfig, WebSocketContext},
};

use super::{
    Bounds, Decoder, Role, Violation, ViolationKind,
    head::{CONTROL_TOO_LONG, NOT_MINIMAL},
    tests::support::{Got, Length, ROLES, Raw, frame},
};

const BOUNDS: Bounds = Bounds { message_bytes_max: 5000, fragments_max: u32::MAX };
const ROUNDS: usize = 20_000;

#[derive(Debug)]
enum Theirs {
    /// It wants more bytes.
    Open,
    Closed,
    Refused(Box<Error>),
}

#[derive(Default)]
struct Tally {
    open: usize,
    closed: usize,
    refused: usize,
    utf8: usize,
    too_big: usize,
    not_minimal: usize,
    bad_close: usize,
    messages: usize,
}

#[test]
fn agrees_with_tungstenite() {
    let mut random = Rng(0x0bad_cafe_1234_5678);
    let mut tally = Tally::default();
    for round in 0..ROUNDS {
        let role = ROLES[round % 2];
        let bytes = script(&mut random, role);
        let (ours, outcome) = decode(&bytes, role, &mut random);
        let mut for_them = bytes.clone();
        if outcome.is_err() {
            for_them.extend([0; BOUNDS.message_bytes_max + 14]);
        }
        let (theirs, verdict) = oracle(for_them, role, 1 + random.index(900));
        compare(&mut tally, (&ours, outcome), (&theirs, &verdict)).unwrap_or_else(|what| {
            panic!("round {round}, {role:?}: {what}\n{bytes:x?}\n{ours:?}\n{theirs:?}")
        });
        tally.messages += ours.len();
    }
    // Not in vain: each kind of ending was met often.
    let Tally { open, closed, refused, utf8, too_big, not_minimal, bad_close, messages } = tally;
    assert!(open > ROUNDS / 10 && closed > ROUNDS / 50 && refused > ROUNDS / 10, "{open} {closed} {refused}");
    assert!(
        utf8 > 500 && too_big > 200 && not_minimal > 50 && bad_close > 50,
        "{utf8} {too_big} {not_minimal} {bad_close}"
    );
    assert!(messages > 2 * ROUNDS, "{messages}");
}

fn compare(
    tally: &mut Tally,
    (ours, outcome): (&[Got], Result<(), Violation>),
    (theirs, verdict): (&[Got], &Theirs),
) -> Result<(), String> {
    let same = |ours: &[Got], theirs: &[Got]| {
        if ours == theirs { Ok(()) } else { Err("other messages".to_owned()) }
    };
    // A control frame with a long form of length, short as it may be, we refuse by its second byte.
    let lax_length = |violation: Violation| {
        violation.what == NOT_MINIMAL || violation.what == CONTROL_TOO_LONG && theirs.len() > ours.len()
    };
    if outcome.err().is_some_and(lax_length) {
        tally.not_minimal += 1;
        return same(ours, &theirs[..ours.len().min(theirs.len())]);
    }
    let their_close_is_replaced =
        matches!(theirs.last(), Some(Got::Close(Some(1002), reason)) if reason == "Protocol violation");
    if their_close_is_replaced {
        let before = &theirs[..theirs.len() - 1];
        tally.bad_close += 1;
        return match (ours, outcome) {
            ([begin @ .., Got::Close(Some(1014), _)], Ok(())) => same(begin, before),
            (_, Err(violation)) if violation.kind == ViolationKind::Protocol => same(ours, before),
            _ => Err("only they refused the close code".to_owned()),
        };
    }
    match outcome {
        Err(violation) => {
            same(ours, theirs)?;
            tally.refused += 1;
            let Theirs::Refused(error) = verdict else {
                return Err(format!("only we refused: {violation:?}, they: {verdict:?}"));
            };
            tally.utf8 += usize::from(violation.kind == ViolationKind::Utf8);
            tally.too_big += usize::from(violation.kind == ViolationKind::TooBig);
            kinds_agree(violation, error)
        }
        Ok(()) => {
            same(ours, theirs)?;
            let closed = matches!(ours.last(), Some(Got::Close(..)));
            tally.closed += usize::from(closed);
            tally.open += usize::from(!closed);
            match verdict {
                Theirs::Closed if closed => Ok(()),
                Theirs::Open if !closed => Ok(()),
                _ => Err(format!("we accepted, they: {verdict:?}")),
            }
        }
    }
}

/// A frame may be wrong in two ways, of which each judges another first: they ask for the size
/// before all else, and for the close reason before the code.
fn kinds_agree(ours: Violation, theirs: &Error) -> Result<(), String> {
    let agree = match (ours.kind, theirs) {
        (ViolationKind::Protocol, Error::Protocol(_) | Error::Capacity(_)) => true,
        (ViolationKind::Protocol, Error::Utf8(_)) => {
            ours.what == CONTROL_TOO_LONG || ours.what.contains("close code")
        }
        (ViolationKind::Utf8, Error::Utf8(_)) => true,
        (ViolationKind::TooBig, Error::Capacity(_)) => true,
        _ => false,
    };
    if agree { Ok(()) } else { Err(format!("we: {ours:?}, they: {theirs:?}")) }
}

fn decode(bytes: &[u8], role: Role, random: &mut Rng) -> (Vec<Got>, Result<(), Violation>) {
    let mut decoder = Decoder::new(role);
    let mut events = Vec::new();
    let longest = *random.pick(&[1, 3, 20, 1000, 100_000]);
    let mut rest = bytes.to_vec();
    let mut rest = rest.as_mut_slice();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at_mut((1 + random.index(longest)).min(rest.len()));
        if let Err(violation) = decoder.feed(&BOUNDS, piece, &mut |event| events.push(event.into())) {
            return (events, Err(violation));
        }
        rest = after;
    }
    (events, Ok(()))
}

fn oracle(bytes: Vec<u8>, role: Role, read_buffer: usize) -> (Vec<Got>, Theirs) {
    let config = WebSocketConfig::default()
        .read_buffer_size(read_buffer)
        .write_buffer_size(0)
        .max_message_size(Some(BOUNDS.message_bytes_max))
        .max_frame_size(Some(BOUNDS.message_bytes_max));
    let role = match role {
        Role::Client => protocol::Role::Client,
        Role::Server => protocol::Role::Server,
    };
    let mut context = WebSocketContext::new(role, Some(config));
    let mut stream = Stream { bytes, read: 0 };
    let mut events = Vec::new();
    loop {
        let event = match context.read(&mut stream) {
            Ok(Message::Text(text)) => Got::Text(text.as_str().to_owned()),
            Ok(Message::Binary(bytes)) => Got::Binary(bytes.to_vec()),
            Ok(Message::Ping(bytes)) => Got::Ping(bytes.to_vec()),
            Ok(Message::Pong(bytes)) => Got::Pong(bytes.to_vec()),
            Ok(Message::Close(close)) => {
                events.push(match close {
                    Some(close) => Got::Close(Some(close.code.into()), close.reason.as_str().to_owned()),
                    None => Got::Close(None, String::new()),
                });
                return (events, Theirs::Closed);
            }
            Ok(Message::Frame(_)) => unreachable!("is never read"),
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (events, Theirs::Open);
            }
            Err(error) => return (events, Theirs::Refused(Box::new(error))),
        };
        events.push(event);
    }
}

/// Gives what it has, then waits for ever; takes all that is written.
struct Stream {
    bytes: Vec<u8>,
    read: usize,
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = &self.bytes[self.read..];
        if rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = rest.len().min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        self.read += len;
        Ok(len)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes of a few frames, most of them right; some scripts are damaged afterwards.
fn script(random: &mut Rng, role: Role) -> Vec<u8> {
    let mut frames = Vec::new();
    let mut fragmented = false;
    for _ in 0..1 + random.index(10) {
        frames.push(next_frame(random, &mut fragmented));
    }
    let mut bytes = Vec::new();
    for raw in frames {
        let raw = match random.index(200) {
            0 => raw.wrongly_masked(),
            1 => {
                let len = raw.payload.len() as u64;
                raw.length(Length::Eight(len))
            }
            _ => raw,
        };
        raw.put(&mut bytes, role);
    }
    match random.index(10) {
        0 => bytes.truncate(random.index(bytes.len() + 1)),
        1 => flip_bit(random, &mut bytes),
        2 if chance(random, 50) => {
            for _ in 0..3 {
                flip_bit(random, &mut bytes);
            }
        }
        3 => bytes.insert(random.index(bytes.len() + 1), random.word() as u8),
        4 => {
            bytes.remove(random.index(bytes.len()));
        }
        _ => {}
    }
    bytes
}

fn chance(random: &mut Rng, percent: usize) -> bool {
    random.index(100) < percent
}

fn flip_bit(random: &mut Rng, bytes: &mut [u8]) {
    // The heads are where it matters.
    let near = bytes.len().min(*random.pick(&[4, 16, 64, usize::MAX]));
    bytes[random.index(near)] ^= 1 << random.index(8);
}

fn next_frame(random: &mut Rng, fragmented: &mut bool) -> Raw {
    match random.index(20) {
        0..=2 => return frame(*random.pick(&[0x89, 0x8a]), vec![b'p'; *random.pick(&[0, 1, 60, 125])]),
        3 if chance(random, 60) => return close_frame(random),
        4 if chance(random, 10) => return frame(random.word() as u8, payload(random)),
        _ => {}
    }
    let last = chance(random, 60);
    let opcode = if *fragmented { 0 } else { *random.pick(&[1, 1, 2]) };
    *fragmented = !last;
    frame(opcode | if last { 0x80 } else { 0 }, payload(random))
}

fn close_frame(random: &mut Rng) -> Raw {
    let code: u16 =
        *random.pick(&[1000, 1001, 1004, 1005, 1006, 1010, 1014, 1015, 2999, 3000, 4999, 5000, 0]);
    let body = match random.index(8) {
        0 => Vec::new(),
        1 => vec![3],
        2 => [&code.to_be_bytes()[..], b"cut \xe2\x82"].concat(),
        3 => [&code.to_be_bytes()[..], &[b'z'; 123]].concat(),
        _ => [&code.to_be_bytes()[..], "grüße".as_bytes()].concat(),
    };
    frame(0x88, body)
}

fn payload(random: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    let target = if chance(random, 3) {
        *random.pick(&[1000, 2500, 4999, 5000, 5001])
    } else {
        *random.pick(&[0, 1, 3, 12, 12, 12, 30, 124, 126, 140])
    };
    while bytes.len() < target {
        let character = char::from_u32(*random.pick(&[0x61, 0x7f, 0xe9, 0x7ff, 0x20ac, 0xffff, 0x1f600]));
        let character = character.expect("a character");
        if bytes.len() + character.len_utf8() > target {
            bytes.push(b'.');
        } else {
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    if chance(random, 3) {
        bytes.truncate(random.index(bytes.len() + 1));
    }
    if chance(random, 2) && !bytes.is_empty() {
        let at = random.index(bytes.len());
        bytes[at] = *random.pick(&[0x80, 0xc0, 0xed, 0xf4, 0xff]);
    }
    bytes
}

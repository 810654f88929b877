//! One reader: a socket, how far its handshake is, and its books.

use super::{
    books::{Places, Tally, Waits},
    nats::{Lines, Said},
    stamp::Stamp,
    target::{Target, Wire, response_head},
};
use crate::{
    frames::{self, Broken, From, Inbox},
    payload,
};
use std::{io, net::TcpStream};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Connecting,
    /// The answer to the handshake is awaited.
    Shaking,
    /// Connected, and not known to be a member.
    Unconfirmed,
    Open,
}

pub struct Reader {
    pub stream: TcpStream,
    pub stage: Stage,
    pub wire: Wire,
    /// When its connecting began.
    pub began: u64,
    /// Not read while this is false: a reader that takes nothing.
    pub reads: bool,
    greets: bool,
    /// What is written when the connection stands.
    pub opening: Vec<u8>,
    after_handshake: Option<Vec<u8>>,
    /// A response's head that is not whole.
    head: Vec<u8>,
    inbox: Inbox,
    lines: Lines,
    places: Places,
}

/// What a reader's bytes are counted in.
pub struct Books<'a> {
    pub tally: &'a mut Tally,
    pub waits: &'a mut Waits,
    /// To be written back: pongs and answers.
    pub replies: &'a mut Vec<u8>,
    pub now: u64,
    pub number: usize,
}

const TOO_SLOW: u16 = 1013;

impl Reader {
    pub fn new(stream: TcpStream, target: &Target, began: u64) -> Self {
        Reader {
            stream,
            stage: Stage::Connecting,
            wire: target.wire,
            began,
            reads: true,
            greets: target.greets,
            opening: target.opening(),
            after_handshake: target.after_handshake(),
            head: Vec::new(),
            inbox: Inbox::default(),
            lines: Lines::default(),
            places: Places::default(),
        }
    }

    /// The connection stands and the opening was written.
    pub fn opened(&mut self) {
        self.stage = match self.wire {
            Wire::NatsOverTcp => Stage::Unconfirmed,
            Wire::Ignored => Stage::Open,
            _ => Stage::Shaking,
        };
    }

    /// Some more bytes of the server.
    pub fn got(&mut self, bytes: &mut [u8], books: &mut Books) -> io::Result<()> {
        if self.stage != Stage::Shaking {
            return self.messages(bytes, books);
        }
        self.head.extend_from_slice(bytes);
        let Some(end) = response_head(&self.head).map_err(io::Error::other)? else { return Ok(()) };
        let mut rest = std::mem::take(&mut self.head);
        if let Some(more) = self.after_handshake.take() {
            books.replies.extend_from_slice(&more);
        }
        let confirmed = self.greets || self.wire == Wire::NatsOverWebSocket;
        self.stage = if confirmed { Stage::Unconfirmed } else { Stage::Open };
        self.messages(&mut rest[end..], books)
    }

    fn messages(&mut self, bytes: &mut [u8], books: &mut Books) -> io::Result<()> {
        let Reader { wire, inbox, lines, places, stage, .. } = self;
        match wire {
            Wire::Ignored => Ok(()),
            Wire::NatsOverTcp => lines.feed(bytes, |said| nats(said, *wire, stage, places, books)),
            Wire::NatsOverWebSocket => {
                let mut broken = Ok(());
                let framed = inbox.feed(bytes, |opcode, payload| match opcode {
                    frames::TEXT | frames::BINARY if broken.is_ok() => {
                        broken = lines.feed(payload, |said| nats(said, *wire, stage, places, books));
                    }
                    other => control(other, payload, books),
                });
                framed.map_err(no_frames).and(broken)
            }
            wire => {
                let framed = inbox.feed(bytes, |opcode, payload| match opcode {
                    frames::TEXT | frames::BINARY => data(*wire, payload, stage, places, books),
                    other => control(other, payload, books),
                });
                framed.map_err(no_frames)
            }
        }
    }
}

fn no_frames(_: Broken) -> io::Error {
    io::Error::other("what came is no WebSocket frame")
}

#[inline]
fn data(wire: Wire, payload: &[u8], stage: &mut Stage, places: &mut Places, books: &mut Books) {
    let stamp = match wire {
        Wire::Numbered => numbered(payload, places, books.tally),
        _ => Stamp::read(payload),
    };
    let Some(stamp) = stamp else {
        books.tally.other += 1;
        // The greeting of a server that has one.
        *stage = Stage::Open;
        if wire == Wire::Answering {
            frames::put(books.replies, From::Client, frames::TEXT, payload);
        }
        return;
    };
    places.got(stamp, books.tally);
    books.waits.record(books.number, stamp, books.now);
}

/// What is in a JSON frame; a gap is noted. A stamp is its own; the JSON of a feed says when it was due,
/// and its number is the one that the room gave it.
fn numbered(frame: &[u8], places: &mut Places, tally: &mut Tally) -> Option<Stamp> {
    if frame.starts_with(b"{\"gap\":") {
        let (stream, count) = gap(frame)?;
        places.announce(stream, count, tally);
        return None;
    }
    let data = after(frame, b"\"data\":")?;
    if data.first() == Some(&b'"') {
        return Stamp::read(&data[1..]);
    }
    let room = after(frame, b"\"room\":\"")?;
    let room = &room[..memchr::memchr(b'"', room)?];
    let number = leading_digits(after(frame, b"\"offset\":")?)?;
    Some(Stamp { stream: stream(room), number, nanos: payload::time(data)? })
}

fn after<'a>(frame: &'a [u8], what: &[u8]) -> Option<&'a [u8]> {
    memchr::memmem::find(frame, what).map(|at| &frame[at + what.len()..])
}

fn leading_digits(text: &[u8]) -> Option<u64> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    std::str::from_utf8(&text[..end]).ok()?.parse().ok()
}

/// The number that a room's name ends with tells it from the others of a scenario.
fn stream(room: &[u8]) -> u32 {
    let begin = room.iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |at| at + 1);
    leading_digits(&room[begin..]).and_then(|number| number.try_into().ok()).unwrap_or(0)
}

/// Whose gap, and how many numbers are between both its ends.
fn gap(frame: &[u8]) -> Option<(u32, u64)> {
    let frame: serde_json::Value = serde_json::from_slice(frame).ok()?;
    let end = |name: &str, part: &str| frame["gap"][name][part].as_u64();
    let (from, to) = (end("from", "offset")?, end("to", "offset")?);
    // In a new epoch nobody knows how many the old one had.
    let same = end("from", "epoch")? == end("to", "epoch")?;
    let count = if same { to.saturating_sub(from + 1) } else { to.saturating_sub(1) };
    Some((stream(frame["gap"]["room"].as_str()?.as_bytes()), count))
}

fn nats(said: Said, wire: Wire, stage: &mut Stage, places: &mut Places, books: &mut Books) {
    match said {
        Said::Message(payload) => data(Wire::Plain, payload, stage, places, books),
        Said::Pong => {
            // The first says that it is a member; those that follow answer a ping of ours.
            books.tally.pongs += u64::from(*stage == Stage::Open);
            *stage = Stage::Open;
        }
        Said::Ping if wire == Wire::NatsOverTcp => books.replies.extend_from_slice(b"PONG\r\n"),
        Said::Ping => frames::put(books.replies, From::Client, frames::BINARY, b"PONG\r\n"),
        Said::Info => {}
    }
}

fn control(opcode: u8, payload: &[u8], books: &mut Books) {
    match opcode {
        frames::PING => {
            books.tally.pinged += 1;
            frames::put(books.replies, From::Client, frames::PONG, payload);
        }
        frames::PONG => books.tally.pongs += 1,
        frames::CLOSE if payload.starts_with(&TOO_SLOW.to_be_bytes()) => books.tally.too_slow += 1,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_frames_have_their_payload_inside() {
        let (mut places, mut tally) = (Places::default(), Tally::default());
        let stamp = Stamp { stream: 1, number: 5, nanos: 9 };
        let mut payload = super::super::stamp::payload(64);
        stamp.write(&mut payload);
        let text = String::from_utf8(payload).expect("letters");
        let frame = format!(r#"{{"room":"r","epoch":17,"offset":6,"data":"{text}"}}"#);
        assert_eq!(numbered(frame.as_bytes(), &mut places, &mut tally), Some(stamp));
        assert_eq!(tally, Tally::default());
        // Of a feed: the room's number, the payload's time.
        let frame = br#"{"room":"ticks-12","epoch":17,"offset":6,"data":{"id":99,"t":1234,"pad":"x"}}"#;
        let wanted = Stamp { stream: 12, number: 6, nanos: 1234 };
        assert_eq!(numbered(frame, &mut places, &mut tally), Some(wanted));
    }

    #[test]
    fn a_gap_tells_how_many_will_not_come() {
        let frame = |epoch: u64, to: u64| {
            format!(
                r#"{{"gap":{{"room":"ticks-3","from":{{"epoch":1,"offset":4}},"to":{{"epoch":{epoch},"offset":{to}}},"cause":"slow_reader"}}}}"#
            )
        };
        assert_eq!(gap(frame(1, 9).as_bytes()), Some((3, 4)));
        assert_eq!(gap(frame(2, 3).as_bytes()), Some((3, 2)));
        let (mut places, mut tally) = (Places::default(), Tally::default());
        assert_eq!(numbered(frame(1, 9).as_bytes(), &mut places, &mut tally), None);
        assert_eq!(tally.announced, 4);
    }
}

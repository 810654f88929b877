//! Frames by hand, and how a decoder sees them.

use super::super::*;

pub const MASK: [u8; 4] = [0xa5, 0x01, 0xfe, 0x7c];
pub const BOUNDS: Bounds = Bounds { message_bytes_max: 200_000, fragments_max: 16 };
pub const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// An `Event` that owns what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl From<Event<'_>> for Got {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Got::Text(text.to_owned()),
            Event::Binary(bytes) => Got::Binary(bytes.to_vec()),
            Event::Ping(bytes) => Got::Ping(bytes.to_vec()),
            Event::Pong(bytes) => Got::Pong(bytes.to_vec()),
            Event::Close { code, reason } => Got::Close(code, reason.to_owned()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// At a frame border, nothing kept.
    Idle,
    /// Something is unfinished.
    Waiting,
    Closed,
    Refused(u16, ViolationKind),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub events: Vec<Got>,
    pub verdict: Verdict,
}

/// Feeds the pieces as they would come from a socket.
pub fn feed_all<'a>(role: Role, bounds: &Bounds, pieces: impl Iterator<Item = &'a [u8]>) -> Seen {
    let mut decoder = Decoder::new(role);
    let mut events = Vec::new();
    let mut refused = None;
    for piece in pieces {
        let before = events.len();
        let over = refused.is_some() || matches!(events.last(), Some(Got::Close(..)));
        let mut input = piece.to_vec();
        let outcome = decoder.feed(bounds, &mut input, &mut |event| events.push(event.into()));
        if over {
            assert_eq!((outcome, events.len()), (Ok(()), before), "decoded after the end");
        } else if let Err(violation) = outcome {
            refused = Some(violation);
        }
    }
    let closed = matches!(events.last(), Some(Got::Close(..)));
    assert_eq!(decoder.is_ended(), closed || refused.is_some());
    let verdict = match refused {
        Some(violation) => Verdict::Refused(violation.code, violation.kind),
        None if closed => Verdict::Closed,
        None if decoder.is_mid_message() => Verdict::Waiting,
        None => Verdict::Idle,
    };
    if verdict != Verdict::Waiting {
        assert!(!decoder.is_mid_message());
        assert_eq!(decoder.buffered_bytes(), 0);
    }
    Seen { events, verdict }
}

/// How the length of a frame is written.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    Shortest,
    /// In two bytes, whatever it is.
    Two(u16),
    /// In eight bytes, whatever it is.
    Eight(u64),
    /// In the second byte.
    One(u8),
}

/// A frame as it is to lie on the wire, right or wrong.
#[derive(Clone, Debug)]
pub struct Raw {
    pub first: u8,
    pub length: Length,
    pub payload: Vec<u8>,
    pub wrongly_masked: bool,
    /// Bytes that are not sent.
    pub cut: usize,
}

pub fn frame(first: u8, payload: impl AsRef<[u8]>) -> Raw {
    let payload = payload.as_ref().to_vec();
    Raw { first, length: Length::Shortest, payload, wrongly_masked: false, cut: 0 }
}

impl Raw {
    pub fn length(self, length: Length) -> Self {
        Raw { length, ..self }
    }

    pub fn wrongly_masked(self) -> Self {
        Raw { wrongly_masked: true, ..self }
    }

    pub fn cut(self, cut: usize) -> Self {
        Raw { cut, ..self }
    }

    /// The bytes that a peer of `role` sends.
    pub fn put(&self, out: &mut Vec<u8>, role: Role) {
        let start = out.len();
        let masked = (role == Role::Server) != self.wrongly_masked;
        let flag = if masked { 0x80 } else { 0 };
        let length = match (self.length, self.payload.len()) {
            (Length::Shortest, len @ 0..=125) => Length::One(len as u8),
            (Length::Shortest, len @ 126..=65_535) => Length::Two(len as u16),
            (Length::Shortest, len) => Length::Eight(len as u64),
            (length, _) => length,
        };
        out.push(self.first);
        match length {
            Length::One(len) => out.push(flag | len),
            Length::Two(len) => {
                out.push(flag | 126);
                out.extend_from_slice(&len.to_be_bytes());
            }
            Length::Eight(len) => {
                out.push(flag | 127);
                out.extend_from_slice(&len.to_be_bytes());
            }
            Length::Shortest => unreachable!("replaced above"),
        }
        if masked {
            // Another mask for each frame: a stale one must show.
            let mut mask = MASK;
            mask[0] = mask[0].wrapping_add(start as u8);
            out.extend_from_slice(&mask);
            out.extend(self.payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        } else {
            out.extend_from_slice(&self.payload);
        }
        out.truncate(out.len() - self.cut);
    }
}

pub fn wire(frames: &[Raw], role: Role) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in frames {
        frame.put(&mut out, role);
    }
    out
}

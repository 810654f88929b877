//! The conformance cases: what a peer sends, what must come of it. Each holds for both roles.

mod closing;
mod frames;
mod messages;
mod utf8;

use super::super::ViolationKind;
use super::support::{BOUNDS, Got, Length, Raw, Verdict, frame};

pub struct Case {
    pub name: String,
    pub frames: Vec<Raw>,
    pub events: Vec<Got>,
    pub verdict: Verdict,
}

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    messages::whole_messages(&mut cases);
    messages::fragmentation(&mut cases);
    messages::bounds(&mut cases);
    frames::control_frames(&mut cases);
    frames::reserved(&mut cases);
    frames::masking_and_lengths(&mut cases);
    closing::closing(&mut cases);
    closing::close_codes(&mut cases);
    utf8::utf8_valid(&mut cases);
    utf8::utf8_invalid(&mut cases);
    cases
}

pub const CONT: u8 = 0x00;
pub const TEXT: u8 = 0x01;
pub const BIN: u8 = 0x02;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;
pub const FIN: u8 = 0x80;

const PROTOCOL: Verdict = Verdict::Refused(1002, ViolationKind::Protocol);
const UTF8: Verdict = Verdict::Refused(1007, ViolationKind::Utf8);
const TOO_BIG: Verdict = Verdict::Refused(1009, ViolationKind::TooBig);
const FLOOD: Verdict = Verdict::Refused(1008, ViolationKind::Flood);

type Cases = Vec<Case>;

fn case(
    cases: &mut Cases,
    name: impl Into<String>,
    frames: impl Into<Vec<Raw>>,
    events: impl Into<Vec<Got>>,
    verdict: Verdict,
) {
    let (name, frames, events) = (name.into(), frames.into(), events.into());
    cases.push(Case { name, frames, events, verdict });
}

fn text(text: &str) -> Got {
    Got::Text(text.to_owned())
}

fn binary(bytes: impl AsRef<[u8]>) -> Got {
    Got::Binary(bytes.as_ref().to_vec())
}

fn ping(bytes: &str) -> Got {
    Got::Ping(bytes.into())
}

fn pong(bytes: &str) -> Got {
    Got::Pong(bytes.into())
}

fn closed(code: u16, reason: &str) -> Got {
    Got::Close(Some(code), reason.to_owned())
}

fn close_payload(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_ref()].concat()
}

//! Events as bytes. Everything constant for a lane is rendered once, into its prefix.

use super::{
    CONTENT_BINARY, Format, LifecycleEvent, SOURCE, Stamp, TYPE_END, TYPE_GAP, TYPE_LIFECYCLE, TYPE_MESSAGE,
    TimeText, content_type,
    json::{push_base64, push_escaped, push_number},
};
use crate::core::{correlation::Kind, id::ConnectionId, sequence::Gap};

/// The constant parts of a lane's messages.
#[derive(Clone, Debug, Default)]
pub struct LanePrefix {
    format: Format,
    /// From the opening brace to the id's slash before the epoch.
    head: Vec<u8>,
    /// From the end of `time` to where the first changing part of the data begins.
    middle: Vec<u8>,
}

impl LanePrefix {
    pub fn new(format: Format, connection: &ConnectionId, redacted_url: &str) -> Self {
        let mut prefix = LanePrefix::default();
        prefix.renew(format, connection, redacted_url);
        prefix
    }

    /// Becomes another lane's, in the memory that it has.
    pub fn renew(&mut self, format: Format, connection: &ConnectionId, redacted_url: &str) {
        let id = connection.as_str();
        let LanePrefix { format: kept, head, middle } = self;
        *kept = format;
        head.clear();
        push_head(head, [TYPE_MESSAGE, ""], id);
        let (before, own, after) = match format {
            Format::Payload => ("\"websocketid\":\"", id, "\",\"id\":\""),
            _ => ("\"datacontenttype\":\"application/json\",", "", "\"id\":\""),
        };
        push_all(head, &[before, own, after, id, "/"].map(str::as_bytes));
        middle.clear();
        if format != Format::Payload {
            push_all(middle, &[b"\",\"data\":{\"websocketId\":\"", id.as_bytes(), b"\",\"websocketUrl\":\""]);
            push_escaped(middle, redacted_url.as_bytes());
            middle.extend_from_slice(match format {
                Format::Frames => b"\",\"epoch\":",
                _ => b"\",\"timestamp\":\"",
            });
        }
    }

    pub const fn format(&self) -> Format {
        self.format
    }
}

/// One message as one event. A `frames` prefix makes an event with one message in it.
pub fn append_message(
    out: &mut Vec<u8>,
    prefix: &LanePrefix,
    stamp: &Stamp,
    time: &TimeText,
    kind: Kind,
    payload: &[u8],
) {
    match prefix.format {
        Format::Envelope => append_envelope(out, prefix, stamp, time, kind, payload),
        Format::Payload => append_payload(out, prefix, stamp, time, kind, payload),
        Format::Frames => {
            let mut element = Vec::new();
            append_frame_element(&mut element, stamp, time, kind, payload);
            append_frames(out, prefix, stamp.epoch, (stamp.seq, stamp.seq), time, &element);
        }
    }
}

/// One message as an element of `messages` in a `frames` event; elements are joined by commas.
pub fn append_frame_element(out: &mut Vec<u8>, stamp: &Stamp, time: &TimeText, kind: Kind, payload: &[u8]) {
    out.extend_from_slice(b"{\"seq\":");
    push_number(out, stamp.seq);
    push_all(out, &[b",\"timestamp\":\"", time.as_bytes()]);
    push_content(out, kind, payload);
    push_marks(out, stamp, b",\"possibleDuplicate\":true");
    out.push(b'}');
}

/// Many messages of one epoch as one event; `elements` are theirs, joined by commas.
pub fn append_frames(
    out: &mut Vec<u8>,
    prefix: &LanePrefix,
    epoch: u64,
    (first, last): (u64, u64),
    time: &TimeText,
    elements: &[u8],
) {
    out.reserve(prefix.head.len() + prefix.middle.len() + elements.len() + 128);
    out.extend_from_slice(&prefix.head);
    push_number(out, epoch);
    out.push(b'/');
    push_number(out, first);
    out.push(b'-');
    push_number(out, last);
    push_all(out, &[b"\",\"time\":\"", time.as_bytes(), &prefix.middle]);
    push_number(out, epoch);
    push_all(out, &[b",\"messages\":[", elements, b"]}}"]);
}

/// `number` makes the id unique: several gaps may end at the same message.
pub fn append_gap(out: &mut Vec<u8>, connection: &ConnectionId, number: u64, time: &TimeText, gap: &Gap) {
    let (epoch, seq) = gap.to.unwrap_or((gap.from.0, gap.from.1.unwrap_or(0)));
    let place: &[u8] = if gap.to.is_some() { b"/gap/" } else { b"/last/" };
    push_record_head(out, TYPE_GAP, connection, epoch, seq);
    out.extend_from_slice(place);
    push_number(out, number);
    push_data_start(out, connection, time);
    out.extend_from_slice(b",\"from\":{\"epoch\":");
    push_number(out, gap.from.0);
    out.extend_from_slice(b",\"seq\":");
    push_optional(out, gap.from.1);
    out.extend_from_slice(b"},\"to\":");
    match gap.to {
        Some((epoch, seq)) => {
            out.extend_from_slice(b"{\"epoch\":");
            push_number(out, epoch);
            out.extend_from_slice(b",\"seq\":");
            push_number(out, seq);
            out.push(b'}');
        }
        None => out.extend_from_slice(b"null"),
    }
    push_all(out, &[b",\"cause\":\"", gap.cause.name().as_bytes(), b"\",\"count\":"]);
    push_optional(out, gap.count);
    out.extend_from_slice(b"}}");
}

pub fn append_end(out: &mut Vec<u8>, connection: &ConnectionId, time: &TimeText, epoch: u64, last_seq: u64) {
    push_record_head(out, TYPE_END, connection, epoch, last_seq);
    out.extend_from_slice(b"/end");
    push_data_start(out, connection, time);
    out.extend_from_slice(b",\"epoch\":");
    push_number(out, epoch);
    out.extend_from_slice(b",\"lastSeq\":");
    push_number(out, last_seq);
    out.extend_from_slice(b"}}");
}

/// `unique` tells this event from all others of its connection: a time and a count.
pub fn append_lifecycle(out: &mut Vec<u8>, unique: (u64, u64), time: &TimeText, event: &LifecycleEvent<'_>) {
    let id = event.connection.as_str();
    push_head(out, [TYPE_LIFECYCLE, event.state.name()], id);
    push_all(out, &[b"\"datacontenttype\":\"application/json\",\"id\":\"", id.as_bytes(), b"/"]);
    push_number(out, unique.0);
    out.push(b'/');
    push_number(out, unique.1);
    push_all(out, &[b"/lifecycle\",\"time\":\"", time.as_bytes()]);
    push_all(out, &[b"\",\"data\":{\"connection_id\":\"", id.as_bytes(), b"\",\"url\":\""]);
    push_escaped(out, event.redacted_url.as_bytes());
    out.extend_from_slice(b"\",\"instance_id\":\"");
    push_escaped(out, event.instance_id.as_bytes());
    out.extend_from_slice(b"\",\"reason\":\"");
    push_escaped(out, event.reason.as_bytes());
    out.push(b'"');
    if let Some(attempt) = event.attempt {
        out.extend_from_slice(b",\"attempt\":");
        push_number(out, u64::from(attempt));
    }
    out.extend_from_slice(b"}}");
}

fn append_envelope(
    out: &mut Vec<u8>,
    prefix: &LanePrefix,
    stamp: &Stamp,
    time: &TimeText,
    kind: Kind,
    payload: &[u8],
) {
    push_numbered(out, prefix, stamp, time, payload.len());
    push_all(out, &[&prefix.middle, time.as_bytes()]);
    push_content(out, kind, payload);
    out.extend_from_slice(b",\"epoch\":");
    push_number(out, stamp.epoch);
    out.extend_from_slice(b",\"seq\":");
    push_number(out, stamp.seq);
    push_marks(out, stamp, b",\"possibleDuplicate\":true");
    out.extend_from_slice(b"}}");
}

fn append_payload(
    out: &mut Vec<u8>,
    prefix: &LanePrefix,
    stamp: &Stamp,
    time: &TimeText,
    kind: Kind,
    payload: &[u8],
) {
    push_numbered(out, prefix, stamp, time, payload.len());
    out.extend_from_slice(b"\",\"epoch\":\"");
    push_number(out, stamp.epoch);
    out.extend_from_slice(b"\",\"seq\":\"");
    push_number(out, stamp.seq);
    out.push(b'"');
    push_marks(out, stamp, b",\"possibleduplicate\":true");
    let content = content_type(kind).as_bytes();
    push_all(out, &[b",\"datacontenttype\":\"", content, b"\",\"contenttype\":\"", content]);
    match kind {
        Kind::Text => {
            out.extend_from_slice(b"\",\"data\":\"");
            push_escaped(out, payload);
        }
        Kind::Binary => {
            out.extend_from_slice(b"\",\"data_base64\":\"");
            push_base64(out, payload);
        }
    }
    out.extend_from_slice(b"\"}");
}

/// Up to the end of the `time` value, its closing quote excluded.
fn push_numbered(out: &mut Vec<u8>, prefix: &LanePrefix, stamp: &Stamp, time: &TimeText, payload: usize) {
    out.reserve(prefix.head.len() + prefix.middle.len() + payload + payload / 2 + 256);
    out.extend_from_slice(&prefix.head);
    push_number(out, stamp.epoch);
    out.push(b'/');
    push_number(out, stamp.seq);
    push_all(out, &[b"\",\"time\":\"", time.as_bytes()]);
}

/// From the closing quote of the timestamp to the end of the content.
fn push_content(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    match kind {
        Kind::Text => {
            out.extend_from_slice(b"\",\"payload\":\"");
            push_escaped(out, payload);
            out.push(b'"');
        }
        Kind::Binary => {
            out.extend_from_slice(b"\",\"payloadBase64\":\"");
            push_base64(out, payload);
            push_all(out, &[b"\",\"contentType\":\"", CONTENT_BINARY.as_bytes(), b"\""]);
        }
    }
}

fn push_marks(out: &mut Vec<u8>, stamp: &Stamp, duplicate: &[u8]) {
    if stamp.reply {
        out.extend_from_slice(b",\"reply\":true");
    }
    if stamp.possible_duplicate {
        out.extend_from_slice(duplicate);
    }
}

fn push_head(out: &mut Vec<u8>, kind: [&str; 2], subject: &str) {
    push_all(
        out,
        &[
            b"{\"specversion\":\"1.0\",\"type\":\"",
            kind[0].as_bytes(),
            kind[1].as_bytes(),
            b"\",\"source\":\"",
            SOURCE.as_bytes(),
            b"\",\"subject\":\"",
            subject.as_bytes(),
            b"\",",
        ],
    );
}

fn push_record_head(out: &mut Vec<u8>, kind: &str, connection: &ConnectionId, epoch: u64, seq: u64) {
    let id = connection.as_str();
    push_head(out, [kind, ""], id);
    push_all(out, &[b"\"datacontenttype\":\"application/json\",\"id\":\"", id.as_bytes(), b"/"]);
    push_number(out, epoch);
    out.push(b'/');
    push_number(out, seq);
}

fn push_data_start(out: &mut Vec<u8>, connection: &ConnectionId, time: &TimeText) {
    push_all(out, &[b"\",\"time\":\"", time.as_bytes()]);
    push_all(out, &[b"\",\"data\":{\"websocketId\":\"", connection.as_str().as_bytes(), b"\""]);
}

fn push_optional(out: &mut Vec<u8>, number: Option<u64>) {
    match number {
        Some(number) => push_number(out, number),
        None => out.extend_from_slice(b"null"),
    }
}

fn push_all(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests;

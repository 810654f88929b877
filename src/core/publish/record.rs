//! A batch as a record of the spill log. The log has its own checksums; this form only has to be
//! complete, and reading it must survive anything.

use super::batch::{Batch, BatchId, Event, EventKind};
use crate::core::id::ConnectionId;
use std::sync::Arc;

/// Names the form; another form gets another name.
const MAGIC: &[u8; 4] = b"WSB1";
/// Beside the kind, so that records without it are read as before: ordered.
const RELAXED: u8 = 0x80;
/// The least that an event takes: decoding reserves no more than the record can hold.
const EVENT_BYTES_MIN: usize = 2 + 1 + 1 + 3 * 8 + 2 * 4;

impl Batch {
    pub fn encode(&self) -> Vec<u8> {
        let names: usize =
            self.events.iter().map(|event| event.topic.len() + event.connection.as_str().len()).sum();
        let size = 16 + self.events.len() * EVENT_BYTES_MIN + names + self.bytes.len();
        let mut out = Vec::with_capacity(size);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.extend_from_slice(&(self.events.len() as u32).to_le_bytes());
        for event in &self.events {
            let connection = event.connection.as_str();
            out.extend_from_slice(&(event.topic.len() as u16).to_le_bytes());
            out.extend_from_slice(event.topic.as_bytes());
            out.push(connection.len() as u8);
            out.extend_from_slice(connection.as_bytes());
            out.push(code(event.kind) | if event.relaxed { RELAXED } else { 0 });
            for number in [event.epoch, event.first_seq, event.last_seq] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&event.messages.to_le_bytes());
            out.extend_from_slice(&(event.range.len() as u32).to_le_bytes());
        }
        for event in &self.events {
            out.extend_from_slice(self.bytes.get(event.range.clone()).unwrap_or_default());
        }
        out
    }

    /// None for anything that `encode` did not write.
    pub fn decode(record: &[u8]) -> Option<Batch> {
        let mut rest = record.strip_prefix(MAGIC)?;
        let id = BatchId(u64::from_le_bytes(*take(&mut rest)?));
        let count = u32::from_le_bytes(*take(&mut rest)?) as usize;
        if count > rest.len() / EVENT_BYTES_MIN {
            return None;
        }
        let mut events: Vec<Event> = Vec::with_capacity(count);
        let mut end = 0_usize;
        for _ in 0..count {
            let event = decode_event(&mut rest, events.last(), end)?;
            end = event.range.end;
            events.push(event);
        }
        (rest.len() == end).then(|| Batch { id, bytes: rest.to_vec(), events })
    }

    pub fn messages(&self) -> u64 {
        self.events.iter().map(|event| u64::from(event.messages)).sum()
    }
}

/// Shares the names of the event before, which are the same more often than not.
fn decode_event(rest: &mut &[u8], before: Option<&Event>, start: usize) -> Option<Event> {
    let length = usize::from(u16::from_le_bytes(*take(rest)?));
    let topic = take_text(rest, length)?;
    let length = usize::from(take::<1>(rest)?[0]);
    let connection = take_text(rest, length)?;
    let [coded] = *take::<1>(rest)?;
    let (kind, relaxed) = (kind(coded & !RELAXED)?, coded & RELAXED != 0);
    let epoch = u64::from_le_bytes(*take(rest)?);
    let first_seq = u64::from_le_bytes(*take(rest)?);
    let last_seq = u64::from_le_bytes(*take(rest)?);
    let messages = u32::from_le_bytes(*take(rest)?);
    let length = u32::from_le_bytes(*take(rest)?) as usize;
    let topic: Arc<str> = match before {
        Some(before) if &*before.topic == topic => before.topic.clone(),
        _ => topic.into(),
    };
    let connection = match before {
        Some(before) if before.connection.as_str() == connection => before.connection.clone(),
        _ => ConnectionId::parse(connection).ok()?,
    };
    let range = start..start.checked_add(length)?;
    Some(Event { topic, connection, kind, epoch, first_seq, last_seq, messages, relaxed, range })
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(head)
}

fn take_text<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a str> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    std::str::from_utf8(head).ok()
}

const fn code(kind: EventKind) -> u8 {
    match kind {
        EventKind::Message => 0,
        EventKind::Gap => 1,
        EventKind::End => 2,
        EventKind::Lifecycle => 3,
    }
}

const fn kind(code: u8) -> Option<EventKind> {
    match code {
        0 => Some(EventKind::Message),
        1 => Some(EventKind::Gap),
        2 => Some(EventKind::End),
        3 => Some(EventKind::Lifecycle),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

//! What an earlier process left on the spill log when it crashed. It goes first, and its stream must
//! read: what the reader had, a gap record for what was under way to the bus, the spilled messages, a
//! gap record that names the last of them, the new epoch.
//!
//! Everything passes `name_last` on its way to the bus, in order: by then all that was spilled before
//! it is known, also when the record itself was spilled, or by a process that crashed as well.

use super::Publisher;
use crate::{
    core::{
        id::ConnectionId,
        publish::{
            batch::{Batch, Event, EventKind},
            flight::{Closed, Origin},
            spill::Head,
        },
        reason::GapCause,
        sequence::Gap,
        time::Now,
    },
    limits,
    wire::event::append_gap,
};
use std::{collections::BTreeMap, sync::Arc};

/// Epoch and seq of the last that was read back, by connection and topic.
#[derive(Debug, Default)]
pub(super) struct Left(BTreeMap<(ConnectionId, Arc<str>), (u64, u64)>);

impl Left {
    fn note(&mut self, event: &Event) {
        let key = (event.connection.clone(), event.topic.clone());
        if self.0.len() >= limits::LEFT_KEPT_MAX && !self.0.contains_key(&key) {
            // Its next message gets another gap record, and its last one remains unnamed.
            self.0.pop_first();
        }
        let last = self.0.entry(key).or_default();
        *last = (event.epoch, event.last_seq).max(*last);
    }

    fn knows(&self, event: &Event) -> bool {
        self.0.contains_key(&(event.connection.clone(), event.topic.clone()))
    }

    fn last_of(&self, id: &ConnectionId) -> Option<(u64, u64)> {
        let from = (id.clone(), Arc::from(""));
        self.0.range(from..).take_while(|((known, _), _)| known == id).map(|(_, last)| *last).max()
    }

    pub(super) fn forget(&mut self, id: &ConnectionId, below: u64) {
        self.0.retain(|(known, _), (epoch, _)| known != id || *epoch >= below);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Publisher {
    /// Puts a gap record before the first event of each stream that an earlier process left: what
    /// came before it may have been under way to the bus when that process died.
    pub(super) fn mark_left(&mut self, now: Now) {
        let Head::Loaded(closed) = &self.spill.head else { return };
        if closed.origin != Origin::OldSpill {
            return;
        }
        let batch = closed.batch.clone();
        let (mut firsts, mut names) = (Vec::new(), Vec::new());
        for (index, event) in batch.events.iter().enumerate() {
            if event.kind == EventKind::Lifecycle {
                continue;
            }
            let before = seq_before(event);
            if before > 0 && event.topic != self.lifecycle_topic && !self.left.knows(event) {
                firsts.push((index, before));
            }
            // Before the events of a new epoch are noted themselves.
            names.extend(self.name_of(&batch, event).map(|(at, seq)| (index, at, seq)));
            self.left.note(event);
        }
        if firsts.is_empty() && names.is_empty() {
            return;
        }
        let mut marked = Batch::clone(&batch);
        for (index, at, seq) in names {
            write_name(&mut marked, index, at, seq);
        }
        let marked = self.with_gaps(now, &marked, &firsts);
        self.closed_bytes = self.closed_bytes + marked.bytes.len() - batch.bytes.len();
        if let Head::Loaded(closed) = &mut self.spill.head {
            closed.batch = Arc::new(marked);
        }
    }

    /// The batch with a gap record before each of these events, which follow on these numbers.
    fn with_gaps(&mut self, now: Now, batch: &Batch, firsts: &[(usize, u64)]) -> Batch {
        let mut marked = Batch { id: batch.id, bytes: Vec::new(), events: Vec::new() };
        let mut firsts = firsts.iter().peekable();
        for (index, event) in batch.events.iter().enumerate() {
            if let Some((_, before)) = firsts.next_if(|(first, _)| *first == index) {
                let to = Some((event.epoch, before.saturating_add(1)));
                let gap = Gap { from: (event.epoch, None), to, cause: GapCause::Crash, count: None };
                self.counters.gap_records[gap.cause.index()] += 1;
                // Unlike any that the earlier process gave: its numbers began at one.
                let number = now.wall.unix_nanos().wrapping_add(self.take_record_number());
                let time = self.clock.at(now.wall);
                let start = marked.bytes.len();
                append_gap(&mut marked.bytes, &event.connection, number, &time, &gap);
                marked.events.push(Event {
                    topic: self.record_topic_of(event),
                    kind: EventKind::Gap,
                    first_seq: *before,
                    last_seq: *before,
                    messages: 0,
                    range: start..marked.bytes.len(),
                    ..event.clone()
                });
            }
            let start = marked.bytes.len();
            marked.bytes.extend_from_slice(&batch.bytes[event.range.clone()]);
            marked.events.push(Event { range: start..marked.bytes.len(), ..event.clone() });
        }
        marked
    }

    /// Where its connection wants gap records, if it is here again and publishes to the same topic.
    fn record_topic_of(&self, event: &Event) -> Arc<str> {
        let lane = self.lanes.find_by_id(&event.connection).and_then(|index| self.lanes.get(index));
        lane.filter(|lane| lane.topic == event.topic).map_or(&event.topic, |lane| &lane.record_topic).clone()
    }

    /// The gap record of a new epoch names the last number that was spilled in the old one.
    pub(super) fn name_last(&mut self, closed: &mut Closed) {
        if self.left.is_empty() {
            return;
        }
        for index in 0..closed.batch.events.len() {
            let Some((at, seq)) = self.name_of(&closed.batch, &closed.batch.events[index]) else { continue };
            let before = closed.batch.bytes.len();
            let batch = Arc::make_mut(&mut closed.batch);
            write_name(batch, index, at, seq);
            self.closed_bytes = self.closed_bytes + batch.bytes.len() - before;
        }
    }

    /// Where in a gap record a number is to be named, and which.
    fn name_of(&self, batch: &Batch, event: &Event) -> Option<(usize, u64)> {
        if event.kind != EventKind::Gap {
            return None;
        }
        let (epoch, seq) = self.left.last_of(&event.connection)?;
        Some((unnamed_from(&batch.bytes[event.range.clone()], epoch)?, seq))
    }
}

/// Puts a number where the null stands, so far into the event.
fn write_name(batch: &mut Batch, index: usize, at: usize, seq: u64) {
    let at = batch.events[index].range.start + at;
    let named = seq.to_string();
    batch.bytes.splice(at..at + NULL.len(), named.bytes());
    let grown = |place: usize| place + named.len() - NULL.len();
    batch.events[index].range.end = grown(batch.events[index].range.end);
    for later in &mut batch.events[index + 1..] {
        later.range = grown(later.range.start)..grown(later.range.end);
    }
}

const NULL: &str = "null";

/// The number that an event follows on.
fn seq_before(event: &Event) -> u64 {
    match event.kind {
        EventKind::Message => event.first_seq.saturating_sub(1),
        _ => event.last_seq,
    }
}

/// Where the null stands in a gap record that leads out of this epoch without naming its last number.
/// The pattern cannot occur elsewhere in a gap record: ids have neither quotes nor braces.
fn unnamed_from(json: &[u8], epoch: u64) -> Option<usize> {
    let from = format!("\"from\":{{\"epoch\":{epoch},\"seq\":");
    let at = memchr::memmem::find(json, from.as_bytes())? + from.len();
    let rest = json.get(at..)?.strip_prefix(NULL.as_bytes())?;
    let same_epoch = format!("}},\"to\":{{\"epoch\":{epoch},");
    (!rest.starts_with(same_epoch.as_bytes())).then_some(at)
}

//! The batch that is being filled.

use super::{
    batch::{Batch, BatchId, Event, EventKind, remove_events},
    bounds::Bounds,
    flight::{Closed, Origin},
    lane::{Class, Lane, Lanes},
};
use crate::{
    core::{correlation::Kind, id::ConnectionId, time::Time},
    wire::event::{LanePrefix, Stamp, TimeText, append_frame_element, append_frames, append_message},
};
use std::sync::Arc;

/// A frame's buffer larger than this is not kept for the next batch: there may be many lanes.
const FRAME_BYTES_KEPT: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct OpenBatch {
    class: Class,
    bytes: Vec<u8>,
    events: Vec<Event>,
    /// Lanes that have messages for one event of this batch; some may have been flushed already.
    frames: Vec<u32>,
    frame_bytes: usize,
    count: usize,
    messages: u64,
    ordered: bool,
    since: Time,
    prefix: LastPrefix,
}

/// What the messages of the last lane begin with: they come in bursts.
#[derive(Debug, Default)]
struct LastPrefix {
    /// 0 for none.
    serial: u64,
    prefix: LanePrefix,
}

impl LastPrefix {
    fn of(&mut self, lane: &Lane) -> &LanePrefix {
        if self.serial != lane.serial {
            self.serial = lane.serial;
            self.prefix.renew(lane.format, &lane.id, &lane.url);
        }
        &self.prefix
    }
}

/// Where an event stands and what it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub kind: EventKind,
    pub epoch: u64,
    pub first: u64,
    pub last: u64,
    pub messages: u32,
    pub relaxed: bool,
}

impl OpenBatch {
    pub(super) fn new(class: Class) -> Self {
        OpenBatch {
            class,
            bytes: Vec::new(),
            events: Vec::new(),
            frames: Vec::new(),
            frame_bytes: 0,
            count: 0,
            messages: 0,
            ordered: false,
            since: Time::ZERO,
            prefix: LastPrefix::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn size(&self) -> usize {
        self.bytes.len() + self.frame_bytes
    }

    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    pub(super) fn since(&self) -> Time {
        self.since
    }

    pub(super) fn is_full(&self, bounds: &Bounds) -> bool {
        self.size() >= bounds.batch_bytes || self.count >= bounds.batch_count
    }

    pub(super) fn message(
        &mut self,
        now: Time,
        (index, lane): (u32, &mut Lane),
        stamp: &Stamp,
        time: &TimeText,
        kind: Kind,
        payload: &[u8],
    ) {
        self.enter(now, lane.ordered, 1);
        if lane.frames() {
            self.element(index, lane, stamp.epoch, stamp.seq, time, |out| {
                append_frame_element(out, stamp, time, kind, payload);
            });
            return;
        }
        let start = self.bytes.len();
        append_message(&mut self.bytes, self.prefix.of(lane), stamp, time, kind, payload);
        self.event(start, &lane.topic, &lane.id, Place::message(lane, stamp.epoch, stamp.seq));
    }

    /// A message that was rendered before.
    pub(super) fn rendered(
        &mut self,
        now: Time,
        (index, lane): (u32, &mut Lane),
        (epoch, seq): (u64, u64),
        time: &TimeText,
        rendered: &[u8],
    ) {
        self.enter(now, lane.ordered, 1);
        if lane.frames() {
            self.element(index, lane, epoch, seq, time, |out| out.extend_from_slice(rendered));
            return;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(rendered);
        self.event(start, &lane.topic, &lane.id, Place::message(lane, epoch, seq));
    }

    /// What is not a message: gap record, end marker, lifecycle event.
    pub(super) fn record(
        &mut self,
        now: Time,
        topic: &Arc<str>,
        connection: &ConnectionId,
        place: Place,
        render: impl FnOnce(&mut Vec<u8>),
    ) {
        self.enter(now, true, 0);
        let start = self.bytes.len();
        render(&mut self.bytes);
        self.event(start, topic, connection, place);
    }

    /// What came for this lane so far becomes an event; what follows will stand behind it.
    pub(super) fn flush_frame(&mut self, lane: &mut Lane) {
        let prefix = self.prefix.of(lane);
        let Some(frame) = &mut lane.frame else { return };
        let Some(time) = frame.time.take() else { return };
        let (epoch, first) = (frame.epoch, frame.first);
        let start = self.bytes.len();
        append_frames(
            &mut self.bytes,
            prefix,
            frame.epoch,
            (frame.first, frame.last),
            &time,
            &frame.elements,
        );
        self.frame_bytes -= frame.elements.len();
        frame.elements.clear();
        if frame.elements.capacity() > FRAME_BYTES_KEPT {
            frame.elements = Vec::new();
        }
        let messages = std::mem::take(&mut frame.count);
        let place = Place { messages, last: frame.last, ..Place::message(lane, epoch, first) };
        self.event(start, &lane.topic, &lane.id, place);
    }

    /// Takes finished events out again; answers how many messages were in them.
    pub(super) fn remove(&mut self, gone: impl Fn(&Event) -> bool) -> u64 {
        let removed = remove_events(&mut self.bytes, &mut self.events, gone);
        self.count -= removed.entries;
        self.messages -= removed.messages;
        removed.messages
    }

    /// Finishes the batch and begins a new one in the buffers of an old one.
    pub(super) fn close(&mut self, id: BatchId, lanes: &mut Lanes, spare: Batch) -> Closed {
        let mut frames = std::mem::take(&mut self.frames);
        for index in frames.drain(..) {
            // The place may have gone to another lane since.
            if let Some(lane) = lanes.get_mut(index)
                && lane.class == self.class
            {
                self.flush_frame(lane);
            }
        }
        self.frames = frames;
        self.count = 0;
        let batch = Batch {
            id,
            bytes: std::mem::replace(&mut self.bytes, spare.bytes),
            events: std::mem::replace(&mut self.events, spare.events),
        };
        Closed {
            batch: Arc::new(batch),
            ordered: std::mem::take(&mut self.ordered),
            messages: std::mem::take(&mut self.messages),
            origin: Origin::Memory,
            since: self.since,
        }
    }

    fn enter(&mut self, now: Time, ordered: bool, messages: u64) {
        if self.count == 0 {
            self.since = now;
        }
        self.count += 1;
        self.messages += messages;
        self.ordered |= ordered;
    }

    fn element(
        &mut self,
        index: u32,
        lane: &mut Lane,
        epoch: u64,
        seq: u64,
        time: &TimeText,
        render: impl FnOnce(&mut Vec<u8>),
    ) {
        if lane.frame.as_ref().is_some_and(|frame| frame.count > 0 && frame.epoch != epoch) {
            self.flush_frame(lane);
        }
        let frame = lane.frame.get_or_insert_default();
        let before = frame.elements.len();
        if frame.count == 0 {
            self.frames.push(index);
            frame.epoch = epoch;
            frame.first = seq;
            frame.time = Some(*time);
        } else {
            frame.elements.push(b',');
        }
        render(&mut frame.elements);
        frame.last = seq;
        frame.count += 1;
        self.frame_bytes += frame.elements.len() - before;
    }

    fn event(&mut self, start: usize, topic: &Arc<str>, connection: &ConnectionId, place: Place) {
        self.events.push(Event {
            topic: topic.clone(),
            connection: connection.clone(),
            kind: place.kind,
            epoch: place.epoch,
            first_seq: place.first,
            last_seq: place.last,
            messages: place.messages,
            relaxed: place.relaxed,
            range: start..self.bytes.len(),
        });
    }
}

impl Place {
    pub(super) const fn message(lane: &Lane, epoch: u64, seq: u64) -> Self {
        let relaxed = !lane.ordered;
        Place { kind: EventKind::Message, epoch, first: seq, last: seq, messages: 1, relaxed }
    }

    pub(super) const fn record(kind: EventKind, (epoch, seq): (u64, u64)) -> Self {
        Place { kind, epoch, first: seq, last: seq, messages: 0, relaxed: false }
    }
}

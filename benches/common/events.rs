//! Batches as a shard makes them, rendered before the clock runs.

use super::message;
use std::sync::Arc;
use websocket_manager::{
    core::{
        correlation::Kind,
        id::ConnectionId,
        publish::batch::{Batch, BatchId, Event, EventKind},
        time::Wall,
    },
    wire::event::{Format, LanePrefix, Stamp, TimeText, append_frame_element, append_frames, append_message},
};

pub const MESSAGE_BYTES: usize = 256;
pub const TOPIC: &str = "ticks";

#[derive(Clone, Copy)]
pub struct Shape {
    /// Connections that the events belong to, in turn.
    pub lanes: usize,
    pub events: usize,
    /// Messages in one event: `frames` if more than one, else the default format.
    pub messages: usize,
    pub relaxed: bool,
}

/// `count` batches of one shape; each lane's numbers go on from one to the next.
pub fn batches(count: usize, shape: Shape) -> Vec<Arc<Batch>> {
    let mut lanes: Vec<Lane> = (0..shape.lanes).map(|number| Lane::new(number, shape)).collect();
    let mut batch = |id: usize| {
        let mut batch = Batch { id: BatchId(id as u64), bytes: Vec::new(), events: Vec::new() };
        for event in 0..shape.events {
            lanes[event % shape.lanes].append(&mut batch, shape);
        }
        Arc::new(batch)
    };
    (0..count).map(&mut batch).collect()
}

struct Lane {
    id: ConnectionId,
    topic: Arc<str>,
    prefix: LanePrefix,
    seq: u64,
    time: TimeText,
    elements: Vec<u8>,
}

impl Lane {
    fn new(number: usize, shape: Shape) -> Self {
        let id = ConnectionId::parse(&format!("bench-connection-{number:06}")).expect("valid");
        let format = if shape.messages > 1 { Format::Frames } else { Format::Envelope };
        let prefix = LanePrefix::new(format, &id, "ws://127.0.0.1:9/feed");
        let time = TimeText::at(Wall::from_unix_nanos(1_700_000_000_123_456_000));
        Lane { id, topic: TOPIC.into(), prefix, seq: 0, time, elements: Vec::new() }
    }

    fn append(&mut self, batch: &mut Batch, shape: Shape) {
        let (start, first) = (batch.bytes.len(), self.seq + 1);
        self.elements.clear();
        for _ in 0..shape.messages {
            self.seq += 1;
            let stamp = Stamp { epoch: 1, seq: self.seq, ..Stamp::default() };
            let text = message(&format!("{:08}", self.seq), MESSAGE_BYTES);
            if shape.messages == 1 {
                let out = &mut batch.bytes;
                append_message(out, &self.prefix, &stamp, &self.time, Kind::Text, text.as_bytes());
                continue;
            }
            if !self.elements.is_empty() {
                self.elements.push(b',');
            }
            append_frame_element(&mut self.elements, &stamp, &self.time, Kind::Text, text.as_bytes());
        }
        if shape.messages > 1 {
            let ends = (first, self.seq);
            append_frames(&mut batch.bytes, &self.prefix, 1, ends, &self.time, &self.elements);
        }
        batch.events.push(Event {
            topic: self.topic.clone(),
            connection: self.id.clone(),
            kind: EventKind::Message,
            epoch: 1,
            first_seq: first,
            last_seq: self.seq,
            messages: shape.messages as u32,
            relaxed: shape.relaxed,
            range: start..batch.bytes.len(),
        });
    }
}

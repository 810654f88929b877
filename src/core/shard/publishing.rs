//! Between a connection and its topic: lanes, gap records, and reads that pause when nothing more
//! can be kept.

use super::{Handle, ShardCore, follow::Marks};
use crate::core::{
    connection::Phase,
    id::{ConnKey, ConnectionId, Ticket},
    io::{Answer, Effect, Effects},
    publish::{
        self, Action,
        batch::{BatchId, PublishError},
    },
    reason::{Fault, FaultKind, GapCause},
    ring::RecordKind,
    sequence::{End, Gap},
    time::Now,
};

impl ShardCore {
    pub(super) fn start_publish(
        &mut self,
        now: Now,
        ticket: Ticket,
        id: &ConnectionId,
        spec: publish::Spec,
        fx: &mut Effects,
    ) -> Option<Handle> {
        let found = self.find_mut(id).and_then(|(key, connection)| {
            if matches!(connection.phase, Phase::Dead) {
                return Err(Fault::new(FaultKind::NotOpen, "the connection has ended; Connect it again"));
            }
            let same = connection.publish.as_deref() == Some(&spec);
            Ok((
                key,
                same,
                connection.numbering.epoch(),
                connection.numbering.next_seq(),
                connection.published_topic.as_ref().is_none_or(|topic| *topic == spec.topic),
                connection.published_seq,
            ))
        });
        match found {
            Ok((key, same, epoch, next_seq, same_topic, published)) => {
                let answer = Answer::Publishing { epoch, next_seq };
                if same {
                    self.answer(ticket, Ok(answer), fx);
                    return None;
                }
                self.close_lane(now, key);
                self.open_lane(key, spec);
                // A topic that is not the last one lacks more than this connection knows of.
                let from_seq = same_topic.then_some(published);
                let first_missing = from_seq.map_or(1, |last| last + 1);
                if next_seq > first_missing {
                    let count = from_seq.map(|last| next_seq - last - 1);
                    let to = Some((epoch, next_seq));
                    let gap = Gap { from: (epoch, from_seq), to, cause: GapCause::NotPublished, count };
                    self.gap_to_lane(now, key, &gap);
                }
                self.persist_then(key, ticket, answer, fx);
            }
            Err(fault) => self.answer(ticket, Err(fault), fx),
        }
        None
    }

    pub(super) fn stop_publish(
        &mut self,
        now: Now,
        ticket: Ticket,
        id: &ConnectionId,
        fx: &mut Effects,
    ) -> Option<Handle> {
        match self.check_at_home(id).and_then(|()| self.find(id)) {
            Ok(key) => {
                let was = self.connections.get_mut(key).and_then(|connection| connection.publish.take());
                self.close_lane(now, key);
                if was.is_some() {
                    self.persist_then(key, ticket, Answer::Done, fx);
                } else {
                    self.answer(ticket, Ok(Answer::Done), fx);
                }
            }
            Err(fault) => self.answer(ticket, Err(fault), fx),
        }
        None
    }

    pub(super) fn open_lane(&mut self, key: ConnKey, spec: publish::Spec) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let url = connection.spec.dial.target.redacted();
        let lane = self.publisher.open_lane(&connection.id, &url, spec.clone());
        connection.published_topic = Some(spec.topic.clone());
        connection.publish = Some(Box::new(spec));
        connection.lane = Some(lane);
        self.lanes.insert(lane, key);
    }

    /// What was taken for the lane still leaves.
    pub(super) fn close_lane(&mut self, now: Now, key: ConnKey) {
        if let Some(lane) = self.connections.get_mut(key).and_then(|connection| connection.lane.take()) {
            self.publisher.close_lane(now, lane);
            self.lanes.remove(&lane);
            if let Some(connection) = self.connections.get_mut(key)
                && std::mem::take(&mut connection.reads_paused)
                && connection.is_open()
                && !connection.is_silent()
            {
                connection.rested(now.mono);
                self.resumed.push(connection.socket(key));
            }
        }
    }

    /// Announces a gap to the topic and to followers.
    pub(super) fn gap(&mut self, now: Now, key: ConnKey, gap: &Gap) {
        self.gap_to_lane(now, key, gap);
        self.gap_to_followers(now, key, gap);
    }

    pub(super) fn gap_to_followers(&mut self, now: Now, key: ConnKey, gap: &Gap) {
        let mut payload = Vec::new();
        gap.encode(&mut payload);
        self.keep(now, key, RecordKind::Gap, gap.place(), Marks::default(), &payload);
    }

    fn gap_to_lane(&mut self, now: Now, key: ConnKey, gap: &Gap) {
        self.counters.gaps[gap.cause.index()] += 1;
        if let Some(lane) = self.connections.get(key).and_then(|connection| connection.lane) {
            self.publisher.gap(now, lane, gap);
        }
    }

    /// The connection's end is in order: nothing is in doubt after its last message.
    pub(super) fn end_marker(&mut self, now: Now, key: ConnKey) {
        let Some(connection) = self.connections.get(key) else { return };
        let (epoch, last_seq, lane) =
            (connection.numbering.epoch(), connection.numbering.last_seq(), connection.lane);
        if let Some(lane) = lane {
            self.publisher.end(now, lane, epoch, last_seq);
        }
        let mut payload = Vec::new();
        End { epoch, last_seq }.encode(&mut payload);
        self.keep(now, key, RecordKind::End, (epoch, last_seq), Marks::default(), &payload);
    }

    pub(super) fn pump_publisher(&mut self, now: Now, fx: &mut Effects) {
        fx.extend(self.resumed.drain(..).map(Effect::ResumeReads));
        while let Some(action) = self.publisher.poll(now) {
            match action {
                Action::Publish(batch) => fx.push(Effect::Publish(batch)),
                Action::Spill { id, record } => fx.push(Effect::Spill { id, record }),
                Action::PeekSpill => fx.push(Effect::PeekSpill),
                Action::PopSpill => fx.push(Effect::PopSpill),
                Action::PauseReads(lane) => self.pause(now, lane, true, fx),
                Action::ResumeReads(lane) => self.pause(now, lane, false, fx),
            }
        }
    }

    fn pause(&mut self, now: Now, lane: publish::LaneKey, paused: bool, fx: &mut Effects) {
        let Some(&key) = self.lanes.get(&lane) else { return };
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.reads_paused == paused {
            return;
        }
        // Kept while the socket is away: the next one of a paused lane must not read either.
        connection.reads_paused = paused;
        self.counters.reads_paused += u64::from(paused);
        connection.rested(now.mono);
        if connection.is_open() && !connection.is_silent() {
            let socket = connection.socket(key);
            fx.push(if paused { Effect::PauseReads(socket) } else { Effect::ResumeReads(socket) });
        }
    }

    pub fn published(&mut self, now: Now, batch: BatchId, result: Result<(), PublishError>) {
        self.publisher.published(now, batch, result);
    }

    pub fn spilled(&mut self, now: Now, batch: BatchId, result: Result<bool, ()>) {
        self.publisher.spilled(now, batch, result);
    }

    /// The oldest record of the spill log, or that it is empty, or that it cannot be read.
    pub fn peeked(&mut self, now: Now, record: Result<Option<&[u8]>, ()>) {
        self.publisher.unspilled(now, record);
    }

    pub fn popped(&mut self, now: Now, result: Result<(), ()>) {
        self.publisher.popped(now, result);
    }
}

//! Messages and records while the bus is slow: what waits in a lane's room, what is dropped, and the
//! gap records that are held back until they can stand in their place.

use super::{Publisher, Taken};
use crate::{
    core::{
        correlation::Kind,
        id::ConnectionId,
        publish::{
            batch::EventKind,
            bounds::Overflow,
            gaps::{gap_of, push_bounded},
            lane::Class,
            open::Place,
            overflow::{Lost, Room, Waiting},
        },
        reason::{DropReason, GapCause},
        sequence::Gap,
        time::Now,
    },
    wire::event::{LanePrefix, Stamp, append_end, append_frame_element, append_gap, append_message},
};

impl Publisher {
    pub(super) fn message_in_congestion(
        &mut self,
        now: Now,
        index: u32,
        stamp: Stamp,
        kind: Kind,
        payload: &[u8],
    ) -> Taken {
        let over = self.over;
        let Some(lane) = self.lanes.get_mut(index) else { return Taken::NoLane };
        if lane.has_room() && (over || lane.room_used()) {
            self.wait(now, index, stamp, kind, payload);
            return Taken::Waiting;
        }
        if over && lane.overflow == Overflow::DropNewest {
            let gap = gap_of(stamp.epoch, stamp.seq, stamp.seq, GapCause::OverflowDropNewest, 1);
            push_bounded(&mut lane.gaps, gap);
            self.hold(index);
            self.counters.drop(DropReason::OverflowDropNewest, 1);
            return Taken::Dropped(DropReason::OverflowDropNewest);
        }
        self.release_gaps(now, index);
        self.append(now, index, &stamp, kind, payload);
        Taken::Queued
    }

    pub(super) fn wait(&mut self, now: Now, index: u32, stamp: Stamp, kind: Kind, payload: &[u8]) {
        let time = self.clock.at(now.wall);
        let Some(lane) = self.lanes.get_mut(index) else { return };
        let mut rendered = Vec::new();
        if lane.frames() {
            append_frame_element(&mut rendered, &stamp, &time, kind, payload);
        } else {
            let prefix = LanePrefix::new(lane.format, &lane.id, &lane.url);
            append_message(&mut rendered, &prefix, &stamp, &time, kind, payload);
        }
        let key = match &lane.overflow {
            Overflow::KeepLatest { key: Some(pointer) } => (self.key_of)(payload, pointer).map(Into::into),
            Overflow::KeepLatest { key: None } => Some(Box::default()),
            _ => None,
        };
        let waiting = Waiting { epoch: stamp.epoch, seq: stamp.seq, time, rendered: rendered.into(), key };
        let bound = self.bounds.lane_wait_bytes;
        let (reason, cause) = lane.loss();
        let room = lane.room.get_or_insert_with(|| Box::new(Room::new(bound, cause)));
        // Gaps that waited came before everything in the room.
        let mut lost = Lost::default();
        for gap in lane.gaps.drain(..) {
            lost = room.push_gap(gap).and(lost);
        }
        lost = room.push(waiting).and(lost);
        self.hold(index);
        self.count_lost(reason, lost);
    }

    pub(super) fn gap_in(&mut self, now: Now, index: u32, gap: &Gap) {
        let (over, full) = (self.over, self.spill.full);
        let Some(lane) = self.lanes.get_mut(index) else { return };
        if lane.room_used()
            && let Some(room) = &mut lane.room
        {
            let lost = room.push_gap(*gap);
            let (reason, _) = lane.loss();
            self.count_lost(reason, lost);
        } else if over || (full && lane.class == Class::Spill) {
            push_bounded(&mut lane.gaps, *gap);
            self.hold(index);
        } else {
            self.release_gaps(now, index);
            self.put_gap(now, index, gap);
        }
    }

    pub(super) fn hold(&mut self, index: u32) {
        if let Some(lane) = self.lanes.get_mut(index)
            && !lane.held
        {
            lane.held = true;
            self.held[lane.class as usize].push_back(index);
        }
    }

    /// Publishes the gap records that a lane held back.
    pub(super) fn release_gaps(&mut self, now: Now, index: u32) {
        let Some(lane) = self.lanes.get_mut(index) else { return };
        for gap in std::mem::take(&mut lane.gaps) {
            self.put_gap(now, index, &gap);
        }
    }

    pub(super) fn put_gap(&mut self, now: Now, index: u32, gap: &Gap) {
        self.counters.gap_records[gap.cause.index()] += 1;
        let (number, time) = (self.take_record_number(), self.clock.at(now.wall));
        self.put_record(now, index, Place::record(EventKind::Gap, gap.place()), |out, id| {
            append_gap(out, id, number, &time, gap);
        });
    }

    pub(super) fn put_end(&mut self, now: Now, index: u32, epoch: u64, last_seq: u64) {
        let time = self.clock.at(now.wall);
        self.put_record(now, index, Place::record(EventKind::End, (epoch, last_seq)), |out, id| {
            append_end(out, id, &time, epoch, last_seq);
        });
    }

    pub(super) fn put_record(
        &mut self,
        now: Now,
        index: u32,
        place: Place,
        render: impl FnOnce(&mut Vec<u8>, &ConnectionId),
    ) {
        let Some(lane) = self.lanes.get_mut(index) else { return };
        let class = lane.class;
        let open = &mut self.open[class as usize];
        open.flush_frame(lane);
        open.record(now.mono, &lane.record_topic, &lane.id, place, |out| render(out, &lane.id));
        self.close_if_full(class);
    }

    pub(super) fn count_lost(&mut self, reason: DropReason, lost: Lost) {
        self.counters.drop(reason, lost.messages);
        self.counters.ends_dropped += lost.ends;
    }
}

//! One connection's way to one topic.

use super::{
    bounds::{Gaps, Ordering, Overflow, Spec},
    overflow::Room,
};
use crate::{
    core::{
        id::ConnectionId,
        reason::{DropReason, GapCause},
        sequence::Gap,
    },
    wire::event::Format,
};
use std::{collections::BTreeMap, sync::Arc};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneKey {
    index: u32,
    generation: u32,
}

/// Lanes of one class share batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Spill = 0,
    Direct = 1,
}

impl Class {
    pub(super) const BOTH: [Class; 2] = [Class::Spill, Class::Direct];
}

/// Messages of a `frames` lane that will be one event of the open batch.
#[derive(Debug, Default)]
pub(super) struct Frame {
    pub elements: Vec<u8>,
    pub epoch: u64,
    pub first: u64,
    pub last: u64,
    pub count: u32,
    pub time: Option<crate::wire::event::TimeText>,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub id: ConnectionId,
    pub topic: Arc<str>,
    /// Where gap records and end markers go.
    pub record_topic: Arc<str>,
    pub format: Format,
    /// Redacted. What messages begin with is rendered from it when the lane's turn comes: kept for
    /// each lane it would be the largest part of an idle connection.
    pub url: Box<str>,
    /// Tells this lane from every other one that its publisher has had.
    pub serial: u64,
    pub overflow: Overflow,
    pub class: Class,
    pub ordered: bool,
    /// Made by the first message of a lane of frames.
    pub frame: Option<Box<Frame>>,
    /// Records that wait for the lane's next accepted message or for the congestion to end.
    pub gaps: Vec<Gap>,
    /// Messages that wait, for lanes that drop their oldest or keep their latest.
    pub room: Option<Box<Room>>,
    /// Stands in the publisher's list of lanes that hold something back.
    pub held: bool,
    pub paused: bool,
    /// Epoch and seq of the newest message.
    pub last: (u64, u64),
}

impl Lane {
    pub(super) fn new(
        id: &ConnectionId,
        redacted_url: &str,
        spec: Spec,
        lifecycle: &Arc<str>,
        spill: bool,
    ) -> Self {
        let record_topic = match spec.gaps {
            Gaps::InBand => spec.topic.clone(),
            Gaps::Lifecycle => lifecycle.clone(),
        };
        let class = match spec.overflow {
            Overflow::Spill if spill => Class::Spill,
            _ => Class::Direct,
        };
        Lane {
            id: id.clone(),
            topic: spec.topic,
            record_topic,
            format: spec.format,
            url: redacted_url.into(),
            serial: 0,
            overflow: spec.overflow,
            class,
            ordered: spec.ordering == Ordering::Ordered,
            frame: None,
            gaps: Vec::new(),
            room: None,
            held: false,
            paused: false,
            last: (0, 0),
        }
    }

    pub(super) fn frames(&self) -> bool {
        self.format == Format::Frames
    }

    /// Loses messages rather than slowing its connection down.
    pub(super) fn drops(&self) -> bool {
        !matches!(self.overflow, Overflow::Spill | Overflow::Pause)
    }

    /// What its waiting room loses is lost for this reason, and leaves this gap.
    pub(super) fn loss(&self) -> (DropReason, GapCause) {
        match self.overflow {
            Overflow::KeepLatest { .. } => (DropReason::OverflowKeepLatest, GapCause::OverflowKeepLatest),
            _ => (DropReason::OverflowDropOldest, GapCause::OverflowDropOldest),
        }
    }

    pub(super) fn has_room(&self) -> bool {
        matches!(self.overflow, Overflow::DropOldest | Overflow::KeepLatest { .. })
    }

    pub(super) fn room_used(&self) -> bool {
        self.room.as_ref().is_some_and(|room| !room.is_empty())
    }

    pub(super) fn holds_nothing(&self) -> bool {
        self.gaps.is_empty() && !self.room_used()
    }
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    /// Boxed: the vector may be twice as long as there are lanes.
    lane: Option<Box<Lane>>,
}

#[derive(Debug, Default)]
pub(super) struct Lanes {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The newest open lane of a connection.
    by_id: BTreeMap<ConnectionId, u32>,
    /// Lanes that there have been.
    inserted: u64,
}

impl Lanes {
    pub(super) fn insert(&mut self, mut lane: Lane) -> LaneKey {
        self.inserted += 1;
        lane.serial = self.inserted;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        self.by_id.insert(lane.id.clone(), index);
        let slot = &mut self.slots[index as usize];
        slot.lane = Some(Box::new(lane));
        LaneKey { index, generation: slot.generation }
    }

    pub(super) fn remove(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        let Some(lane) = slot.lane.take() else { return };
        slot.generation = slot.generation.wrapping_add(1);
        if self.by_id.get(&lane.id) == Some(&index) {
            self.by_id.remove(&lane.id);
        }
        self.free.push(index);
    }

    /// The place of an open lane.
    pub(super) fn find(&self, key: LaneKey) -> Option<u32> {
        let slot = self.slots.get(key.index as usize)?;
        (slot.generation == key.generation && slot.lane.is_some()).then_some(key.index)
    }

    pub(super) fn find_by_id(&self, id: &ConnectionId) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    pub(super) fn get(&self, index: u32) -> Option<&Lane> {
        self.slots.get(index as usize)?.lane.as_deref()
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Lane> {
        self.slots.get_mut(index as usize)?.lane.as_deref_mut()
    }

    pub(super) fn key(&self, index: u32) -> LaneKey {
        let generation = self.slots.get(index as usize).map_or(0, |slot| slot.generation);
        LaneKey { index, generation }
    }

    /// One more than the highest place.
    pub(super) fn places(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

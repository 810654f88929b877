//! What waits to be sent, by topic and lane, and which of it may go now.

use crate::core::{id::ConnectionId, publish::batch::Event};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// An event that must not be overtaken has a lane; a relaxed one has none.
const NO_LANE: u32 = u32::MAX;

/// One event under the scheduler's care: where it stands in the books and in the lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub slot: u32,
    pub index: u32,
    pub bytes: u32,
    topic: u32,
    lane: u32,
}

impl Item {
    /// Both belong to one lane: their order counts.
    pub(super) fn is_lane_mate(&self, other: &Item) -> bool {
        self.lane != NO_LANE && self.lane == other.lane
    }
}

/// How much one request may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub events: usize,
    pub bytes: usize,
    /// Of one lane: 1 where the component's bulk keeps no order.
    pub per_lane: usize,
}

#[derive(Debug, Default)]
struct Lane {
    connection: Option<ConnectionId>,
    topic: u32,
    queue: VecDeque<Item>,
    under_way: u32,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    lanes: HashMap<ConnectionId, u32>,
    /// Lanes with something to send and nothing under way.
    ready: VecDeque<u32>,
    relaxed: VecDeque<Item>,
    /// Items not settled yet: the topic is kept for so long.
    items: usize,
    /// Stands in `turns`.
    listed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Lanes {
    topics: Vec<Topic>,
    topics_free: Vec<u32>,
    names: HashMap<Arc<str>, u32>,
    lanes: Vec<Lane>,
    lanes_free: Vec<u32>,
    /// Topics that may have something to send; they take turns.
    turns: VecDeque<u32>,
}

impl Lanes {
    pub(super) fn push(&mut self, event: &Event, slot: u32, index: u32, bytes: u32) {
        let topic = self.topic_of(&event.topic);
        let mut item = Item { slot, index, bytes, topic, lane: NO_LANE };
        if event.relaxed {
            let topic = &mut self.topics[topic as usize];
            topic.items += 1;
            topic.relaxed.push_back(item);
        } else {
            item.lane = self.lane_of(topic, &event.connection);
            self.topics[topic as usize].items += 1;
            let lane = &mut self.lanes[item.lane as usize];
            lane.queue.push_back(item);
            if lane.under_way == 0 && lane.queue.len() == 1 {
                self.topics[topic as usize].ready.push_back(item.lane);
            }
        }
        self.list(topic);
    }

    pub(super) fn name(&self, item: &Item) -> Arc<str> {
        self.topics[item.topic as usize].name.clone()
    }

    /// The next request's items, of one topic, and a lane's together.
    pub(super) fn take(&mut self, room: Room, slots_free: usize) -> Option<Vec<Item>> {
        while let Some(index) = self.turns.pop_front() {
            let taken = self.take_of(index, room, slots_free);
            let topic = &mut self.topics[index as usize];
            topic.listed = false;
            if !topic.ready.is_empty() || !topic.relaxed.is_empty() {
                self.list(index);
            } else if topic.items == 0 {
                self.free_topic(index);
            }
            if !taken.is_empty() {
                return Some(taken);
            }
        }
        None
    }

    /// Something may be sent now.
    pub(super) fn has_ready(&self) -> bool {
        let topics = self.turns.iter().filter_map(|index| self.topics.get(*index as usize));
        topics.into_iter().any(|topic| !topic.ready.is_empty() || !topic.relaxed.is_empty())
    }

    fn take_of(&mut self, index: u32, room: Room, slots_free: usize) -> Vec<Item> {
        let topic = &mut self.topics[index as usize];
        let mut taken = Vec::new();
        let mut bytes = 0;
        // Few lanes are spread over the requests that may be under way at once, so that the
        // sidecar has work while an answer is on its way back.
        let spread = topic.ready.len().div_ceil(slots_free.max(1)).max(SPREAD_MIN);
        let for_lanes = if topic.relaxed.is_empty() { room.events } else { room.events.div_ceil(2) };
        let fits = |bytes: usize, item: &Item| bytes == 0 || bytes + item.bytes as usize <= room.bytes;
        let mut lanes = 0;
        while taken.len() < for_lanes && lanes < spread {
            let Some(&number) = topic.ready.front() else { break };
            let lane = &mut self.lanes[number as usize];
            let before = taken.len();
            let most = room.per_lane.min(for_lanes - before);
            while taken.len() - before < most
                && let Some(item) = lane.queue.pop_front_if(|item| fits(bytes, item))
            {
                bytes += item.bytes as usize;
                taken.push(item);
            }
            lane.under_way = (taken.len() - before) as u32;
            if lane.under_way == 0 {
                break;
            }
            topic.ready.pop_front();
            lanes += 1;
        }
        while taken.len() < room.events
            && let Some(item) = topic.relaxed.pop_front_if(|item| fits(bytes, item))
        {
            bytes += item.bytes as usize;
            taken.push(item);
        }
        taken
    }

    /// The item was taken by the bus or will never be: its lane goes on when nothing else of it is
    /// under way.
    pub(super) fn settle(&mut self, item: &Item) {
        self.topics[item.topic as usize].items -= 1;
        if item.lane != NO_LANE {
            let lane = &mut self.lanes[item.lane as usize];
            lane.under_way -= 1;
            if lane.under_way == 0 {
                if lane.queue.is_empty() {
                    self.free_lane(item.lane);
                } else {
                    self.topics[item.topic as usize].ready.push_back(item.lane);
                    self.list(item.topic);
                }
            }
        }
        let topic = &mut self.topics[item.topic as usize];
        if topic.items == 0 && !topic.listed {
            self.free_topic(item.topic);
        }
    }

    fn list(&mut self, index: u32) {
        let topic = &mut self.topics[index as usize];
        if !topic.listed {
            topic.listed = true;
            self.turns.push_back(index);
        }
    }

    fn topic_of(&mut self, name: &Arc<str>) -> u32 {
        if let Some(&index) = self.names.get(name) {
            return index;
        }
        let topic = Topic {
            name: name.clone(),
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            relaxed: VecDeque::new(),
            items: 0,
            listed: false,
        };
        let index = match self.topics_free.pop() {
            Some(index) => {
                self.topics[index as usize] = topic;
                index
            }
            None => {
                self.topics.push(topic);
                (self.topics.len() - 1) as u32
            }
        };
        self.names.insert(name.clone(), index);
        index
    }

    fn lane_of(&mut self, topic: u32, connection: &ConnectionId) -> u32 {
        if let Some(&lane) = self.topics[topic as usize].lanes.get(connection) {
            return lane;
        }
        let lane = self.lanes_free.pop().unwrap_or_else(|| {
            self.lanes.push(Lane::default());
            (self.lanes.len() - 1) as u32
        });
        let place = &mut self.lanes[lane as usize];
        place.connection = Some(connection.clone());
        place.topic = topic;
        self.topics[topic as usize].lanes.insert(connection.clone(), lane);
        lane
    }

    fn free_lane(&mut self, index: u32) {
        let lane = &mut self.lanes[index as usize];
        if let Some(connection) = lane.connection.take() {
            self.topics[lane.topic as usize].lanes.remove(&connection);
        }
        if lane.queue.capacity() > QUEUE_KEPT {
            lane.queue = VecDeque::new();
        }
        self.lanes_free.push(index);
    }

    fn free_topic(&mut self, index: u32) {
        let name = self.topics[index as usize].name.clone();
        if self.names.remove(&name).is_some() {
            self.topics_free.push(index);
        }
    }
}

/// Fewer lanes than this are not spread: a request has its own cost.
const SPREAD_MIN: usize = 16;
/// A lane's place keeps a queue up to this long for the next lane there.
const QUEUE_KEPT: usize = 64;

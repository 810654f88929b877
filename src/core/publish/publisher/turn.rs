//! What is to be done next.

use super::{Action, Publisher};
use crate::core::{
    publish::{bounds::Overflow, lane::Class, overflow::Entry, spill::Head},
    time::{Now, Time},
};

impl Publisher {
    /// Call until None, once per turn of the loop.
    pub fn poll(&mut self, now: Now) -> Option<Action> {
        self.settle(now);
        self.forget_superseded();
        self.next_pause().or_else(|| self.next_publish(now)).or_else(|| self.next_spill(now))
    }

    /// When `poll` has something to do though nothing happens.
    pub fn poll_timeout(&self) -> Option<Time> {
        let lingers = Class::BOTH.into_iter().filter(|class| self.may_close_early(*class));
        let linger = lingers.map(|class| self.open[class as usize].since() + self.bounds.linger).min();
        let head = match self.spill.head {
            Head::Done => Some(self.spill.head_at),
            Head::Unknown if self.may_send() => Some(self.spill.head_at),
            _ => None,
        };
        let offer = (self.spill.refused && self.wants_spill()).then_some(self.spill.offer_at);
        [linger, self.window.retry_time().filter(|_| !self.held_back), head, offer]
            .into_iter()
            .flatten()
            .min()
    }

    /// Follows the memory down: ends congestions and lets go of what lanes held back.
    fn settle(&mut self, now: Now) {
        let bound = self.bounds.queue_bytes;
        let queued = self.queued_bytes();
        self.over = queued > bound || (self.over && queued > bound / 2);
        if self.spill.enabled {
            // What is under way cannot spill. Did it count, a bus that is away would hold up reads
            // for as long as it is, though there is room on disk.
            let under_way = if queued > bound / 2 { self.window.bytes() } else { 0 };
            let queued = queued.saturating_sub(under_way);
            let offered = self.ready[Class::Spill as usize].is_empty() && self.spill.append.is_none();
            let eased = queued <= bound / 2 && (offered || !self.spill.is_active());
            self.spill.full = queued > bound.saturating_mul(2) || (self.spill.full && !eased);
        }
        for class in Class::BOTH {
            let congested = self.over || (class == Class::Spill && self.spill.full);
            if !congested {
                self.release_held(now, class);
            }
        }
    }

    fn release_held(&mut self, now: Now, class: Class) {
        while self.queued_bytes() <= self.bounds.queue_bytes / 2 {
            let Some(index) = self.held[class as usize].pop_front() else { return };
            self.release_gaps(now, index);
            self.release_room(now, index, self.bounds.queue_bytes / 2);
            let Some(lane) = self.lanes.get_mut(index) else { continue };
            if lane.holds_nothing() {
                lane.held = false;
            } else {
                self.held[class as usize].push_back(index);
            }
        }
    }

    /// Moves what waits in a lane's room to the queue, until that holds more than `bound`.
    pub(super) fn release_room(&mut self, now: Now, index: u32, bound: usize) {
        while self.queued_bytes() <= bound {
            let Some(lane) = self.lanes.get_mut(index) else { return };
            match lane.room.as_mut().and_then(|room| room.pop()) {
                Some(Entry::Message(waiting)) => {
                    let class = lane.class;
                    self.open[class as usize].rendered(
                        now.mono,
                        (index, lane),
                        (waiting.epoch, waiting.seq),
                        &waiting.time,
                        &waiting.rendered,
                    );
                    self.close_if_full(class);
                }
                Some(Entry::Gap(gap)) => self.put_gap(now, index, &gap),
                Some(Entry::End { epoch, last_seq }) => self.put_end(now, index, epoch, last_seq),
                None => {
                    lane.room = None;
                    return;
                }
            }
        }
    }

    /// Compares lanes with the state of the queues, one action at a time, after each change.
    fn next_pause(&mut self) -> Option<Action> {
        let state = (self.over, self.spill.full);
        if state != self.swept {
            self.swept = state;
            self.sweep = 0;
        }
        while self.sweep < self.lanes.places() {
            let index = self.sweep;
            self.sweep += 1;
            let Some(lane) = self.lanes.get_mut(index) else { continue };
            let wanted = match lane.overflow {
                Overflow::Spill if lane.class == Class::Spill => state.1,
                Overflow::Spill | Overflow::Pause => state.0,
                _ => false,
            };
            if lane.paused != wanted {
                lane.paused = wanted;
                let key = self.lanes.key(index);
                return Some(if wanted { Action::PauseReads(key) } else { Action::ResumeReads(key) });
            }
        }
        None
    }

    fn next_publish(&mut self, now: Now) -> Option<Action> {
        if !self.held_back
            && let Some(batch) = self.window.resend(now.mono)
        {
            return Some(Action::Publish(batch));
        }
        for class in Class::BOTH {
            let due = self.draining || now.mono >= self.open[class as usize].since() + self.bounds.linger;
            if due && self.may_close_early(class) {
                self.close(class);
            }
        }
        if !self.may_send() {
            return None;
        }
        let spilled = match &self.spill.head {
            Head::Loaded(closed) => Some(closed.batch.id),
            _ if self.spill.is_active() => None,
            _ => self.ready[Class::Spill as usize].front().map(|closed| closed.batch.id),
        };
        let direct = self.ready[Class::Direct as usize].front().map(|closed| closed.batch.id);
        let class = match (spilled, direct) {
            (None, None) => return None,
            (Some(spilled), Some(direct)) if direct < spilled => Class::Direct,
            (None, Some(_)) => Class::Direct,
            _ => Class::Spill,
        };
        let mut closed = match (class, std::mem::replace(&mut self.spill.head, Head::Empty)) {
            (Class::Spill, Head::Loaded(closed)) => {
                self.spill.head = Head::Flying(closed.batch.id);
                closed
            }
            (class, head) => {
                self.spill.head = head;
                self.ready[class as usize].pop_front()?
            }
        };
        if class == Class::Spill {
            self.name_last(&mut closed);
        }
        self.counters.waited.record(now.mono.since(closed.since));
        Some(Action::Publish(self.window.send(closed)))
    }

    /// Whether a batch that is not full would leave at once, were it closed.
    fn may_close_early(&self, class: Class) -> bool {
        !self.open[class as usize].is_empty()
            && self.ready[class as usize].is_empty()
            && self.may_send()
            && !(class == Class::Spill && self.spill.is_active())
    }

    /// Whether a batch that was never sent may go now.
    fn may_send(&self) -> bool {
        !self.held_back && self.window.is_open()
    }

    fn next_spill(&mut self, now: Now) -> Option<Action> {
        if !self.spill.enabled {
            return None;
        }
        if matches!(self.spill.head, Head::Done) && now.mono >= self.spill.head_at {
            self.spill.head = Head::Popping;
            return Some(Action::PopSpill);
        }
        let offered = !self.spill.refused || now.mono >= self.spill.offer_at;
        if offered && self.wants_spill() {
            let closed = self.ready[Class::Spill as usize].pop_front()?;
            let (id, record) = (closed.batch.id, closed.batch.encode());
            self.spill.append = Some(closed);
            return Some(Action::Spill { id, record });
        }
        let peek = matches!(self.spill.head, Head::Unknown) && now.mono >= self.spill.head_at;
        if peek && self.may_send() {
            self.spill.head = Head::Peeking;
            self.spill.peeked_over = self.spill.own.len();
            return Some(Action::PeekSpill);
        }
        None
    }

    /// Whether the oldest batch of the spilling lanes belongs on disk.
    fn wants_spill(&self) -> bool {
        self.spill.append.is_none()
            && !self.ready[Class::Spill as usize].is_empty()
            && (self.over || self.spill.holds())
    }
}

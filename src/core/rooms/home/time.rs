//! What the clock brings to a home: numbers that were promised and do not come, holes, age, and the
//! end of rooms that nobody needs.

use super::*;

impl Homes {
    pub fn expire(&mut self, now: Now, fx: &mut Effects) {
        while let Some(&(at, key)) = self.due.first()
            && at <= now.mono
        {
            self.due.pop_first();
            if let Some(home) = self.rooms.get_mut(key) {
                home.due = None;
            }
            self.look(now, key, fx);
        }
    }

    pub(super) fn look(&mut self, now: Now, key: HomeKey, fx: &mut Effects) {
        self.give_up_reserved(now, key, fx);
        let Some(home) = self.rooms.get_mut(key) else { return };
        let missing = !home.ahead.is_empty() || home.at < home.target;
        if missing && !home.refilling && matches!(home.outside, Outside::Heard) {
            self.refill(now, key, fx);
            return;
        }
        Self::count_ring(home, &mut self.kept_bytes, |ring| ring.expire(now.mono));
        let wanted = !home.shards.is_empty()
            || !home.followers.is_empty()
            || !home.queue.is_empty()
            || home.refilling
            || matches!(home.outside, Outside::Asked(_));
        if wanted {
            let next = home.ring.next_expiry().unwrap_or(Time::FAR);
            let reserved = home.queue.front().and_then(|queued| queued.message.as_ref().err().copied());
            let next = reserved.map_or(next, |until| until.min(next));
            if next < Time::FAR {
                self.look_at(key, next.max(now.mono + Duration::from_millis(1)));
            }
            return;
        }
        if self.numbered_outside && matches!(home.outside, Outside::Heard) {
            home.outside = Outside::Silent;
            fx.push(Effect::Room(RoomEffect::Unsubscribe(home.name.clone())));
            // What comes from now on is not heard: what is kept here would have a hole after it.
            Self::count_ring(home, &mut self.kept_bytes, Ring::clear);
        }
        match home.ring.next_expiry() {
            Some(next) => self.look_at(key, next.max(now.mono + Duration::from_millis(1))),
            None => self.collect(key),
        }
    }

    pub(super) fn give_up_reserved(&mut self, now: Now, key: HomeKey, fx: &mut Effects) {
        while let Some(home) = self.rooms.get_mut(key)
            && let Some(Queued { at, message: Err(until) }) = home.queue.front()
        {
            let (at, until) = (*at, *until);
            if until > now.mono {
                return self.look_at(key, until);
            }
            home.queue.pop_front();
            let to = Position { offset: at.offset + 1, ..at };
            self.announce(key, to, RoomGapCause::Lost, fx);
            self.skip_to(key, at);
            self.drain_queue(now, key, fx);
        }
    }

    /// Nobody is in the room and nothing is kept of it.
    pub(super) fn collect(&mut self, key: HomeKey) {
        let Some(home) = self.rooms.remove(key) else { return };
        self.kept_bytes -= home.ring.bytes();
        self.by_name.remove(&home.name);
        self.used.remove(&(home.used, key));
        if let Some(due) = home.due {
            self.due.remove(&(due, key));
        }
        self.epoch_floor = self.epoch_floor.max(home.at.epoch.saturating_add(1));
    }
}

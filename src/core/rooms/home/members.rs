//! Who hears a room at its home: shards with members, followers, and those who come back.

use super::*;

impl Homes {
    pub fn enter(
        &mut self,
        now: Now,
        shard: u32,
        name: &RoomName,
        seat: SeatKey,
        after: Option<Position>,
        fx: &mut Effects,
    ) {
        let key = match self.open(now, name) {
            Ok(key) => key,
            Err(fault) => return entered(shard, name, seat, Err(fault), fx),
        };
        let Some(home) = self.rooms.get_mut(key) else { return };
        if !home.shards.contains(&shard) {
            home.shards.push(shard);
        }
        match &mut home.outside {
            Outside::Heard => self.admit(now, key, shard, seat, after, fx),
            Outside::Asked(waiting) => waiting.push(Waiting::Enter { shard, seat, after }),
            Outside::Silent => {
                home.outside = Outside::Asked(vec![Waiting::Enter { shard, seat, after }]);
                fx.push(Effect::Room(RoomEffect::Subscribe(name.clone())));
            }
        }
    }

    pub(super) fn admit(
        &mut self,
        now: Now,
        key: HomeKey,
        shard: u32,
        seat: SeatKey,
        after: Option<Position>,
        fx: &mut Effects,
    ) {
        let Some(home) = self.rooms.get_mut(key) else { return };
        let Some(after) = after else {
            let outcome = Entered { head: home.at, missed: None };
            return entered(shard, &home.name, seat, Ok(outcome), fx);
        };
        Self::count_ring(home, &mut self.kept_bytes, |ring| ring.expire(now.mono));
        let missed = home.ring.since(Some(after), usize::MAX);
        if missed.recovered || !self.numbered_outside {
            let outcome = Entered { head: home.at, missed: Some(missed) };
            return entered(shard, &home.name, seat, Ok(outcome), fx);
        }
        let name = home.name.clone();
        self.ask(Asked::Resume { home: key, shard, seat, after }, name, Some(after), fx);
    }

    pub fn exit(&mut self, now: Now, shard: u32, name: &RoomName) {
        let Some(&key) = self.by_name.get(name) else { return };
        if let Some(home) = self.rooms.get_mut(key) {
            home.shards.retain(|known| *known != shard);
        }
        self.look_at(key, now.mono + limits::ROOM_LINGER);
    }

    pub fn history(
        &mut self,
        now: Now,
        ticket: Ticket,
        name: &RoomName,
        after: Option<Position>,
        limit: usize,
        fx: &mut Effects,
    ) {
        let key = self.by_name.get(name).copied();
        if let Some(key) = key {
            self.expire_ring(now, key);
        }
        let Some(home) = key.and_then(|key| self.rooms.get(key)) else {
            let kept = Kept { recovered: after.is_none(), ..Kept::default() };
            return answer(ticket, Ok(RoomAnswer::Kept(Box::new(kept))), fx);
        };
        let kept = home.ring.since(after, limit);
        answer(ticket, Ok(RoomAnswer::Kept(Box::new(kept))), fx);
    }

    /// True: it waits.
    pub fn follow(
        &mut self,
        now: Now,
        ticket: Ticket,
        name: &RoomName,
        after: Option<Position>,
        limit: usize,
        fx: &mut Effects,
    ) -> bool {
        let key = match self.open(now, name) {
            Ok(key) => key,
            Err(fault) => {
                answer(ticket, Err(fault), fx);
                return false;
            }
        };
        let Some(home) = self.rooms.get_mut(key) else { return false };
        let from_now = after.is_none();
        let follower = Follower { ticket, after: after.unwrap_or(home.at), limit };
        match &mut home.outside {
            Outside::Heard => self.park(now, key, follower, from_now, fx),
            Outside::Asked(waiting) => {
                waiting.push(Waiting::Follow(follower, from_now));
                true
            }
            Outside::Silent => {
                home.outside = Outside::Asked(vec![Waiting::Follow(follower, from_now)]);
                fx.push(Effect::Room(RoomEffect::Subscribe(name.clone())));
                true
            }
        }
    }

    pub(super) fn park(
        &mut self,
        now: Now,
        key: HomeKey,
        mut follower: Follower,
        from_now: bool,
        fx: &mut Effects,
    ) -> bool {
        let outside = self.numbered_outside;
        let Some(home) = self.rooms.get_mut(key) else { return false };
        if from_now {
            follower.after = home.at;
        }
        Self::count_ring(home, &mut self.kept_bytes, |ring| ring.expire(now.mono));
        let kept = home.ring.since(Some(follower.after), follower.limit);
        if !kept.recovered && outside {
            let Follower { ticket, after, limit } = follower;
            let name = home.name.clone();
            self.ask(Asked::History { ticket, limit }, name, Some(after), fx);
            return true;
        }
        if !kept.messages.is_empty() || !kept.recovered {
            answer(follower.ticket, Ok(RoomAnswer::Kept(Box::new(kept))), fx);
            return false;
        }
        if home.followers.len() >= limits::ROOM_FOLLOWERS_MAX {
            let full = Fault::full("too many follow this room here", Duration::from_secs(1));
            answer(follower.ticket, Err(full), fx);
            return false;
        }
        home.followers.push(follower);
        true
    }

    pub fn stop_following(&mut self, now: Now, ticket: Ticket) {
        self.asked
            .retain(|_, asked| !matches!(asked, Asked::History { ticket: known, .. } if *known == ticket));
        let mut left = None;
        for (key, home) in self.rooms.iter_mut() {
            let before = home.followers.len();
            home.followers.retain(|follower| follower.ticket != ticket);
            if let Outside::Asked(waiting) = &mut home.outside {
                waiting.retain(
                    |waiting| !matches!(waiting, Waiting::Follow(follower, _) if follower.ticket == ticket),
                );
            }
            if home.followers.len() < before {
                left = Some(key);
            }
        }
        if let Some(key) = left {
            self.look_at(key, now.mono + limits::ROOM_LINGER);
        }
    }
}

//! Rooms that something outside numbers: what comes is put in order, holes are asked for, and what
//! nobody keeps is announced.

use super::*;

impl Homes {
    pub(super) fn ask(&mut self, asked: Asked, room: RoomName, after: Option<Position>, fx: &mut Effects) {
        let ticket = self.next_asked;
        self.next_asked += 1;
        self.asked.insert(ticket, asked);
        fx.push(Effect::Room(RoomEffect::Since { ticket, room, after }));
    }

    /// The room is heard from now on; the last number before that.
    pub fn subscribed(
        &mut self,
        now: Now,
        name: &RoomName,
        head: Result<Position, String>,
        fx: &mut Effects,
    ) {
        let Some(&key) = self.by_name.get(name) else { return };
        let Some(home) = self.rooms.get_mut(key) else { return };
        let waiting = match std::mem::replace(&mut home.outside, Outside::Silent) {
            Outside::Asked(waiting) => waiting,
            other => {
                home.outside = other;
                return;
            }
        };
        match head {
            Ok(head) => {
                home.outside = Outside::Heard;
                self.skip_to(key, head);
                // Whoever asked may be gone by now.
                self.look_at(key, now.mono + limits::ROOM_LINGER);
                for waiting in waiting {
                    match waiting {
                        Waiting::Enter { shard, seat, after } => self.admit(now, key, shard, seat, after, fx),
                        Waiting::Follow(follower, from_now) => {
                            self.park(now, key, follower, from_now, fx);
                        }
                    }
                }
                self.advance(now, key, fx);
            }
            Err(why) => {
                home.ahead.clear();
                let fault =
                    Fault::new(FaultKind::Unavailable, format!("the room cannot be heard now: {why}"))
                        .with_certainty(Certainty::NotSent);
                for waiting in waiting {
                    match waiting {
                        Waiting::Enter { shard, seat, .. } => {
                            entered(shard, name, seat, Err(fault.clone()), fx)
                        }
                        Waiting::Follow(follower, _) => answer(follower.ticket, Err(fault.clone()), fx),
                    }
                }
                self.look_at(key, now.mono + limits::ROOM_LINGER);
            }
        }
    }

    /// The next message from outside, or one that came too early, late, or twice.
    pub fn arrived(
        &mut self,
        now: Now,
        name: &RoomName,
        at: Position,
        message: Arc<Message>,
        fx: &mut Effects,
    ) {
        let Some(&key) = self.by_name.get(name) else { return };
        self.counters.arrived += 1;
        if message.from.is_some() {
            return self.hand_on(now, key, at, message, fx);
        }
        let Some(home) = self.rooms.get_mut(key) else { return };
        if at <= home.at || matches!(home.outside, Outside::Silent) {
            // What comes after the end of a subscription would be kept with a hole behind it.
            self.counters.old += 1;
            return;
        }
        home.ahead.insert(at, message);
        self.touch(now, key);
        let Some(home) = self.rooms.get_mut(key) else { return };
        if home.ahead.len() <= limits::ROOM_AHEAD_MAX {
            return self.advance(now, key, fx);
        }
        if matches!(home.outside, Outside::Heard) {
            // Too much to hold: what is missing is announced, and it goes on. An answer that is still
            // to come finds nothing missing.
            home.refilling = false;
            return self.settle(now, key, fx);
        }
        // Asked for when the room is heard.
        home.ahead.pop_first();
    }

    /// What numbers the room was away, and its last number by now is this.
    pub fn resumed(&mut self, now: Now, name: &RoomName, head: Position, fx: &mut Effects) {
        let Some(&key) = self.by_name.get(name) else { return };
        let Some(home) = self.rooms.get_mut(key) else { return };
        if head > home.at && matches!(home.outside, Outside::Heard) {
            home.target = home.target.max(head);
            self.refill(now, key, fx);
        }
    }

    /// Hands on what has no hole before it.
    pub(super) fn advance(&mut self, now: Now, key: HomeKey, fx: &mut Effects) {
        loop {
            let Some(home) = self.rooms.get_mut(key) else { return };
            if !matches!(home.outside, Outside::Heard) || home.refilling {
                return;
            }
            let Some(entry) = home.ahead.first_entry() else { return };
            let at = *entry.key();
            if at <= home.at {
                entry.remove();
                continue;
            }
            let follows = at.epoch == home.at.epoch && at.offset == home.at.offset + 1;
            let begins = at.epoch > home.at.epoch && at.offset == 1;
            if !follows && !begins {
                return self.look_at(key, now.mono + limits::ROOM_HOLE_PATIENCE);
            }
            let message = entry.remove();
            if begins && home.at.offset > 0 {
                self.announce(key, at, RoomGapCause::NewEpoch, fx);
            }
            self.hand_on(now, key, at, message, fx);
        }
    }

    pub(super) fn refill(&mut self, now: Now, key: HomeKey, fx: &mut Effects) {
        let Some(home) = self.rooms.get_mut(key) else { return };
        if std::mem::replace(&mut home.refilling, true) {
            return;
        }
        self.counters.refills += 1;
        let (name, after) = (home.name.clone(), home.at);
        self.touch(now, key);
        self.ask(Asked::Refill { home: key }, name, Some(after), fx);
    }

    /// What the outside keeps, or that it cannot be asked.
    pub fn since(&mut self, now: Now, ticket: u64, kept: Result<Kept, String>, fx: &mut Effects) {
        match self.asked.remove(&ticket) {
            None => {}
            Some(Asked::Refill { home }) => self.refilled(now, home, kept, fx),
            Some(Asked::History { ticket, limit }) => {
                let short = |mut kept: Kept| {
                    kept.messages.truncate(limit);
                    RoomAnswer::Kept(Box::new(kept))
                };
                let outcome = kept.map(short).map_err(|why| {
                    Fault::new(
                        FaultKind::Unavailable,
                        format!("the room's history cannot be read now: {why}"),
                    )
                });
                answer(ticket, outcome, fx);
            }
            Some(Asked::Resume { home, shard, seat, after }) => {
                let Some(home) = self.rooms.get(home) else { return };
                let mut kept = kept.unwrap_or_default();
                // What is not delivered yet comes by itself; what came meanwhile is missed too.
                let name = home.name.clone();
                kept.messages
                    .retain(|message| message.at(&name).is_some_and(|at| at <= home.at && at > after));
                kept.head = home.at;
                let last = kept.messages.last().and_then(|message| message.at(&name)).unwrap_or(after);
                if last < home.at {
                    let late = home.ring.since(Some(last), usize::MAX);
                    kept.recovered &= late.recovered;
                    kept.messages.extend(late.messages);
                }
                let outcome = Entered { head: home.at, missed: Some(kept) };
                entered(shard, &name, seat, Ok(outcome), fx);
            }
        }
    }

    pub(super) fn refilled(&mut self, now: Now, key: HomeKey, kept: Result<Kept, String>, fx: &mut Effects) {
        let Some(home) = self.rooms.get_mut(key) else { return };
        home.refilling = false;
        let Ok(kept) = kept else {
            // Asked again after a while, as long as something is missing.
            return self.look_at(key, now.mono + limits::ROOM_REFILL_PAUSE);
        };
        let (name, before, head) = (home.name.clone(), home.at, kept.head);
        // Of one page its last is known to be kept, and nothing is known of what follows it.
        let full = kept.messages.len() >= limits::ROOM_HISTORY_LIMIT;
        let last = kept.messages.last().and_then(|message| message.at(&name));
        let known = last.filter(|_| full).unwrap_or(head);
        if known < head {
            home.target = home.target.max(head);
        } else if head >= home.target {
            home.target = Position::default();
        }
        for message in kept.messages {
            if let Some(at) = message.at(&name).filter(|at| *at > home.at) {
                home.ahead.insert(at, message);
            }
        }
        self.settle_up_to(now, key, known, fx);
        let Some(home) = self.rooms.get_mut(key) else { return };
        if home.at < known {
            // Numbers were given that nobody keeps.
            let cause = lost_or_new(home.at, known);
            let to = Position { offset: known.offset + 1, ..known };
            self.announce(key, to, cause, fx);
            self.skip_to(key, known);
            self.advance(now, key, fx);
        }
        let Some(home) = self.rooms.get_mut(key) else { return };
        // What came later than the answer, or was too much for one, is asked for again.
        if home.at > before && home.at < home.target {
            self.look_at(key, now.mono);
        } else if home.at < home.target {
            self.look_at(key, now.mono + limits::ROOM_REFILL_PAUSE);
        } else if !home.ahead.is_empty() && home.at > before {
            self.look_at(key, now.mono + limits::ROOM_HOLE_PATIENCE);
        } else {
            // Nobody knows more.
            self.settle(now, key, fx);
        }
    }

    /// Hands on everything that came; what is missing before it is lost, and announced.
    pub(super) fn settle(&mut self, now: Now, key: HomeKey, fx: &mut Effects) {
        let all = Position { epoch: u64::MAX, offset: u64::MAX };
        self.settle_up_to(now, key, all, fx);
    }

    /// The same for what came up to this number.
    fn settle_up_to(&mut self, now: Now, key: HomeKey, upto: Position, fx: &mut Effects) {
        loop {
            self.advance(now, key, fx);
            let Some(home) = self.rooms.get_mut(key) else { return };
            let Some((&at, _)) = home.ahead.first_key_value() else { return };
            if home.refilling || at > upto {
                return;
            }
            let Some(message) = home.ahead.remove(&at) else { return };
            let cause = lost_or_new(home.at, at);
            self.announce(key, at, cause, fx);
            self.hand_on(now, key, at, message, fx);
        }
    }
}

/// Why there is nothing between the two.
fn lost_or_new(from: Position, to: Position) -> RoomGapCause {
    if to.epoch > from.epoch { RoomGapCause::NewEpoch } else { RoomGapCause::Lost }
}

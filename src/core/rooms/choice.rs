//! Which instance of a fleet numbers a room: the one with the highest weight among those that live.
//! Views differ for a while when instances come and go, so who becomes first waits until nobody else
//! can believe the same of themselves: until the others have said that they see it and have handed
//! over what is its own, or for one lease.

use crate::{
    core::{fleet::weight_of, names::RoomName, time::Time},
    limits,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Who numbers a room now, as this instance sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seat {
    /// This instance.
    Mine,
    /// This instance, after this long. `handed`: somebody may hand the room over before.
    Soon { left: Duration, handed: bool },
    /// The instance of this incarnation.
    Other(Arc<str>),
}

/// What a look at the members showed.
#[derive(Debug, Default)]
pub struct Look {
    /// This instance lost its lease and is another run to the others.
    pub renamed: bool,
    pub changed: bool,
    /// Seen for the first time: they are told that they are seen.
    pub came: Vec<Arc<str>>,
}

/// A member that numbers no more, but did until lately.
#[derive(Debug)]
struct Former {
    until: Time,
    /// It said so, and hands its rooms over.
    leaves: bool,
    /// All that it had is handed over.
    done: bool,
}

#[derive(Debug)]
pub struct Choice {
    me: Arc<str>,
    since: Time,
    /// The others, and whether they have said that they see this run.
    others: BTreeMap<Arc<str>, bool>,
    former: BTreeMap<Arc<str>, Former>,
    leaving: bool,
    /// Without a look at the members nobody is alone.
    looked: bool,
}

impl Choice {
    pub fn new(me: Arc<str>, now: Time) -> Self {
        let (others, former) = (BTreeMap::new(), BTreeMap::new());
        Choice { me, since: now, others, former, leaving: false, looked: false }
    }

    /// `members`: the others whose leases live.
    pub fn look<'a>(
        &mut self,
        me: &Arc<str>,
        members: impl Iterator<Item = &'a Arc<str>>,
        now: Time,
    ) -> Look {
        let mut look = Look::default();
        if self.me != *me {
            let leaving = self.leaving;
            *self = Choice { leaving, ..Choice::new(me.clone(), now) };
            look.renamed = true;
            look.changed = true;
        }
        self.looked = true;
        let listed: Vec<&Arc<str>> = members.collect();
        let gone: Vec<Arc<str>> =
            self.others.keys().filter(|other| !listed.contains(other)).cloned().collect();
        for incarnation in gone {
            self.others.remove(&incarnation);
            let until = now + limits::LEASE;
            self.former.insert(incarnation, Former { until, leaves: false, done: false });
            look.changed = true;
        }
        // Who leaves is listed until its lease is over.
        self.former.retain(|incarnation, former| now < former.until || listed.contains(&incarnation));
        for incarnation in listed {
            let leaves = self.former.get(incarnation).is_some_and(|former| former.leaves);
            if leaves || *incarnation == self.me || self.others.contains_key(incarnation) {
                continue;
            }
            self.former.remove(incarnation);
            self.others.insert(incarnation.clone(), false);
            look.came.push(incarnation.clone());
            look.changed = true;
        }
        look
    }

    pub fn me(&self) -> &Arc<str> {
        &self.me
    }

    pub fn others(&self) -> impl Iterator<Item = &Arc<str>> {
        self.others.keys()
    }

    /// Those, and those that were until lately.
    pub fn known(&self) -> impl Iterator<Item = &Arc<str>> {
        self.others.keys().chain(self.former.keys())
    }

    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// From now on this instance numbers nothing, unless it is alone.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// It sees this run, and has handed over what is its own.
    pub fn settled(&mut self, from: &str) {
        if let Some(settled) = self.others.get_mut(from) {
            *settled = true;
        }
    }

    /// It leaves, and hands its rooms over; `done`: it has.
    pub fn left(&mut self, from: &Arc<str>, done: bool, now: Time) {
        self.others.remove(from);
        let until = now + limits::LEASE;
        let former = self.former.entry(from.clone()).or_insert(Former { until, leaves: true, done });
        former.leaves = true;
        former.done |= done;
    }

    /// The instance that is first for the room, whether it numbers already or not.
    pub fn first(&self, room: &RoomName) -> &Arc<str> {
        let mine = (!self.leaving || self.others.is_empty()).then_some(&self.me);
        let candidates = mine.into_iter().chain(self.others.keys());
        candidates.max_by_key(|incarnation| weight(room, incarnation)).unwrap_or(&self.me)
    }

    pub fn seat(&self, room: &RoomName, now: Time) -> Seat {
        let first = self.first(room);
        if *first != self.me {
            return Seat::Other(first.clone());
        }
        let start = self.since + limits::LEASE;
        if !self.looked || (now < start && self.others.values().any(|settled| !settled)) {
            return Seat::Soon { left: start.since(now), handed: true };
        }
        let mine = weight(room, &self.me);
        let waits = self.former.iter().filter(|(incarnation, former)| {
            !former.done && now < former.until && weight(room, incarnation) > mine
        });
        waits.fold(Seat::Mine, |seat, (_, former)| {
            let (known, handed) = match seat {
                Seat::Soon { left, handed } => (left, handed),
                _ => (Duration::ZERO, false),
            };
            Seat::Soon { left: known.max(former.until.since(now)), handed: handed || former.leaves }
        })
    }
}

fn weight(room: &RoomName, incarnation: &Arc<str>) -> (u64, Arc<str>) {
    (weight_of(room.as_str(), incarnation), incarnation.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn room(text: String) -> RoomName {
        RoomName::parse("room", &text).unwrap()
    }

    fn rooms() -> impl Iterator<Item = RoomName> {
        (0..200).map(|n| room(format!("room-{n}")))
    }

    fn seats(choice: &Choice, now: Time) -> (usize, usize, usize) {
        let (mut mine, mut soon, mut other) = (0, 0, 0);
        for room in rooms() {
            match choice.seat(&room, now) {
                Seat::Mine => mine += 1,
                Seat::Soon { .. } => soon += 1,
                Seat::Other(_) => other += 1,
            }
        }
        (mine, soon, other)
    }

    #[test]
    fn every_room_has_one_first_and_all_agree() {
        let all = names(&["a#1", "b#1", "c#1"]);
        let choices: Vec<Choice> = all
            .iter()
            .map(|me| {
                let mut choice = Choice::new(me.clone(), Time::ZERO);
                choice.look(me, all.iter(), Time::ZERO);
                choice
            })
            .collect();
        let mut counts = BTreeMap::new();
        for room in rooms() {
            let first = choices[0].first(&room);
            assert!(choices.iter().all(|choice| choice.first(&room) == first));
            *counts.entry(first.clone()).or_insert(0) += 1;
        }
        assert!(counts.len() == 3 && counts.values().all(|count| *count > 40), "{counts:?}");
    }

    #[test]
    fn alone_it_begins_at_once_and_among_others_when_they_see_it_or_after_a_lease() {
        let (me, others) = (Arc::from("a#1"), names(&["b#1", "c#1"]));
        let mut choice = Choice::new(me, Time::ZERO);
        assert_eq!(seats(&choice, Time::ZERO), (0, 200, 0), "it has not looked yet");
        let me = choice.me().clone();
        choice.look(&me, [].iter(), Time::ZERO);
        assert_eq!(seats(&choice, Time::ZERO), (200, 0, 0));
        assert_eq!(choice.look(&me, others.iter(), Time::ZERO).came, others);
        let (mine, soon, other) = seats(&choice, Time::ZERO);
        assert!(mine == 0 && soon > 40 && other > 40);
        choice.settled("b#1");
        assert_eq!(seats(&choice, Time::ZERO).0, 0);
        choice.settled("c#1");
        assert_eq!(seats(&choice, Time::ZERO), (soon, 0, other));
        let mut slow = Choice::new(me.clone(), Time::ZERO);
        slow.look(&me, others.iter(), Time::ZERO);
        assert_eq!(seats(&slow, Time::ZERO + limits::LEASE), (soon, 0, other));
    }

    #[test]
    fn what_the_dead_numbered_waits_and_what_the_leaving_hand_over_does_not() {
        let now = Time::from_millis(60_000);
        let (me, others): (Arc<str>, _) = (Arc::from("a#1"), names(&["b#1"]));
        let start = || {
            let mut choice = Choice::new(me.clone(), Time::ZERO);
            choice.look(&me, others.iter(), Time::ZERO);
            choice
        };
        let mut choice = start();
        let (mine, ..) = seats(&choice, now);
        assert!(choice.look(&me, [].iter(), now).changed);
        assert_eq!(seats(&choice, now), (mine, 200 - mine, 0));
        assert_eq!(seats(&choice, now + limits::LEASE), (200, 0, 0));
        // The dead one is back after all: nothing else than before.
        choice.look(&me, others.iter(), now);
        assert_eq!(seats(&choice, now), (mine, 0, 200 - mine));

        let mut choice = start();
        choice.left(&others[0], false, now);
        assert_eq!(seats(&choice, now), (mine, 200 - mine, 0));
        assert!(choice.look(&me, others.iter(), now).came.is_empty(), "it is listed still");
        choice.left(&others[0], true, now);
        assert_eq!(seats(&choice, now), (200, 0, 0));

        let mut choice = start();
        choice.leave();
        assert_eq!(seats(&choice, now), (0, 0, 200));
        choice.look(&me, [].iter(), now);
        assert_eq!(seats(&choice, now).2, 0, "the last one goes on to its end");
    }
}

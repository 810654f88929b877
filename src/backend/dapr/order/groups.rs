//! Events that were sent together and failed together.

use super::lanes::Item;
use crate::core::time::Time;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Group {
    pub topic: Arc<str>,
    pub items: Vec<Item>,
    /// The part of the same lanes that stands behind these.
    pub then: Option<Box<Group>>,
    pub due: Time,
    pub failures: u32,
    /// Successes of others when it was sent first, or failed last.
    pub seen: u64,
    /// Failures alone that count against the event.
    pub tries: u32,
    /// A copy for the dead-letter topic: its own topic has refused it.
    pub dead: bool,
    ordered: bool,
}

impl Group {
    pub(super) fn new(topic: Arc<str>, items: Vec<Item>, ordered: bool, seen: u64) -> Self {
        Group { topic, items, then: None, due: Time::ZERO, failures: 0, seen, tries: 0, dead: false, ordered }
    }

    /// Two groups, the second of which is independent; where one lane fills both, it waits behind
    /// the first instead.
    pub(super) fn halves(mut self) -> (Group, Option<Group>) {
        let middle = self.items.len() / 2;
        let is_border = |at: &usize| match self.items.get(at.wrapping_sub(1)..at + 1) {
            Some([before, after]) => !self.ordered || !before.is_lane_mate(after),
            _ => false,
        };
        let border = (middle..self.items.len()).find(is_border);
        let border = border.or_else(|| (1..middle).rev().find(is_border));
        let mut second = Group {
            topic: self.topic.clone(),
            items: self.items.split_off(border.unwrap_or(middle)),
            then: None,
            ..self
        };
        let mut first = Group { items: self.items, then: None, ..second.like() };
        match border {
            Some(_) => {
                // Only a group of one lane has followers, and such a group has no border inside.
                second.then = self.then;
                (first, Some(second))
            }
            None => {
                second.then = self.then;
                first.then = Some(Box::new(second));
                (first, None)
            }
        }
    }

    /// Each event by itself: one may be fine for the dead-letter topic and the next one not.
    pub(super) fn dead_letters(self, topic: &Arc<str>, now: Time, seen: u64) -> Vec<Group> {
        let mut then = self.then;
        let mut groups: Vec<Group> = Vec::with_capacity(self.items.len());
        for item in self.items.into_iter().rev() {
            let mut group = Group::new(topic.clone(), vec![item], self.ordered, seen);
            group.dead = true;
            group.due = now;
            group.then = then.take();
            groups.push(group);
        }
        groups
    }

    fn like(&self) -> Group {
        Group { topic: self.topic.clone(), items: Vec::new(), then: None, ..*self }
    }
}

/// Groups that wait to be sent again.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: Vec<Group>,
}

impl Groups {
    pub(super) fn push(&mut self, group: Group) {
        self.groups.push(group);
    }

    /// The last one that came of those whose time has come.
    pub(super) fn due(&mut self, now: Time) -> Option<Group> {
        let place = self.groups.iter().rposition(|group| group.due <= now)?;
        Some(self.groups.remove(place))
    }

    pub(super) fn first_due(&self) -> Option<Time> {
        self.groups.iter().map(|group| group.due).min()
    }
}

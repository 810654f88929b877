//! What instances say to one another, and how long it takes.

use super::*;

impl World {
    /// Asks for the room where it is now, as far as this instance sees.
    pub fn ask(&mut self, number: usize, room: &RoomName) {
        let node = &self.nodes[number];
        let first = node.sequencer.choice().first(room).clone();
        let heard = &node.heard[room];
        if heard.source.as_ref().is_some_and(|(_, source)| *source == first) {
            return;
        }
        let (last, at) = (heard.last, now(self.millis));
        let Some(there) = self.find(&first).filter(|there| self.runs(*there)) else { return };
        let subscriber = number as u64;
        self.nodes[there].sequencer.unsubscribe(subscriber, room);
        let Ok(head) = self.nodes[there].sequencer.subscribe(subscriber, room, last, at) else { return };
        let heard = self.nodes[number].heard.get_mut(room).unwrap();
        heard.known = heard.known.max(head);
        heard.source = Some((there, first));
        self.refill(number, room);
    }

    /// As a home does that sees a hole, or was away.
    pub fn refill(&mut self, number: usize, room: &RoomName) {
        let heard = &self.nodes[number].heard[room];
        let (Some((there, _)), whole) = (heard.source.clone(), heard.whole) else { return };
        let at = now(self.millis);
        let Ok(kept) = self.nodes[there].sequencer.since(room, Some(whole), 100_000, at) else { return };
        let heard = self.nodes[number].heard.get_mut(room).unwrap();
        heard.whole = heard.whole.max(kept.head);
        for message in kept.messages {
            heard.got.insert((message.at(room).unwrap(), id(&message)));
        }
    }

    pub fn send(&mut self, number: usize, out: Vec<Out>) {
        for word in out {
            let to = match &word {
                Out::Message { to, room, at, message } => {
                    let known = *self.numbers.entry((room.clone(), *at)).or_insert(id(message));
                    assert_eq!(known, id(message), "{room} {at:?} twice");
                    *to
                }
                Out::Over { to, .. } => *to,
            };
            let due = self.millis + self.random.below(300);
            let queue = &mut self.nodes[number].sent;
            let due = queue.back().map_or(due, |(last, ..)| due.max(*last));
            queue.push_back((due, to as usize, word));
        }
    }

    pub fn deliver(&mut self) {
        for from in 0..3 {
            while self.nodes[from].sent.front().is_some_and(|(due, ..)| *due <= self.millis) {
                let (_, to, word) = self.nodes[from].sent.pop_front().unwrap();
                if !self.nodes[to].alive {
                    continue;
                }
                match word {
                    Out::Over { room, .. } => {
                        let heard = self.nodes[to].heard.get_mut(&room).unwrap();
                        heard.source.take_if(|(source, _)| *source == from);
                    }
                    Out::Message { room, at, message, .. } => {
                        let heard = self.nodes[to].heard.get_mut(&room).unwrap();
                        if at <= heard.last {
                            continue;
                        }
                        heard.last = at;
                        heard.known = heard.known.max(at);
                        heard.got.insert((at, id(&message)));
                        if at.epoch == heard.whole.epoch && at.offset == heard.whole.offset + 1 {
                            heard.whole = at;
                        } else if at > heard.whole {
                            self.refill(to, &room);
                        }
                    }
                }
            }
        }
    }

    pub fn queue(&mut self, from: usize, moves: Vec<Move>) {
        let me = self.nodes[from].me.clone();
        for handed in moves {
            let due = self.millis + self.random.below(500);
            self.moves.push((due, from, me.clone(), handed));
        }
    }

    pub fn hand_over(&mut self) {
        for (due, from, me, handed) in std::mem::take(&mut self.moves) {
            let Some(there) = self.find(&handed.to) else { continue };
            if due > self.millis || !self.runs(there) || !self.runs(from) {
                let lost = !self.nodes[from].alive || !self.nodes[there].alive;
                if !lost {
                    self.moves.push((due, from, me, handed));
                }
                continue;
            }
            let mut out = Vec::new();
            let Move { number, leaving, rooms, .. } = handed.clone();
            let part = Part { number: (number, 0), leaving, last: true, rooms };
            let onward = self.nodes[there].sequencer.adopt(&me, part, now(self.millis), &mut out);
            self.send(there, out);
            self.queue(there, onward);
            if self.random.below(4) == 0 {
                // The answer was lost: it comes again.
                self.moves.push((self.millis + 300, from, me, handed));
            }
        }
    }
}

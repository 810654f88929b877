//! A hostile sidecar from a seed: whatever it answers, lanes keep their order.

use super::*;
use crate::core::random::Rng;
use std::collections::BTreeMap;

#[derive(Default)]
struct World {
    /// Every arrival at the broker, by lane.
    arrived: BTreeMap<(Arc<str>, String), Vec<u64>>,
    under_way: Vec<Request>,
    poison: Vec<(String, u64)>,
    broker_down: bool,
}

impl World {
    fn arrive(&mut self, entry: &Entry) {
        let event = &entry.batch.events[entry.index as usize];
        if !event.relaxed {
            let lane = (event.topic.clone(), event.connection.to_string());
            self.arrived.entry(lane).or_default().push(event.first_seq);
        }
    }

    /// No two requests under way hold events of one lane.
    fn check_lanes(&self, ordered_bulk: bool) {
        let mut lanes = BTreeMap::new();
        for request in &self.under_way {
            for entry in &request.entries {
                let event = &entry.batch.events[entry.index as usize];
                if event.relaxed {
                    continue;
                }
                let before = lanes.insert((event.topic.clone(), event.connection.clone()), request.number);
                let fine = before.is_none() || (ordered_bulk && before == Some(request.number));
                assert!(fine, "{:?} {} under way twice", event.topic, event.connection);
            }
        }
    }

    fn answer(&mut self, rng: &mut Rng, calm: bool, ordered_bulk: bool) -> (u64, Outcome) {
        let chosen = rng.below(self.under_way.len() as u64) as usize;
        let request = self.under_way.remove(chosen);
        if request.entries.is_empty() {
            return (request.number, if self.broker_down { Outcome::Failed } else { Outcome::Taken });
        }
        let poisoned = names(&request).iter().any(|name| self.poison.contains(name));
        let trouble = if self.broker_down { rng.below(3) } else { 9 };
        let outcome = match (trouble, poisoned, rng.below(10)) {
            (0, ..) => Outcome::Away,
            (1 | 2, ..) => Outcome::Failed,
            (_, true, _) => Outcome::Failed,
            (_, false, 0) if !calm => Outcome::Failed,
            (_, false, 1) if !calm => Outcome::Away,
            // An ordered component that skips one has broken the order itself.
            (_, false, 2) if !calm && !ordered_bulk => {
                let count = request.entries.len() as u64;
                Outcome::Partly((0..rng.below(3)).map(|_| rng.below(count) as usize).collect())
            }
            _ => Outcome::Taken,
        };
        let mut order: Vec<usize> = (0..request.entries.len()).collect();
        if !ordered_bulk {
            for at in (1..order.len()).rev() {
                order.swap(at, rng.below(at as u64 + 1) as usize);
            }
        }
        // What a failed bulk leaves behind; an ordered one stops at the first failure.
        let stop = rng.below(order.len() as u64 + 1) as usize;
        for (count, at) in order.into_iter().enumerate() {
            let entry = &request.entries[at];
            let event = &entry.batch.events[entry.index as usize];
            let poison = self.poison.contains(&(event.connection.to_string(), event.first_seq));
            let arrives = match &outcome {
                Outcome::Taken => true,
                Outcome::Partly(missing) => !missing.contains(&at),
                _ if self.broker_down || poison => false,
                _ if ordered_bulk => {
                    count < stop
                        && !request.entries[..=at].iter().any(|entry| {
                            let event = &entry.batch.events[entry.index as usize];
                            self.poison.contains(&(event.connection.to_string(), event.first_seq))
                        })
                }
                _ => rng.below(2) == 0,
            };
            if arrives {
                self.arrive(entry);
            }
        }
        (request.number, outcome)
    }
}

fn random_batch(rng: &mut Rng, id: u64, seqs: &mut BTreeMap<(u64, u64), u64>) -> Arc<Batch> {
    let count = 1 + rng.below(40);
    let events = (0..count).map(|_| {
        let (topic, connection) = (rng.below(3), rng.below(12));
        let seq = seqs.entry((topic, connection)).or_default();
        *seq += 1;
        let length = 1 + rng.below(2000) as usize;
        let mut event = event(&format!("t{topic}"), &format!("c{topic}-{connection}"), *seq, length);
        event.relaxed = connection >= 10;
        event
    });
    batch(id, events.collect())
}

/// The publisher's side: a batch given back comes again, oldest first, one at a time.
#[derive(Default)]
struct Owner {
    waiting: BTreeMap<Ticket, Arc<Batch>>,
    back: Vec<Arc<Batch>>,
    refused: u64,
    done: u64,
}

impl Owner {
    fn hear(&mut self, scheduler: &mut Scheduler) {
        while let Some((ticket, answer)) = scheduler.finished() {
            let batch = self.waiting.remove(&ticket).expect("one answer an offer");
            match answer {
                Ok(()) => self.done += 1,
                Err(PublishError::Refused(refused)) => {
                    self.done += 1;
                    self.refused += refused.len() as u64;
                }
                Err(PublishError::Retry) => self.back.push(batch),
            }
        }
        self.back.sort_by_key(|batch| batch.id);
    }

    fn offer(&mut self, scheduler: &mut Scheduler, now: Time, batch: Arc<Batch>) {
        let ticket = scheduler.offer(now, batch.clone());
        assert!(self.waiting.insert(ticket, batch).is_none());
        self.hear(scheduler);
    }
}

fn run(seed: u64, ordered_bulk: bool) {
    let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let in_flight = 1 + rng.below(8) as usize;
    let mut scheduler =
        Scheduler::new(Rules { ordered_bulk, in_flight, canary: Some("canary".into()), ..RULES });
    let mut world = World::default();
    if rng.below(2) == 0 {
        world.poison = vec![("c0-1".into(), 2), ("c1-4".into(), 3)];
    }
    let (mut owner, mut seqs) = (Owner::default(), BTreeMap::new());
    let (mut offered, mut now) = (0, at(0));
    for step in 0_u64.. {
        assert!(step < 200_000, "seed {seed}: no end");
        let calm = step > 300;
        world.broker_down = !calm && (step / 60) % 3 == 1;
        owner.hear(&mut scheduler);
        if !owner.back.is_empty() && owner.waiting.is_empty() {
            let batch = owner.back.remove(0);
            owner.offer(&mut scheduler, now, batch);
        } else if owner.back.is_empty() && owner.waiting.len() < 4 && (!calm || offered < 40) {
            offered += 1;
            let batch = random_batch(&mut rng, offered, &mut seqs);
            owner.offer(&mut scheduler, now, batch);
        }
        while let Some(request) = scheduler.next(now) {
            assert!(!request.entries.is_empty() || &*request.topic == "canary");
            world.under_way.push(request);
            world.check_lanes(ordered_bulk);
        }
        if !world.under_way.is_empty() {
            let (number, outcome) = world.answer(&mut rng, calm, ordered_bulk);
            scheduler.answer(now, number, outcome);
        } else if owner.waiting.is_empty() && owner.back.is_empty() && calm && offered >= 40 {
            break;
        } else if let Some(wake) = scheduler.wake_at() {
            assert!(wake > now || scheduler.in_flight() == 0, "seed {seed}: it would spin");
            now = now.max(wake);
        }
        now += Duration::from_millis(rng.below(60));
    }
    assert_eq!(owner.done, offered);
    let total: u64 = seqs.values().sum();
    let tally = scheduler.tally();
    assert_eq!(tally.acknowledged + tally.refused, total, "seed {seed}");
    assert_eq!(tally.refused, owner.refused);
    let mut missing = 0;
    for ((topic, connection), count) in &seqs {
        if *connection < 10 {
            let lane = (format!("t{topic}").into(), format!("c{topic}-{connection}"));
            missing += check_order(seed, world.arrived.get(&lane).map_or(&[], Vec::as_slice), *count);
        }
    }
    assert!(missing <= tally.refused, "seed {seed}: {missing} events never arrived");
    assert!(tally.refused <= world.poison.len() as u64, "seed {seed}: refused what was fine");
}

/// First arrivals come in order; what comes twice is the reader's to drop. Returns the number of
/// events that are missing.
fn check_order(seed: u64, arrived: &[u64], count: u64) -> u64 {
    let mut seen = BTreeMap::new();
    for (place, seq) in arrived.iter().enumerate() {
        seen.entry(*seq).or_insert(place);
    }
    let firsts: Vec<usize> = seen.values().copied().collect();
    assert!(firsts.is_sorted(), "seed {seed}: out of order: {arrived:?}");
    count - seen.len() as u64
}

#[test]
fn random_failures_never_break_a_lane() {
    for seed in 1..=300 {
        run(seed, false);
        run(seed, true);
    }
}

//! What happens to the world: crashes, cuts, pauses, clocks that jump, a store that goes back.

use super::*;

impl World {
    pub fn fault(&mut self) {
        if self.healed {
            return;
        }
        let wait = self.rng.nanos(200, 4000);
        self.after(wait, Event::Fault);
        let at = self.rng.below(3) as usize;
        match self.rng.below(100) {
            0..10 => {
                self.note(at, "crashes", "");
                self.stats.crashes += 1;
                self.stop(at);
                let wait = self.rng.nanos(100, 20_000);
                self.after(wait, Event::Start(at));
            }
            10..25 => {
                let both = self.rng.below(3);
                self.instances[at].cut_to = both != 1;
                self.instances[at].cut_from = both != 0;
                self.note(at, "is cut off", &both.to_string());
            }
            25..50 => {
                for instance in &mut self.instances {
                    (instance.cut_to, instance.cut_from) = (false, false);
                }
                self.note(at, "all are joined again", "");
            }
            50..60 => {
                let wait = self.rng.nanos(500, 20_000);
                self.instances[at].paused_until = self.now + wait;
                self.note(at, "pauses", &(wait / MILLI).to_string());
            }
            60..66 => {
                self.note(at, "suspended for an hour", "");
                self.instances[at].boot_ahead += 3_600_000 * MILLI;
                self.step(at, |fleet, now, fx| fleet.tick(now, fx));
            }
            66..76 if !self.rolls_back => {
                self.instances[at].wall_ahead += self.rng.below(7_200_000) as i64 - 3_600_000;
            }
            76..84 => {
                self.stalled_until = self.now + self.rng.nanos(500, 6000);
                self.note(at, "the store stalls", "");
            }
            84..90 => self.leave(at),
            90..95 if self.rolls_back => self.snapshot = self.store.docs.clone(),
            95..98 if self.rolls_back && !self.snapshot.is_empty() => {
                self.note(at, "the store goes back", "");
                self.store.docs = self.snapshot.clone();
                self.rolled_back = Some(self.now);
                self.stats.rollbacks += 1;
            }
            _ => {}
        }
    }

    fn leave(&mut self, at: usize) {
        if self.instances[at].fleet.is_none() || self.instances[at].leaving {
            return;
        }
        self.note(at, "leaves", "");
        self.instances[at].leaving = true;
        let life = self.instances[at].life;
        self.step(at, |fleet, now, fx| fleet.handle(now, FleetInput::Leave, fx));
        let wait = self.rng.nanos(100, 5000);
        self.after(wait, Event::Left(at, life));
    }

    pub fn heal(&mut self) {
        self.note(0, "the world heals", "");
        self.healed = true;
        self.fails = 0;
        self.stalled_until = 0;
        for at in 0..self.instances.len() {
            let instance = &mut self.instances[at];
            (instance.cut_to, instance.cut_from) = (false, false);
            instance.paused_until = instance.paused_until.min(self.now);
            self.after(MILLI, Event::Start(at));
        }
    }
}

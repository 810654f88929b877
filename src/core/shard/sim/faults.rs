//! What happens to the world: peers that leave, a bus that stands still, a crash; and its healing.

use super::*;

impl World {
    /// The bus stands still for a while; a peer leaves.
    pub fn fault(&mut self) {
        if self.healed {
            return;
        }
        let wait = self.rng.millis(500, 4000);
        self.after(wait, Event::Fault);
        if self.rng.chance(300) {
            self.bus.down_until = self.now.mono + self.rng.millis(500, 8000);
        }
        if !self.down && self.rng.chance(500) {
            (0..3).for_each(|_| self.hand_over());
        }
        if self.rng.chance(60) && !self.down {
            self.lose_lease();
        }
        if self.rng.chance(500) && !self.live.is_empty() {
            let nth = self.rng.below(self.live.len() as u64) as usize;
            let sid = self.live.values().nth(nth).copied().unwrap();
            if self.sockets.get(&sid).is_some_and(|socket| socket.open) {
                self.peer_left(sid);
            }
        }
    }

    /// The process dies: its memory, its sockets and its callers with it.
    pub fn crash(&mut self) {
        self.note("crash", 0, 0);
        self.crashes += 1;
        self.down = true;
        self.pending.clear();
        for socket in self.sockets.values_mut() {
            socket.open = false;
        }
        self.live.clear();
        // Some of what was under way still arrives.
        let arrive = self.rng.below(self.store.queue.len() as u64 + 1);
        for _ in 0..arrive {
            if let Some(op) = self.store.queue.pop_front() {
                self.store.apply(op);
            }
        }
        self.store.queue.clear();
        self.store.fenced = 0;
        if self.bus.doomed == 0
            && let Some(batch) = self.bus.queue.pop_front()
        {
            let arrived = self.rng.below(batch.events.len() as u64 + 1) as usize;
            self.take_events(&batch, arrived, &[]);
        }
        self.bus.queue.clear();
        self.bus.doomed = 0;
        self.spill.queue.clear();
        self.events.retain(|_, event| {
            !matches!(
                event,
                Event::Stored
                    | Event::Published
                    | Event::Spilled
                    | Event::Dialled(..)
                    | Event::Unfence
                    | Event::ReadOut(_)
            )
        });
        let wait = self.rng.millis(20, 3000);
        self.after(wait, Event::Restart);
    }

    pub fn restart(&mut self) {
        self.down = false;
        self.restarted = self.now.wall.unix_nanos();
        self.setup.seed = self.rng.word();
        self.core = ShardCore::new(self.now, self.setup.clone());
        self.lifecycles.clear();
        self.watch_at = Some(0);
        self.hear_of_others();
        let documents: Vec<Record> = self.store.documents.values().cloned().collect();
        for record in documents {
            self.take_up(record, None);
        }
        for follower in 0..self.followers.len() {
            if std::mem::take(&mut self.followers[follower].parked) {
                self.after(Duration::from_millis(100), Event::Fetch(follower));
            }
        }
        self.after(Duration::from_millis(10), Event::Caller);
    }

    pub fn heal(&mut self) {
        self.note("heal", 0, 0);
        self.healed = true;
        self.bus.down_until = Time::ZERO;
        let stalled: Vec<u64> = self.sockets.keys().copied().collect();
        for sid in stalled {
            self.after(Duration::ZERO, Event::Writable(sid));
        }
    }
}

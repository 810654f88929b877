//! What surrounds the machines: clocks, the way to the store and back, shards that hold sockets,
//! and everything that happens to them.

use super::*;

/// SplitMix64 under a seed; every choice of a run comes from here.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        next_random(&mut self.0)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    pub fn millis(&mut self, from: u64, to: u64) -> u64 {
        from * MILLI + self.below((to - from) * MILLI + 1)
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

pub enum Event {
    /// Of one life of one instance.
    Apply {
        at: usize,
        life: u64,
        ticket: DocTicket,
        op: Op,
        tell: Option<u64>,
    },
    Answer {
        at: usize,
        life: u64,
        ticket: DocTicket,
        answer: DocAnswer,
    },
    Tick(usize, u64),
    Caller(usize),
    Later {
        at: usize,
        life: u64,
        what: Planned,
    },
    Fault,
    Start(usize),
    Left(usize, u64),
    Heal,
}

/// What a shard or an edge does next.
pub enum Planned {
    Dialled(ConnectionId, u64),
    DialFailed(ConnectionId),
    TakeOver(ConnectionId, u64),
    Again(ConnectionId),
    HandOver(ConnectionId, usize),
    Forget(ConnectionId),
}

/// Why a caller waits.
#[derive(Debug)]
pub enum Wants {
    /// The last: it is not held yet.
    Store(ConnectionId, u64, bool),
    Claim(ConnectionId),
    Forget(ConnectionId),
    Transfer(ConnectionId, u64, usize),
    /// From which instance it comes.
    Expect(ConnectionId, usize),
}

impl Wants {
    fn id(&self) -> &ConnectionId {
        match self {
            Wants::Store(id, ..) | Wants::Expect(id, _) => id,
            Wants::Claim(id) | Wants::Forget(id) | Wants::Transfer(id, ..) => id,
        }
    }
}

pub struct Instance {
    pub fleet: Option<Fleet>,
    /// Counts starts of the process.
    pub life: u64,
    pub boot_ahead: u64,
    pub wall_ahead: i64,
    pub paused_until: u64,
    pub cut_to: bool,
    pub cut_from: bool,
    pub until: Boot,
    pub advisory: bool,
    pub leaving: bool,
    /// All sockets are closed, for good.
    pub closed: bool,
    /// What its shards hold, with the epoch.
    pub held: BTreeMap<ConnectionId, u64>,
    pub asked: BTreeMap<Asker, Wants>,
    /// Claimed, and being dialled.
    pub dialling: BTreeSet<ConnectionId>,
    pub tick_at: u64,
}

impl World {
    pub fn new(seed: u64, canary: Canary) -> Self {
        let mut rng = Rng(seed);
        let rolls_back = rng.chance(250);
        let instances = (0..3)
            .map(|_| Instance {
                fleet: None,
                life: 0,
                boot_ahead: rng.millis(1, 10_000_000),
                wall_ahead: if rolls_back { 0 } else { rng.below(4_000) as i64 - 2_000 },
                paused_until: 0,
                cut_to: false,
                cut_from: false,
                until: Boot::ZERO,
                advisory: false,
                leaving: false,
                closed: false,
                held: BTreeMap::new(),
                asked: BTreeMap::new(),
                dialling: BTreeSet::new(),
                tick_at: 0,
            })
            .collect();
        let manner = rng.pick(&[Manner::Redis, Manner::Strict]);
        let mut world = World {
            canary,
            now: 0,
            events: BTreeMap::new(),
            order: 0,
            instances,
            store: Store::new(manner),
            snapshot: BTreeMap::new(),
            deadline: rng.millis(1000, 3500),
            fails: rng.pick(&[0, 10, 50, 200]),
            stalled_until: 0,
            rolls_back,
            rolled_back: None,
            healed: false,
            next_asker: 0,
            next_id: 0,
            epochs: BTreeMap::new(),
            standing: BTreeMap::new(),
            stats: Stats::default(),
            hash: seed,
            trace: VecDeque::new(),
            watched: std::env::var("WSM_TRACE").ok(),
            rng,
        };
        for at in 0..world.instances.len() {
            let wait = world.rng.millis(0, 3000);
            world.after(wait, Event::Start(at));
        }
        world.after(500 * MILLI, Event::Fault);
        world.after(FAULTS, Event::Heal);
        world
    }

    pub fn after(&mut self, wait: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now + wait, self.order), event);
    }

    pub fn run(&mut self) {
        let mut look = FAULTS + 15_000 * MILLI;
        while let Some(((at, _), event)) = self.events.pop_first() {
            if at >= look {
                look += 3_000 * MILLI;
                let healthy = self.is_healthy();
                if healthy.is_ok() && self.is_at_rest() {
                    break;
                }
                assert!(at <= FAULTS + HEALING, "a minute after the healing {healthy:?}; {}", self.state());
            }
            self.now = at;
            self.stats.steps += 1;
            assert!(self.stats.steps < 1_000_000, "the world does not come to rest");
            self.happen(event);
        }
        self.count();
    }

    /// What may keep them from their rest.
    fn state(&self) -> String {
        let fleets = self.instances.iter().filter_map(|instance| instance.fleet.as_ref());
        fleets.map(|fleet| format!("\n  {}", fleet.unrest())).collect()
    }

    /// Nothing is on its way any more that could undo it.
    fn is_at_rest(&self) -> bool {
        let works = self.events.values().any(|event| matches!(event, Event::Later { .. } | Event::Start(_)));
        !works && self.instances.iter().all(|instance| instance.fleet.as_ref().is_some_and(Fleet::is_at_rest))
    }

    fn happen(&mut self, event: Event) {
        // A paused process does nothing until it wakes; the store is not paused with it.
        let target = match &event {
            Event::Answer { at, .. } | Event::Tick(at, _) | Event::Caller(at) | Event::Later { at, .. } => {
                Some(*at)
            }
            _ => None,
        };
        if let Some(at) = target
            && self.instances[at].paused_until > self.now
        {
            let wait = self.instances[at].paused_until - self.now;
            return self.after(wait, event);
        }
        match event {
            Event::Apply { at, life, ticket, op, tell } => {
                let answer = self.store.apply(self.now, &op);
                if let Some(wait) = tell {
                    self.after(wait, Event::Answer { at, life, ticket, answer });
                }
            }
            Event::Answer { at, life, ticket, answer } => {
                if self.instances[at].life == life {
                    self.step(at, |fleet, now, fx| fleet.answered(now, ticket, answer, fx));
                }
            }
            Event::Tick(at, life) => {
                if self.instances[at].life == life && self.instances[at].tick_at <= self.now {
                    self.instances[at].tick_at = u64::MAX;
                    self.step(at, |fleet, now, fx| fleet.tick(now, fx));
                }
            }
            Event::Caller(at) => self.caller(at),
            Event::Later { at, life, what } => {
                if self.instances[at].life == life && self.instances[at].fleet.is_some() {
                    self.planned(at, what);
                }
            }
            Event::Fault => self.fault(),
            Event::Start(at) => self.start(at),
            Event::Left(at, life) => {
                if self.instances[at].life == life && self.instances[at].fleet.is_some() {
                    self.instances[at].held.clear();
                    self.instances[at].closed = true;
                    self.step(at, |fleet, now, fx| fleet.handle(now, FleetInput::Left, fx));
                }
            }
            Event::Heal => self.heal(),
        }
    }

    pub fn clocks(&self, at: usize) -> FleetNow {
        let instance = &self.instances[at];
        let wall = (WALL_MILLIS * MILLI + self.now) as i64 + instance.wall_ahead * MILLI as i64;
        FleetNow { boot: Boot(self.now + instance.boot_ahead), wall: Wall::from_unix_nanos(wall as u64) }
    }

    pub fn step(&mut self, at: usize, input: impl FnOnce(&mut Fleet, FleetNow, &mut Effects)) {
        let now = self.clocks(at);
        let Some(fleet) = &mut self.instances[at].fleet else { return };
        let mut fx = Vec::new();
        input(fleet, now, &mut fx);
        // It looks at everything; a fault of the books stays until it is looked for.
        if self.stats.steps.is_multiple_of(8) {
            fleet.check();
        }
        let next = fleet.poll_timeout();
        let life = self.instances[at].life;
        for effect in fx {
            // The process ends with `Left`.
            if self.instances[at].life == life {
                self.perform(at, effect);
            }
        }
        if self.instances[at].fleet.is_none() || next == Boot::FAR {
            return;
        }
        let tick = next.0.saturating_sub(self.instances[at].boot_ahead).max(self.now + MILLI / 10);
        let life = self.instances[at].life;
        if tick < self.instances[at].tick_at {
            self.instances[at].tick_at = tick;
            self.after(tick - self.now, Event::Tick(at, life));
        }
    }

    fn start(&mut self, at: usize) {
        if self.instances[at].fleet.is_some() {
            return;
        }
        let (word, seed) = (format!("{:08x}", self.rng.next() as u32), self.rng.next());
        // Two of the three share their host's name.
        let name = ["pod-a", "pod-b", "pod-b"][at];
        let mut setup = FleetSetup::new(name, &word, &format!("10.0.0.{at}:5002"), seed);
        setup.timings.leftover = Duration::from_secs(3);
        let mut fleet = Fleet::new(setup);
        fleet.canary = self.canary;
        let instance = &mut self.instances[at];
        instance.life += 1;
        instance.fleet = Some(fleet);
        instance.leaving = false;
        instance.closed = false;
        instance.tick_at = u64::MAX;
        self.note(at, "starts", &word);
        self.step(at, |fleet, now, fx| fleet.tick(now, fx));
        if !self.healed {
            let wait = self.rng.millis(100, 1500);
            self.after(wait, Event::Caller(at));
        }
    }

    pub fn stop(&mut self, at: usize) {
        let instance = &mut self.instances[at];
        if let Some(fleet) = instance.fleet.take() {
            let counters = fleet.counters();
            self.stats.fences += counters.fences;
            self.stats.store_losses += counters.store_losses;
        }
        instance.life += 1;
        instance.held.clear();
        instance.dialling.clear();
        for (_, wants) in std::mem::take(&mut instance.asked) {
            if let Wants::Transfer(id, epoch, other) = &wants {
                let (life, what) = (self.instances[*other].life, Planned::TakeOver(id.clone(), *epoch));
                self.after(6000 * MILLI, Event::Later { at: *other, life, what });
            }
            // Nobody knows any more what became of it.
            self.standing.remove(wants.id());
        }
        let instance = &mut self.instances[at];
        instance.until = Boot::ZERO;
        instance.advisory = false;
        instance.paused_until = 0;
    }

    fn fault(&mut self) {
        if self.healed {
            return;
        }
        let wait = self.rng.millis(200, 4000);
        self.after(wait, Event::Fault);
        let at = self.rng.below(3) as usize;
        match self.rng.below(100) {
            0..10 => {
                self.note(at, "crashes", "");
                self.stats.crashes += 1;
                self.stop(at);
                let wait = self.rng.millis(100, 20_000);
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
                let wait = self.rng.millis(500, 20_000);
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
                self.stalled_until = self.now + self.rng.millis(500, 6000);
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
        let wait = self.rng.millis(100, 5000);
        self.after(wait, Event::Left(at, life));
    }

    fn heal(&mut self) {
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

    /// One operation on its way to the store and back.
    pub fn send(&mut self, at: usize, ticket: DocTicket, op: Op) {
        let instance = &self.instances[at];
        let (life, cut_to, cut_from) = (instance.life, instance.cut_to, instance.cut_from);
        let unknown = DocAnswer::Unknown("no answer".into());
        let there = self.rng.millis(1, 200);
        let mut back = self.rng.millis(1, 300);
        if self.stalled_until > self.now {
            back += self.stalled_until - self.now;
        }
        let fault = if self.rng.chance(self.fails) { self.rng.below(4) } else { 9 };
        if cut_to || fault == 0 {
            return self.after(self.deadline, Event::Answer { at, life, ticket, answer: unknown });
        }
        if fault == 1 {
            // It arrives when its caller waits no more.
            let late = self.rng.millis(500, 2500);
            self.after(self.deadline.min(late), Event::Answer { at, life, ticket, answer: unknown });
            return self.after(late, Event::Apply { at, life, ticket, op, tell: None });
        }
        let lost = cut_from || fault == 2 || there + back > self.deadline;
        let tell = (!lost).then_some(back);
        self.after(there, Event::Apply { at, life, ticket, op, tell });
        if lost {
            let wait = if fault == 2 { there + back.min(self.deadline) } else { self.deadline };
            self.after(wait, Event::Answer { at, life, ticket, answer: unknown });
        }
    }

    fn caller(&mut self, at: usize) {
        if self.healed || self.instances[at].fleet.is_none() || self.instances[at].leaving {
            return;
        }
        let wait = self.rng.millis(100, 3000);
        self.after(wait, Event::Caller(at));
        let held: Vec<(ConnectionId, u64)> =
            self.instances[at].held.iter().map(|(id, epoch)| (id.clone(), *epoch)).collect();
        let held: Vec<_> = held.into_iter().filter(|(id, _)| !self.is_busy(at, id)).collect();
        match self.rng.below(10) {
            0..3 if self.standing.len() < 40 => {
                self.next_id += 1;
                let id = ConnectionId::parse(&format!("minted-{}", self.next_id)).unwrap();
                let epoch = self.clocks(at).wall.unix_millis();
                self.store(at, id, epoch);
            }
            3..5 => {
                let id = ConnectionId::parse(&format!("chosen-{}", self.rng.below(12))).unwrap();
                if !self.instances[at].held.contains_key(&id) && !self.is_busy(at, &id) {
                    let asker = self.asker(at, Wants::Claim(id.clone()));
                    self.step(at, |fleet, now, fx| fleet.handle(now, FleetInput::Claim { asker, id }, fx));
                }
            }
            _ if held.is_empty() => {}
            5..8 => {
                let (id, epoch) = held[self.rng.below(held.len() as u64) as usize].clone();
                self.store(at, id, epoch);
            }
            8 => {
                let (id, _) = held[self.rng.below(held.len() as u64) as usize].clone();
                self.planned(at, Planned::Forget(id));
            }
            _ => {
                let (id, _) = held[self.rng.below(held.len() as u64) as usize].clone();
                self.offer(at, id);
            }
        }
    }

    /// The other one is asked first.
    fn offer(&mut self, at: usize, id: ConnectionId) {
        let members = self.instances[at].fleet.as_ref().map(|fleet| fleet.members());
        let members = members.unwrap_or_else(|| Arc::from([]));
        if members.is_empty() {
            return;
        }
        let to = members[self.rng.below(members.len() as u64) as usize].incarnation.clone();
        let other = self
            .instances
            .iter()
            .position(|instance| instance.fleet.as_ref().is_some_and(|fleet| fleet.me().incarnation == to));
        let Some(other) = other else { return };
        let asker = self.asker(other, Wants::Expect(id.clone(), at));
        self.step(other, |fleet, now, fx| fleet.handle(now, FleetInput::Expect { asker, id }, fx));
    }

    fn hand_over(&mut self, at: usize, id: ConnectionId, other: usize) {
        let Some(epoch) = self.instances[at].held.get(&id).copied() else {
            return self.planned(other, Planned::Forget(id));
        };
        let Some(to) = self.instances[other].fleet.as_ref().map(|fleet| fleet.me().incarnation.clone())
        else {
            return;
        };
        self.stats.transfers += 1;
        self.instances[at].held.remove(&id);
        let epoch = epoch + 1;
        let document = document(&id, epoch, self.rng.next());
        let asker = self.asker(at, Wants::Transfer(id.clone(), epoch, other));
        let input = FleetInput::Transfer { asker, id, to, epoch, document };
        self.step(at, |fleet, now, fx| fleet.handle(now, input, fx));
    }

    pub fn planned(&mut self, at: usize, what: Planned) {
        if self.instances[at].fleet.is_none() {
            return;
        }
        match what {
            Planned::Dialled(id, epoch) => {
                self.instances[at].dialling.remove(&id);
                let epoch = epoch.max(self.clocks(at).wall.unix_millis());
                self.store(at, id, epoch);
            }
            Planned::DialFailed(id) => {
                self.instances[at].dialling.remove(&id);
                self.step(at, |fleet, now, fx| fleet.handle(now, FleetInput::Unclaim { id }, fx));
            }
            Planned::TakeOver(id, epoch) => self.store(at, id, epoch),
            Planned::Again(id) => {
                if let Some(epoch) = self.instances[at].held.get(&id).copied() {
                    self.store(at, id, epoch);
                }
            }
            Planned::HandOver(id, other) => self.hand_over(at, id, other),
            Planned::Forget(id) => {
                // What a late write brings back begins anew.
                self.epochs.remove(&id);
                self.standing.remove(&id);
                self.instances[at].held.remove(&id);
                for wants in self.instances[at].asked.values_mut() {
                    if let Wants::Store(other, _, fresh) = wants
                        && *other == id
                    {
                        *fresh = false;
                    }
                }
                let asker = self.asker(at, Wants::Forget(id.clone()));
                self.step(at, |fleet, now, fx| fleet.handle(now, FleetInput::Forget { asker, id }, fx));
            }
        }
    }

    pub fn store(&mut self, at: usize, id: ConnectionId, epoch: u64) {
        let document = document(&id, epoch, self.rng.next());
        let fresh = !self.instances[at].held.contains_key(&id);
        let asker = self.asker(at, Wants::Store(id.clone(), epoch, fresh));
        let input = FleetInput::Store { asker, id, epoch, document };
        self.step(at, |fleet, now, fx| fleet.handle(now, input, fx));
    }

    /// Something else is being done about it; a shard knows.
    fn is_busy(&self, at: usize, id: &ConnectionId) -> bool {
        let instance = &self.instances[at];
        instance.dialling.contains(id) || instance.asked.values().any(|wants| wants.id() == id)
    }

    pub fn asker(&mut self, at: usize, wants: Wants) -> Asker {
        self.next_asker += 1;
        let asker = Asker(self.next_asker);
        self.instances[at].asked.insert(asker, wants);
        asker
    }
}

fn document(id: &ConnectionId, epoch: u64, nonce: u64) -> Bytes {
    format!(
        "{{\"id\":\"{id}\",\"url\":\"ws://a/\",\"status\":\"Connected\",\"epoch\":{epoch},\"nonce\":{nonce}}}"
    )
    .into()
}

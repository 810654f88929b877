//! What surrounds the machines: clocks, the way to the store and back, shards that hold sockets,
//! and everything that happens to them.

use super::*;

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
                boot_ahead: rng.nanos(1, 10_000_000),
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
        let manner = *rng.pick(&[Manner::Redis, Manner::Strict]);
        let mut world = World {
            canary,
            now: 0,
            events: BTreeMap::new(),
            order: 0,
            instances,
            store: Store::new(manner),
            snapshot: BTreeMap::new(),
            deadline: rng.nanos(1000, 3500),
            fails: *rng.pick(&[0, 10, 50, 200]),
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
            let wait = world.rng.nanos(0, 3000);
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
        let (word, seed) = (format!("{:08x}", self.rng.word() as u32), self.rng.word());
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
            let wait = self.rng.nanos(100, 1500);
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

    /// One operation on its way to the store and back.
    pub fn send(&mut self, at: usize, ticket: DocTicket, op: Op) {
        let instance = &self.instances[at];
        let (life, cut_to, cut_from) = (instance.life, instance.cut_to, instance.cut_from);
        let unknown = DocAnswer::Unknown("no answer".into());
        let there = self.rng.nanos(1, 200);
        let mut back = self.rng.nanos(1, 300);
        if self.stalled_until > self.now {
            back += self.stalled_until - self.now;
        }
        let fault = if self.rng.chance(self.fails) { self.rng.below(4) } else { 9 };
        if cut_to || fault == 0 {
            return self.after(self.deadline, Event::Answer { at, life, ticket, answer: unknown });
        }
        if fault == 1 {
            // It arrives when its caller waits no more.
            let late = self.rng.nanos(500, 2500);
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
}

//! What surrounds the shards: words on their way, kernels, callers, the clock.

use super::*;
use crate::core::{
    id::ConnectionId,
    publish::Bounds,
    spec::{Settings, Spec, testing},
};

impl World {
    pub fn new(seed: u64, canary: Canary) -> Self {
        let mut rng = Rng(seed);
        let now = Now { mono: Time::from_millis(5), wall: Wall::from_unix_millis(WALL_MILLIS) };
        let shards = 1 + rng.below(3) as u32;
        let slow = |rng: &mut Rng| match rng.below(4) {
            0 => Slow::DropOldest,
            1 => Slow::KeepLatest(None),
            2 => Slow::KeepLatest(Some("/k".into())),
            _ => Slow::Close,
        };
        let age = *rng.pick(&[Duration::from_millis(500), Duration::from_secs(60)]);
        let history =
            History { messages: *rng.pick(&[3, 20, 1000]), bytes: *rng.pick(&[2000, 1 << 20]), age };
        let rules = ROOMS.iter().map(|name| Rule {
            pattern: (*name).into(),
            history: rng.chance(200).then_some(History { messages: rng.below(5) as usize, ..history }),
            slow: Some(slow(&mut rng)),
        });
        let rules = Arc::new(Rules { rules: rules.collect(), history, slow: Slow::Close });
        let reader_bytes_max = *rng.pick(&[300, 2000, 20_000]);
        let history_bytes_max = *rng.pick(&[1500, 20_000, 1 << 20]);
        // Every third world carries another room system's rooms: the homes number them all the same.
        let relayed: Option<Arc<str>> = rng.chance(333).then(|| "sim".into());
        let cores = (0..shards).map(|shard| {
            let setup = Setup {
                shard,
                shards,
                instance: "sim".into(),
                connections_max: 60,
                outbox_bytes_max: 1 << 20,
                ring_bytes: 4096,
                dials_per_second: 10,
                publish: Bounds { spill: false, ..Bounds::default() },
                lifecycle_topic: "lifecycle".into(),
                rooms: rooms_of::Setup {
                    rules: rules.clone(),
                    reader_bytes_max,
                    history_bytes_max,
                    relayed: relayed.clone(),
                    ..rooms_of::Setup::default()
                },
                seed: rng.word(),
            };
            ShardCore::new(now, setup)
        });
        World {
            cores: cores.collect(),
            rng,
            canary,
            now,
            words: BTreeMap::new(),
            rules,
            relayed,
            clients: Vec::new(),
            by_socket: BTreeMap::new(),
            posted: Vec::new(),
            filling: Vec::new(),
            handed_on: BTreeSet::new(),
            answers: BTreeMap::new(),
            next_ticket: 1,
            step: 0,
            broken: false,
            healed: false,
            stats: Stats::default(),
            trace: VecDeque::new(),
        }
    }

    pub fn run(&mut self) {
        for step in 1..=STEPS {
            self.step = step;
            self.stats.steps += 1;
            self.happen();
        }
        self.heal();
        self.demand_everything();
    }

    fn happen(&mut self) {
        match self.rng.below(100) {
            0..=4 => self.admit(),
            5..=10 => self.attach(),
            11..=18 => self.client_asks(),
            19..=22 => self.caller_asks(),
            23..=37 => (0..1 + self.rng.below(4)).for_each(|_| self.post()),
            38..=43 => self.reserve(),
            44..=51 => self.fill(),
            52..=71 => (0..1 + self.rng.below(8)).for_each(|_| self.carry()),
            72..=85 => {
                let shard = self.rng.below(self.cores.len() as u64) as u32;
                self.turn(shard);
            }
            86..=94 => self.writable(),
            95 => self.client_ends(),
            96..=98 => {
                let span = self.rng.millis(1, 60);
                self.pass(span);
            }
            _ => {
                let span = *self.rng.pick(&[Duration::from_millis(200), Duration::from_millis(1100)]);
                self.pass(span);
            }
        }
    }

    /// One input to a core and what it asks for.
    pub fn input<R>(&mut self, shard: u32, input: impl FnOnce(&mut ShardCore, Now, &mut Effects) -> R) -> R {
        let mut fx = Effects::new();
        let result = input(&mut self.cores[shard as usize], self.now, &mut fx);
        for effect in fx {
            self.perform(shard, effect);
        }
        self.cores[shard as usize].check();
        result
    }

    fn perform(&mut self, shard: u32, effect: Effect) {
        match effect {
            Effect::Room(RoomEffect::Tell { shard: to, word }) => {
                self.words.entry((shard, to)).or_default().push_back(word);
            }
            Effect::Answer { ticket, outcome } => {
                if self.canary == Canary::LosesAnswer && self.step == 200 {
                    return;
                }
                assert!(self.answers.insert(ticket, outcome).is_none(), "{ticket:?} is answered twice");
            }
            Effect::Finish { socket, last } => {
                if let Some(client) = self.by_socket.remove(&(shard, socket)) {
                    self.note(format!("client {client} is closed"));
                    self.clients[client].attached = false;
                    self.deliver(client, &last);
                    self.ended(client);
                }
            }
            Effect::Abort(socket) => {
                if let Some(client) = self.by_socket.remove(&(shard, socket)) {
                    self.note(format!("client {client} is aborted"));
                    self.ended(client);
                }
            }
            Effect::Publish(batch) => {
                let id = batch.id;
                self.input(shard, |core, now, _| core.published(now, id, Ok(())));
            }
            Effect::ResumeReads(_) => {}
            other => panic!("not of rooms: {other:?}"),
        }
    }

    pub fn command(&mut self, shard: u32, command: RoomCommand) -> (Ticket, Option<Handle>) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let command = Command::Room(command);
        let handle =
            self.input(shard, |core, now, fx| core.command(now, ticket, &Context::default(), command, fx));
        (ticket, handle)
    }

    pub fn note(&mut self, what: String) {
        if self.trace.len() == TRACE_LINES {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{}: {what}", self.step));
    }

    pub fn home(&self, room: &RoomName) -> u32 {
        room.home(self.cores.len() as u32)
    }

    pub fn room(&mut self) -> RoomName {
        if self.rng.chance(100) {
            return RoomName::everyone();
        }
        super::room(self.rng.pick::<&str>(&ROOMS))
    }

    // ------------------------------------------------------------------ posts

    /// Every payload says which message it is.
    fn payload(&mut self) -> (Kind, Bytes) {
        let nonce = self.posted.len();
        let pad = if self.rng.chance(100) { self.rng.below(1500) } else { self.rng.below(40) } as usize;
        let text = match self.rng.below(3) {
            0 => format!("{{\"n\":{nonce},\"k\":{},\"pad\":\"{:pad$}\"}}", nonce % 3, ""),
            _ => format!("n {nonce} {:pad$}", ""),
        };
        let kind = if self.rng.chance(300) { Kind::Binary } else { Kind::Text };
        (kind, text.into())
    }

    fn post(&mut self) {
        let room = self.room();
        let (kind, payload) = self.payload();
        let post = Post { kind, payload: payload.clone() };
        let home = self.home(&room);
        let (ticket, _) = self.command(home, RoomCommand::Post { room: room.clone(), post });
        if let Some(at) = self.placed(ticket) {
            self.note(format!("message {} is {} {at:?}", self.posted.len(), room.as_str()));
            self.posted.push(Posted { kind, payload, step: self.step, places: [(room, at)].into() });
            self.stats.posts += 1;
        }
    }

    fn placed(&mut self, ticket: Ticket) -> Option<Position> {
        match self.answers.remove(&ticket)? {
            Ok(Answer::Room(RoomAnswer::Placed(at))) => Some(at),
            other => panic!("not placed: {other:?}"),
        }
    }

    fn reserve(&mut self) {
        let rooms: BTreeSet<RoomName> = (0..2 + self.rng.below(2)).map(|_| self.room()).collect();
        let (kind, payload) = self.payload();
        let mut places = BTreeMap::new();
        for room in &rooms {
            let home = self.home(room);
            let (ticket, _) = self.command(home, RoomCommand::Reserve(room.clone()));
            let Some(at) = self.placed(ticket) else { return };
            places.insert(room.clone(), at);
        }
        self.note(format!("message {} is {places:?}", self.posted.len()));
        let all = places.iter().map(|(room, at)| Place { room: room.clone(), at: *at });
        let message = Message {
            kind,
            payload: payload.clone(),
            wall: self.now.wall,
            places: all.collect(),
            from: self.relayed.clone(),
        };
        self.filling.push(Filling { message: Arc::new(message), rooms: rooms.into_iter().collect() });
        self.posted.push(Posted { kind, payload, step: self.step, places });
        self.stats.shared += 1;
    }

    /// One room of one message, in any order.
    fn fill(&mut self) {
        if self.filling.is_empty() {
            return;
        }
        let nth = self.rng.below(self.filling.len() as u64) as usize;
        let filling = &mut self.filling[nth];
        let room = filling.rooms.swap_remove(self.rng.below(filling.rooms.len() as u64) as usize);
        let message = filling.message.clone();
        if filling.rooms.is_empty() || self.rng.chance(10) {
            // Sometimes whoever sends it goes away in between.
            self.filling.swap_remove(nth);
        }
        let at = message.at(&room).unwrap();
        let (ticket, _) = self.command(self.home(&room), RoomCommand::Fill { room, at, message });
        self.answers.remove(&ticket);
    }

    // ------------------------------------------------------------------ words

    fn carry(&mut self) {
        let waiting: Vec<(u32, u32)> =
            self.words.iter().filter(|(_, words)| !words.is_empty()).map(|(pair, _)| *pair).collect();
        if waiting.is_empty() {
            return;
        }
        let pair = *self.rng.pick(&waiting);
        let words = self.words.get_mut(&pair).unwrap();
        let breaks = !self.broken && self.step > 100;
        if breaks && self.canary == Canary::SwapsWords && words.len() > 1 {
            let both = (&words[0], &words[1]);
            if let (Between::Deliver { room: a, .. }, Between::Deliver { room: b, .. }) = both
                && a == b
            {
                words.swap(0, 1);
                self.broken = true;
            }
        }
        let Some(word) = words.pop_front() else { return };
        if let Between::Deliver { room, at, .. } = &word {
            self.handed_on.insert((room.clone(), *at));
        }
        if let Between::Entered { room, seat, .. } = &word
            && let Some(connection) = self.cores[pair.1 as usize].connections.get(seat.socket.conn)
        {
            let client: usize = connection.id.as_str()[1..].parse().unwrap();
            self.clients[client].book.entered.push((room.clone(), self.step));
        }
        match &word {
            Between::Deliver { .. } if breaks && self.canary == Canary::LosesMessage => {
                return self.broken = true;
            }
            Between::Deliver { .. } if breaks && self.canary == Canary::RepeatsMessage => {
                self.broken = true;
                let again = word.clone();
                self.input(pair.1, |core, now, fx| core.told(now, again, fx));
            }
            Between::Gap { .. } => {
                self.stats.given_up += 1;
                if self.canary == Canary::LosesGap {
                    return;
                }
            }
            _ => {}
        }
        self.input(pair.1, |core, now, fx| core.told(now, word, fx));
    }

    // ---------------------------------------------------------------- the clock

    fn pass(&mut self, span: Duration) {
        let end = self.now.mono + span;
        loop {
            let next = self.cores.iter().filter_map(ShardCore::poll_timeout).min();
            let to = next.filter(|next| *next <= end).unwrap_or(end).max(self.now.mono);
            let passed = to.since(self.now.mono).as_nanos() as u64;
            self.now.mono = to;
            self.now.wall = Wall::from_unix_nanos(self.now.wall.unix_nanos() + passed);
            for shard in 0..self.cores.len() as u32 {
                self.input(shard, |core, now, fx| core.handle_timeout(now, fx));
                self.input(shard, |core, now, fx| core.end_turn(now, fx));
            }
            if next.is_none_or(|next| next > end) {
                return;
            }
        }
    }

    /// What the shell does at the end of a turn.
    pub fn turn(&mut self, shard: u32) {
        self.input(shard, |core, now, fx| core.handle_timeout(now, fx));
        self.input(shard, |core, now, fx| core.end_turn(now, fx));
        let mut dirty = Vec::new();
        self.cores[shard as usize].take_dirty(&mut dirty);
        for key in dirty {
            if let Some(client) = self.by_socket.get(&(shard, key)).copied() {
                self.flush(client);
            }
        }
        let budget = *self.rng.pick(&[1, 2, 7, 1000]);
        self.flush_rooms(shard, budget);
    }

    fn heal(&mut self) {
        self.healed = true;
        self.note("heal".into());
        for client in 0..self.clients.len() {
            self.clients[client].kernel.space = usize::MAX;
        }
        // Numbers that nobody fills are given up meanwhile.
        let end = self.now.mono + Duration::from_secs(3);
        for _ in 0..400 {
            while !self.filling.is_empty() {
                self.fill();
            }
            (0..200).for_each(|_| self.carry());
            (0..self.clients.len()).for_each(|client| self.take_answers(client));
            for client in 0..self.clients.len() {
                self.attach_one(client);
                self.clients[client].kernel.space = usize::MAX;
                self.unstall(client);
            }
            (0..self.cores.len() as u32).for_each(|shard| self.turn(shard));
            let quiet = self.words.values().all(VecDeque::is_empty)
                && self.cores.iter().all(|core| !core.rooms_want_turn() && !core.wants_turn());
            self.pass(Duration::from_millis(20));
            if quiet && self.words.values().all(VecDeque::is_empty) && self.now.mono > end {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    pub fn spec() -> Arc<Spec> {
        let settings = Settings { auto_reconnect: false, ..testing::settings() };
        Arc::new(Spec {
            dial: testing::dial("ws://client.example/"),
            settings: settings.into(),
            source: Bytes::new(),
            has_secrets: false,
        })
    }

    pub fn next_mark(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    pub fn new_id(&self) -> ConnectionId {
        ConnectionId::parse(&format!("c{}", self.clients.len())).unwrap()
    }
}

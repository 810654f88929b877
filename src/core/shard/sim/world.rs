//! What surrounds the core in the simulation: the clock, the sockets' kernels, the backends.

use super::*;

/// What comes later.
#[derive(Debug)]
pub enum Event {
    Caller,
    Fault,
    Dialled(u64, bool),
    ToPeer(u64, Vec<u8>),
    /// The peer says this.
    Says(u64, Vec<u8>),
    /// It reaches us.
    FromPeer(u64, Vec<u8>),
    PeerLeaves(u64),
    Writable(u64),
    Feed(u64),
    Stored,
    Published,
    Spilled,
    Fetch(usize),
    WallJump(i64),
    Crash,
    Restart,
    Unfence,
    ReadOut(SocketKey),
    Prepared(Box<Record>, u64),
    Retired(Box<Record>, u64),
    Heal,
}

/// One socket that the core has, or is dialling.
pub struct Socket {
    pub key: SocketKey,
    pub upstream: usize,
    pub open: bool,
    pub decoder: Decoder,
    /// Bytes that the kernel still takes.
    pub space: usize,
    pub stalled: bool,
    pub paused: bool,
    pub unread: VecDeque<Vec<u8>>,
    pub peer: Peer,
    /// Bytes keep their order on the way.
    pub to_peer_at: Time,
    pub from_peer_at: Time,
}

impl World {
    pub fn at(&mut self, at: Time, event: Event) {
        self.order += 1;
        self.events.insert((at, self.order), event);
    }

    pub fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.now.mono + wait, event);
    }

    /// One input to the core and what it asks for.
    pub fn step<R>(&mut self, input: impl FnOnce(&mut ShardCore, Now, &mut Effects) -> R) -> R {
        let mut fx = std::mem::take(&mut self.fx);
        let result = input(&mut self.core, self.now, &mut fx);
        for effect in fx.drain(..) {
            self.perform(effect);
        }
        self.fx = fx;
        self.core.check();
        self.check_books();
        result
    }

    /// What the shell does at the end of a turn.
    pub fn turn(&mut self) {
        if self.core.poll_timeout().is_some_and(|at| at <= self.now.mono) {
            self.step(ShardCore::handle_timeout_input);
        }
        for _ in 0..64 {
            self.step(|core, now, fx| core.end_turn(now, fx));
            if !self.core.wants_turn() {
                break;
            }
        }
        let mut dirty = Vec::new();
        self.core.take_dirty(&mut dirty);
        for key in dirty {
            if let Some(sid) = self.live.get(&key).copied() {
                self.flush(sid);
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Room(effect) => panic!("{effect:?}: this simulation has no rooms"),
            Effect::Answer { ticket, outcome } | Effect::SendEnded { ticket, outcome, .. } => {
                self.answered(ticket, outcome);
            }
            Effect::Dial { socket, spec } => self.dial(socket, &spec),
            Effect::Finish { socket, last } => {
                if let Some(sid) = self.live.remove(&socket) {
                    self.note("finish", sid, last.len() as u64);
                    self.deliver(sid, last);
                    self.hang_up(sid);
                }
            }
            Effect::Abort(socket) => {
                if let Some(sid) = self.live.remove(&socket) {
                    self.note("abort", sid, 0);
                    self.hang_up(sid);
                }
            }
            Effect::PauseReads(socket) => self.pause(socket, true),
            Effect::ResumeReads(socket) => self.pause(socket, false),
            Effect::ReadOut(socket) => {
                self.pause(socket, false);
                self.after(Duration::ZERO, Event::ReadOut(socket));
            }
            Effect::Persist { ticket, record } => self.ask_store(StoreOp::Put(ticket, record)),
            Effect::Forget { ticket, id } => self.ask_store(StoreOp::Delete(ticket, id)),
            Effect::Publish(batch) => self.ask_bus(batch),
            Effect::Spill { id, record } => self.ask_spill(SpillOp::Append(id, record)),
            Effect::PeekSpill => self.ask_spill(SpillOp::Peek),
            Effect::PopSpill => self.ask_spill(SpillOp::Pop),
        }
    }

    fn pause(&mut self, socket: SocketKey, paused: bool) {
        let Some(&sid) = self.live.get(&socket) else { return };
        self.note("pause", sid, u64::from(paused));
        if let Some(socket) = self.sockets.get_mut(&sid) {
            socket.paused = paused;
            if !paused {
                for bytes in std::mem::take(&mut socket.unread) {
                    self.after(Duration::ZERO, Event::FromPeer(sid, bytes));
                }
            }
        }
    }

    /// Ours is gone. The kernel's bytes may still reach the peer.
    fn hang_up(&mut self, sid: u64) {
        if let Some(socket) = self.sockets.get_mut(&sid) {
            socket.open = false;
        }
    }

    fn dial(&mut self, key: SocketKey, spec: &Spec) {
        let text = std::str::from_utf8(&spec.source).unwrap();
        let upstream: usize = text.split(':').next().unwrap().parse().unwrap();
        self.next_sid += 1;
        let sid = self.next_sid;
        self.note("dial", sid, upstream as u64);
        assert!(self.live.insert(key, sid).is_none(), "two sockets under one key");
        let manner = self.upstreams[upstream].manner;
        let socket = Socket {
            key,
            upstream,
            open: false,
            decoder: Decoder::new(Role::Server),
            space: usize::MAX,
            stalled: false,
            paused: false,
            unread: VecDeque::new(),
            peer: Peer::default(),
            to_peer_at: Time::ZERO,
            from_peer_at: Time::ZERO,
        };
        self.sockets.insert(sid, socket);
        let fails = !self.healed && self.rng.chance(manner.dial_fails);
        let hangs = !self.healed && self.rng.chance(manner.dial_hangs);
        let wait = if hangs { self.rng.millis(4000, 9000) } else { self.rng.millis(1, 300) };
        self.after(wait, Event::Dialled(sid, !fails));
    }

    pub fn dialled(&mut self, sid: u64, opened: bool) {
        let Some(socket) = self.sockets.get_mut(&sid) else { return };
        let (key, upstream) = (socket.key, socket.upstream);
        let given_up = self.live.get(&key) != Some(&sid);
        if !opened || given_up {
            self.sockets.remove(&sid);
            if !given_up {
                self.live.remove(&key);
                let fault = Fault::new(FaultKind::DialFailed, "refused");
                let failed = DialFailed { cause: CloseCause::DialFailed, fault };
                self.step(|core, now, fx| core.dial_failed(now, key, failed, fx));
            }
            return;
        }
        socket.open = true;
        let manner = self.upstreams[upstream].manner;
        if !self.healed && manner.stalls > 0 && self.rng.chance(manner.stalls) {
            let space = self.rng.below(2000) as usize;
            self.sockets.get_mut(&sid).unwrap().space = space;
        }
        self.step(|core, now, fx| core.opened(now, key, Opened { subprotocol: None }, fx));
        self.greet(sid);
    }

    /// Writes what the outbox holds, as far as the kernel takes it.
    pub fn flush(&mut self, sid: u64) {
        loop {
            let Some(socket) = self.sockets.get_mut(&sid) else { return };
            if socket.stalled || !socket.open {
                return;
            }
            let key = socket.key;
            let mut filled = Vec::new();
            let Some(outbox) = self.core.outbox(key) else { return };
            let rng = &mut self.rng;
            let bytes_max = 200 + rng.below(4000) as usize;
            outbox.fill(&mut filled, bytes_max, || Some((rng.word() as u32).to_ne_bytes()));
            if filled.is_empty() {
                return;
            }
            let mut taken = filled.len().min(socket.space);
            if taken > 1 && self.upstreams[socket.upstream].manner.splits && rng.chance(300) {
                taken = 1 + rng.below(taken as u64 - 1) as usize;
            }
            if taken == 0 {
                socket.stalled = true;
                let wait = self.rng.millis(100, 15_000);
                self.after(wait, Event::Writable(sid));
                return self.core.stalled(self.now, key);
            }
            socket.space -= taken;
            self.deliver(sid, filled[..taken].to_vec());
            self.step(|core, now, fx| core.wrote(now, key, &filled, taken, fx));
        }
    }

    pub fn writable(&mut self, sid: u64) {
        let more = if self.healed { usize::MAX } else { 1 + self.rng.below(6000) as usize };
        if let Some(socket) = self.sockets.get_mut(&sid) {
            socket.stalled = false;
            socket.space = more;
            self.flush(sid);
        }
    }

    fn deliver(&mut self, sid: u64, bytes: Vec<u8>) {
        let wait = self.rng.millis(0, 50);
        let at = self.now.mono + wait;
        let Some(socket) = self.sockets.get_mut(&sid) else { return };
        socket.to_peer_at = socket.to_peer_at.max(at);
        let at = socket.to_peer_at;
        self.at(at, Event::ToPeer(sid, bytes));
    }

    pub fn received(&mut self, sid: u64, mut bytes: Vec<u8>) {
        let Some(socket) = self.sockets.get_mut(&sid).filter(|socket| socket.open) else { return };
        if socket.paused {
            return socket.unread.push_back(bytes);
        }
        let key = socket.key;
        let mut decoder = std::mem::replace(&mut socket.peer.ours, Decoder::new(Role::Client));
        self.step(|core, now, fx| {
            let bounds = ws::Bounds { message_bytes_max: core.message_bytes_max(key), fragments_max: 16 };
            let fed = decoder.feed(&bounds, &mut bytes, &mut |event| core.event(now, key, event, fx));
            if let Err(violation) = fed {
                core.violated(now, key, violation, fx);
            }
        });
        if let Some(socket) = self.sockets.get_mut(&sid) {
            socket.peer.ours = decoder;
        }
    }

    pub fn peer_left(&mut self, sid: u64) {
        let Some(socket) = self.sockets.get_mut(&sid) else { return };
        let (key, open) = (socket.key, socket.open);
        socket.open = false;
        if open {
            self.live.remove(&key);
            let cause = *self.rng.pick(&[CloseCause::PeerVanished, CloseCause::NetworkError]);
            self.step(|core, now, fx| core.ended(now, key, cause, "cut", fx));
        }
    }
}

impl ShardCore {
    fn handle_timeout_input(&mut self, now: Now, fx: &mut Effects) {
        self.handle_timeout(now, fx);
    }
}

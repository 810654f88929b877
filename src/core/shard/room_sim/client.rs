//! Clients: how they come and go, what they ask, and what their kernels take.

use super::*;
use crate::core::id::ConnectionId;

/// What the kernel still takes of a socket.
#[derive(Debug)]
pub struct Kernel {
    pub space: usize,
    pub stalled: bool,
    pub splits: bool,
}

pub struct Client {
    pub id: ConnectionId,
    pub shard: u32,
    pub format: Format,
    pub kernel: Kernel,
    pub admission: Option<Ticket>,
    pub socket: Option<SocketKey>,
    pub attached: bool,
    pub gone: bool,
    pub decoder: Decoder,
    /// Answers of joins by callers, with the room.
    pub joining: Vec<(Ticket, RoomName)>,
    pub book: oracle::Book,
}

impl World {
    pub fn admit(&mut self) {
        if self.clients.iter().filter(|client| !client.gone).count() >= 12 {
            return;
        }
        let id = self.new_id();
        let shard = id.shard(self.cores.len() as u32);
        let format = *self.rng.pick(&[Format::Verbatim, Format::Binary, Format::Numbered, Format::Numbered]);
        let mut book = oracle::Book::default();
        book.entered.push((RoomName::everyone(), self.step));
        let mut rooms = Vec::new();
        for _ in 0..self.rng.below(4) {
            let room = super::room(self.rng.pick::<&str>(&ROOMS));
            if rooms.iter().all(|entry: &Entry| entry.room != room) {
                let after = if self.rng.chance(300) { self.old_position(&room) } else { None };
                book.entered.push((room.clone(), self.step));
                if let Some(after) = after {
                    book.asked.insert((room.clone(), None), after);
                }
                rooms.push(Entry { room, after });
            }
        }
        self.note(format!("client {} is admitted to {rooms:?} as {format:?}", self.clients.len()));
        let admit = Admit {
            id: id.clone(),
            given: false,
            spec: World::spec(),
            tags: Vec::new(),
            user: None,
            subprotocol: None,
            format,
            rooms,
            may_join: Access::Any,
            feeds: Vec::new(),
            publish: None,
            protocol: false,
            valid_for: None,
        };
        let (ticket, _) = self.command(shard, RoomCommand::Admit(Box::new(admit)));
        // Clients of another room system are given bytes, whatever they ask for.
        let format = match format {
            Format::Verbatim if self.relayed.is_some() => Format::Binary,
            format => format,
        };
        let space = if self.rng.chance(700) { usize::MAX } else { self.rng.below(500) as usize };
        self.clients.push(Client {
            id,
            shard,
            format,
            kernel: Kernel { space, stalled: false, splits: self.rng.chance(400) },
            admission: Some(ticket),
            socket: None,
            attached: false,
            gone: false,
            decoder: Decoder::new(Role::Client),
            joining: Vec::new(),
            book,
        });
    }

    /// One that was given to some message of the room, or was not.
    fn old_position(&mut self, room: &RoomName) -> Option<Position> {
        let places: Vec<Position> =
            self.posted.iter().filter_map(|posted| posted.places.get(room).copied()).collect();
        let at = places.get(self.rng.below(places.len().max(1) as u64) as usize).copied()?;
        Some(match self.rng.below(12) {
            0 => Position { epoch: at.epoch - 1, ..at },
            1 => Position { offset: at.offset + 1000, ..at },
            2 => Position { offset: 0, ..at },
            _ => at,
        })
    }

    pub fn take_answers(&mut self, client: usize) {
        if let Some(ticket) = self.clients[client].admission
            && let Some(outcome) = self.answers.remove(&ticket)
        {
            self.clients[client].admission = None;
            match outcome {
                Ok(Answer::Room(RoomAnswer::Admitted { socket, .. })) => {
                    self.clients[client].socket = Some(socket);
                }
                Ok(other) => panic!("{other:?}"),
                Err(_) => self.clients[client].gone = true,
            }
        }
        for (ticket, room) in std::mem::take(&mut self.clients[client].joining) {
            match self.answers.remove(&ticket) {
                None => self.clients[client].joining.push((ticket, room)),
                Some(Ok(Answer::Room(RoomAnswer::Joined { head, .. }))) => {
                    self.clients[client].book.excused.push((room, head));
                }
                Some(Ok(other)) => panic!("{other:?}"),
                Some(Err(_)) => {}
            }
        }
    }

    pub fn attach(&mut self) {
        if !self.clients.is_empty() {
            let client = self.rng.below(self.clients.len() as u64) as usize;
            self.take_answers(client);
            self.attach_one(client);
        }
    }

    /// As the shell does it: what was missed first, then what came since the admission.
    pub fn attach_one(&mut self, client: usize) {
        let known = &self.clients[client];
        let (Some(socket), shard) = (known.socket, known.shard) else { return };
        if known.attached || known.gone {
            return;
        }
        self.by_socket.insert((shard, socket), client);
        self.clients[client].attached = true;
        if !self.input(shard, |core, now, fx| core.attached(now, socket, fx)) {
            self.by_socket.remove(&(shard, socket));
            self.note(format!("client {client} is too late"));
            return self.ended(client);
        }
        self.note(format!("client {client} is attached"));
        self.flush(client);
        self.flush_seats(client);
    }

    pub fn ended(&mut self, client: usize) {
        self.stats.ended += 1;
        let client = &mut self.clients[client];
        client.attached = false;
        client.gone = true;
    }

    fn somebody(&mut self) -> Option<usize> {
        let attached: Vec<usize> =
            (0..self.clients.len()).filter(|client| self.clients[*client].attached).collect();
        (!attached.is_empty()).then(|| *self.rng.pick(&attached))
    }

    pub fn client_ends(&mut self) {
        let Some(client) = self.somebody() else { return };
        let (shard, socket) = (self.clients[client].shard, self.clients[client].socket.unwrap());
        self.note(format!("client {client} ends"));
        let cause = crate::core::reason::CloseCause::PeerVanished;
        self.input(shard, |core, now, fx| core.ended(now, socket, cause, "", fx));
    }

    pub fn client_asks(&mut self) {
        let Some(client) = self.somebody() else { return };
        if self.clients[client].format != Format::Numbered {
            return;
        }
        let room = self.room();
        let name = room.as_str();
        let mark = self.next_mark();
        let book = &mut self.clients[client].book;
        let text = match self.rng.below(10) {
            0..=2 if !room.is_everyone() => {
                book.entered.push((room.clone(), self.step));
                format!("{{\"leave\":\"{name}\"}}")
            }
            0..=5 => {
                book.entered.push((room.clone(), self.step));
                format!("{{\"join\":\"{name}\",\"id\":{mark}}}")
            }
            6 => "{\"ping\":1}".to_owned(),
            _ => {
                let resume = self.rng.chance(500);
                let last = book.last_of(&room).filter(|_| resume);
                let Some(at) = last.or_else(|| self.old_position(&room)) else { return };
                let book = &mut self.clients[client].book;
                book.entered.push((room.clone(), self.step));
                book.asked.insert((room.clone(), Some(mark)), at);
                let numbers = format!("\"epoch\":{},\"offset\":{}", at.epoch, at.offset);
                if resume {
                    format!("{{\"resume\":{{\"room\":\"{name}\",{numbers}}},\"id\":{mark}}}")
                } else {
                    format!("{{\"join\":\"{name}\",{numbers},\"id\":{mark}}}")
                }
            }
        };
        self.note(format!("client {client} says {text}"));
        let (shard, socket) = (self.clients[client].shard, self.clients[client].socket.unwrap());
        self.input(shard, |core, now, fx| core.event(now, socket, ws::Event::Text(&text), fx));
    }

    pub fn caller_asks(&mut self) {
        let Some(client) = self.somebody() else { return };
        let room = self.room();
        let (id, shard) = (self.clients[client].id.clone(), self.clients[client].shard);
        if self.rng.chance(400) {
            self.note(format!("client {client} is taken out of {}", room.as_str()));
            self.clients[client].book.entered.push((room.clone(), self.step));
            let (ticket, _) = self.command(shard, RoomCommand::Leave { id, room });
            self.answers.remove(&ticket);
        } else {
            self.note(format!("client {client} is put into {}", room.as_str()));
            self.clients[client].book.entered.push((room.clone(), self.step));
            let (ticket, _) = self.command(shard, RoomCommand::Join { id, room: room.clone(), after: None });
            self.clients[client].joining.push((ticket, room));
        }
    }

    // --------------------------------------------------------------- the kernel

    pub fn writable(&mut self) {
        let Some(client) = self.somebody() else { return };
        let more = *self.rng.pick(&[1, 5, 60, 400, 5000, usize::MAX]);
        self.clients[client].kernel.space = more;
        self.unstall(client);
    }

    pub fn unstall(&mut self, client: usize) {
        if !self.clients[client].attached || !std::mem::take(&mut self.clients[client].kernel.stalled) {
            return;
        }
        self.flush(client);
        if self.clients[client].attached && !self.clients[client].kernel.stalled {
            self.flush_seats(client);
        }
    }

    /// What the outbox has.
    pub fn flush(&mut self, client: usize) {
        loop {
            let known = &self.clients[client];
            let (shard, Some(socket)) = (known.shard, known.socket) else { return };
            if !known.attached || known.kernel.stalled {
                return;
            }
            let mut filled = Vec::new();
            let Some(outbox) = self.cores[shard as usize].outbox(socket) else { return };
            outbox.fill(&mut filled, 2000, || None);
            if filled.is_empty() {
                return;
            }
            match self.take(client, &filled) {
                0 => {
                    self.clients[client].kernel.stalled = true;
                    let now = self.now;
                    return self.cores[shard as usize].stalled(now, socket);
                }
                taken => self.input(shard, |core, now, fx| core.wrote(now, socket, &filled, taken, fx)),
            }
        }
    }

    /// How much the kernel takes of these bytes; what it takes is read.
    fn take(&mut self, client: usize, bytes: &[u8]) -> usize {
        let kernel = &mut self.clients[client].kernel;
        let mut taken = bytes.len().min(kernel.space);
        if kernel.splits && taken > 1 && !self.healed && self.rng.chance(300) {
            taken = 1 + self.rng.below(taken as u64 - 1) as usize;
        }
        if kernel.space != usize::MAX {
            kernel.space -= taken;
        }
        let mut arrives = &bytes[..taken];
        if self.canary == Canary::LosesBytes && !self.broken && self.step > 100 && taken > 1 {
            self.broken = true;
            arrives = &bytes[..taken - 1];
        }
        self.deliver(client, arrives);
        taken
    }

    pub fn flush_rooms(&mut self, shard: u32, budget: usize) {
        let (now, mut gone) = (self.now, Vec::new());
        let mut cores = std::mem::take(&mut self.cores);
        let mut write = |socket, bytes: &[u8]| self.write(shard, socket, bytes, &mut gone);
        cores[shard as usize].flush_rooms(now, budget, &mut write);
        self.cores = cores;
        self.end_gone(shard, gone);
    }

    pub fn flush_seats(&mut self, client: usize) {
        let (shard, Some(socket)) = (self.clients[client].shard, self.clients[client].socket) else { return };
        let (now, mut gone) = (self.now, Vec::new());
        let mut cores = std::mem::take(&mut self.cores);
        let mut write = |socket, bytes: &[u8]| self.write(shard, socket, bytes, &mut gone);
        cores[shard as usize].flush_seats(now, socket, &mut write);
        self.cores = cores;
        self.end_gone(shard, gone);
    }

    fn end_gone(&mut self, shard: u32, gone: Vec<SocketKey>) {
        for socket in gone {
            let cause = crate::core::reason::CloseCause::NetworkError;
            self.input(shard, |core, now, fx| core.ended(now, socket, cause, "reset", fx));
        }
        self.cores[shard as usize].check();
    }

    /// As the shell's `write_to`.
    fn write(&mut self, shard: u32, socket: SocketKey, bytes: &[u8], gone: &mut Vec<SocketKey>) -> Wrote {
        let Some(client) = self.by_socket.get(&(shard, socket)).copied() else { return Wrote::Blocked };
        if self.clients[client].kernel.stalled {
            return Wrote::Blocked;
        }
        assert!(!bytes.is_empty(), "a write of nothing");
        if !self.healed && self.rng.chance(2) {
            gone.push(socket);
            return Wrote::Gone;
        }
        let taken = self.take(client, bytes);
        self.clients[client].kernel.stalled = taken < bytes.len();
        if taken == 0 { Wrote::Blocked } else { Wrote::Taken(taken) }
    }

    pub fn deliver(&mut self, client: usize, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let mut decoder = std::mem::replace(&mut self.clients[client].decoder, Decoder::new(Role::Client));
        let bounds = ws::Bounds { message_bytes_max: 1 << 22, fragments_max: 1 };
        let fed = decoder.feed(&bounds, &mut bytes, &mut |event| match event {
            ws::Event::Text(text) => self.reads(client, Kind::Text, text.as_bytes()),
            ws::Event::Binary(data) => self.reads(client, Kind::Binary, data),
            ws::Event::Close { code, reason } => {
                if code == Some(1013) {
                    self.stats.slow += 1;
                }
                self.note(format!("client {client} reads a close: {code:?} {reason}"));
            }
            ws::Event::Ping(_) | ws::Event::Pong(_) => {}
        });
        assert_eq!(fed, Ok(()), "we wrote what is no WebSocket");
        self.clients[client].decoder = decoder;
    }
}

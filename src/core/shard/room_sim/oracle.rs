//! What must be true of everything that a client reads, and of what it has at the end.

use super::*;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

/// What one client knows.
#[derive(Default)]
pub struct Book {
    rooms: BTreeMap<RoomName, InRoom>,
    /// By number of the message: how often it came.
    got: BTreeMap<usize, u32>,
    /// Where messages stand that came by another room.
    also: BTreeSet<(RoomName, Position)>,
    /// Numbers that were passed over without a word; they may have come by another room.
    holes: Vec<(RoomName, Position)>,
    /// Numbers of a new epoch of which nothing was said: by then it had been put into the room anew.
    begun: Vec<(RoomName, Position)>,
    /// When it began, left or began anew to be in which room.
    pub entered: Vec<(RoomName, u64)>,
    /// Where it came back, by the mark of its request; none: as it was admitted.
    pub asked: BTreeMap<(RoomName, Option<u64>), Position>,
    /// It was put into rooms by callers, and not told: numbers up to these are none of its.
    pub excused: Vec<(RoomName, Position)>,
}

#[derive(Default)]
struct InRoom {
    /// What it had last; None: not known.
    last: Option<Position>,
    had: BTreeSet<Position>,
    /// Epoch, and the numbers between which all is announced as missing.
    missing: Vec<(u64, u64, u64)>,
}

impl InRoom {
    fn knows(&self, at: Position) -> bool {
        let missing =
            |(epoch, from, to): &(u64, u64, u64)| *epoch == at.epoch && *from < at.offset && at.offset < *to;
        self.had.contains(&at) || self.missing.iter().any(missing)
    }
}

impl Book {
    pub fn last_of(&self, room: &RoomName) -> Option<Position> {
        self.rooms.get(room)?.last
    }

    fn knows(&self, room: &RoomName, at: Position) -> bool {
        self.rooms.get(room).is_some_and(|known| known.knows(at)) || self.also.contains(&(room.clone(), at))
    }

    /// It came to one of these rooms, or left it, at this step or later.
    fn moved(&self, rooms: &BTreeMap<RoomName, Position>, step: u64) -> bool {
        self.entered.iter().any(|(room, at)| rooms.contains_key(room) && *at >= step)
    }
}

fn position(value: &Value) -> Position {
    Position { epoch: value["epoch"].as_u64().unwrap(), offset: value["offset"].as_u64().unwrap() }
}

fn room_of(value: &Value) -> RoomName {
    match value.as_str().unwrap() {
        "" => RoomName::everyone(),
        name => RoomName::parse("room", name).unwrap(),
    }
}

/// Which message this is.
fn nonce_of(payload: &[u8]) -> usize {
    let text = std::str::from_utf8(payload).unwrap();
    let digits = text.strip_prefix("{\"n\":").or(text.strip_prefix("n ")).unwrap_or_else(|| panic!("{text}"));
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap();
    digits[..end].parse().unwrap()
}

impl World {
    pub fn reads(&mut self, client: usize, kind: Kind, bytes: &[u8]) {
        let format = self.clients[client].format;
        if format == Format::Numbered {
            assert_eq!(kind, Kind::Text);
            let value: Value = serde_json::from_slice(bytes).expect("the protocol is JSON");
            return self.reads_numbered(client, &value);
        }
        let nonce = nonce_of(bytes);
        self.note(format!("client {client} reads message {nonce}"));
        let posted = &self.posted[nonce];
        let expected = if format == Format::Binary { Kind::Binary } else { posted.kind };
        assert_eq!((kind, bytes), (expected, &posted.payload[..]), "another payload");
        if let (1, Some((room, at))) = (posted.places.len(), posted.places.first_key_value()) {
            let known = self.clients[client].book.rooms.entry(room.clone()).or_default();
            assert!(
                known.last < Some(*at),
                "client {client}: {} {at:?} after {:?}",
                room.as_str(),
                known.last
            );
            known.last = Some(*at);
        }
        self.had(client, nonce);
    }

    fn had(&mut self, client: usize, nonce: usize) {
        self.stats.frames += 1;
        let posted = &self.posted[nonce];
        let book = &mut self.clients[client].book;
        let count = book.got.entry(nonce).or_default();
        *count += 1;
        let count = *count;
        let again = book.moved(&posted.places, posted.step);
        assert!(count == 1 || again, "client {client} had message {nonce} {count} times");
    }

    fn reads_numbered(&mut self, client: usize, value: &Value) {
        self.note(format!("client {client} reads {:.110}", value.to_string()));
        if let Some(gap) = value.get("gap") {
            return self.reads_gap(client, gap);
        }
        if value.get("error").is_some() || value.get("pong").is_some() || value.get("left").is_some() {
            return;
        }
        if value.get("joined").is_some() || value.get("room").is_some() && value.get("recovered").is_some() {
            return self.reads_entered(client, value);
        }
        let (room, at) = (room_of(&value["room"]), position(value));
        let payload = match (&value["data"], &value["dataBase64"]) {
            (Value::Null, Value::String(base64)) => STANDARD.decode(base64).unwrap(),
            (Value::String(text), Value::Null) => text.clone().into_bytes(),
            (object, _) => {
                // As it was, byte for byte, but for what JSON does not tell apart.
                let nonce = object["n"].as_u64().unwrap() as usize;
                let posted: Value = serde_json::from_slice(&self.posted[nonce].payload).unwrap();
                assert_eq!((object, self.posted[nonce].kind), (&posted, Kind::Text));
                self.posted[nonce].payload.to_vec()
            }
        };
        let nonce = nonce_of(&payload);
        let posted = &self.posted[nonce];
        assert_eq!(payload, posted.payload, "another payload");
        assert_eq!(posted.places.get(&room), Some(&at), "message {nonce} stands elsewhere");
        let book = &mut self.clients[client].book;
        let also = value["also"].as_array().into_iter().flatten();
        let also: BTreeSet<_> = also.map(|place| (room_of(&place["room"]), position(place))).collect();
        let others = posted.places.iter().filter(|(other, _)| **other != room);
        assert_eq!(also, others.map(|(room, at)| (room.clone(), *at)).collect(), "also");
        book.also.extend(also);
        let known = book.rooms.entry(room.clone()).or_default();
        assert!(known.last < Some(at), "client {client}: {} {at:?} after {:?}", room.as_str(), known.last);
        self.passed_over(client, &room, at);
        let known = self.clients[client].book.rooms.entry(room).or_default();
        known.last = Some(at);
        known.had.insert(at);
        self.had(client, nonce);
    }

    /// Numbers between what it had last and this one, of which nothing was said.
    fn passed_over(&mut self, client: usize, room: &RoomName, at: Position) {
        let book = &mut self.clients[client].book;
        let known = book.rooms.entry(room.clone()).or_default();
        let Some(last) = known.last else { return };
        if at.epoch != last.epoch {
            return book.begun.push((room.clone(), at));
        }
        let passed = (last.offset + 1..at.offset).map(|offset| Position { offset, ..at });
        let silent = passed.filter(|at| !known.knows(*at));
        book.holes.extend(silent.map(|at| (room.clone(), at)));
    }

    fn reads_gap(&mut self, client: usize, gap: &Value) {
        self.stats.gaps += 1;
        let (room, from, to) = (room_of(&gap["room"]), position(&gap["from"]), position(&gap["to"]));
        assert!(from.epoch == to.epoch && to.offset > from.offset + 1, "a gap of nothing: {gap}");
        self.passed_over(client, &room, Position { offset: from.offset + 1, ..from });
        let known = self.clients[client].book.rooms.entry(room).or_default();
        let lied =
            (from.offset + 1..to.offset).any(|offset| known.had.contains(&Position { offset, ..from }));
        assert!(!lied || known.last.is_none_or(|last| last < from), "it had some of this: {gap}");
        known.missing.push((from.epoch, from.offset, to.offset));
        known.last = known.last.max(Some(Position { offset: to.offset - 1, ..to }));
    }

    fn reads_entered(&mut self, client: usize, value: &Value) {
        let room = room_of(value.get("joined").unwrap_or(&value["room"]));
        let head = position(value);
        let book = &mut self.clients[client].book;
        let asked = book.asked.get(&(room.clone(), value["id"].as_u64())).copied();
        let known = book.rooms.entry(room).or_default();
        known.last = match value.get("recovered") {
            None => Some(head),
            Some(Value::Bool(true)) => {
                self.stats.resumed += 1;
                Some(asked.expect("it asked where it had been"))
            }
            Some(_) => {
                self.stats.not_recovered += 1;
                None
            }
        };
        self.stats.joined += 1;
    }

    // ------------------------------------------------------------------ the end

    pub fn demand_everything(&mut self) {
        for core in &self.cores {
            let of = core.here.deliveries;
            assert_eq!(core.here.in_flight(), 0, "something is in flight for ever");
            self.stats.dropped += of.dropped_oldest + of.dropped_latest + of.dropped_closed;
            self.stats.kept += of.recovered;
        }
        let mut heads = BTreeMap::new();
        for room in
            ROOMS.map(|name| RoomName::parse("room", name).unwrap()).into_iter().chain([RoomName::everyone()])
        {
            let home = self.home(&room);
            let (ticket, _) =
                self.command(home, RoomCommand::History { room: room.clone(), after: None, limit: 0 });
            match self.answers.remove(&ticket) {
                Some(Ok(Answer::Room(RoomAnswer::Kept(kept)))) => heads.insert(room, kept.head),
                other => panic!("no history: {other:?}"),
            };
        }
        for client in 0..self.clients.len() {
            self.take_answers(client);
            self.check_holes(client);
            if self.clients[client].attached {
                self.check_client(client, &heads);
            }
            assert!(self.clients[client].admission.is_none(), "client {client} was never answered");
            assert!(self.clients[client].joining.is_empty(), "a caller was never answered");
        }
    }

    /// Numbers that were passed over came by another room, or were none of its.
    fn check_holes(&mut self, client: usize) {
        let alive = self.clients[client].attached;
        for (room, at) in std::mem::take(&mut self.clients[client].book.begun) {
            let excused = &self.clients[client].book.excused;
            let put = excused.iter().any(|(known, head)| *known == room && head.epoch == at.epoch);
            assert!(put, "client {client}: {} {at:?}: a new epoch without a word", room.as_str());
        }
        for (room, at) in std::mem::take(&mut self.clients[client].book.holes) {
            let excused = &self.clients[client].book.excused;
            if excused.iter().any(|(known, upto)| *known == room && at <= *upto) {
                continue;
            }
            let one_place = self.posted.iter().find(|posted| posted.places.get(&room) == Some(&at));
            let several = one_place.is_some_and(|posted| posted.places.len() > 1);
            assert!(several, "client {client}: {} {at:?} is missing without a word", room.as_str());
            assert!(
                !alive || self.has(client, &room, at),
                "client {client} has not {} {at:?}",
                room.as_str()
            );
        }
    }

    fn has(&mut self, client: usize, room: &RoomName, at: Position) -> bool {
        let posted = self.posted.iter().enumerate().find(|(_, posted)| posted.places.get(room) == Some(&at));
        let known = &self.clients[client];
        if known.book.knows(room, at) {
            return true;
        }
        let Some((nonce, posted)) = posted else { return false };
        if known.format != Format::Numbered && known.book.got.contains_key(&nonce) {
            return true;
        }
        if posted.places.len() == 1 {
            return false;
        }
        // It was to come by another room.
        let skipped = posted.places.iter().any(|(room, at)| known.book.knows(room, *at));
        let left = known.book.moved(&posted.places, posted.step);
        // Whoever sends it went away before that room had it.
        let given_up = posted.places.iter().any(|(room, at)| !self.handed_on.contains(&(room.clone(), *at)));
        let skipped = skipped || given_up && known.format != Format::Numbered;
        self.stats.lost_by_leaving += u64::from(left && !skipped);
        skipped || left
    }

    /// All that was ever for it, up to the last number of each of its rooms.
    fn check_client(&mut self, client: usize, heads: &BTreeMap<RoomName, Position>) {
        let known = &self.clients[client];
        let core = &self.cores[known.shard as usize];
        let connection = core.connections.get(known.socket.unwrap().conn).unwrap();
        let seats = &connection.accepted.as_ref().unwrap().seats;
        let seats: Vec<_> = seats.iter().map(|seat| (seat.name.clone(), seat.since, seat.index)).collect();
        for (room, since, index) in seats {
            assert!(index.is_some(), "client {client} waits for {} for ever", room.as_str());
            let head = heads[&room];
            assert_eq!(since.epoch, head.epoch, "{}: an epoch too many", room.as_str());
            for offset in since.offset + 1..=head.offset {
                let at = Position { offset, ..head };
                let verbatim = self.clients[client].format != Format::Numbered;
                let drops = |room: &RoomName| self.rules.slow(room) != Slow::Close;
                let posted = self.posted.iter().find(|posted| posted.places.get(&room) == Some(&at));
                let may_drop = posted.is_some_and(|posted| posted.places.keys().any(drops)) || drops(&room);
                // Nobody tells such a client what is missing.
                let given_up = !self.handed_on.contains(&(room.clone(), at));
                if verbatim && (may_drop || given_up) {
                    continue;
                }
                let has = self.has(client, &room, at);
                assert!(has, "client {client} has not {} {at:?}, of {since:?} to {head:?}", room.as_str());
            }
        }
    }
}

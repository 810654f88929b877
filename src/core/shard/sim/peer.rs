//! The fake upstreams: real frames, bad manners.

use super::*;
use crate::wire::ws::{Opcode, encode, encode_close};

/// How an upstream behaves; chances are per mille.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    pub dial_fails: u64,
    pub dial_hangs: u64,
    pub never: u64,
    pub twice: u64,
    pub answer_millis: u64,
    /// The average wait between two things it says of itself; zero: it says nothing.
    pub feed_millis: u64,
    pub stalls: u64,
    pub splits: bool,
    pub no_pong: bool,
    pub pings: bool,
    /// Of each of: close, vanish, garbage, flood; at each look at it.
    pub leaves: u64,
    pub fat: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Auto,
    /// Few ids, used again and again.
    Pool,
    Integer,
    Uuid,
    Array,
    Prefix,
    Fifo,
    Match,
}

impl Style {
    /// Replies are told by order alone: the peer must keep it.
    pub fn orderly(self) -> bool {
        matches!(self, Style::Fifo | Style::Match)
    }
}

pub struct Peer {
    /// Our decoder of what it says.
    pub ours: Decoder,
    /// It will not answer any more on this socket.
    pub mute: bool,
    pub left: bool,
}

impl Default for Peer {
    fn default() -> Self {
        Peer { ours: Decoder::new(Role::Client), mute: false, left: false }
    }
}

/// What the peer read, before it reacts.
enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Close,
}

impl World {
    pub fn greet(&mut self, sid: u64) {
        let Some(socket) = self.sockets.get(&sid) else { return };
        let feed = self.upstreams[socket.upstream].manner.feed_millis;
        if feed > 0 {
            let wait = self.rng.millis(0, feed * 2);
            self.after(wait, Event::Feed(sid));
        }
    }

    pub fn heard(&mut self, sid: u64, mut bytes: Vec<u8>) {
        let Some(socket) = self.sockets.get_mut(&sid) else { return };
        let mut heard = Vec::new();
        let bounds = ws::Bounds { message_bytes_max: 1 << 22, fragments_max: 4 };
        let fed = socket.decoder.feed(&bounds, &mut bytes, &mut |event| {
            heard.push(match event {
                ws::Event::Text(text) => Heard::Text(text.to_owned()),
                ws::Event::Binary(data) => Heard::Binary(data.to_vec()),
                ws::Event::Ping(payload) => Heard::Ping(payload.to_vec()),
                ws::Event::Pong(_) => return,
                ws::Event::Close { .. } => Heard::Close,
            });
        });
        assert_eq!(fed, Ok(()), "we wrote what is no WebSocket");
        for heard in heard {
            self.react(sid, heard);
        }
    }

    fn react(&mut self, sid: u64, heard: Heard) {
        let Some(socket) = self.sockets.get(&sid) else { return };
        let (upstream, left) = (socket.upstream, socket.peer.left);
        let manner = self.upstreams[upstream].manner;
        let (nonce, reply) = match heard {
            Heard::Ping(payload) => {
                if !left && (self.healed || !manner.no_pong) {
                    self.say(sid, Duration::ZERO, Opcode::Pong, &payload);
                }
                return;
            }
            Heard::Close => {
                if let Some(socket) = self.sockets.get_mut(&sid) {
                    socket.peer.left = true;
                }
                return;
            }
            Heard::Text(text) => answer_to_text(&text),
            Heard::Binary(data) => answer_to_binary(&data),
        };
        self.peer_saw(nonce);
        let Some((opcode, reply)) = reply.filter(|_| !left) else { return };
        let orderly = self.upstreams[upstream].style.orderly();
        let never = !self.healed && self.rng.chance(manner.never);
        if let Some(socket) = self.sockets.get_mut(&sid) {
            // Where only order tells, one missing answer makes all later ones wrong.
            socket.peer.mute |= never && orderly;
            if never || socket.peer.mute {
                return;
            }
        }
        let quick = self.healed && !orderly;
        let slow = if quick { manner.answer_millis.min(100) } else { manner.answer_millis };
        let wait = if orderly { Duration::from_millis(slow / 2) } else { self.rng.millis(0, slow) };
        self.say(sid, wait, opcode, &reply);
        if !orderly && self.rng.chance(manner.twice) {
            let wait = wait + self.rng.millis(0, 3000);
            self.say(sid, wait, opcode, &reply);
        }
    }

    /// Something of its own: the feed, or bad manners.
    pub fn feed(&mut self, sid: u64) {
        let Some(socket) = self.sockets.get(&sid).filter(|socket| !socket.peer.left) else { return };
        let upstream = socket.upstream;
        let manner = self.upstreams[upstream].manner;
        if !socket.open {
            return;
        }
        let wait = self.rng.millis(0, manner.feed_millis * 2);
        self.after(wait, Event::Feed(sid));
        if !self.healed && self.rng.chance(manner.leaves) {
            return self.misbehave(sid);
        }
        if manner.pings && self.rng.chance(200) {
            self.say(sid, Duration::ZERO, Opcode::Ping, b"there?");
        }
        if self.upstreams[upstream].style.orderly() {
            // It may only speak when asked, or the order says nothing.
            return;
        }
        let mut bytes = Vec::new();
        for _ in 0..1 + self.rng.below(6) {
            let number = self.upstreams[upstream].next_feed;
            self.upstreams[upstream].next_feed += 1;
            let pad = if manner.fat { self.rng.below(9000) } else { self.rng.below(60) };
            let text = format!("{{\"n\":{number},\"k\":{},\"pad\":\"{:2$}\"}}", number % 3, "", pad as usize);
            let opcode = if number % 7 == 6 { Opcode::Binary } else { Opcode::Text };
            encode(&mut bytes, opcode, text.as_bytes(), None);
        }
        self.after(Duration::ZERO, Event::Says(sid, bytes));
    }

    fn misbehave(&mut self, sid: u64) {
        let mut bytes = Vec::new();
        match self.rng.below(5) {
            0 => encode_close(&mut bytes, 1012, "restart", None),
            1 => bytes.extend([0xff, 0x80, 1, 2, 3]),
            2 => encode(&mut bytes, Opcode::Text, &[0xff, 0xfe, b'a'], None),
            3 => (0..80).for_each(|_| encode(&mut bytes, Opcode::Ping, b"x", None)),
            _ => {}
        }
        let leaves = bytes.is_empty() || self.rng.chance(500);
        if !bytes.is_empty() {
            self.after(Duration::ZERO, Event::Says(sid, bytes));
        }
        if leaves {
            let wait = self.rng.millis(0, 200);
            self.after(wait, Event::PeerLeaves(sid));
        }
    }

    fn say(&mut self, sid: u64, wait: Duration, opcode: Opcode, payload: &[u8]) {
        let mut bytes = Vec::new();
        encode(&mut bytes, opcode, payload, None);
        self.after(wait, Event::Says(sid, bytes));
    }

    /// The way to us: in order, in pieces.
    pub fn says(&mut self, sid: u64, mut bytes: Vec<u8>) {
        let wait = self.rng.millis(0, 40);
        let at = self.now.mono + wait;
        let Some(socket) = self.sockets.get_mut(&sid) else { return };
        socket.from_peer_at = socket.from_peer_at.max(at);
        let at = socket.from_peer_at;
        let splits = self.upstreams[socket.upstream].manner.splits;
        if splits && bytes.len() < 40 && self.rng.chance(100) {
            for byte in bytes {
                self.at(at, Event::FromPeer(sid, vec![byte]));
            }
            return;
        }
        if splits && bytes.len() > 1 && self.rng.chance(500) {
            let cut = 1 + self.rng.below(bytes.len() as u64 - 1) as usize;
            let rest = bytes.split_off(cut);
            self.at(at, Event::FromPeer(sid, bytes));
            return self.at(at, Event::FromPeer(sid, rest));
        }
        self.at(at, Event::FromPeer(sid, bytes));
    }
}

type Reply = Option<(Opcode, Vec<u8>)>;

fn answer_to_text(text: &str) -> (u64, Reply) {
    let text_reply = |text: String| Some((Opcode::Text, text.into_bytes()));
    if let Some(nonce) = text.strip_prefix("fifo ") {
        return (nonce.trim().parse().unwrap(), text_reply(format!("re {nonce}")));
    }
    if let Some(nonce) = text.strip_prefix("raw ") {
        return (nonce.trim().parse().unwrap(), None);
    }
    let value: serde_json::Value = serde_json::from_str(text).expect("callers send JSON");
    if value.is_array() {
        let nonce = value[3].as_u64().unwrap();
        return (nonce, text_reply(format!("[3,{},{nonce}]", value[1])));
    }
    let nonce = value["q"].as_u64().unwrap();
    if value["m"] == true {
        return (nonce, text_reply(format!("{{\"topic\":\"ack\",\"r\":{nonce}}}")));
    }
    (nonce, text_reply(format!("{{\"r\":{nonce},\"id\":{}}}", value["id"])))
}

fn answer_to_binary(data: &[u8]) -> (u64, Reply) {
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().parse().unwrap();
    if let Some(nonce) = data.strip_prefix(b"raw ") {
        return (number(nonce), None);
    }
    let (prefix, rest) = data.split_first_chunk::<16>().expect("a prefix");
    let nonce = number(rest.strip_prefix(b"q ").expect("a question"));
    let reply = [&prefix[..], format!("{{\"r\":{nonce}}}").as_bytes()].concat();
    (nonce, Some((Opcode::Binary, reply)))
}

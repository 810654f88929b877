//! What a socket delivers: the hot path. Each message goes to the Send that waits for it, or gets
//! its number and goes to the ring and to its topic.

use super::{ShardCore, follow::Marks};
use crate::{
    core::{
        admission::TokenBucket,
        correlation::{Kind, Verdict},
        id::{ConnKey, Ticket},
        io::{Answer, Effects, SocketKey},
        publish::Stamp,
        reason::{CloseCause, DropReason},
        ring::RecordKind,
        time::Now,
    },
    limits,
    wire::ws::{Event, Opcode, Violation, ViolationKind},
};
use bytes::Bytes;

impl ShardCore {
    /// One decoded event of a socket; events of a socket that is no longer the connection's are
    /// ignored.
    pub fn event(&mut self, now: Now, socket: SocketKey, event: Event<'_>, fx: &mut Effects) {
        if !self.is_current(socket) {
            return;
        }
        match event {
            Event::Text(text) => self.message(now, socket.conn, Kind::Text, text.as_bytes(), fx),
            Event::Binary(data) => self.message(now, socket.conn, Kind::Binary, data, fx),
            Event::Ping(payload) => self.pinged(now, socket.conn, payload, fx),
            Event::Pong(_) => self.ponged(now, socket.conn, fx),
            Event::Close { code, reason } => self.peer_closed(now, socket.conn, code, reason, fx),
        }
    }

    fn message(&mut self, now: Now, key: ConnKey, kind: Kind, payload: &[u8], fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let bytes = payload.len() as u64;
        self.counters.messages_in += 1;
        self.counters.bytes_in += bytes;
        connection.counters.messages_in += 1;
        connection.counters.bytes_in += bytes;
        connection.content_type = Some(kind);
        connection.heart.last_data = now.mono;
        if connection.accepted.is_some() && self.requested(now, key, kind, payload, fx) {
            return;
        }
        let Some(connection) = self.connections.get_mut(key) else { return };

        let mut reply = false;
        let mut replied = None;
        if let Some(correlator) = &mut connection.correlator {
            if correlator.wants_messages() {
                match correlator.on_message(now.mono, kind, payload) {
                    Verdict::Unclaimed => {}
                    Verdict::Late => self.counters.replies_late += 1,
                    Verdict::Abandoned => self.counters.replies_abandoned += 1,
                    Verdict::Reply { ticket, strip, published } => {
                        replied = Some((ticket, strip));
                        reply = published;
                    }
                }
            } else if correlator.is_idle(now.mono) {
                connection.next_integer = correlator.next_integer();
                connection.correlator = None;
            }
        }
        if let Some((ticket, strip)) = replied {
            self.replied(now, ticket, kind, &payload[strip..], fx);
            if !reply {
                self.counters.replies += 1;
                return;
            }
        }
        self.number(now, key, kind, payload, reply);
        if self.connections.get(key).is_some_and(|connection| !connection.feeds().is_empty()) {
            self.feed(key, kind, payload, fx);
        }
    }

    fn replied(&mut self, now: Now, ticket: Ticket, kind: Kind, payload: &[u8], fx: &mut Effects) {
        let payload = Bytes::copy_from_slice(payload);
        self.end_send(now, ticket, Ok(Answer::Replied { payload, kind }), fx);
    }

    fn number(&mut self, now: Now, key: ConnKey, kind: Kind, payload: &[u8], reply: bool) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let seq = connection.numbering.next();
        let epoch = connection.numbering.epoch();
        self.counters.numbered += 1;
        let record = match kind {
            Kind::Text => RecordKind::Text,
            Kind::Binary => RecordKind::Binary,
        };
        let possible_duplicate = connection.catching_up;
        self.keep(now, key, record, (epoch, seq), Marks { reply, possible_duplicate }, payload);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(lane) = connection.lane else {
            match connection.feeds().is_empty() {
                false => self.counters.fed += 1,
                true => self.counters.dropped[DropReason::NotPublished.index()] += 1,
            }
            return;
        };
        connection.published_seq = seq;
        let stamp = Stamp { epoch, seq, reply, possible_duplicate };
        self.publisher.message(now, lane, stamp, kind, payload);
    }

    fn pinged(&mut self, now: Now, key: ConnKey, payload: &[u8], fx: &mut Effects) {
        self.counters.pings_in += 1;
        let payload = Bytes::copy_from_slice(payload);
        if self.control_allowed(now, key, fx)
            && let Some(connection) = self.connections.get_mut(key)
        {
            connection.outbox.push_pong(payload);
            self.mark_dirty(key);
        }
    }

    fn ponged(&mut self, now: Now, key: ConnKey, fx: &mut Effects) {
        self.counters.pongs_in += 1;
        if self.control_allowed(now, key, fx)
            && let Some(connection) = self.connections.get_mut(key)
        {
            connection.heart.unanswered = None;
        }
    }

    /// A peer that floods us with control frames is not worth its connection.
    pub(super) fn control_allowed(&mut self, now: Now, key: ConnKey, fx: &mut Effects) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return false };
        let rates = connection.rates.get_or_insert_default();
        let bucket = rates.control.get_or_insert_with(|| {
            TokenBucket::new(f64::from(limits::CONTROL_PER_SECOND), limits::CONTROL_BURST, now.mono)
        });
        if bucket.take(now.mono, 1).is_ok() {
            return true;
        }
        self.close_socket(key, 1008, "too many control frames", fx);
        self.lost(now, key, CloseCause::Flood, "too many control frames", fx);
        false
    }

    fn peer_closed(&mut self, now: Now, key: ConnKey, code: Option<u16>, reason: &str, fx: &mut Effects) {
        self.close_socket(key, code.unwrap_or(1000), "", fx);
        let shown = code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
        let text = if reason.is_empty() {
            shown
        } else {
            format!("{shown} {}", crate::core::redact::escape_log(reason))
        };
        self.lost(now, key, CloseCause::PeerClosed, &text, fx);
    }

    /// The peer broke the protocol: told by its close code, and counted.
    pub fn violated(&mut self, now: Now, socket: SocketKey, violation: Violation, fx: &mut Effects) {
        if !self.is_current(socket) {
            return;
        }
        self.counters.violations += 1;
        let cause = match violation.kind {
            ViolationKind::Protocol => CloseCause::ProtocolError,
            ViolationKind::Utf8 => CloseCause::InvalidUtf8,
            ViolationKind::TooBig => CloseCause::MessageTooBig,
            ViolationKind::Flood => CloseCause::Flood,
        };
        self.close_socket(socket.conn, violation.code, violation.what, fx);
        self.lost(now, socket.conn, cause, violation.what, fx);
    }

    /// A ping of ours, at the interval of the connection.
    pub(super) fn send_ping(&mut self, now: Now, key: ConnKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.heart.last_ping = now.mono;
        connection.heart.unanswered.get_or_insert(now.mono);
        connection.outbox.push_control(Opcode::Ping, Bytes::new());
        self.counters.pings_out += 1;
        self.mark_dirty(key);
    }
}

//! Send and SendRaw: reserve first, which may refuse and then nothing has changed; then commit,
//! which cannot fail. Every accepted Send ends in exactly one outcome.

use super::{Handle, PendingSend, ShardCore, Stopping, Timer, connect::draining};
use crate::{
    core::{
        correlation::{Correlator, Kind},
        counters::SendEnd,
        id::{ConnectionId, Place, Ticket},
        io::{Answer, Context, Effect, Effects, Outcome, Send, SocketKey},
        outbox::{Origin, Progress},
        random,
        reason::{Certainty, Fault, FaultKind},
        time::Now,
    },
    wire::ws::Opcode,
};
use bytes::Bytes;
use std::time::Duration;

impl ShardCore {
    pub(super) fn send(
        &mut self,
        now: Now,
        ticket: Ticket,
        context: &Context,
        send: Send,
        fx: &mut Effects,
    ) -> Option<Handle> {
        match self.accept_send(now, ticket, context, send) {
            Ok(handle) => Some(handle),
            Err(fault) => {
                self.counters.sends_refused += 1;
                self.answer(ticket, Err(fault), fx);
                None
            }
        }
    }

    fn accept_send(
        &mut self,
        now: Now,
        caller: Ticket,
        context: &Context,
        send: Send,
    ) -> Result<Handle, Fault> {
        if self.stopping != Stopping::No {
            return Err(draining());
        }
        self.check_at_home(&send.id)?;
        let outbox_max = self.setup.outbox_bytes_max;
        let key = self.find(&send.id)?;
        let place = self.sends.next_place();
        let own = Ticket(place.pack());
        let Some(connection) = self.connections.get_mut(key) else {
            return Err(Fault::not_found(send.id.as_str()));
        };
        if !connection.is_open() {
            return Err(not_open(connection));
        }
        let settings = &connection.spec.settings;
        check_size(&send.payload, settings.send_bytes_max)?;
        if !connection.outbox.has_room(send.payload.len(), outbox_max) {
            return Err(outbox_full());
        }
        let rule = send.rule.as_deref().unwrap_or(&settings.correlation);
        let (in_flight_max, next_integer) = (settings.sends_in_flight_max, connection.next_integer);
        let correlator = connection
            .correlator
            .get_or_insert_with(|| Box::new(Correlator::resuming(in_flight_max, next_integer)));
        if connection.reads_paused {
            correlator.heard_nothing(now.mono);
        }
        let entropy = &mut self.entropy;
        let payload = correlator.reserve(now.mono, rule, send.payload, own, &mut || random::next(entropy))?;
        // A prefix makes the message binary; everything else keeps its kind.
        let kind = if rule.forces_binary() { Kind::Binary } else { send.kind };
        if let Some(bucket) = connection.rates.as_mut().and_then(|rates| rates.sends.as_mut())
            && let Err(wait) = bucket.take(now.mono, 1)
        {
            correlator.not_written(own);
            return Err(Fault::full("the connection's send limit is reached", wait));
        }

        let left =
            context.deadline.map_or(send.timeout, |deadline| deadline.since(now.mono).min(send.timeout));
        connection.outbox.push(opcode(kind), payload, Origin::Send(own));
        let timer = self.timers.insert(now.mono + left, Timer::Send(own));
        let inserted =
            self.sends.insert(PendingSend { conn: key, caller, timer, started: now.mono, begun: false });
        assert_eq!(inserted, place, "a Send stands where its ticket says");
        self.counters.sends_accepted += 1;
        self.mark_dirty(key);
        Ok(Handle::Send(own))
    }

    pub(super) fn send_raw(
        &mut self,
        now: Now,
        ticket: Ticket,
        id: &ConnectionId,
        payload: Bytes,
        kind: Kind,
        fx: &mut Effects,
    ) -> Option<Handle> {
        match self.accept_raw(now, ticket, id, payload, kind) {
            Ok(socket) => Some(Handle::Raw(socket)),
            Err(fault) => {
                self.answer(ticket, Err(fault), fx);
                None
            }
        }
    }

    fn accept_raw(
        &mut self,
        now: Now,
        ticket: Ticket,
        id: &ConnectionId,
        payload: Bytes,
        kind: Kind,
    ) -> Result<SocketKey, Fault> {
        if self.stopping != Stopping::No {
            return Err(draining());
        }
        self.check_at_home(id)?;
        let outbox_max = self.setup.outbox_bytes_max;
        let (key, connection) = self.find_mut(id)?;
        if !connection.is_open() {
            return Err(not_open(connection));
        }
        check_size(&payload, connection.spec.settings.send_bytes_max)?;
        if !connection.outbox.has_room(payload.len(), outbox_max) {
            return Err(outbox_full());
        }
        if let Some(bucket) = connection.rates.as_mut().and_then(|rates| rates.sends.as_mut())
            && let Err(wait) = bucket.take(now.mono, 1)
        {
            return Err(Fault::full("the connection's send limit is reached", wait));
        }
        connection.outbox.push(opcode(kind), payload, Origin::Raw(ticket));
        let socket = connection.socket(key);
        self.counters.raw_accepted += 1;
        self.mark_dirty(key);
        Ok(socket)
    }

    /// The kernel took the first `taken` bytes of what `Outbox::fill` put into `filled`.
    pub fn wrote(&mut self, now: Now, socket: SocketKey, filled: &[u8], taken: usize, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(socket.conn) else { return };
        if connection.nth != socket.nth || !connection.is_open() {
            return;
        }
        let (sends, counters, own) = (&mut self.sends, &mut self.counters, &mut connection.counters);
        connection.heart.last_write = now.mono;
        own.bytes_out += taken as u64;
        counters.bytes_out += taken as u64;
        let masked = connection.accepted.is_none();
        connection.outbox.wrote(filled, taken, masked, |origin, progress| match (origin, progress) {
            (Origin::Send(ticket), Progress::Begun) => {
                if let Some(send) = sends.get_mut(Place::unpack(ticket.0)) {
                    send.begun = true;
                }
            }
            (Origin::Send(_) | Origin::Orphan, Progress::Finished) => {
                own.messages_out += 1;
                counters.messages_out += 1;
            }
            (Origin::Raw(ticket), Progress::Finished) => {
                own.messages_out += 1;
                counters.messages_out += 1;
                fx.push(Effect::Answer { ticket, outcome: Ok(Answer::Done) });
            }
            (Origin::Raw(_) | Origin::Orphan | Origin::Control, _) => {}
        });
        if connection.outbox.is_empty()
            && let Some(stall) = connection.heart.stall.take()
        {
            self.timers.cancel(stall);
        }
    }

    pub(super) fn send_begun(&self, send: Ticket) -> bool {
        self.sends.get(Place::unpack(send.0)).is_some_and(|send| send.begun)
    }

    /// The one place where a Send ends.
    pub(super) fn end_send(&mut self, now: Now, send: Ticket, outcome: Outcome, fx: &mut Effects) {
        let Some(pending) = self.sends.remove(Place::unpack(send.0)) else { return };
        self.timers.cancel(pending.timer);
        let end = match &outcome {
            Ok(_) => SendEnd::Replied,
            Err(fault) => SendEnd::of(fault.kind),
        };
        self.counters.sends_ended[end as usize] += 1;
        let took = now.mono.since(pending.started);
        fx.push(Effect::SendEnded { ticket: pending.caller, outcome, took });
    }

    pub(super) fn send_timed_out(&mut self, now: Now, send: Ticket, fx: &mut Effects) {
        let Some((conn, started)) = self.sends.get(Place::unpack(send.0)).map(|p| (p.conn, p.started)) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let taken_back = connection.outbox.take_back(Origin::Send(send));
        let mut doubtful = Vec::new();
        if let Some(correlator) = &mut connection.correlator {
            if taken_back {
                correlator.not_written(send);
            } else {
                doubtful = correlator.timed_out(now.mono, send);
            }
        }
        let certainty = if taken_back { Certainty::NotSent } else { Certainty::MaybeSent };
        let waited = now.mono.since(started);
        self.end_send(now, send, Err(timeout_fault(waited, certainty)), fx);
        for send in doubtful {
            let taken_back =
                self.connections.get_mut(conn).is_some_and(|c| c.outbox.take_back(Origin::Send(send)));
            let certainty = if taken_back { Certainty::NotSent } else { Certainty::MaybeSent };
            let message = "fifo_resync: an earlier reply is overdue, so the next message cannot be paired";
            let fault = Fault::new(FaultKind::FifoResync, message).with_certainty(certainty);
            self.end_send(now, send, Err(fault), fx);
        }
    }

    pub(super) fn cancel_send(&mut self, now: Now, send: Ticket, fx: &mut Effects) {
        let Some(pending) = self.sends.get(Place::unpack(send.0)) else { return };
        let conn = pending.conn;
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let taken_back = connection.outbox.take_back(Origin::Send(send));
        if let Some(correlator) = &mut connection.correlator {
            if taken_back {
                correlator.not_written(send);
            } else {
                correlator.cancelled(now.mono, send, true);
            }
        }
        let certainty = if taken_back { Certainty::NotSent } else { Certainty::MaybeSent };
        let fault = Fault::new(FaultKind::Cancelled, "the caller went away").with_certainty(certainty);
        self.end_send(now, send, Err(fault), fx);
    }

    pub(super) fn cancel_raw(&mut self, socket: SocketKey, ticket: Ticket) {
        if let Some(connection) = self.connections.get_mut(socket.conn) {
            connection.outbox.disown(Origin::Raw(ticket));
        }
    }
}

fn opcode(kind: Kind) -> Opcode {
    match kind {
        Kind::Text => Opcode::Text,
        Kind::Binary => Opcode::Binary,
    }
}

fn not_open(connection: &crate::core::connection::Connection) -> Fault {
    let message = format!("the socket is not open now: the connection is {}", connection.status().name());
    Fault::new(FaultKind::NotOpen, message).with_certainty(Certainty::NotSent)
}

fn check_size(payload: &Bytes, bytes_max: usize) -> Result<(), Fault> {
    if payload.len() <= bytes_max {
        return Ok(());
    }
    let message = format!("{} bytes are over the connection's limit of {bytes_max}", payload.len());
    Err(Fault::invalid("message", message))
}

fn outbox_full() -> Fault {
    Fault::full(
        "the connection's outbox is full: the peer takes less than is sent",
        Duration::from_millis(100),
    )
    .with_certainty(Certainty::NotSent)
}

fn timeout_fault(waited: Duration, certainty: Certainty) -> Fault {
    Fault::new(FaultKind::TimedOut, format!("no reply within {} ms", waited.as_millis()))
        .with_certainty(certainty)
}

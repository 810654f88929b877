//! How sockets and connections end.

use super::{Ended, ShardCore, StoreThen};
use crate::{
    core::{
        connection::Phase,
        id::{ConnKey, Ticket},
        io::{Answer, Effect, Effects, SocketKey},
        outbox::Origin,
        reason::{Certainty, CloseCause, Fault, FaultKind, GapCause},
        sequence::Gap,
        time::Now,
    },
    limits,
    wire::{self, event::LifecycleState},
};

impl ShardCore {
    /// The socket failed or the peer ended it: pending Sends end now, and the connection goes on
    /// to its next dial or to its end.
    pub fn ended(&mut self, now: Now, socket: SocketKey, cause: CloseCause, text: &str, fx: &mut Effects) {
        if self.is_current(socket) {
            fx.push(Effect::Abort(socket));
            self.lost(now, socket.conn, cause, text, fx);
        } else if self
            .connections
            .get(socket.conn)
            .is_some_and(|known| known.nth == socket.nth && matches!(known.phase, Phase::Prepared { .. }))
        {
            self.drop_prepared(socket.conn, "the peer ended it", fx);
        }
    }

    pub(super) fn is_current(&self, socket: SocketKey) -> bool {
        self.connections
            .get(socket.conn)
            .is_some_and(|connection| connection.nth == socket.nth && connection.is_open())
    }

    /// Ends the socket with a close frame of ours, after the frame that was begun.
    pub(super) fn close_socket(&mut self, key: ConnKey, code: u16, reason: &str, fx: &mut Effects) {
        let mask = (self.random() as u32).to_ne_bytes();
        let Some(connection) = self.connections.get_mut(key) else { return };
        let mask = connection.accepted.is_none().then_some(mask);
        let mut last = connection.outbox.rest_of_begun();
        wire::ws::encode_close(&mut last, code, reason, mask);
        fx.push(Effect::Finish { socket: connection.socket(key), last });
    }

    pub(super) fn lost(&mut self, now: Now, key: ConnKey, cause: CloseCause, text: &str, fx: &mut Effects) {
        self.counters.closes[cause.index()] += 1;
        let fault_text =
            if text.is_empty() { cause.name().to_owned() } else { format!("{}: {text}", cause.name()) };
        self.end_sends(now, key, cause, &fault_text, fx);
        self.stop_heart(key);
        if self.lost_leaving(now, key, fx) {
            return;
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.catching_up = false;
        if let Phase::Storing(waiters) = &mut connection.phase {
            // It was open: the callers get it as it is now, once more dialled or gone.
            let (status, epoch) = (connection.spec.settings.auto_reconnect, connection.numbering.epoch());
            for (nth, ticket) in std::mem::take(waiters).into_iter().enumerate() {
                let outcome = if status {
                    Ok(Answer::Connected {
                        status: crate::core::spec::Status::Reconnecting,
                        epoch,
                        subprotocol: None,
                        created: nth == 0,
                    })
                } else {
                    Err(Fault::new(
                        FaultKind::DialFailed,
                        format!("the peer ended the connection at once: {fault_text}"),
                    ))
                };
                fx.push(Effect::Answer { ticket, outcome });
            }
        }
        connection.phase = Phase::Waiting;
        connection.lost_by_backpressure = connection.reads_paused || cause == CloseCause::Backpressure;
        connection.last_error = Some(fault_text.clone().into());
        // Also while draining: a connection that is to come back keeps its document.
        if connection.spec.settings.auto_reconnect && connection.accepted.is_none() {
            self.retry(now, key, cause.name(), fx);
        } else {
            self.die(now, key, cause.name(), cause == CloseCause::PeerClosed, fx);
        }
    }

    /// Every Send and SendRaw of a socket that ended gets its one outcome.
    pub(super) fn end_sends(
        &mut self,
        now: Now,
        key: ConnKey,
        cause: CloseCause,
        text: &str,
        fx: &mut Effects,
    ) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (mut sends, mut raws) = (Vec::new(), Vec::new());
        connection.outbox.clear(|origin, begun| match origin {
            Origin::Raw(ticket) => raws.push((ticket, begun)),
            Origin::Send(_) | Origin::Orphan | Origin::Control => {}
        });
        if let Some(correlator) = &mut connection.correlator {
            sends = correlator.drain();
        }
        for (ticket, begun) in raws {
            fx.push(Effect::Answer { ticket, outcome: Err(lost_fault(cause, begun, text)) });
        }
        for send in sends {
            let begun = self.send_begun(send);
            self.end_send(now, send, Err(lost_fault(cause, begun, text)), fx);
        }
    }

    /// No socket any more, and none to come: it stays listed for a while.
    pub(super) fn die(&mut self, now: Now, key: ConnKey, reason: &str, orderly: bool, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.phase = Phase::Dead;
        let (epoch, last) = (connection.numbering.epoch(), connection.numbering.last_seq());
        if orderly {
            self.end_marker(now, key);
        } else {
            let gap = Gap { from: (epoch, Some(last)), to: None, cause: GapCause::Lost, count: None };
            self.gap(now, key, &gap);
        }
        self.close_lane(now, key);
        self.forget(key, fx);
        self.lifecycle(now, key, LifecycleState::Disconnected, reason, None);
        if self.is_accepted(key) {
            // Nobody dials it again: who comes back is another connection.
            return self.unlist(now, key, fx);
        }
        self.set_phase_timer(key, now.mono + limits::DISCONNECTED_KEPT);
    }

    pub(super) fn disconnect(
        &mut self,
        now: Now,
        ticket: Ticket,
        id: &crate::core::id::ConnectionId,
        code: u16,
        reason: &str,
        fx: &mut Effects,
    ) -> Option<super::Handle> {
        let found = self.check_at_home(id).and_then(|()| self.find(id));
        match found {
            Ok(key) => {
                self.forget_then(key, StoreThen::Answer(ticket, Box::new(Answer::Done)), fx);
                self.drop_connection(now, key, code, reason, fx);
            }
            Err(fault) => self.answer(ticket, Err(fault), fx),
        }
        None
    }

    /// Ends a connection from any phase; its socket finishes its close handshake alone.
    pub(super) fn drop_connection(
        &mut self,
        now: Now,
        key: ConnKey,
        code: u16,
        reason: &str,
        fx: &mut Effects,
    ) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.is_prepared() {
            return self.drop_prepared(key, "disconnected", fx);
        }
        let socket = connection.socket(key);
        if connection.leaving.is_some() {
            self.stop_leaving(key, Fault::new(FaultKind::Unavailable, "disconnected meanwhile"), fx);
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        match &mut connection.phase {
            Phase::Dialling(waiters) => {
                for ticket in std::mem::take(waiters) {
                    let fault = Fault::new(FaultKind::Unavailable, "disconnected while it was being dialled");
                    fx.push(Effect::Answer { ticket, outcome: Err(fault) });
                }
                fx.push(Effect::Abort(socket));
            }
            Phase::Redialling => fx.push(Effect::Abort(socket)),
            Phase::Storing(_) | Phase::Open => {
                if let Phase::Storing(waiters) = &mut connection.phase {
                    for ticket in std::mem::take(waiters) {
                        let fault =
                            Fault::new(FaultKind::Unavailable, "disconnected while it was being stored");
                        fx.push(Effect::Answer { ticket, outcome: Err(fault) });
                    }
                }
                self.counters.closes[CloseCause::Disconnect.index()] += 1;
                self.close_socket(key, code, reason, fx);
                self.end_sends(now, key, CloseCause::Disconnect, "disconnected", fx);
            }
            Phase::Admitted(caller) => {
                if let Some(ticket) = caller.take() {
                    let fault = Fault::new(FaultKind::Unavailable, "ended while it was coming in");
                    fx.push(Effect::Answer { ticket, outcome: Err(fault) });
                }
                return self.unlist(now, key, fx);
            }
            Phase::Waiting | Phase::Dead | Phase::Preparing { .. } | Phase::Prepared { .. } => {}
        }
        let was_dead =
            self.connections.get(key).is_some_and(|connection| matches!(connection.phase, Phase::Dead));
        let never_open = self
            .connections
            .get(key)
            .is_some_and(|connection| matches!(connection.phase, Phase::Dialling(_)));
        if !was_dead && !never_open {
            self.end_marker(now, key);
        }
        if !was_dead {
            self.lifecycle(now, key, LifecycleState::Disconnected, "disconnect", None);
        }
        self.stop_heart(key);
        self.clear_phase_timer(key);
        self.close_lane(now, key);
        self.unlist(now, key, fx);
    }

    /// Removes a connection from the lists. Followers can still read its last records by id.
    pub(super) fn unlist(&mut self, now: Now, key: ConnKey, fx: &mut Effects) {
        self.answer_followers(fx);
        self.clear_phase_timer(key);
        self.close_lane(now, key);
        self.vacate(key, fx);
        if let Some(connection) = self.connections.remove(key) {
            self.by_id.remove(&connection.id);
            self.epoch_floor = self.epoch_floor.max(connection.numbering.epoch() + 1);
            // One that never opened left nothing to read: its id still leads to an earlier one's records.
            if !matches!(connection.phase, Phase::Dialling(_) | Phase::Admitted(_)) {
                if self.ended.len() == limits::ENDED_KEPT {
                    self.ended.pop_front();
                }
                self.ended.push_back(Ended {
                    id: connection.id,
                    key,
                    tags: connection.tags,
                    topic: connection.published_topic,
                });
            }
            self.followers.forget(key);
        }
    }
}

fn lost_fault(cause: CloseCause, begun: bool, text: &str) -> Fault {
    let certainty = if begun { Certainty::MaybeSent } else { Certainty::NotSent };
    let kind = match (cause, begun) {
        (CloseCause::Disconnect, _) => FaultKind::Cancelled,
        (CloseCause::ProtocolError | CloseCause::InvalidUtf8, true) => FaultKind::PeerProtocol,
        (_, true) => FaultKind::MaybeSent,
        (_, false) => FaultKind::NotSent,
    };
    Fault::new(kind, format!("the connection ended before the reply: {text}")).with_certainty(certainty)
}

//! From Connect or a restart to an open socket.

use super::{Handle, ShardCore, Stopping, StoreThen, Timer};
use crate::{
    core::{
        connection::{Connection, Heart, Phase},
        id::{ConnKey, Ticket},
        io::{Answer, DialFailed, Effect, Effects, Opened, SocketKey},
        outbox::Outbox,
        reason::{Fault, FaultKind, GapCause},
        sequence::{Gap, Numbering},
        spec::{Connect, ConnectionCounters, Restore, Spec, Tags},
        time::{Now, Wall},
    },
    limits,
    wire::event::LifecycleState,
};
use std::{sync::Arc, time::Duration};

impl ShardCore {
    pub(super) fn connect(
        &mut self,
        now: Now,
        ticket: Ticket,
        connect: Connect,
        fx: &mut Effects,
    ) -> Option<Handle> {
        if let Some(&key) = self.by_id.get(&connect.id) {
            return self.connect_again(now, ticket, key, connect, fx);
        }
        if let Err(fault) = self.admit() {
            self.answer(ticket, Err(fault), fx);
            return None;
        }
        // Numbers begin at 1 again, so the epoch must be a new one whatever the wall clock says.
        let numbering = Numbering::begin(self.epoch_floor.checked_sub(1), now.wall);
        let key = self.insert(now, connect, numbering, now.wall.to_micros(), Phase::Dialling(vec![ticket]));
        self.dial(now, key, fx);
        self.lifecycle(now, key, LifecycleState::Connecting, "connect", None);
        Some(Handle::Connect(key))
    }

    /// The same Connect again joins the first one or finds its connection; another one under the
    /// same id is refused; a dead connection makes room.
    fn connect_again(
        &mut self,
        now: Now,
        ticket: Ticket,
        key: ConnKey,
        connect: Connect,
        fx: &mut Effects,
    ) -> Option<Handle> {
        let known = self.connections.get_mut(key)?;
        if matches!(known.phase, Phase::Dead) {
            self.unlist(now, key, fx);
            return self.connect(now, ticket, connect, fx);
        }
        if known.is_prepared() || known.leaving.is_some() {
            self.answer(ticket, Err(super::taking::moving()), fx);
            return None;
        }
        let same = connect.chosen && known.accepted.is_none() && known.spec.source == connect.spec.source;
        let outcome = if !same {
            let message = format!(
                "'{}' is in use with other settings; disconnect it first or choose another id",
                connect.id
            );
            Err(Fault { field: "connection_id".into(), ..Fault::new(FaultKind::IdInUse, message) })
        } else if let Phase::Dialling(waiters) | Phase::Storing(waiters) = &mut known.phase {
            waiters.push(ticket);
            return Some(Handle::Connect(key));
        } else {
            Ok(Answer::Connected {
                status: known.status(),
                epoch: known.numbering.epoch(),
                subprotocol: known.subprotocol.clone(),
                created: false,
            })
        };
        self.answer(ticket, outcome, fx);
        None
    }

    pub(super) fn admit(&self) -> Result<(), Fault> {
        if self.stopping != Stopping::No {
            return Err(draining());
        }
        if self.fenced {
            return Err(super::fence::no_lease());
        }
        self.has_place()
    }

    pub(super) fn has_place(&self) -> Result<(), Fault> {
        if self.by_id.len() >= self.setup.connections_max {
            let message = format!(
                "this shard holds its {} connections; raise --max-connections",
                self.setup.connections_max
            );
            return Err(Fault::full(message, Duration::from_secs(1)));
        }
        Ok(())
    }

    /// Takes a stored connection again, with a higher epoch. One that nobody will dial again gets
    /// its last gap record instead.
    pub(super) fn restore(&mut self, now: Now, restore: Restore, fx: &mut Effects) -> Result<Answer, Fault> {
        if self.fenced {
            return Err(super::fence::no_lease());
        }
        self.make_room(now, &restore.id, fx)?;
        let numbering = match restore.claimed {
            Some(claimed) => Numbering::claimed(restore.epoch, claimed),
            None => Numbering::begin(Some(restore.epoch), now.wall),
        };
        let (old_epoch, last_seq, clean) = (restore.epoch, restore.last_seq, restore.clean);
        let again = restore.spec.settings.auto_reconnect;
        let connect = Connect {
            id: restore.id,
            chosen: true,
            spec: restore.spec,
            tags: restore.tags,
            publish: restore.publish,
        };
        let key = self.insert(now, connect, numbering, restore.created, Phase::Waiting);
        let to = again.then(|| (numbering.epoch(), 1));
        let cause = if clean { GapCause::NewEpoch } else { GapCause::Crash };
        if again || !clean {
            self.gap(now, key, &Gap { from: (old_epoch, last_seq), to, cause, count: None });
        }
        if again {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.restored = true;
                connection.attempt = 1;
            }
            self.persist(key, StoreThen::Nothing, false, fx);
            self.set_phase_timer(key, now.mono);
            self.lifecycle(now, key, LifecycleState::Reconnecting, "restart", Some(1));
        } else {
            self.forget(key, fx);
            self.unlist(now, key, fx);
        }
        Ok(Answer::Done)
    }

    pub(super) fn insert(
        &mut self,
        now: Now,
        connect: Connect,
        numbering: Numbering,
        created: Wall,
        phase: Phase,
    ) -> ConnKey {
        let rates = rates_of(&connect.spec, now);
        let key = self.connections.insert(Box::new(Connection {
            id: connect.id.clone(),
            spec: connect.spec,
            tags: connect.tags,
            phase,
            nth: 0,
            dirty: false,
            reads_paused: false,
            lost_by_backpressure: false,
            restored: false,
            catching_up: false,
            leaving: None,
            accepted: None,
            route_feeds: None,
            numbering,
            publish: None,
            lane: None,
            published_seq: 0,
            published_topic: None,
            outbox: Outbox::default(),
            correlator: None,
            next_integer: 1,
            heart: Heart::default(),
            rates,
            timer: None,
            attempt: 0,
            created,
            connected: None,
            content_type: None,
            subprotocol: None,
            last_error: None,
            counters: ConnectionCounters::default(),
        }));
        self.by_id.insert(connect.id, key);
        if let Some(spec) = connect.publish {
            self.open_lane(key, spec);
        }
        key
    }

    pub(super) fn dial(&mut self, now: Now, key: ConnKey, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.nth += 1;
        let (socket, spec) = (connection.socket(key), connection.spec.clone());
        self.counters.dials += 1;
        self.set_phase_timer(key, now.mono + spec.dial.timeout);
        fx.push(Effect::Dial { socket, spec });
    }

    pub(super) fn set_phase_timer(&mut self, key: ConnKey, at: crate::core::time::Time) {
        let old = self.connections.get_mut(key).and_then(|connection| connection.timer.take());
        let timer = self.set_timer(old, at, Timer::Phase(key));
        if let Some(connection) = self.connections.get_mut(key) {
            connection.timer = timer;
        }
    }

    pub(super) fn clear_phase_timer(&mut self, key: ConnKey) {
        if let Some(timer) = self.connections.get_mut(key).and_then(|connection| connection.timer.take()) {
            self.timers.cancel(timer);
        }
    }

    /// The handshake is done; the socket is the connection's from here on.
    pub fn opened(&mut self, now: Now, socket: SocketKey, opened: Opened, fx: &mut Effects) {
        let key = socket.conn;
        let current = self.connections.get_mut(key).filter(|connection| connection.nth == socket.nth);
        let Some(connection) = current else { return fx.push(Effect::Abort(socket)) };
        if let Phase::Preparing { caller, from } = connection.phase {
            return self.prepared(now, socket, (caller, from), opened, fx);
        }
        let first = match &mut connection.phase {
            Phase::Dialling(waiters) => {
                connection.phase = Phase::Storing(std::mem::take(waiters));
                true
            }
            Phase::Redialling => {
                connection.phase = Phase::Open;
                false
            }
            _ => return fx.push(Effect::Abort(socket)),
        };
        connection.subprotocol = opened.subprotocol;
        connection.connected = Some(now.wall);
        connection.last_error = None;
        let attempt = std::mem::take(&mut connection.attempt);
        self.clear_phase_timer(key);
        self.start_heart(now, key);
        if first {
            self.persist(key, StoreThen::Connected, false, fx);
        } else {
            self.reopened(now, key);
        }
        if self.connections.get(key).is_some_and(|connection| connection.reads_paused) {
            fx.push(Effect::PauseReads(socket));
        }
        let reason = if first { "connecting" } else { "reconnecting" };
        self.lifecycle(now, key, LifecycleState::Connected, reason, (!first).then_some(attempt));
    }

    /// What the peer sent while the socket was away is announced before the first new message.
    fn reopened(&mut self, now: Now, key: ConnKey) {
        self.counters.reconnects += 1;
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.counters.reconnects += 1;
        let (epoch, last) = (connection.numbering.epoch(), connection.numbering.last_seq());
        let backpressure = std::mem::take(&mut connection.lost_by_backpressure);
        if std::mem::take(&mut connection.restored) {
            return;
        }
        let cause = if backpressure { GapCause::Backpressure } else { GapCause::Reconnect };
        let gap = Gap { from: (epoch, Some(last)), to: Some((epoch, last + 1)), cause, count: None };
        self.gap(now, key, &gap);
    }

    pub fn dial_failed(&mut self, now: Now, socket: SocketKey, failed: DialFailed, fx: &mut Effects) {
        let key = socket.conn;
        let current = self.connections.get_mut(key).filter(|connection| connection.nth == socket.nth);
        let Some(connection) = current else { return };
        self.counters.dials_failed += 1;
        self.counters.closes[failed.cause.index()] += 1;
        match &mut connection.phase {
            Phase::Dialling(waiters) => {
                for ticket in std::mem::take(waiters) {
                    fx.push(Effect::Answer { ticket, outcome: Err(failed.fault.clone()) });
                }
                self.lifecycle(now, key, LifecycleState::Error, &failed.fault.message, None);
                self.lifecycle(now, key, LifecycleState::Disconnected, failed.cause.name(), None);
                self.clear_phase_timer(key);
                self.unlist(now, key, fx);
            }
            Phase::Preparing { caller, .. } => {
                let caller = *caller;
                self.prepare_failed(key, caller, failed, fx);
            }
            Phase::Redialling => {
                connection.last_error = Some(failed.fault.to_string().into());
                self.retry(now, key, failed.cause.name(), fx);
            }
            _ => {}
        }
    }

    /// The next dial, or the end when the attempts are used up.
    pub(super) fn retry(&mut self, now: Now, key: ConnKey, reason: &str, fx: &mut Effects) {
        let random = self.random();
        let Some(connection) = self.connections.get_mut(key) else { return };
        let settings = &connection.spec.settings;
        let bounded = settings.reconnect_attempts_max > 0;
        if bounded && connection.attempt >= settings.reconnect_attempts_max {
            return self.die(now, key, reason, false, fx);
        }
        connection.attempt += 1;
        let attempt = connection.attempt;
        let (base, max) = (settings.reconnect_base, settings.reconnect_max);
        let delay = crate::core::backoff::delay(attempt - 1, base, max, random);
        connection.phase = Phase::Waiting;
        self.set_phase_timer(key, now.mono + delay);
        self.lifecycle(now, key, LifecycleState::Reconnecting, reason, Some(attempt));
    }

    pub(super) fn cancel_connect(&mut self, now: Now, key: ConnKey, ticket: Ticket, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let socket = connection.socket(key);
        match &mut connection.phase {
            Phase::Dialling(waiters) => {
                waiters.retain(|waiter| *waiter != ticket);
                if !waiters.is_empty() {
                    return;
                }
                fx.push(Effect::Abort(socket));
                self.lifecycle(now, key, LifecycleState::Disconnected, "cancelled", None);
                self.clear_phase_timer(key);
                self.unlist(now, key, fx);
            }
            Phase::Preparing { .. } => {
                fx.push(Effect::Abort(socket));
                self.remove_prepared(key);
            }
            // It is open and being stored: the caller finds it by List, or by the same Connect.
            Phase::Storing(waiters) => waiters.retain(|waiter| *waiter != ticket),
            _ => {}
        }
    }
}

/// A connection's own buckets, when its settings ask for any.
pub(super) fn rates_of(spec: &Arc<Spec>, now: Now) -> Option<Box<crate::core::connection::Rates>> {
    let settings = &spec.settings;
    if settings.sends_per_second <= 0.0 {
        return None;
    }
    let sends = crate::core::admission::TokenBucket::new(
        settings.sends_per_second,
        settings.sends_burst.max(1),
        now.mono,
    );
    Some(Box::new(crate::core::connection::Rates { sends: Some(sends), control: None }))
}

pub(super) fn draining() -> Fault {
    Fault::new(FaultKind::Unavailable, "this instance is draining; try another one, or later")
        .with_certainty(crate::core::reason::Certainty::NotSent)
}

/// Inserts, replaces, or deletes where the value is empty. The bound is on what comes out.
pub(super) fn merge_tags(tags: &Tags, changes: &Tags) -> Result<Tags, Fault> {
    let mut merged = tags.clone();
    for (key, value) in changes {
        match merged.binary_search_by(|(known, _)| known.cmp(key)) {
            Ok(place) if value.is_empty() => {
                merged.remove(place);
            }
            Ok(place) => merged[place].1 = value.clone(),
            Err(_) if value.is_empty() => {}
            Err(place) => merged.insert(place, (key.clone(), value.clone())),
        }
    }
    if merged.len() > limits::TAGS_MAX {
        return Err(Fault::invalid("tags", format!("a connection has at most {} tags", limits::TAGS_MAX)));
    }
    Ok(merged)
}

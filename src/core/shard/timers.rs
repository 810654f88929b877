//! What the clock brings: deadlines of Sends, dials, pings, idle peers, stalled writes.

use super::{ShardCore, Timer};
use crate::{
    core::{
        connection::{Heart, Phase},
        id::ConnKey,
        io::{DialFailed, Effect, Effects, SocketKey},
        reason::{CloseCause, Fault, FaultKind},
        time::Now,
    },
    limits,
};

impl ShardCore {
    pub(super) fn fire(&mut self, now: Now, timer: Timer, fx: &mut Effects) {
        match timer {
            Timer::Send(ticket) => self.send_timed_out(now, ticket, fx),
            Timer::Phase(key) => self.phase_due(now, key, fx),
            Timer::Heart(key) => self.beat(now, key, fx),
            Timer::Stall(key) => self.stall_due(now, key, fx),
            Timer::Leaving(key) => self.leaving_due(now, key, fx),
            Timer::Expiry(key) => self.expired(now, key, fx),
        }
    }

    fn phase_due(&mut self, now: Now, key: ConnKey, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.timer = None;
        match connection.phase {
            Phase::Dialling(_) | Phase::Redialling | Phase::Preparing { .. } => {
                let socket = connection.socket(key);
                let within = connection.spec.dial.timeout.as_millis();
                fx.push(Effect::Abort(socket));
                let fault = Fault::new(FaultKind::DialFailed, format!("no open socket within {within} ms"));
                self.dial_failed(now, socket, DialFailed { cause: CloseCause::DialFailed, fault }, fx);
            }
            Phase::Waiting => match self.dials.take(now.mono, 1) {
                Ok(()) => {
                    connection.phase = Phase::Redialling;
                    self.dial(now, key, fx);
                }
                Err(wait) => self.set_phase_timer(key, now.mono + wait),
            },
            Phase::Dead => self.unlist(now, key, fx),
            Phase::Prepared { .. } => self.drop_prepared(key, "nobody took it", fx),
            Phase::Admitted(_) => self.drop_connection(now, key, 1001, "late", fx),
            Phase::Storing(_) | Phase::Open => {}
        }
    }

    pub(super) fn start_heart(&mut self, now: Now, key: ConnKey) {
        self.stop_heart(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.heart =
            Heart { last_data: now.mono, last_ping: now.mono, last_write: now.mono, ..Heart::default() };
        self.arm_heart(key);
    }

    pub(super) fn stop_heart(&mut self, key: ConnKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        for timer in [connection.heart.timer.take(), connection.heart.stall.take()].into_iter().flatten() {
            self.timers.cancel(timer);
        }
    }

    /// One timer for all of a socket's clocks: at the first that is due.
    fn arm_heart(&mut self, key: ConnKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (heart, settings) = (&connection.heart, &connection.spec.settings);
        let mut next = None;
        let mut due = |at| next = Some(next.map_or(at, |known: crate::core::time::Time| known.min(at)));
        if !settings.ping_interval.is_zero() {
            due(heart.last_ping + settings.ping_interval);
            if let Some(since) = heart.unanswered {
                due(since + settings.pong_timeout);
            }
        }
        if !settings.idle_data.is_zero() {
            due(heart.last_data + settings.idle_data);
        }
        if let Some(at) = next {
            connection.heart.timer = Some(self.timers.insert(at, Timer::Heart(key)));
        }
    }

    fn beat(&mut self, now: Now, key: ConnKey, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.heart.timer = None;
        if !connection.is_open() {
            // Another timer of this very moment ended the socket.
            return;
        }
        let settings = &connection.spec.settings;
        let (pong_timeout, ping_interval, idle) =
            (settings.pong_timeout, settings.ping_interval, settings.idle_data);
        if connection.reads_paused {
            // We do not read, so nothing can be said of the peer: its clocks stand still.
            connection.heart.rest(now.mono);
        }
        let heart = &connection.heart;
        if heart.unanswered.is_some_and(|since| now.mono >= since + pong_timeout) {
            let text = format!("no pong within {} ms", pong_timeout.as_millis());
            self.close_socket(key, 1011, "no pong", fx);
            return self.lost(now, key, CloseCause::PongTimeout, &text, fx);
        }
        if !idle.is_zero() && now.mono >= heart.last_data + idle {
            let text = format!("no data for {} ms", idle.as_millis());
            self.close_socket(key, 1001, "idle", fx);
            return self.lost(now, key, CloseCause::IdleTimeout, &text, fx);
        }
        if !ping_interval.is_zero() && now.mono >= heart.last_ping + ping_interval {
            self.send_ping(now, key);
        }
        self.arm_heart(key);
    }

    /// The socket takes nothing now: from here its patience is counted.
    pub fn stalled(&mut self, now: Now, socket: SocketKey) {
        let Some(connection) = self.connections.get_mut(socket.conn) else { return };
        if connection.nth == socket.nth && connection.is_open() && connection.heart.stall.is_none() {
            connection.heart.last_write = now.mono;
            connection.heart.stall =
                Some(self.timers.insert(now.mono + limits::WRITE_STALL, Timer::Stall(socket.conn)));
        }
    }

    fn stall_due(&mut self, now: Now, key: ConnKey, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.heart.stall = None;
        if !connection.is_open() {
            return;
        }
        let patience = connection.heart.last_write + limits::WRITE_STALL;
        if now.mono < patience {
            connection.heart.stall = Some(self.timers.insert(patience, Timer::Stall(key)));
            return;
        }
        let socket = connection.socket(key);
        fx.push(Effect::Abort(socket));
        let text = format!("the peer took nothing for {} ms", limits::WRITE_STALL.as_millis());
        self.lost(now, key, CloseCause::WriteStalled, &text, fx);
    }
}

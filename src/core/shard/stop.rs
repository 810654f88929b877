//! Leaving: refuse what is new, let what is under way finish, close, flush, and say what remained.

use super::ShardCore;
use crate::core::{
    connection::Phase,
    id::{ConnKey, Ticket},
    io::{Answer, Effect, Effects},
    reason::{CloseCause, Fault, FaultKind},
    time::Now,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    No,
    /// New work is refused; Sends in flight may finish.
    Refusing,
    /// Sockets are closed; waiting for the last events to leave.
    Closing(Ticket),
    Done,
}

impl ShardCore {
    pub(super) fn refuse(&mut self) -> Result<Answer, Fault> {
        if self.stopping == Stopping::No {
            self.stopping = Stopping::Refusing;
        }
        Ok(Answer::Done)
    }

    /// Sends that still wait for their reply.
    pub fn sends_in_flight(&self) -> usize {
        self.sends.len()
    }

    pub fn is_drained(&self) -> bool {
        self.sends.is_empty()
            && self.publisher.is_drained()
            && self.stores.is_empty()
            && self.connections.is_empty()
    }

    /// Closes every socket in order. Connections that come back after a restart keep their
    /// documents, which say where they stopped.
    pub(super) fn stop(&mut self, now: Now, ticket: Ticket, fx: &mut Effects) -> Option<super::Handle> {
        if let Stopping::Closing(first) = std::mem::replace(&mut self.stopping, Stopping::Closing(ticket)) {
            let fault = Fault::new(FaultKind::Unavailable, "another Stop came after this one");
            self.answer(first, Err(fault), fx);
        }
        let keys: Vec<ConnKey> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.stop_connection(now, key, fx);
        }
        self.publisher.flush();
        None
    }

    fn stop_connection(&mut self, now: Now, key: ConnKey, fx: &mut Effects) {
        let Some(connection) = self.connections.get(key) else { return };
        if connection.is_prepared() {
            return self.drop_prepared(key, "this instance stops", fx);
        }
        if self.is_retired(key) {
            // Whose it is, its document says.
            return self.release_retired(now, key, fx);
        }
        if connection.accepted.is_some() {
            self.counters.closes[CloseCause::Draining.index()] += u64::from(connection.is_open());
            return self.drop_connection(now, key, 1012, "service restart", fx);
        }
        let (kept, open) = (connection.spec.settings.auto_reconnect, connection.is_open());
        match connection.phase {
            Phase::Dead | Phase::Dialling(_) => {}
            _ if kept => self.persist(key, super::StoreThen::Nothing, true, fx),
            _ => self.forget(key, fx),
        }
        if open {
            self.counters.closes[CloseCause::Draining.index()] += 1;
        }
        self.drop_connection(now, key, 1001, "going away", fx);
    }

    pub(super) fn finish_stop(&mut self, fx: &mut Effects) {
        if let Stopping::Closing(ticket) = self.stopping
            && self.is_drained()
        {
            self.stopping = Stopping::Done;
            fx.push(Effect::Answer { ticket, outcome: Ok(Answer::Done) });
        }
    }

    /// Out of time: what is left is counted and dropped.
    pub(super) fn abandon(&mut self, now: Now, fx: &mut Effects) -> Answer {
        let sockets = self.connections.iter().filter(|(_, connection)| connection.is_open()).count() as u64;
        let keys: Vec<ConnKey> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.drop_connection(now, key, 1001, "going away", fx);
        }
        let events = self.publisher.abandon();
        Answer::Abandoned { sockets, events }
    }
}

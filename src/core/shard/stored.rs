//! Connections' documents: written, forgotten, and what waits for a write to end.

use super::{ShardCore, StoreThen, StoreWait};
use crate::core::{
    connection::Phase,
    id::ConnKey,
    io::{Answer, Effect, Effects, StoreTicket},
    reason::{Fault, FaultKind},
    time::Now,
};

impl ShardCore {
    pub(super) fn persist(&mut self, key: ConnKey, then: StoreThen, clean: bool, fx: &mut Effects) {
        let Some(connection) = self.connections.get(key) else { return };
        if connection.accepted.is_some() {
            // Its record is its socket.
            return self.not_stored(then, fx);
        }
        let record = Box::new(connection.record(clean));
        let ticket = self.store_ticket(Some(key), then);
        fx.push(Effect::Persist { ticket, record });
    }

    /// The store lost documents: each that should be there is written again.
    pub(super) fn persist_all(&mut self, fx: &mut Effects) -> Answer {
        let stored = |phase: &Phase| matches!(phase, Phase::Open | Phase::Waiting | Phase::Redialling);
        let connections = self.connections.iter().filter(|(_, connection)| stored(&connection.phase));
        let keys: Vec<ConnKey> = connections.map(|(key, _)| key).collect();
        for key in keys {
            self.persist(key, StoreThen::Nothing, false, fx);
        }
        Answer::Done
    }

    pub(super) fn forget(&mut self, key: ConnKey, fx: &mut Effects) {
        self.forget_then(key, StoreThen::Nothing, fx);
    }

    pub(super) fn forget_then(&mut self, key: ConnKey, then: StoreThen, fx: &mut Effects) {
        let Some(connection) = self.connections.get(key) else { return };
        if connection.accepted.is_some() {
            return self.not_stored(then, fx);
        }
        let id = connection.id.clone();
        let ticket = self.store_ticket(None, then);
        fx.push(Effect::Forget { ticket, id });
    }

    fn not_stored(&self, then: StoreThen, fx: &mut Effects) {
        if let StoreThen::Answer(ticket, answer) = then {
            self.answer(ticket, Ok(*answer), fx);
        }
    }

    fn store_ticket(&mut self, conn: Option<ConnKey>, then: StoreThen) -> StoreTicket {
        let ticket = StoreTicket(self.next_store);
        self.next_store += 1;
        self.counters.store_writes += 1;
        self.stores.insert(ticket, StoreWait { conn, then });
        ticket
    }

    /// A write to the store ended.
    pub fn stored(&mut self, now: Now, ticket: StoreTicket, failed: Option<String>, fx: &mut Effects) {
        let Some(wait) = self.stores.remove(&ticket) else { return };
        self.counters.store_errors += u64::from(failed.is_some());
        match wait.then {
            StoreThen::Nothing => {}
            StoreThen::Answer(ticket, answer) => {
                let outcome = match failed {
                    None => Ok(*answer),
                    Some(why) => {
                        Err(Fault::new(FaultKind::Unavailable, format!("done, but not stored: {why}")))
                    }
                };
                self.answer(ticket, outcome, fx);
            }
            StoreThen::Connected => {
                if let Some(key) = wait.conn {
                    self.connected(now, key, failed, fx);
                }
            }
        }
    }

    /// The first document stands, or could not be written: then nothing is left behind.
    fn connected(&mut self, now: Now, key: ConnKey, failed: Option<String>, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Phase::Storing(waiters) = &mut connection.phase else { return };
        let waiters = std::mem::take(waiters);
        connection.phase = Phase::Open;
        for (nth, ticket) in waiters.into_iter().enumerate() {
            let outcome = match &failed {
                None => Ok(Answer::Connected {
                    status: connection.status(),
                    epoch: connection.numbering.epoch(),
                    subprotocol: connection.subprotocol.clone(),
                    created: nth == 0,
                }),
                Some(why) => {
                    Err(Fault::new(FaultKind::Unavailable, format!("the connection cannot be stored: {why}")))
                }
            };
            fx.push(Effect::Answer { ticket, outcome });
        }
        if failed.is_some() {
            // A write that failed may have arrived, and one behind it may have succeeded.
            self.forget(key, fx);
            self.drop_connection(now, key, 1011, "not stored", fx);
        }
    }
}

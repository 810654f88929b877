//! The machine's effects: reads and writes of documents, and orders to the shards.

use super::{
    handle::State,
    run::{Run, Taken, Waiting},
    spill::Unspilled,
    watch::Taking,
};
use crate::{
    core::{
        fleet::io::{Boot, DocAnswer, DocTicket, FleetEffect, FleetInput, Trouble},
        fleet::{lease_key, owner_of, record_key},
        id::ConnectionId,
        io::{Command, Outcome},
        reason::FaultKind,
    },
    limits,
    ports::{BackendError, Pending, Put},
};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinError;

/// What a task of the fleet's thread came to.
pub(super) enum Finished {
    Document(DocTicket, DocAnswer),
    Taken(ConnectionId, Outcome),
    Ordered,
}

impl Run {
    pub(super) fn perform(&mut self, effect: FleetEffect) {
        match effect {
            FleetEffect::Get { ticket, keys } => {
                let (asked, shared, since) = (self.documents.get(keys), self.shared.clone(), Instant::now());
                self.tasks.spawn_local(async move {
                    let answer = asked.await.map_or_else(unknown, DocAnswer::Got);
                    shared.times.read.record(since.elapsed());
                    Finished::Document(ticket, answer)
                });
            }
            FleetEffect::Put { ticket, key, value, expect, ttl } => {
                let renewal = key == lease_key(&self.machine.me().incarnation);
                let asked = self.documents.put(key, value, expect, ttl);
                self.write(ticket, asked, renewal);
            }
            FleetEffect::Delete { ticket, key, expect } => {
                let asked = self.documents.delete(key, expect);
                self.write(ticket, asked, false);
            }
            FleetEffect::Valid { until, advisory } => self.valid(until, advisory),
            FleetEffect::Fence { incarnation } => self.fence(incarnation),
            FleetEffect::Take { id, epoch, document } => self.take(id, epoch, &document),
            FleetEffect::Lost { id, epoch } => {
                tracing::warn!(%id, epoch, "another instance owns this connection");
                let shard = self.hub.owner(&id);
                self.order(shard, Command::Superseded { id, epoch });
            }
            FleetEffect::StoreLost => {
                tracing::warn!("the store lost documents: every connection is written again");
                self.order_all(|| Command::PersistAll);
            }
            FleetEffect::Members(members) => {
                tracing::info!(others = members.len(), "members of the fleet");
                *self.shared.members.write() = members;
            }
            FleetEffect::Claimed { asker, claim } => {
                if let Some(waiting) = self.askers.remove(&asker.0) {
                    waiting.claimed(claim);
                }
            }
            FleetEffect::Stored { asker, result } => {
                if let Some(waiting) = self.askers.remove(&asker.0) {
                    waiting.stored(result);
                }
            }
            FleetEffect::Left => {
                self.done = true;
                if let Some(reply) = self.left.take() {
                    // Nobody waits any more: the drain ran out of time.
                    let _ = reply.send(());
                }
            }
            FleetEffect::Trouble(trouble) => log(&trouble),
        }
    }

    fn write(&mut self, ticket: DocTicket, asked: Pending<Result<Put, BackendError>>, renewal: bool) {
        let (shared, since) = (self.shared.clone(), Instant::now());
        self.tasks.spawn_local(async move {
            let answer = put(asked.await);
            let times = &shared.times;
            if renewal { &times.lease } else { &times.write }.record(since.elapsed());
            Finished::Document(ticket, answer)
        });
    }

    fn valid(&mut self, until: Boot, advisory: bool) {
        if !self.open {
            self.open = true;
            self.shared.gate.reopen(until);
            *self.shared.me.write() = self.machine.me().incarnation.clone();
            self.order_all(|| Command::Unfence);
        } else if !self.shared.gate.extend(until) {
            // A shard found the gate shut a moment before: what it dropped is dropped.
            self.input(FleetInput::Shut);
            return;
        }
        let state = if advisory { State::Advisory } else { State::Held };
        self.say(state);
    }

    fn fence(&mut self, incarnation: Arc<str>) {
        tracing::warn!(%incarnation, "the lease is lost: every dialled connection is dropped");
        self.shared.gate.shut();
        self.open = false;
        *self.shared.me.write() = incarnation;
        self.say(State::Waiting);
        self.order_all(|| Command::Fence);
    }

    fn say(&self, state: State) {
        if *self.shared.state.read() != state {
            if state == State::Advisory {
                tracing::warn!("the store is away and no other instance lives: going on alone");
            }
            *self.shared.state.write() = state;
            self.shared.changed.notify_waiters();
        }
    }

    fn take(&mut self, id: ConnectionId, epoch: u64, document: &Bytes) {
        match (self.take)(document, epoch) {
            Ok(Taken::Restore(restore)) => {
                let shard = self.hub.owner(&id);
                let (asked, takeover) =
                    (self.hub.order(shard, Command::Restore(restore)), Taking::begin(&self.spans, epoch));
                self.tasks.spawn_local(async move {
                    let outcome = asked.await;
                    takeover.ended(&id, outcome.as_ref().err());
                    Finished::Taken(id, outcome)
                });
            }
            Ok(Taken::Forget) => {
                tracing::info!(%id, "a stored connection is forgotten");
                let asker = self.asker(Waiting::Store(Box::new(|_| {})));
                self.input(FleetInput::Forget { asker, id });
            }
            Err(why) => {
                tracing::error!(%id, %why, "a connection of another run cannot be taken up; its document is left as it is");
                self.input(FleetInput::Untakeable { id });
            }
        }
    }

    /// Tells the shard which of its spilled connections have gone on elsewhere, then gives it the
    /// record. When the store does not answer the record goes as it is: its epochs tell consumers.
    pub(super) fn look_at(&mut self, unspilled: Unspilled) {
        let Unspilled { shard, epochs, record, done } = unspilled;
        let (documents, hub) = (self.documents.clone(), self.hub.clone());
        let me = self.machine.me().incarnation.clone();
        self.tasks.spawn_local(async move {
            let ids: Vec<ConnectionId> = epochs.keys().cloned().collect();
            for some in ids.chunks(limits::FLEET_READ_KEYS) {
                let keys = some.iter().map(record_key).collect();
                let found = documents.get(keys).await.unwrap_or_default();
                for (id, document) in some.iter().zip(found) {
                    let owner = document.and_then(|document| owner_of(&document.value));
                    if let Some((owner, epoch)) = owner
                        && *owner != *me
                        && epochs.get(id).is_some_and(|spilled| *spilled < epoch)
                    {
                        // Refused only by a shard that has ended.
                        let _ = hub.order(shard, Command::Superseded { id: id.clone(), epoch }).await;
                    }
                }
            }
            done.complete(Ok(Some(record)));
            Finished::Ordered
        });
    }

    pub(super) fn order_all(&mut self, command: impl Fn() -> Command) {
        for shard in 0..self.hub.shards() {
            self.order(shard, command());
        }
    }

    fn order(&mut self, shard: u32, command: Command) {
        let asked = self.hub.order(shard, command);
        self.tasks.spawn_local(async move {
            if let Err(fault) = asked.await {
                tracing::error!(shard, %fault, "a shard did not take an order of the fleet");
            }
            Finished::Ordered
        });
    }

    pub(super) fn finished(&mut self, finished: Result<Finished, JoinError>) {
        match finished {
            Ok(Finished::Document(ticket, answer)) => {
                self.step(|machine, now, fx| machine.answered(now, ticket, answer, fx));
            }
            // It is here already: a claim of this very instance.
            Ok(Finished::Taken(_, Err(fault))) if fault.kind == FaultKind::IdInUse => {}
            Ok(Finished::Taken(id, Err(fault))) => {
                tracing::error!(%id, %fault, "a connection of another run cannot be taken up");
                self.input(FleetInput::Untakeable { id });
            }
            Ok(Finished::Taken(_, Ok(_)) | Finished::Ordered) => {}
            Err(error) => tracing::error!(%error, "a task of the fleet failed"),
        }
    }
}

fn put(result: Result<Put, BackendError>) -> DocAnswer {
    match result {
        Ok(Put::Written(version)) => DocAnswer::Written(version),
        Ok(Put::Conflict) => DocAnswer::Conflict,
        Err(error) => unknown(error),
    }
}

fn unknown(error: BackendError) -> DocAnswer {
    DocAnswer::Unknown(error.message)
}

fn log(trouble: &Trouble) {
    match trouble {
        Trouble::Bad { key, why, rewritten: true } => {
            tracing::error!(key, why, "a document of the fleet was broken and is written anew");
        }
        Trouble::Bad { key, why, rewritten: false } => {
            tracing::error!(key, why, "a document is not what belongs under its key; it is left alone");
        }
        Trouble::Newer { key } => {
            tracing::error!(key, "a document was written by a newer version; it is left alone");
        }
        Trouble::IndexCut { ids, kept } => {
            tracing::warn!(ids, kept, "websocket-index is over its bound and was cut");
        }
    }
}

//! What shards and edges hold of the fleet: a store for the shards' documents, a directory for the
//! edges, and how the lease stands.

use super::{spill::Unspilled, watch::FleetTimes};
use crate::{
    core::{
        fleet::{
            io::{FleetCounters, Member},
            listed, owned_keys, owner_of, record_key,
        },
        id::ConnectionId,
    },
    limits,
    ports::{BackendError, Directory, Documents, Done, Holder, Pending, Store},
    shard::gate::Gate,
};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// What the fleet's thread is asked.
pub(super) enum Mail {
    Store {
        id: ConnectionId,
        document: Bytes,
        done: Done<Result<(), BackendError>>,
    },
    Forget {
        id: ConnectionId,
        done: Done<Result<(), BackendError>>,
    },
    Claim {
        id: ConnectionId,
        reply: oneshot::Sender<Result<Holder, BackendError>>,
    },
    Unclaim {
        id: ConnectionId,
    },
    /// Nothing is taken any more; answered at once.
    Leave,
    /// Everything is closed: the lease is given back.
    Left {
        reply: oneshot::Sender<()>,
    },
    /// Looks up who owns what is in it.
    Unspilled(Unspilled),
    /// A member offers it: it is noted as ours to come.
    Expect {
        id: ConnectionId,
        reply: oneshot::Sender<Result<(), String>>,
    },
    Unexpect {
        id: ConnectionId,
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// To a member that has dialled it already.
    Transfer {
        id: ConnectionId,
        to: Arc<str>,
        epoch: u64,
        document: Bytes,
        reply: oneshot::Sender<Result<(), String>>,
    },
}

/// How the lease stands, for readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// No lease yet, or not any more.
    Waiting,
    Held,
    /// Alone, without its store.
    Advisory,
}

/// For metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct View {
    pub counters: FleetCounters,
    /// Connections whose documents are ours.
    pub owned: usize,
}

pub(super) struct Shared {
    pub mail: mpsc::Sender<Mail>,
    pub documents: Arc<dyn Documents>,
    pub me: RwLock<Arc<str>>,
    pub members: RwLock<Arc<[Member]>>,
    pub state: RwLock<State>,
    pub view: Mutex<View>,
    pub changed: tokio::sync::Notify,
    pub gate: Arc<Gate>,
    pub leaving: AtomicBool,
    pub times: FleetTimes,
}

#[derive(Clone)]
pub struct Handle(pub(super) Arc<Shared>);

impl Handle {
    pub fn state(&self) -> State {
        self.0.state.read().clone()
    }

    pub fn view(&self) -> View {
        *self.0.view.lock()
    }

    pub fn times(&self) -> &FleetTimes {
        &self.0.times
    }

    /// How long sockets may still be written by this lease.
    pub fn lease_left(&self) -> Duration {
        self.0.gate.left()
    }

    /// Waits until the lease is held, or this instance goes on alone.
    pub async fn held(&self) {
        loop {
            let changed = self.0.changed.notified();
            if self.state() != State::Waiting {
                return;
            }
            changed.await;
        }
    }

    /// Nothing is taken any more, and peers see that this instance leaves.
    pub async fn leave(&self) {
        self.0.leaving.store(true, Ordering::Release);
        // The thread has ended: then there is nothing to leave.
        let _ = self.0.mail.send(Mail::Leave).await;
    }

    /// The lease is given back: what is left can be taken by others at once.
    pub async fn left(&self) {
        let (reply, answer) = oneshot::channel();
        if self.0.mail.send(Mail::Left { reply }).await.is_ok() {
            let _ = tokio::time::timeout(limits::FLEET_LEFT_WAIT, answer).await;
        }
    }

    /// Makes `to` the owner of a connection.
    pub async fn transfer(
        &self,
        id: ConnectionId,
        to: Arc<str>,
        epoch: u64,
        document: Bytes,
    ) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let mail = Mail::Transfer { id, to, epoch, document, reply };
        self.0.mail.send(mail).await.map_err(|_| stopped().message)?;
        answer.await.unwrap_or_else(|_| Err(stopped().message))
    }

    fn post(&self, mail: Mail) {
        if let Err(refused) = self.0.mail.try_send(mail) {
            let full = matches!(refused, mpsc::error::TrySendError::Full(_));
            let error = if full { crowded() } else { stopped() };
            match refused.into_inner() {
                Mail::Store { done, .. } | Mail::Forget { done, .. } => done.complete(Err(error)),
                // A closed reply says the same.
                _ => {}
            }
        }
    }
}

fn crowded() -> BackendError {
    BackendError { message: "too many writes wait for the store; try again later".into(), transient: true }
}

pub(super) fn stopped() -> BackendError {
    BackendError { message: "this instance has left its fleet".into(), transient: false }
}

impl Store for Handle {
    fn put(&self, id: &ConnectionId, document: Bytes, done: Done<Result<(), BackendError>>) {
        self.post(Mail::Store { id: id.clone(), document, done });
    }

    fn delete(&self, id: &ConnectionId, done: Done<Result<(), BackendError>>) {
        self.post(Mail::Forget { id: id.clone(), done });
    }

    /// A fleet's connections come by adoption, one by one.
    fn load(&self) -> Result<Vec<(ConnectionId, Bytes)>, BackendError> {
        Ok(Vec::new())
    }
}

impl Directory for Handle {
    fn me(&self) -> Arc<str> {
        self.0.me.read().clone()
    }

    fn members(&self) -> Arc<[Member]> {
        self.0.members.read().clone()
    }

    fn locate(&self, id: &ConnectionId) -> Pending<Result<Holder, BackendError>> {
        let (shared, key) = (self.0.clone(), crate::core::fleet::record_key(id));
        Box::pin(async move {
            let found = shared.documents.get(vec![key]).await?;
            let Some(Some(document)) = found.into_iter().next() else { return Ok(Holder::Nobody) };
            let (me, members) = (shared.me.read().clone(), shared.members.read().clone());
            Ok(super::run::holder(&document.value, &me, &members))
        })
    }

    fn claim(&self, id: &ConnectionId) -> Pending<Result<Holder, BackendError>> {
        let (reply, answer) = oneshot::channel();
        let (mail, id) = (self.0.mail.clone(), id.clone());
        Box::pin(async move {
            mail.send(Mail::Claim { id, reply }).await.map_err(|_| stopped())?;
            answer.await.unwrap_or_else(|_| Err(stopped()))
        })
    }

    fn unclaim(&self, id: &ConnectionId) {
        self.post(Mail::Unclaim { id: id.clone() });
    }

    fn recorded(&self, incarnation: &str) -> Pending<Result<Vec<Bytes>, BackendError>> {
        let (shared, incarnation) = (self.0.clone(), incarnation.to_owned());
        Box::pin(async move {
            let mut ids = Vec::new();
            for keys in owned_keys(&incarnation).chunks(limits::FLEET_READ_KEYS) {
                let buckets = shared.documents.get(keys.to_vec()).await?;
                ids.extend(buckets.into_iter().flatten().flat_map(|bucket| listed(&bucket.value)));
            }
            let mut records = Vec::new();
            for ids in ids.chunks(limits::FLEET_READ_KEYS) {
                let found = shared.documents.get(ids.iter().map(record_key).collect()).await?;
                let owned =
                    |record: &Bytes| owner_of(record).is_some_and(|(owner, _)| *owner == *incarnation);
                records.extend(found.into_iter().flatten().map(|record| record.value).filter(owned));
            }
            Ok(records)
        })
    }
}

//! Leaving without a gap: what was dialled here is dialled by a member before it is closed here.

use super::{Failure, Instance, defaults, fleet};
use crate::{
    api::{
        observe::Observer,
        peers::Peers,
        service::{Inner, Service},
    },
    core::{
        fleet::{by_preference, record_key},
        id::ConnectionId,
        io::{Answer, Command, Context, List},
        spec::{Info, Record, Status},
    },
    fleet::Handle,
    limits,
    ports::{Directory, Documents, Member},
    proto::fleet::{Abort, Commit, Offer},
    shard::record,
};
use bytes::Bytes;
use serde_json::Value;
use std::sync::Arc;
use tokio::task::JoinSet;

#[derive(Clone)]
struct Leaving {
    instance: Arc<Instance>,
    handle: Handle,
    documents: Arc<dyn Documents>,
    service: Service,
}

/// Hands over what comes back by itself; the rest ends in order afterwards. What nobody takes is
/// left for the survivors, who dial it when the lease is given back.
pub(super) async fn all(instance: &Arc<Instance>) {
    let (Some(handle), Some(documents)) = (&instance.fleet, instance.backend.documents()) else { return };
    if handle.members().is_empty() {
        return;
    }
    let service = match service(instance) {
        Ok(service) => service,
        Err(error) => return tracing::error!(%error, "nothing can be handed over"),
    };
    let leaving = Leaving { instance: instance.clone(), handle: handle.clone(), documents, service };
    let mut left = leaving.connections().await;
    left.reverse();
    let (mut moved, mut stayed) = (0u64, 0u64);
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < limits::HAND_OVERS_AT_ONCE
            && let Some(info) = left.pop()
        {
            under_way.spawn_local(leaving.clone().one(info));
        }
        match under_way.join_next().await {
            None => break,
            Some(Ok(Ok(()))) => moved += 1,
            Some(Ok(Err((id, why)))) => {
                stayed += 1;
                tracing::info!(%id, %why, "a connection is not handed over");
            }
            Some(Err(error)) => tracing::error!(%error, "a hand-over failed"),
        }
    }
    tracing::info!(moved, stayed, "handed over");
}

/// The members as this thread reaches them.
fn service(instance: &Instance) -> Result<Service, Failure> {
    Ok(Service::new(Inner {
        hub: instance.hub.clone(),
        defaults: defaults(&instance.config),
        instance: instance.config.instance_id.clone(),
        bus: None,
        readiness: instance.readiness.clone(),
        fleet: fleet::peers(instance)?,
        rooms: instance.outside.ports.clone(),
        check: None,
        observer: Observer::default(),
    }))
}

type Stayed = (ConnectionId, String);

impl Leaving {
    async fn connections(&self) -> Vec<Info> {
        let mut found = Vec::new();
        for shard in 0..self.instance.hub.shards() {
            let list = List { status: vec![Status::Connected], limit: usize::MAX, ..List::default() };
            let call = self.instance.hub.call(shard, Context::default(), Command::List(Box::new(list)));
            if let Ok(Answer::Listed { infos, .. }) = call.await {
                found.extend(infos.into_iter().filter(|info| info.auto_reconnect));
            }
        }
        found
    }

    async fn one(self, info: Info) -> Result<(), Stayed> {
        let id = info.id.clone();
        self.hand_over(&info).await.map_err(|why| (id, why))
    }

    async fn hand_over(&self, info: &Info) -> Result<(), String> {
        let peers = self.service.peers().ok_or("there are no members")?;
        let members = self.handle.members();
        let epoch = (info.epoch + 1).max(fleet::wall_now().unix_millis());
        let document = self.document(&info.id).await?;
        let id = info.id.to_string();
        let offer = Offer { id: id.clone(), document, epoch };
        let mut refused = "there are no members".to_owned();
        let mut taker = None;
        for member in by_preference(&info.id, &members).into_iter().take(limits::HAND_OVER_TRIES) {
            match peers.offer(member, offer.clone()).await {
                Ok(Ok(())) => {
                    taker = Some(member);
                    break;
                }
                Ok(Err(why)) => refused = why,
                Err(fault) => refused = fault.to_string(),
            }
        }
        let member = taker.ok_or(refused)?;
        let shard = self.instance.hub.owner(&info.id);
        let retire = Command::Retire(info.id.clone());
        let retired = self.instance.hub.call(shard, Context::default(), retire).await;
        let (last_seq, record) = match retired {
            Ok(Answer::Retired { last_seq, record, .. }) => (last_seq, record),
            other => {
                self.abort(peers, member, &id).await;
                return Err(other.err().map_or("it does not let go".into(), |fault| fault.to_string()));
            }
        };
        let transferred = self.transfer(*record, member, epoch, last_seq).await;
        if let Err(why) = transferred {
            self.order(Command::Resume(info.id.clone())).await;
            self.abort(peers, member, &id).await;
            return Err(why);
        }
        // It is the member's now, whatever becomes of this call: its own documents tell it so.
        if let Err(fault) = peers.commit(member, Commit { id, epoch, last_seq }).await {
            tracing::warn!(id = %info.id, %fault, "a member was not told that it owns a connection");
        }
        self.order(Command::Release(info.id.clone())).await;
        Ok(())
    }

    async fn document(&self, id: &ConnectionId) -> Result<Bytes, String> {
        let found = self.documents.get(vec![record_key(id)]).await.map_err(|error| error.message)?;
        let document = found.into_iter().next().flatten();
        document.map(|document| document.value).ok_or_else(|| "it has no document".into())
    }

    async fn transfer(
        &self,
        mut record: Record,
        member: &Member,
        epoch: u64,
        last_seq: u64,
    ) -> Result<(), String> {
        (record.clean, record.last_seq) = (true, Some(last_seq));
        let id = record.id.clone();
        let sealer = self.instance.backend.local().sealer();
        let document = record::encode(&record, &member.instance, &*sealer).map_err(|error| error.message)?;
        let mut document: Value = serde_json::from_slice(&document).map_err(|error| error.to_string())?;
        document["previousEpoch"] = record.epoch.into();
        document["epoch"] = epoch.into();
        let document = Bytes::from(document.to_string());
        self.handle.transfer(id, member.incarnation.clone(), epoch, document).await
    }

    async fn abort(&self, peers: &Peers, member: &Member, id: &str) {
        if let Err(fault) = peers.abort(member, Abort { id: id.to_owned() }).await {
            tracing::warn!(id, %fault, "a member was not told that a connection stays here");
        }
    }

    async fn order(&self, command: Command) {
        let id = match &command {
            Command::Resume(id) | Command::Release(id) => id.clone(),
            _ => return,
        };
        if let Err(fault) = self.instance.hub.order(self.instance.hub.owner(&id), command).await {
            tracing::error!(%id, %fault, "a shard did not take an order of the hand-over");
        }
    }
}

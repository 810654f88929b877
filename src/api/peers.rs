//! Any instance answers any call: what is not here is asked of the member that has it, over one
//! stream a thread and member. What comes in from a member is served from the shards of this
//! instance alone, by a service that knows of no members, so that nothing goes in circles.

mod all;
mod cache;
mod channel;
mod fan;
mod fault;
mod follow;
mod hello;
mod link;
mod page;
mod places;
pub mod rooms;
mod route;
mod rpc;
mod server;

#[cfg(test)]
mod tests;

pub use channel::PeerTls;
pub use hello::PeerKey;
pub use server::PeersEdge;

use super::{
    counters::PeerCounters,
    service::{Caller, Service},
};
use crate::{
    core::{
        id::{ConnectionId, instance_code},
        reason::Fault,
    },
    limits,
    ports::{Adoption, Directory, Holder, Member},
};
use cache::Holders;
use fault::{not_sent, unsettled};
use link::{Calling, Ended, Links};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::OnceCell,
    time::{Instant, timeout},
};

/// What an instance of a fleet is given to find the others and to be found.
#[derive(Clone)]
pub struct Fleet {
    pub directory: Arc<dyn Directory>,
    pub key: PeerKey,
    /// Given when the members' gRPC ports speak TLS.
    pub tls: PeerTls,
    /// Takes connections over from members that leave; None: refuses.
    pub adoption: Option<Arc<dyn Adoption>>,
    /// Given where the members number and carry rooms; None: asked for rooms it refuses.
    pub rooms: Option<rooms::RoomsEdge>,
    pub counters: Arc<PeerCounters>,
}

impl Fleet {
    /// None when its lease is over.
    pub fn member(&self, incarnation: &str) -> Option<Member> {
        self.directory.members().iter().find(|member| *member.incarnation == *incarnation).cloned()
    }
}

type Location = Arc<OnceCell<Result<Holder, String>>>;

/// What one shard's thread knows of the other instances; its channels belong to that thread.
pub struct Peers {
    fleet: Arc<Fleet>,
    /// The same service without members.
    local: Service,
    holders: Mutex<Holders>,
    /// Look-ups under way: many calls for one id make one.
    locating: Mutex<BTreeMap<ConnectionId, Location>>,
    links: Links,
    channels: Mutex<BTreeMap<Arc<str>, follow::Channels>>,
}

impl Peers {
    pub fn new(fleet: Fleet, local: Service) -> Self {
        let fleet = Arc::new(fleet);
        Peers {
            links: Links::new(fleet.clone()),
            fleet,
            local,
            holders: Mutex::new(Holders::new(limits::PEER_HOLDERS_MAX)),
            locating: Mutex::default(),
            channels: Mutex::default(),
        }
    }

    pub fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    pub fn local(&self) -> &Service {
        &self.local
    }

    /// The member that accepted it, or had it when it was last asked, if that one still lives.
    pub fn remembered(&self, id: &ConnectionId) -> Option<Member> {
        if let Some(code) = id.instance_code() {
            return self.coded(code);
        }
        let incarnation = self.holders.lock().get(id);
        let member = incarnation.and_then(|incarnation| self.fleet.member(&incarnation));
        match &member {
            Some(_) => self.fleet.counters.holder_cache_hits.add(),
            None => self.fleet.counters.holder_cache_misses.add(),
        }
        member
    }

    /// The member that this code in a connection's id names.
    fn coded(&self, code: &str) -> Option<Member> {
        let members = self.fleet.directory.members();
        members.iter().find(|member| instance_code(&member.incarnation) == code).cloned()
    }

    fn remember(&self, id: &ConnectionId, member: &Member) {
        if id.instance_code().is_some() {
            return;
        }
        self.holders.lock().remember(id.clone(), member.incarnation.clone());
    }

    fn forget(&self, id: &ConnectionId) {
        self.holders.lock().forget(id);
    }

    /// The directory knows what has a document. Of what was accepted the id tells, or whoever has it.
    async fn locate(&self, id: &ConnectionId) -> Result<Holder, Fault> {
        if let Some(code) = id.instance_code() {
            if instance_code(&self.fleet.directory.me()) == code {
                return Ok(Holder::Me);
            }
            return Ok(self.coded(code).map_or(Holder::Nobody, Holder::Member));
        }
        let location = self.locating.lock().entry(id.clone()).or_default().clone();
        let looking = Looking { peers: self, id, location: &location };
        let found = location.get_or_init(|| async {
            let found = self.look_for(id).await;
            // Who asks from now on asks anew.
            looking.end();
            found
        });
        match found.await {
            Ok(holder) => Ok(holder.clone()),
            Err(why) => Err(unknown(id, why)),
        }
    }

    async fn look_for(&self, id: &ConnectionId) -> Result<Holder, String> {
        match self.fleet.directory.locate(id).await.map_err(|error| error.message)? {
            Holder::Nobody => Ok(self.find(id).await?.map_or(Holder::Nobody, Holder::Member)),
            holder => Ok(holder),
        }
    }
}

impl Peers {
    /// The answer of whoever should have it. Not to have it means that there is no such connection only
    /// when nobody can be found who has it: a member that leaves lets go of what others will take.
    async fn unless_unsettled<T>(&self, id: &ConnectionId, answer: Result<T, Fault>) -> Result<T, Fault> {
        match answer {
            Err(fault) if fault.is_absence_of(id.as_str()) && !self.is_nowhere(id).await => {
                Err(unsettled(id.as_str()))
            }
            answer => answer,
        }
    }

    /// What was accepted is where its id says, or it is gone.
    async fn is_nowhere(&self, id: &ConnectionId) -> bool {
        id.instance_code().is_some() || matches!(self.locate(id).await, Ok(Holder::Nobody))
    }
}

fn unknown(id: &ConnectionId, why: &str) -> Fault {
    not_sent(format!("where connection '{id}' lives cannot be found out now: {why}"))
}

/// Takes a look-up out of the list when nobody needs it any more.
struct Looking<'a> {
    peers: &'a Peers,
    id: &'a ConnectionId,
    location: &'a Location,
}

impl Looking<'_> {
    fn end(&self) {
        let mut locating = self.peers.locating.lock();
        if locating.get(self.id).is_some_and(|known| Arc::ptr_eq(known, self.location)) {
            locating.remove(self.id);
        }
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        // The list and this caller: nobody else waits.
        if Arc::strong_count(self.location) <= 2 {
            self.end();
        }
    }
}

/// When the caller's patience ends.
#[derive(Clone, Copy)]
pub struct Until(Option<Instant>);

impl Until {
    pub fn of(caller: &Caller) -> Self {
        Until(caller.deadline.map(|left| Instant::now() + left))
    }

    pub fn left(&self) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// How a call ends; None: in silence, also after its time and some more. Its callee ends it by itself
    /// when its time is over.
    pub(super) async fn wait(&self, calling: Calling) -> Option<Ended> {
        match self.left() {
            None => Some(calling.await),
            Some(left) => timeout(left + limits::PEER_DEADLINE_GRACE, calling).await.ok(),
        }
    }

    /// The caller as it is by now: some of its time is gone.
    pub fn caller(&self, caller: &Caller) -> Caller {
        Caller { deadline: self.left(), ..caller.clone() }
    }
}

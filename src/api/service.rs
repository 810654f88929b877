//! Every RPC once, as a function from proto to proto: gRPC, gRPC-Web, Connect, REST and
//! server-sent events are thin shells over it.

mod connections;
mod members;
mod readiness;
mod reading;
mod rooms;
mod sending;
mod settings;

pub use super::typed::Check;
pub(super) use connections::page_token;
pub(super) use members::{merged_members, merged_rooms, reached};
pub use readiness::{Life, Readiness, leaving};
pub use rooms::RoomPorts;
pub(super) use sending::send_command;

use super::{
    observe::Observer,
    peers::{Fleet, Peers},
    validate::Defaults,
};
use crate::{
    core::{
        id::{self, ConnectionId},
        io::{Answer, Command, Context},
        reason::{Fault, FaultKind},
    },
    ports::{Bus, Condition},
    shard::mailbox::{self, Hub},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_core::Stream;
use std::{pin::Pin, sync::Arc, time::Duration};

/// What an edge knows of the one who calls.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// Empty: anonymous.
    pub principal: String,
    /// What the protocol's own deadline leaves (grpc-timeout, connect-timeout-ms).
    pub deadline: Option<Duration>,
    /// The W3C trace context, passed on as it came.
    pub traceparent: Option<String>,
}

/// A stream of answers; an error is its last item.
pub type Flow<T> = Pin<Box<dyn Stream<Item = Result<T, Fault>> + Send>>;

/// One for each shard: its clones are counted by that shard's thread alone.
/// The second part is there in a fleet.
#[derive(Clone)]
pub struct Service(Arc<Inner>, Option<Arc<Peers>>, Kind);

/// Who else could have what is not here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nobody: there are no other instances.
    Alone,
    /// Others, which know of it by themselves: what is said of this one must be the truth of its shards.
    Member,
}

pub struct Inner {
    pub hub: Hub,
    pub defaults: Defaults,
    pub instance: String,
    /// The topics' own log. None: topics are followed through the shards' rings.
    pub bus: Option<Arc<dyn Bus>>,
    pub readiness: Arc<Readiness>,
    /// None: there are no other instances.
    pub fleet: Option<Fleet>,
    /// What numbers and carries rooms outside this instance.
    pub rooms: RoomPorts,
    /// Looks at each message that an app sends to rooms or users; None: any will do.
    pub check: Option<Arc<dyn Check>>,
    pub observer: Observer,
}

impl Inner {
    /// Without a shard.
    pub fn unstarted() -> Self {
        Inner {
            hub: Hub::new(Vec::new(), 0),
            defaults: Defaults::default(),
            instance: String::new(),
            bus: None,
            readiness: Arc::default(),
            fleet: None,
            rooms: RoomPorts::default(),
            check: None,
            observer: Observer::default(),
        }
    }
}

type Answered<T> = Result<T, Fault>;

impl Service {
    pub fn new(mut inner: Inner) -> Self {
        let fleet = inner.fleet.take();
        let kind = if fleet.is_some() { Kind::Member } else { Kind::Alone };
        let local = Service(Arc::new(inner), None, kind);
        let peers = fleet.map(|fleet| Arc::new(Peers::new(fleet, local.clone())));
        Service(local.0, peers, kind)
    }

    /// The other instances, in a fleet.
    pub fn peers(&self) -> Option<&Arc<Peers>> {
        self.1.as_ref()
    }

    pub(super) fn readiness(&self) -> &Arc<Readiness> {
        &self.0.readiness
    }

    pub(super) fn observer(&self) -> &Observer {
        &self.0.observer
    }

    pub(super) fn defaults(&self) -> &Defaults {
        &self.0.defaults
    }

    /// All shards of this instance.
    pub(super) fn hub(&self) -> &Hub {
        &self.0.hub
    }

    /// By which minted ids of accepted connections name this instance, so that others find it.
    pub fn instance_code(&self) -> Arc<str> {
        match &self.1 {
            Some(peers) => id::instance_code(&peers.fleet().directory.me()).into(),
            None => self.0.hub.code().clone(),
        }
    }

    pub(super) fn mint(&self) -> ConnectionId {
        self.0.hub.mint()
    }

    /// Answers everything with UNAVAILABLE.
    pub fn unstarted() -> Self {
        Service::new(Inner::unstarted())
    }

    /// None when ready; otherwise why not, in one line.
    pub fn not_ready(&self) -> Option<String> {
        self.0.readiness.not_ready()
    }

    pub fn condition(&self) -> Option<Condition> {
        self.0.readiness.condition()
    }

    pub(super) fn started(&self) -> Answered<()> {
        if self.0.hub.shards() > 0 { Ok(()) } else { Err(Fault::new(FaultKind::Unavailable, "not started")) }
    }

    fn context(&self, caller: &Caller) -> Context {
        let deadline = caller.deadline.and_then(|left| Some(mailbox::now_here()?.mono + left));
        let named = !caller.principal.is_empty();
        let principal = named.then(|| caller.principal.as_str().into());
        Context { principal, deadline, trace: None }
    }

    /// With the trace of the call, for what is a span on the shard too.
    fn traced(&self, caller: &Caller) -> Context {
        let trace = caller.traceparent.as_deref().filter(|_| self.observer().spans.is_on());
        Context { trace: trace.map(Into::into), ..self.context(caller) }
    }

    /// To the shard that owns `id`.
    async fn ask(&self, caller: &Caller, id: &ConnectionId, command: Command) -> Answered<Answer> {
        let answer = self.0.hub.call(self.0.hub.owner(id), self.context(caller), command).await;
        answer.map_err(|fault| self.absent(id, fault))
    }

    /// What a drain has let go of may come back with the next start. A member says no more than that it
    /// is not here: whose it is now, the fleet knows.
    fn absent(&self, id: &ConnectionId, fault: Fault) -> Fault {
        let let_go = self.2 == Kind::Alone && self.0.readiness.is_stopping();
        if let_go && fault.is_absence_of(id.as_str()) { leaving() } else { fault }
    }
}

/// What a page's token says is the last name of the page before.
fn named_by<T>(token: &str, parse: impl FnOnce(&str) -> Option<T>) -> Answered<Option<T>> {
    if token.is_empty() {
        return Ok(None);
    }
    let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let name = text.and_then(|text| parse(&text));
    name.map(Some).ok_or_else(|| Fault::invalid("page_token", "is none of ours; begin again without it"))
}

/// A page's token: the last name on it.
pub(super) fn token_of(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(last)
}

fn unexpected(answer: &Answer) -> Fault {
    tracing::error!(?answer, "a shard answered with another kind");
    Fault::new(FaultKind::Internal, "an answer of another kind")
}

//! What goes into the fleet machine of one instance and what comes out.

use crate::core::id::ConnectionId;
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

/// A point on the boot clock, which also runs while the machine is suspended: nanoseconds.
/// Never to be mixed with the monotonic `core::time::Time`, which stands still then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boot(pub u64);

/// Names one read or write of a document that this machine asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocTicket(pub u64);

/// Names one caller of this machine (a shard's write, an edge's claim) that waits for one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Asker(pub u64);

/// By which a document's next write shows that it has seen the last one. Opaque.
pub type Version = Bytes;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    pub value: Bytes,
    pub version: Version,
}

/// What must stand under a key for a write to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    Absent,
    Version(Version),
}

/// How the store answered; `Unknown`: an error, and nobody knows whether it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocAnswer {
    /// One a key, in order.
    Got(Vec<Option<Versioned>>),
    Written(Version),
    Conflict,
    Unknown(String),
}

/// Another instance whose lease lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Member {
    /// The instance id and a word drawn at each start: names one run of it.
    pub incarnation: Arc<str>,
    pub instance: Arc<str>,
    /// `host:port` of its gRPC port.
    pub address: Arc<str>,
}

/// What a claim came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    Mine,
    Member(Member),
    /// Its owner is dead or leaving; it will be taken.
    Orphan,
    Unknown(String),
}

/// What the instance asks of this machine.
#[derive(Debug)]
pub enum FleetInput {
    /// Before a chosen id is dialled. Answered by `Effect::Claimed`.
    Claim { asker: Asker, id: ConnectionId },
    /// The dial of a claimed id failed.
    Unclaim { id: ConnectionId },
    /// A shard's document of a connection: written when this instance owns it (a new one is
    /// claimed by this very write). Answered by `Effect::Stored`.
    Store { asker: Asker, id: ConnectionId, epoch: u64, document: Bytes },
    /// Deletes it. Answered by `Effect::Stored`.
    Forget { asker: Asker, id: ConnectionId },
    /// A connection that `Effect::Take` handed over could not be taken up here: its document stays
    /// ours until the process ends, and is left as it is.
    Untakeable { id: ConnectionId },
    /// Orderly leave: from now on nothing is taken, and the lease says so.
    Leave,
    /// Everything is closed: the lease is given back and what is still ours is free at once.
    Left,
    /// Hand a connection to a member that has dialled it already.
    Transfer { asker: Asker, id: ConnectionId, to: Arc<str>, epoch: u64, document: Bytes },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetEffect {
    Get {
        ticket: DocTicket,
        keys: Vec<String>,
    },
    Put {
        ticket: DocTicket,
        key: String,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    },
    Delete {
        ticket: DocTicket,
        key: String,
        expect: Version,
    },
    /// Sockets may be written until then on the boot clock; `Boot(u64::MAX)` while this instance
    /// goes on alone without its store.
    Valid {
        until: Boot,
        advisory: bool,
    },
    /// The lease is lost: every dialled connection is dropped, now. `incarnation` is the name under
    /// which the instance begins anew.
    Fence {
        incarnation: Arc<str>,
    },
    /// This instance owns it now, by a document with this epoch, which its shard must use.
    Take {
        id: ConnectionId,
        epoch: u64,
        document: Bytes,
    },
    /// Another one owns it, with a higher epoch: the shard drops it without a word.
    Lost {
        id: ConnectionId,
        epoch: u64,
    },
    /// Every document must be written again: the store lost some.
    StoreLost,
    Members(Arc<[Member]>),
    Claimed {
        asker: Asker,
        claim: Claim,
    },
    Stored {
        asker: Asker,
        result: Result<(), String>,
    },
}

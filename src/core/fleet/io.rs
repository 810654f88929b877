//! What goes into the fleet machine of one instance and what comes out.

use crate::core::{id::ConnectionId, time::Wall};
use bytes::Bytes;
use std::{ops::Add, sync::Arc, time::Duration};

/// A point on the boot clock, which also runs while the machine is suspended: nanoseconds.
/// Never to be mixed with the monotonic `core::time::Time`, which stands still then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boot(pub u64);

impl Boot {
    pub const ZERO: Boot = Boot(0);
    pub const FAR: Boot = Boot(u64::MAX);

    pub const fn from_millis(millis: u64) -> Self {
        Boot(millis.saturating_mul(1_000_000))
    }

    /// Zero when `earlier` is in fact later.
    pub const fn since(self, earlier: Boot) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Boot {
    type Output = Boot;
    fn add(self, after: Duration) -> Boot {
        Boot(self.0.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Both clocks, read once for each call of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct FleetNow {
    pub boot: Boot,
    pub wall: Wall,
}

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
    /// The connection's epoch should not be below this one.
    Mine {
        epoch: u64,
    },
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
    /// Writing was found to be over before a renewal reached the sockets: the lease counts as lost.
    Shut,
    /// Orderly leave: from now on nothing is taken, and the lease says so.
    Leave,
    /// Everything is closed: what is still to be written is written, then the lease is given back
    /// and what is still ours is free at once. `FleetEffect::Left` follows.
    Left,
    /// A member is about to hand this connection over: it is listed as ours first, so that it is
    /// not forgotten when we die in the middle. Answered by `Effect::Stored`; then the member may
    /// `Transfer`, and our `Store` (which must follow in any case: `Lost` says that nothing was
    /// handed over) makes it ours. `Forget` takes it back.
    Expect { asker: Asker, id: ConnectionId },
    /// Hand a connection to a member that expects it. Answered by `Effect::Stored`, without a
    /// deadline: only when it is known whether it happened, or with the loss of our lease.
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
    /// Sockets may be written until then on the boot clock. Said again whenever it moves; while this
    /// instance goes on alone without its store (`advisory`) it is moved on about once a second, so
    /// that a machine which was suspended finds it passed.
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
    /// The lease is given back: nothing more will be asked or written.
    Left,
    /// For the log and a counter; said once for each key.
    Trouble(Trouble),
}

/// What an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Not what belongs under this key. `rewritten`: it is replaced, otherwise it is left alone.
    Bad { key: String, why: String, rewritten: bool },
    /// Written by a newer version of this program; left alone.
    Newer { key: String },
    /// The derived index is over its bound: only the first `kept` of `ids` stand in it.
    IndexCut { ids: usize, kept: usize },
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetCounters {
    pub renewals: u64,
    pub fences: u64,
    pub tombstones: u64,
    pub taken: u64,
    pub lost: u64,
    pub store_losses: u64,
    pub conflicts: u64,
    pub unknowns: u64,
    pub writes: u64,
    pub bad_documents: u64,
    /// Callers that were told that the store did not answer in time.
    pub given_up: u64,
}

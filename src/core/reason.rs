//! Closed sets of reasons: why refused, why dropped, why closed, why there is a gap.
//! Each name stands in metrics, records and documents exactly as `name()` gives it.

use crate::limits;
use std::{borrow::Cow, fmt, time::Duration};

/// Whether a frame may have reached the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// Not one byte was handed to the kernel, nor will be.
    NotSent,
    MaybeSent,
}

impl Certainty {
    pub const fn name(self) -> &'static str {
        match self {
            Certainty::NotSent => "not_sent",
            Certainty::MaybeSent => "maybe_sent",
        }
    }
}

/// What went wrong, in the words of the contract. `api::status` is the one table from here to
/// gRPC, HTTP and close codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// No such connection, no such tag.
    NotFound,
    /// An argument is wrong; `Fault::field` names it.
    Invalid,
    /// The address is not allowed by the egress policy.
    EgressDenied,
    /// The caller-chosen id is in use with other settings.
    IdInUse,
    /// The correlation id is already in flight on that connection.
    CorrelationInUse,
    /// The socket is not open now.
    NotOpen,
    /// A FIFO pairing is in doubt until the connection was silent for a while.
    FifoResync,
    DialFailed,
    /// The socket broke, or the service stops, before the frame was written.
    NotSent,
    /// The socket broke after the frame may have been written.
    MaybeSent,
    /// Disconnect was called while the Send waited.
    Cancelled,
    TimedOut,
    /// A queue, cap or rate limit is full.
    Full,
    /// The peer broke the WebSocket protocol.
    PeerProtocol,
    Unauthenticated,
    Forbidden,
    /// Known by the contract, not built yet; `Fault::field` names it.
    Unimplemented,
    /// The service is draining or not ready.
    Unavailable,
    Internal,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    /// The request field at fault, in proto spelling; empty when none is.
    pub field: Cow<'static, str>,
    /// What is wrong and the way out. Never holds a secret.
    pub message: Cow<'static, str>,
    pub certainty: Option<Certainty>,
    pub retry_after: Option<Duration>,
}

impl Fault {
    pub fn new(kind: FaultKind, message: impl Into<Cow<'static, str>>) -> Self {
        Fault { kind, field: Cow::Borrowed(""), message: message.into(), certainty: None, retry_after: None }
    }

    pub fn invalid(field: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Fault { field: field.into(), ..Fault::new(FaultKind::Invalid, message) }
    }

    pub fn unimplemented(field: impl Into<Cow<'static, str>>) -> Self {
        let field = field.into();
        Fault { field, ..Fault::new(FaultKind::Unimplemented, "is not supported by this version") }
    }

    pub fn not_found(id: &str) -> Self {
        Fault::new(FaultKind::NotFound, format!("no connection '{id}'"))
    }

    /// Whether it says this, and not that something of the connection is missing.
    pub fn is_absence_of(&self, id: &str) -> bool {
        *self == Fault::not_found(id)
    }

    pub fn full(what: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        Fault { retry_after: Some(retry_after), ..Fault::new(FaultKind::Full, what) }
    }

    /// As text of a bounded length, for those who keep it.
    pub fn brief(&self) -> String {
        self.to_string().chars().take(limits::FAULT_CHARS_MAX).collect()
    }

    pub fn with_certainty(mut self, certainty: Certainty) -> Self {
        self.certainty = Some(certainty);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.field, self.message)
        }
    }
}

impl std::error::Error for Fault {}

/// Declares a closed set with names for metrics and documents, and its members in order.
macro_rules! closed_set {
    ($(#[$meta:meta])* $set:ident { $($(#[$doc:meta])* $member:ident = $name:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $set { $($(#[$doc])* $member,)+ }

        impl $set {
            pub const ALL: &'static [$set] = &[$($set::$member,)+];
            pub const COUNT: usize = Self::ALL.len();

            pub const fn name(self) -> &'static str {
                match self { $($set::$member => $name,)+ }
            }

            pub const fn index(self) -> usize {
                self as usize
            }

            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some($set::$member),)+ _ => None }
            }
        }
    };
}

closed_set! {
    /// Why messages between two numbers did not come, or cannot be told from lost ones.
    GapCause {
        /// The socket was away; the peer may have sent.
        Reconnect = "reconnect",
        /// A new epoch began: another owner, or a restart.
        NewEpoch = "new_epoch",
        /// Received while nothing was published.
        NotPublished = "not_published",
        /// Reads were paused past every bound and the upstream cut the connection.
        Backpressure = "backpressure",
        OverflowDropOldest = "overflow_drop_oldest",
        OverflowDropNewest = "overflow_drop_newest",
        OverflowKeepLatest = "overflow_keep_latest",
        /// Older than what the ring or the log keeps.
        NotRetained = "not_retained",
        /// The follower was slower than the ring.
        SlowFollower = "slow_follower",
        /// The bus refused the event for good.
        Refused = "refused",
        /// The upstream's own numbering has a hole.
        Upstream = "upstream",
        /// The connection ended without a close frame and is not dialled again.
        Lost = "lost",
        /// The owner crashed.
        Crash = "crash",
    }
}

closed_set! {
    /// Why a message that we had was not delivered. Every drop is counted under one of these.
    DropReason {
        OverflowDropOldest = "overflow_drop_oldest",
        OverflowDropNewest = "overflow_drop_newest",
        OverflowKeepLatest = "overflow_keep_latest",
        /// No topic, no room and no follower wanted it.
        NotPublished = "not_published",
        BusRefused = "bus_refused",
        /// Was on the spill log and could not be read back.
        SpillLost = "spill_lost",
        /// An ignore rule of the connection matched.
        Ignored = "ignored",
        /// The ring overtook a follower.
        SlowFollower = "slow_follower",
        /// Left in memory when a drain ran out of time.
        DrainForced = "drain_forced",
        /// Another instance owns the connection by now, with a higher epoch.
        Superseded = "superseded",
    }
}

closed_set! {
    /// Why a socket ended.
    CloseCause {
        /// The caller asked for it.
        Disconnect = "disconnect",
        /// The peer sent a close frame.
        PeerClosed = "peer_closed",
        /// The peer ended the stream without a close frame.
        PeerVanished = "peer_vanished",
        /// The network failed.
        NetworkError = "network_error",
        /// The peer broke the protocol: bad frame.
        ProtocolError = "protocol_error",
        /// Text that is not UTF-8.
        InvalidUtf8 = "invalid_utf8",
        MessageTooBig = "message_too_big",
        /// Pings, pongs or fragments beyond every sane rate.
        Flood = "flood",
        PongTimeout = "pong_timeout",
        IdleTimeout = "idle_timeout",
        /// Too slow in taking what we write.
        WriteStalled = "write_stalled",
        DialFailed = "dial_failed",
        EgressDenied = "egress_denied",
        Draining = "draining",
        /// Reads had been paused for a full publish queue when the peer cut.
        Backpressure = "backpressure",
        /// This instance lost its lease: the connection may have another owner.
        LeaseLost = "lease_lost",
        /// Another instance has taken the connection over.
        HandOver = "hand_over",
        /// It took its rooms' messages too slowly.
        SlowReader = "slow_reader",
        /// What let it in is over.
        Expired = "expired",
        /// A newer socket came under its id.
        Replaced = "replaced",
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        core::reason::{Fault, FaultKind},
        limits,
    };

    #[test]
    fn what_is_kept_of_a_fault_is_bounded() {
        assert_eq!(Fault::invalid("url", "is empty").brief(), "url: is empty");
        let long = Fault::new(FaultKind::DialFailed, "ä".repeat(1 << 16));
        assert_eq!(long.brief(), "ä".repeat(limits::FAULT_CHARS_MAX));
    }
}

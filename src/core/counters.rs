//! What one shard counts: plain numbers that only it touches, copied out when somebody asks.

use crate::core::reason::{CloseCause, DropReason, FaultKind, GapCause};

/// How a Send ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SendEnd {
    Replied,
    TimedOut,
    Lost,
    Rejected,
    Cancelled,
}

impl SendEnd {
    pub const ALL: &'static [SendEnd] =
        &[SendEnd::Replied, SendEnd::TimedOut, SendEnd::Lost, SendEnd::Rejected, SendEnd::Cancelled];

    pub const fn name(self) -> &'static str {
        match self {
            SendEnd::Replied => "replied",
            SendEnd::TimedOut => "timed_out",
            SendEnd::Lost => "lost",
            SendEnd::Rejected => "rejected",
            SendEnd::Cancelled => "cancelled",
        }
    }

    pub const fn of(kind: FaultKind) -> Self {
        match kind {
            FaultKind::TimedOut => SendEnd::TimedOut,
            FaultKind::NotSent | FaultKind::MaybeSent | FaultKind::PeerProtocol => SendEnd::Lost,
            FaultKind::Cancelled => SendEnd::Cancelled,
            _ => SendEnd::Rejected,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Counters {
    pub messages_in: u64,
    pub bytes_in: u64,
    pub messages_out: u64,
    pub bytes_out: u64,
    /// Replies matched otherwise than by FIFO: they take no seq.
    pub replies: u64,
    pub replies_late: u64,
    pub replies_abandoned: u64,
    /// Messages that took a seq.
    pub numbered: u64,
    pub pings_in: u64,
    pub pongs_in: u64,
    pub pings_out: u64,
    pub sends_accepted: u64,
    /// Sends that changed nothing; the accepted ones end in `sends_ended`.
    pub sends_refused: u64,
    pub sends_ended: [u64; SendEnd::ALL.len()],
    pub raw_accepted: u64,
    pub dials: u64,
    pub dials_failed: u64,
    pub reconnects: u64,
    pub closes: [u64; CloseCause::COUNT],
    pub dropped: [u64; DropReason::COUNT],
    pub gaps: [u64; GapCause::COUNT],
    pub violations: u64,
    pub store_writes: u64,
    pub store_errors: u64,
    pub followers_answered: u64,
    pub reads_paused: u64,
    /// Connections that came to us.
    pub accepted: u64,
    /// Messages that went to rooms and not to a topic.
    pub fed: u64,
    pub feeds_refused: u64,
    /// Requests of clients on their own sockets.
    pub room_requests: u64,
    /// What became of members that were too slow: closed, dropped oldest, kept latest.
    pub slow_readers: [u64; SLOW_ACTIONS.len()],
}

/// What is done with a slow reader, as metrics name it.
pub const SLOW_ACTIONS: [&str; 3] = ["close", "drop_oldest", "keep_latest"];

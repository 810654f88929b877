//! How commands and their replies ended, as closed sets.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

macro_rules! outcomes {
    ($(#[$meta:meta])* $set:ident { $($(#[$doc:meta])* $member:ident = $name:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $set { $($(#[$doc])* $member,)+ }

        impl $set {
            pub const ALL: &'static [$set] = &[$($set::$member,)+];

            pub const fn name(self) -> &'static str {
                match self { $($set::$member => $name,)+ }
            }
        }
    };
}

outcomes! {
    /// What became of one delivered command.
    CommandOutcome {
        Done = "done",
        /// Run, and answered with an error.
        Failed = "failed",
        /// Its request, its time or its reply topic is wrong.
        Invalid = "invalid",
        /// Its type names no method.
        UnknownMethod = "unknown_method",
        /// Not a CloudEvent that could be a command.
        Malformed = "malformed",
        /// Too old, on arrival or when its turn came.
        Expired = "expired",
        /// This instance or another one has had it.
        Duplicate = "duplicate",
        /// Too many wait for this connection.
        Full = "full",
        /// Nobody could say whether another instance has it: given back.
        Unclaimed = "unclaimed",
    }
}

outcomes! {
    ReplyOutcome {
        Published = "published",
        /// The bus will never take it: too large, mostly.
        Refused = "refused",
        /// The bus did not take it in time.
        Lost = "lost",
    }
}

#[derive(Debug, Default)]
pub struct CommandCounters {
    commands: [AtomicU64; CommandOutcome::ALL.len()],
    replies: [AtomicU64; ReplyOutcome::ALL.len()],
    in_flight: AtomicU64,
    taking: AtomicBool,
}

impl CommandCounters {
    /// Answers how many there are by now.
    pub(super) fn command(&self, outcome: CommandOutcome) -> u64 {
        self.commands[outcome as usize].fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn reply(&self, outcome: ReplyOutcome) -> u64 {
        self.replies[outcome as usize].fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn hold(&self, held: usize) {
        self.in_flight.store(held as u64, Ordering::Relaxed);
    }

    pub(super) fn taking(&self, taking: bool) {
        self.taking.store(taking, Ordering::Relaxed);
    }

    pub fn commands(&self, outcome: CommandOutcome) -> u64 {
        self.commands[outcome as usize].load(Ordering::Relaxed)
    }

    pub fn replies(&self, outcome: ReplyOutcome) -> u64 {
        self.replies[outcome as usize].load(Ordering::Relaxed)
    }

    /// Commands taken from the bus and not ended.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether commands are being taken now.
    pub fn is_taking(&self) -> bool {
        self.taking.load(Ordering::Relaxed)
    }
}

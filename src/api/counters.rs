//! What the edges count of themselves; whoever renders metrics reads them.

pub mod calls;

use crate::ports::timing::Timing;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($(#[$about:meta])* $set:ident { $($(#[$doc:meta])* $name:ident,)+ } $($(#[$told:meta])* $time:ident: Timing)?) => {
        $(#[$about])*
        /// One set for a shard or for all: relaxed adds, none of them on a message's way.
        #[derive(Debug, Default)]
        pub struct $set {
            $($(#[$doc])* pub $name: Counter,)+
            $($(#[$told])* pub $time: Timing,)?
        }

        impl $set {
            /// Names and values, in a fixed order.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)+]
            }
        }
    };
}

counters! {
    Counters {
        accepted,
        /// accept failed: no descriptor left, mostly.
        accept_errors,
        /// TLS or the request's head did not come in time.
        handshakes_timed_out,
        handshakes_evicted,
        tls_failures,
        certificates_reloaded,
        certificates_refused,
        /// HTTP/1 on the gRPC port.
        wrong_protocol,
        /// Connections that ended with an error of HTTP itself.
        protocol_errors,
        /// Still open when the drain's time was over.
        cut_at_shutdown,
        handler_panics,
        foreign_origins,
    }
}

counters! {
    /// Ways into rooms that are no RPC, and what is asked of typed messages.
    IntakeCounters {
        /// The folder was read again after a change.
        schemas_read,
        /// A schema file that does not work; the one before goes on.
        schemas_refused,
        /// Refused at the sender: against its schema.
        messages_invalid,
        /// Refused at the sender: no type or no schema, where each must have one.
        messages_untyped,
        /// Requests of REST routes by their end.
        rest_taken,
        rest_refused,
        /// Events of bound topics.
        events_read,
        /// Posts of such events that their rooms took.
        events_posted,
        /// The data made no room's name.
        events_without_room,
        /// No event with data, or no message that its schema allows.
        events_invalid,
        /// The rooms will never take it.
        events_refused,
        /// Gap records and end markers in a bound topic.
        events_records,
        /// Posts that were tried again.
        events_retried,
        /// Gone from the log before they were read.
        events_skipped,
    }
}

/// How calls that were passed on ended, as `PeerCounters` counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardOutcome {
    Answered,
    Refused,
    NotSent,
    MaybeSent,
    TimedOut,
    Cancelled,
    Full,
}

impl ForwardOutcome {
    pub const ALL: &'static [ForwardOutcome] = &[
        ForwardOutcome::Answered,
        ForwardOutcome::Refused,
        ForwardOutcome::NotSent,
        ForwardOutcome::MaybeSent,
        ForwardOutcome::TimedOut,
        ForwardOutcome::Cancelled,
        ForwardOutcome::Full,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            ForwardOutcome::Answered => "answered",
            ForwardOutcome::Refused => "refused",
            ForwardOutcome::NotSent => "not_sent",
            ForwardOutcome::MaybeSent => "maybe_sent",
            ForwardOutcome::TimedOut => "timed_out",
            ForwardOutcome::Cancelled => "cancelled",
            ForwardOutcome::Full => "full",
        }
    }
}

impl PeerCounters {
    pub const fn forwarded(&self, outcome: ForwardOutcome) -> &Counter {
        match outcome {
            ForwardOutcome::Answered => &self.forwarded_answered,
            ForwardOutcome::Refused => &self.forwarded_refused,
            ForwardOutcome::NotSent => &self.forwarded_not_sent,
            ForwardOutcome::MaybeSent => &self.forwarded_maybe_sent,
            ForwardOutcome::TimedOut => &self.forwarded_timed_out,
            ForwardOutcome::Cancelled => &self.forwarded_cancelled,
            ForwardOutcome::Full => &self.forwarded_full,
        }
    }
}

counters! {
    PeerCounters {
        /// Forwarded calls by their outcome: the owner's answer.
        forwarded_answered,
        /// The owner's own refusal.
        forwarded_refused,
        /// The owner was not reached, and provably got nothing.
        forwarded_not_sent,
        /// The stream to the owner broke while it may have had the call.
        forwarded_maybe_sent,
        forwarded_timed_out,
        forwarded_cancelled,
        /// Too much was under way to the owner.
        forwarded_full,
        /// Calls of other instances that were served here.
        served,
        streams_opened,
        streams_closed,
        /// Greetings that failed, on either side.
        hellos_refused,
        holder_cache_hits,
        holder_cache_misses,
    }
    /// How long the calls took that were answered.
    answered: Timing
}

/// Why an opening handshake was refused, as `WsCounters` counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WsRefusal {
    /// No opening handshake, or a broken one.
    Handshake,
    /// The URL names rooms, places or an id that cannot be.
    Arguments,
    Origin,
    /// No or bad credentials.
    Credentials,
    /// Good ones that do not reach so far.
    Forbidden,
    /// The authoriser said no.
    Authoriser,
    /// It could not be asked, or its answer made no sense.
    AuthoriserFailed,
    /// A bound was reached.
    Full,
    /// The shard did not take it in.
    Unavailable,
}

impl WsRefusal {
    pub const ALL: &'static [WsRefusal] = &[
        WsRefusal::Handshake,
        WsRefusal::Arguments,
        WsRefusal::Origin,
        WsRefusal::Credentials,
        WsRefusal::Forbidden,
        WsRefusal::Authoriser,
        WsRefusal::AuthoriserFailed,
        WsRefusal::Full,
        WsRefusal::Unavailable,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            WsRefusal::Handshake => "handshake",
            WsRefusal::Arguments => "arguments",
            WsRefusal::Origin => "origin",
            WsRefusal::Credentials => "credentials",
            WsRefusal::Forbidden => "forbidden",
            WsRefusal::Authoriser => "authoriser",
            WsRefusal::AuthoriserFailed => "authoriser_failed",
            WsRefusal::Full => "full",
            WsRefusal::Unavailable => "unavailable",
        }
    }
}

/// How WebSocket clients came in.
#[derive(Debug, Default)]
pub struct WsCounters {
    /// A 101 was answered.
    pub accepted: Counter,
    /// The client was gone before it had its 101.
    pub vanished: Counter,
    refused: [Counter; WsRefusal::ALL.len()],
}

impl WsCounters {
    /// In the order of `WsRefusal::ALL`.
    pub const fn refused(&self, reason: WsRefusal) -> &Counter {
        &self.refused[reason as usize]
    }
}

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self) {
        self.add_many(1);
    }

    pub fn add_many(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

//! Counters of the Dapr backend, for the metrics page.

use crate::{
    core::tally::Tally,
    ports::timing::{CALLS, CallTimes},
};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tonic::Code;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        #[derive(Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)+
            errors: [AtomicU64; ERROR_KINDS.len()],
            pub(super) times: CallTimes,
        }

        /// A reading of every counter.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct DaprStats {
            $($(#[$doc])* pub $name: u64,)+
            /// Calls that failed, one count a kind of `ERROR_KINDS`.
            pub errors: [u64; ERROR_KINDS.len()],
            /// How long calls took, in the order of `CALLS`.
            pub times: [Tally; CALLS.len()],
        }

        impl Counters {
            pub(super) fn read(&self) -> DaprStats {
                DaprStats {
                    $($name: self.$name.load(Relaxed),)+
                    errors: std::array::from_fn(|i| self.errors[i].load(Relaxed)),
                    times: self.times.tallies(),
                }
            }
        }
    };
}

counters! {
    bulk_requests,
    /// Bulk requests whose events were sent before, or may have been.
    bulk_retries,
    /// Events that the component has acknowledged.
    events,
    /// Events that it will never take, and those of them that the dead-letter topic has.
    refused_events,
    dead_lettered,
    /// Batches given back to their shards because nothing got through.
    batches_given_back,
    /// 1 once the sidecar is known to have the bulk call under its older name only.
    fallback,
    state_calls,
    /// Writes that had to be read back because their answer was no answer.
    state_doubts,
    probes,
    /// Gauges.
    bulk_in_flight,
    batches_held,
}

/// The closed kinds of errors, by their labels.
pub const ERROR_KINDS: [&str; 8] =
    ["timeout", "unavailable", "internal", "conflict", "too_large", "denied", "invalid", "other"];

/// Adds one to a call's error; None: our own deadline.
pub(super) fn count_error(counters: &Counters, code: Option<Code>) {
    let kind = match code {
        None | Some(Code::Cancelled | Code::DeadlineExceeded) => 0,
        Some(Code::Unavailable | Code::Unknown) => 1,
        Some(Code::Internal | Code::DataLoss) => 2,
        Some(Code::Aborted | Code::AlreadyExists) => 3,
        Some(Code::ResourceExhausted | Code::OutOfRange) => 4,
        Some(Code::PermissionDenied | Code::Unauthenticated) => 5,
        Some(Code::InvalidArgument | Code::FailedPrecondition | Code::NotFound) => 6,
        Some(_) => 7,
    };
    counters.errors[kind].fetch_add(1, Relaxed);
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Relaxed);
}

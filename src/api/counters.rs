//! What the edges count of themselves; whoever renders metrics reads them.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// One set for a shard or for all: relaxed adds, none of them on a message's way.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: Counter,)+ }

        impl Counters {
            /// Names and values, in a fixed order.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)+]
            }
        }
    };
}

counters! {
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

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

//! The load kit: it starts the service and what the service talks to, sends on a schedule that waits
//! for nobody, and says what it took. `README.md` beside this crate is for its users.
//!
//! - [`clock`]: one clock for all processes of this machine; timers finer than a runtime's.
//! - [`schedule`]: when each operation is due. Latency counts from there, not from when it was sent.
//! - [`record`]: histograms and a timeline of seconds. [`sample`]: CPU and memory of processes.
//! - [`pin`], [`noise`], [`limits`]: the machine: cores, how late it is by itself, open files.
//! - [`children`]: processes that end with us. [`service`] and [`upstream`] are two of them.
//! - [`poll`], [`frames`], [`handshake`], [`ws`]: WebSocket with as little as it takes, many sockets on one thread.
//! - [`readers`]: many of them, whose books show what was lost or doubled.
//! - [`http`], [`scrape`], [`books`]: the service's own counters, and whether its books balance.
//! - [`goals`]: what was promised. [`report`]: what came out. [`scenarios`]: what is run.
//! - [`peers`]: other people's servers under the same load. [`tools`]: other people's load generators.
//! - [`watch`]: a live view of a running service in the terminal.

pub mod books;
pub mod children;
pub mod clock;
pub mod frames;
pub mod goals;
pub mod handshake;
pub mod http;
pub mod limits;
pub mod noise;
pub mod options;
pub mod payload;
pub mod peers;
pub mod pin;
pub mod poll;
pub mod progress;
pub mod readers;
pub mod record;
pub mod report;
pub mod sample;
pub mod scenarios;
pub mod schedule;
pub mod scrape;
pub mod service;
pub mod stage;
pub mod stop;
pub mod tools;
pub mod trouble;
pub mod upstream;
pub mod watch;
pub mod ws;

pub mod proto {
    //! The public contract, generated from `proto/`.
    #![allow(clippy::all, clippy::pedantic)]
    tonic::include_proto!("virtufin");
}

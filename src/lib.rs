//! The WebSocket Manager: one service that holds WebSocket connections for a whole organisation,
//! and never loses a message silently. `README.md` is for its users; this page is for whoever
//! changes it.
//!
//! # In one breath
//!
//! N shards. Each is one OS thread with one current-thread runtime that owns its sockets, its
//! correlation tables, its outboxes, its timers and its ring outright. Stateless edges translate
//! protocols into values. A pure core decides: values and time go in, effects come out, and the
//! shell around it carries them to the world. Adapters behind ports keep documents and events. A
//! connection's shard is a pure function of its id (`hash(id) % shards`), so there is no table to
//! look into; minted ids are drawn until they land on the shard that should own them.
//!
//! With a backend whose documents are shared, instances are a fleet. Each holds a lease, and writes
//! to sockets only while its gate is open, which the lease keeps open. Who owns a connection stands
//! in the connection's document and changes by compare-and-set, each time with a higher epoch. What
//! the dead leave is taken one by one. A call for what is elsewhere is passed on once, to its owner.
//!
//! Sockets that come to us are connections as well, and members of rooms. Whoever holds a socket owns
//! it: nothing of an accepted connection is stored, and its id names the instance that has it.
//!
//! # Four lives of a message
//!
//! **Send.** An edge checks the request and knows the shard by the id. On that shard's own thread
//! it calls the core; from another one the command goes through the bounded mailbox. The core
//! reserves a place for the reply and room in the outbox, which may refuse, and then commits,
//! which cannot fail. At the end of the turn all that waits for a socket leaves in one write. A
//! later message claims the place, and the caller gets its one outcome.
//!
//! **Publish.** A read delivers whole messages; most are lent from the read buffer. What no Send
//! claimed gets its (epoch, seq), goes into the ring for followers, and is rendered straight into
//! the open batch of its lane's class. Batches leave by size, count or age. A slow bus makes them
//! spill to a bounded log, or whatever the lane's overflow policy says; only then do reads pause.
//!
//! **Receive.** Followers pull. One that is up to date is parked at its shard, or at the end of a
//! topic's log, and answered when there is something; nothing is pushed into a queue that could
//! grow. Who was overtaken gets a gap record and goes on.
//!
//! **Room.** The room's home, a shard, gives a post its number, keeps it, and sends one word to each
//! shard that has members. Such a shard appends the encoded frame once for each wire format in use; a
//! member is a position in that log. At the end of the turn each member gets all that it has not had in
//! one write. Who takes nothing stays where it is and costs nothing, until the log overtakes it. With
//! something outside that numbers rooms (Redis, or the fleet's own sequencers) the home checks that
//! what comes is whole instead, asks for what is missing, and announces what nobody has.
//!
//! # Where things are
//!
//! - [`core`](crate::core): the pure core. Small machines, each with its tests beside it:
//!   - `core::shard`: composes the others for one shard and decides; `sim` under it is the whole
//!     core in a hostile world, from a seed that replays.
//!   - `core::io`: what goes in (commands, openings, deadlines) and what comes out (effects).
//!   - `core::correlation`: pairs Sends with replies. `core::outbox`: what waits to be written; a
//!     frame can be taken back until its first byte is handed to the kernel.
//!   - `core::publish`: lanes, batches, overflow, spill. `core::sequence`: epoch, seq, gaps, ends.
//!   - `core::ring`, `core::follow`, `core::watch`: what followers and watchers read.
//!   - `core::egress`, `core::target`, `core::headers`, `core::names`, `core::percent`, `core::redact`:
//!     hostile input and secrets. `core::json`: one field out of a message without parsing it.
//!   - `core::rooms::route`, `core::rooms::request`: by which paths WebSockets come in, and what their
//!     URLs ask for. `core::origin`: whose pages may. `core::token`: what a token says, once somebody has
//!     checked its signature. `core::endpoint`: where a service of the operator's is.
//!   - `core::wheel`, `core::slab`, `core::admission`, `core::backoff`, `core::random`: timers, places,
//!     paces, and what is drawn from a seed.
//!   - `core::rooms`: `home` (numbers, history, who listens), `here` and `log` (members as positions),
//!     `rules`. `core::shard::{accepted, rooms}` seat connections in them.
//!   - `core::fleet`: who owns what: the lease, claims, the watch over others, adoption. Its `sim` is
//!     a fleet with a store that loses, delays and doubts. `core::seen`: what came by lately.
//!   - `core::rooms::sequencer`: the rooms that one instance of a fleet numbers for all;
//!     `core::rooms::choice` says which those are. Its tests hold three instances in a hostile world.
//! - [`wire`](crate::wire): bytes as pure functions: WebSocket frames (`ws`), what members of rooms see
//!   (`members`), CloudEvents (`event`), cursors, close codes, rooms' messages between instances (`rooms`),
//!   the earlier room system's (`jararaca`).
//! - [`limits`](crate::limits): every bound, with its reason; its files are parts of one list.
//! - `ports`: the seams: store, documents, bus, inbox, spill, directory, resolver. Nothing there
//!   waits; each call takes a completion. `spans` is a bounded queue that is off by default, `timing`
//!   a histogram for threads that are no shards.
//! - `shard`: the shell of one shard: `run` (the loop), `mailbox` (the other door), `socket`,
//!   `dial`, `effects`, `clock`, `entropy`, `record` (the written form of a connection). `gate`: until
//!   when sockets may be written, one atomic word for all shards.
//! - `fleet`: the shell of `core::fleet`, on a thread of its own: a lease is renewed whatever the
//!   shards are busy with. To shards it is a `Store`, to the edges a `Directory`.
//! - `backend`: a closed set of adapters. `backend::embedded` is plain threads and files, the other
//!   two have one thread with one runtime. `backend::redis`: documents and streams, each write one
//!   script; sessions tell what was taken when an answer is lost; beside it, and beside the others, rooms
//!   (`rooms`: one script numbers, keeps and carries) and the earlier room system's channels (`relay`).
//!   `backend::dapr`: a sidecar; `order`
//!   is the pure machine that keeps each connection's order through unordered bulks, `subscribe` the
//!   topics that are received.
//! - `api`: the edges. `service` has every RPC once; `grpc`, `rest`, `connect` and `sse` are thin
//!   shells over it. `validate` turns requests into checked values, `status` is the one table from
//!   a fault to every protocol, `routes` the one table of REST, from which `openapi` is made too.
//!   `observe` counts and times each call, and makes it a span.
//!   `service::readiness` knows how far the instance is in its life: once a drain lets go of connections,
//!   who does not find one any more is told that it leaves, never that there is none.
//!   `peers` asks other instances for what is not here (`proto/peers.proto`), and answers them from
//!   the shards alone; `peers::rooms` is a `RoomBus` over the same channels, with a thread of its own.
//!   `commands` takes RPCs from the bus, `app_callback` answers a Dapr sidecar.
//!   `ws` is where WebSockets come in: the opening handshake as a server, routes, origins, tokens and the
//!   authoriser under `ws::auth`, and the socket's way to its shard (`Hub::attach`).
//!   `typed` checks messages to rooms against schemas, `entries` takes them from paths of the settings,
//!   `bindings` from topics.
//! - `config`: one table of settings, four sources, all problems at once, the worst-case memory.
//! - `telemetry`: the catalogue of metrics and the scrape; logs; `otlp` takes spans to a collector.
//! - `pki`: PEM to TLS configurations for dialling.
//! - `commands`: what the binary does besides serving: demo, tail, healthcheck, types of messages.
//! - `boot`: builds the house, takes up what was stored, drains it; `boot::fleet` hangs the fleet in,
//!   `boot::rooms` what numbers and carries rooms, `boot::ingress` and `boot::intake` the ways in.
//!   `main`: arguments to exit code.
//! - `proto`: the public contract, generated from `proto/`, and `proto::fleet`, what instances say to
//!   one another; `tests/it/golden` keeps both compatible.
//!
//! # Who may import whom
//!
//! | layer | may name | must never see |
//! |---|---|---|
//! | `limits`, `core::{id, time, reason}` | each other | anything else of the crate |
//! | `core`, `wire` | the above and each other; `wire` not `core::shard` | runtime, sockets, clocks, files, threads |
//! | `ports` | the above but `core::shard` | clocks, a concrete adapter |
//! | `pki` | `limits`, `core` | the crates of the edges |
//! | `shard` | `core`, `wire`, `ports`, `pki` | `api`, a backend by name; tonic, axum, hyper, redb |
//! | `fleet` | `core`, `wire`, `ports`, `shard::{mailbox, gate, record}` | `api`, a backend by name, `core::shard`; the crates of the edges |
//! | `backend` | `core`, `wire`, `ports` | `shard`, `api`, `core::shard` |
//! | `api` | `core`, `wire`, `ports`, `pki`, `proto`, `shard::mailbox` | `core::shard`, `backend`, `fleet` |
//! | `config` | `limits`, `core` | everything that runs |
//! | `telemetry::otlp` | `limits`, `core`, `ports` | everything that counts |
//! | `telemetry` | `config`, and what each of the others counts | being read by any of them |
//! | `boot`, `commands`, `main` | all | |
//!
//! `tests/it/layers.rs` reads every path in `src/` against this table; `cargo check --lib
//! --no-default-features` builds the pure part with no runtime crate in the graph.
//!
//! # Invariants
//!
//! 1. **One writer a socket.** Its shard's thread, once a turn. Nothing else holds the socket.
//! 2. **The core never waits and never fails.** No clock, randomness or I/O of its own, so a seed
//!    replays a whole shard; no input, however hostile, panics it.
//! 3. **Reserve, then commit.** What may refuse comes first and changes nothing.
//! 4. **Every accepted Send ends in exactly one outcome**, and `not_sent` is said only where not one
//!    byte was handed to the kernel nor will be.
//! 5. **Every loss is announced.** A hole in a connection's numbers has a gap record where its
//!    readers find it, and every drop is counted under one `DropReason`. The books balance at each
//!    scrape: numbered + restored = delivered + dropped + pending + spilled.
//! 6. **Epochs never go down**, whatever the wall clock or a restored store says. In a fleet each
//!    change of owner raises them, and no one falls below the highest that a lease has told.
//! 7. **No lock on a message's way** from the socket to its batch or to the Send that waits for it.
//!    Threads meet in the mailboxes, whose one lock guards a sleeping shard's waker, and once a batch
//!    at the bus.
//! 8. **Everything is bounded**: queues, buffers, loops, names, and what each of them does when it
//!    is full is decided. The bounds stand in [`limits`](crate::limits).
//! 9. **Sets are closed.** Causes, reasons, outcomes and label values are enums; each name stands in
//!    metrics and records exactly as the enum gives it. One label holds names from outside: `venue`, the
//!    hosts that answered a dial, of which a shard tells apart `limits::VENUES_PER_SHARD_MAX`, and `other`.
//! 10. **Order is never a hash map's.** What is iterated is a vector, a slab or a tree.
//! 11. **What is not built is refused by name**, never ignored: an unknown or unbuilt field is an
//!     error that says so.
//! 12. **No write without a valid lease.** In a fleet no write to a socket starts unless the gate was
//!     open in that turn, by the boot clock. A gate that a shard has found shut stays shut until a
//!     new lease: what was dropped is dropped.
//! 13. **One owner, by compare-and-set.** Nothing of the dead is taken before their lease is ended
//!     the same way; a write whose outcome nobody knows is read before either is believed.
//! 14. **A call is passed on once.** What comes from another instance is served from the shards
//!     alone, and is repeated elsewhere only when it provably did not arrive or only reads.
//!
//! # What is deliberately absent
//!
//! - No work stealing and no shared connection table: a connection never changes its thread.
//! - No async in the core, and no `.await` while it is borrowed.
//! - No retry of a Send by the service: only the caller knows whether twice is harmless.
//! - No general WebSocket library under the sockets: it reserves buffers while idle and copies each
//!   message. `tokio-tungstenite` makes the opening handshake when we dial and checks our codec in tests.
//! - No consensus of our own and no gossip: the shared documents are the only truth about owners, and
//!   a store without compare-and-set is refused.
//! - No central index: each instance lists what it owns; `websocket-index` is derived, for others.
//! - No Redis Cluster and no TLS to a sidecar.
//! - No plugins: backends are a closed enum, and dynamic calls are made per batch, not per message.
//! - No permessage-deflate: memory for each connection, against feeds that rarely ask for it.
//! - No `unsafe` in this crate.

#![forbid(unsafe_code)]

#[cfg(feature = "server")]
pub mod backend;
pub mod core;
pub mod limits;
pub mod wire;

#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "server")]
pub mod boot;
#[cfg(feature = "server")]
pub mod commands;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod fleet;
#[cfg(feature = "server")]
pub mod pki;
#[cfg(feature = "server")]
pub mod ports;
#[cfg(feature = "server")]
pub mod shard;
#[cfg(feature = "server")]
pub mod telemetry;
#[cfg(feature = "server")]
pub mod wkt;

#[cfg(feature = "server")]
pub mod proto {
    //! The public contract, generated from `proto/`.
    #![allow(clippy::all, clippy::pedantic)]
    tonic::include_proto!("virtufin");
    include!(concat!(env!("OUT_DIR"), "/virtufin.serde.rs"));
    /// The encoded `FileDescriptorSet`.
    pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

    pub mod fleet {
        //! What the instances of one fleet say to one another.
        tonic::include_proto!("virtufin.fleet");
        /// The encoded `FileDescriptorSet`, for the test that keeps it compatible.
        pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/peers.bin"));
    }
}

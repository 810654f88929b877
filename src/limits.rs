//! Every bound in one place, with its reason. Bounds that an operator may move are defaults here
//! and settings in `config`; the others are fixed by the contract or by safety.

use std::time::Duration;

// Names and tags: fixed by the contract.
pub const ID_CHARS_MAX: usize = 128;
pub const TAGS_MAX: usize = 50;
pub const TAG_KEY_CHARS_MAX: usize = 128;
pub const TAG_VALUE_CHARS_MAX: usize = 1024;
pub const ROOM_NAME_BYTES_MAX: usize = 256;

/// A topic becomes a folder name in the embedded log and a stream name on a broker.
pub const TOPIC_BYTES_MAX: usize = 200;
/// Longer URLs are refused by most servers, and each is kept for as long as the connection lives.
pub const URL_BYTES_MAX: usize = 4096;
pub const HEADERS_MAX: usize = 64;
pub const HEADERS_BYTES_MAX: usize = 8 * 1024;
pub const SUBPROTOCOLS_MAX: usize = 16;
/// Text of unknown origin in one line of a log, or in an error message.
pub const LOG_TEXT_CHARS_MAX: usize = 512;
pub const TLS_PEM_BYTES_MAX: usize = 64 * 1024;
/// A JSON pointer of a correlation rule.
pub const POINTER_BYTES_MAX: usize = 256;
/// A correlation id, as it stands in the message; a longer one is an argument error.
pub const CORRELATION_ID_BYTES_MAX: usize = 256;
/// Nesting that the JSON scanner follows before it gives up on a message of a hostile peer.
pub const JSON_DEPTH_MAX: u32 = 128;

/// Connections in one shard; beyond it Connect is RESOURCE_EXHAUSTED.
pub const CONNECTIONS_PER_SHARD_MAX: usize = 50_000;
/// Sends that wait for their reply on one connection.
pub const SENDS_IN_FLIGHT_MAX: usize = 65_536;
pub const SENDS_IN_FLIGHT_DEFAULT: usize = 4096;
/// Bytes that wait to be written on one connection.
pub const OUTBOX_BYTES_MAX: usize = 4 * 1024 * 1024;
/// An emptied outbox gives its queue back when it had grown over this many frames.
pub const OUTBOX_IDLE_FRAMES: usize = 8;
/// One inbound message; read from the length field before anything is buffered.
pub const MESSAGE_BYTES_DEFAULT: usize = 1024 * 1024;
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Fragments of one message: endless fragmentation is an attack, not a message.
pub const FRAGMENTS_MAX: u32 = 1024;
/// Pings a peer may send: a bucket of `CONTROL_BURST`, refilled at `CONTROL_PER_SECOND`.
pub const CONTROL_PER_SECOND: u32 = 20;
pub const CONTROL_BURST: u32 = 50;

pub const SEND_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
pub const SEND_TIMEOUT_MAX: Duration = Duration::from_secs(3600);
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
pub const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(120);
/// Ids of timed-out Sends are remembered, so that a reused id does not meet an old reply.
pub const LATE_IDS_MAX: usize = 1024;
pub const LATE_IDS_AGE: Duration = Duration::from_secs(60);
pub const FIFO_RESYNC_DEFAULT: Duration = Duration::from_millis(1000);
/// A longer silence than this is not worth waiting for: reconnecting is quicker.
pub const FIFO_RESYNC_MAX: Duration = Duration::from_secs(60);
/// Where an array message may carry its id; OCPP and its kin have it at 1.
pub const ARRAY_POSITION_MAX: usize = 15;

pub const PING_INTERVAL_DEFAULT: Duration = Duration::from_secs(25);
/// Two pings missed.
pub const PONG_TIMEOUT_DEFAULT: Duration = Duration::from_secs(50);
/// How long a peer may take no byte of what waits for it.
pub const WRITE_STALL: Duration = Duration::from_secs(10);
/// From our close frame to the end of the socket, answered or not.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// A dead connection without auto-reconnect stays listed for this long.
pub const DISCONNECTED_KEPT: Duration = Duration::from_secs(300);

pub const RECONNECT_BASE_DEFAULT: Duration = Duration::from_millis(1000);
pub const RECONNECT_MAX_DEFAULT: Duration = Duration::from_millis(30_000);
/// Reconnect dials a shard starts a second: an upstream that returns must not meet a stampede.
pub const DIALS_PER_SECOND: u32 = 500;

/// Spans that wait for the collector; further ones are dropped.
pub const SPANS_WAITING_MAX: usize = 8192;
/// Spans of one call of the collector, how long the first waits for others, and how long it may take.
pub const SPANS_PER_EXPORT: usize = 512;
pub const SPANS_LINGER: Duration = Duration::from_millis(500);
pub const SPANS_EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Hosts that a shard's metrics tell apart by name.
pub const VENUES_PER_SHARD_MAX: usize = 32;

/// The response head of an upstream's handshake.
pub const HANDSHAKE_HEAD_BYTES_MAX: usize = 16 * 1024;

/// One read from a socket goes through this buffer, one per shard.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;
/// One write to a socket is at most this much, one buffer per shard.
pub const WRITE_BUFFER_BYTES: usize = 64 * 1024;

/// Messages that a shard keeps for followers.
pub const RING_BYTES_DEFAULT: usize = 8 * 1024 * 1024;
/// Followers that wait at one shard.
pub const FOLLOWERS_PER_SHARD_MAX: usize = 4096;
/// Followers that one turn of the loop answers: the sockets come next.
pub const FOLLOWERS_PER_TURN: usize = 64;
/// One answer to a follower.
pub const FETCH_BYTES_MAX: usize = 256 * 1024;
/// Records one read of the ring looks at, wanted or not: a turn must not stand still for a follower
/// of a rare connection among busy ones.
pub const FETCH_RECORDS_MAX: usize = 4096;
/// A cursor travels in URLs and in `Last-Event-ID` headers.
pub const CURSOR_CHARS_MAX: usize = 2048;
/// Shards in one cursor: as many as fit in `CURSOR_CHARS_MAX` when each is of another process.
pub const CURSOR_POSITIONS_MAX: usize = 76;

/// A batch of events leaves when it is this big, this long, or this old.
pub const PUBLISH_BATCH_BYTES: usize = 256 * 1024;
pub const PUBLISH_BATCH_COUNT: usize = 1000;
pub const PUBLISH_LINGER: Duration = Duration::from_millis(5);
/// Batches of one shard under way at the bus.
pub const PUBLISH_IN_FLIGHT: usize = 4;
/// Events of one shard that wait in memory before they spill.
pub const PUBLISH_QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// The waiting room of one lane that drops its oldest messages or keeps its latest.
pub const PUBLISH_LANE_WAIT_BYTES: usize = 256 * 1024;
/// A batch that the bus did not take goes again after the base, doubling up to the maximum; the
/// spill log is asked again after the maximum.
pub const PUBLISH_RETRY_BASE: Duration = Duration::from_millis(50);
pub const PUBLISH_RETRY_MAX: Duration = Duration::from_secs(2);
/// Gap records that one lane holds back during a congestion; beyond it they are merged.
pub const GAPS_HELD_MAX: usize = 16;
/// Events of one shard that wait on disk before reads pause.
pub const SPILL_BYTES_DEFAULT: usize = 256 * 1024 * 1024;

/// Commands that wait at one shard; beyond it callers get RESOURCE_EXHAUSTED.
pub const MAILBOX_COMMANDS_MAX: usize = 8192;
/// Mail that a shard handles before it looks at its sockets again.
pub const MAILBOX_BATCH: usize = 256;

/// Lifecycle events that a shard keeps for watchers.
pub const WATCH_EVENTS_MAX: usize = 1024;
/// Ended connections whose last records a follower can still ask for by id.
pub const ENDED_KEPT: usize = 256;

/// List pages.
pub const PAGE_SIZE_DEFAULT: usize = 500;
pub const PAGE_SIZE_MAX: usize = 1000;
/// Sends under way on one SendStream; beyond it the stream is read no further.
pub const SENDS_PER_STREAM: usize = 4096;
/// Requests in one SendBatch.
pub const BATCH_REQUESTS_MAX: usize = 1000;
/// One gRPC or HTTP request body.
pub const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// One gRPC answer: the largest message that a connection may receive fits.
pub const ANSWER_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 64 * 1024;

/// Shards: more than any machine has CPUs for; a typing error must not start a million threads.
pub const SHARDS_MAX: u64 = 256;
/// SIGTERM to the forced end: fits the 30 s that orchestrators usually grant.
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(25);
/// Load balancers see the failed readiness before work is refused.
pub const DRAIN_LAME_DUCK_DEFAULT: Duration = Duration::from_secs(3);
/// The contract: events are in the log's file within 100 ms of being accepted.
pub const BUS_FSYNC_INTERVAL_DEFAULT: Duration = Duration::from_millis(100);
/// Retention drops whole files, so a file is a small part of what a topic keeps.
pub const BUS_SEGMENT_BYTES_DEFAULT: usize = 64 * 1024 * 1024;
pub const BUS_TOPIC_BYTES_DEFAULT: usize = 1024 * 1024 * 1024;
pub const BUS_TOPIC_AGE_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);
/// From accept to the end of TLS and the first request's head: a slow client holds no more than this.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// The same for later request heads on a kept HTTP/1 connection, its idle time included.
pub const NEXT_HEAD_DEADLINE: Duration = Duration::from_secs(60);
/// One REST or Connect request body, from first to last byte.
pub const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// Request head over HTTP/1. A List by the longest tag, every character escaped, needs 14 KiB.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
pub const HEAD_FIELDS_MAX: usize = 64;
/// Request head over HTTP/2.
pub const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// Sockets of one listener that have not finished their handshake; over it the oldest goes.
pub const HALF_OPEN_MAX: usize = 4096;
/// The same for one address: behind a proxy all clients share one, so it is not small.
pub const HALF_OPEN_PER_ADDRESS_MAX: usize = 2048;
/// Requests on one HTTP/2 connection.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// Bytes that one stream and one HTTP/2 connection may have on the way to us.
pub const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
pub const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Answers of one HTTP/2 stream that wait for the client.
pub const STREAM_SEND_BUFFER_BYTES: usize = 256 * 1024;
/// Streams that the client reset before we looked at them (rapid reset).
pub const PENDING_RESETS_MAX: usize = 20;
/// Stream errors of the client before its connection is closed.
pub const STREAM_ERRORS_MAX: usize = 1024;
/// HTTP/2 pings: when a connection was silent this long, and how long for the answer.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Small writes to a client are gathered up to this and go out in one.
pub const GATHER_BYTES_MAX: usize = 16 * 1024;
/// HTTP connections of one listener (upgraded ones do not count); beyond it new ones wait.
pub const CLIENTS_PER_LISTENER_MAX: usize = 20_000;
/// The listen queue of one shard's socket.
pub const BACKLOG: i32 = 4096;
/// After an error of accept (no descriptor left, mostly).
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Query keys of one request.
pub const QUERY_PAIRS_MAX: usize = 256;
/// A comment on an event stream that has nothing to say, so that proxies keep it.
pub const EVENTS_KEEPALIVE: Duration = Duration::from_secs(15);
/// Events that are ready go out together, up to this.
pub const EVENTS_CHUNK_BYTES: usize = 32 * 1024;
/// A connection that was dialled for a hand-over and is neither committed nor given up: its peer waits
/// for a pong meanwhile, and the kernel holds what it says.
pub const PREPARED_KEPT: Duration = Duration::from_secs(30);
/// Pending Sends of a connection that is handed over may take this long, like those of a drain.
pub const RETIRE_SENDS: Duration = Duration::from_secs(10);
/// Then the bus may take this long for what was received, and for the end marker.
pub const RETIRE_PUBLISH: Duration = Duration::from_secs(10);
/// Connections of one shard that another instance took while the spill log holds something of them,
/// perhaps: as many as a shard may have had.
pub const SUPERSEDED_KEPT_MAX: usize = 65_536;
/// Streams that an earlier process left on one spill log and that are remembered by their last
/// number: a connection and a topic each.
pub const LEFT_KEPT_MAX: usize = 65_536;
// The embedded backend.
/// Topics of the embedded log: each is a folder, and a caller chooses their names.
pub const TOPICS_MAX: usize = 1000;
/// One topic's files; the oldest segments go first.
pub const TOPIC_LOG_BYTES_DEFAULT: u64 = 1024 * 1024 * 1024;
pub const TOPIC_LOG_AGE_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);
/// One log segment: small enough that reading the last one at start takes a fraction of a second.
pub const SEGMENT_BYTES_DEFAULT: u64 = 16 * 1024 * 1024;
/// One record of a log: the longest message as base64, with room to spare. A longer length field is
/// damage, not a record.
pub const RECORD_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Open log files; the least used one is closed first.
pub const LOG_FILES_OPEN_MAX: usize = 64;
/// Batches that wait at the bus thread; each shard has `PUBLISH_IN_FLIGHT` at most.
pub const BUS_BATCHES_MAX: usize = 1024;
/// Fetches that wait at the bus thread to be looked at.
pub const BUS_FETCHES_MAX: usize = 4096;
/// Readers parked at the end of one topic, and of all topics.
pub const PARKED_PER_TOPIC_MAX: usize = 4096;
pub const PARKED_MAX: usize = 16_384;
/// What one turn of a disk thread writes before it answers.
pub const DISK_GROUP_BYTES: usize = 8 * 1024 * 1024;
pub const DISK_GROUP_COUNT: usize = 1024;
/// Writes that wait at the store thread.
pub const STORE_WRITES_MAX: usize = 16_384;
/// Records that wait at one spill log's thread.
pub const SPILL_COMMANDS_MAX: usize = 1024;
/// Of the drain's time, what Sends in flight may take.
pub const DRAIN_SENDS: Duration = Duration::from_secs(10);
/// For a shard to say what it leaves behind.
pub const DRAIN_ABANDON: Duration = Duration::from_millis(500);
/// For a shard to answer a scrape: Prometheus itself gives up after ten seconds by default.
pub const SCRAPE_SHARD_WAIT: Duration = Duration::from_secs(1);

/// Ownership in a fleet: a lease of ten seconds, renewed every three, and its owner stops two
/// seconds before it ends, counted from the start of its last renewal.
pub const LEASE: Duration = Duration::from_secs(10);
pub const LEASE_RENEW: Duration = Duration::from_secs(3);
pub const LEASE_VALID: Duration = Duration::from_secs(8);
/// Observers wait for this much longer than the lease: for a write that was on its way.
pub const LEASE_MARGIN: Duration = Duration::from_secs(1);
/// Only garbage collection: long enough that a lease is never gone before it was tombstoned.
pub const LEASE_TTL_LEASES: u32 = 10;
/// A name of one run: the instance id, which is a host's name, and a random word.
pub const INCARNATION_CHARS_MAX: usize = 320;
/// How often an instance looks at the others, with jitter between the two.
pub const FLEET_SCAN_MIN: Duration = Duration::from_millis(500);
pub const FLEET_SCAN_MAX: Duration = Duration::from_millis(1000);
/// Connections of dead instances that one instance takes a second: their upstreams are dialled.
pub const FLEET_TAKES_PER_SECOND: u32 = 500;
/// Who was not preferred for a dead instance's connection takes it after this long, the next after
/// twice as long.
pub const FLEET_LEFTOVER: Duration = Duration::from_secs(5);
/// A caller whose write has not reached the store by then is told so; the document is kept.
pub const FLEET_ASK: Duration = Duration::from_secs(5);
/// Callers that wait for one connection's document.
pub const FLEET_ASKERS_MAX: usize = 64;
/// Reads and writes of records that one instance has under way.
pub const FLEET_RECORDS_IN_FLIGHT: usize = 64;
/// Records that one read asks for.
pub const FLEET_READ_KEYS: usize = 32;
/// Records of ours that each look at the others compares with what we believe of them.
pub const FLEET_AUDIT_KEYS: usize = 16;
/// The derived index is written at most this often.
pub const FLEET_INDEX_EVERY: Duration = Duration::from_secs(1);
/// The derived index, which others read whole: about 40,000 ids.
pub const FLEET_INDEX_BYTES: usize = 1024 * 1024;
/// Keys of which an operator was told that they are in trouble: each is told once.
pub const FLEET_TROUBLES_MAX: usize = 1024;
/// Members that are watched; a list that grows beyond it is broken.
pub const FLEET_MEMBERS_MAX: usize = 1024;
/// Writes and claims of shards and edges that wait at the fleet's thread: a burst of Connects on
/// every shard; beyond it they are told to come again.
pub const FLEET_MAIL_MAX: usize = 65_536;
/// How long a drain waits for the lease to be given back: a peer finds it expired otherwise.
pub const FLEET_LEFT_WAIT: Duration = Duration::from_secs(3);
// The Redis backend.
/// Every command; a lease of ten seconds survives four of them that hang.
pub const REDIS_COMMAND_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// Events that a topic's stream keeps, about: with 1 KiB each, 1 GiB of the server's memory.
pub const REDIS_STREAM_EVENTS_DEFAULT: u64 = 1_000_000;
/// Reconnecting: quick at first, and a server that is away is not hammered.
pub const REDIS_RETRY_BASE: Duration = Duration::from_millis(50);
pub const REDIS_RETRY_MAX: Duration = Duration::from_secs(2);
/// Batches under way on the one connection: with 256 KiB each, 4 MiB between two answers.
pub const REDIS_BATCHES_IN_FLIGHT: usize = 16;
/// Reads and writes of documents that wait or are under way.
pub const REDIS_DOCUMENT_COMMANDS_MAX: usize = 4096;
pub const REDIS_DOCUMENTS_IN_FLIGHT: usize = 64;
/// Keys in one MGET: the server does nothing else meanwhile.
pub const REDIS_KEYS_PER_GET: usize = 500;
/// Reads of streams under way at once.
pub const REDIS_READS_IN_FLIGHT: usize = 8;
/// Topics for which a place to read on is remembered; without it a read searches.
pub const REDIS_HINTS_MAX: usize = 4096;
/// A lane whose failed batch was never sent again (its connection ended) is held back no longer.
pub const REDIS_LANE_HELD_MAX: Duration = Duration::from_secs(10);
/// Batches that turned out to be taken after their answer was lost, until they are sent again.
pub const REDIS_TAKEN_KEPT: usize = 1024;
/// Sends to rooms that wait for their turn at Redis, and what all that are not answered may hold: a
/// burst; beyond it they are told to come again.
pub const REDIS_ROOM_SENDS_MAX: usize = 4096;
pub const REDIS_ROOM_SEND_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Of those, the ones under way: less than the client library queues, so that they keep their order.
pub const REDIS_ROOM_SENDS_IN_FLIGHT: usize = 128;
/// When the others are told to come again.
pub const REDIS_ROOM_FULL_RETRY: Duration = Duration::from_millis(100);
/// Reads of histories that wait, and those under way, each with up to a room's whole history.
pub const REDIS_ROOM_READS_MAX: usize = 65_536;
pub const REDIS_ROOM_READS_IN_FLIGHT: usize = 16;
/// Rooms that one instance subscribes: as many as its shards know.
pub const REDIS_ROOMS_MAX: usize = 4 * ROOMS_PER_SHARD_MAX;
/// Rooms in one SUBSCRIBE and in one call for their numbers: the server does nothing else meanwhile.
pub const REDIS_ROOMS_PER_CALL: usize = 500;
/// What one room gets while its number is asked for; beyond it the number is asked for again.
pub const REDIS_ROOM_HELD_MAX: usize = 256;
/// Highest numbers of rooms that are sent to and not subscribed, and counters of those that keep
/// nothing. A forgotten counter begins a new epoch.
pub const REDIS_ROOM_NUMBERS_MAX: usize = 65_536;
/// How often the numbers of all subscribed rooms are compared with the server's: a server that lost
/// its data without a broken connection is noticed, and rooms that rest keep their epochs.
pub const REDIS_ROOM_CHECK_EVERY: Duration = Duration::from_secs(60);
/// How long a room's epoch outlives its last message, beyond its history.
pub const REDIS_ROOM_EPOCH_KEPT: Duration = Duration::from_secs(24 * 3600);
/// The same for a room to which nothing was sent yet: names that clients make up must not pile up
/// at the server. Longer than several rounds of `REDIS_ROOM_CHECK_EVERY`.
pub const REDIS_ROOM_FRESH_KEPT: Duration = Duration::from_secs(600);
/// A start that takes longer than this, for want of its backend, says what it waits for.
pub const START_PATIENCE: Duration = Duration::from_secs(2);
/// A call of the sidecar that publishes: as long as its own policy for a broker that hangs.
pub const DAPR_PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// A call for documents: a lease of 10 s, renewed every 3 s, must survive one that hangs.
pub const DAPR_STATE_TIMEOUT: Duration = Duration::from_secs(2);
/// A write is read back, and read again in doubt: all of that together.
pub const DAPR_WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// When nothing got through for so long, batches go back to the shards, which spill them.
pub const DAPR_AWAY_AFTER: Duration = Duration::from_secs(3);
/// Events of one bulk request: what daprd publishes in five rounds of its hundred workers.
pub const DAPR_REQUEST_EVENTS: usize = 500;
/// daprd's default for `--max-body-size`, and what is left for headers and field tags.
pub const DAPR_BODY_BYTES_DEFAULT: usize = 4 * 1024 * 1024;
pub const DAPR_BODY_MARGIN: usize = 64 * 1024;
/// Bulk publishes under way at a sidecar: enough to fill a round trip to its broker.
pub const DAPR_BULK_IN_FLIGHT_DEFAULT: usize = 8;
pub const DAPR_BULK_IN_FLIGHT_MAX: usize = 64;
/// Calls for documents that wait at the backend thread: a listing asks in few, large ones.
pub const DAPR_CALLS_MAX: usize = 4096;
/// Keys of one bulk read: an answer must fit in `DAPR_DECODE_BYTES_MAX` with 64 KiB documents.
pub const DAPR_KEYS_PER_CALL: usize = 128;
/// One answer of the sidecar.
pub const DAPR_DECODE_BYTES_MAX: usize = 16 * 1024 * 1024;
// Between the instances of a fleet.
/// Calls under way from one thread to one member: as many as a full SendStream, twice.
pub const PEER_CALLS_MAX: usize = 2 * SENDS_PER_STREAM;
/// Their bytes; one request of the largest size always fits.
pub const PEER_BYTES_MAX: usize = 4 * REQUEST_BYTES_MAX;
/// One call on the wire: the largest request and what goes with it.
pub const PEER_CALL_BYTES_MAX: usize = REQUEST_BYTES_MAX + 64 * 1024;
/// To connect to a member and hear its greeting: well below a lease, or the member is dead first.
pub const PEER_OPEN_TIMEOUT: Duration = Duration::from_secs(3);
/// After a failed attempt callers are answered with its cause at once, for this long.
pub const PEER_RETRY_PAUSE: Duration = Duration::from_millis(200);
/// HTTP/2 pings to members: a dead one is noticed within about a lease.
pub const PEER_KEEPALIVE: Duration = Duration::from_secs(4);
/// The owner answers a call whose deadline passed by itself; silent for longer, it is given up.
pub const PEER_DEADLINE_GRACE: Duration = Duration::from_secs(1);
/// Who holds what, as one thread remembers it: about 10 MB.
pub const PEER_HOLDERS_MAX: usize = 65_536;
/// All members are asked for a connection that no document tells of: as long as it takes to open a
/// stream to each.
pub const PEER_FIND_TIMEOUT: Duration = PEER_OPEN_TIMEOUT;
/// How often members that came or left are looked for by streams that live long.
pub const PEER_MEMBERS_INTERVAL: Duration = Duration::from_secs(1);
/// A Connect waits this long for an orphan to be taken; then its caller may try again.
pub const PEER_ORPHAN_WAIT: Duration = Duration::from_secs(2);
pub const PEER_ORPHAN_POLL: Duration = Duration::from_millis(100);
/// A follower whose source broke tries again after the base, doubling up to the maximum.
pub const PEER_FOLLOW_RETRY_BASE: Duration = Duration::from_millis(100);
pub const PEER_FOLLOW_RETRY_MAX: Duration = Duration::from_secs(2);
/// Followers on one HTTP/2 connection to a member: below `STREAMS_PER_CONNECTION_MAX`.
pub const PEER_FOLLOWERS_PER_CHANNEL: usize = 200;
/// HTTP/2 connections for followers from one thread to one member.
pub const PEER_FOLLOW_CHANNELS_MAX: usize = 20;
/// Members whose places a follower of all remembers after they left.
pub const PEER_PLACES_MAX: usize = 256;
// Commands over the bus.
/// A command older than this is refused: its sender has stopped waiting, and a broker that was away
/// delivers what it kept. A time as far ahead of our clock is no time.
pub const COMMAND_AGE_MAX: Duration = Duration::from_secs(60);
/// How long the fleet remembers that a command was taken: longer than any redelivery can be young
/// enough by clocks that differ.
pub const COMMAND_CLAIM_TTL: Duration = Duration::from_secs(300);
/// Commands that one instance remembers: some 200 a second for as long as a claim stands, 5 MiB. What
/// is pushed out is still claimed in the fleet.
pub const COMMANDS_REMEMBERED_MAX: usize = 65_536;
/// Commands taken from the bus and not answered; beyond it none is taken.
pub const COMMANDS_IN_FLIGHT_MAX: usize = 256;
/// Of those, the ones for one connection, which run one after the other: a slow peer must not
/// stand in the way of all others.
pub const COMMANDS_PER_CONNECTION_MAX: usize = 64;
/// An event's id and its source, in a command.
pub const COMMAND_NAME_BYTES_MAX: usize = 1024;
/// For a reply to be taken by the bus; the command itself is done by then.
pub const COMMAND_REPLY_WAIT: Duration = Duration::from_secs(5);
/// Between two streams of a subscription, doubling.
pub const SUBSCRIBE_RETRY_BASE: Duration = Duration::from_millis(100);
pub const SUBSCRIBE_RETRY_MAX: Duration = Duration::from_secs(5);
/// For a sidecar to say that the subscription stands: it asks its broker first.
pub const SUBSCRIBE_READY_MAX: Duration = Duration::from_secs(30);
/// For the last acks of a subscription that is given up.
pub const SUBSCRIBE_LEAVE_MAX: Duration = Duration::from_secs(2);
/// Connections that a leaving instance hands over at a time: each is a dial at a member.
pub const HAND_OVERS_AT_ONCE: usize = 64;
/// Members that are offered one connection, best first.
pub const HAND_OVER_TRIES: usize = 3;
/// How long `check` waits for a server or sidecar to say what it can do.
pub const CHECK_PATIENCE: Duration = Duration::from_secs(2);
// Rooms.
/// What a room keeps for those who come back, unless its rule says otherwise.
pub const ROOM_HISTORY_MESSAGES: usize = 1000;
pub const ROOM_HISTORY_BYTES: usize = 1024 * 1024;
pub const ROOM_HISTORY_AGE: Duration = Duration::from_secs(300);
/// The histories of all rooms whose home is one shard; the least used go first.
pub const ROOMS_HISTORY_BYTES: usize = 256 * 1024 * 1024;
/// How far one member may be behind its room.
pub const READER_BYTES_DEFAULT: usize = 1024 * 1024;
/// Rooms of one connection.
pub const ROOMS_PER_CONNECTION_MAX: usize = 64;
/// Rooms that one shard knows: those with members, and those whose history has not aged out.
pub const ROOMS_PER_SHARD_MAX: usize = 1_000_000;
/// Rooms of one Send.
pub const ROOMS_PER_SEND_MAX: usize = 64;
/// Members that one turn writes to before the shard's other sockets have theirs: one to three
/// milliseconds, nearly all of it the kernel's.
pub const ROOM_WRITES_PER_TURN: usize = 256;
/// From admission to the socket: the 101 is on its way meanwhile.
pub const ADMIT_DEADLINE: Duration = Duration::from_secs(5);
/// A room that is numbered outside waits this long for a number that is missing before it asks.
pub const ROOM_HOLE_PATIENCE: Duration = Duration::from_millis(50);
/// A number that was reserved is filled by then, or announced as lost.
pub const ROOM_FILL_PATIENCE: Duration = Duration::from_secs(1);
/// Numbers that wait at a room's home behind one whose message is still to come.
pub const ROOM_QUEUE_MAX: usize = 10_000;
/// Messages from outside that wait at a home behind a hole: what a room keeps, by default.
pub const ROOM_AHEAD_MAX: usize = 1000;
/// Messages of another room system that wait to be numbered here.
pub const RELAY_QUEUE_MAX: usize = 16_384;
/// Before what numbers rooms outside is asked again for what is missing.
pub const ROOM_REFILL_PAUSE: Duration = Duration::from_millis(500);
/// A room without members stays subscribed this long: members come back.
pub const ROOM_LINGER: Duration = Duration::from_secs(5);
/// Messages that one History answers, and how many unless it says.
pub const ROOM_HISTORY_LIMIT: usize = 1000;
pub const ROOM_HISTORY_PAGE: usize = 100;
/// A message to rooms: one that is longer than what a member may be behind could reach nobody.
pub const ROOM_MESSAGE_BYTES_MAX: usize = READER_BYTES_DEFAULT;
/// Who a connection belongs to: an identity provider's name for somebody, or an address.
pub const USER_BYTES_MAX: usize = 256;
/// Who waits for a room's next message at its home.
pub const ROOM_FOLLOWERS_MAX: usize = 4096;
/// Rooms that one instance numbers for its fleet.
pub const ROOMS_NUMBERED_MAX: usize = 1_000_000;
/// Rooms that one look for aged histories goes over: well below a millisecond.
pub const ROOMS_SWEEP: usize = 1000;
/// Messages of one room that wait for a number before theirs to be filled.
pub const ROOM_PENDING_MAX: usize = 4096;
/// The same of all rooms, as bytes.
pub const ROOMS_PENDING_BYTES: usize = 64 * 1024 * 1024;
/// What is on its way from a sequencer to one instance; who is behind by more asks for it again.
pub const ROOM_FLOW_BYTES: usize = 16 * 1024 * 1024;
pub const ROOM_FLOW_MESSAGES: usize = 65_536;
/// Streams of messages to other instances: a fleet is smaller, and an old one may linger.
pub const ROOM_FLOWS_MAX: usize = 256;
/// Every call about rooms to another instance is over by then; a post that got no answer is in doubt.
pub const ROOM_CALL_DEADLINE: Duration = Duration::from_secs(5);
/// Calls of the homes that wait for the thread that carries rooms between instances.
pub const ROOM_JOBS_MAX: usize = 16_384;
/// Members that came or left, rooms that are to be asked for again and reservations are looked at so
/// often.
pub const ROOM_TICK: Duration = Duration::from_millis(100);
/// Rooms named by one message about interest, so that none gets too large, and messages that wait for
/// the stream; what finds no room is asked for again.
pub const ROOM_INTERESTS_PER_MESSAGE: usize = 1000;
pub const ROOM_ASKS_MAX: usize = 64;
/// Rooms that are asked for anew in one go after members changed, before the thread turns to others.
pub const ROOM_DRIVES_PER_TURN: usize = 10_000;
/// One part of a move of rooms to their next sequencer; of a larger history its newest part goes.
pub const ROOM_MOVE_BYTES: usize = 1024 * 1024;
/// Longer than this a leaving instance does not hand its rooms over: what is left starts anew.
pub const ROOM_LEAVE_PATIENCE: Duration = Duration::from_secs(5);
/// A room whose sequencer is about to change is worth another try so soon.
pub const ROOM_RETRY: Duration = Duration::from_millis(100);
/// One request of a client on its own socket.
pub const ROOM_REQUEST_BYTES_MAX: usize = 4 * 1024;
/// The name of the instance that numbered a message alone.
pub const ROOM_SENDER_BYTES_MAX: usize = 256;
/// Rooms of one message that comes over the earlier system's channels, which has no bound itself.
pub const RELAY_ROOMS_MAX: usize = 1024;
/// The subprotocol with numbers.
pub const ROOMS_SUBPROTOCOL: &str = "wsm.rooms.v1";
// Sockets that are accepted.
/// Routes by which clients come in: each opening handshake looks through them.
pub const ROUTES_MAX: usize = 256;
/// Rules for rooms: each new room looks through them.
pub const ROOM_RULES_MAX: usize = 256;
/// A token: a header of HTTP holds it, and others beside it.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Keys that tokens may be signed with: a token without a kid is tried with each of its algorithm.
pub const TOKEN_KEYS_MAX: usize = 64;
/// The file with them.
pub const TOKEN_KEYS_BYTES_MAX: usize = 256 * 1024;
/// Names and beginnings of rooms in one credential: it is kept for as long as its connection lives.
pub const CREDENTIAL_ROOMS_MAX: usize = 256;
/// For a shard to take a connection in: its rooms may have to be subscribed to outside first.
pub const ADMIT_WAIT: Duration = Duration::from_secs(10);
/// When a client that was refused for a bound may come again.
pub const ADMIT_RETRY: Duration = Duration::from_secs(1);
/// Addresses of accepted connections that one thread keeps for the next who come by the same.
pub const ACCEPTED_SPECS_KEPT: usize = 4096;
/// Questions to the authoriser under way from one thread; beyond it clients are told to come again.
pub const AUTHORISER_IN_FLIGHT: usize = 256;
/// Connections to the authoriser that one thread keeps for the next question.
pub const AUTHORISER_KEPT: usize = 2;
/// One answer of the authoriser.
pub const AUTHORISER_ANSWER_BYTES_MAX: usize = 64 * 1024;
pub const AUTHORISER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
pub const AUTHORISER_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// How often trouble with the authoriser is logged: every handshake would say the same.
pub const AUTHORISER_LOG_EVERY: Duration = Duration::from_secs(60);
// Typed messages, and ways into rooms that are no RPC.
/// A MESSAGE_ID that has a schema: with `.json` behind it, it is a file's name.
pub const MESSAGE_ID_BYTES_MAX: usize = 200;
/// One schema file; a longer one was generated, and compiles for seconds.
pub const SCHEMA_BYTES_MAX: usize = 256 * 1024;
/// Schemas of one folder: all are compiled again when one changes.
pub const SCHEMAS_MAX: usize = 1000;
/// How often the folder of schemas is looked at, at most.
pub const SCHEMAS_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A pattern of a schema, compiled: its automaton must not eat the memory.
pub const SCHEMA_PATTERN_BYTES_MAX: usize = 1024 * 1024;
/// How long a request of a `--rest-route` waits for its room and its topic.
pub const REST_ROUTE_WAIT_DEFAULT: Duration = Duration::from_secs(5);
pub const REST_ROUTE_WAIT_MAX: Duration = Duration::from_secs(30);
/// Routes and bindings of one instance: they are written by hand.
pub const REST_ROUTES_MAX: usize = 256;
pub const BINDINGS_MAX: usize = 256;
/// Events of one bound topic that a sidecar hands over before the first is acked: they are sent one
/// after the other, so this only hides the way to the sidecar.
pub const BINDING_IN_FLIGHT: usize = 64;
/// A room that did not take an event is asked again after the base, doubling up to the maximum.
pub const BINDING_RETRY_BASE: Duration = Duration::from_millis(50);
pub const BINDING_RETRY_MAX: Duration = Duration::from_secs(2);
/// How often it is written down up to where a bound topic was read: what a crash repeats.
pub const BINDING_PLACE_EVERY: Duration = Duration::from_secs(1);
/// How often who reads a bound topic for the fleet is looked up.
pub const BINDING_READER_INTERVAL: Duration = Duration::from_millis(500);
/// Between two lines of the log about events that go nowhere.
pub const BINDING_LOG_INTERVAL: Duration = Duration::from_secs(60);

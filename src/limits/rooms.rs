//! Rooms: their histories and members, and how they are numbered.

use std::time::Duration;

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

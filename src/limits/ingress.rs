//! Sockets that are accepted: routes, tokens, and the authoriser.

use std::time::Duration;

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

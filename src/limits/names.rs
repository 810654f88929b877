//! Names, tags and what else a caller chooses as text: fixed by the contract, or by what must hold it.

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

//! Names of connections, and the pure function from a name to the shard that owns it.

use std::{fmt, sync::Arc};

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
const ALPHABET: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz-";
/// 22 characters of 6 bits carry 128 bits.
const MINTED_CHARS: u32 = 22;
const INSTANCE_CODE_CHARS: usize = 8;
/// State keys are `websocket-<id>`; `websocket-index` is the list of ids.
const RESERVED: &str = "index";

/// The id of a connection, chosen by a caller or minted here.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(Arc<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadId {
    Empty,
    TooLong,
    Character,
    Tilde,
    Reserved,
}

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadId::Empty => "must not be empty",
            BadId::TooLong => "must be at most 128 characters",
            BadId::Character => "may hold only letters, digits, '.', '_', '~' and '-'",
            BadId::Tilde => "must not begin with '~': such ids belong to accepted connections",
            BadId::Reserved => "must not be 'index': that name is reserved",
        })
    }
}

impl ConnectionId {
    /// Any id that may name a connection, of either direction.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        if text.is_empty() {
            return Err(BadId::Empty);
        }
        if text.len() > crate::limits::ID_CHARS_MAX {
            return Err(BadId::TooLong);
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-')) {
            return Err(BadId::Character);
        }
        if text == RESERVED {
            return Err(BadId::Reserved);
        }
        Ok(ConnectionId(text.into()))
    }

    /// An id that a caller may choose for a new connection.
    pub fn parse_chosen(text: &str) -> Result<Self, BadId> {
        let id = Self::parse(text)?;
        if text.starts_with('~') {
            return Err(BadId::Tilde);
        }
        Ok(id)
    }

    /// Draws ids until one lands on `shard`: the expected number of draws is `shards`.
    pub fn mint(shard: u32, shards: u32, mut entropy: impl FnMut() -> u64) -> Self {
        loop {
            let mut bits = (u128::from(entropy()) << 64) | u128::from(entropy());
            let mut text = String::with_capacity(MINTED_CHARS as usize);
            for _ in 0..MINTED_CHARS {
                text.push(char::from(ALPHABET[(bits & 63) as usize]));
                bits >>= 6;
            }
            let id = ConnectionId(text.into());
            if id.shard(shards) == shard {
                return id;
            }
        }
    }

    /// An id for an accepted connection: it names its instance by a short code, and lands on `shard`.
    pub fn mint_accepted(code: &str, shard: u32, shards: u32, mut entropy: impl FnMut() -> u64) -> Self {
        loop {
            let minted = Self::mint(0, 1, &mut entropy);
            let id = ConnectionId(format!("~{code}{minted}").into());
            if id.shard(shards) == shard {
                return id;
            }
        }
    }

    /// The code of the instance that accepted it, when the id was minted for an accepted connection.
    pub fn instance_code(&self) -> Option<&str> {
        let rest = self.0.strip_prefix('~')?;
        let code = rest.len().checked_sub(MINTED_CHARS as usize)?;
        rest.get(..code)
    }

    /// The shard that owns this connection, among `shards`.
    pub fn shard(&self, shards: u32) -> u32 {
        shard_of(&self.0, shards)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for ConnectionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The same on every machine and in every build.
pub fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(FNV_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
}

/// By which ids of accepted connections name an instance: 48 bits of its incarnation's name.
pub fn instance_code(incarnation: &str) -> String {
    let hash = fnv1a(incarnation.bytes());
    let mut bits = hash ^ (hash >> 29);
    let mut code = String::with_capacity(INSTANCE_CODE_CHARS);
    for _ in 0..INSTANCE_CODE_CHARS {
        code.push(char::from(ALPHABET[(bits & 63) as usize]));
        bits >>= 6;
    }
    code
}

/// The same on every machine and in every build: routing must not depend on a process's key.
/// Maps that hold caller-chosen names use a keyed hasher instead.
pub fn shard_of(name: &str, shards: u32) -> u32 {
    let hash = fnv1a(name.bytes());
    // FNV's low bits are weak for short names: fold the high half in.
    ((hash ^ (hash >> 32)) % u64::from(shards.max(1))) as u32
}

/// Where a value stands in a slab; the generation tells a reused place from its old tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub index: u32,
    pub generation: u32,
}

impl Place {
    pub const fn pack(self) -> u64 {
        ((self.generation as u64) << 32) | self.index as u64
    }

    pub const fn unpack(packed: u64) -> Self {
        Place { index: packed as u32, generation: (packed >> 32) as u32 }
    }
}

/// A connection's place in its shard.
pub type ConnKey = Place;

/// Names one caller that waits for one answer. Unique within a shard's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

//! Well-known types whose JSON form the library does not write as proto3 asks: times end in `Z`.

use crate::{
    core::time::Wall,
    wire::event::{parse_rfc3339, rfc3339},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// Length of `2024-01-02T03:04:05`.
const SECONDS_CHARS: usize = 19;

impl From<Wall> for Timestamp {
    fn from(wall: Wall) -> Self {
        let nanos = wall.unix_nanos();
        Timestamp { seconds: (nanos / 1_000_000_000) as i64, nanos: (nanos % 1_000_000_000) as i32 }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seconds = u64::try_from(self.seconds).unwrap_or(0);
        let mut text = rfc3339(Wall::from_unix_nanos(seconds.saturating_mul(1_000_000_000)));
        text.truncate(SECONDS_CHARS);
        // No, three, six or nine digits, as many as it takes.
        match self.nanos {
            0 => {}
            nanos if nanos % 1_000_000 == 0 => text += &format!(".{:03}", nanos / 1_000_000),
            nanos if nanos % 1_000 == 0 => text += &format!(".{:06}", nanos / 1_000),
            nanos => text += &format!(".{nanos:09}"),
        }
        text.push('Z');
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_rfc3339(&text).map(Timestamp::from).ok_or_else(|| D::Error::custom("is not an RFC 3339 time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_end_in_z_with_as_many_digits_as_it_takes() {
        for (seconds, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (1, 500_000_000, "1970-01-01T00:00:01.500Z"),
            (1_704_164_645, 678_901_000, "2024-01-02T03:04:05.678901Z"),
            (1_704_164_645, 678_901_234, "2024-01-02T03:04:05.678901234Z"),
        ] {
            let time = Timestamp { seconds, nanos };
            let json = serde_json::to_string(&time).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), time);
        }
        assert!(serde_json::from_str::<Timestamp>("\"yesterday\"").is_err());
    }
}

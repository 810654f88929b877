//! What every payload begins with: which stream it belongs to, its number there, and when it was due.
//!
//! Forty letters, each four bits: text that needs no escaping in JSON, holds no NUL, and is read back
//! with a handful of instructions, because millions of them come in a second.

/// Bytes of a stamp, and the smallest payload.
pub const BYTES: usize = 40;
const LETTER: u64 = 0x4040_4040_4040_4040;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub stream: u32,
    /// From 0, without holes.
    pub number: u64,
    /// On the machine's clock (`crate::clock`): when the schedule wanted it sent.
    pub nanos: u64,
}

impl Stamp {
    /// Writes over the beginning of `payload`, which is at least [`BYTES`] long.
    pub fn write(self, payload: &mut [u8]) {
        payload[..8].copy_from_slice(&letters(self.stream));
        put(&mut payload[8..24], self.number);
        put(&mut payload[24..40], self.nanos);
    }

    /// None when these bytes do not begin with a stamp.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_le_bytes(payload.get(at..at + 8)?.try_into().ok()?));
        let last = word(32)?;
        let words = [word(0)?, word(8)?, word(16)?, word(24)?, last];
        if words.iter().any(|word| word & !0x0f0f_0f0f_0f0f_0f0f != LETTER) {
            return None;
        }
        let [stream, a, b, c, d] = words.map(nibbles);
        let long = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        Some(Stamp { stream, number: long(a, b), nanos: long(c, d) })
    }
}

fn put(place: &mut [u8], value: u64) {
    place[..8].copy_from_slice(&letters((value >> 32) as u32));
    place[8..16].copy_from_slice(&letters(value as u32));
}

/// The first letter is the highest nibble.
fn letters(value: u32) -> [u8; 8] {
    std::array::from_fn(|nth| b'@' | (value >> (28 - 4 * nth)) as u8 & 0x0f)
}

/// Eight letters, the first in the lowest byte.
fn nibbles(letters: u64) -> u32 {
    let mut x = (letters & 0x0f0f_0f0f_0f0f_0f0f).swap_bytes();
    x = (x | x >> 4) & 0x00ff_00ff_00ff_00ff;
    x = (x | x >> 8) & 0x0000_ffff_0000_ffff;
    (x | x >> 16) as u32
}

/// A payload of so many bytes, to be stamped again for each message.
pub fn payload(bytes: usize) -> Vec<u8> {
    vec![b'.'; bytes.max(BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back_as_it_was_written() {
        for (stream, number, nanos) in [(0, 0, 0), (7, 1, u64::MAX), (u32::MAX, 0x0123_4567_89ab_cdef, 42)] {
            let stamp = Stamp { stream, number, nanos };
            let mut bytes = payload(128);
            stamp.write(&mut bytes);
            assert_eq!(Stamp::read(&bytes), Some(stamp));
            assert!(bytes[..BYTES].iter().all(|byte| (b'@'..=b'O').contains(byte)));
        }
    }

    #[test]
    fn other_bytes_are_no_stamp() {
        let mut bytes = payload(BYTES);
        assert_eq!(Stamp::read(&bytes), None);
        Stamp { stream: 1, number: 2, nanos: 3 }.write(&mut bytes);
        assert_eq!(Stamp::read(&bytes[..BYTES - 1]), None);
        bytes[BYTES - 1] = b'P';
        assert_eq!(Stamp::read(&bytes), None);
    }
}

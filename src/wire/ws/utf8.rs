//! UTF-8 that arrives in pieces: each byte is validated once, and the first byte that no
//! continuation could make valid is refused at once.

/// A character that is not whole yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tail {
    bytes: [u8; 3],
    len: u8,
}

/// The text can no longer become valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invalid;

impl Tail {
    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends `piece` to `text`, all but a last character that is not whole: it waits here.
    pub(super) fn push(&mut self, text: &mut String, piece: &[u8]) -> Result<(), Invalid> {
        let mut rest = piece;
        while !self.is_empty() {
            let Some((&byte, after)) = rest.split_first() else { return Ok(()) };
            self.push_byte(text, byte)?;
            rest = after;
        }
        // Cut before validating: to validate first would mean to validate what is valid again.
        let (whole, unfinished) = rest.split_at(rest.len() - unfinished_len(rest));
        text.push_str(std::str::from_utf8(whole).map_err(|_| Invalid)?);
        for &byte in unfinished {
            self.push_byte(text, byte)?;
        }
        Ok(())
    }

    fn push_byte(&mut self, text: &mut String, byte: u8) -> Result<(), Invalid> {
        let len = self.len();
        let mut character = [0; 4];
        character[..len].copy_from_slice(&self.bytes[..len]);
        character[len] = byte;
        match std::str::from_utf8(&character[..=len]) {
            Ok(whole) => {
                text.push_str(whole);
                self.len = 0;
            }
            Err(error) if error.error_len().is_none() && len < self.bytes.len() => {
                self.bytes[len] = byte;
                self.len += 1;
            }
            Err(_) => return Err(Invalid),
        }
        Ok(())
    }
}

/// How many of the last bytes begin a character that needs more bytes than there are.
fn unfinished_len(bytes: &[u8]) -> usize {
    for (back, byte) in bytes.iter().rev().take(3).enumerate() {
        let width = match byte {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
            _ => 1,
        };
        return if width > back + 1 { back + 1 } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests;

//! WebSocket frames with as little as it takes: a codec of our own, so that a mistake in the
//! service's is not hidden by the same one here.

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// Who writes: a client's frames are masked. Ours by zeros, which leaves the payload as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Client,
    Server,
}

/// Appends one whole frame.
pub fn put(out: &mut Vec<u8>, from: From, opcode: u8, payload: &[u8]) {
    let mask = if from == From::Client { 0x80 } else { 0 };
    out.push(0x80 | opcode);
    match payload.len() {
        len @ 0..=125 => out.push(mask | len as u8),
        len @ 126..=0xffff => {
            out.push(mask | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(mask | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    if from == From::Client {
        out.extend_from_slice(&[0; 4]);
    }
    out.extend_from_slice(payload);
}

/// The peer broke the rules, or uses what we do not understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// The largest frame that is believed.
const FRAME_MAX: usize = 64 << 20;

struct Head {
    opcode: u8,
    mask: Option<[u8; 4]>,
    begins: usize,
    ends: usize,
}

/// None: more bytes are needed.
fn head(bytes: &[u8]) -> Result<Option<Head>, Broken> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    // Nobody that we talk to sends fragments.
    if first & 0xf0 != 0x80 {
        return Err(Broken);
    }
    let (len, mut at) = match second & 0x7f {
        126 => match bytes.get(2..4) {
            Some(len) => (usize::from(u16::from_be_bytes([len[0], len[1]])), 4),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10).and_then(|len| <[u8; 8]>::try_from(len).ok()) {
            Some(len) => (usize::try_from(u64::from_be_bytes(len)).map_err(|_| Broken)?, 10),
            None => return Ok(None),
        },
        len => (usize::from(len), 2),
    };
    if len > FRAME_MAX {
        return Err(Broken);
    }
    let mut mask = None;
    if second & 0x80 != 0 {
        let Some(key) = bytes.get(at..at + 4) else { return Ok(None) };
        mask = Some([key[0], key[1], key[2], key[3]]);
        at += 4;
    }
    Ok(Some(Head { opcode: first & 0x0f, mask, begins: at, ends: at + len }))
}

fn unmask(payload: &mut [u8], key: [u8; 4]) {
    if key == [0; 4] {
        return;
    }
    let wide = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut eight = [0; 8];
        eight.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(eight) ^ wide).to_ne_bytes());
    }
    chunks.into_remainder().iter_mut().enumerate().for_each(|(at, byte)| *byte ^= key[at % 4]);
}

/// What is left of a frame between two reads. Empty, without memory, most of the time.
#[derive(Debug, Default)]
pub struct Inbox {
    partial: Vec<u8>,
}

impl Inbox {
    /// Gives each whole frame to `take`: its opcode and its payload, unmasked.
    pub fn feed(&mut self, read: &mut [u8], mut take: impl FnMut(u8, &[u8])) -> Result<(), Broken> {
        if self.partial.is_empty() {
            let used = frames(read, &mut take)?;
            self.partial.extend_from_slice(&read[used..]);
            return Ok(());
        }
        self.partial.extend_from_slice(read);
        let used = frames(&mut self.partial, &mut take)?;
        if used == self.partial.len() {
            // A socket of many keeps nothing while it is idle.
            self.partial = Vec::new();
        } else {
            self.partial.drain(..used);
        }
        Ok(())
    }
}

fn frames(bytes: &mut [u8], take: &mut impl FnMut(u8, &[u8])) -> Result<usize, Broken> {
    let mut used = 0;
    while let Some(head) = head(&bytes[used..])? {
        if used + head.ends > bytes.len() {
            break;
        }
        let payload = &mut bytes[used + head.begins..used + head.ends];
        if let Some(key) = head.mask {
            unmask(payload, key);
        }
        take(head.opcode, payload);
        used += head.ends;
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], cut: usize) -> Vec<(u8, Vec<u8>)> {
        let (mut inbox, mut seen) = (Inbox::default(), Vec::new());
        for part in bytes.chunks(cut) {
            let taken =
                inbox.feed(&mut part.to_vec(), |opcode, payload| seen.push((opcode, payload.to_vec())));
            assert_eq!(taken, Ok(()));
        }
        assert!(inbox.partial.is_empty(), "all of it was whole");
        seen
    }

    #[test]
    fn what_is_put_is_read_however_it_is_cut() {
        for from in [From::Client, From::Server] {
            let payloads = [0, 1, 125, 126, 65_535, 65_536].map(|len| vec![b'x'; len]);
            let mut bytes = Vec::new();
            payloads.iter().for_each(|payload| put(&mut bytes, from, TEXT, payload));
            for cut in [1, 7, 4096, bytes.len()] {
                let seen = read(&bytes, cut);
                assert!(seen.iter().map(|it| &it.1).eq(payloads.iter()), "{from:?} in parts of {cut}");
            }
        }
    }

    #[test]
    fn masks_are_taken_off() {
        let plain = b"nineteen characters";
        let key = [1, 2, 3, 4];
        let mut frame = vec![0x81, 0x80 | plain.len() as u8];
        frame.extend_from_slice(&key);
        frame.extend(plain.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]));
        assert_eq!(read(&frame, frame.len()), [(TEXT, plain.to_vec())]);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.feed(&mut [0x01, 0], |_, _| {}), Err(Broken));
        assert_eq!(inbox.feed(&mut [0x82, 127, 255, 0, 0, 0, 0, 0, 0, 0], |_, _| {}), Err(Broken));
    }
}

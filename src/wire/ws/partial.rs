//! What must outlive one read: a message of several frames or reads, a control frame cut in two.

use super::{Event, Violation, bits, utf8::Tail};

/// Reserved at once for what a frame promises: a peer that promises much and sends little must not
/// cost more.
const AHEAD_BYTES: usize = 64 * 1024;
/// A buffer that grew beyond it is not kept for the next message of the same read.
const KEPT_BYTES: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Binary,
}

/// Lives on the heap, and only while something is unfinished, so that an idle connection costs
/// next to nothing.
#[derive(Debug, Default)]
pub(super) struct Partial {
    kind: Option<Kind>,
    fragments: u32,
    text: String,
    tail: Tail,
    binary: Vec<u8>,
    control: Vec<u8>,
}

/// Where a piece of payload stands in its message.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The first byte of its frame.
    pub first: u8,
    /// What its frame still lacks after this piece.
    pub missing: usize,
}

impl Partial {
    /// A fragmented message is under way: the next data frame must continue it.
    #[inline]
    pub(super) fn in_message(&self) -> bool {
        self.kind.is_some()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.kind.is_none() && self.fragments == 0 && self.control.is_empty()
    }

    pub(super) fn message_bytes(&self) -> usize {
        self.text.len() + self.tail.len() + self.binary.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.message_bytes() + self.control.len()
    }

    /// Counts one more frame of a fragmented message.
    pub(super) fn count_fragment(&mut self, fragments_max: u32) -> Result<(), Violation> {
        if self.fragments >= fragments_max {
            return Err(Violation::flood("a message has too many fragments"));
        }
        self.fragments += 1;
        Ok(())
    }

    pub(super) fn store(&mut self, piece: &[u8], place: Place) -> Result<(), Violation> {
        match self.begin(place.first) {
            Kind::Text => {
                let need = self.tail.len() + piece.len();
                self.text.reserve_exact(growth(self.text.len(), self.text.capacity(), need, place));
                self.tail
                    .push(&mut self.text, piece)
                    .map_err(|_| Violation::utf8("a text message is not UTF-8"))
            }
            Kind::Binary => {
                let (len, capacity) = (self.binary.len(), self.binary.capacity());
                self.binary.reserve_exact(growth(len, capacity, piece.len(), place));
                self.binary.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    /// Takes the last piece of a frame; ends the message when the frame is its last.
    pub(super) fn finish(
        &mut self,
        first: u8,
        piece: &[u8],
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Violation> {
        let last = first & bits::FINAL != 0;
        let kind = self.begin(first);
        if last && self.message_bytes() == 0 {
            self.end_message();
            return deliver(kind, piece, on);
        }
        self.store(piece, Place { first, missing: 0 })?;
        if !last {
            return Ok(());
        }
        if !self.tail.is_empty() {
            return Err(Violation::utf8("a text message ends inside a character"));
        }
        match kind {
            Kind::Text => on(Event::Text(&self.text)),
            Kind::Binary => on(Event::Binary(&self.binary)),
        }
        self.end_message();
        Ok(())
    }

    pub(super) fn store_control(&mut self, piece: &[u8]) {
        self.control.extend_from_slice(piece);
    }

    /// The whole control frame of which the last piece is `piece`.
    pub(super) fn take_control(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut whole = std::mem::take(&mut self.control);
        whole.extend_from_slice(piece);
        whole
    }

    fn begin(&mut self, first: u8) -> Kind {
        let of_frame = if first & bits::OPCODE == bits::TEXT { Kind::Text } else { Kind::Binary };
        *self.kind.get_or_insert(of_frame)
    }

    fn end_message(&mut self) {
        self.kind = None;
        self.fragments = 0;
        self.tail = Tail::default();
        self.text.clear();
        self.binary.clear();
        if self.text.capacity() > KEPT_BYTES {
            self.text = String::new();
        }
        if self.binary.capacity() > KEPT_BYTES {
            self.binary = Vec::new();
        }
    }
}

/// How much to reserve when `need` more bytes came: nothing while they fit, else what the frame
/// still promises, but never more ahead than as much as arrived or `AHEAD_BYTES`.
fn growth(len: usize, capacity: usize, need: usize, place: Place) -> usize {
    if capacity - len >= need {
        return 0;
    }
    let arrived = len + need;
    let promised = place.missing.min(arrived.max(AHEAD_BYTES));
    // Other frames will follow of a length that is not known: doubling, or many small fragments
    // would each move the whole message.
    let last = place.first & bits::FINAL != 0;
    need + if last { promised } else { promised.max(len) }
}

#[cfg(test)]
impl Partial {
    pub(super) fn reserved_bytes(&self) -> usize {
        self.text.capacity() + self.binary.capacity() + self.control.capacity()
    }
}

/// Hands out a whole message that lies in one piece.
#[inline(always)]
pub(super) fn deliver(kind: Kind, payload: &[u8], on: &mut impl FnMut(Event<'_>)) -> Result<(), Violation> {
    match kind {
        Kind::Binary => on(Event::Binary(payload)),
        Kind::Text => match std::str::from_utf8(payload) {
            Ok(text) => on(Event::Text(text)),
            Err(_) => return Err(Violation::utf8("a text message is not UTF-8")),
        },
    }
    Ok(())
}

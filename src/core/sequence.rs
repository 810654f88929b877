//! Numbers on a connection's messages, and the two records that speak about them in band.

use super::{reason::GapCause, time::Wall, varint};

#[cfg(test)]
mod tests;

/// What numbers one connection's messages: `seq` starts at 1 in each epoch and has no holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbering {
    epoch: u64,
    seq: u64,
}

impl Numbering {
    /// A new epoch, higher than the stored one. Taking the wall clock where it is higher keeps the
    /// epoch rising also when the store was rolled back to an older document.
    pub fn begin(stored_epoch: Option<u64>, wall: Wall) -> Self {
        let after_stored = stored_epoch.map_or(0, |epoch| epoch.saturating_add(1));
        Numbering { epoch: after_stored.max(wall.unix_millis()), seq: 0 }
    }

    /// The epoch under which it was claimed in the fleet's store, and never one that was there before.
    pub fn claimed(stored_epoch: u64, claimed: u64) -> Self {
        Numbering { epoch: claimed.max(stored_epoch.saturating_add(1)), seq: 0 }
    }

    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Numbers the next message.
    #[expect(clippy::should_implement_trait, reason = "a number is always there, so it is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// What the next message will get.
    pub const fn next_seq(&self) -> u64 {
        self.seq + 1
    }

    /// 0 before the first message.
    pub const fn last_seq(&self) -> u64 {
        self.seq
    }
}

/// A hole in what a reader gets: the numbers strictly between `from` and `to`, which may be none
/// when a loss is possible but unknown, as at a reconnect. It takes no number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last number before the hole, 0 before the first; no seq: the last one the reader saw.
    pub from: (u64, Option<u64>),
    /// Epoch and seq of the first message that can follow; None: nothing follows.
    pub to: Option<(u64, u64)>,
    pub cause: GapCause,
    /// How many messages are missing, where that is known.
    pub count: Option<u64>,
}

/// Nothing of this epoch follows, and its last number was `last_seq`: nothing is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub epoch: u64,
    pub last_seq: u64,
}

const HAS_FROM_SEQ: u8 = 1;
const HAS_TO: u8 = 2;
const HAS_COUNT: u8 = 4;

impl Gap {
    /// One message that we had but do not keep.
    pub fn of_one(epoch: u64, seq: u64, cause: GapCause) -> Self {
        Gap {
            from: (epoch, Some(seq.saturating_sub(1))),
            to: Some((epoch, seq.saturating_add(1))),
            cause,
            count: Some(1),
        }
    }

    /// The last message before what follows the gap: where it stands among the others.
    pub fn place(&self) -> (u64, u64) {
        match self.to {
            Some((epoch, seq)) => (epoch, seq.saturating_sub(1)),
            None => (self.from.0, self.from.1.unwrap_or(0)),
        }
    }

    /// For memory only: the numbers of the causes are those of this build.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out.push(
            flag(self.from.1.is_some(), HAS_FROM_SEQ)
                | flag(self.to.is_some(), HAS_TO)
                | flag(self.count.is_some(), HAS_COUNT),
        );
        out.push(self.cause as u8);
        varint::put(out, self.from.0);
        let (to_epoch, to_seq) = self.to.unzip();
        for number in [self.from.1, to_epoch, to_seq, self.count].into_iter().flatten() {
            varint::put(out, number);
        }
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let [flags, cause, rest @ ..] = bytes else { return None };
        let mut rest = rest;
        let known = flags & !(HAS_FROM_SEQ | HAS_TO | HAS_COUNT) == 0;
        let cause = *GapCause::ALL.get(usize::from(*cause)).filter(|_| known)?;
        let epoch = varint::take(&mut rest)?;
        let mut number = |bit: u8| match flags & bit {
            0 => Some(None),
            _ => varint::take(&mut rest).map(Some),
        };
        let from = (epoch, number(HAS_FROM_SEQ)?);
        let to_epoch = number(HAS_TO)?;
        let to_seq = number(HAS_TO)?;
        let count = number(HAS_COUNT)?;
        rest.is_empty().then_some(Gap { from, to: to_epoch.zip(to_seq), cause, count })
    }
}

impl End {
    pub fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.epoch);
        varint::put(out, self.last_seq);
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let end = End { epoch: varint::take(&mut rest)?, last_seq: varint::take(&mut rest)? };
        rest.is_empty().then_some(end)
    }
}

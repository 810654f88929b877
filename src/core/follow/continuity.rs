//! What a follower of one connection is told where the numbers of what it reads are not
//! consecutive: no hole without a gap record, no gap record without a hole.

use crate::core::{
    reason::GapCause,
    ring::{RecordKind, RecordRef},
    sequence::{End, Gap},
};

#[cfg(test)]
mod tests;

/// Follows one connection's numbers as one follower gets them.
#[derive(Clone, Copy, Debug)]
pub struct Continuity {
    /// Epoch and seq of the last message delivered or announced as missing; None before the first.
    last: Option<(u64, u64)>,
    /// Nothing of the last epoch is in doubt: its end was marked.
    settled: bool,
    /// It has once read everything there was: what it misses from then on it was too slow for.
    live: bool,
    /// Records went that it had not read.
    overrun: bool,
}

/// A record as far as its numbers go.
#[derive(Clone, Copy, Debug)]
pub enum Numbers {
    Message {
        epoch: u64,
        seq: u64,
    },
    Gap(Gap),
    End(End),
    /// Has none; for a follower of messages it is nothing.
    Other,
}

impl From<&RecordRef<'_>> for Numbers {
    fn from(record: &RecordRef<'_>) -> Self {
        let numbers = match record.head.kind {
            RecordKind::Text | RecordKind::Binary => {
                Some(Numbers::Message { epoch: record.head.epoch, seq: record.head.seq })
            }
            RecordKind::Gap => record.gap().map(Numbers::Gap),
            RecordKind::End => record.end().map(Numbers::End),
            RecordKind::Lifecycle => None,
        };
        numbers.unwrap_or(Numbers::Other)
    }
}

/// What to hand to the follower: first the gap record, if any, then the record itself, if `deliver`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub gap: Option<Gap>,
    pub deliver: bool,
}

impl Step {
    const SKIP: Step = Step { gap: None, deliver: false };
}

impl Continuity {
    /// From the last message the follower has seen; one that begins now has seen all there is.
    pub fn resume(epoch: u64, seq: u64) -> Self {
        Continuity { last: Some((epoch, seq)), settled: false, live: false, overrun: false }
    }

    /// From the oldest message retained.
    pub fn from_start() -> Self {
        Continuity { last: None, settled: false, live: false, overrun: false }
    }

    /// Where a follower that is cut off now can resume.
    pub fn last(&self) -> Option<(u64, u64)> {
        self.last
    }

    /// A position beyond what the connection has numbered so far is no position of this connection.
    pub fn is_ahead_of(&self, epoch: u64, last_seq: u64) -> bool {
        self.last > Some((epoch, last_seq))
    }

    /// A read said that the ring had gone on beyond the follower's position.
    pub fn overrun(&mut self) {
        self.overrun = true;
    }

    pub fn record(&mut self, numbers: Numbers) -> Step {
        match numbers {
            Numbers::Message { epoch, seq } => self.message(epoch, seq),
            Numbers::Gap(gap) => self.gap(&gap),
            Numbers::End(end) => self.end(end),
            Numbers::Other => Step::SKIP,
        }
    }

    /// The follower has read to the end of the ring, and the connection has numbered this far:
    /// what it has not been given by now will not come.
    pub fn caught_up(&mut self, epoch: u64, last_seq: u64) -> Option<Gap> {
        let gap = self.reach(epoch, last_seq);
        if gap.is_some() {
            self.arrive(epoch, last_seq);
        }
        self.live = true;
        self.overrun = false;
        gap
    }

    fn message(&mut self, epoch: u64, seq: u64) -> Step {
        if self.last >= Some((epoch, seq)) {
            return Step::SKIP;
        }
        let gap = self.reach(epoch, seq.saturating_sub(1));
        self.arrive(epoch, seq);
        Step { gap, deliver: true }
    }

    fn gap(&mut self, gap: &Gap) -> Step {
        if !self.is_news(gap) {
            return Step::SKIP;
        }
        let before = gap.from.1.and_then(|seq| self.reach(gap.from.0, seq));
        match gap.to {
            Some((epoch, seq)) => self.arrive(epoch, seq.saturating_sub(1)),
            None => {
                self.arrive(gap.from.0, gap.from.1.unwrap_or(0));
                self.settled = true;
            }
        }
        Step { gap: before, deliver: true }
    }

    /// An old one lies before what was seen. One that ends exactly there was seen, unless it names
    /// no number, as at a reconnect: then nobody can tell, and twice is better than never.
    fn is_news(&self, gap: &Gap) -> bool {
        let Some(last) = self.last else { return true };
        let from = (gap.from.0, gap.from.1.unwrap_or(last.1));
        match gap.to {
            Some((epoch, seq)) => {
                let reaches = (epoch, seq.saturating_sub(1));
                reaches > last || (reaches == last && from == last)
            }
            None => from >= last && !(self.settled && from == last),
        }
    }

    fn end(&mut self, end: End) -> Step {
        let reaches = Some((end.epoch, end.last_seq));
        if self.last > reaches || (self.last == reaches && self.settled) {
            return Step::SKIP;
        }
        let gap = self.reach(end.epoch, end.last_seq);
        self.arrive(end.epoch, end.last_seq);
        self.settled = true;
        Step { gap, deliver: true }
    }

    /// The gap record that is due when everything up to this number should have been seen.
    fn reach(&self, epoch: u64, seq: u64) -> Option<Gap> {
        let to = Some((epoch, seq.saturating_add(1)));
        match self.last {
            None => (seq > 0).then_some(Gap {
                from: (epoch, Some(0)),
                to,
                cause: GapCause::NotRetained,
                count: Some(seq),
            }),
            Some((last_epoch, last_seq)) => {
                let new_epoch = epoch > last_epoch;
                let missing = (epoch, seq) > (last_epoch, last_seq);
                // What was evicted may have held whole epochs.
                let adjoins = self.settled && !self.overrun;
                if !missing || (new_epoch && adjoins && seq == 0) {
                    return None;
                }
                let count = match (new_epoch, adjoins) {
                    (false, _) => Some(seq - last_seq),
                    (true, true) => Some(seq),
                    (true, false) => None,
                };
                Some(Gap { from: (last_epoch, Some(last_seq)), to, cause: self.cause(new_epoch), count })
            }
        }
    }

    fn cause(&self, new_epoch: bool) -> GapCause {
        match (self.overrun, self.live) {
            (true, true) => GapCause::SlowFollower,
            (false, _) if new_epoch => GapCause::NewEpoch,
            _ => GapCause::NotRetained,
        }
    }

    /// Never back: a gap that overlaps what was seen does not make it unseen.
    fn arrive(&mut self, epoch: u64, seq: u64) {
        if self.last < Some((epoch, seq)) {
            self.last = Some((epoch, seq));
            self.settled = false;
        }
        self.overrun = false;
    }
}

//! Who got what: each reader's next number in each stream, so that nothing is lost, doubled or turned
//! round without being seen.

use super::stamp::Stamp;
use crate::record;
use hdrhistogram::Histogram;

/// All readers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages that were the next of their stream, or later.
    pub received: u64,
    pub bytes: u64,
    /// Numbers that were jumped over and never announced as a gap.
    pub missing: u64,
    /// Numbers that the server said will not come.
    pub announced: u64,
    /// Numbers that had come or been jumped over before: doubles, and what was turned round.
    pub again: u64,
    /// Messages without a stamp.
    pub other: u64,
    /// Pings of the server, each answered.
    pub pinged: u64,
    /// Answers to pings of ours.
    pub pongs: u64,
    /// Connections that ended, whoever ended them.
    pub closed: u64,
    /// Of these, by the server because they were too slow (1013).
    pub too_slow: u64,
}

impl Tally {
    pub fn since(self, before: Tally) -> Tally {
        Tally {
            received: self.received - before.received,
            bytes: self.bytes - before.bytes,
            missing: self.missing - before.missing,
            announced: self.announced - before.announced,
            again: self.again - before.again,
            other: self.other - before.other,
            pinged: self.pinged - before.pinged,
            pongs: self.pongs - before.pongs,
            closed: self.closed - before.closed,
            too_slow: self.too_slow - before.too_slow,
        }
    }
}

/// One reader's place in its streams; nearly always it has one.
#[derive(Default)]
pub struct Places {
    all: Vec<Place>,
}

struct Place {
    stream: u32,
    next: u64,
    /// Numbers announced as a gap that were not jumped over yet.
    announced: u64,
}

impl Places {
    /// The server says that so many will not come; what is jumped over next is no loss.
    pub fn announce(&mut self, stream: u32, count: u64, tally: &mut Tally) {
        tally.announced += count;
        // Before a reader's first message there is nothing to jump over.
        if let Some(place) = self.all.iter_mut().find(|place| place.stream == stream) {
            place.announced += count;
        }
    }

    /// A reader's first message of a stream is where it came in.
    #[inline]
    pub fn got(&mut self, stamp: Stamp, tally: &mut Tally) {
        tally.received += 1;
        let Some(place) = self.all.iter_mut().find(|place| place.stream == stamp.stream) else {
            self.all.push(Place { stream: stamp.stream, next: stamp.number + 1, announced: 0 });
            return;
        };
        if stamp.number == place.next {
            place.next += 1;
        } else if stamp.number > place.next {
            let jumped = stamp.number - place.next;
            let told = jumped.min(place.announced);
            place.announced -= told;
            tally.missing += jumped - told;
            place.next = stamp.number + 1;
        } else {
            tally.received -= 1;
            tally.again += 1;
        }
    }
}

/// Times from due to read, of one message in so many; each stands for as many as that.
pub struct Waits {
    pub times: Histogram<u64>,
    every: u64,
    /// What was due before is warm-up, and not timed.
    from: u64,
}

impl Waits {
    /// Every message is timed when `every` is 1.
    pub fn new(every: u64, from: u64) -> Self {
        Waits { times: record::histogram(), every: every.max(1), from }
    }

    /// Readers are staggered, so that every message is timed at some of them.
    #[inline]
    pub fn record(&mut self, reader: usize, stamp: Stamp, now: u64) {
        let timed = self.every == 1 || (stamp.number + reader as u64).is_multiple_of(self.every);
        if timed && stamp.nanos >= self.from {
            self.times.saturating_record_n(now.saturating_sub(stamp.nanos).max(1), self.every);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(numbers: &[u64], announced: u64) -> Tally {
        let (mut places, mut tally) = (Places::default(), Tally::default());
        for (nth, number) in numbers.iter().enumerate() {
            places.got(Stamp { stream: 3, number: *number, nanos: 0 }, &mut tally);
            if nth == 0 {
                places.announce(3, announced, &mut tally);
            }
        }
        tally
    }

    #[test]
    fn a_whole_stream_has_no_complaints() {
        assert_eq!(after(&[5, 6, 7, 8], 0), Tally { received: 4, ..Tally::default() });
    }

    #[test]
    fn losses_and_doubles_are_counted() {
        assert_eq!(after(&[0, 1, 4, 5], 0), Tally { received: 4, missing: 2, ..Tally::default() });
        assert_eq!(after(&[0, 1, 1, 2], 0), Tally { received: 3, again: 1, ..Tally::default() });
        // Turned round: one is missing when the other comes, then it comes too late.
        assert_eq!(after(&[0, 2, 1, 3], 0), Tally { received: 3, missing: 1, again: 1, ..Tally::default() });
    }

    #[test]
    fn an_announced_gap_is_no_loss_but_what_exceeds_it_is() {
        assert_eq!(after(&[0, 3], 2), Tally { received: 2, announced: 2, ..Tally::default() });
        assert_eq!(after(&[0, 5], 2), Tally { received: 2, announced: 2, missing: 2, ..Tally::default() });
    }

    #[test]
    fn streams_have_numbers_of_their_own() {
        let (mut places, mut tally) = (Places::default(), Tally::default());
        for (stream, number) in [(1, 0), (2, 9), (1, 1), (2, 10)] {
            places.got(Stamp { stream, number, nanos: 0 }, &mut tally);
        }
        assert_eq!(tally, Tally { received: 4, ..Tally::default() });
    }

    #[test]
    fn times_are_sampled_over_all_readers() {
        let mut waits = Waits::new(4, 50);
        for reader in 0..8 {
            waits.record(reader, Stamp { stream: 0, number: 1, nanos: 100 }, 1_100);
            waits.record(reader, Stamp { stream: 0, number: 1, nanos: 49 }, 9_999);
        }
        // Two were timed, and stand for all eight; what was due before the warm-up's end is not there.
        assert_eq!((waits.times.len(), waits.times.max()), (8, 1_000));
    }
}

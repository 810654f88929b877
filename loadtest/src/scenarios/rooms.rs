//! What the scenarios of rooms have in common: an open loop that reads while it publishes, a timeline
//! of deliveries, and the books of both sides.

use crate::{
    books::Check,
    clock::{self, SECOND},
    readers::{Readers, books::Tally},
    record::{Moment, Operation},
    report::Outcome,
    schedule::Schedule,
    scrape::Scrape,
    service::Service,
    stage::{self, Measure, Stage},
    stop,
    trouble::Result,
};

/// What is published, and to whom.
pub trait Load {
    /// Message `number` of the schedule, due then, goes out with the next `flush`.
    fn say(&mut self, number: u64, due: u64);
    fn flush(&mut self, readers: &mut Readers) -> Result<()>;
    /// Deliveries that are to come of all that was said, since the readers came in.
    fn owed(&self) -> u64;
}

/// Deliveries second by second.
pub struct Timeline {
    operation: Operation,
    before: Tally,
    /// Deliveries before the first that counts.
    warm: u64,
    start: u64,
    end: u64,
    second: u64,
    sampled: u64,
}

/// Deliveries that are timed in one second, about: more would cost more than they tell.
const TIMED: f64 = 500_000.0;
/// Between two looks at the sockets.
const AT_ONCE: u64 = 256;
const PATIENCE: u64 = 10 * SECOND;

impl Timeline {
    /// `expected` deliveries a second, in what is measured.
    pub fn begin(name: &'static str, readers: &mut Readers, measure: &Measure, expected: f64) -> Self {
        let (start, end) = (measure.recorder.start(), measure.end);
        let sampled = (expected / TIMED).ceil().max(1.0) as u64;
        readers.forget_times(sampled, start);
        let (operation, before) = (Operation::new(name), readers.tally);
        Timeline { operation, before, warm: before.received, start, end, second: 0, sampled }
    }

    /// Closes the seconds that are over.
    pub fn turn(&mut self, readers: &mut Readers, now: u64) {
        if now < self.start {
            self.before = readers.tally;
            self.warm = readers.tally.received;
        } else if now < self.end {
            self.operation.in_time = readers.tally.received - self.warm;
        }
        while now >= self.start + (self.second + 1) * SECOND {
            let times = std::mem::replace(
                &mut readers.waits,
                crate::readers::books::Waits::new(self.sampled, self.start),
            )
            .times;
            let delivered = readers.tally.since(self.before);
            self.before = readers.tally;
            self.operation.seconds.push(Moment {
                at: self.second,
                done: delivered.received,
                failed: delivered.missing + delivered.again,
                p50: times.value_at_quantile(0.5),
                p99: times.value_at_quantile(0.99),
                max: times.max(),
            });
            self.keep(&times);
            self.second += 1;
        }
    }

    fn keep(&mut self, times: &hdrhistogram::Histogram<u64>) {
        // Of the same bounds.
        let _ = self.operation.histogram.add(times);
    }

    #[must_use]
    pub fn end(mut self, readers: &Readers) -> Operation {
        self.keep(&readers.waits.times);
        self.operation
    }
}

/// Publishes on the schedule and reads, on this thread; ends when all has come, or does not come.
pub fn play(
    stage: &Stage,
    what: &'static str,
    measure: &Measure,
    schedule: &Schedule,
    expected: f64,
    readers: &mut Readers,
    load: &mut dyn Load,
) -> Result<Operation> {
    let start = measure.recorder.start();
    let mut timeline = Timeline::begin("delivery", readers, measure, expected);
    let (mut sent, closed) = (0, readers.tally.closed);
    let mut give_up = u64::MAX;
    loop {
        let now = clock::now();
        let most = sent + AT_ONCE;
        while sent < schedule.total().min(most) && schedule.due(sent) <= now {
            let due = schedule.due(sent);
            if due >= start {
                measure.behind.issued(due, now);
            }
            load.say(sent, due);
            sent += 1;
        }
        load.flush(readers)?;
        readers.pass(0)?;
        timeline.turn(readers, now);
        if sent == schedule.total() || stop::asked() {
            give_up = give_up.min(now + PATIENCE);
            if readers.tally.received >= load.owed() || now > give_up {
                return Ok(timeline.end(readers));
            }
        }
        if readers.tally.closed > closed {
            return Ok(timeline.end(readers));
        }
        stage.progress.tick(|| {
            format!("{what}: {sent} of {} published, {} deliveries", schedule.total(), readers.tally.received)
        });
    }
}

/// Whether what was owed has come, once; and what the service counted of it.
pub fn books(
    service: &Service,
    before: &Scrape,
    owed: u64,
    tally: &Tally,
    outcome: &mut Outcome,
) -> Result<()> {
    let (after, books) = stage::settle(service, 2 * SECOND)?;
    outcome.books.extend(books);
    let delivered = |scrape: &Scrape| scrape.sum_of("wsm_room_deliveries_total", "outcome", "delivered");
    outcome.books.push(Check::new(
        "deliveries, owed and come",
        ("owed", owed as f64),
        &[("received once".to_owned(), tally.received as f64)],
    ));
    outcome.books.push(Check::new(
        "deliveries, ours beside the service's",
        ("received here", tally.received as f64),
        &[("delivered there".to_owned(), delivered(&after) - delivered(before))],
    ));
    complaints(tally, outcome);
    Ok(())
}

/// What no reader may see.
pub fn complaints(tally: &Tally, outcome: &mut Outcome) {
    let Tally { missing, again, closed, .. } = *tally;
    for (count, what) in [
        (missing, "lost without a word"),
        (again, "doubled or turned round"),
        (closed, "connections were ended"),
    ] {
        if count > 0 {
            outcome.failures.push(format!("{count} {what}"));
        }
    }
}

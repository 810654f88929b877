//! What was measured: a histogram for each operation, and a timeline of seconds.

use crate::clock::SECOND;
use hdrhistogram::Histogram;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// An hour, in nanoseconds: what took longer counts as that.
const LONGEST: u64 = 3600 * SECOND;
/// Reasons that are told apart; more are `other`.
const REASONS_MAX: usize = 32;

/// Three figures over the whole run.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).unwrap_or_else(|_| unreachable!("bounds that are allowed"))
}

/// Two figures for one second: it is emptied once a second.
fn small() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 2).unwrap_or_else(|_| unreachable!("bounds that are allowed"))
}

/// What happened to one kind of operation.
#[derive(Clone, Debug)]
pub struct Operation {
    pub name: &'static str,
    /// Nanoseconds from the due time, of those that succeeded.
    pub histogram: Histogram<u64>,
    /// Due before the warm-up was over, and in no other figure here but the next.
    pub warm: u64,
    /// Done between the warm-up's end and the end of what is measured, whenever they were due. Of these
    /// is the rate: what is done of a backlog afterwards was not done in that time.
    pub in_time: u64,
    pub failures: BTreeMap<String, u64>,
    pub seconds: Vec<Moment>,
    now: Histogram<u64>,
    failed_now: u64,
}

/// One second of one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since the warm-up.
    pub at: u64,
    pub done: u64,
    pub failed: u64,
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

impl Operation {
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Operation {
            name,
            histogram: histogram(),
            warm: 0,
            in_time: 0,
            failures: BTreeMap::new(),
            seconds: Vec::new(),
            now: small(),
            failed_now: 0,
        }
    }

    #[must_use]
    pub fn done(&self) -> u64 {
        self.histogram.len()
    }

    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    #[must_use]
    pub fn at(&self, quantile: f64) -> u64 {
        self.histogram.value_at_quantile(quantile)
    }

    fn close(&mut self, at: u64) {
        self.seconds.push(Moment {
            at,
            done: self.now.len(),
            failed: self.failed_now,
            p50: self.now.value_at_quantile(0.5),
            p99: self.now.value_at_quantile(0.99),
            max: self.now.max(),
        });
        self.now.reset();
        self.failed_now = 0;
    }
}

/// Shared by all who measure. The lock is taken for a moment, and rarely by two at once.
pub struct Recorder {
    /// What was due before this is warm-up.
    start: u64,
    end: u64,
    inner: Mutex<Inner>,
}

struct Inner {
    operations: Vec<Operation>,
    second: u64,
}

/// For whoever has many results at once.
pub struct Open<'a> {
    start: u64,
    end: u64,
    inner: MutexGuard<'a, Inner>,
}

impl Recorder {
    /// The first operation is the one that progress and verdicts look at.
    #[must_use]
    pub fn new(start: u64, names: &[&'static str]) -> Self {
        let operations = names.iter().map(|name| Operation::new(name)).collect();
        Recorder { start, end: u64::MAX, inner: Mutex::new(Inner { operations, second: 0 }) }
    }

    /// What is done later counts with its latency, and in no rate.
    #[must_use]
    pub fn until(self, end: u64) -> Self {
        Recorder { end, ..self }
    }

    /// When the warm-up is over.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    pub fn open(&self) -> Open<'_> {
        Open {
            start: self.start,
            end: self.end,
            inner: self.inner.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Operation number `which` was due then and is done now.
    pub fn done(&self, which: usize, due: u64, now: u64) {
        self.open().done(which, due, now);
    }

    pub fn failed(&self, which: usize, due: u64, now: u64, why: &str) {
        self.open().failed(which, due, now, why);
    }

    /// Results of the first operation so far, and its last whole second.
    #[must_use]
    pub fn so_far(&self) -> (u64, u64, Moment) {
        let open = self.open();
        let first = &open.inner.operations[0];
        (first.done() + first.warm, first.failed(), first.seconds.last().copied().unwrap_or_default())
    }

    /// All of it, with the seconds that are whole at `at`.
    #[must_use]
    pub fn end(&self, at: u64) -> Vec<Operation> {
        let mut open = self.open();
        open.roll(at);
        // What is left of the last second is a sliver: not a rate.
        open.inner.operations.clone()
    }
}

impl Open<'_> {
    fn roll(&mut self, now: u64) {
        let second = now.saturating_sub(self.start) / SECOND;
        while self.inner.second < second {
            let at = self.inner.second;
            self.inner.operations.iter_mut().for_each(|operation| operation.close(at));
            self.inner.second += 1;
        }
    }

    pub fn done(&mut self, which: usize, due: u64, now: u64) {
        self.roll(now);
        let operation = &mut self.inner.operations[which];
        operation.in_time += u64::from(now >= self.start && now < self.end);
        if due < self.start {
            operation.warm += 1;
            return;
        }
        let took = now.saturating_sub(due);
        operation.histogram.saturating_record(took);
        operation.now.saturating_record(took);
    }

    pub fn failed(&mut self, which: usize, due: u64, now: u64, why: &str) {
        self.failed_together(which, due, now, why, 1);
    }

    /// So many that were due at the same time.
    pub fn failed_together(&mut self, which: usize, due: u64, now: u64, why: &str, count: u64) {
        self.roll(now);
        let operation = &mut self.inner.operations[which];
        if due < self.start {
            operation.warm += count;
            return;
        }
        operation.failed_now += count;
        let known = operation.failures.contains_key(why) || operation.failures.len() < REASONS_MAX;
        *operation.failures.entry(if known { why } else { "other" }.to_owned()).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_is_in_no_figure() {
        let recorder = Recorder::new(10 * SECOND, &["call"]);
        recorder.done(0, 9 * SECOND, 11 * SECOND);
        recorder.failed(0, 9 * SECOND, 11 * SECOND, "late");
        recorder.done(0, 10 * SECOND, 11 * SECOND);
        let operations = recorder.end(12 * SECOND);
        assert_eq!((operations[0].warm, operations[0].done(), operations[0].failed()), (2, 1, 0));
    }

    #[test]
    fn what_is_done_afterwards_is_in_no_rate() {
        let recorder = Recorder::new(10 * SECOND, &["call"]).until(12 * SECOND);
        for (due, now) in [(9, 9), (9, 10), (11, 11), (11, 12), (11, 60)] {
            recorder.done(0, due * SECOND, now * SECOND);
        }
        let operation = &recorder.end(12 * SECOND)[0];
        assert_eq!((operation.in_time, operation.done(), operation.warm), (2, 3, 2));
        assert!(operation.histogram.max() >= 49 * SECOND, "its latency counts all the same");
    }

    #[test]
    fn each_second_has_its_own_figures() {
        let recorder = Recorder::new(0, &["call", "other"]);
        for number in 0..100 {
            recorder.done(0, 0, number + 1);
        }
        recorder.done(0, SECOND, SECOND + 500);
        recorder.failed(1, SECOND, SECOND + 500, "no");
        recorder.done(0, 2 * SECOND, 3 * SECOND);
        let open = recorder.open();
        let seconds = &open.inner.operations[0].seconds;
        assert_eq!(seconds.len(), 3);
        assert_eq!((seconds[0].done, seconds[0].p50, seconds[0].max), (100, 50, 100));
        assert_eq!((seconds[1].done, seconds[2].done), (1, 0));
        assert_eq!(open.inner.operations[1].seconds[1].failed, 1);
    }

    #[test]
    fn reasons_are_bounded() {
        let recorder = Recorder::new(0, &["call"]);
        for number in 0..100 {
            recorder.failed(0, 0, 1, &format!("reason {number}"));
        }
        let operation = &recorder.end(SECOND)[0];
        assert_eq!((operation.failed(), operation.failures.len()), (100, REASONS_MAX + 1));
    }
}

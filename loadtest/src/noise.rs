//! What the machine does by itself: how late a thread is that only sleeps. A tail below this is not
//! the service's.

use crate::{
    clock::{self, MICRO, MILLI},
    pin, stop,
};
use hdrhistogram::Histogram;

/// How late sleeps of a millisecond end, on a core that has nothing else to do.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
    /// The longest time that a thread which only looks at the clock was stopped for.
    pub longest_gap: u64,
}

/// Half the time asleep, half awake, on these cores.
#[must_use]
pub fn measure(nanos: u64, cores: &[usize]) -> Noise {
    let cores = cores.to_vec();
    std::thread::spawn(move || {
        pin::stay_on(&cores);
        listen(nanos)
    })
    .join()
    .unwrap_or(Noise { p50: 0, p99: 0, p999: 0, max: 0, longest_gap: 0 })
}

fn listen(nanos: u64) -> Noise {
    let mut late =
        Histogram::<u64>::new_with_bounds(1, 3_600_000_000_000, 3).unwrap_or_else(|_| unreachable!());
    let half = clock::now() + nanos / 2;
    while clock::now() < half && !stop::asked() {
        let at = clock::now() + MILLI;
        clock::sleep_until(at);
        late.saturating_record(clock::now().saturating_sub(at));
    }
    let (end, mut before, mut longest_gap) = (clock::now() + nanos / 2, clock::now(), 0);
    while before < end && !stop::asked() {
        let now = clock::now();
        longest_gap = longest_gap.max(now - before);
        before = now;
    }
    Noise {
        p50: late.value_at_quantile(0.5),
        p99: late.value_at_quantile(0.99),
        p999: late.value_at_quantile(0.999),
        max: late.max(),
        longest_gap: longest_gap.max(MICRO / 1000),
    }
}

impl Noise {
    #[must_use]
    pub fn says(&self) -> String {
        format!(
            "a thread that sleeps 1 ms on this machine is late by p50 {}, p99 {}, p99.9 {}, at most {}; one that spins is stopped for at most {}",
            clock::human(self.p50),
            clock::human(self.p99),
            clock::human(self.p999),
            clock::human(self.max),
            clock::human(self.longest_gap)
        )
    }
}

//! CPU and memory of processes, from the system.

use crate::{
    clock::{self, MILLI, SECOND},
    stop,
};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// CPU time of a process so far, all threads, in nanoseconds. None when it has ended.
#[must_use]
pub fn cpu_nanos(pid: u32) -> Option<u64> {
    let mut id = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls fill a number that is ours.
    let told = unsafe {
        libc::clock_getcpuclockid(pid.cast_signed(), &raw mut id) == 0
            && libc::clock_gettime(id, &raw mut time) == 0
    };
    told.then(|| time.tv_sec.unsigned_abs() * SECOND + time.tv_nsec.unsigned_abs())
}

/// Bytes of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// In RAM, shared pages included.
    pub resident: u64,
    /// In RAM and backed by no file: what the program itself keeps.
    pub anonymous: u64,
}

#[must_use]
pub fn memory(pid: u32) -> Option<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Memory { resident: kib(&text, "VmRSS:")?, anonymous: kib(&text, "RssAnon:")? })
}

/// Memory that changes by less does not change.
pub const STILL: u64 = 64 << 10;

/// Dirty pages of this process alone. Walks its page tables: too slow for every second.
#[must_use]
pub fn private_dirty(pid: u32) -> Option<u64> {
    kib(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, "Private_Dirty:")
}

fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Dirty memory that no longer changes, or what it is when patience ends.
#[must_use]
pub fn settled_dirty(pid: u32) -> u64 {
    let (mut last, give_up) = (0, clock::now() + 5 * SECOND);
    loop {
        let now = private_dirty(pid).unwrap_or(0);
        if now.abs_diff(last) < STILL || clock::now() > give_up || stop::asked() {
            return now;
        }
        last = now;
        clock::sleep(300 * MILLI);
    }
}

/// A process that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    pub name: String,
    pub pid: u32,
}

/// One second of one process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// Since the watching began.
    pub at: f64,
    /// Cores that it used: 1 is one that was busy all the time.
    pub cores: f64,
    pub memory: Memory,
}

/// What a process took, second by second.
#[derive(Clone, Debug)]
pub struct Use {
    pub name: String,
    pub cpu_nanos: u64,
    pub moments: Vec<Moment>,
}

impl Use {
    #[must_use]
    pub fn memory_max(&self) -> Memory {
        let max =
            |part: fn(&Memory) -> u64| self.moments.iter().map(|it| part(&it.memory)).max().unwrap_or(0);
        Memory { resident: max(|it| it.resident), anonymous: max(|it| it.anonymous) }
    }

    /// On average.
    #[must_use]
    pub fn cores(&self, nanos: u64) -> f64 {
        self.cpu_nanos as f64 / nanos.max(1) as f64
    }
}

/// Watches processes from a thread of its own, once a second.
pub struct Sampler {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Use>>,
}

impl Sampler {
    /// From `start` on, which may be later than now, to `end`: neither a warm-up is counted nor what is
    /// done of a backlog afterwards.
    pub fn begin(processes: Vec<Watched>, start: u64, end: u64) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let told = ended.clone();
        Sampler { ended, thread: thread::spawn(move || watch(&processes, start, end, &told)) }
    }

    #[must_use]
    pub fn end(self) -> Vec<Use> {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// Between two looks at whether it is over.
const GLANCE: u64 = SECOND / 20;

fn watch(processes: &[Watched], start: u64, end: u64, ended: &AtomicBool) -> Vec<Use> {
    let wait = |until: u64| {
        while clock::now() < until && !ended.load(Ordering::Relaxed) {
            clock::sleep_until(until.min(clock::now() + GLANCE));
        }
    };
    wait(start);
    let mut last: Vec<u64> = processes.iter().map(|it| cpu_nanos(it.pid).unwrap_or(0)).collect();
    let first = last.clone();
    let mut uses: Vec<Use> =
        processes.iter().map(|it| Use { name: it.name.clone(), cpu_nanos: 0, moments: Vec::new() }).collect();
    let (mut before, began) = (clock::now(), clock::now());
    while !ended.load(Ordering::Relaxed) && before < end {
        wait(end.min(before + SECOND));
        let now = clock::now();
        for (number, process) in processes.iter().enumerate() {
            let (Some(cpu), Some(memory)) = (cpu_nanos(process.pid), memory(process.pid)) else { continue };
            let cores = (cpu - last[number].min(cpu)) as f64 / (now - before).max(1) as f64;
            last[number] = cpu;
            uses[number].cpu_nanos = cpu.saturating_sub(first[number]);
            // A sliver at the end would be a wild figure.
            if now - before > SECOND / 2 {
                uses[number].moments.push(Moment { at: (now - began) as f64 / 1e9, cores, memory });
            }
        }
        before = now;
    }
    uses
}

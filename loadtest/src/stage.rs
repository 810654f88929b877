//! What a scenario stands on: processes on their cores, one measured stretch of time, and its outcome.

use crate::{
    books::{self, Check},
    clock::{self, MILLI, SECOND},
    noise,
    options::Options,
    pin::{self, Cores},
    progress::Progress,
    record::Recorder,
    report::Outcome,
    sample::{Sampler, Watched},
    schedule::{Behind, Schedule},
    scrape::Scrape,
    service::{Service, Wanted},
    stop,
    trouble::{Result, Trouble},
    upstream::{Manner, Upstream},
};
use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
};

/// Between the end of the set-up and the first operation.
const BREATH: u64 = 50 * MILLI;
/// How long the machine is listened to.
const NOISE: u64 = SECOND;

pub struct Stage {
    pub options: Options,
    pub progress: Progress,
    /// This program, to be an upstream.
    pub program: PathBuf,
}

impl Stage {
    pub fn new(options: Options) -> Result<Self> {
        // Before anything is pinned.
        pin::allowed();
        let _ = crate::limits::raise_files();
        Ok(Stage { options, progress: Progress::default(), program: env::current_exe()? })
    }

    /// Where what is run with so many shards runs.
    #[must_use]
    pub fn cores(&self, shards: usize) -> Cores {
        self.options.cores.clone().unwrap_or_else(|| Cores::usual(shards))
    }

    /// Shards of the service: one, unless something else was asked for.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.options.shards.unwrap_or(1)
    }

    /// The service that was named, or one of our own with these flags.
    pub fn service(&self, flags: &[&str]) -> Result<Service> {
        self.service_with(false, flags)
    }

    /// The same without huge pages, so that its memory is what it touched.
    pub fn lean_service(&self, flags: &[&str]) -> Result<Service> {
        self.service_with(true, flags)
    }

    fn service_with(&self, small_pages: bool, flags: &[&str]) -> Result<Service> {
        let shards = self.shards();
        let cores = self.cores(shards);
        pin::stay_on(&cores.generator);
        if let Some(addresses) = self.options.address {
            return Service::running(addresses);
        }
        let program = self.binary()?;
        let cores = &cores.service;
        self.start(&Wanted { name: "service", program: &program, shards, cores, small_pages, flags })
    }

    pub fn start(&self, wanted: &Wanted) -> Result<Service> {
        self.progress.tick(|| format!("starting {} with {} shards", wanted.name, wanted.shards));
        Service::start(wanted)
    }

    /// The service's program.
    pub fn binary(&self) -> Result<PathBuf> {
        let named = self.options.service.clone().or_else(|| env::var_os("WSM_BIN").map(PathBuf::from));
        let usual = || {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
            target.join("release/websocket-manager")
        };
        let program = named.unwrap_or_else(usual);
        if program.is_file() {
            return Ok(program);
        }
        Err(Trouble::Unavailable(format!(
            "no service at {}: build one with `cargo build --release` (loadtest/run does), or name one with --service PATH or WSM_BIN",
            program.display()
        )))
    }

    pub fn upstream(&self, manner: Manner) -> Result<Upstream> {
        Upstream::start(&self.program, &self.cores(self.shards()).generator, manner)
    }

    /// A stretch of time in which operations of these names are measured, after the warm-up.
    #[must_use]
    pub fn measure(&self, names: &[&'static str], watched: Vec<Watched>, nanos: u64) -> Measure {
        self.measure_after(self.options.warm(), names, watched, nanos)
    }

    /// With a warm-up of its own.
    #[must_use]
    pub fn measure_after(
        &self,
        warm: u64,
        names: &[&'static str],
        mut watched: Vec<Watched>,
        nanos: u64,
    ) -> Measure {
        watched.push(Watched { name: "generator".to_owned(), pid: std::process::id() });
        let begin = clock::now() + BREATH;
        Measure {
            begin,
            end: begin + warm + nanos,
            nanos,
            recorder: Arc::new(Recorder::new(begin + warm, names).until(begin + warm + nanos)),
            behind: Arc::default(),
            sampler: Sampler::begin(watched, begin + warm, begin + warm + nanos),
        }
    }

    /// How late the machine is by itself, on the generator's cores.
    #[must_use]
    pub fn noise(&self) -> noise::Noise {
        self.noise_for(NOISE)
    }

    /// The same for longer: a far percentile is of many looks.
    #[must_use]
    pub fn noise_for(&self, nanos: u64) -> noise::Noise {
        self.progress.tick(|| "listening to the machine".to_owned());
        noise::measure(nanos, &self.cores(self.shards()).generator)
    }

    /// Runs what makes the load beside a line that tells how far it is.
    pub fn watch<T: Send + 'static>(
        &self,
        what: &str,
        measure: &Measure,
        load: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let thread: JoinHandle<Result<T>> = thread::spawn(load);
        while !thread.is_finished() {
            clock::sleep(20 * MILLI);
            self.progress.tick(|| measure.line(what));
        }
        thread.join().unwrap_or_else(|_| Err(Trouble::Failed(format!("{what}: the load ended in a panic"))))
    }
}

pub struct Measure {
    /// When the first operation is due, warm-up included, and when the last.
    pub begin: u64,
    pub end: u64,
    /// What is measured of that.
    pub nanos: u64,
    pub recorder: Arc<Recorder>,
    pub behind: Arc<Behind>,
    sampler: Sampler,
}

impl Measure {
    /// Operations of the warm-up and of what is measured.
    #[must_use]
    pub fn schedule(&self, rate: f64) -> Schedule {
        Schedule::new(self.begin, rate, self.end - self.begin)
    }

    fn line(&self, what: &str) -> String {
        let (done, failed, moment) = self.recorder.so_far();
        let warm = clock::now() < self.recorder.start();
        let left = self.end.saturating_sub(clock::now()) / SECOND;
        if done + failed == 0 {
            return format!("{what}: {left} s left");
        }
        format!(
            "{what}{}: {done} done, {failed} failed; last second {} at p50 {}, p99 {}; {left} s left",
            if warm { ", warming up" } else { "" },
            moment.done,
            clock::human(moment.p50),
            clock::human(moment.p99)
        )
    }

    /// What was measured, for the report. To be called when the load is over.
    pub fn into(self, outcome: &mut Outcome) {
        let ended = clock::now().min(self.end);
        outcome.nanos = ended.saturating_sub(self.recorder.start()).min(self.nanos);
        outcome.processes = self.sampler.end();
        outcome.operations = self.recorder.end(ended);
        outcome.behind = Some(self.behind.told());
        outcome.partial |= stop::asked();
    }
}

/// Waits until the books of the service balance and nothing is on its way; how they stand then.
pub fn settle(service: &Service, patience: u64) -> Result<(Scrape, Vec<Check>)> {
    let give_up = clock::now() + patience;
    loop {
        let scrape = service.scrape()?;
        let under_way =
            ["wsm_sends_in_flight", "wsm_publish_pending_messages", "wsm_room_deliveries_in_flight"];
        let quiet = under_way.iter().all(|name| scrape.sum(name) == 0.0);
        let books = books::books(&scrape);
        if (quiet && books.iter().all(Check::balances)) || clock::now() > give_up {
            return Ok((scrape, books));
        }
        clock::sleep(50 * MILLI);
    }
}

//! How calls are made, and what they took.

#[derive(Clone, Copy)]
pub struct Calls {
    pub connections: usize,
    /// Under way at once on each connection.
    pub window: usize,
    pub total: usize,
    pub bytes: usize,
}

impl Calls {
    pub fn each(&self) -> usize {
        (self.total / self.connections).max(self.window)
    }

    pub fn made(&self) -> usize {
        self.each() * self.connections
    }
}

#[derive(Clone, Debug)]
pub struct Timings {
    pub cpu_micros: f64,
    pub p50_micros: f64,
}

impl Timings {
    pub fn new(plan: Calls, cpu_nanos: u64, mut waits: Vec<u64>) -> Self {
        waits.sort_unstable();
        let made = plan.made() as f64;
        Timings {
            cpu_micros: cpu_nanos as f64 / made / 1000.0,
            p50_micros: waits.get(waits.len() / 2).map_or(f64::NAN, |nanos| *nanos as f64 / 1000.0),
        }
    }
}

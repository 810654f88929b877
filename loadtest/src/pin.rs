//! Which core does what. The service has its own; what loads it has the others.

use crate::trouble::{Result, Trouble};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::sync::OnceLock;

/// Empty lists leave the choice to the system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cores {
    pub service: Vec<usize>,
    pub generator: Vec<usize>,
}

/// The cores that this process had when it began.
pub fn allowed() -> &'static [usize] {
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    ALLOWED.get_or_init(|| {
        let set = sched_getaffinity(None).unwrap_or_default();
        (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
    })
}

impl Cores {
    /// The first core for each shard of the service, the rest for everything else. With too few for
    /// that they share all of them.
    #[must_use]
    pub fn usual(shards: usize) -> Self {
        let all = allowed();
        if shards < all.len() {
            Cores { service: all[..shards].to_vec(), generator: all[shards..].to_vec() }
        } else {
            Cores::default()
        }
    }

    #[must_use]
    pub fn says(&self) -> String {
        if self.service.is_empty() {
            return format!("{} for all", allowed().len());
        }
        let list = |cores: &[usize]| cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        format!("{} service, {} the rest", list(&self.service), list(&self.generator))
    }

    /// `none`, or two lists with a colon between: `0:1`, `0,1:2,3`.
    pub fn parse(text: &str) -> Result<Self> {
        if text == "none" {
            return Ok(Cores::default());
        }
        let bad = || {
            Trouble::Usage(format!(
                "--cores: '{text}' is not 'none' or SERVICE:GENERATOR, such as 0:1 or 0,1:2,3; this process may use {:?}",
                allowed()
            ))
        };
        let (service, generator) = text.split_once(':').ok_or_else(bad)?;
        let list = |text: &str| -> Result<Vec<usize>> {
            let cores: Option<Vec<usize>> = text.split(',').map(|word| word.parse().ok()).collect();
            cores.filter(|list| list.iter().all(|core| allowed().contains(core))).ok_or_else(bad)
        };
        Ok(Cores { service: list(service)?, generator: list(generator)? })
    }
}

/// Keeps the calling thread, and what it starts, on these; an empty list: on all that there are.
pub fn stay_on(cores: &[usize]) {
    let cores = if cores.is_empty() { allowed() } else { cores };
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    // Refused only for cores that went away since the start; then the system chooses.
    let _ = sched_setaffinity(None, &set);
}

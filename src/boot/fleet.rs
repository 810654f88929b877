//! An instance among others: its lease, and what it takes over from those that are gone.

use super::{Failure, Instance, restore, rooms::Outside};
use crate::{
    api::{counters::PeerCounters, peers},
    backend::Backend,
    config::Config,
    core::{
        fleet::{FleetSetup, io::FleetNow},
        time::Wall,
    },
    fleet::{self, Fleet, FleetConfig, FleetSpill, Handle, State, Take, Taken, Takeover},
    limits, pki,
    ports::{Adoption, Condition, Health, Spill, spans::Spans},
    shard::{
        entropy::Entropy,
        gate::{Gate, boot_now},
        mailbox::Hub,
        record,
    },
};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How long a start that clears everything goes on clearing: until everything that belonged to the
/// dead has come by.
const CLEAR_FOR: Duration = limits::LEASE.saturating_mul(3);

/// None: the backend is this instance's alone.
pub(super) fn start(
    config: &Arc<Config>,
    backend: &Arc<Backend>,
    hub: &Hub,
    advertised: &str,
    gate: Option<Arc<Gate>>,
    spans: &Spans,
) -> Result<Option<Fleet>, Failure> {
    let (Some(documents), Some(gate)) = (backend.documents(), gate) else { return Ok(None) };
    let mut entropy = Entropy::default();
    let word = format!("{:012x}", entropy.word() >> 16);
    let mut setup = FleetSetup::new(&config.instance_id, &word, advertised, entropy.word());
    setup.record_ttl = config.connection_record_ttl;
    let fleet = fleet::start(FleetConfig {
        setup,
        documents,
        hub: hub.clone(),
        gate,
        clock: Box::new(|| FleetNow { boot: boot_now(), wall: wall_now() }),
        take: take(config, backend),
        spans: spans.clone(),
    })?;
    Ok(Some(fleet))
}

/// A shard's spill log, which in a fleet may hold what others have gone past.
pub(super) fn spill(instance: &Instance, shard: u32) -> Result<Arc<dyn Spill>, Failure> {
    let inner = instance.backend.local().spill(shard).ok_or("no spill log for this shard")?;
    Ok(match &instance.fleet {
        None => inner,
        Some(handle) => Arc::new(FleetSpill { inner, handle: handle.clone(), shard }),
    })
}

/// What becomes of a connection that belonged to another run.
fn take(config: &Arc<Config>, backend: &Arc<Backend>) -> Take {
    let (sealer, config) = (backend.local().sealer(), config.clone());
    let started = Instant::now();
    Arc::new(move |document: &bytes::Bytes, epoch: u64| {
        // What nobody alive owned at the start is seen after one lease.
        if config.clear_all_on_start && started.elapsed() < CLEAR_FOR {
            return Ok(Taken::Forget);
        }
        let stored = record::decode(document, &*sealer).map_err(|error| error.message)?;
        Ok(Taken::Restore(Box::new(restore::check(&config, stored, Some(epoch))?)))
    })
}

/// What a shard's edges need to reach the others; each thread has its own.
pub(super) fn peers(instance: &Instance) -> Result<Option<peers::Fleet>, Failure> {
    let Some(handle) = &instance.fleet else { return Ok(None) };
    let Instance { config, backend, hub, peers, .. } = instance;
    let rooms = instance.outside.numbering.as_ref().map(|numbering| numbering.edge());
    let fleet = reach(handle, config, backend, hub, peers)?;
    Ok(Some(peers::Fleet { rooms, ..fleet }))
}

/// The other instances as one thread calls them, rooms left aside.
pub(super) fn reach(
    handle: &Handle,
    config: &Arc<Config>,
    backend: &Arc<Backend>,
    hub: &Hub,
    counters: &Arc<PeerCounters>,
) -> Result<peers::Fleet, Failure> {
    // A key that was made here is known to nobody else: it proves nothing to them.
    let shared = config.secret_key_file.is_some();
    let key = shared.then(|| backend.local().sealer().proof_key());
    let roots = config.tls_roots.as_ref().map(std::fs::read_to_string).transpose()?;
    let tls = config
        .tls
        .is_some()
        .then(|| pki::client_config(roots.as_deref().unwrap_or_default(), "", ""))
        .transpose()
        .map_err(|fault| fault.to_string())?;
    let adoption = backend.documents().map(|documents| -> Arc<dyn Adoption> {
        let take = take(config, backend);
        Arc::new(Takeover { handle: handle.clone(), hub: hub.clone(), documents, take })
    });
    Ok(peers::Fleet {
        directory: Arc::new(handle.clone()),
        key,
        tls,
        adoption,
        rooms: None,
        counters: counters.clone(),
    })
}

pub(super) fn wall_now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall::from_unix_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// What `/readyz` tells: the backend's own words, and how the lease stands.
pub(super) struct Conditions {
    pub backend: Arc<Backend>,
    pub fleet: Option<Handle>,
    pub outside: Arc<Outside>,
}

impl Health for Conditions {
    fn condition(&self) -> Condition {
        let trouble = self.backend.trouble();
        let (problem, degraded, advisory) = match self.fleet.as_ref().map(Handle::state) {
            None | Some(State::Held) => (None, trouble, false),
            Some(State::Advisory) => {
                let away = trouble.unwrap_or_else(|| "the state store does not answer".into());
                (None, Some(away), true)
            }
            Some(State::Waiting) => {
                let away = trouble.unwrap_or_else(|| "waiting for a lease in the state store".into());
                (Some(away), None, false)
            }
        };
        let degraded = degraded.or_else(|| self.outside.trouble());
        let capabilities = self.backend.capabilities();
        Condition { backend: self.backend.name(), capabilities, problem, degraded, advisory }
    }
}

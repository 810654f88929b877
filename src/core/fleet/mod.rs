//! Who owns what in a fleet: leases, claims, the observation of others, adoption. Pure: values and
//! boot-clock times go in, reads and writes of shared documents come out.

mod adopt;
mod ask;
mod bucket;
mod document;
mod entry;
mod holder;
mod index;
pub mod io;
mod judge;
mod lease;
mod observe;
mod records;
mod setup;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
mod wishes;

pub use adopt::{by_preference, weight_of};
pub use document::{lease_key, listed, owned_keys, record_key};
pub use holder::{Holding, holder_of, owner_of};
pub use setup::{FleetSetup, Timings};

use crate::{
    core::{admission::TokenBucket, id::ConnectionId, random, time::Time},
    limits,
};
use ask::Pending;
use bucket::Bucket;
use entry::{Entry, What};
use index::Index;
use io::{
    Asker, Boot, DocAnswer, DocTicket, Expect, FleetCounters, FleetEffect, FleetInput, FleetNow, Member,
    Trouble, Version, Versioned,
};
use lease::Own;
use observe::{Scan, Watch};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

type Effects = Vec<FleetEffect>;

/// Everything that is not urgent is looked at this often.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Greater numbers are not exact in other people's JSON; such an epoch is nobody's honest one.
const EPOCH_MAX: u64 = (1 << 53) - 1;

/// What the next write of a document must expect.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    /// To be read first.
    Read,
    Absent,
    At(Version),
}

impl Known {
    fn of(found: Option<&Versioned>) -> Known {
        found.map_or(Known::Absent, |found| Known::At(found.version.clone()))
    }

    fn expect(&self) -> Option<Expect> {
        match self {
            Known::Read => None,
            Known::Absent => Some(Expect::Absent),
            Known::At(version) => Some(Expect::Version(version.clone())),
        }
    }
}

/// What is broken on purpose, to see that the simulation finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Canary {
    #[cfg(test)]
    Healthy,
    /// The lease counts from the end of its renewal, and twice.
    OutlivesLease,
    /// An observer does not wait for the end of the lease.
    Impatient,
    /// A take that met a conflict counts as done.
    TakesAnyway,
    KeepsEpoch,
    /// What is owned is not listed in the owner's bucket.
    ForgetsBucket,
}

/// One instance's part in the fleet.
pub struct Fleet {
    setup: FleetSetup,
    me: Member,
    now: FleetNow,
    entropy: u64,
    own: Own,
    scan: Scan,
    watches: BTreeMap<Arc<str>, Watch>,
    members: Arc<[Member]>,
    buckets: Vec<Bucket>,
    /// Connections that are ours, or that something is being done about.
    entries: BTreeMap<ConnectionId, Entry>,
    /// When which of them is to be looked at.
    ready: BTreeSet<(Boot, ConnectionId)>,
    /// Callers in the order of their deadlines.
    asks: VecDeque<(Boot, Asker, ConnectionId)>,
    pending: BTreeMap<DocTicket, Pending>,
    next_ticket: u64,
    records_in_flight: usize,
    /// Records and buckets wait until then for a store that does not answer.
    hold: Boot,
    failures: u32,
    index: Index,
    takes: TokenBucket,
    /// The highest epoch seen anywhere: no new one is below.
    epoch_floor: u64,
    troubles: BTreeSet<String>,
    lost_at: Option<Boot>,
    counters: FleetCounters,
    #[cfg(test)]
    canary: Canary,
}

impl Fleet {
    /// Asks for nothing before the first `tick`.
    pub fn new(setup: FleetSetup) -> Self {
        let incarnation = incarnation_name(&setup.instance, &setup.incarnation_word);
        let me = Member { incarnation, instance: setup.instance.clone(), address: setup.address.clone() };
        Fleet {
            me,
            now: FleetNow::default(),
            entropy: setup.seed,
            own: Own::new(),
            scan: Scan::new(),
            watches: BTreeMap::new(),
            members: Arc::from([]),
            buckets: Bucket::fresh(),
            entries: BTreeMap::new(),
            ready: BTreeSet::new(),
            asks: VecDeque::new(),
            pending: BTreeMap::new(),
            next_ticket: 0,
            records_in_flight: 0,
            hold: Boot::ZERO,
            failures: 0,
            index: Index::default(),
            // A tenth of a second's worth at once: upstreams that fail together must not be dialled together.
            takes: TokenBucket::new(
                f64::from(setup.takes_per_second),
                setup.takes_per_second.div_ceil(10),
                Time::ZERO,
            ),
            epoch_floor: 0,
            troubles: BTreeSet::new(),
            lost_at: None,
            counters: FleetCounters::default(),
            #[cfg(test)]
            canary: Canary::Healthy,
            setup,
        }
    }

    pub fn handle(&mut self, now: FleetNow, input: FleetInput, fx: &mut Effects) {
        self.enter(now, fx);
        match input {
            FleetInput::Claim { asker, id } => self.claim(asker, id, fx),
            FleetInput::Unclaim { id } => self.unclaim(id, fx),
            FleetInput::Store { asker, id, epoch, document } => self.store(asker, id, epoch, document, fx),
            FleetInput::Expect { asker, id } => self.submit(id, What::Expect, Some(asker), fx),
            FleetInput::Forget { asker, id } => self.forget(asker, id, fx),
            // Its document is ours until this run ends, and nothing writes it.
            FleetInput::Untakeable { .. } => {}
            FleetInput::Shut => self.fence(fx),
            FleetInput::Leave => self.leave(),
            FleetInput::Left => self.finish_leaving(fx),
            FleetInput::Transfer { asker, id, to, epoch, document } => {
                self.submit(id, What::Transfer { to, epoch, document }, Some(asker), fx);
            }
        }
        self.drive(fx);
    }

    /// Every `Get`, `Put` and `Delete` is answered once; answers to forgotten tickets are ignored.
    pub fn answered(&mut self, now: FleetNow, ticket: DocTicket, answer: DocAnswer, fx: &mut Effects) {
        self.enter(now, fx);
        if let Some(pending) = self.pending.remove(&ticket) {
            match &answer {
                DocAnswer::Unknown(_) => self.counters.unknowns += 1,
                DocAnswer::Conflict => self.counters.conflicts += 1,
                _ => {}
            }
            self.dispatch(pending, answer, fx);
        }
        self.drive(fx);
    }

    pub fn tick(&mut self, now: FleetNow, fx: &mut Effects) {
        self.enter(now, fx);
        self.drive(fx);
    }

    /// Never outside the simulation.
    #[cfg(not(test))]
    const fn breaks(&self, _: Canary) -> bool {
        false
    }

    #[cfg(test)]
    fn breaks(&self, canary: Canary) -> bool {
        self.canary == canary
    }

    /// When `tick` is wanted next.
    pub fn poll_timeout(&self) -> Boot {
        if self.own.is_gone() {
            return Boot::FAR;
        }
        let now = self.now.boot;
        let mut next = (now + HEARTBEAT).min(self.own.due()).min(self.scan.due());
        if let Some((at, _)) = self.ready.first()
            && self.can_write()
            && self.records_in_flight < limits::FLEET_RECORDS_IN_FLIGHT
        {
            next = next.min((*at).max(self.hold));
        }
        if let Some((at, ..)) = self.asks.front() {
            next = next.min(*at);
        }
        next
    }

    /// This run's name; another one after each `Fence`.
    pub fn me(&self) -> &Member {
        &self.me
    }

    /// Others whose leases live.
    pub fn members(&self) -> Arc<[Member]> {
        self.members.clone()
    }

    pub fn valid_until(&self) -> Boot {
        self.own.until()
    }

    pub fn is_advisory(&self) -> bool {
        self.own.advisory
    }

    /// Connections whose records are this instance's, as far as it knows.
    pub fn owned(&self) -> usize {
        self.entries.values().filter(|entry| entry.is_ours()).count()
    }

    pub fn counters(&self) -> FleetCounters {
        self.counters
    }

    /// Panics when the books do not agree; for tests.
    pub fn check(&self) {
        let in_flight = self.pending.values().filter(|pending| matches!(pending, Pending::Record(_))).count();
        let reads = self.pending.values().filter(|pending| matches!(pending, Pending::RecordRead(_))).count();
        assert_eq!(self.records_in_flight, in_flight + reads, "records in flight");
        for (id, entry) in &self.entries {
            assert!(entry.is_held() || entry.work.is_some(), "{id} is neither ours nor worked at");
            if entry.work.as_ref().is_some_and(|work| !work.busy) {
                assert!(self.ready.iter().any(|(_, ready)| ready == id), "{id} waits for nothing");
            }
        }
        assert!(self.ready.iter().all(|(_, id)| self.entries.contains_key(id)), "a stranger is ready");
        for (number, bucket) in self.buckets.iter().enumerate() {
            bucket.check(number);
            assert!(
                bucket.ids.iter().all(|id| self.entries.contains_key(id)),
                "bucket {number} lists a stranger"
            );
        }
    }

    /// Nothing is written, taken or removed any more but the lease.
    #[cfg(test)]
    fn is_at_rest(&self) -> bool {
        self.entries.values().all(|entry| entry.work.is_none())
            && self.buckets.iter().all(Bucket::is_quiet)
            && self.watches.values().all(|watch| !watch.listed || watch.estate.is_none())
    }

    /// For the report of a simulation that does not come to rest.
    #[cfg(test)]
    fn unrest(&self) -> String {
        let works = self.entries.iter().filter_map(|(id, entry)| Some((id, &entry.work.as_ref()?.run.what)));
        let works: Vec<String> = works.map(|(id, what)| format!("{id}: {what:?}")).collect();
        let watches: Vec<String> = self.watches.values().map(Watch::describe).collect();
        let buckets = self.buckets.iter().filter(|bucket| !bucket.is_quiet()).count();
        format!(
            "{} {works:?} {watches:?} {buckets} {:?} {}",
            self.me.incarnation,
            self.index,
            self.is_elected()
        )
    }

    fn enter(&mut self, now: FleetNow, fx: &mut Effects) {
        // A clock that stepped back stands still for us.
        self.now = FleetNow { boot: now.boot.max(self.now.boot), wall: now.wall };
        self.expire(fx);
    }

    fn drive(&mut self, fx: &mut Effects) {
        if self.own.is_gone() {
            return;
        }
        self.give_up_waiting(fx);
        self.drive_lease(fx);
        self.drive_scan(fx);
        self.drive_estates(fx);
        self.drive_index(fx);
        self.drive_records(fx);
        self.drive_buckets(fx);
        self.go_on_alone(fx);
    }

    /// An epoch above everything known.
    fn next_epoch(&mut self, stored: u64) -> u64 {
        let above = stored.max(self.epoch_floor).saturating_add(1);
        let epoch = above.max(self.now.wall.unix_millis());
        self.saw_epoch(epoch);
        epoch
    }

    fn saw_epoch(&mut self, epoch: u64) {
        if epoch <= EPOCH_MAX {
            self.epoch_floor = self.epoch_floor.max(epoch);
        }
    }

    fn trouble(&mut self, key: &str, trouble: Trouble, fx: &mut Effects) {
        if self.troubles.contains(key) {
            return;
        }
        self.counters.bad_documents += 1;
        if self.troubles.len() < limits::FLEET_TROUBLES_MAX {
            self.troubles.insert(key.to_owned());
            fx.push(FleetEffect::Trouble(trouble));
        }
    }

    fn bad(&mut self, key: &str, why: String, rewritten: bool, fx: &mut Effects) {
        self.trouble(key, Trouble::Bad { key: key.to_owned(), why, rewritten }, fx);
    }

    fn newer(&mut self, key: &str, fx: &mut Effects) {
        self.trouble(key, Trouble::Newer { key: key.to_owned() }, fx);
    }

    /// The store is older than what we know: everything is read again, and written again.
    fn store_lost(&mut self, fx: &mut Effects) {
        // One loss is noticed in many places.
        if self.lost_at.is_some_and(|at| self.now.boot.since(at) < Duration::from_secs(1)) {
            return;
        }
        self.lost_at = Some(self.now.boot);
        self.counters.store_losses += 1;
        for entry in self.entries.values_mut() {
            entry.known = Known::Read;
        }
        for bucket in &mut self.buckets {
            bucket.doubt(self.now.boot);
        }
        self.index.doubt();
        fx.push(FleetEffect::StoreLost);
    }

    fn random(&mut self) -> u64 {
        random::next(&mut self.entropy)
    }

    fn jitter(&mut self, from: Duration, to: Duration) -> Duration {
        let span = to.saturating_sub(from).as_nanos() + 1;
        from + Duration::from_nanos(((u128::from(self.random()) * span) >> 64) as u64)
    }
}

fn incarnation_name(instance: &str, word: &str) -> Arc<str> {
    let clean = |text: &str, most: usize| -> String {
        text.chars().filter(|c| c.is_ascii_graphic() && *c != '|').take(most).collect()
    };
    format!("{}-{}", clean(instance, 255), clean(word, 64)).into()
}

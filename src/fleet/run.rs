//! The fleet's thread: answers of the store, mail of shards and edges, and time, one after another.

use super::{
    handle::{Handle, Mail, Shared, State, View, stopped},
    perform::Finished,
    watch::FleetTimes,
};
use crate::{
    core::{
        fleet::{
            Fleet as Machine, FleetSetup, Holding, holder_of,
            io::{Asker, Claim, FleetEffect, FleetInput, FleetNow, Member},
        },
        io::Command,
        spec::Restore,
    },
    limits,
    ports::{BackendError, Documents, Done, Holder, spans::Spans},
    shard::{gate::Gate, mailbox::Hub},
};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{Notify, mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};

/// What becomes of a connection that was taken, by its document and its new epoch. The error says
/// why it cannot be taken up here.
pub type Take = Arc<dyn Fn(&Bytes, u64) -> Result<Taken, String> + Send + Sync>;

pub enum Taken {
    Restore(Box<Restore>),
    /// It is forgotten.
    Forget,
}

/// Both clocks.
pub type Clock = Box<dyn Fn() -> FleetNow + Send>;

pub struct FleetConfig {
    pub setup: FleetSetup,
    pub documents: Arc<dyn Documents>,
    pub hub: Hub,
    pub gate: Arc<Gate>,
    pub clock: Clock,
    pub take: Take,
    pub spans: Spans,
}

/// The running thread.
pub struct Fleet {
    pub handle: Handle,
    thread: JoinHandle<()>,
}

impl Fleet {
    /// After `Handle::left`.
    pub fn join(self) {
        let Fleet { handle, thread, .. } = self;
        drop(handle);
        if thread.join().is_err() {
            tracing::error!("the fleet's thread failed");
        }
    }
}

/// The lease is asked for at once; `Handle::held` waits for it.
pub fn start(config: FleetConfig) -> std::io::Result<Fleet> {
    let (sender, mail) = mpsc::channel(limits::FLEET_MAIL_MAX);
    // Three chances for each record before it is gone.
    let refresh = config.setup.record_ttl.map(|ttl| ttl / 3);
    let machine = Machine::new(config.setup);
    let shared = Arc::new(Shared {
        mail: sender,
        documents: config.documents.clone(),
        me: RwLock::new(machine.me().incarnation.clone()),
        members: RwLock::new(machine.members()),
        state: RwLock::new(State::Waiting),
        view: Mutex::default(),
        changed: Notify::new(),
        gate: config.gate,
        leaving: AtomicBool::new(false),
        times: FleetTimes::default(),
    });
    let mut run = Run {
        machine,
        shared: shared.clone(),
        documents: config.documents,
        hub: config.hub,
        clock: config.clock,
        take: config.take,
        spans: config.spans,
        askers: BTreeMap::new(),
        next_asker: 0,
        tasks: JoinSet::new(),
        open: false,
        left: None,
        refresh,
        refreshed: Instant::now(),
        done: false,
    };
    let thread =
        thread::Builder::new().name("fleet".into()).spawn(move || {
            match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => runtime.block_on(run.run(mail)),
                Err(error) => tracing::error!(%error, "the fleet's thread cannot run"),
            }
        })?;
    Ok(Fleet { handle: Handle(shared), thread })
}

/// Who waits for an answer of the machine.
pub(super) enum Waiting {
    Store(Done<Result<(), BackendError>>),
    Claim(oneshot::Sender<Result<Holder, BackendError>>),
    Transfer(oneshot::Sender<Result<(), String>>),
}

pub(super) struct Run {
    pub machine: Machine,
    pub shared: Arc<Shared>,
    pub documents: Arc<dyn Documents>,
    pub hub: Hub,
    pub clock: Clock,
    pub take: Take,
    pub spans: Spans,
    pub askers: BTreeMap<u64, Waiting>,
    pub next_asker: u64,
    /// Reads, writes and orders to shards under way.
    pub tasks: JoinSet<Finished>,
    /// The lease holds: shards may write.
    pub open: bool,
    pub left: Option<oneshot::Sender<()>>,
    pub done: bool,
    /// How often every record is written again, so that none expires while its owner lives.
    refresh: Option<Duration>,
    refreshed: Instant,
}

/// A suspended machine's timers stand still: the boot clock is looked at least this often.
const LOOK: Duration = Duration::from_secs(1);

impl Run {
    async fn run(&mut self, mut mail: mpsc::Receiver<Mail>) {
        // Nothing is owned before there is a lease.
        self.order_all(|| Command::Fence);
        self.step(|machine, now, fx| machine.tick(now, fx));
        while !self.done {
            let now = (self.clock)();
            let wait = self.machine.poll_timeout().since(now.boot).min(LOOK);
            tokio::select! {
                biased;
                Some(finished) = self.tasks.join_next(), if !self.tasks.is_empty() => self.finished(finished),
                letter = mail.recv() => match letter {
                    Some(letter) => self.open_mail(letter),
                    None => self.done = true,
                },
                () = tokio::time::sleep(wait) => self.step(|machine, now, fx| machine.tick(now, fx)),
            }
            if self.left.as_ref().is_some_and(oneshot::Sender::is_closed) {
                // The drain waits no more: others find the lease expired.
                self.done = true;
            }
            // A busy mailbox must not keep time from passing.
            if (self.clock)().boot >= self.machine.poll_timeout() {
                self.step(|machine, now, fx| machine.tick(now, fx));
            }
            if self.refresh.is_some_and(|every| self.refreshed.elapsed() >= every) {
                self.refreshed = Instant::now();
                self.order_all(|| Command::PersistAll);
            }
            *self.shared.view.lock() =
                View { counters: self.machine.counters(), owned: self.machine.owned() };
        }
        for (_, waiting) in std::mem::take(&mut self.askers) {
            waiting.refuse(stopped());
        }
    }

    /// One input to the machine, and its effects carried out.
    pub(super) fn step(&mut self, input: impl FnOnce(&mut Machine, FleetNow, &mut Vec<FleetEffect>)) {
        let mut fx = Vec::new();
        input(&mut self.machine, (self.clock)(), &mut fx);
        for effect in fx {
            self.perform(effect);
        }
    }

    pub(super) fn input(&mut self, input: FleetInput) {
        self.step(|machine, now, fx| machine.handle(now, input, fx));
    }

    pub(super) fn asker(&mut self, waiting: Waiting) -> Asker {
        let asker = self.next_asker;
        self.next_asker += 1;
        self.askers.insert(asker, waiting);
        Asker(asker)
    }

    fn open_mail(&mut self, mail: Mail) {
        match mail {
            Mail::Store { id, document, done } => {
                let asker = self.asker(Waiting::Store(done));
                let epoch = epoch_of(&document);
                self.input(FleetInput::Store { asker, id, epoch, document });
            }
            Mail::Forget { id, done } => {
                let asker = self.asker(Waiting::Store(done));
                self.input(FleetInput::Forget { asker, id });
            }
            Mail::Claim { id, reply } => {
                let asker = self.asker(Waiting::Claim(reply));
                self.input(FleetInput::Claim { asker, id });
            }
            Mail::Unclaim { id } => self.input(FleetInput::Unclaim { id }),
            Mail::Leave => self.input(FleetInput::Leave),
            Mail::Left { reply } => {
                self.left = Some(reply);
                self.input(FleetInput::Left);
            }
            Mail::Unspilled(unspilled) => self.look_at(unspilled),
            Mail::Expect { id, reply } => {
                let asker = self.asker(Waiting::Transfer(reply));
                self.input(FleetInput::Expect { asker, id });
            }
            Mail::Unexpect { id, reply } => {
                let asker = self.asker(Waiting::Transfer(reply));
                self.input(FleetInput::Forget { asker, id });
            }
            Mail::Transfer { id, to, epoch, document, reply } => {
                let asker = self.asker(Waiting::Transfer(reply));
                self.input(FleetInput::Transfer { asker, id, to, epoch, document });
            }
        }
    }
}

impl Waiting {
    pub(super) fn refuse(self, error: BackendError) {
        match self {
            Waiting::Store(done) => done.complete(Err(error)),
            // Who asked may have gone away.
            Waiting::Claim(reply) => drop(reply.send(Err(error))),
            Waiting::Transfer(reply) => drop(reply.send(Err(error.message))),
        }
    }

    pub(super) fn stored(self, result: Result<(), String>) {
        match self {
            Waiting::Store(done) => done.complete(result.map_err(transient)),
            Waiting::Transfer(reply) => drop(reply.send(result)),
            Waiting::Claim(reply) => drop(reply.send(Ok(Holder::Nobody))),
        }
    }

    pub(super) fn claimed(self, claim: Claim) {
        let Waiting::Claim(reply) = self else { return };
        let holder = match claim {
            Claim::Mine { .. } => Ok(Holder::Me),
            Claim::Member(member) => Ok(Holder::Member(member)),
            Claim::Orphan => Ok(Holder::Orphan),
            Claim::Unknown(why) => Err(transient(why)),
        };
        drop(reply.send(holder));
    }
}

fn transient(message: String) -> BackendError {
    BackendError { message, transient: true }
}

/// What the shard wrote into its document.
fn epoch_of(document: &Bytes) -> u64 {
    let value: Option<serde_json::Value> = serde_json::from_slice(document).ok();
    value.and_then(|value| value["epoch"].as_u64()).unwrap_or(0)
}

pub(super) fn holder(document: &Bytes, me: &str, members: &[Member]) -> Holder {
    match holder_of(me, members, document) {
        Holding::Me => Holder::Me,
        Holding::Member(member) => Holder::Member(member),
        Holding::Orphan | Holding::Unreadable(_) => Holder::Orphan,
    }
}

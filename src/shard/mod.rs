//! The shell of one shard: its sockets, its mailbox, its clock, and the loop that carries inputs
//! to the core and its effects to the world. Everything here runs on one thread.

mod attempt;
mod clock;
pub mod dial;
mod effects;
pub mod entropy;
pub mod gate;
pub mod io;
mod letter;
pub mod mailbox;
pub mod metrics;
pub mod record;
pub mod rooms;
mod run;
mod socket;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
mod venues;
mod waiters;

pub use run::run;

use crate::{
    core::{
        id::Ticket,
        io::{Command, Context, Effects},
        shard::{Handle, Setup, ShardCore},
        time::Now,
    },
    limits,
    ports::{Bus, Seal, Spill, Store, spans::Spans},
};
use mailbox::Mailbox;
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    task::Waker,
    time::Duration,
};

/// What a shard needs of the world.
#[derive(Clone)]
pub struct World {
    pub store: Arc<dyn Store>,
    pub bus: Arc<dyn Bus>,
    pub spill: Arc<dyn Spill>,
    pub seal: Arc<dyn Seal>,
    pub dialler: Arc<dial::Dialler>,
    pub instance: Arc<str>,
    /// After the last input the loop looks again and again for this long before it sleeps.
    pub busy_poll: Duration,
    /// Until when sockets may be written; None: always.
    pub gate: Option<Arc<gate::Gate>>,
    pub rooms: rooms::RoomWorld,
    pub spans: Spans,
}

/// One shard on its own thread. Borrows of its cells are short and never cross an await.
pub struct Local {
    pub shard: u32,
    core: RefCell<ShardCore>,
    waiters: RefCell<waiters::Waiters>,
    sockets: RefCell<socket::Table>,
    /// One for all sockets: no connection holds a buffer while it is idle.
    read_buffer: RefCell<Box<[u8]>>,
    write_buffer: RefCell<Vec<u8>>,
    entropy: RefCell<entropy::Entropy>,
    metrics: RefCell<metrics::ShardMetrics>,
    clock: clock::Clock,
    mailbox: Arc<Mailbox>,
    world: World,
    turn: Cell<bool>,
    /// A socket ended while this turn was being finished: what that left wants another one.
    unfinished: Cell<bool>,
    turn_waker: RefCell<Option<Waker>>,
    stopped: Cell<bool>,
    /// Something came since the last turn.
    active: Cell<bool>,
    /// The trace of the Connect that is carried out: the dial that it causes at once belongs to it.
    cause: RefCell<Option<Arc<str>>>,
    /// Spare vectors for effects: inputs come too often to allocate one each.
    spare: RefCell<Vec<Effects>>,
}

impl Local {
    pub fn start(shard: u32, setup: Setup, mailbox: Arc<Mailbox>, world: World) -> Rc<Self> {
        let clock = clock::Clock::default();
        let core = ShardCore::new(clock.now(), setup);
        Rc::new(Local {
            shard,
            core: RefCell::new(core),
            waiters: RefCell::default(),
            sockets: RefCell::default(),
            read_buffer: RefCell::new(vec![0; limits::READ_BUFFER_BYTES].into_boxed_slice()),
            write_buffer: RefCell::new(Vec::with_capacity(limits::WRITE_BUFFER_BYTES)),
            entropy: RefCell::default(),
            metrics: RefCell::default(),
            clock,
            mailbox,
            world,
            turn: Cell::new(false),
            unfinished: Cell::new(false),
            turn_waker: RefCell::default(),
            stopped: Cell::new(false),
            active: Cell::new(false),
            cause: RefCell::default(),
            spare: RefCell::default(),
        })
    }

    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// A command of an edge on this very thread: straight into the core.
    fn submit(self: &Rc<Self>, context: Context, command: Command) -> Ticket {
        let ticket = self.waiters.borrow_mut().task();
        self.enter(ticket, &context, command);
        ticket
    }

    fn enter(self: &Rc<Self>, ticket: Ticket, context: &Context, command: Command) {
        let now = self.now();
        // Only its dial looks for it: everything else need not pay for that.
        let causes = matches!(command, Command::Connect(_)) && context.trace.is_some();
        let causes = causes && self.world.spans.is_on();
        if causes {
            self.cause.borrow_mut().clone_from(&context.trace);
        }
        let handle = self.step(|core, fx| core.command(now, ticket, context, command, fx));
        if causes {
            *self.cause.borrow_mut() = None;
        }
        if let Some(handle) = handle {
            self.waiters.borrow_mut().keep_handle(ticket, handle);
        }
    }

    fn abandon(self: &Rc<Self>, ticket: Ticket) {
        let handle = self.waiters.borrow_mut().abandon(ticket);
        if let Some(handle) = handle {
            self.take_back(ticket, handle);
        }
    }

    fn take_back(self: &Rc<Self>, ticket: Ticket, handle: Handle) {
        let now = self.now();
        self.step(|core, fx| core.cancel(now, ticket, handle, fx));
    }

    /// One input to the core, its effects carried out, and a turn asked for.
    fn step<R>(self: &Rc<Self>, input: impl FnOnce(&mut ShardCore, &mut Effects) -> R) -> R {
        let mut fx = self.spare.borrow_mut().pop().unwrap_or_default();
        let result = input(&mut self.core.borrow_mut(), &mut fx);
        self.apply(&mut fx);
        fx.clear();
        self.spare.borrow_mut().push(fx);
        self.active.set(true);
        self.ask_turn();
        result
    }

    /// Whether sockets may be written now. When not, everything that was dialled is dropped at once:
    /// it may have another owner already.
    fn may_write(self: &Rc<Self>) -> bool {
        let open = self.world.gate.as_ref().is_none_or(|gate| gate.is_open());
        if !open && !self.core.borrow().is_fenced() {
            let now = self.now();
            self.unfinished.set(true);
            self.step(|core, fx| core.fence(now, fx));
        }
        open
    }

    /// The end of this turn of the loop: runs after the tasks that are ready now.
    fn ask_turn(&self) {
        if !self.turn.replace(true)
            && let Some(waker) = &*self.turn_waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    pub fn core(&self) -> std::cell::Ref<'_, ShardCore> {
        self.core.borrow()
    }

    pub fn metrics(&self) -> std::cell::Ref<'_, metrics::ShardMetrics> {
        self.metrics.borrow()
    }

    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    pub fn waiting(&self) -> usize {
        self.waiters.borrow().len()
    }
}

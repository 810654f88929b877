//! The other door to a shard. A bounded queue that any thread may fill; the shard drains it in
//! batches, and one wake serves a batch. On the shard's own thread a command goes straight in.

pub use super::io::Io;
use super::{
    Local,
    io::Moving,
    letter::Letter,
    waiters::{Reply, Waiters, gone, gone_in_doubt},
};
use crate::core::{
    id::{ConnectionId, Place, Ticket, instance_code},
    io::{Command, Context, Outcome, SocketKey, StoreTicket},
    names::RoomName,
    publish::batch::{BatchId, PublishError},
    reason::Fault,
    rooms::{Between, Kept, Position},
    shard::next_random,
    time::Time,
};
use crossbeam::queue::{ArrayQueue, SegQueue};
use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{self, Poll, Waker},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// What can lie in a shard's mailbox.
pub enum Mail {
    Command {
        context: Context,
        command: Command,
        reply: Reply,
    },
    /// Answers of backends. Each was asked for by this shard, so their number is bounded by what
    /// the core has under way, and they are never refused.
    Backend(BackendMail),
    /// An answer of another shard to a caller on this one.
    Answered(oneshot::Sender<Outcome>, Outcome),
    /// A socket that an edge accepted, for the connection that waits for it.
    Attach {
        socket: SocketKey,
        io: Moving,
        ahead: Vec<u8>,
    },
    /// What another shard's core says to this one's.
    Told(Box<Between>),
    /// What numbers rooms outside answers.
    RoomSubscribed(RoomName, Result<Position, String>),
    RoomSince(u64, Result<Kept, String>),
    RoomResumed(RoomName, Position),
    /// Runs on the shard's thread: snapshots for metrics.
    Inspect(Box<dyn FnOnce(&Local) + Send>),
}

pub enum BackendMail {
    /// With when it was asked for, like `Published`.
    Stored(StoreTicket, Time, Option<String>),
    Published(BatchId, Time, Result<(), PublishError>),
    Spilled(BatchId, Result<bool, ()>),
    Peeked(Result<Option<Vec<u8>>, ()>),
    Popped(Result<(), ()>),
}

pub struct Mailbox {
    commands: ArrayQueue<Letter>,
    answers: SegQueue<Letter>,
    /// True while the shard looks for mail by itself: then nobody need wake it.
    awake: AtomicBool,
    waker: parking_lot::Mutex<Option<Waker>>,
    /// Connections, for placing new ones; written by the shard only.
    pub(super) load: AtomicUsize,
    pub(super) refused: AtomicU64,
    /// Callers on other threads that went away before their answer: the shard looks for them.
    pub(super) desertions: AtomicUsize,
    /// Messages of connections that whatever carries rooms did not take.
    pub(super) feeds_refused: Arc<AtomicU64>,
    /// Set when the shard's thread ends.
    pub(super) closed: AtomicBool,
}

impl Mailbox {
    pub fn new(commands_max: usize) -> Arc<Self> {
        Arc::new(Mailbox {
            commands: ArrayQueue::new(commands_max),
            answers: SegQueue::new(),
            awake: AtomicBool::new(false),
            waker: parking_lot::Mutex::new(None),
            load: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            desertions: AtomicUsize::new(0),
            feeds_refused: Arc::default(),
            closed: AtomicBool::new(false),
        })
    }

    pub fn post(&self, mail: Mail) -> Result<(), Fault> {
        if self.closed.load(Ordering::Acquire) {
            return Err(gone());
        }
        if self.commands.push(Letter::new(mail)).is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Fault::full("the shard's mailbox is full", Duration::from_millis(50)));
        }
        self.wake();
        Ok(())
    }

    pub fn answer(&self, mail: BackendMail) {
        self.answers.push(Letter::new(Mail::Backend(mail)));
        self.wake();
    }

    /// The caller is a task of this mailbox's shard, which wakes it at no cost. Waking it from
    /// the answering thread takes a system call for each answer; a mailbox is woken once a batch.
    pub(super) fn deliver(&self, reply: oneshot::Sender<Outcome>, outcome: Outcome) {
        self.answers.push(Letter::new(Mail::Answered(reply, outcome)));
        self.wake();
        if self.closed.load(Ordering::SeqCst) {
            self.deliver_rest();
        }
    }

    /// The shard looks no more: what lies here would lie for ever.
    pub(super) fn deliver_rest(&self) {
        while let Some(letter) = self.answers.pop() {
            if let Mail::Answered(reply, outcome) = letter.mail {
                // A caller that went away has nothing to hear.
                drop(reply.send(outcome));
            }
        }
    }

    /// Never refused for a full mailbox: an overloaded shard is the one to look at. Those who look
    /// wait for their answer before they look again.
    fn look(&self, look: Box<dyn FnOnce(&Local) + Send>) -> Result<(), Fault> {
        if self.closed.load(Ordering::Acquire) {
            return Err(gone());
        }
        self.answers.push(Letter::new(Mail::Inspect(look)));
        self.wake();
        Ok(())
    }

    /// Words between cores are bounded by what the cores take in, and never refused.
    pub(super) fn push(&self, mail: Mail) {
        self.answers.push(Letter::new(mail));
        self.wake();
    }

    fn wake(&self) {
        if !self.awake.swap(true, Ordering::AcqRel)
            && let Some(waker) = &*self.waker.lock()
        {
            waker.wake_by_ref();
        }
    }

    /// Who is to be woken from now on; before the first `sleep`.
    pub(super) fn woken_by(&self, waker: &Waker) {
        *self.waker.lock() = Some(waker.clone());
    }

    /// The shard will look no more until it is woken. False: there is mail after all.
    pub(super) fn sleep(&self) -> bool {
        self.awake.store(false, Ordering::SeqCst);
        if self.is_empty() {
            return true;
        }
        self.awake.store(true, Ordering::SeqCst);
        false
    }

    pub(super) fn take(&self) -> Option<Letter> {
        self.answers.pop().or_else(|| self.commands.pop())
    }

    pub fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.commands.is_empty()
    }

    pub fn len(&self) -> usize {
        self.answers.len() + self.commands.len()
    }

    /// Commands refused because it was full.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Messages for rooms that whatever carries them did not take.
    pub fn feeds_refused(&self) -> u64 {
        self.feeds_refused.load(Ordering::Relaxed)
    }
}

thread_local! {
    /// The shard that this thread runs, if it runs one. Only the edges reach for it: everything
    /// below them is handed its shard.
    static HERE: RefCell<Option<Rc<Local>>> = const { RefCell::new(None) };
}

pub(super) fn set_here(local: Option<Rc<Local>>) {
    HERE.with(|here| *here.borrow_mut() = local);
}

fn here(shard: u32) -> Option<Rc<Local>> {
    HERE.with(|here| here.borrow().as_ref().filter(|local| local.shard == shard).cloned())
}

/// The shard that this thread runs.
pub fn shard_here() -> Option<u32> {
    HERE.with(|here| here.borrow().as_ref().map(|local| local.shard))
}

/// The shard of this thread, for an edge that wants its clock.
pub fn now_here() -> Option<crate::core::time::Now> {
    HERE.with(|here| here.borrow().as_ref().map(|local| local.now()))
}

/// All shards of this instance, as an edge sees them.
#[derive(Clone)]
pub struct Hub {
    shards: Arc<[Arc<Mailbox>]>,
    entropy: Arc<AtomicU64>,
    code: Arc<str>,
}

impl Default for Hub {
    /// No shards at all.
    fn default() -> Self {
        Hub::new(Vec::new(), 0)
    }
}

impl Hub {
    pub fn new(shards: Vec<Arc<Mailbox>>, seed: u64) -> Self {
        let mut state = seed;
        let code = instance_code(&format!("{:016x}", next_random(&mut state)));
        Hub { shards: shards.into(), entropy: Arc::new(AtomicU64::new(seed)), code: code.into() }
    }

    /// The short code of this run of the process, where no fleet gives it a name: drawn at random.
    pub fn code(&self) -> &Arc<str> {
        &self.code
    }

    pub fn shards(&self) -> u32 {
        self.shards.len() as u32
    }

    pub fn owner(&self, id: &ConnectionId) -> u32 {
        id.shard(self.shards())
    }

    /// An id for a new dialled connection, on the shard that has the fewest.
    pub fn mint(&self) -> ConnectionId {
        let mut least = 0;
        for (shard, mailbox) in self.shards.iter().enumerate() {
            if mailbox.load.load(Ordering::Relaxed) < self.shards[least].load.load(Ordering::Relaxed) {
                least = shard;
            }
        }
        // Scrambled once: neighbouring seeds would walk the same stream, one step apart.
        let mut seed = self.entropy.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mut state = next_random(&mut seed);
        ConnectionId::mint(least as u32, self.shards(), || next_random(&mut state))
    }

    /// An id for a connection that this thread's shard accepts (or the first shard, elsewhere).
    pub fn mint_accepted(&self, code: &str) -> ConnectionId {
        let shard = shard_here().unwrap_or(0);
        let mut seed = self.entropy.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mut state = next_random(&mut seed);
        ConnectionId::mint_accepted(code, shard, self.shards(), || next_random(&mut state))
    }

    /// Hands an accepted socket, and what was read behind its handshake, to the shard that admitted it.
    pub fn attach(&self, shard: u32, socket: SocketKey, io: Io, ahead: Vec<u8>) {
        if let Some(local) = here(shard) {
            return local.attach(socket, io, ahead);
        }
        let Some(mailbox) = self.shards.get(shard as usize) else { return };
        match io.leave() {
            Ok(_) if mailbox.closed.load(Ordering::Acquire) => {}
            Ok(io) => mailbox.push(Mail::Attach { socket, io, ahead }),
            // The connection that waits for it is dropped by its deadline.
            Err(error) => tracing::debug!(%error, "an accepted socket could not be handed over"),
        }
    }

    /// Hands a command to a shard, whose answer nobody waits for. Refused when its mailbox is full.
    pub fn post(&self, shard: u32, command: Command) -> Result<(), Fault> {
        let mail = Mail::Command { context: Context::default(), command, reply: Reply::Nobody };
        self.shards.get(shard as usize).ok_or_else(gone)?.post(mail)
    }

    /// What numbers a room outside was away, and is at this number now. Never refused: there is one
    /// for each room that is heard.
    pub fn resumed(&self, room: RoomName, head: Position) {
        self.tell(room.home(self.shards()), Mail::RoomResumed(room, head));
    }

    /// A word of one core to another's.
    pub(super) fn tell(&self, shard: u32, word: Mail) {
        if let Some(mailbox) = self.shards.get(shard as usize) {
            mailbox.push(word);
        }
    }

    /// Hands a command to a shard. Dropping the call before it is answered takes the command back.
    pub fn call(&self, shard: u32, context: Context, command: Command) -> Call {
        if let Some(local) = here(shard) {
            let writes = command.may_write();
            let ticket = local.submit(context, command);
            return Call(State::Local { shard, ticket, writes });
        }
        let (reply, answer) = oneshot::channel();
        let Some(mailbox) = self.shards.get(shard as usize) else {
            return Call(State::Refused(Some(gone())));
        };
        let writes = command.may_write();
        let home = HERE.with(|here| here.borrow().as_ref().map(|local| local.mailbox.clone()));
        match mailbox.post(Mail::Command { context, command, reply: Reply::Once(reply, home) }) {
            Ok(()) => Call(State::Remote { answer, mailbox: mailbox.clone(), writes }),
            Err(fault) => Call(State::Refused(Some(fault))),
        }
    }

    /// As `call`, but ahead of what waits and never refused for a full mailbox: for the few commands
    /// by which the fleet tells a shard what it owns.
    pub fn order(&self, shard: u32, command: Command) -> Call {
        let (reply, answer) = oneshot::channel();
        let Some(mailbox) = self.shards.get(shard as usize) else {
            return Call(State::Refused(Some(gone())));
        };
        if mailbox.closed.load(Ordering::Acquire) {
            return Call(State::Refused(Some(gone())));
        }
        let reply = Reply::Once(reply, None);
        mailbox.answers.push(Letter::new(Mail::Command { context: Context::default(), command, reply }));
        mailbox.wake();
        Call(State::Remote { answer, mailbox: mailbox.clone(), writes: false })
    }

    /// Many commands whose answers come back in any order, each with the number it was given.
    pub fn calls(&self, in_flight_max: usize) -> Calls {
        let (replies, answers) = mpsc::channel(in_flight_max.max(1));
        let sink =
            HERE.with(|here| here.borrow().as_ref().map(|local| (local.shard, local.waiters().open_sink())));
        Calls { hub: self.clone(), sink, replies, answers, in_flight: 0, in_flight_max }
    }

    pub fn inspect(&self, shard: u32, look: Box<dyn FnOnce(&Local) + Send>) -> Result<(), Fault> {
        self.shards[shard as usize].look(look)
    }

    pub fn mailbox(&self, shard: u32) -> &Arc<Mailbox> {
        &self.shards[shard as usize]
    }
}

/// A command under way.
pub struct Call(State);

enum State {
    Local {
        shard: u32,
        ticket: Ticket,
        writes: bool,
    },
    Remote {
        answer: oneshot::Receiver<Outcome>,
        mailbox: Arc<Mailbox>,
        /// A frame of it may be on its way.
        writes: bool,
    },
    Refused(Option<Fault>),
    Done,
}

impl Future for Call {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Outcome> {
        let outcome = match &mut self.0 {
            State::Local { shard, ticket, writes } => match here(*shard) {
                Some(local) => task::ready!(local.waiters().poll(*ticket, cx)),
                None if *writes => Err(gone_in_doubt()),
                None => Err(gone()),
            },
            State::Remote { answer, writes, .. } => {
                let lost = if *writes { gone_in_doubt } else { gone };
                task::ready!(Pin::new(answer).poll(cx)).unwrap_or_else(|_| Err(lost()))
            }
            State::Refused(fault) => Err(fault.take().unwrap_or_else(gone)),
            State::Done => Err(gone()),
        };
        self.0 = State::Done;
        Poll::Ready(outcome)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.0, State::Done) {
            State::Local { shard, ticket, .. } => {
                if let Some(local) = here(shard) {
                    local.abandon(ticket);
                }
            }
            State::Remote { mut answer, mailbox, .. } => {
                answer.close();
                mailbox.desertions.fetch_add(1, Ordering::Relaxed);
                mailbox.wake();
            }
            State::Refused(_) | State::Done => {}
        }
    }
}

/// Commands under way for one stream. Dropping it takes back what is not answered.
pub struct Calls {
    hub: Hub,
    /// On a shard's thread: where its own shard leaves answers.
    sink: Option<(u32, Place)>,
    replies: mpsc::Sender<(u64, Outcome)>,
    answers: mpsc::Receiver<(u64, Outcome)>,
    in_flight: usize,
    in_flight_max: usize,
}

impl Calls {
    pub fn has_room(&self) -> bool {
        self.in_flight < self.in_flight_max
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Refused at once when the shard's mailbox is full.
    pub fn start(
        &mut self,
        shard: u32,
        context: Context,
        command: Command,
        number: u64,
    ) -> Result<(), Fault> {
        match self.sink {
            Some((own, sink)) if own == shard => {
                let local = here(shard).ok_or_else(gone)?;
                let ticket = local.waiters().for_sink(sink, number);
                local.enter(ticket, &context, command);
            }
            _ => {
                let reply = Reply::Stream(self.replies.clone(), number);
                self.hub.shards[shard as usize].post(Mail::Command { context, command, reply })?;
            }
        }
        self.in_flight += 1;
        Ok(())
    }

    pub fn poll_answer(&mut self, cx: &mut task::Context<'_>) -> Poll<(u64, Outcome)> {
        if let Some((shard, sink)) = self.sink
            && let Some(local) = here(shard)
            && let Poll::Ready(answer) = local.waiters().poll_sink(sink, cx)
        {
            self.in_flight -= 1;
            return Poll::Ready(answer);
        }
        match self.answers.poll_recv(cx) {
            Poll::Ready(Some(answer)) => {
                self.in_flight -= 1;
                Poll::Ready(answer)
            }
            _ => Poll::Pending,
        }
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        if let Some((shard, sink)) = self.sink
            && let Some(local) = here(shard)
        {
            let left = local.waiters().close_sink(sink);
            for ticket in left {
                local.abandon(ticket);
            }
        }
        if self.in_flight > 0 {
            self.answers.close();
            for mailbox in self.hub.shards.iter() {
                mailbox.desertions.fetch_add(1, Ordering::Relaxed);
                mailbox.wake();
            }
        }
    }
}

impl Local {
    fn waiters(&self) -> std::cell::RefMut<'_, Waiters> {
        self.waiters.borrow_mut()
    }
}

//! The other door to a shard. A bounded queue that any thread may fill; the shard drains it in
//! batches, and one wake serves a batch. On the shard's own thread a command goes straight in.

mod call;
mod here;
mod hub;

pub use super::io::Io;
pub use call::{Call, Calls};
pub(super) use here::set_here;
pub use here::{now_here, shard_here};
pub use hub::Hub;

use super::{
    Local,
    io::Moving,
    letter::Letter,
    waiters::{Reply, gone},
};
use crate::core::{
    io::{Command, Context, Outcome, SocketKey, StoreTicket},
    names::RoomName,
    publish::batch::{BatchId, PublishError},
    reason::{Certainty, Fault},
    rooms::{Between, Kept, Position},
    time::Time,
};
use crossbeam::queue::{ArrayQueue, SegQueue};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
    time::Duration,
};
use tokio::sync::oneshot;

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
        self.posted();
        Ok(())
    }

    pub fn answer(&self, mail: BackendMail) {
        self.push(Mail::Backend(mail));
    }

    /// The caller is a task of this mailbox's shard, which wakes it at no cost. Waking it from
    /// the answering thread takes a system call for each answer; a mailbox is woken once a batch.
    pub(super) fn deliver(&self, reply: oneshot::Sender<Outcome>, outcome: Outcome) {
        self.push(Mail::Answered(reply, outcome));
    }

    /// The shard looks no more, or never will: whoever waits for it is answered, now and from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.empty();
    }

    /// The shard may have looked for the last time just before.
    fn posted(&self) {
        self.wake();
        if self.closed.load(Ordering::SeqCst) {
            self.empty();
        }
    }

    /// What lies here would lie for ever.
    fn empty(&self) {
        while let Some(letter) = self.take() {
            match letter.mail {
                // A caller that went away has nothing to hear.
                Mail::Answered(reply, outcome) => drop(reply.send(outcome)),
                // Nobody has begun with it.
                Mail::Command { reply, .. } => reply.send(Err(gone().with_certainty(Certainty::NotSent))),
                _ => {}
            }
        }
    }

    /// Never refused for a full mailbox: an overloaded shard is the one to look at. Those who look
    /// wait for their answer before they look again.
    fn look(&self, look: Box<dyn FnOnce(&Local) + Send>) -> Result<(), Fault> {
        if self.closed.load(Ordering::Acquire) {
            return Err(gone());
        }
        self.push(Mail::Inspect(look));
        Ok(())
    }

    /// Words between cores are bounded by what the cores take in, and never refused.
    pub(super) fn push(&self, mail: Mail) {
        self.answers.push(Letter::new(mail));
        self.posted();
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

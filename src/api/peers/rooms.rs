//! Rooms over the members' own channels: each room is numbered by the instance that is first for it,
//! which sends its messages to those that asked. One thread carries; numbers are given on the thread
//! of whoever posts.

mod carry;
mod flow;
mod numbering;
mod post;
mod serve;
mod subs;
mod upstream;
mod wire;

pub use numbering::{Clock, MayNumber};
pub use serve::Telling;

use super::{Fleet, fault::not_sent, link::Links};
use crate::{
    core::{
        names::RoomName,
        reason::Fault,
        rooms::{Kept, Place, Position, Post, Rules},
    },
    limits,
    ports::{BackendError, Done, Pending, RoomBus, RoomListener},
};
use numbering::Numbering;
use parking_lot::Mutex;
use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};
use subs::Subs;
use tokio::{
    runtime::Builder,
    sync::{Notify, mpsc, oneshot},
};

/// What rooms between instances are made of.
pub struct RoomsConfig {
    /// Without `rooms`: the members as this thread calls them.
    pub fleet: Fleet,
    /// The lasting name of this instance, for rooms that it numbers alone.
    pub instance: Arc<str>,
    pub rules: Arc<Rules>,
    /// All histories that this instance keeps as a sequencer.
    pub history_bytes_max: usize,
    pub clock: Clock,
    /// Whether the lease is valid now; asked before each number, from any thread.
    pub may_number: MayNumber,
    /// Hears what is carried; called from the rooms' own thread only.
    pub listener: Arc<dyn RoomListener>,
}

/// What the carrying thread is asked.
enum Job {
    /// For rooms that others number, or several do.
    Publish(Arc<[RoomName]>, Post, Done<Result<Vec<Place>, Fault>>),
    /// Numbered already.
    Answer(Done<Result<Vec<Place>, Fault>>, Result<Vec<Place>, Fault>),
    Since(RoomName, Option<Position>, usize, Done<Result<Kept, BackendError>>),
    Leave(oneshot::Sender<()>),
    /// What another instance handed over goes on to the next.
    CarryOn(Vec<crate::core::rooms::sequencer::Move>),
    Stop,
}

struct Shared {
    instance: Arc<str>,
    fleet: Arc<Fleet>,
    links: Links,
    numbering: Numbering,
    subs: Mutex<Subs>,
    /// There is something to do about subscriptions.
    wake: Notify,
    listener: Arc<dyn RoomListener>,
    jobs: mpsc::Sender<Job>,
}

/// Serves members what they ask about rooms; each thread that serves has one.
#[derive(Clone)]
pub struct RoomsEdge(Arc<Shared>);

/// The rooms of a fleet, as one instance has them.
pub struct PeerRooms {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl PeerRooms {
    pub fn start(config: RoomsConfig) -> io::Result<Self> {
        let RoomsConfig { fleet, instance, rules, history_bytes_max, clock, may_number, listener } = config;
        let fleet = Arc::new(Fleet { rooms: None, ..fleet });
        let me = fleet.directory.me();
        let numbering = Numbering::new(me, instance.clone(), rules, history_bytes_max, clock, may_number);
        let (jobs, coming) = mpsc::channel(limits::ROOM_JOBS_MAX);
        let shared = Arc::new(Shared {
            instance,
            links: Links::new(fleet.clone()),
            fleet,
            numbering,
            subs: Mutex::default(),
            wake: Notify::new(),
            listener,
            jobs,
        });
        let carrier = shared.clone();
        let thread =
            thread::Builder::new().name("rooms".into()).spawn(move || match Builder::new_current_thread()
                .enable_all()
                .build()
            {
                Ok(runtime) => runtime.block_on(carry::run(carrier, coming)),
                Err(error) => tracing::error!(%error, "the thread of rooms cannot run"),
            })?;
        Ok(PeerRooms { shared, thread: Mutex::new(Some(thread)) })
    }

    /// For `Fleet::rooms` of those that serve members.
    pub fn edge(&self) -> RoomsEdge {
        RoomsEdge(self.shared.clone())
    }

    /// In order: what this instance numbers is handed to the next sequencers, with its histories.
    /// Posting goes on, through them. Answered when that is done, or took too long.
    pub fn leave(&self) -> Pending<()> {
        let jobs = self.shared.jobs.clone();
        Box::pin(async move {
            let (done, left) = oneshot::channel();
            if jobs.send(Job::Leave(done)).await.is_ok() {
                // The thread stopped: there is nothing to hand over.
                let _ = left.await;
            }
        })
    }

    /// Subscribers that were dropped because they were too slow, since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.numbering.dropped()
    }

    /// Ends the thread; what waits is dropped.
    pub fn stop(&self) {
        let thread = self.thread.lock().take();
        let Some(thread) = thread else { return };
        // A thread that has as much to do as it can looks at its end as well.
        let _ = self.shared.jobs.try_send(Job::Stop);
        self.shared.subs.lock().stop();
        self.shared.wake.notify_one();
        if thread.join().is_err() {
            tracing::error!("the thread of rooms panicked");
        }
    }
}

impl Drop for PeerRooms {
    fn drop(&mut self) {
        self.stop();
    }
}

impl RoomBus for PeerRooms {
    fn publish(&self, rooms: Arc<[RoomName]>, post: Post, done: Done<Result<Vec<Place>, Fault>>) {
        let shared = &self.shared;
        let Ok(place) = shared.jobs.try_reserve() else {
            return done.complete(Err(Fault::full("too many messages to rooms wait", limits::ROOM_RETRY)));
        };
        if post.payload.len() > limits::REQUEST_BYTES_MAX {
            let most = limits::REQUEST_BYTES_MAX;
            let fault = Fault::invalid("data", format!("a message to a room has at most {most} bytes"));
            return place.send(Job::Answer(done, Err(fault)));
        }
        let rooms = post::in_order(&rooms);
        if shared.numbering.sequencers(&rooms).iter().any(Option::is_some) {
            return place.send(Job::Publish(rooms, post, done));
        }
        // On this thread: what one thread posts keeps its order.
        let answer = shared.numbering.post(&rooms, post);
        place.send(Job::Answer(done, answer));
    }

    fn subscribe(&self, room: &RoomName, done: Done<Result<Position, BackendError>>) {
        let until = self.shared.numbering.now().mono + limits::ROOM_CALL_DEADLINE;
        let alone = self.shared.numbering.is_alone(room);
        let refused = self.shared.subs.lock().subscribe(room, alone, until, done);
        match refused {
            None => self.shared.wake.notify_one(),
            Some(done) => done.complete(Err(failed("the rooms' thread has ended".to_owned()))),
        }
    }

    fn unsubscribe(&self, room: &RoomName) {
        self.shared.subs.lock().unsubscribe(room);
        self.shared.wake.notify_one();
    }

    fn since(
        &self,
        room: &RoomName,
        after: Option<Position>,
        limit: usize,
        done: Done<Result<Kept, BackendError>>,
    ) {
        match self.shared.jobs.try_reserve() {
            Ok(place) => place.send(Job::Since(room.clone(), after, limit, done)),
            Err(_) => done.complete(Err(failed("too many questions about rooms wait".to_owned()))),
        }
    }
}

impl Shared {
    fn carry_on(&self, onward: Vec<crate::core::rooms::sequencer::Move>) {
        if !onward.is_empty() && self.jobs.try_send(Job::CarryOn(onward)).is_err() {
            tracing::warn!("rooms that were handed over while leaving begin anew elsewhere");
        }
    }
}

fn failed(message: String) -> BackendError {
    BackendError { message, transient: true }
}

/// No member of this name lives by now.
fn gone(incarnation: &str) -> Fault {
    let fault = not_sent(format!("instance '{incarnation}', which numbers the room, has left the fleet"));
    Fault { retry_after: Some(limits::ROOM_RETRY), ..fault }
}

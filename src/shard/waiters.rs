//! Callers that wait at this shard, whether on its own thread or on another.

use super::mailbox::Mailbox;
use crate::core::{
    id::{Place, Ticket},
    io::Outcome,
    reason::{Certainty, Fault, FaultKind},
    shard::Handle,
    slab::Slab,
};
use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, Waker},
};
use tokio::sync::{mpsc, oneshot};

/// How an answer finds its caller.
pub enum Reply {
    /// One caller on another thread; by way of its own shard's mailbox when it has one.
    Once(oneshot::Sender<Outcome>, Option<Arc<Mailbox>>),
    /// One of many answers to a stream on another thread, with the stream's own number for it.
    Stream(mpsc::Sender<(u64, Outcome)>, u64),
    /// Nobody wants the answer.
    Nobody,
}

impl Reply {
    pub fn is_closed(&self) -> bool {
        match self {
            Reply::Once(reply, _) => reply.is_closed(),
            Reply::Stream(reply, _) => reply.is_closed(),
            Reply::Nobody => false,
        }
    }

    /// A caller that went away has taken its command back, or is about to.
    pub fn send(self, outcome: Outcome) {
        match self {
            Reply::Once(reply, Some(home)) => home.deliver(reply, outcome),
            Reply::Once(reply, None) => drop(reply.send(outcome)),
            // There is room: a stream keeps no more commands under way than its channel holds.
            Reply::Stream(reply, number) => drop(reply.try_send((number, outcome))),
            Reply::Nobody => {}
        }
    }
}

struct Waiter {
    caller: Caller,
    /// How to take the command back while it is not answered.
    handle: Option<Handle>,
}

enum Caller {
    /// A task on this thread: the answer is left here and the task is woken. No channel.
    Task(Option<Waker>),
    Answered(Outcome),
    /// A stream on this thread, and its number for this command.
    Sink(Place, u64),
    Remote(Reply),
}

/// Answers for one stream on this thread.
#[derive(Default)]
struct Sink {
    ready: VecDeque<(u64, Outcome)>,
    waker: Option<Waker>,
}

#[derive(Default)]
pub struct Waiters {
    slots: Slab<Waiter>,
    sinks: Slab<Sink>,
}

impl Waiters {
    pub fn task(&mut self) -> Ticket {
        self.insert(Caller::Task(None))
    }

    pub fn remote(&mut self, reply: Reply) -> Ticket {
        self.insert(Caller::Remote(reply))
    }

    pub fn open_sink(&mut self) -> Place {
        self.sinks.insert(Sink::default())
    }

    pub fn for_sink(&mut self, sink: Place, number: u64) -> Ticket {
        self.insert(Caller::Sink(sink, number))
    }

    fn insert(&mut self, caller: Caller) -> Ticket {
        Ticket(self.slots.insert(Waiter { caller, handle: None }).pack())
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn keep_handle(&mut self, ticket: Ticket, handle: Handle) {
        if let Some(waiter) = self.slots.get_mut(Place::unpack(ticket.0))
            && !matches!(waiter.caller, Caller::Answered(_))
        {
            waiter.handle = Some(handle);
        }
    }

    pub fn answer(&mut self, ticket: Ticket, outcome: Outcome) {
        let place = Place::unpack(ticket.0);
        let Some(waiter) = self.slots.get_mut(place) else { return };
        if let Caller::Task(waker) = &mut waiter.caller {
            let waker = waker.take();
            waiter.caller = Caller::Answered(outcome);
            waiter.handle = None;
            if let Some(waker) = waker {
                waker.wake();
            }
            return;
        }
        match self.slots.remove(place).map(|waiter| waiter.caller) {
            Some(Caller::Remote(reply)) => reply.send(outcome),
            Some(Caller::Sink(sink, number)) => {
                if let Some(sink) = self.sinks.get_mut(sink) {
                    sink.ready.push_back((number, outcome));
                    if let Some(waker) = sink.waker.take() {
                        waker.wake();
                    }
                }
            }
            _ => {}
        }
    }

    pub fn poll(&mut self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<Outcome> {
        let place = Place::unpack(ticket.0);
        match self.slots.get_mut(place).map(|waiter| &mut waiter.caller) {
            Some(Caller::Task(waker)) => {
                keep_waker(waker, cx);
                Poll::Pending
            }
            Some(Caller::Answered(_)) => match self.slots.remove(place).map(|waiter| waiter.caller) {
                Some(Caller::Answered(outcome)) => Poll::Ready(outcome),
                _ => Poll::Ready(Err(gone())),
            },
            _ => Poll::Ready(Err(gone())),
        }
    }

    pub fn poll_sink(&mut self, sink: Place, cx: &mut Context<'_>) -> Poll<(u64, Outcome)> {
        let Some(sink) = self.sinks.get_mut(sink) else { return Poll::Pending };
        if let Some(answer) = sink.ready.pop_front() {
            return Poll::Ready(answer);
        }
        keep_waker(&mut sink.waker, cx);
        Poll::Pending
    }

    /// The caller went away: what it leaves to be taken back.
    pub fn abandon(&mut self, ticket: Ticket) -> Option<Handle> {
        self.slots.remove(Place::unpack(ticket.0))?.handle
    }

    /// The stream went away: the commands that it leaves.
    pub fn close_sink(&mut self, sink: Place) -> Vec<Ticket> {
        self.sinks.remove(sink);
        self.tickets(|caller| matches!(caller, Caller::Sink(owner, _) if *owner == sink))
    }

    /// Callers on other threads that went away without a word: looked for only after one did.
    pub fn deserted(&self) -> Vec<Ticket> {
        self.tickets(|caller| matches!(caller, Caller::Remote(reply) if reply.is_closed()))
    }

    fn tickets(&self, wanted: impl Fn(&Caller) -> bool) -> Vec<Ticket> {
        let slots = self.slots.iter().filter(|(_, waiter)| wanted(&waiter.caller));
        slots.map(|(place, _)| Ticket(place.pack())).collect()
    }
}

fn keep_waker(kept: &mut Option<Waker>, cx: &Context<'_>) {
    if !kept.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
        *kept = Some(cx.waker().clone());
    }
}

pub fn gone() -> Fault {
    Fault::new(FaultKind::Unavailable, "the shard has stopped")
}

/// The same for a command that the shard may have carried out in part: its frame may be written.
pub fn gone_in_doubt() -> Fault {
    let message = "the shard has stopped before it answered";
    Fault::new(FaultKind::MaybeSent, message).with_certainty(Certainty::MaybeSent)
}

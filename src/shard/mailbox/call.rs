//! Commands under way, whose callers may go away before the answer.

use super::{
    Mail, Mailbox,
    here::{at_home, here},
    hub::Hub,
};
use crate::{
    core::{
        id::{Place, Ticket},
        io::{Command, Context, Outcome},
        reason::Fault,
    },
    shard::{
        Local,
        waiters::{Reply, Waiters, gone, gone_in_doubt},
    },
};
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{self, Poll},
};
use tokio::sync::{mpsc, oneshot};

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

impl Call {
    pub(super) fn local(shard: u32, ticket: Ticket, writes: bool) -> Self {
        Call(State::Local { shard, ticket, writes })
    }

    pub(super) fn remote(answer: oneshot::Receiver<Outcome>, mailbox: &Arc<Mailbox>, writes: bool) -> Self {
        Call(State::Remote { answer, mailbox: mailbox.clone(), writes })
    }

    pub(super) fn refused(fault: Fault) -> Self {
        Call(State::Refused(Some(fault)))
    }
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
    pub(super) fn new(hub: Hub, in_flight_max: usize) -> Self {
        let (replies, answers) = mpsc::channel(in_flight_max.max(1));
        let sink = at_home(|local| (local.shard, local.waiters().open_sink()));
        Calls { hub, sink, replies, answers, in_flight: 0, in_flight_max }
    }

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
                self.hub.mailbox(shard).post(Mail::Command { context, command, reply })?;
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
            for mailbox in self.hub.mailboxes() {
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

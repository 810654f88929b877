//! The loop of a shard: mail, timers, the end of a turn, one write per socket.

use super::{
    Local, clock,
    mailbox::{self, BackendMail, Mail},
};
use crate::{
    core::{
        io::SocketKey,
        time::{Now, Time},
    },
    limits,
};
use std::{
    pin::Pin,
    rc::Rc,
    sync::atomic::Ordering,
    task::{Context, Poll},
};
use tokio::time::{Instant, Sleep};

/// Runs until `Local::stop`. Must be polled on the shard's own runtime.
pub async fn run(local: Rc<Local>) {
    mailbox::set_here(Some(local.clone()));
    let mut turn = Turn {
        local: local.clone(),
        sleep: Box::pin(tokio::time::sleep_until(Instant::now())),
        armed: None,
        armed_from: Time::ZERO,
        last_input: Time::ZERO,
    };
    std::future::poll_fn(|cx| turn.poll(cx)).await;
    local.mailbox.close();
    mailbox::set_here(None);
}

struct Turn {
    local: Rc<Local>,
    sleep: Pin<Box<Sleep>>,
    /// What `sleep` is set to.
    armed: Option<Time>,
    /// From when on the loop could have kept that: a deadline may have passed when it was set.
    armed_from: Time,
    last_input: Time,
}

impl Turn {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let local = self.local.clone();
        let moved = !local.turn_waker.borrow().as_ref().is_some_and(|known| known.will_wake(cx.waker()));
        if moved {
            *local.turn_waker.borrow_mut() = Some(cx.waker().clone());
            local.mailbox.woken_by(cx.waker());
        }
        let started = local.now();
        local.turn.set(true);
        let busy = local.drain_mail();
        let now = local.now();
        if local.active.take() {
            self.last_input = now.mono;
        }
        self.measure_lag(now.mono);
        local.expire(now);
        local.finish_turn(now);
        // What the turn itself stepped is no input.
        local.active.set(false);
        local.turn.set(false);
        let ended = local.now().mono;
        local.metrics.borrow_mut().turned(ended.since(started.mono));
        if local.stopped.get() {
            return Poll::Ready(());
        }
        self.arm(cx, ended);
        let unfinished = local.unfinished.take() || {
            let core = local.core.borrow();
            core.wants_turn() || core.rooms_want_turn()
        };
        let poll_on = now.mono.since(self.last_input) < local.world.busy_poll;
        if busy || unfinished || poll_on || !local.mailbox.sleep() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// How late this turn is for the deadline that it was to keep.
    fn measure_lag(&mut self, now: Time) {
        if self.armed.is_some_and(|armed| armed <= now) {
            self.armed = None;
            self.local.metrics.borrow_mut().lag.record(now.since(self.armed_from));
        }
    }

    /// Sets the timer to the core's next deadline; a later one than before is left to fire in vain.
    fn arm(&mut self, cx: &mut Context<'_>, now: Time) {
        let Some(next) = self.local.core.borrow().poll_timeout() else {
            self.armed = None;
            return;
        };
        let fired = self.sleep.is_elapsed();
        if !fired && self.armed.is_some_and(|armed| armed <= next) {
            return;
        }
        self.armed = Some(next);
        self.armed_from = next.max(now);
        self.sleep.as_mut().reset(Instant::from_std(clock::instant_of(next)));
        if self.sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }
}

impl Local {
    /// True when there may be more.
    fn drain_mail(self: &Rc<Self>) -> bool {
        for _ in 0..limits::MAILBOX_BATCH {
            match self.mailbox.take() {
                Some(letter) => {
                    if let Some(posted) = letter.posted {
                        let waited = self.now().mono.since(posted);
                        self.metrics.borrow_mut().mailbox_wait.record(waited);
                    }
                    self.open_mail(letter.mail);
                }
                None => {
                    self.bury_deserters();
                    return false;
                }
            }
        }
        true
    }

    fn open_mail(self: &Rc<Self>, mail: Mail) {
        match mail {
            Mail::Command { context, command, reply } => {
                if reply.is_closed() {
                    return;
                }
                let ticket = self.waiters.borrow_mut().remote(reply);
                self.enter(ticket, &context, command);
            }
            Mail::Backend(mail) => self.backend_answered(mail),
            // A caller that went away has taken its command back.
            Mail::Answered(reply, outcome) => drop(reply.send(outcome)),
            Mail::Attach { socket, io, ahead } => self.take_in(socket, io, ahead),
            Mail::Told(word) => {
                let now = self.now();
                self.step(|core, fx| core.told(now, *word, fx));
            }
            Mail::RoomSubscribed(room, head) => {
                let now = self.now();
                self.step(|core, fx| core.room_subscribed(now, &room, head, fx));
            }
            Mail::RoomSince(ticket, kept) => {
                let now = self.now();
                self.step(|core, fx| core.room_since(now, ticket, kept, fx));
            }
            Mail::RoomResumed(room, head) => {
                let now = self.now();
                self.step(|core, fx| core.room_resumed(now, &room, head, fx));
            }
            Mail::Inspect(look) => look(self),
        }
    }

    fn backend_answered(self: &Rc<Self>, mail: BackendMail) {
        let now = self.now();
        match &mail {
            BackendMail::Stored(_, asked, _) => {
                self.metrics.borrow_mut().store.record(now.mono.since(*asked))
            }
            BackendMail::Published(_, asked, _) => {
                self.metrics.borrow_mut().publish.record(now.mono.since(*asked))
            }
            _ => {}
        }
        self.step(|core, fx| match mail {
            BackendMail::Stored(ticket, _, failed) => core.stored(now, ticket, failed, fx),
            BackendMail::Published(batch, _, result) => core.published(now, batch, result),
            BackendMail::Spilled(batch, result) => core.spilled(now, batch, result),
            BackendMail::Peeked(record) => core.peeked(
                now,
                match &record {
                    Ok(record) => Ok(record.as_deref()),
                    Err(()) => Err(()),
                },
            ),
            BackendMail::Popped(result) => core.popped(now, result),
        });
    }

    /// Callers on other threads that went away: their commands are taken back.
    fn bury_deserters(self: &Rc<Self>) {
        // Nearly always there are none, and reading is cheaper than an exchange.
        let desertions = &self.mailbox.desertions;
        if desertions.load(Ordering::Relaxed) == 0 || desertions.swap(0, Ordering::Relaxed) == 0 {
            return;
        }
        let deserted = self.waiters.borrow().deserted();
        for ticket in deserted {
            self.abandon(ticket);
        }
    }

    fn expire(self: &Rc<Self>, now: Now) {
        if self.core.borrow().poll_timeout().is_some_and(|next| next <= now.mono) {
            self.step(|core, fx| core.handle_timeout(now, fx));
        }
    }

    /// Followers and batches first: what they cause may still go out with this turn's writes.
    fn finish_turn(self: &Rc<Self>, now: Now) {
        // Before the batches: an instance without its lease hands nothing to the bus either.
        self.may_write();
        self.step(|core, fx| core.end_turn(now, fx));
        let mut dirty: Vec<SocketKey> = Vec::new();
        self.core.borrow_mut().take_dirty(&mut dirty);
        // Without the lease nothing that was dialled is left: these came to us.
        for key in dirty {
            self.flush(now, key);
        }
        self.flush_rooms(now);
        let connections = self.core.borrow().connections_len();
        self.mailbox.load.store(connections, Ordering::Relaxed);
    }

    /// Ends the loop after this turn.
    pub fn stop(&self) {
        self.stopped.set(true);
        self.ask_turn();
    }
}

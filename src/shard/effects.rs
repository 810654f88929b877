//! What the core asks for, done.

use super::{
    Local,
    attempt::{Attempt, Handed},
    mailbox::BackendMail,
    record,
    socket::{Socket, farewell},
};
use crate::{
    core::{
        io::{Effect, Effects, Opened, SocketKey},
        publish::batch::Batch,
        spec::Spec,
    },
    ports::BackendError,
    wire::ws::Role,
};
use std::{rc::Rc, sync::Arc, time::Instant};
use tokio::task::spawn_local;

impl Local {
    pub(super) fn apply(self: &Rc<Self>, fx: &mut Effects) {
        for effect in fx.drain(..) {
            self.perform(effect);
        }
    }

    fn perform(self: &Rc<Self>, effect: Effect) {
        match effect {
            Effect::Answer { ticket, outcome } => self.waiters.borrow_mut().answer(ticket, outcome),
            Effect::SendEnded { ticket, outcome, took } => {
                self.metrics.borrow_mut().send_ended(took, outcome.is_ok());
                self.waiters.borrow_mut().answer(ticket, outcome);
            }
            Effect::Dial { socket, spec } => self.start_dial(socket, spec),
            Effect::Finish { socket, last } => {
                let taken = self.sockets.borrow_mut().remove(socket);
                // One that came to us is ours, lease or not.
                let role = taken.as_ref().map_or(Role::Client, |socket| socket.role);
                let gate = self.world.gate.clone().filter(|_| role == Role::Client);
                if let Some(io) = taken.and_then(|socket| socket.take_io()) {
                    spawn_local(async move {
                        // Last words are writes too.
                        if gate.is_none_or(|gate| gate.is_open()) {
                            farewell(io, last, role).await;
                        }
                    });
                }
            }
            Effect::Abort(socket) => {
                let taken = self.sockets.borrow_mut().remove(socket);
                drop(taken.and_then(|socket| socket.take_io()));
            }
            Effect::PauseReads(socket) => self.pause(socket, true),
            Effect::ResumeReads(socket) => self.pause(socket, false),
            Effect::ReadOut(socket) => {
                if let Some(socket) = self.sockets.borrow().get(socket).cloned() {
                    socket.pause(false);
                    // The runtime knows what the kernel has only after its next look: before that,
                    // "nothing to read" says nothing. A task that yields goes on after that look.
                    spawn_local(async move {
                        tokio::task::yield_now().await;
                        tokio::task::yield_now().await;
                        socket.read_out();
                    });
                }
            }
            Effect::Persist { .. } | Effect::Forget { .. } => self.write_store(effect),
            Effect::Publish(batch) => self.publish(batch),
            Effect::Spill { .. } | Effect::PeekSpill | Effect::PopSpill => self.use_spill(effect),
            Effect::Room(effect) => self.perform_for_rooms(effect),
        }
    }

    fn pause(&self, socket: SocketKey, paused: bool) {
        if let Some(socket) = self.sockets.borrow().get(socket) {
            socket.pause(paused);
        }
    }

    fn start_dial(self: &Rc<Self>, key: SocketKey, spec: Arc<Spec>) {
        let local = self.clone();
        let mut attempt = Attempt::begin(self, key, &spec, self.cause.borrow().as_deref());
        let task = spawn_local(async move {
            if !local.may_write() {
                // The core has given this dial up.
                return;
            }
            let started = Instant::now();
            let dialled = local.world.dialler.dial(&spec).await;
            local.metrics.borrow_mut().dialled(started.elapsed(), dialled.is_ok());
            let now = local.now();
            match dialled {
                Ok(dialled) => {
                    let socket = Socket::dialled(key, dialled.io);
                    // The core may refuse it: then its entry is taken out again by the effect.
                    local.sockets.borrow_mut().live(socket.clone());
                    let opened = Opened { subprotocol: dialled.subprotocol };
                    let reconnected = local.step(|core, fx| {
                        let before = core.counters().reconnects;
                        core.opened(now, key, opened, fx);
                        core.counters().reconnects > before
                    });
                    attempt.opened(reconnected);
                    local.received_early(&socket, dialled.rest);
                    spawn_local(local.clone().serve_socket(socket));
                }
                Err(failed) => {
                    local.sockets.borrow_mut().remove(key);
                    attempt.failed(&failed.fault);
                    local.step(|core, fx| core.dial_failed(now, key, failed, fx));
                }
            }
        });
        self.sockets.borrow_mut().dialling(key, task.abort_handle());
    }

    fn write_store(self: &Rc<Self>, effect: Effect) {
        let (mailbox, asked) = (self.mailbox.clone(), self.now().mono);
        match effect {
            Effect::Persist { ticket, record } => {
                let done = move |result: Result<(), BackendError>| {
                    mailbox.answer(BackendMail::Stored(
                        ticket,
                        asked,
                        result.err().map(|error| error.message),
                    ));
                };
                match record::encode(&record, &self.world.instance, &*self.world.seal) {
                    Ok(document) => self.world.store.put(&record.id, document, Box::new(done)),
                    Err(error) => done(Err(error)),
                }
            }
            Effect::Forget { ticket, id } => {
                let done = move |result: Result<(), BackendError>| {
                    mailbox.answer(BackendMail::Stored(
                        ticket,
                        asked,
                        result.err().map(|error| error.message),
                    ));
                };
                self.world.store.delete(&id, Box::new(done));
            }
            _ => {}
        }
    }

    fn publish(self: &Rc<Self>, batch: Arc<Batch>) {
        let (mailbox, id, asked) = (self.mailbox.clone(), batch.id, self.now());
        let handed = Handed::begin(self, &batch, asked);
        let done = move |result| {
            if let Some(handed) = handed {
                handed.answered(&result);
            }
            mailbox.answer(BackendMail::Published(id, asked.mono, result));
        };
        self.world.bus.publish(batch, Box::new(done));
    }

    fn use_spill(self: &Rc<Self>, effect: Effect) {
        let mailbox = self.mailbox.clone();
        match effect {
            Effect::Spill { id, record } => {
                let done = move |result: Result<bool, BackendError>| {
                    mailbox.answer(BackendMail::Spilled(
                        id,
                        result.map_err(|error| {
                            tracing::error!(%error, "the spill log cannot be written");
                        }),
                    ));
                };
                self.world.spill.append(record, Box::new(done));
            }
            Effect::PeekSpill => {
                let done = move |result: Result<Option<Vec<u8>>, BackendError>| {
                    let record =
                        result.map_err(|error| tracing::error!(%error, "the spill log cannot be read"));
                    mailbox.answer(BackendMail::Peeked(record));
                };
                self.world.spill.peek(Box::new(done));
            }
            Effect::PopSpill => {
                let done = move |result: Result<(), BackendError>| {
                    let result =
                        result.map_err(|error| tracing::error!(%error, "the spill log cannot forget"));
                    mailbox.answer(BackendMail::Popped(result));
                };
                self.world.spill.pop(Box::new(done));
            }
            _ => {}
        }
    }
}

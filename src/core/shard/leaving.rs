//! A connection goes to another instance, which has dialled it already.
//!
//! In this order, so that it can be taken back until the last step: new Sends are refused and pending
//! ones end; reads stop; everything received is taken by the bus; and only then the end marker is
//! published. Who takes it back after that goes on in a new epoch, for nothing of the old one may
//! follow its marker. What was spilled would come too late: then the connection stays here.

use super::{Handle, ShardCore, StoreThen, Timer};
use crate::core::{
    connection::{Leaving, LeavingStep, Phase},
    id::{ConnKey, ConnectionId, Ticket},
    io::{Answer, Effect, Effects},
    outbox::Origin,
    publish::Settled,
    reason::{Certainty, CloseCause, Fault, FaultKind, GapCause},
    sequence::{Gap, Numbering},
    time::Now,
};
use crate::{limits, wire::event::LifecycleState};

impl ShardCore {
    /// Answered with `Answer::Retired`, or with why it stays.
    pub(super) fn retire(
        &mut self,
        now: Now,
        ticket: Ticket,
        id: &ConnectionId,
        fx: &mut Effects,
    ) -> Option<Handle> {
        let found = self.find(id).and_then(|key| match self.connections.get(key) {
            Some(connection) if connection.accepted.is_some() => {
                Err(Fault::new(FaultKind::NotOpen, "a connection that came to us stays where it is"))
            }
            Some(connection) if connection.leaving.is_some() => Err(moving_already()),
            Some(connection) if matches!(connection.phase, Phase::Open) => Ok(key),
            _ => Err(Fault::new(FaultKind::NotOpen, "only an open connection can be handed over")),
        });
        match found {
            Ok(key) => {
                let timer = self.timers.insert(now.mono + limits::RETIRE_SENDS, Timer::Leaving(key));
                if let Some(connection) = self.connections.get_mut(key) {
                    let step = LeavingStep::Finishing;
                    connection.leaving = Some(Box::new(Leaving { caller: Some(ticket), step, timer }));
                }
                self.leaving.push(key);
            }
            Err(fault) => self.answer(ticket, Err(fault), fx),
        }
        None
    }

    /// Once a turn: whoever can go a step further does.
    pub(super) fn advance_leaving(&mut self, now: Now, fx: &mut Effects) {
        for key in std::mem::take(&mut self.leaving) {
            loop {
                let before = self.step_of(key);
                self.advance(now, key, fx);
                if self.step_of(key) == before {
                    break;
                }
            }
            if self.step_of(key).is_some_and(|step| step != LeavingStep::Retired) {
                self.leaving.push(key);
            }
        }
    }

    fn step_of(&self, key: ConnKey) -> Option<LeavingStep> {
        self.connections.get(key)?.leaving.as_ref().map(|leaving| leaving.step)
    }

    fn advance(&mut self, now: Now, key: ConnKey, fx: &mut Effects) {
        let Some(connection) = self.connections.get(key) else { return };
        let (Some(leaving), lane) = (&connection.leaving, connection.lane) else { return };
        match leaving.step {
            LeavingStep::Finishing => {
                if connection.sends_in_flight() == 0 && connection.outbox.is_empty() {
                    self.silence(now, key, fx);
                }
            }
            LeavingStep::Draining(barrier) => match (self.publisher.holds(lane), barrier) {
                (true, _) => self.set_step(key, LeavingStep::Draining(None)),
                (false, None) => {
                    let barrier = self.publisher.barrier();
                    self.set_step(key, LeavingStep::Draining(Some(barrier)));
                }
                (false, Some(barrier)) => match self.publisher.settled(barrier) {
                    Settled::No => {}
                    Settled::Spilled => self.stay(now, key, "events of it were spilled", fx),
                    Settled::Yes => {
                        self.end_marker(now, key);
                        let barrier = self.publisher.barrier();
                        self.set_step(key, LeavingStep::Ending(barrier));
                    }
                },
            },
            LeavingStep::Ending(barrier) => match self.publisher.settled(barrier) {
                Settled::No => {}
                Settled::Spilled => self.stay(now, key, "its end marker was spilled", fx),
                Settled::Yes => self.retired(key, fx),
            },
            LeavingStep::Retired => {}
        }
    }

    /// Reads stop: what comes from now on comes to the new owner's socket too.
    fn silence(&mut self, now: Now, key: ConnKey, fx: &mut Effects) {
        let timer = self.timers.insert(now.mono + limits::RETIRE_PUBLISH, Timer::Leaving(key));
        self.stop_heart(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let socket = connection.socket(key);
        let Some(leaving) = &mut connection.leaving else { return };
        leaving.step = LeavingStep::Draining(None);
        self.timers.cancel(std::mem::replace(&mut leaving.timer, timer));
        fx.push(Effect::PauseReads(socket));
    }

    fn set_step(&mut self, key: ConnKey, step: LeavingStep) {
        if let Some(leaving) = self.connections.get_mut(key).and_then(|c| c.leaving.as_mut()) {
            leaving.step = step;
        }
    }

    fn retired(&mut self, key: ConnKey, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let record = Box::new(connection.record(true));
        let (epoch, last_seq) = (connection.numbering.epoch(), connection.numbering.last_seq());
        let Some(leaving) = &mut connection.leaving else { return };
        leaving.step = LeavingStep::Retired;
        self.timers.cancel(leaving.timer);
        if let Some(ticket) = leaving.caller.take() {
            fx.push(Effect::Answer { ticket, outcome: Ok(Answer::Retired { epoch, last_seq, record }) });
        }
    }

    /// Out of time: pending Sends end, or the hand-over does.
    pub(super) fn leaving_due(&mut self, now: Now, key: ConnKey, fx: &mut Effects) {
        match self.step_of(key) {
            Some(LeavingStep::Finishing) => {
                self.end_sends_alive(now, key, fx);
                self.silence(now, key, fx);
            }
            Some(LeavingStep::Draining(_) | LeavingStep::Ending(_)) => {
                self.stay(now, key, "the bus is too slow", fx);
            }
            Some(LeavingStep::Retired) | None => {}
        }
    }

    /// Every Send ends though the socket lives on: what the kernel has in part stays in the outbox.
    fn end_sends_alive(&mut self, now: Now, key: ConnKey, fx: &mut Effects) {
        let sends = self.sends.iter().filter(|(_, send)| send.conn == key);
        let sends: Vec<Ticket> = sends.map(|(place, _)| Ticket(place.pack())).collect();
        for send in sends {
            let Some(connection) = self.connections.get_mut(key) else { return };
            let taken_back = connection.outbox.take_back(Origin::Send(send));
            if let Some(correlator) = &mut connection.correlator {
                correlator.cancelled(now.mono, send, !taken_back);
            }
            self.end_send(now, send, Err(handed_over(taken_back)), fx);
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        for origin in connection.outbox.origins() {
            if let Origin::Raw(ticket) = origin {
                let taken_back = connection.outbox.take_back(origin);
                connection.outbox.disown(origin);
                fx.push(Effect::Answer { ticket, outcome: Err(handed_over(taken_back)) });
            }
        }
    }

    /// The hand-over has failed: everything as before, in a new epoch if the old one's end was told.
    fn stay(&mut self, now: Now, key: ConnKey, why: &'static str, fx: &mut Effects) {
        let message = format!("the connection stays here: {why}");
        let Some(step) = self.stop_leaving(key, Fault::new(FaultKind::Unavailable, message), fx) else {
            return;
        };
        if matches!(step, LeavingStep::Ending(_) | LeavingStep::Retired) {
            self.renumber(now, key, fx);
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.rested(now.mono);
        let (open, socket, paused) = (connection.is_open(), connection.socket(key), connection.reads_paused);
        if open {
            if step != LeavingStep::Finishing {
                self.start_heart(now, key);
            }
            if !paused {
                fx.push(Effect::ResumeReads(socket));
            }
            self.mark_dirty(key);
        } else if matches!(connection.phase, Phase::Waiting) {
            // It was lost while it was nobody's.
            if connection.spec.settings.auto_reconnect {
                connection.attempt = 1;
                self.set_phase_timer(key, now.mono);
                self.lifecycle(now, key, LifecycleState::Reconnecting, CloseCause::HandOver.name(), Some(1));
            } else {
                self.die(now, key, CloseCause::PeerVanished.name(), false, fx);
            }
        }
    }

    /// Forgets the hand-over; its caller is told why.
    pub(super) fn stop_leaving(&mut self, key: ConnKey, why: Fault, fx: &mut Effects) -> Option<LeavingStep> {
        let leaving = self.connections.get_mut(key)?.leaving.take()?;
        self.timers.cancel(leaving.timer);
        if let Some(ticket) = leaving.caller {
            self.answer(ticket, Err(why), fx);
        }
        Some(leaving.step)
    }

    /// A new epoch of the same owner: nothing was lost between the two.
    fn renumber(&mut self, now: Now, key: ConnKey, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (old, last) = (connection.numbering.epoch(), connection.numbering.last_seq());
        connection.numbering = Numbering::begin(Some(old), now.wall);
        connection.published_seq = 0;
        let to = Some((connection.numbering.epoch(), 1));
        let cause = GapCause::NewEpoch;
        let gap = Gap { from: (old, Some(last)), to, cause, count: Some(0) };
        self.gap(now, key, &gap);
        self.persist(key, StoreThen::Nothing, false, fx);
    }

    /// Another one owns it: the socket is closed, and nothing is written to the store.
    pub(super) fn release(&mut self, now: Now, id: &ConnectionId, fx: &mut Effects) -> Result<Answer, Fault> {
        let key = self.find(id)?;
        if self.step_of(key) != Some(LeavingStep::Retired) {
            return Err(Fault::new(FaultKind::NotOpen, "only a retired connection can be released"));
        }
        self.release_retired(now, key, fx);
        Ok(Answer::Done)
    }

    pub(super) fn release_retired(&mut self, now: Now, key: ConnKey, fx: &mut Effects) {
        if self.connections.get(key).is_some_and(|connection| connection.is_open()) {
            self.counters.closes[CloseCause::HandOver.index()] += 1;
            self.close_socket(key, 1001, "going to another instance", fx);
        }
        self.lifecycle(now, key, LifecycleState::Disconnected, CloseCause::HandOver.name(), None);
        self.stop_heart(key);
        self.unlist(now, key, fx);
    }

    pub(super) fn is_retired(&self, key: ConnKey) -> bool {
        self.step_of(key) == Some(LeavingStep::Retired)
    }

    /// Nobody took it: it goes on here.
    pub(super) fn resume(&mut self, now: Now, id: &ConnectionId, fx: &mut Effects) -> Result<Answer, Fault> {
        let key = self.find(id)?;
        if self.step_of(key).is_none() {
            return Err(Fault::new(FaultKind::NotOpen, "the connection is not being handed over"));
        }
        self.stay(now, key, "the hand-over was given up", fx);
        let connection = self.connections.get(key).ok_or_else(|| Fault::not_found(id.as_str()))?;
        Ok(Answer::Connected {
            status: connection.status(),
            epoch: connection.numbering.epoch(),
            subprotocol: connection.subprotocol.clone(),
            created: false,
        })
    }

    /// Its socket ended on the way. True: it is nobody's to dial again before `Resume`.
    pub(super) fn lost_leaving(&mut self, now: Now, key: ConnKey, fx: &mut Effects) -> bool {
        if self.is_retired(key) {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.phase = Phase::Waiting;
            }
            return true;
        }
        let why = Fault::new(FaultKind::NotOpen, "the socket ended while it was handed over");
        if let Some(LeavingStep::Ending(_)) = self.stop_leaving(key, why, fx) {
            self.renumber(now, key, fx);
        }
        false
    }
}

fn moving_already() -> Fault {
    Fault::new(FaultKind::Unavailable, "the connection is being handed over already")
}

fn handed_over(taken_back: bool) -> Fault {
    let (kind, certainty) = match taken_back {
        true => (FaultKind::NotSent, Certainty::NotSent),
        false => (FaultKind::MaybeSent, Certainty::MaybeSent),
    };
    Fault::new(kind, "another instance took the connection over before the reply").with_certainty(certainty)
}

//! A connection comes from another instance, and its new socket is made before the old one breaks:
//! `Prepare` dials and holds, so that what the peer sends from then on waits in the kernel; `Commit`
//! makes it ours. What waited may have been published by the old owner too, and is marked so.

use super::{Handle, ShardCore};
use crate::{
    core::{
        connection::Phase,
        id::{ConnKey, ConnectionId, Ticket},
        io::{Answer, DialFailed, Effect, Effects, Opened, SocketKey},
        reason::{Certainty, Fault, FaultKind, GapCause},
        sequence::{Gap, Numbering},
        spec::{Connect, Restore},
        time::Now,
    },
    limits,
    wire::event::LifecycleState,
};

impl ShardCore {
    /// Answered when the socket is open, or with the dial's fault: then nothing is left behind.
    pub(super) fn prepare(
        &mut self,
        now: Now,
        ticket: Ticket,
        restore: Restore,
        fx: &mut Effects,
    ) -> Option<Handle> {
        let room = self.admit().and_then(|()| self.make_room(now, &restore.id, fx));
        if let Err(fault) = room {
            self.answer(ticket, Err(fault), fx);
            return None;
        }
        let numbering = Numbering::claimed(restore.epoch, restore.claimed.unwrap_or(0));
        let connect = Connect {
            id: restore.id,
            chosen: true,
            spec: restore.spec,
            tags: restore.tags,
            // Its lane is opened when it is ours.
            publish: None,
        };
        let phase = Phase::Preparing { caller: ticket, from: restore.epoch };
        let key = self.insert(now, connect, numbering, restore.created, phase);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.publish = restore.publish.map(Box::new);
        }
        self.dial(now, key, fx);
        Some(Handle::Connect(key))
    }

    /// A dead or a prepared connection makes room for one that is taken up under its id.
    pub(super) fn make_room(&mut self, now: Now, id: &ConnectionId, fx: &mut Effects) -> Result<(), Fault> {
        let Some(&key) = self.by_id.get(id) else { return Ok(()) };
        let Some(connection) = self.connections.get(key) else { return Ok(()) };
        if connection.is_prepared() {
            self.drop_prepared(key, "taken up anew", fx);
        } else if matches!(connection.phase, Phase::Dead) {
            self.unlist(now, key, fx);
        } else {
            return Err(Fault::new(FaultKind::IdInUse, "already here"));
        }
        Ok(())
    }

    /// The new socket is open: nothing is read from it until it is known whose it is.
    pub(super) fn prepared(
        &mut self,
        now: Now,
        socket: SocketKey,
        (caller, from): (Ticket, u64),
        opened: Opened,
        fx: &mut Effects,
    ) {
        let Some(connection) = self.connections.get_mut(socket.conn) else { return };
        connection.phase = Phase::Prepared { from };
        connection.subprotocol = opened.subprotocol;
        connection.connected = Some(now.wall);
        self.set_phase_timer(socket.conn, now.mono + limits::PREPARED_KEPT);
        fx.push(Effect::PauseReads(socket));
        self.answer(caller, Ok(Answer::Done), fx);
    }

    pub(super) fn prepare_failed(
        &mut self,
        key: ConnKey,
        caller: Ticket,
        failed: DialFailed,
        fx: &mut Effects,
    ) {
        self.remove_prepared(key);
        self.answer(caller, Err(failed.fault), fx);
    }

    /// It is ours under this epoch; the last owner's ended with `last_seq`.
    pub(super) fn commit(
        &mut self,
        now: Now,
        id: &ConnectionId,
        epoch: u64,
        last_seq: u64,
        fx: &mut Effects,
    ) -> Result<Answer, Fault> {
        let (key, from) = self.find_prepared(id)?;
        let Some(connection) = self.connections.get_mut(key) else { return Err(nothing_prepared(id)) };
        connection.numbering = Numbering::claimed(from, epoch);
        connection.phase = Phase::Open;
        connection.catching_up = true;
        let (epoch, socket) = (connection.numbering.epoch(), connection.socket(key));
        let answer = Answer::Connected {
            status: connection.status(),
            epoch,
            subprotocol: connection.subprotocol.clone(),
            created: false,
        };
        if let Some(spec) = connection.publish.take() {
            self.open_lane(key, *spec);
        }
        self.clear_phase_timer(key);
        self.start_heart(now, key);
        let gap = Gap {
            from: (from, Some(last_seq)),
            to: Some((epoch, 1)),
            cause: GapCause::NewEpoch,
            count: None,
        };
        self.gap(now, key, &gap);
        self.persist(key, super::StoreThen::Nothing, false, fx);
        self.lifecycle(now, key, LifecycleState::Connected, "hand_over", None);
        fx.push(Effect::ReadOut(socket));
        Ok(answer)
    }

    /// What arrived before it was ours has all been read.
    pub fn read_out(&mut self, socket: SocketKey) {
        if self.is_current(socket)
            && let Some(connection) = self.connections.get_mut(socket.conn)
        {
            connection.catching_up = false;
        }
    }

    pub(super) fn abort_prepared(&mut self, id: &ConnectionId, fx: &mut Effects) -> Result<Answer, Fault> {
        let key = self.by_id.get(id).copied();
        let prepared =
            |key: &ConnKey| self.connections.get(*key).is_some_and(|connection| connection.is_prepared());
        let Some(key) = key.filter(prepared) else { return Err(nothing_prepared(id)) };
        self.drop_prepared(key, "the hand-over was given up", fx);
        Ok(Answer::Done)
    }

    /// Nobody but its caller has heard of it.
    pub(super) fn drop_prepared(&mut self, key: ConnKey, why: &'static str, fx: &mut Effects) {
        let Some(connection) = self.connections.get(key) else { return };
        fx.push(Effect::Abort(connection.socket(key)));
        if let Phase::Preparing { caller, .. } = connection.phase {
            self.answer(caller, Err(Fault::new(FaultKind::Unavailable, why)), fx);
        }
        self.remove_prepared(key);
    }

    /// Without a word to anybody.
    pub(super) fn remove_prepared(&mut self, key: ConnKey) {
        self.clear_phase_timer(key);
        if let Some(connection) = self.connections.remove(key) {
            self.by_id.remove(&connection.id);
        }
    }

    fn find_prepared(&self, id: &ConnectionId) -> Result<(ConnKey, u64), Fault> {
        let key = self.by_id.get(id).copied().ok_or_else(|| nothing_prepared(id))?;
        match self.connections.get(key).map(|connection| &connection.phase) {
            Some(Phase::Prepared { from }) => Ok((key, *from)),
            _ => Err(nothing_prepared(id)),
        }
    }

    /// What is on its way here or away takes no Sends.
    pub(super) fn check_at_home(&self, id: &ConnectionId) -> Result<(), Fault> {
        let connection = self.by_id.get(id).and_then(|key| self.connections.get(*key));
        match connection {
            Some(connection) if connection.is_prepared() || connection.leaving.is_some() => Err(moving()),
            _ => Ok(()),
        }
    }
}

fn nothing_prepared(id: &ConnectionId) -> Fault {
    Fault::new(FaultKind::NotFound, format!("no prepared connection '{id}': it was given up, or never open"))
}

pub(super) fn moving() -> Fault {
    Fault::new(FaultKind::Unavailable, "another instance takes the connection over; try again at once")
        .with_certainty(Certainty::NotSent)
}

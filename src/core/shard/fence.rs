//! Without its lease an instance owns nothing that was dialled: it is dropped at once and without a
//! word to the store, whose documents are not ours any more. What was received still waits in the
//! publisher, until it is known whether somebody else has gone on with a higher epoch.

use super::ShardCore;
use crate::{
    core::{
        connection::Phase,
        id::{ConnKey, ConnectionId},
        io::{Answer, Effect, Effects},
        reason::{Certainty, CloseCause, Fault, FaultKind, GapCause},
        sequence::Gap,
        time::Now,
    },
    wire::event::LifecycleState,
};

impl ShardCore {
    /// Drops every dialled connection and holds the batches back until `Command::Unfence`. Nothing
    /// is written, not even a close frame. Again and again is the same as once.
    pub fn fence(&mut self, now: Now, fx: &mut Effects) {
        if std::mem::replace(&mut self.fenced, true) {
            return;
        }
        self.publisher.hold_back(true);
        // Who came to us is here and nowhere else.
        let dialled = self.connections.iter().filter(|(_, connection)| connection.accepted.is_none());
        let keys: Vec<ConnKey> = dialled.map(|(key, _)| key).collect();
        for key in keys {
            self.take_away(now, key, CloseCause::LeaseLost.name(), fx);
        }
    }

    pub fn is_fenced(&self) -> bool {
        self.fenced
    }

    pub(super) fn unfence(&mut self) -> Answer {
        self.fenced = false;
        self.publisher.hold_back(false);
        Answer::Done
    }

    /// Another instance owns it, with this epoch: what we have of a lower one is nobody's business
    /// any more. A connection of ours with a higher epoch stays: the message is an old one.
    pub(super) fn superseded(&mut self, now: Now, id: &ConnectionId, epoch: u64, fx: &mut Effects) -> Answer {
        // Who came to us has no other owner.
        let lower = |key: &ConnKey| {
            self.connections.get(*key).is_some_and(|c| c.accepted.is_none() && c.numbering.epoch() < epoch)
        };
        if let Some(key) = self.by_id.get(id).copied().filter(lower) {
            self.take_away(now, key, "superseded", fx);
        }
        self.epoch_floor = self.epoch_floor.max(epoch.saturating_add(1));
        self.publisher.superseded(id, epoch);
        Answer::Done
    }

    /// Ends a connection that is not ours any more, from any phase. Its topic hears of it from the
    /// next owner; followers here get their last gap record.
    fn take_away(&mut self, now: Now, key: ConnKey, reason: &str, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.is_prepared() {
            return self.drop_prepared(key, "the lease was lost", fx);
        }
        let socket = connection.socket(key);
        let (epoch, last) = (connection.numbering.epoch(), connection.numbering.last_seq());
        let dead = matches!(connection.phase, Phase::Dead);
        let was_open = connection.is_open();
        let never_open = matches!(connection.phase, Phase::Dialling(_));
        if let Phase::Dialling(waiters) | Phase::Storing(waiters) = &mut connection.phase {
            for ticket in std::mem::take(waiters) {
                fx.push(Effect::Answer { ticket, outcome: Err(no_lease()) });
            }
        }
        if was_open || never_open || matches!(connection.phase, Phase::Redialling) {
            fx.push(Effect::Abort(socket));
        }
        if was_open {
            self.counters.closes[CloseCause::LeaseLost.index()] += 1;
            self.end_sends(now, key, CloseCause::LeaseLost, reason, fx);
        }
        self.stop_leaving(key, no_lease(), fx);
        if !dead && !never_open {
            let gap = Gap { from: (epoch, Some(last)), to: None, cause: GapCause::NewEpoch, count: None };
            self.gap_to_followers(now, key, &gap);
        }
        if !dead {
            self.lifecycle(now, key, LifecycleState::Disconnected, reason, None);
        }
        self.stop_heart(key);
        self.unlist(now, key, fx);
    }
}

pub(super) fn no_lease() -> Fault {
    let message = "this instance has lost its lease, so another one may own the connection; try again";
    Fault::new(FaultKind::Unavailable, message).with_certainty(Certainty::NotSent)
}

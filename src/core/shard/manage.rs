//! Get, List, tags, Update: what can be asked and changed of a connection.

use super::{Handle, ShardCore, StoreThen, Timer, connect::merge_tags};
use crate::core::{
    connection::Phase,
    id::{ConnectionId, Ticket},
    io::{Answer, Effects, List, Update},
    reason::{Fault, FaultKind},
    spec::{Info, Tags},
    time::Now,
};

impl ShardCore {
    pub(super) fn info(&self, id: &ConnectionId) -> Result<Info, Fault> {
        let key = self.find(id)?;
        let connection = self.connections.get(key).ok_or_else(|| Fault::not_found(id.as_str()))?;
        Ok(connection.info())
    }

    /// The page after `list.after`, by id, and how many match in all.
    pub(super) fn list(&self, list: &List) -> Answer {
        let mut total = 0u64;
        let mut page = Vec::new();
        for (_, connection) in self.connections.iter() {
            if connection.is_hidden()
                || list.direction.is_some_and(|wanted| wanted != connection.direction())
                || !(list.status.is_empty() || list.status.contains(&connection.status()))
                || !connection.has_tags(&list.tags)
            {
                continue;
            }
            total += 1;
            if list.after.as_ref().is_none_or(|after| connection.id > *after) {
                page.push(connection);
            }
        }
        if page.len() > list.limit && list.limit > 0 {
            page.select_nth_unstable_by(list.limit - 1, |a, b| a.id.cmp(&b.id));
        }
        page.truncate(list.limit);
        page.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Answer::Listed { infos: page.into_iter().map(|connection| connection.info()).collect(), total }
    }

    pub(super) fn source(&self, id: &ConnectionId) -> Result<Answer, Fault> {
        let key = self.find(id)?;
        let connection = self.connections.get(key).ok_or_else(|| Fault::not_found(id.as_str()))?;
        Ok(Answer::Source(connection.spec.source.clone()))
    }

    pub(super) fn tags(&self, id: &ConnectionId) -> Result<Tags, Fault> {
        let key = self.find(id)?;
        self.connections
            .get(key)
            .map(|connection| connection.tags.clone())
            .ok_or_else(|| Fault::not_found(id.as_str()))
    }

    pub(super) fn set_tags(
        &mut self,
        ticket: Ticket,
        id: &ConnectionId,
        changes: &Tags,
        fx: &mut Effects,
    ) -> Option<Handle> {
        let changed = self.find_mut(id).and_then(|(key, connection)| {
            connection.tags = merge_tags(&connection.tags, changes)?;
            Ok(key)
        });
        match changed {
            Ok(key) => self.persist_then(key, ticket, Answer::Done, fx),
            Err(fault) => self.answer(ticket, Err(fault), fx),
        }
        None
    }

    /// Answers when the changed document stands. A dead connection has none any more; one that is
    /// dialled for the first time has none yet, and must leave none behind when that fails.
    pub(super) fn persist_then(
        &mut self,
        key: crate::core::id::ConnKey,
        ticket: Ticket,
        answer: Answer,
        fx: &mut Effects,
    ) {
        let phase = self.connections.get(key).map(|connection| &connection.phase);
        if matches!(phase, None | Some(Phase::Dead | Phase::Dialling(_))) {
            self.answer(ticket, Ok(answer), fx);
        } else {
            self.persist(key, StoreThen::Answer(ticket, Box::new(answer)), false, fx);
        }
    }

    /// Swaps the settings; the clocks and limits of the live socket follow at once.
    pub(super) fn update(
        &mut self,
        now: Now,
        ticket: Ticket,
        update: Update,
        fx: &mut Effects,
    ) -> Option<Handle> {
        let swapped = self.find_mut(&update.id).and_then(|(key, connection)| {
            if connection.spec.source != update.expected {
                let message = "the connection was changed by another call meanwhile; read it again";
                return Err(Fault::new(FaultKind::NotOpen, message));
            }
            connection.spec = update.spec;
            connection.rates = super::connect::rates_of(&connection.spec, now);
            Ok((key, connection.is_open(), connection.info()))
        });
        match swapped {
            Ok((key, live, info)) => {
                if live {
                    self.rearm_heart(now, key);
                }
                let answer = Answer::Updated { info: Box::new(info), live };
                self.persist_then(key, ticket, answer, fx);
            }
            Err(fault) => self.answer(ticket, Err(fault), fx),
        }
        None
    }

    /// The intervals changed: the old timer would be late for a shorter one.
    fn rearm_heart(&mut self, now: Now, key: crate::core::id::ConnKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Some(timer) = connection.heart.timer.take() {
            self.timers.cancel(timer);
        }
        let timer = self.timers.insert(now.mono, Timer::Heart(key));
        if let Some(connection) = self.connections.get_mut(key) {
            connection.heart.timer = Some(timer);
        }
    }
}

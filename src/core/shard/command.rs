//! The door of a shard: which machine a command goes to, and how its caller takes it back.

use super::ShardCore;
use crate::core::{
    id::{ConnKey, Ticket},
    io::{Answer, Command, Context, Effect, Effects, SocketKey},
    time::Now,
};

/// By which the shell takes back a command whose caller went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handle {
    Connect(ConnKey),
    Send(Ticket),
    Raw(SocketKey),
    Fetch,
    Watch,
    Follow,
    Admit(ConnKey),
}

impl ShardCore {
    /// Answers by an effect with this ticket, now or later, exactly once. The handle takes the
    /// command back when its caller goes away before that.
    pub fn command(
        &mut self,
        now: Now,
        ticket: Ticket,
        context: &Context,
        command: Command,
        fx: &mut Effects,
    ) -> Option<Handle> {
        let outcome = match command {
            Command::Send(send) => return self.send(now, ticket, context, send, fx),
            Command::SendRaw { id, payload, kind } => {
                return self.send_raw(now, ticket, &id, payload, kind, fx);
            }
            Command::Connect(connect) => return self.connect(now, ticket, *connect, fx),
            Command::Fetch(fetch) => return self.fetch(ticket, *fetch, fx),
            Command::Watch { after, wait } => return self.watch(ticket, after, wait, fx),
            Command::Disconnect { id, code, reason } => {
                return self.disconnect(now, ticket, &id, code, &reason, fx);
            }
            Command::StartPublish { id, spec } => return self.start_publish(now, ticket, &id, *spec, fx),
            Command::StopPublish(id) => return self.stop_publish(now, ticket, &id, fx),
            Command::SetTags { id, tags } => return self.set_tags(ticket, &id, &tags, fx),
            Command::Update(update) => return self.update(now, ticket, *update, fx),
            Command::Restore(restore) => self.restore(now, *restore, fx),
            Command::Prepare(restore) => return self.prepare(now, ticket, *restore, fx),
            Command::Commit { id, epoch, last_seq } => self.commit(now, &id, epoch, last_seq, fx),
            Command::Abort(id) => self.abort_prepared(&id, fx),
            Command::Retire(id) => return self.retire(now, ticket, &id, fx),
            Command::Release(id) => self.release(now, &id, fx),
            Command::Resume(id) => self.resume(now, &id, fx),
            Command::Get(id) => self.info(&id).map(|info| Answer::Info(Box::new(info))),
            Command::List(list) => Ok(self.list(&list)),
            Command::Source(id) => self.source(&id),
            Command::GetTags(id) => self.tags(&id).map(Answer::Tags),
            Command::Fence => {
                self.fence(now, fx);
                Ok(Answer::Done)
            }
            Command::Unfence => Ok(self.unfence()),
            Command::Superseded { id, epoch } => Ok(self.superseded(now, &id, epoch, fx)),
            Command::PersistAll => Ok(self.persist_all(fx)),
            Command::Refuse => self.refuse(),
            Command::Stop => return self.stop(now, ticket, fx),
            Command::Abandon => Ok(self.abandon(now, fx)),
            Command::Room(command) => return self.room_command(now, ticket, command, fx),
        };
        fx.push(Effect::Answer { ticket, outcome });
        None
    }

    /// The caller of a command went away: nothing of it stays behind that only the caller wanted.
    pub fn cancel(&mut self, now: Now, ticket: Ticket, handle: Handle, fx: &mut Effects) {
        match handle {
            Handle::Connect(key) => self.cancel_connect(now, key, ticket, fx),
            Handle::Send(send) => self.cancel_send(now, send, fx),
            Handle::Raw(socket) => self.cancel_raw(socket, ticket),
            Handle::Fetch => {
                self.followers.cancel(ticket);
            }
            Handle::Follow => self.homes.stop_following(now, ticket),
            Handle::Admit(key) => self.drop_connection(now, key, 1001, "gone", fx),
            Handle::Watch => self.watchers.retain(|(waiting, _)| *waiting != ticket),
        }
    }
}

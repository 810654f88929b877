//! What is asked of rooms and users here, and what connections feed into rooms.

use super::*;

impl ShardCore {
    pub(super) fn list_rooms(&self, prefix: &str, after: Option<&RoomName>, limit: usize) -> Answer {
        let wanted = |name: &RoomName| {
            !name.is_everyone() && name.as_str().starts_with(prefix) && after.is_none_or(|after| name > after)
        };
        let mut rooms: Vec<_> = self
            .here
            .iter()
            .filter(|room| wanted(&room.name) && !room.members().is_empty())
            .map(|room| (room.name.clone(), room.members().len() as u64))
            .collect();
        rooms.sort_unstable();
        rooms.truncate(limit);
        Answer::Room(RoomAnswer::Rooms(rooms))
    }

    pub(super) fn list_members(&self, room: &RoomName, after: Option<&ConnectionId>, limit: usize) -> Answer {
        let members =
            self.here.find(room).and_then(|key| self.here.get(key)).map_or(&[][..], |room| room.members());
        let connections = members.iter().filter_map(|member| self.connections.get(member.socket.conn));
        let mut page: Vec<_> = connections
            .filter(|connection| !connection.is_hidden() && after.is_none_or(|after| connection.id > *after))
            .collect();
        page.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        page.truncate(limit);
        let infos = page.into_iter().map(|connection| connection.info()).collect();
        Answer::Listed { infos, total: members.len() as u64 }
    }

    pub(super) fn post_to_user(
        &mut self,
        now: Now,
        user: &Arc<str>,
        post: &Post,
        fx: &mut Effects,
    ) -> Answer {
        let keys = self.users.get(user).cloned().unwrap_or_default();
        let mut reached = 0;
        for key in keys {
            let Some(connection) = self.connections.get(key).filter(|connection| connection.is_open()) else {
                continue;
            };
            let Some(format) = connection.accepted.as_ref().map(|accepted| accepted.format) else { continue };
            if self.does_not_read(now, key, post.payload.len(), fx) {
                continue;
            }
            reached += 1;
            match (format, post.kind) {
                (Format::Numbered, kind) => self.note(key, members::to_user(user, kind, &post.payload)),
                (Format::Verbatim, Kind::Text) => self.push_frame(key, Opcode::Text, post.payload.clone()),
                _ => self.push_frame(key, Opcode::Binary, post.payload.clone()),
            }
        }
        Answer::Room(RoomAnswer::Count(reached))
    }

    /// What is for this client alone waits already, as much as may: it is closed.
    pub(in crate::core::shard) fn does_not_read(
        &mut self,
        now: Now,
        key: ConnKey,
        more: usize,
        fx: &mut Effects,
    ) -> bool {
        let bytes_max = self.setup.rooms.reader_bytes_max;
        let connection = self.connections.get(key);
        if connection.is_none_or(|connection| connection.outbox.has_room(more, bytes_max)) {
            return false;
        }
        self.counters.slow_readers[0] += 1;
        self.close_socket(key, close::TRY_AGAIN_LATER, "too slow", fx);
        self.lost(now, key, CloseCause::SlowReader, "too far behind", fx);
        true
    }

    pub(super) fn kick_user(
        &mut self,
        now: Now,
        user: &Arc<str>,
        code: u16,
        reason: &str,
        fx: &mut Effects,
    ) -> Answer {
        let keys = self.users.get(user).cloned().unwrap_or_default();
        let kicked = keys.len() as u64;
        for key in keys {
            self.drop_connection(now, key, code, reason, fx);
        }
        Answer::Room(RoomAnswer::Count(kicked))
    }

    /// A message of a connection that feeds rooms.
    pub(in crate::core::shard) fn feed(
        &mut self,
        key: ConnKey,
        kind: Kind,
        payload: &[u8],
        fx: &mut Effects,
    ) {
        let Some(feeds) = self.connections.get(key).map(|connection| connection.feeds().clone()) else {
            return;
        };
        let post = Post { kind, payload: bytes::Bytes::copy_from_slice(payload) };
        if self.setup.rooms.numbered_outside || self.setup.rooms.relayed.is_some() {
            return fx.push(Effect::Room(RoomEffect::Post { rooms: feeds, post }));
        }
        for room in feeds.iter() {
            let shard = room.home(self.setup.shards);
            let word = Between::Feed { room: room.clone(), post: post.clone(), source: key };
            fx.push(Effect::Room(RoomEffect::Tell { shard, word }));
        }
    }
}

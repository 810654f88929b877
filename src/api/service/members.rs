//! Who is in which room, and what is done to all connections of a user: on all shards and, in a
//! fleet, on all instances.

use super::{Answered, Caller, Service, named_by, rooms::within, token_of, unexpected};
use crate::{
    api::validate,
    core::{
        id::ConnectionId,
        io::{Answer, Command},
        names,
        reason::{Certainty, Fault, FaultKind},
        rooms::{Post, RoomAnswer, RoomCommand, RoomName},
    },
    proto::*,
};
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

impl Service {
    pub async fn join(&self, caller: &Caller, request: JoinRequest) -> Answered<JoinResponse> {
        self.started()?;
        if let Some(peers) = &self.1 {
            return peers.route(caller, request).await;
        }
        let room = RoomName::parse("room", &request.room)?;
        let id = validate::id(&request.id)?;
        let join = RoomCommand::Join { id: id.clone(), room, after: None };
        match self.ask(caller, &id, Command::Room(join)).await? {
            Answer::Room(RoomAnswer::Joined { head, .. }) => {
                Ok(JoinResponse { epoch: head.epoch, offset: head.offset })
            }
            other => Err(unexpected(&other)),
        }
    }

    pub async fn leave(&self, caller: &Caller, request: LeaveRequest) -> Answered<LeaveResponse> {
        self.started()?;
        if let Some(peers) = &self.1 {
            return peers.route(caller, request).await;
        }
        let room = RoomName::parse("room", &request.room)?;
        let id = validate::id(&request.id)?;
        self.ask(caller, &id, Command::Room(RoomCommand::Leave { id: id.clone(), room })).await?;
        Ok(LeaveResponse {})
    }

    pub async fn list_rooms(
        &self,
        caller: &Caller,
        request: ListRoomsRequest,
    ) -> Answered<ListRoomsResponse> {
        self.started()?;
        let limit = validate::page_size(request.page_size)?;
        let after = named_by(&request.page_token, |text| RoomName::parse("page_token", text).ok())?;
        // Everybody is in the reserved room, which nobody made and which comes first by name.
        let after = after.unwrap_or_else(RoomName::everyone);
        if !request.prefix.is_empty() {
            RoomName::parse("prefix", &request.prefix)?;
        }
        if let Some(peers) = &self.1 {
            return peers.list_rooms(caller, request).await;
        }
        let list = |_| RoomCommand::List {
            prefix: request.prefix.as_str().into(),
            after: Some(after.clone()),
            limit: limit + 1,
        };
        let mut pages = Vec::new();
        for answer in self.every_shard(caller, list).await {
            let Answer::Room(RoomAnswer::Rooms(rooms)) = answer? else {
                return Err(Fault::new(FaultKind::Internal, "an answer of another kind"));
            };
            let summary = |(name, members): (RoomName, u64)| RoomSummary { name: name.to_string(), members };
            let rooms = rooms.into_iter().map(summary).collect();
            pages.push(ListRoomsResponse { rooms, next_page_token: String::new() });
        }
        Ok(merged_rooms(pages, limit))
    }

    pub async fn list_members(
        &self,
        caller: &Caller,
        request: ListMembersRequest,
    ) -> Answered<ListMembersResponse> {
        self.started()?;
        let room = RoomName::parse("room", &request.room)?;
        let limit = validate::page_size(request.page_size)?;
        let after = named_by(&request.page_token, |text| ConnectionId::parse(text).ok())?;
        if let Some(peers) = &self.1 {
            return peers.list_members(caller, request).await;
        }
        let list = |_| RoomCommand::Members { room: room.clone(), after: after.clone(), limit: limit + 1 };
        let mut pages = Vec::new();
        for answer in self.every_shard(caller, list).await {
            let Answer::Listed { infos, .. } = answer? else {
                return Err(Fault::new(FaultKind::Internal, "an answer of another kind"));
            };
            let members = infos.into_iter().map(|info| self.connection(info)).collect();
            pages.push(ListMembersResponse { members, next_page_token: String::new() });
        }
        Ok(merged_members(pages, limit))
    }

    pub async fn send_to_user(
        &self,
        caller: &Caller,
        request: SendToUserRequest,
    ) -> Answered<SendToUserResponse> {
        self.started()?;
        let post = self.post_of(&request)?;
        match &self.1 {
            Some(peers) => within(caller, peers.send_to_user(caller, request)).await,
            None => within(caller, self.post_to_user(caller, &request.user, post)).await,
        }
    }

    /// For a member that has checked the message.
    pub(in crate::api) async fn send_to_user_here(
        &self,
        caller: &Caller,
        request: SendToUserRequest,
    ) -> Answered<SendToUserResponse> {
        let SendToUserRequest { user, message, data, message_id, content_type } = request;
        names::validate_user("user", &user)?;
        let post = crate::api::messages::post(message, data, &message_id, &content_type)?;
        self.post_to_user(caller, &user, post).await
    }

    fn post_of(&self, request: &SendToUserRequest) -> Answered<Post> {
        names::validate_user("user", &request.user)?;
        let SendToUserRequest { message, data, message_id, content_type, .. } = request;
        self.checked_post(message.clone(), data.clone(), message_id, content_type)
    }

    async fn post_to_user(&self, caller: &Caller, user: &str, post: Post) -> Answered<SendToUserResponse> {
        let posted =
            self.every_shard(caller, |_| RoomCommand::PostToUser { user: user.into(), post: post.clone() });
        let answers = posted.await.into_iter().map(|answer| answer.and_then(count));
        Ok(SendToUserResponse { connections: reached(answers)? })
    }

    pub async fn kick_user(&self, caller: &Caller, request: KickUserRequest) -> Answered<KickUserResponse> {
        self.started()?;
        names::validate_user("user", &request.user)?;
        let code = names::validate_close("code", request.code, "reason", &request.reason)?;
        if let Some(peers) = &self.1 {
            return peers.kick_user(caller, request).await;
        }
        let kick = |_| RoomCommand::KickUser {
            user: request.user.as_str().into(),
            code,
            reason: request.reason.as_str().into(),
        };
        let mut disconnected = 0;
        for answer in self.every_shard(caller, kick).await {
            disconnected += count(answer?)?;
        }
        Ok(KickUserResponse { disconnected })
    }

    /// All are asked before the first is waited for.
    async fn every_shard(
        &self,
        caller: &Caller,
        command: impl Fn(u32) -> RoomCommand,
    ) -> Vec<Answered<Answer>> {
        let hub = &self.0.hub;
        let ask = |shard| hub.call(shard, self.context(caller), Command::Room(command(shard)));
        let calls: Vec<_> = (0..hub.shards()).map(ask).collect();
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            answers.push(call.await);
        }
        answers
    }
}

fn count(answer: Answer) -> Answered<u64> {
    match answer {
        Answer::Room(RoomAnswer::Count(count)) => Ok(count),
        other => Err(unexpected(&other)),
    }
}

/// How many connections got a message; a part that failed leaves the whole in doubt once some had it.
pub(in crate::api) fn reached(answers: impl IntoIterator<Item = Answered<u64>>) -> Answered<u64> {
    let (mut sum, mut failed) = (0, None);
    for answer in answers {
        match answer {
            Ok(count) => sum += count,
            Err(fault) => drop(failed.get_or_insert(fault)),
        }
    }
    match failed {
        None => Ok(sum),
        Some(fault) if sum == 0 => Err(fault),
        Some(fault) => {
            let why = format!("{sum} connections were reached, others perhaps not: {}", fault.message);
            Err(Fault::new(FaultKind::MaybeSent, why).with_certainty(Certainty::MaybeSent))
        }
    }
}

/// Pages of shards or instances that all begin after the same name: the first names of all are among
/// the first of each, with all their members.
pub(in crate::api) fn merged_rooms(pages: Vec<ListRoomsResponse>, size: usize) -> ListRoomsResponse {
    let mut more = pages.iter().any(|page| !page.next_page_token.is_empty());
    let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
    for room in pages.into_iter().flat_map(|page| page.rooms) {
        *by_name.entry(room.name).or_default() += room.members;
    }
    more |= by_name.len() > size;
    let rooms: Vec<_> =
        by_name.into_iter().take(size).map(|(name, members)| RoomSummary { name, members }).collect();
    let last = rooms.last().filter(|_| more).map(|room| token_of(&room.name));
    ListRoomsResponse { rooms, next_page_token: last.unwrap_or_default() }
}

/// The same by id. One that is told of twice has just moved: the newer epoch's word counts.
pub(in crate::api) fn merged_members(pages: Vec<ListMembersResponse>, size: usize) -> ListMembersResponse {
    let mut more = pages.iter().any(|page| !page.next_page_token.is_empty());
    let mut by_id: BTreeMap<String, WebSocketConnection> = BTreeMap::new();
    for member in pages.into_iter().flat_map(|page| page.members) {
        if by_id.get(&member.id).is_none_or(|known| known.epoch < member.epoch) {
            by_id.insert(member.id.clone(), member);
        }
    }
    more |= by_id.len() > size;
    let members: Vec<_> = by_id.into_values().take(size).collect();
    let last = members.last().filter(|_| more).map(|member| token_of(&member.id));
    ListMembersResponse { members, next_page_token: last.unwrap_or_default() }
}

//! The routes of rooms and users.

use super::{Answer, Input, rpc};
use crate::{
    api::{
        json,
        service::{Caller, Service},
    },
    core::{names::RoomName, reason::Fault},
    proto::*,
};

#[cfg(test)]
mod tests;

rpc!(send by room_send, RoomSendRequest, |_message, _input| Ok(()));
rpc!(send_to_one by room_send, RoomSendRequest, |message, input| {
    let room = input.path("room");
    // The request has a list: here the one name is at fault.
    RoomName::parse("room", room)?;
    if message.rooms.iter().any(|given| given != room) {
        return Err(Fault::invalid("rooms", "the body names another one than the path"));
    }
    message.rooms = vec![room.to_owned()];
    Ok(())
});
rpc!(broadcast, BroadcastRequest, |_message, _input| Ok(()));
rpc!(send_to_user, SendToUserRequest, |message, input| input.name("user", &mut message.user));
rpc!(kick_user, KickUserRequest, |message, input| {
    input.name("user", &mut message.user)?;
    message.code = input.query.number("code")?;
    message.reason = input.query.text("reason")?;
    Ok(())
});
rpc!(join, JoinRequest, |message, input| {
    input.name("room", &mut message.room)?;
    input.name("id", &mut message.id)
});
rpc!(leave, LeaveRequest, |message, input| {
    input.name("room", &mut message.room)?;
    input.name("id", &mut message.id)
});
rpc!(list_rooms, ListRoomsRequest, |message, input| {
    message.prefix = input.query.text("prefix")?;
    message.page_size = input.query.number("page_size")?;
    message.page_token = input.query.text("page_token")?;
    Ok(())
});
rpc!(list_members, ListMembersRequest, |message, input| {
    input.name("room", &mut message.room)?;
    message.page_size = input.query.number("page_size")?;
    message.page_token = input.query.text("page_token")?;
    Ok(())
});
rpc!(history, HistoryRequest, |message, input| {
    input.name("room", &mut message.room)?;
    message.epoch = input.query.number("epoch")?;
    message.offset = input.query.number("offset")?;
    message.limit = input.query.number("limit")?;
    Ok(())
});

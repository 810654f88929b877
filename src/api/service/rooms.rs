//! Sending to rooms, and what they keep. Whoever numbers rooms is asked once: something outside when
//! there is such a thing, otherwise the rooms' homes here.

use super::{Answered, Caller, Service, unexpected};
use crate::{
    api::{convert, follow::RoomLog, messages, validate},
    core::{
        correlation::Kind,
        io::{Answer, Command, Context},
        reason::{Certainty, Fault, FaultKind},
        rooms::{Message, Place, Position, Post, RoomAnswer, RoomCommand, RoomName},
    },
    limits,
    ports::{RoomBus, RoomRelay},
    proto::*,
    shard::mailbox::{self, Hub},
};
use bytes::Bytes;
use std::sync::Arc;
use tokio::{sync::oneshot, time::timeout};

#[cfg(test)]
mod tests;

/// What stands outside of this instance for rooms. Neither: their homes here number them.
#[derive(Clone, Default)]
pub struct RoomPorts {
    /// Numbers, keeps and carries rooms.
    pub bus: Option<Arc<dyn RoomBus>>,
    /// Another room system's bus, which numbers nothing; it goes before `bus`.
    pub relay: Option<Arc<dyn RoomRelay>>,
}

impl Service {
    pub async fn room_send(&self, caller: &Caller, request: RoomSendRequest) -> Answered<RoomSendResponse> {
        self.started()?;
        let rooms = validate::rooms("rooms", &request.rooms, limits::ROOMS_PER_SEND_MAX)?;
        if rooms.is_empty() {
            return Err(Fault::invalid("rooms", "must name at least one room"));
        }
        let RoomSendRequest { message, data, message_id, content_type, .. } = request;
        let post = self.checked_post(message, data, &message_id, &content_type)?;
        let places = self.post_to(caller, rooms, post).await?;
        Ok(RoomSendResponse { positions: positions(places) })
    }

    pub async fn broadcast(&self, caller: &Caller, request: BroadcastRequest) -> Answered<BroadcastResponse> {
        self.started()?;
        let BroadcastRequest { message, data, message_id, content_type } = request;
        let post = self.checked_post(message, data, &message_id, &content_type)?;
        let places = self.post_to(caller, vec![RoomName::everyone()], post).await?;
        Ok(BroadcastResponse { positions: positions(places) })
    }

    /// Checked in every way that a sender is told of.
    pub(super) fn checked_post(
        &self,
        message: String,
        data: Bytes,
        message_id: &str,
        content_type: &str,
    ) -> Answered<Post> {
        let post = messages::post(message, data, message_id, content_type)?;
        if let Some(check) = &self.0.check {
            check.check(&post.payload)?;
        }
        Ok(post)
    }

    /// As checked elsewhere: for what is no RPC.
    pub async fn post_checked(&self, mut rooms: Vec<RoomName>, post: Post) -> Answered<Vec<Place>> {
        rooms.sort_unstable();
        rooms.dedup();
        self.post_to(&Caller::default(), rooms, post).await
    }

    /// The rooms by name, each once.
    async fn post_to(&self, caller: &Caller, rooms: Vec<RoomName>, post: Post) -> Answered<Vec<Place>> {
        let ports = &self.0.rooms;
        if let Some(relay) = &ports.relay {
            return within(caller, relayed(relay, rooms, post)).await;
        }
        if let Some(bus) = &ports.bus {
            let (answer, answered) = oneshot::channel();
            bus.publish(rooms.into(), post, Box::new(move |placed| drop(answer.send(placed))));
            return within(caller, async { answered.await.unwrap_or_else(|_| Err(stopped())) }).await;
        }
        if self.peers().is_some() {
            let why = "nothing carries rooms between the instances of this fleet";
            return Err(Fault::new(FaultKind::Unavailable, why).with_certainty(Certainty::NotSent));
        }
        // The caller's deadline is kept here, where it can be told that the message may be on its way.
        let context = Context { deadline: None, ..self.context(caller) };
        let hub = self.0.hub.clone();
        if let [room] = &rooms[..] {
            return within(caller, to_home(&hub, context, room, post)).await;
        }
        // A number that was reserved must be filled, whether or not anybody still waits for the answer.
        let sending = tokio::spawn(async move { to_homes(&hub, context, rooms, post).await });
        let sent = async { sending.await.unwrap_or_else(|_| Err(stopped())) };
        within(caller, sent).await
    }

    pub async fn history(&self, caller: &Caller, request: HistoryRequest) -> Answered<HistoryResponse> {
        self.started()?;
        let room = RoomName::parse("room", &request.room)?;
        if request.epoch == 0 && request.offset != 0 {
            return Err(Fault::invalid("epoch", "must be given when offset is"));
        }
        let after = Position { epoch: request.epoch, offset: request.offset };
        let after = Some(after).filter(|after| after.epoch > 0);
        let (usual, most) = (limits::ROOM_HISTORY_PAGE, limits::ROOM_HISTORY_LIMIT);
        let limit = validate::count("limit", request.limit, usual, most)?;
        let context = Context { deadline: None, ..self.context(caller) };
        let kept = within_reading(caller, self.room_log(context, room.clone()).since(after, limit)).await?;
        Ok(HistoryResponse {
            messages: kept.messages.iter().filter_map(|kept| convert::room_message(kept, &room)).collect(),
            recovered: kept.recovered,
            epoch: kept.head.epoch,
            offset: kept.head.offset,
        })
    }

    pub(super) fn room_log(&self, context: Context, room: RoomName) -> RoomLog {
        // What a relay brings is numbered and kept here.
        let ports = &self.0.rooms;
        let bus = ports.bus.clone().filter(|_| ports.relay.is_none());
        RoomLog { reader: self.reader(context), bus, room }
    }
}

fn positions(mut places: Vec<Place>) -> Vec<RoomPosition> {
    places.sort_unstable_by(|a, b| a.room.cmp(&b.room));
    let position = |place: Place| RoomPosition {
        room: place.room.to_string(),
        epoch: place.at.epoch,
        offset: place.at.offset,
    };
    places.into_iter().map(position).collect()
}

/// Until the caller's patience ends; what was begun may happen all the same.
pub(super) async fn within<T>(caller: &Caller, doing: impl Future<Output = Answered<T>>) -> Answered<T> {
    let Some(left) = caller.deadline else { return doing.await };
    let late = || Fault::new(FaultKind::TimedOut, "the deadline passed before it was known to be sent");
    let done = timeout(left, doing).await;
    done.unwrap_or_else(|_| Err(late().with_certainty(Certainty::MaybeSent)))
}

/// The same for what changes nothing.
async fn within_reading<T>(caller: &Caller, doing: impl Future<Output = Answered<T>>) -> Answered<T> {
    let Some(left) = caller.deadline else { return doing.await };
    let late = |_| Err(Fault::new(FaultKind::TimedOut, "the deadline passed"));
    timeout(left, doing).await.unwrap_or_else(late)
}

fn stopped() -> Fault {
    let why = "what carries rooms has stopped before it answered";
    Fault::new(FaultKind::MaybeSent, why).with_certainty(Certainty::MaybeSent)
}

/// The other system numbers nothing and knows only bytes; no rooms mean everybody.
async fn relayed(relay: &Arc<dyn RoomRelay>, rooms: Vec<RoomName>, post: Post) -> Answered<Vec<Place>> {
    let rooms = rooms.into_iter().filter(|room| !room.is_everyone()).collect();
    let (answer, answered) = oneshot::channel();
    let post = Post { kind: Kind::Binary, ..post };
    relay.publish(rooms, post, Box::new(move |done| drop(answer.send(done))));
    answered.await.unwrap_or_else(|_| Err(stopped()))?;
    Ok(Vec::new())
}

async fn placed(hub: &Hub, context: Context, home: u32, command: RoomCommand) -> Answered<Position> {
    match hub.call(home, context, Command::Room(command)).await? {
        Answer::Room(RoomAnswer::Placed(at)) => Ok(at),
        other => Err(unexpected(&other)),
    }
}

/// To one room: its home numbers and delivers it in one step.
async fn to_home(hub: &Hub, context: Context, room: &RoomName, post: Post) -> Answered<Vec<Place>> {
    let home = room.home(hub.shards());
    let at = placed(hub, context, home, RoomCommand::Post { room: room.clone(), post }).await?;
    Ok(vec![Place { room: room.clone(), at }])
}

/// To several: first a number in each, then one message that knows them all. Rooms that gave a number
/// get the message even if a later one refuses: a hole in their numbers would tell of a loss.
async fn to_homes(hub: &Hub, context: Context, rooms: Vec<RoomName>, post: Post) -> Answered<Vec<Place>> {
    let mut places = Vec::with_capacity(rooms.len());
    let mut failed = None;
    for room in rooms {
        let home = room.home(hub.shards());
        match placed(hub, context.clone(), home, RoomCommand::Reserve(room.clone())).await {
            Ok(at) => places.push(Place { room, at }),
            Err(fault) if places.is_empty() => return Err(fault),
            Err(fault) => {
                failed = Some(in_part(&room, &fault));
                break;
            }
        }
    }
    let message = Arc::new(Message {
        kind: post.kind,
        payload: post.payload,
        wall: mailbox::now_here().unwrap_or_default().wall,
        places: places.clone().into(),
        from: None,
    });
    let fill = |place: &Place| {
        let command = RoomCommand::Fill { room: place.room.clone(), at: place.at, message: message.clone() };
        // Its number was given: a full mailbox must not refuse it now.
        hub.order(place.room.home(hub.shards()), Command::Room(command))
    };
    // All are on their way before the first is waited for.
    let fills: Vec<_> = places.iter().map(fill).collect();
    for (fill, place) in fills.into_iter().zip(&places) {
        if let Err(fault) = fill.await {
            failed.get_or_insert_with(|| in_part(&place.room, &fault));
        }
    }
    failed.map_or(Ok(places), Err)
}

fn in_part(room: &RoomName, fault: &Fault) -> Fault {
    let why = format!("some of the rooms got it, but not '{room}': {}", fault.message);
    Fault::new(FaultKind::MaybeSent, why).with_certainty(Certainty::MaybeSent)
}

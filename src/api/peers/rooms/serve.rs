//! What members ask about rooms that this instance numbers.

use super::{
    RoomsEdge,
    flow::{Ended, Flow, Head, Item},
    numbering::{Numbering, wishes},
    wire,
};
use crate::{
    core::{
        reason::{Fault, FaultKind},
        rooms::{Position, sequencer::Subscriber},
    },
    limits,
    proto::fleet::{
        Hello, RoomFilled, RoomHead, RoomHeads, RoomMoved, RoomsAsk, RoomsTold, call::Rpc, reply::Outcome,
        rooms_told::Told,
    },
};
use futures_core::Stream;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tonic::{Status, Streaming};

impl RoomsEdge {
    /// One call of a member; `from` is its incarnation.
    pub fn answer(&self, from: &Arc<str>, rpc: Rpc) -> Result<Outcome, Fault> {
        let numbering = &self.0.numbering;
        Ok(match rpc {
            Rpc::RoomPost(request) => {
                let (rooms, post) = wire::from_post(request)?;
                Outcome::RoomPost(wire::answered(numbering.post(&rooms, post)?))
            }
            Rpc::RoomReserve(request) => {
                let rooms = wire::rooms(&request.rooms)?;
                Outcome::RoomReserve(wire::answered(numbering.reserve(&rooms)?))
            }
            Rpc::RoomFill(request) => {
                let places = wire::from_places(&request.places)?;
                let message = request.message.map(wire::from_message).transpose()?.map(Arc::new);
                numbering.fill(&places, message)?;
                Outcome::RoomFill(RoomFilled {})
            }
            Rpc::RoomSince(request) => {
                let room = wire::room("room", &request.room)?;
                let after = request.after.as_ref().map(|at| Position { epoch: at.epoch, offset: at.offset });
                let limit = limits::ROOM_HISTORY_LIMIT.min(request.limit as usize);
                let kept = numbering.since(&room, after, limit)?;
                Outcome::RoomSince(wire::to_kept(&room, kept, after.is_some()))
            }
            Rpc::RoomMove(part) => {
                let onward = numbering.adopt(from, part)?;
                self.0.carry_on(onward);
                Outcome::RoomMove(RoomMoved {})
            }
            _ => return Err(Fault::new(FaultKind::Internal, "no call about rooms")),
        })
    }

    /// A stream to a member that asks for rooms as it goes.
    pub fn stream(&self, answer: Hello, asks: Streaming<RoomsAsk>) -> Result<Telling, Box<Status>> {
        let Some((subscriber, flow)) = self.0.numbering.register() else {
            return Err(Box::new(Status::resource_exhausted("too many instances are told of rooms")));
        };
        let registered = Registered { edge: self.clone(), subscriber };
        tokio::spawn(hear(self.clone(), subscriber, flow.clone(), asks));
        Ok(Telling { hello: Some(answer), flow, over: false, _registered: registered })
    }
}

/// Until either side ends.
async fn hear(edge: RoomsEdge, subscriber: Subscriber, flow: Arc<Flow>, mut asks: Streaming<RoomsAsk>) {
    loop {
        let ask = match asks.message().await {
            Ok(Some(ask)) if !flow.is_over() => ask,
            _ => return edge.0.numbering.unregister(subscriber),
        };
        match wishes(&ask.join, &ask.leave) {
            Ok((join, leave)) => edge.0.numbering.interest(subscriber, &join, &leave),
            Err(fault) => {
                tracing::warn!(%fault, "a member's wish for rooms is refused");
                return edge.0.numbering.unregister(subscriber);
            }
        }
    }
}

struct Registered {
    edge: RoomsEdge,
    subscriber: Subscriber,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let numbering: &Numbering = &self.edge.0.numbering;
        numbering.unregister(self.subscriber);
    }
}

/// What a member is told.
pub struct Telling {
    hello: Option<Hello>,
    flow: Arc<Flow>,
    over: bool,
    _registered: Registered,
}

impl Stream for Telling {
    type Item = Result<RoomsTold, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Some(hello) = self.hello.take() {
            return Poll::Ready(Some(Ok(RoomsTold { told: Some(Told::Hello(hello)) })));
        }
        let item = std::task::ready!(self.flow.poll(cx));
        Poll::Ready(match item {
            Ok(item) => Some(Ok(RoomsTold { told: Some(told(item)) })),
            Err(Ended::TooSlow) => {
                self.over = true;
                Some(Err(Status::resource_exhausted("too slow for the messages of its rooms")))
            }
            Err(Ended::Closed) => None,
        })
    }
}

fn told(item: Item) -> Told {
    match item {
        Item::Heads(heads) => Told::Heads(RoomHeads { heads: heads.into_iter().map(to_head).collect() }),
        Item::Message(message, rooms) => {
            let mut told = wire::to_message(&message);
            let place = |name: &str| message.places.iter().position(|place| place.room.as_str() == name);
            let deliver = rooms.iter().filter_map(|(room, _)| place(room.as_str()));
            told.deliver = deliver.filter_map(|index| u32::try_from(index).ok()).collect();
            Told::Message(told)
        }
        Item::Over(room) => Told::Over(room.as_str().to_owned()),
    }
}

fn to_head(head: Head) -> RoomHead {
    match head.head {
        Ok(at) => RoomHead { head: Some(wire::to_place(&head.room, at)), refused: String::new() },
        Err(why) => RoomHead { head: Some(wire::to_place(&head.room, Position::default())), refused: why },
    }
}

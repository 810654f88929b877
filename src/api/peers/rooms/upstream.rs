//! One member's stream of messages, as long as it lasts.

use super::{
    Shared,
    flow::{Head, Item},
    subs::{Asks, Source},
    wire,
};
use crate::{
    api::peers::{
        channel,
        hello::{self, Side},
        link::greeted,
    },
    core::{names::RoomName, reason::Fault, rooms::Position},
    limits,
    ports::Member,
    proto::fleet::{RoomHead, RoomMessage, RoomsAsk, RoomsTold, peers_client::PeersClient, rooms_told::Told},
};
use futures_core::Stream;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{sync::mpsc, task::AbortHandle, time::timeout};

/// To one member.
pub struct Upstream {
    asks: mpsc::Sender<RoomsAsk>,
    task: AbortHandle,
}

impl Upstream {
    /// Opens in the background; what is asked meanwhile waits.
    pub fn open(shared: &Arc<Shared>, member: Member) -> Self {
        let (asks, coming) = mpsc::channel(limits::ROOM_ASKS_MAX);
        let shared = shared.clone();
        let task = tokio::spawn(async move {
            let why = run(&shared, &member, coming).await;
            tracing::debug!(instance = %member.instance, %why, "the stream of rooms ended");
            shared.broken(&Some(member.incarnation));
        });
        Upstream { asks, task: task.abort_handle() }
    }

    pub fn is_over(&self) -> bool {
        self.task.is_finished() || self.asks.is_closed()
    }

    /// Gives back what finds no room.
    pub fn ask(&self, mut asks: Asks) -> Result<(), Asks> {
        while !asks.join.is_empty() || !asks.leave.is_empty() {
            let Ok(place) = self.asks.try_reserve() else { return Err(asks) };
            let most = limits::ROOM_INTERESTS_PER_MESSAGE;
            let leave: Vec<RoomName> = asks.leave.drain(..asks.leave.len().min(most)).collect();
            let joins = asks.join.len().min(most - leave.len());
            let join = asks.join.drain(..joins);
            place.send(RoomsAsk {
                hello: None,
                join: join.map(|place| wire::to_place(&place.room, place.at)).collect(),
                leave: wire::names(&leave),
            });
        }
        Ok(())
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Asking {
    hello: Option<RoomsAsk>,
    asks: mpsc::Receiver<RoomsAsk>,
}

impl Stream for Asking {
    type Item = RoomsAsk;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<RoomsAsk>> {
        match self.hello.take() {
            Some(hello) => Poll::Ready(Some(hello)),
            None => self.asks.poll_recv(cx),
        }
    }
}

type Telling = tonic::Streaming<RoomsTold>;

/// Answers why it ended.
async fn run(shared: &Arc<Shared>, member: &Member, asks: mpsc::Receiver<RoomsAsk>) -> String {
    let mut telling = match timeout(limits::PEER_OPEN_TIMEOUT, open(shared, member, asks)).await {
        Ok(Ok(telling)) => telling,
        Ok(Err(why)) => return why,
        Err(_) => return format!("instance {} at {} does not answer", member.instance, member.address),
    };
    let source = Some(member.incarnation.clone());
    shared.fleet.counters.streams_opened.add();
    let why = read(shared, &source, &mut telling).await;
    shared.fleet.counters.streams_closed.add();
    why
}

async fn open(
    shared: &Arc<Shared>,
    member: &Member,
    asks: mpsc::Receiver<RoomsAsk>,
) -> Result<Telling, String> {
    let fleet = &shared.fleet;
    let hello = hello::greet(&fleet.key, Side::Caller, &fleet.directory.me(), &member.incarnation, None);
    let first = RoomsAsk { hello: Some(hello.clone()), ..RoomsAsk::default() };
    let channel = channel::connect(member, &fleet.tls).await?;
    let mut client = PeersClient::new(channel).max_decoding_message_size(limits::ANSWER_BYTES_MAX);
    let told = client.rooms(Asking { hello: Some(first), asks }).await;
    let mut telling = told.map_err(|status| status.message().to_owned())?.into_inner();
    let greeting = telling.message().await.map_err(|status| status.message().to_owned())?;
    match greeting.and_then(|told| told.told) {
        Some(Told::Hello(answer)) => greeted(fleet, &hello, &answer, member).inspect_err(|_| {
            fleet.counters.hellos_refused.add();
        })?,
        _ => return Err("it did not greet".to_owned()),
    }
    Ok(telling)
}

async fn read(shared: &Arc<Shared>, source: &Source, telling: &mut Telling) -> String {
    loop {
        let told = match telling.message().await {
            Ok(Some(told)) => told.told,
            Ok(None) => return "it ended the stream".to_owned(),
            Err(status) => return format!("it broke: {}", status.message()),
        };
        match told.map(item) {
            Some(Ok(Some(item))) => shared.told(source, item),
            Some(Ok(None)) | None => {}
            Some(Err(fault)) => return format!("what it says makes no sense: {fault}"),
        }
    }
}

fn item(told: Told) -> Result<Option<Item>, Fault> {
    Ok(match told {
        Told::Hello(_) => None,
        Told::Heads(heads) => {
            let heads: Result<_, Fault> = heads.heads.into_iter().map(head).collect();
            Some(Item::Heads(heads?))
        }
        Told::Message(message) => Some(delivery(message)?),
        Told::Over(room) => Some(Item::Over(wire::room("over", &room)?)),
    })
}

fn head(told: RoomHead) -> Result<Head, Fault> {
    let place = wire::from_place(&told.head.unwrap_or_default())?;
    let head = if told.refused.is_empty() { Ok(place.at) } else { Err(told.refused) };
    Ok(Head { room: place.room, head })
}

fn delivery(told: RoomMessage) -> Result<Item, Fault> {
    let deliver = told.deliver.clone();
    let message = Arc::new(wire::from_message(told)?);
    let rooms: Vec<(RoomName, Position)> = deliver
        .into_iter()
        .filter_map(|index| message.places.get(index as usize))
        .map(|place| (place.room.clone(), place.at))
        .collect();
    Ok(Item::Message(message, rooms))
}

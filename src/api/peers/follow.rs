//! Following what lives at another instance, and one connection wherever it lives.

use super::{
    Peers, channel,
    fault::{from_proto, not_sent, orphan},
    hello::{self, Side},
    link::greeted,
    places::At,
    route::Routing,
};
use crate::{
    api::{
        follow::{self, Opened},
        service::{Caller, Flow, Service},
    },
    core::{
        id::ConnectionId,
        reason::{Fault, FaultKind, GapCause},
    },
    limits,
    ports::{Holder, Member},
    proto::{
        LifecycleEvent, ReceiveRequest, ReceivedMessage, WatchRequest,
        fleet::{
            FollowReply, FollowRequest, follow_reply::Item, follow_request::Source, peers_client::PeersClient,
        },
        receive_request,
    },
    wire::cursor::{Cursor, CursorKind},
};
use futures_core::Stream;
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{sleep, timeout};
use tonic::{Streaming, transport::Channel};

/// What can be followed at other instances: messages and lifecycle events.
pub trait Followable: Send + Sized + 'static {
    type Request: Clone + Send + Sync + 'static;
    fn at(request: &Self::Request, at: &At) -> Self::Request;
    fn source(request: Self::Request) -> Source;
    fn item(item: Item) -> Option<Self>;
    fn cursor(&mut self) -> &mut String;
    /// Something is missing; None where that cannot be said.
    fn gap(cursor: String) -> Option<Self>;
    fn here(
        local: &Service,
        caller: &Caller,
        request: Self::Request,
    ) -> impl Future<Output = Result<Opened<Self>, Fault>> + Send;
}

impl Followable for ReceivedMessage {
    type Request = ReceiveRequest;

    fn at(request: &ReceiveRequest, at: &At) -> ReceiveRequest {
        let (cursor, from_start) = match at {
            At::Now => (String::new(), false),
            At::Start => (String::new(), true),
            At::After(cursor) => (cursor.clone(), false),
        };
        ReceiveRequest { cursor, from_start, ..request.clone() }
    }

    fn source(request: ReceiveRequest) -> Source {
        Source::Receive(request)
    }

    fn item(item: Item) -> Option<Self> {
        if let Item::Message(message) = item { Some(message) } else { None }
    }

    fn cursor(&mut self) -> &mut String {
        &mut self.cursor
    }

    fn gap(cursor: String) -> Option<Self> {
        Some(follow::unnamed_gap(cursor, GapCause::NotRetained, None))
    }

    async fn here(local: &Service, caller: &Caller, request: ReceiveRequest) -> Result<Opened<Self>, Fault> {
        local.receive_here(caller, request).await
    }
}

impl Followable for LifecycleEvent {
    type Request = WatchRequest;

    fn at(request: &WatchRequest, at: &At) -> WatchRequest {
        let cursor = match at {
            At::Now => String::new(),
            // A place in a life that no ring has had: each shard begins with what it keeps.
            At::Start => Cursor::Lifecycle { positions: vec![(0, 0); limits::CURSOR_POSITIONS_MAX] }.encode(),
            At::After(cursor) => cursor.clone(),
        };
        WatchRequest { cursor, ..request.clone() }
    }

    fn source(request: WatchRequest) -> Source {
        Source::Watch(request)
    }

    fn item(item: Item) -> Option<Self> {
        if let Item::Event(event) = item { Some(event) } else { None }
    }

    fn cursor(&mut self) -> &mut String {
        &mut self.cursor
    }

    fn gap(_: String) -> Option<Self> {
        None
    }

    async fn here(local: &Service, caller: &Caller, request: WatchRequest) -> Result<Opened<Self>, Fault> {
        local.watch_here(caller, request).await
    }
}

/// Followers share connections to a member, as many as one may carry.
#[derive(Default)]
pub struct Channels(Vec<(Channel, Arc<()>)>);

/// One follower's place on a connection.
struct Seat(#[expect(dead_code, reason = "counted by its clones")] Arc<()>);

impl Channels {
    fn seat(&self) -> Option<(Channel, Seat)> {
        let free =
            self.0.iter().find(|(_, seats)| Arc::strong_count(seats) <= limits::PEER_FOLLOWERS_PER_CHANNEL);
        free.map(|(channel, seats)| (channel.clone(), Seat(seats.clone())))
    }
}

/// The source broke, or is not reached: to be tried again.
pub fn is_passing(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::NotSent | FaultKind::Unavailable | FaultKind::Full)
}

impl Peers {
    async fn seat(&self, member: &Member) -> Result<(Channel, Seat), Fault> {
        {
            let mut channels = self.channels.lock();
            if let Some(known) = channels.get(&member.incarnation) {
                if let Some(seat) = known.seat() {
                    return Ok(seat);
                }
                if known.0.len() >= limits::PEER_FOLLOW_CHANNELS_MAX {
                    let what = "too many followers of that instance";
                    return Err(Fault::full(what, Duration::from_secs(1)));
                }
            } else {
                let members = self.fleet.directory.members();
                channels.retain(|known, _| members.iter().any(|member| member.incarnation == *known));
            }
        }
        let channel = channel::connect(member, &self.fleet.tls).await.map_err(not_sent)?;
        let seats = Arc::new(());
        let seat = Seat(seats.clone());
        let mut channels = self.channels.lock();
        channels.entry(member.incarnation.clone()).or_default().0.push((channel.clone(), seats));
        Ok((channel, seat))
    }

    pub(super) async fn open_at<T: Followable>(
        &self,
        member: &Member,
        caller: &Caller,
        request: T::Request,
    ) -> Result<Opened<T>, Fault> {
        let (channel, seat) = self.seat(member).await?;
        let me = self.fleet.directory.me();
        let hello = hello::greet(&self.fleet.key, Side::Caller, &me, &member.incarnation, None);
        let asked = FollowRequest {
            hello: Some(hello.clone()),
            principal: caller.principal.clone(),
            traceparent: caller.traceparent.clone().unwrap_or_default(),
            source: Some(T::source(request)),
        };
        let mut client = PeersClient::new(channel).max_decoding_message_size(limits::ANSWER_BYTES_MAX);
        let opening = async {
            let mut replies = client.follow(asked).await?.into_inner();
            let first = replies.message().await?;
            Ok::<_, tonic::Status>((first, replies))
        };
        let lost = |why: &str| not_sent(format!("instance {} at {}: {why}", member.instance, member.address));
        let (first, replies) = timeout(limits::PEER_OPEN_TIMEOUT, opening)
            .await
            .map_err(|_| lost("it does not answer"))?
            .map_err(|status| lost(status.message()))?;
        match first.and_then(|first| first.item) {
            Some(Item::Opened(opened)) => {
                let answer = opened.hello.unwrap_or_default();
                greeted(&self.fleet, &hello, &answer, member).map_err(|why| lost(&why))?;
                let cursor = Some(opened.cursor).filter(|cursor| !cursor.is_empty());
                let flow = Remote { replies, take: T::item, _seat: seat, over: false };
                Ok(Opened { cursor, flow: Box::pin(flow) })
            }
            Some(Item::Fault(fault)) => Err(from_proto(fault)),
            _ => Err(lost("it did not say that it began")),
        }
    }

    pub fn receive<'a>(
        self: &'a Arc<Self>,
        caller: &'a Caller,
        request: ReceiveRequest,
    ) -> Routing<'a, Flow<ReceivedMessage>> {
        use receive_request::Source;
        Box::pin(async move {
            match &request.source {
                Some(Source::Id(id)) if ConnectionId::parse(id).is_ok() => self.by_id(caller, request).await,
                Some(Source::Filter(_)) => self.fan_in(caller, request, CursorKind::Filter).await,
                Some(Source::Topic(_)) => self.fan_in(caller, request, CursorKind::Filter).await,
                // Says what is wrong with it.
                _ => Ok(self.local().receive_here(caller, request).await?.flow),
            }
        })
    }

    pub fn watch<'a>(
        self: &'a Arc<Self>,
        caller: &'a Caller,
        request: WatchRequest,
    ) -> Routing<'a, Flow<LifecycleEvent>> {
        Box::pin(self.fan_in(caller, request, CursorKind::Lifecycle))
    }

    async fn by_id(
        self: &Arc<Self>,
        caller: &Caller,
        request: ReceiveRequest,
    ) -> Result<Flow<ReceivedMessage>, Fault> {
        let Some(receive_request::Source::Id(text)) = &request.source else {
            return Err(Fault::new(FaultKind::Internal, "not of one connection"));
        };
        let id = ConnectionId::parse(text).map_err(|why| Fault::invalid("id", why.to_string()))?;
        let first = self.open_first(caller, &id, &request).await?;
        let at = match (&first.cursor, request.from_start, request.cursor.as_str()) {
            (Some(cursor), ..) => At::After(cursor.clone()),
            (None, true, _) => At::Start,
            (None, false, "") => At::Now,
            (None, false, cursor) => At::After(cursor.to_owned()),
        };
        let caller = caller.clone();
        let follower = ById { peers: self.clone(), caller, id, request, at };
        let readiness = self.local().readiness().clone();
        Ok(follow::run(readiness, move |sender| Box::pin(follower.follow(first.flow, sender))))
    }

    /// Where it was, then here, then where the directory says.
    async fn open_first(
        &self,
        caller: &Caller,
        id: &ConnectionId,
        request: &ReceiveRequest,
    ) -> Result<Opened<ReceivedMessage>, Fault> {
        if let Some(member) = self.remembered(id) {
            match self.open_at(&member, caller, request.clone()).await {
                Err(fault) if is_elsewhere(&fault) => self.forget(id),
                answer => return answer,
            }
        }
        match self.local().receive_here(caller, request.clone()).await {
            Err(fault) if fault.kind == FaultKind::NotFound => {}
            answer => return answer,
        }
        self.open_located(caller, id, request).await
    }

    async fn open_located(
        &self,
        caller: &Caller,
        id: &ConnectionId,
        request: &ReceiveRequest,
    ) -> Result<Opened<ReceivedMessage>, Fault> {
        let mut last = None;
        for _ in 0..2 {
            let member = match self.locate(id).await? {
                Holder::Me => {
                    let here = self.local().receive_here(caller, request.clone()).await;
                    return self.unless_unsettled(id, here).await;
                }
                Holder::Member(member) => member,
                Holder::Orphan => return Err(orphan(id.as_str())),
                Holder::Nobody => return Err(Fault::not_found(id.as_str())),
            };
            match self.open_at(&member, caller, request.clone()).await {
                Ok(opened) => {
                    self.remember(id, &member);
                    return Ok(opened);
                }
                Err(fault) if is_elsewhere(&fault) => last = Some(fault),
                Err(fault) => return Err(fault),
            }
        }
        let absent = last.unwrap_or_else(|| Fault::not_found(id.as_str()));
        self.unless_unsettled(id, Err(absent)).await
    }
}

fn is_elsewhere(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::NotFound | FaultKind::NotSent)
}

/// One connection, followed from owner to owner.
struct ById {
    peers: Arc<Peers>,
    caller: Caller,
    id: ConnectionId,
    request: ReceiveRequest,
    at: At,
}

impl ById {
    async fn follow(
        mut self,
        first: Flow<ReceivedMessage>,
        sender: follow::Sender<ReceivedMessage>,
    ) -> Result<(), Fault> {
        let mut flow = first;
        let mut pause = limits::PEER_FOLLOW_RETRY_BASE;
        let mut reopened = false;
        loop {
            let mut idle = true;
            let mut broke = false;
            while let Some(item) = std::future::poll_fn(|cx| flow.as_mut().poll_next(cx)).await {
                match item {
                    Ok(message) => {
                        self.at = At::After(message.cursor.clone());
                        (idle, pause) = (false, limits::PEER_FOLLOW_RETRY_BASE);
                        follow::push(&sender, message).await?;
                    }
                    Err(fault) if is_passing(&fault) => broke = true,
                    Err(fault) => return Err(fault),
                }
            }
            // Whoever has it has nothing more, and said so twice: it ended, or will go on elsewhere.
            let silent = reopened && idle && !broke;
            if silent && self.peers.is_nowhere(&self.id).await {
                return Ok(());
            }
            if broke || silent {
                sleep(pause).await;
                pause = (pause * 2).min(limits::PEER_FOLLOW_RETRY_MAX);
            }
            self.peers.forget(&self.id);
            flow = loop {
                let request = ReceivedMessage::at(&self.request, &self.at);
                match self.peers.open_located(&self.caller, &self.id, &request).await {
                    Ok(opened) => break opened.flow,
                    Err(fault) if fault.kind == FaultKind::NotFound => return Ok(()),
                    Err(fault) if is_passing(&fault) => {
                        sleep(pause).await;
                        pause = (pause * 2).min(limits::PEER_FOLLOW_RETRY_MAX);
                    }
                    Err(fault) => return Err(fault),
                }
            };
            reopened = true;
        }
    }
}

/// Items of a member. A broken stream is an error that says to try again.
struct Remote<T> {
    replies: Streaming<FollowReply>,
    take: fn(Item) -> Option<T>,
    _seat: Seat,
    over: bool,
}

impl<T> Stream for Remote<T> {
    type Item = Result<T, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let reply = std::task::ready!(Pin::new(&mut self.replies).poll_next(cx));
        let take = self.take;
        let item = match reply {
            None => None,
            Some(Err(status)) => {
                Some(Err(not_sent(format!("the owner's stream broke: {}", status.message()))))
            }
            Some(Ok(FollowReply { item: Some(Item::Fault(fault)) })) => Some(Err(from_proto(fault))),
            Some(Ok(FollowReply { item })) => {
                let unknown = || Fault::new(FaultKind::Internal, "an item of another kind");
                Some(item.and_then(take).ok_or_else(unknown))
            }
        };
        self.over = !matches!(item, Some(Ok(_)));
        Poll::Ready(item)
    }
}

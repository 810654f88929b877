//! What members ask of this instance. Everything is served from its own shards.

use super::{
    Fleet, Peers,
    fault::to_proto,
    hello::{self, Side, Trust},
    rooms::{RoomsEdge, Telling},
    rpc,
};
use crate::{
    api::{
        follow::Opened,
        observe::Protocol,
        service::{Caller, Service},
    },
    core::{
        id::ConnectionId,
        reason::{Fault, FaultKind},
    },
    limits,
    proto::fleet::{
        self, AbortReply, Call, CommitReply, FollowReply, FollowRequest, Hello, OfferReply, Reply, RoomsAsk,
        call::Rpc, follow_reply::Item, follow_request::Source, peers_server, reply::Outcome,
    },
};
use futures_core::Stream;
use prost::Message;
use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};
use tonic::{Request, Response, Status, Streaming};

/// The service as tonic wants it.
pub struct PeersEdge {
    fleet: Arc<Fleet>,
    local: Service,
}

impl PeersEdge {
    pub fn new(peers: &Peers) -> Self {
        PeersEdge { fleet: peers.fleet().clone(), local: peers.local().clone() }
    }

    fn greeted(&self, hello: &Hello) -> Result<(Trust, Hello), Box<Status>> {
        let me = self.fleet.directory.me();
        match hello::check(&self.fleet.key, Side::Caller, hello, &me) {
            Ok(trust) => {
                let nonce = Some(hello.nonce.clone());
                Ok((trust, hello::greet(&self.fleet.key, Side::Called, &me, &hello.from, nonce)))
            }
            Err(why) => {
                self.fleet.counters.hellos_refused.add();
                tracing::warn!(from = %hello.from, %why, "a peer's greeting is refused");
                Err(Box::new(Status::failed_precondition(format!("the greeting {why}"))))
            }
        }
    }
}

#[tonic::async_trait]
impl peers_server::Peers for PeersEdge {
    type CallsStream = Replies;

    async fn calls(&self, request: Request<Streaming<Call>>) -> Result<Response<Replies>, Status> {
        let mut calls = request.into_inner();
        let first = tokio::time::timeout(limits::PEER_OPEN_TIMEOUT, calls.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no greeting came"))??;
        let Some(Call { rpc: Some(Rpc::Hello(hello)), .. }) = first else {
            self.fleet.counters.hellos_refused.add();
            return Err(Status::failed_precondition("the first message must be a greeting"));
        };
        let (trust, answer) = self.greeted(&hello).map_err(|status| *status)?;
        let (replies, receiver) = mpsc::channel(limits::SENDS_PER_STREAM);
        let greeting = Reply { number: 0, outcome: Some(Outcome::Hello(answer)) };
        // Empty as yet: there is room.
        let _ = replies.try_send(greeting);
        let serving = Serving {
            fleet: self.fleet.clone(),
            local: self.local.clone(),
            trust,
            from: hello.from.into(),
            replies,
        };
        tokio::spawn(serving.serve(calls));
        Ok(Response::new(Replies(receiver)))
    }

    type FollowStream = Following;

    async fn follow(&self, request: Request<FollowRequest>) -> Result<Response<Following>, Status> {
        let request = request.into_inner();
        let (trust, answer) = self.greeted(&request.hello.unwrap_or_default()).map_err(|status| *status)?;
        let caller = Caller {
            principal: request.principal,
            deadline: None,
            traceparent: Some(request.traceparent).filter(|trace| !trace.is_empty()),
        };
        let begun = match believed(trust, &caller) {
            Err(fault) => Err(fault),
            Ok(()) => self.begin(&caller, request.source, answer).await,
        };
        Ok(Response::new(begun.unwrap_or_else(Following::refused)))
    }

    type RoomsStream = Telling;

    async fn rooms(&self, request: Request<Streaming<RoomsAsk>>) -> Result<Response<Telling>, Status> {
        let mut asks = request.into_inner();
        let first = tokio::time::timeout(limits::PEER_OPEN_TIMEOUT, asks.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no greeting came"))??;
        let hello = first.and_then(|ask| ask.hello).unwrap_or_default();
        let (trust, answer) = self.greeted(&hello).map_err(|status| *status)?;
        let rooms = rooms_of(&self.fleet, trust)
            .map_err(|fault| Status::failed_precondition(fault.message.into_owned()))?;
        rooms.stream(answer, asks).map(Response::new).map_err(|status| *status)
    }
}

/// Rooms are numbered only for members.
fn rooms_of(fleet: &Fleet, trust: Trust) -> Result<&RoomsEdge, Fault> {
    if trust != Trust::Full {
        return Err(Fault::new(FaultKind::Forbidden, "only a member of the fleet is served with rooms"));
    }
    fleet
        .rooms
        .as_ref()
        .ok_or_else(|| Fault::new(FaultKind::Unavailable, "this instance carries no rooms for members"))
}

impl PeersEdge {
    async fn begin(
        &self,
        caller: &Caller,
        source: Option<Source>,
        answer: Hello,
    ) -> Result<Following, Fault> {
        self.fleet.counters.served.add();
        match source {
            Some(Source::Receive(request)) => {
                let opened = self.local.receive_here(caller, request).await?;
                Ok(Following::begun(answer, opened, Item::Message))
            }
            Some(Source::Watch(request)) => {
                let opened = self.local.watch_here(caller, request).await?;
                Ok(Following::begun(answer, opened, Item::Event))
            }
            None => Err(Fault::invalid("source", "must be given")),
        }
    }
}

/// A principal is believed only of a member.
fn believed(trust: Trust, caller: &Caller) -> Result<(), Fault> {
    if trust == Trust::Full || caller.principal.is_empty() {
        return Ok(());
    }
    Err(Fault::new(FaultKind::Unauthenticated, "a caller's name is believed only of a member of the fleet"))
}

pub struct Replies(mpsc::Receiver<Reply>);

impl Stream for Replies {
    type Item = Result<Reply, Status>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|reply| reply.map(Ok))
    }
}

/// One stream of calls.
#[derive(Clone)]
struct Serving {
    fleet: Arc<Fleet>,
    local: Service,
    trust: Trust,
    from: Arc<str>,
    replies: mpsc::Sender<Reply>,
}

/// What one stream has under way here.
#[derive(Default)]
struct Running {
    calls: BTreeMap<u64, (AbortHandle, usize)>,
    bytes: usize,
}

impl Running {
    fn has_room(&self, bytes: usize) -> bool {
        self.calls.len() < limits::PEER_CALLS_MAX && self.bytes + bytes <= limits::PEER_BYTES_MAX
    }

    fn take(&mut self, number: u64) -> Option<AbortHandle> {
        let (handle, bytes) = self.calls.remove(&number)?;
        self.bytes -= bytes;
        Some(handle)
    }
}

impl Serving {
    /// Until the member goes away; what it waited for is then taken back, like any caller's.
    async fn serve(self, mut calls: Streaming<Call>) {
        let mut tasks: JoinSet<u64> = JoinSet::new();
        let mut running = Running::default();
        loop {
            tokio::select! {
                biased;
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                    // An aborted one was taken out when it was cancelled.
                    if let Ok(number) = ended { running.take(number); }
                }
                call = calls.message() => match call {
                    Ok(Some(call)) => self.accept(call, &mut tasks, &mut running).await,
                    Ok(None) | Err(_) => return,
                },
                () = self.replies.closed() => return,
            }
        }
    }

    async fn accept(&self, call: Call, tasks: &mut JoinSet<u64>, running: &mut Running) {
        let bytes = call.encoded_len();
        let Call { number, principal, deadline_ms, traceparent, rpc } = call;
        let rpc = match rpc {
            Some(Rpc::Cancel(_)) => {
                if let Some(handle) = running.take(number) {
                    handle.abort();
                }
                return;
            }
            Some(rpc) => rpc,
            None => return self.refuse(number, "a call that this version does not know").await,
        };
        if !running.has_room(bytes) || running.calls.contains_key(&number) {
            let fault = Fault::full("too many calls of a member are under way", Duration::from_millis(50));
            return self.reply(number, Err(fault)).await;
        }
        let caller = Caller {
            principal,
            deadline: deadline_ms.map(Duration::from_millis),
            traceparent: Some(traceparent).filter(|trace| !trace.is_empty()),
        };
        let serving = self.clone();
        let handle = tasks.spawn(async move {
            let outcome = serving.outcome(&caller, rpc).await;
            serving.fleet.counters.served.add();
            serving.reply(number, outcome).await;
            number
        });
        running.calls.insert(number, (handle, bytes));
        running.bytes += bytes;
    }

    async fn outcome(&self, caller: &Caller, rpc: Rpc) -> Result<Outcome, Fault> {
        match rpc {
            Rpc::Offer(_) | Rpc::Commit(_) | Rpc::Abort(_) => self.adopt(rpc).await,
            Rpc::RoomPost(_)
            | Rpc::RoomReserve(_)
            | Rpc::RoomFill(_)
            | Rpc::RoomSince(_)
            | Rpc::RoomMove(_) => rooms_of(&self.fleet, self.trust)?.answer(&self.from, rpc),
            Rpc::Hello(_) | Rpc::Cancel(_) => Err(Fault::new(FaultKind::Internal, "greeted twice")),
            rpc => {
                believed(self.trust, caller)?;
                let mut caller = caller.clone();
                let observed = rpc::about(&rpc)
                    .map(|(method, id)| self.local.observe(Protocol::Peer, method, &mut caller, id));
                let answer = rpc::serve(&self.local, &caller, rpc).await;
                match observed {
                    Some(call) => call.ended(answer),
                    None => answer,
                }
            }
        }
    }

    async fn adopt(&self, rpc: Rpc) -> Result<Outcome, Fault> {
        if self.trust != Trust::Full {
            return Err(Fault::new(
                FaultKind::Forbidden,
                "only a member of the fleet hands connections over",
            ));
        }
        let adoption = self
            .fleet
            .adoption
            .as_ref()
            .ok_or_else(|| Fault::new(FaultKind::Unavailable, "this instance takes nothing over now"))?;
        let parse = |id: &str| ConnectionId::parse(id).map_err(|why| Fault::invalid("id", why.to_string()));
        let from = self.from.clone();
        Ok(match rpc {
            Rpc::Offer(fleet::Offer { id, document, epoch }) => {
                let answer = adoption.offer(from, parse(&id)?, document, epoch).await;
                let refused = match answer {
                    Ok(()) => String::new(),
                    Err(why) if why.is_empty() => "no reason was given".to_owned(),
                    Err(why) => why,
                };
                Outcome::Offer(OfferReply { refused })
            }
            Rpc::Commit(fleet::Commit { id, epoch, last_seq }) => {
                let answer = adoption.commit(from, parse(&id)?, epoch, last_seq).await;
                answer.map_err(|error| Fault::new(FaultKind::Unavailable, error.message))?;
                Outcome::Commit(CommitReply {})
            }
            Rpc::Abort(fleet::Abort { id }) => {
                adoption.abort(from, parse(&id)?).await;
                Outcome::Abort(AbortReply {})
            }
            _ => return Err(Fault::new(FaultKind::Internal, "no hand-over")),
        })
    }

    async fn refuse(&self, number: u64, why: &'static str) {
        self.reply(number, Err(Fault::new(FaultKind::Unimplemented, why))).await;
    }

    async fn reply(&self, number: u64, outcome: Result<Outcome, Fault>) {
        let outcome = outcome.unwrap_or_else(|fault| Outcome::Fault(to_proto(fault)));
        // A member that went away hears nothing; its callers are told so by their own instance.
        let _ = self.replies.send(Reply { number, outcome: Some(outcome) }).await;
    }
}

/// A following: that it has begun, its items, and why it ended.
pub struct Following {
    opened: Option<Item>,
    items: Option<Pin<Box<dyn Stream<Item = Item> + Send>>>,
}

impl Following {
    fn refused(fault: Fault) -> Self {
        Following { opened: Some(Item::Fault(to_proto(fault))), items: None }
    }

    fn begun<T: 'static>(hello: Hello, opened: Opened<T>, wrap: fn(T) -> Item) -> Self {
        let cursor = opened.cursor.unwrap_or_default();
        let begun = Item::Opened(fleet::Opened { hello: Some(hello), cursor });
        Following { opened: Some(begun), items: Some(Box::pin(Wrapped { flow: opened.flow, wrap })) }
    }
}

impl Stream for Following {
    type Item = Result<FollowReply, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(item) = self.opened.take() {
            return Poll::Ready(Some(Ok(FollowReply { item: Some(item) })));
        }
        let Some(items) = &mut self.items else { return Poll::Ready(None) };
        items.as_mut().poll_next(cx).map(|item| item.map(|item| Ok(FollowReply { item: Some(item) })))
    }
}

struct Wrapped<T> {
    flow: crate::api::service::Flow<T>,
    wrap: fn(T) -> Item,
}

impl<T> Stream for Wrapped<T> {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        let wrap = self.wrap;
        self.flow.as_mut().poll_next(cx).map(|item| {
            item.map(|item| match item {
                Ok(item) => wrap(item),
                Err(fault) => Item::Fault(to_proto(fault)),
            })
        })
    }
}

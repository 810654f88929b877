//! Every RPC once, as a function from proto to proto: gRPC, gRPC-Web, Connect, REST and
//! server-sent events are thin shells over it.

mod members;
mod reading;
mod rooms;

pub use super::typed::Check;
pub(super) use members::{merged_members, merged_rooms, reached};
pub use rooms::RoomPorts;

use super::{
    convert,
    observe::Observer,
    peers::{Fleet, Peers},
    sends::{self, Sends},
    validate::{self, Defaults},
};
use crate::{
    core::{
        id::{self, ConnectionId},
        io::{Answer, Command, Context, List, Send as SendCommand, Update},
        names,
        reason::{Fault, FaultKind},
        spec::{Direction as CoreDirection, Info, Status},
    },
    limits,
    ports::{Bus, Condition, Health},
    proto::*,
    shard::mailbox::{self, Hub},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_core::Stream;
use prost::Message;
use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

/// What an edge knows of the one who calls.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// Empty: anonymous.
    pub principal: String,
    /// What the protocol's own deadline leaves (grpc-timeout, connect-timeout-ms).
    pub deadline: Option<Duration>,
    /// The W3C trace context, passed on as it came.
    pub traceparent: Option<String>,
}

/// A stream of answers; an error is its last item.
pub type Flow<T> = Pin<Box<dyn Stream<Item = Result<T, Fault>> + Send>>;

/// How far the instance is in its life, and how its backend is.
#[derive(Default)]
pub struct Readiness {
    life: AtomicU8,
    health: OnceLock<Arc<dyn Health>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Life {
    Starting,
    Ready,
    Draining,
}

impl Readiness {
    pub fn set(&self, life: Life) {
        self.life.store(life as u8, Ordering::Release);
    }

    /// Asked from now on; only the first one counts.
    pub fn watch(&self, health: Arc<dyn Health>) {
        // There is one backend, for the life of the process.
        let _ = self.health.set(health);
    }

    pub fn condition(&self) -> Option<Condition> {
        self.health.get().map(|health| health.condition())
    }

    pub fn is_draining(&self) -> bool {
        self.life.load(Ordering::Acquire) == Life::Draining as u8
    }

    pub fn not_ready(&self) -> Option<String> {
        let problem = || self.condition().and_then(|condition| condition.problem);
        match self.life.load(Ordering::Acquire) {
            1 => problem(),
            2 => Some("draining: this instance is leaving".into()),
            _ => Some(problem().map_or("starting".into(), |problem| format!("starting: {problem}"))),
        }
    }
}

/// One for each shard: its clones are counted by that shard's thread alone.
/// The second part is there in a fleet.
#[derive(Clone)]
pub struct Service(Arc<Inner>, Option<Arc<Peers>>);

pub struct Inner {
    pub hub: Hub,
    pub defaults: Defaults,
    pub instance: String,
    /// The topics' own log. None: topics are followed through the shards' rings.
    pub bus: Option<Arc<dyn Bus>>,
    pub readiness: Arc<Readiness>,
    /// None: there are no other instances.
    pub fleet: Option<Fleet>,
    /// What numbers and carries rooms outside this instance.
    pub rooms: RoomPorts,
    /// Looks at each message that an app sends to rooms or users; None: any will do.
    pub check: Option<Arc<dyn Check>>,
    pub observer: Observer,
}

impl Inner {
    /// Without a shard.
    pub fn unstarted() -> Self {
        Inner {
            hub: Hub::new(Vec::new(), 0),
            defaults: Defaults::default(),
            instance: String::new(),
            bus: None,
            readiness: Arc::default(),
            fleet: None,
            rooms: RoomPorts::default(),
            check: None,
            observer: Observer::default(),
        }
    }
}

type Answered<T> = Result<T, Fault>;

impl Service {
    pub fn new(mut inner: Inner) -> Self {
        let fleet = inner.fleet.take();
        let local = Service(Arc::new(inner), None);
        let peers = fleet.map(|fleet| Arc::new(Peers::new(fleet, local.clone())));
        Service(local.0, peers)
    }

    /// The other instances, in a fleet.
    pub fn peers(&self) -> Option<&Arc<Peers>> {
        self.1.as_ref()
    }

    pub(super) fn observer(&self) -> &Observer {
        &self.0.observer
    }

    pub(super) fn defaults(&self) -> &Defaults {
        &self.0.defaults
    }

    /// All shards of this instance.
    pub(super) fn hub(&self) -> &Hub {
        &self.0.hub
    }

    /// By which minted ids of accepted connections name this instance, so that others find it.
    pub fn instance_code(&self) -> Arc<str> {
        match &self.1 {
            Some(peers) => id::instance_code(&peers.fleet().directory.me()).into(),
            None => self.0.hub.code().clone(),
        }
    }

    pub(super) fn mint(&self) -> ConnectionId {
        self.0.hub.mint()
    }

    /// Answers everything with UNAVAILABLE.
    pub fn unstarted() -> Self {
        Service::new(Inner::unstarted())
    }

    /// None when ready; otherwise why not, in one line.
    pub fn not_ready(&self) -> Option<String> {
        self.0.readiness.not_ready()
    }

    pub fn condition(&self) -> Option<Condition> {
        self.0.readiness.condition()
    }

    pub(super) fn started(&self) -> Answered<()> {
        if self.0.hub.shards() > 0 { Ok(()) } else { Err(Fault::new(FaultKind::Unavailable, "not started")) }
    }

    fn context(&self, caller: &Caller) -> Context {
        let deadline = caller.deadline.and_then(|left| Some(mailbox::now_here()?.mono + left));
        let named = !caller.principal.is_empty();
        Context {
            principal: named.then(|| caller.principal.as_str().into()),
            deadline,
            trace: caller.traceparent.as_deref().map(Into::into),
        }
    }

    /// To the shard that owns `id`.
    async fn ask(&self, caller: &Caller, id: &ConnectionId, command: Command) -> Answered<Answer> {
        self.0.hub.call(self.0.hub.owner(id), self.context(caller), command).await
    }

    fn connection(&self, info: Info) -> WebSocketConnection {
        let shard = self.0.hub.owner(&info.id);
        convert::connection(info, &self.0.instance, shard)
    }

    pub async fn connect(&self, caller: &Caller, request: ConnectRequest) -> Answered<ConnectResponse> {
        self.started()?;
        if let Some(peers) = &self.1 {
            return peers.connect(caller, request).await;
        }
        let connect = validate::connect(&request, &self.0.defaults, || self.0.hub.mint())?;
        let id = connect.id.clone();
        match self.ask(caller, &id, Command::Connect(Box::new(connect))).await? {
            Answer::Connected { status, epoch, subprotocol, created } => Ok(ConnectResponse {
                id: id.to_string(),
                status: convert::status(status).into(),
                connection_id: id.to_string(),
                subprotocol: subprotocol.map(|name| name.to_string()).unwrap_or_default(),
                epoch,
                created,
            }),
            other => Err(unexpected(&other)),
        }
    }

    pub async fn get(&self, caller: &Caller, request: GetRequest) -> Answered<GetResponse> {
        self.started()?;
        if let Some(peers) = &self.1 {
            return peers.route(caller, request).await;
        }
        let id = validate::id(&request.id)?;
        match self.ask(caller, &id, Command::Get(id.clone())).await? {
            Answer::Info(info) => Ok(GetResponse { connection: Some(self.connection(*info)) }),
            other => Err(unexpected(&other)),
        }
    }

    /// A page of all shards, by id.
    pub async fn list(&self, caller: &Caller, request: ListRequest) -> Answered<ListResponse> {
        self.started()?;
        if let Some(peers) = &self.1 {
            return peers.list(caller, request).await;
        }
        let limit = validate::page_size(request.page_size)?;
        let after = page_token(&request.page_token)?;
        let mut tags = Vec::new();
        for filter in &request.filters {
            names::validate_tag_key("filters", &filter.key)?;
            tags.push((filter.key.clone(), filter.value.clone()));
        }
        let mut wanted = Vec::new();
        for status in &request.status {
            wanted.extend(status_of(*status)?);
        }
        let direction = direction_of(request.direction)?;
        if !request.instance.is_empty() && request.instance != self.0.instance {
            return Ok(ListResponse::default());
        }
        let shards = 0..self.0.hub.shards();
        let calls: Vec<_> = shards
            .map(|shard| {
                let list = List {
                    tags: tags.clone(),
                    status: wanted.clone(),
                    direction,
                    after: after.clone(),
                    limit: limit + 1,
                };
                self.0.hub.call(shard, self.context(caller), Command::List(Box::new(list)))
            })
            .collect();
        let (mut found, mut total) = (Vec::new(), 0);
        for call in calls {
            match call.await? {
                Answer::Listed { infos, total: more } => {
                    found.extend(infos);
                    total += more;
                }
                other => return Err(unexpected(&other)),
            }
        }
        found.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_| more).map(|info| token_of(info.id.as_str()));
        let connections = found.into_iter().map(|info| self.connection(info)).collect();
        Ok(ListResponse { connections, next_page_token: last.unwrap_or_default(), total })
    }

    pub async fn update(&self, caller: &Caller, request: UpdateRequest) -> Answered<UpdateResponse> {
        self.started()?;
        if let Some(peers) = &self.1 {
            return peers.route(caller, request).await;
        }
        let id = validate::id(&request.id)?;
        let settings = request.settings.unwrap_or_default();
        let mask = super::update::paths(request.update_mask.map(|mask| mask.paths), &settings)?;
        let expected = match self.ask(caller, &id, Command::Source(id.clone())).await? {
            Answer::Source(source) => source,
            other => return Err(unexpected(&other)),
        };
        let mut merged = ConnectRequest::decode(expected.clone())
            .map_err(|_| Fault::new(FaultKind::Internal, "the stored request cannot be read"))?;
        super::update::merge(&mut merged, settings, &mask);
        let spec = validate::checked(&merged, &self.0.defaults)?.spec;
        let update = Update { id: id.clone(), expected, spec };
        match self.ask(caller, &id, Command::Update(Box::new(update))).await? {
            Answer::Updated { info, live } => {
                let (now, later) = super::update::when(mask, live);
                let connection = Some(self.connection(*info));
                Ok(UpdateResponse { connection, applied_now: now, applied_at_reconnect: later })
            }
            other => Err(unexpected(&other)),
        }
    }

    pub async fn disconnect(
        &self,
        caller: &Caller,
        request: DisconnectRequest,
    ) -> Answered<DisconnectResponse> {
        self.started()?;
        if let Some(peers) = &self.1 {
            return peers.route(caller, request).await;
        }
        let id = validate::id(&request.id)?;
        let code = names::validate_close("code", request.code, "reason", &request.reason)?;
        let reason = request.reason.into();
        self.ask(caller, &id, Command::Disconnect { id: id.clone(), code, reason }).await?;
        Ok(DisconnectResponse {})
    }

    pub async fn start_publish(
        &self,
        caller: &Caller,
        request: StartPublishRequest,
    ) -> Answered<StartPublishResponse> {
        self.started()?;
        if let Some(peers) = &self.1 {
            return peers.route(caller, request).await;
        }
        let id = validate::id(&request.id)?;
        let options = PublishOptions {
            topic: request.topic,
            format: request.format,
            ordering: request.ordering,
            overflow: request.overflow,
            gaps: request.gaps,
            overflow_key: request.overflow_key,
        };
        let spec = Box::new(validate::publish_options(&options, "")?);
        match self.ask(caller, &id, Command::StartPublish { id: id.clone(), spec }).await? {
            Answer::Publishing { epoch, next_seq } => Ok(StartPublishResponse { epoch, next_seq }),
            other => Err(unexpected(&other)),
        }
    }

    pub async fn stop_publish(
        &self,
        caller: &Caller,
        request: StopPublishRequest,
    ) -> Answered<StopPublishResponse> {
        self.started()?;
        if let Some(peers) = &self.1 {
            return peers.route(caller, request).await;
        }
        let id = validate::id(&request.id)?;
        self.ask(caller, &id, Command::StopPublish(id.clone())).await?;
        Ok(StopPublishResponse {})
    }

    pub async fn send(&self, caller: &Caller, request: SendRequest) -> Answered<SendResponse> {
        self.started()?;
        if let Some(peers) = &self.1 {
            return peers.route(caller, request).await;
        }
        let command = send_command(request, &self.0.defaults)?;
        let shard = self.0.hub.owner(&command.id);
        let answer = self.0.hub.call(shard, self.context(caller), Command::Send(command)).await?;
        sends::response(answer)
    }

    pub async fn send_batch(
        &self,
        caller: &Caller,
        request: SendBatchRequest,
    ) -> Answered<SendBatchResponse> {
        self.started()?;
        if request.requests.len() > limits::BATCH_REQUESTS_MAX {
            let message = format!("a batch holds at most {} requests", limits::BATCH_REQUESTS_MAX);
            return Err(Fault::invalid("requests", message));
        }
        let mut sends = Sends::of_list(
            self.0.hub.clone(),
            self.context(caller),
            self.0.defaults.clone(),
            request.requests,
        );
        if let Some(peers) = &self.1 {
            sends.among(peers.clone(), caller.clone());
        }
        Ok(SendBatchResponse { results: sends.in_order().await })
    }

    /// Answers in any order; the stream ends when the requests ended and each was answered.
    pub fn send_stream(
        &self,
        caller: &Caller,
        requests: Pin<Box<dyn Stream<Item = SendRequest> + Send>>,
    ) -> Pin<Box<dyn Stream<Item = SendResult> + Send>> {
        // A stream's own deadline is no Send's: each has its timeout.
        let context = Context { deadline: None, ..self.context(caller) };
        let mut sends = Sends::of_stream(self.0.hub.clone(), context, self.0.defaults.clone(), requests);
        if let Some(peers) = &self.1 {
            sends.among(peers.clone(), Caller { deadline: None, ..caller.clone() });
        }
        Box::pin(sends)
    }

    pub async fn send_raw(&self, caller: &Caller, request: SendRawRequest) -> Answered<SendRawResponse> {
        self.started()?;
        if let Some(peers) = &self.1 {
            return peers.route(caller, request).await;
        }
        let id = validate::id(&request.id)?;
        let (payload, kind) = validate::payload(request.message, request.data, &request.content_type)?;
        self.ask(caller, &id, Command::SendRaw { id: id.clone(), payload, kind }).await?;
        Ok(SendRawResponse {})
    }

    pub async fn set_tag(&self, caller: &Caller, request: SetTagRequest) -> Answered<SetTagResponse> {
        self.started()?;
        if let Some(peers) = &self.1 {
            return peers.route(caller, request).await;
        }
        let id = validate::id(&request.id)?;
        names::validate_tag_key("key", &request.key)?;
        names::validate_tag_value("value", &request.value)?;
        let tags = vec![(request.key.into(), request.value.into())];
        self.ask(caller, &id, Command::SetTags { id: id.clone(), tags }).await?;
        Ok(SetTagResponse {})
    }

    pub async fn get_tag(&self, caller: &Caller, request: GetTagRequest) -> Answered<GetTagResponse> {
        self.started()?;
        names::validate_tag_key("key", &request.key)?;
        let tags = self.get_tags(caller, GetTagsRequest { id: request.id }).await?.tags;
        match tags.get(&request.key) {
            Some(value) => Ok(GetTagResponse { value: value.clone() }),
            None => Err(Fault::new(FaultKind::NotFound, "the connection has no such tag")),
        }
    }

    pub async fn set_tags(&self, caller: &Caller, request: SetTagsRequest) -> Answered<SetTagsResponse> {
        self.started()?;
        if let Some(peers) = &self.1 {
            return peers.route(caller, request).await;
        }
        let id = validate::id(&request.id)?;
        let tags = validate::tag_changes("tags", &request.tags)?;
        self.ask(caller, &id, Command::SetTags { id: id.clone(), tags }).await?;
        Ok(SetTagsResponse {})
    }

    pub async fn get_tags(&self, caller: &Caller, request: GetTagsRequest) -> Answered<GetTagsResponse> {
        self.started()?;
        if let Some(peers) = &self.1 {
            return peers.route(caller, request).await;
        }
        let id = validate::id(&request.id)?;
        match self.ask(caller, &id, Command::GetTags(id.clone())).await? {
            Answer::Tags(tags) => Ok(GetTagsResponse {
                tags: tags.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
            }),
            other => Err(unexpected(&other)),
        }
    }
}

pub(super) fn send_command(request: SendRequest, defaults: &Defaults) -> Answered<SendCommand> {
    let id = validate::id(&request.id)?;
    let timeout = validate::send_timeout(request.timeout_ms, defaults)?;
    let rule = request.correlation.as_ref().map(validate::rule_of).transpose()?.map(Box::new);
    let (payload, kind) = validate::payload(request.message, request.data, &request.content_type)?;
    Ok(SendCommand { id, payload, kind, timeout, rule })
}

pub(super) fn page_token(token: &str) -> Answered<Option<ConnectionId>> {
    named_by(token, |text| ConnectionId::parse(text).ok())
}

/// What a page's token says is the last name of the page before.
fn named_by<T>(token: &str, parse: impl FnOnce(&str) -> Option<T>) -> Answered<Option<T>> {
    if token.is_empty() {
        return Ok(None);
    }
    let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let name = text.and_then(|text| parse(&text));
    name.map(Some).ok_or_else(|| Fault::invalid("page_token", "is none of ours; begin again without it"))
}

/// A page's token: the last name on it.
pub(super) fn token_of(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(last)
}

/// None: both.
fn direction_of(number: i32) -> Answered<Option<CoreDirection>> {
    match Direction::try_from(number) {
        Ok(Direction::Unspecified) => Ok(None),
        Ok(Direction::Out) => Ok(Some(CoreDirection::Out)),
        Ok(Direction::In) => Ok(Some(CoreDirection::In)),
        Err(_) => Err(Fault::invalid("direction", "is not a value of this enum")),
    }
}

/// None: a status that no connection has matches nothing, but is no error.
fn status_of(number: i32) -> Answered<Option<Status>> {
    match ConnectionStatus::try_from(number) {
        Ok(ConnectionStatus::Connecting) => Ok(Some(Status::Connecting)),
        Ok(ConnectionStatus::Connected) => Ok(Some(Status::Connected)),
        Ok(ConnectionStatus::Disconnected) => Ok(Some(Status::Disconnected)),
        Ok(ConnectionStatus::Error) => Ok(Some(Status::Error)),
        Ok(ConnectionStatus::Reconnecting) => Ok(Some(Status::Reconnecting)),
        Ok(ConnectionStatus::Unknown) => Ok(None),
        Err(_) => Err(Fault::invalid("status", "is not a value of this enum")),
    }
}

fn unexpected(answer: &Answer) -> Fault {
    tracing::error!(?answer, "a shard answered with another kind");
    Fault::new(FaultKind::Internal, "an answer of another kind")
}

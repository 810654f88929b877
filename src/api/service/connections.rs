//! Connections as a whole: opened, listed, changed and closed.

use super::{Answered, Caller, Service, leaving, named_by, token_of, unexpected};
use crate::{
    api::{convert, update, validate},
    core::{
        id::ConnectionId,
        io::{Answer, Command, List, Update},
        names,
        reason::{Fault, FaultKind},
        spec::{Direction as CoreDirection, Info, Status},
    },
    proto::*,
};
use prost::Message;

impl Service {
    pub(super) fn connection(&self, info: Info) -> WebSocketConnection {
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
        let command = Command::Connect(Box::new(connect));
        match self.0.hub.call(self.0.hub.owner(&id), self.traced(caller), command).await? {
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
        if self.0.readiness.is_stopping() {
            // What was let go of would be missing. Members ask the store for it.
            return Err(Fault { kind: FaultKind::NotSent, ..leaving() });
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
        let mask = update::paths(request.update_mask.map(|mask| mask.paths), &settings)?;
        let expected = match self.ask(caller, &id, Command::Source(id.clone())).await? {
            Answer::Source(source) => source,
            other => return Err(unexpected(&other)),
        };
        let mut merged = ConnectRequest::decode(expected.clone())
            .map_err(|_| Fault::new(FaultKind::Internal, "the stored request cannot be read"))?;
        update::merge(&mut merged, settings, &mask);
        let spec = validate::checked(&merged, &self.0.defaults)?.spec;
        let update = Update { id: id.clone(), expected, spec };
        match self.ask(caller, &id, Command::Update(Box::new(update))).await? {
            Answer::Updated { info, live } => {
                let (now, later) = update::when(mask, live);
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
}

/// The place in a listing of connections by which its next page begins.
pub(in crate::api) fn page_token(token: &str) -> Answered<Option<ConnectionId>> {
    named_by(token, |text| ConnectionId::parse(text).ok())
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

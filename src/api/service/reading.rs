//! Receive and Watch: what followers and watchers read, here or at the instances that have it.

use super::{Answered, Caller, Flow, Service};
use crate::{
    api::{follow, validate},
    core::{
        io::{Context, Follow},
        names,
        reason::Fault,
    },
    proto::*,
};

impl Service {
    pub async fn receive(&self, caller: &Caller, request: ReceiveRequest) -> Answered<Flow<ReceivedMessage>> {
        self.started()?;
        if let Some(peers) = &self.1 {
            return peers.receive(caller, request).await;
        }
        Ok(self.receive_here(caller, request).await?.flow)
    }

    pub(super) fn reader(&self, context: Context) -> follow::Reader {
        follow::Reader { hub: self.0.hub.clone(), context, readiness: self.0.readiness.clone() }
    }

    /// From the shards of this instance.
    pub(in crate::api) async fn receive_here(
        &self,
        caller: &Caller,
        request: ReceiveRequest,
    ) -> Answered<follow::Opened<ReceivedMessage>> {
        use receive_request::Source;
        if request.from_start && !request.cursor.is_empty() {
            return Err(Fault::invalid("cursor", "must be empty when from_start is set"));
        }
        let from = match (request.from_start, request.cursor.as_str()) {
            (true, _) => follow::From::Start,
            (false, "") => follow::From::Now,
            (false, cursor) => follow::From::After(cursor),
        };
        let reader = self.reader(Context { deadline: None, ..self.context(caller) });
        match &request.source {
            Some(Source::Id(id)) => {
                let id = validate::id(id)?;
                follow::connection(reader, id.clone(), from).await.map_err(|fault| self.absent(&id, fault))
            }
            Some(Source::Filter(filter)) => {
                if filter.filters.is_empty() {
                    return Err(Fault::invalid("filter", "must hold at least one tag"));
                }
                let tags = filter.filters.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect();
                follow::rings(reader, Follow::Tags(tags), from).await
            }
            Some(Source::Topic(topic)) => {
                let topic = names::Topic::parse("topic", topic)?;
                match self.0.bus.clone() {
                    Some(bus) => follow::topic(reader.readiness, bus, topic.as_str().to_owned(), from).await,
                    None => follow::rings(reader, Follow::Topic(topic.shared()), from).await,
                }
            }
            Some(Source::Room(room)) => {
                let room = names::RoomName::parse("room", room)?;
                follow::room(self.room_log(reader.context, room), from).await
            }
            None => Err(Fault::invalid("source", "one of id, filter, topic and room must be given")),
        }
    }

    pub async fn watch(&self, caller: &Caller, request: WatchRequest) -> Answered<Flow<LifecycleEvent>> {
        self.started()?;
        if let Some(peers) = &self.1 {
            return peers.watch(caller, request).await;
        }
        Ok(self.watch_here(caller, request).await?.flow)
    }

    /// From the shards of this instance.
    pub(in crate::api) async fn watch_here(
        &self,
        caller: &Caller,
        request: WatchRequest,
    ) -> Answered<follow::Opened<LifecycleEvent>> {
        let id = match request.id.as_str() {
            "" => None,
            text => Some(validate::id(text)?),
        };
        let tags: Vec<_> = request.filters.into_iter().map(|tag| (tag.key, tag.value)).collect();
        let from = match request.cursor.as_str() {
            "" => follow::From::Now,
            cursor => follow::From::After(cursor),
        };
        let reader = self.reader(Context { deadline: None, ..self.context(caller) });
        follow::lifecycle(reader, from, move |event| event.is_wanted(id.as_ref(), &tags)).await
    }
}

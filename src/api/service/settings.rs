//! What is set on a connection beside its settings: its tags, and whether its messages are published.

use super::{Answered, Caller, Service, unexpected};
use crate::{
    api::validate,
    core::{
        io::{Answer, Command},
        names,
        reason::{Fault, FaultKind},
    },
    proto::*,
};

impl Service {
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

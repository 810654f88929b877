//! Messages to connections: one, many, a stream, and those without an answer; and what goes with them.

use super::{Answered, Caller, Service};
use crate::{
    api::{
        sends::{self, Sends},
        validate::{self, Defaults},
    },
    core::{
        io::{Command, Context, Send as SendCommand},
        reason::Fault,
    },
    limits,
    proto::*,
};
use futures_core::Stream;
use std::pin::Pin;

impl Service {
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
}

pub(in crate::api) fn send_command(request: SendRequest, defaults: &Defaults) -> Answered<SendCommand> {
    let id = validate::id(&request.id)?;
    let timeout = validate::send_timeout(request.timeout_ms, defaults)?;
    let rule = request.correlation.as_ref().map(validate::rule_of).transpose()?.map(Box::new);
    let (payload, kind) = validate::payload(request.message, request.data, &request.content_type)?;
    Ok(SendCommand { id, payload, kind, timeout, rule })
}

//! Calls of the sidecar: our own channels under the generated client, a deadline on every call.

use super::{
    endpoint::Address,
    stats::{Counters, count_error},
};
use crate::{limits, ports::BackendError};
use dapr::dapr::proto::runtime::v1::dapr_client::DaprClient;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Notify, time::Instant};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

/// Longer than daprd's least interval of 8 s, or it cuts the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) type Stub = DaprClient<InterceptedService<Channel, Token>>;

/// Puts the sidecar's token on every call.
#[derive(Clone)]
pub(super) struct Token(Option<MetadataValue<Ascii>>);

impl Token {
    pub(super) fn new(token: Option<&str>) -> Result<Token, BackendError> {
        let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(Token(None)) };
        let mut value: MetadataValue<Ascii> = token.parse().map_err(|_| BackendError {
            message: "DAPR_API_TOKEN holds a character that a header cannot carry".to_owned(),
            transient: false,
        })?;
        value.set_sensitive(true);
        Ok(Token(Some(value)))
    }
}

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("dapr-api-token", token.clone());
        }
        Ok(request)
    }
}

/// One connection, made when it is first needed and again when it breaks. Inside the runtime only.
///
/// The windows stay at their defaults: the adaptive ones break a channel that is busy.
pub(super) fn connect(address: &Address, token: &Token, body_bytes: usize) -> Result<Stub, BackendError> {
    Ok(DaprClient::with_interceptor(channel(address)?, token.clone())
        .max_decoding_message_size(limits::DAPR_DECODE_BYTES_MAX.max(body_bytes))
        .max_encoding_message_size(usize::MAX))
}

pub(super) fn channel(address: &Address) -> Result<Channel, BackendError> {
    let endpoint = Endpoint::from_shared(address.uri.clone()).map_err(|e| BackendError {
        message: format!("the sidecar's address {address} cannot be used: {e}"),
        transient: false,
    })?;
    Ok(endpoint
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_lazy())
}

/// What a call leaves behind for others: its errors, and a knock for the probe.
#[derive(Clone)]
pub(super) struct Watch {
    pub counters: Arc<Counters>,
    pub knock: Arc<Notify>,
}

/// Why a call has no answer.
#[derive(Debug)]
pub(super) enum Fault {
    Timeout,
    Status(Box<Status>),
}

impl Fault {
    pub(super) fn code(&self) -> Option<Code> {
        match self {
            Fault::Timeout => None,
            Fault::Status(status) => Some(status.code()),
        }
    }

    /// Made on this side, not by the sidecar.
    pub(super) fn is_transport(&self) -> bool {
        match self {
            Fault::Timeout => true,
            Fault::Status(status) => std::error::Error::source(&**status).is_some(),
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Fault::Timeout => "no answer within the deadline".to_owned(),
            Fault::Status(status) => {
                let mut text: String = status.message().chars().take(limits::LOG_TEXT_CHARS_MAX).collect();
                let mut cause = std::error::Error::source(&**status);
                while let Some(error) = cause {
                    cause = error.source();
                    // The last one says what happened; those before say that something did.
                    if cause.is_none() {
                        text = format!("{text}: {error}");
                    }
                }
                format!("{:?}: {text}", status.code())
            }
        }
    }

    pub(super) fn says(&self, part: &str) -> bool {
        match self {
            Fault::Timeout => false,
            Fault::Status(status) => status.message().contains(part),
        }
    }

    /// The sidecar does not know the call: it tries to pass it on to an application.
    pub(super) fn is_unknown_call(&self) -> bool {
        self.code() == Some(Code::Unimplemented)
            || (self.code() == Some(Code::Unknown) && self.says("failed to proxy request"))
    }
}

/// Waits for a call until its deadline; what fails makes the probe look.
pub(super) async fn within<T>(
    watch: &Watch,
    until: Instant,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Fault> {
    let fault = match tokio::time::timeout_at(until, call).await {
        Ok(Ok(response)) => return Ok(response.into_inner()),
        Ok(Err(status)) => Fault::Status(Box::new(status)),
        Err(_) => Fault::Timeout,
    };
    count_error(&watch.counters, fault.code());
    watch.knock.notify_one();
    Err(fault)
}

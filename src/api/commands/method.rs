//! The methods that a command can name, and its request.

use crate::{
    api::{
        counters::calls::Method,
        json, rest,
        service::{Caller, Service},
    },
    core::reason::{Fault, FaultKind},
    proto::*,
};
use serde_json::{Map, Value};

/// What a second run would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing: it only reads, and need not be claimed.
    Reads,
    /// What the first one did.
    Repeatable,
    /// Something more: it must not run twice.
    Once,
}

macro_rules! methods {
    ($($method:ident($request:ident) $call:ident, $effect:ident;)+) => {
        /// A method and its request.
        pub enum Request { $($method($request),)+ }

        pub const METHODS: &[&str] = &[$(stringify!($method),)+];

        impl Request {
            fn of(method: &str, data: &[u8]) -> Result<Self, Fault> {
                match method {
                    $(stringify!($method) => Ok(Request::$method(decode::$call(data)?)),)+
                    _ => Err(Fault::unimplemented("type")),
                }
            }

            pub fn method(&self) -> Method {
                match self {
                    $(Request::$method(_) => Method::$method,)+
                }
            }

            pub fn effect(&self) -> Effect {
                match self {
                    // A chosen id is dialled once, however often it is asked for.
                    Request::Connect(request) if !request.connection_id.is_empty() => Effect::Repeatable,
                    $(Request::$method(_) => Effect::$effect,)+
                }
            }

            /// The response, as proto3 JSON.
            pub async fn run(self, service: &Service, caller: &Caller) -> Result<Vec<u8>, Fault> {
                let written = match self {
                    $(Request::$method(request) => {
                        serde_json::to_vec(&service.$call(caller, request).await?)
                    })+
                };
                written.map_err(|_| Fault::new(FaultKind::Internal, "the response cannot be written"))
            }
        }
    };
}

methods! {
    Connect(ConnectRequest) connect, Once;
    Disconnect(DisconnectRequest) disconnect, Repeatable;
    Send(SendRequest) send, Once;
    SendRaw(SendRawRequest) send_raw, Once;
    StartPublish(StartPublishRequest) start_publish, Repeatable;
    StopPublish(StopPublishRequest) stop_publish, Repeatable;
    SetTag(SetTagRequest) set_tag, Repeatable;
    SetTags(SetTagsRequest) set_tags, Repeatable;
    GetTag(GetTagRequest) get_tag, Reads;
    GetTags(GetTagsRequest) get_tags, Reads;
    Get(GetRequest) get, Reads;
    List(ListRequest) list, Reads;
    Update(UpdateRequest) update, Repeatable;
}

/// How each request is read: all but one as its message stands.
mod decode {
    use super::*;

    macro_rules! plain {
        ($($call:ident $request:ident,)+) => {
            $(pub fn $call(data: &[u8]) -> Result<$request, Fault> {
                json::decode(data)
            })+
        };
    }

    plain! {
        connect ConnectRequest, disconnect DisconnectRequest, send SendRequest, send_raw SendRawRequest,
        start_publish StartPublishRequest, stop_publish StopPublishRequest, set_tag SetTagRequest,
        set_tags SetTagsRequest, get_tag GetTagRequest, get_tags GetTagsRequest, get GetRequest,
        list ListRequest,
    }

    /// As with REST's PATCH: without a mask, the settings that are there are changed.
    pub fn update(data: &[u8]) -> Result<UpdateRequest, Fault> {
        rest::decode_update(data, true)
    }
}

/// The method that an event's type names by its last word, in any case and with or without `_` and
/// `-`: `com.virtufin.websocketmanager.command.SendRaw`, `Send_Raw` and `acme.orders.sendraw` are one.
pub fn method_of(kind: &str) -> Option<&'static str> {
    let last = kind.rsplit(['.', '/', ':']).next().unwrap_or(kind);
    let plain = |text: &str| -> String { text.chars().filter(|c| !matches!(c, '_' | '-')).collect() };
    let word = plain(last);
    METHODS.iter().find(|method| method.eq_ignore_ascii_case(&word)).copied()
}

impl Request {
    pub fn read(method: &'static str, data: Map<String, Value>) -> Result<Self, Fault> {
        let bytes = serde_json::to_vec(&Value::Object(data))
            .map_err(|_| Fault::new(FaultKind::Internal, "the request cannot be written"))?;
        Request::of(method, &bytes)
    }

    /// The connection it is about; empty when there is none yet.
    pub fn connection(&self) -> &str {
        match self {
            Request::Connect(request) => &request.connection_id,
            Request::Disconnect(request) => &request.id,
            Request::Send(request) => &request.id,
            Request::SendRaw(request) => &request.id,
            Request::StartPublish(request) => &request.id,
            Request::StopPublish(request) => &request.id,
            Request::SetTag(request) => &request.id,
            Request::SetTags(request) => &request.id,
            Request::GetTag(request) => &request.id,
            Request::GetTags(request) => &request.id,
            Request::Get(request) => &request.id,
            Request::List(_) => "",
            Request::Update(request) => &request.id,
        }
    }
}

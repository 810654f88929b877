//! REST: a request's path, query and body become the RPC's message.

use super::{
    caller,
    counters::calls,
    json::{self, Refusal},
    observe::Protocol,
    openapi,
    query::{self, Query},
    routes::{ParamKind, ROUTES, Route},
    service::{Caller, Service},
    sse,
};
use crate::{
    core::reason::{Fault, FaultKind},
    proto::*,
};
use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, RawPathParams},
    routing::{MethodFilter, on},
};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, request::Parts};
use serde_json::Value;
use std::pin::Pin;

pub mod rooms;
#[cfg(test)]
mod tests;

pub type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Fault>> + Send>>;
pub type Run = fn(Service, Caller, Input) -> Answer;

/// A request, taken apart.
pub struct Input {
    path: Vec<(String, String)>,
    query: Query,
    body: Bytes,
    last_event: Option<String>,
}

impl Input {
    fn path(&self, name: &str) -> &str {
        self.path.iter().find(|pair| pair.0 == name).map_or("", |pair| &pair.1)
    }

    /// The path decides; a body may repeat it, but not say otherwise.
    fn name(&self, name: &'static str, slot: &mut String) -> Result<(), Fault> {
        let given = self.path(name);
        if !slot.is_empty() && slot != given {
            return Err(Fault::invalid(name, "the body names another one than the path"));
        }
        given.clone_into(slot);
        Ok(())
    }
}

/// The routes of the table over `service`.
pub fn router(service: &Service) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let service = service.clone();
        let handler = move |request: Request<Body>| handle(service.clone(), route, request);
        let method = Method::from_bytes(route.method.as_bytes()).unwrap_or(Method::GET);
        let filter = MethodFilter::try_from(method).unwrap_or(MethodFilter::GET);
        router = router.route(route.path, on(filter, handler));
    }
    router
}

async fn handle(service: Service, route: &'static Route, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut caller = caller::of_rest(&parts.headers, &parts.extensions);
    let mut call = service.observe(Protocol::Rest, route.rpc, &mut caller, "");
    let answer = match take(route, parts, body).await {
        Err(refusal) => Err(refusal),
        Ok(input) => {
            call.about(input.path("id"));
            (route.run)(service, caller, input).await.map_err(Refusal::from)
        }
    };
    call.answered(answer).unwrap_or_else(Refusal::into_response)
}

async fn take(route: &'static Route, mut parts: Parts, body: Body) -> Result<Input, Refusal> {
    let path = RawPathParams::from_request_parts(&mut parts, &())
        .await
        .map_err(|refused| Refusal::from(unreadable(route, &refused.body_text())))?
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let query = Query::parse(parts.uri.query(), &known(route))?;
    json::refuse_encoding(&parts.headers)?;
    let body = json::read(body).await?;
    if !body.is_empty() {
        refuse_body(route, &parts.headers)?;
    }
    let last_event = match parts.headers.get("last-event-id").map(|value| value.to_str()) {
        None => None,
        Some(Ok(cursor)) => Some(cursor.to_owned()),
        // To begin from now instead would skip messages silently.
        Some(Err(_)) => return Err(Fault::invalid("last-event-id", "is not one of our cursors").into()),
    };
    Ok(Input { path, query, body, last_event })
}

/// Which part of the path is no UTF-8: the router tells it in words alone.
fn unreadable(route: &Route, told: &str) -> Fault {
    let names = openapi::path_names(route.path);
    let name = names.into_iter().find(|name| told.contains(&format!("`{name}`")));
    Fault::invalid(name.unwrap_or("path"), "is not UTF-8")
}

fn refuse_body(route: &Route, headers: &HeaderMap) -> Result<(), Refusal> {
    if !route.body {
        return Err(Fault::invalid("body", "this route takes none").into());
    }
    match json::media_type(headers) {
        None => Ok(()),
        Some(media)
            if media == json::JSON || (media.starts_with("application/") && media.ends_with("+json")) =>
        {
            Ok(())
        }
        Some(_) => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            FaultKind::Invalid,
            "content-type: must be application/json",
        )),
    }
}

/// The query keys of a route, as `Query` wants them.
fn known(route: &Route) -> Vec<&'static str> {
    route
        .query
        .iter()
        .map(|param| match (param.kind, param.name) {
            (ParamKind::Tags, _) => query::TAG_PREFIX,
            (_, "pageSize") => "page_size",
            (_, "pageToken") => "page_token",
            (_, "updateMask") => "update_mask",
            (_, "fromStart") => "from_start",
            (_, name) => name,
        })
        .collect()
}

/// One RPC: its message from the body, then what path and query say, then the call.
macro_rules! rpc {
    ($name:ident, $request:ident, |$message:ident, $input:ident| $fill:expr) => {
        rpc!($name by $name, $request, |$message, $input| $fill);
    };
    ($name:ident by $call:ident, $request:ident, |$message:ident, $input:ident| $fill:expr) => {
        pub fn $name(service: Service, caller: Caller, input: Input) -> Answer {
            fn fill($message: &mut $request, $input: &Input) -> Result<(), Fault> {
                $fill
            }
            Box::pin(async move {
                let mut message: $request = json::decode(&input.body)?;
                fill(&mut message, &input)?;
                Ok(json::ok(&service.$call(&caller, message).await?))
            })
        }
    };
}

use rpc;

rpc!(connect, ConnectRequest, |_message, _input| Ok(()));
rpc!(list, ListRequest, |message, input| fill_list(message, &input.query));
rpc!(get, GetRequest, |message, input| input.name("id", &mut message.id));
rpc!(disconnect, DisconnectRequest, |message, input| {
    input.name("id", &mut message.id)?;
    message.code = input.query.number("code")?;
    message.reason = input.query.text("reason")?;
    Ok(())
});
rpc!(start_publish, StartPublishRequest, |message, input| input.name("id", &mut message.id));
rpc!(stop_publish, StopPublishRequest, |message, input| input.name("id", &mut message.id));
rpc!(send, SendRequest, |message, input| input.name("id", &mut message.id));
rpc!(send_batch, SendBatchRequest, |_message, _input| Ok(()));
rpc!(send_raw, SendRawRequest, |message, input| input.name("id", &mut message.id));
rpc!(set_tag, SetTagRequest, |message, input| {
    input.name("id", &mut message.id)?;
    input.name("key", &mut message.key)
});
rpc!(get_tag, GetTagRequest, |message, input| {
    input.name("id", &mut message.id)?;
    input.name("key", &mut message.key)
});
rpc!(set_tags, SetTagsRequest, |message, input| input.name("id", &mut message.id));
rpc!(get_tags, GetTagsRequest, |message, input| input.name("id", &mut message.id));

fn fill_list(message: &mut ListRequest, query: &Query) -> Result<(), Fault> {
    message.filters = query.tags();
    for text in query.many("status") {
        let status = Query::choice("status", text, "", ConnectionStatus::from_str_name)?;
        message.status.push(status.into());
    }
    if let Some(text) = query.one("direction")? {
        message.direction = Query::choice("direction", text, "DIRECTION_", Direction::from_str_name)?.into();
    }
    message.instance = query.text("instance")?;
    message.page_size = query.number("page_size")?;
    message.page_token = query.text("page_token")?;
    Ok(())
}

pub fn update(service: Service, caller: Caller, input: Input) -> Answer {
    Box::pin(async move {
        let mut message = decode_update(&input.body, true)?;
        input.name("id", &mut message.id)?;
        if let Some(mask) = input.query.one("update_mask")? {
            message.update_mask = Some(mask_of(mask));
        }
        Ok(json::ok(&service.update(&caller, message).await?))
    })
}

/// An UpdateRequest's mask is one string in proto3 JSON, which the generated code does not read.
/// With `implied`, a body without a mask changes the settings that it holds.
pub fn decode_update(body: &[u8], implied: bool) -> Result<UpdateRequest, Fault> {
    let mut value = json::value(body)?;
    let mut mask = None;
    if let Value::Object(members) = &mut value {
        for name in ["updateMask", "update_mask"] {
            mask = match members.remove(name) {
                None => mask,
                Some(Value::String(paths)) => Some(mask_of(&paths)),
                Some(_) => {
                    return Err(Fault::invalid(name, "must be a string of fields separated by commas"));
                }
            };
        }
        if let (true, None, Some(Value::Object(settings))) = (implied, &mask, members.get("settings")) {
            let paths = settings.keys().map(|name| query::snake(name)).collect();
            mask = Some(pbjson_types::FieldMask { paths });
        }
    }
    let mut message: UpdateRequest = json::from_value(value)?;
    message.update_mask = mask;
    Ok(message)
}

fn mask_of(paths: &str) -> pbjson_types::FieldMask {
    let paths = paths.split(',').map(str::trim).filter(|path| !path.is_empty()).map(query::snake).collect();
    pbjson_types::FieldMask { paths }
}

pub fn receive_one(service: Service, caller: Caller, input: Input) -> Answer {
    let source = receive_request::Source::Id(input.path("id").to_owned());
    follow(service, caller, input, Ok(source))
}

pub fn receive_room(service: Service, caller: Caller, input: Input) -> Answer {
    let source = receive_request::Source::Room(input.path("room").to_owned());
    follow(service, caller, input, Ok(source))
}

pub fn receive(service: Service, caller: Caller, input: Input) -> Answer {
    let source = source_of(&input.query);
    follow(service, caller, input, source)
}

fn source_of(query: &Query) -> Result<receive_request::Source, Fault> {
    let filters = query.tags();
    match (query.one("topic")?, filters.is_empty()) {
        (Some(topic), true) => Ok(receive_request::Source::Topic(topic.to_owned())),
        (None, false) => Ok(receive_request::Source::Filter(TagFilters { filters })),
        _ => Err(Fault::invalid("topic", "give either a topic or tag filters (tag.<key>=<value>)")),
    }
}

fn follow(
    service: Service,
    caller: Caller,
    input: Input,
    source: Result<receive_request::Source, Fault>,
) -> Answer {
    Box::pin(async move {
        let source = Some(source?);
        // A browser that comes back sends the header beside the URL that it began with.
        let resumed = input.last_event.as_ref().filter(|cursor| !cursor.is_empty());
        let cursor = match resumed {
            Some(cursor) => cursor.clone(),
            None => input.query.text("cursor")?,
        };
        let from_start = input.query.flag("from_start")? && resumed.is_none();
        let flow = service.receive(&caller, ReceiveRequest { source, cursor, from_start }).await?;
        Ok(sse::respond(service.counted(calls::Method::Receive, flow), sse::message_event))
    })
}

pub fn watch(service: Service, caller: Caller, input: Input) -> Answer {
    Box::pin(async move {
        let resumed = input.last_event.as_ref().filter(|cursor| !cursor.is_empty());
        let cursor = match resumed {
            Some(cursor) => cursor.clone(),
            None => input.query.text("cursor")?,
        };
        let request = WatchRequest { filters: input.query.tags(), id: input.query.text("id")?, cursor };
        let flow = service.watch(&caller, request).await?;
        Ok(sse::respond(service.counted(calls::Method::Watch, flow), sse::lifecycle_event))
    })
}

//! Paths whose JSON bodies go to rooms, to a topic for an application to handle, or to both, as
//! `--rest-route` says.
//!
//! Decisions that callers can rely on:
//! - The topic comes first: what it does not take goes to no room. When the room then refuses, the
//!   answer says that the event is out.
//! - The answer has the message's positions, as Rooms.Send has them; 202 without a room.
//! - The event's data is the body as it came. Its extensions are the path's variables (letters and
//!   digits of their names), `room`, `messageid` and `principal`; its subject is the room.

#[cfg(test)]
mod tests;

use super::{
    caller,
    counters::IntakeCounters,
    events::{self, Letter, Published},
    json::{self, Refusal},
    posts::Poster,
    service::Caller,
    typed::Check,
};
use crate::{
    core::{
        correlation::Kind,
        id::ConnectionId,
        percent,
        reason::{Certainty, Fault, FaultKind},
        rooms::{
            Place, Post, RoomName,
            intake::{RestRoute, attribute},
            typed::wrap,
        },
        time::Wall,
    },
    ports::Bus,
    wire::event::{SOURCE, rfc3339},
};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request};
use serde_json::{Map, Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

pub const TYPE_REQUEST: &str = "com.virtufin.websocketmanager.request";
/// An event is about a connection; these are about none, and go under this name.
const NOBODY: &str = "requests";
/// When the bus did not take an event in time.
const BUS_RETRY: Duration = Duration::from_secs(1);

pub struct Parts {
    pub routes: Vec<RestRoute>,
    pub poster: Arc<dyn Poster>,
    pub bus: Arc<dyn Bus>,
    pub check: Option<Arc<dyn Check>>,
    /// Drawn at each start of the process: events' ids begin with it.
    pub run: u64,
    pub counters: Arc<IntakeCounters>,
}

/// One for each shard.
#[derive(Clone)]
pub struct Entries(Arc<Parts>);

/// What a path was found to be.
pub enum Entry {
    Route(Arc<Parts>, usize),
    /// The methods that the path takes.
    WrongMethod(String),
}

impl Entries {
    pub fn new(parts: Parts) -> Self {
        Entries(Arc::new(parts))
    }

    /// The first route that fits. None: the path is none of ours.
    pub fn find(&self, method: &Method, path: &str) -> Option<Entry> {
        let mut allowed = Vec::new();
        for (at, route) in self.0.routes.iter().enumerate() {
            if route.path.matches(path).is_none() {
                continue;
            }
            if *route.method == *method.as_str() {
                return Some(Entry::Route(self.0.clone(), at));
            }
            if !allowed.contains(&&*route.method) {
                allowed.push(&*route.method);
            }
        }
        (!allowed.is_empty()).then(|| Entry::WrongMethod(allowed.join(", ")))
    }
}

impl Entry {
    pub async fn answer(self, request: Request<Body>) -> Response<Body> {
        let (parts, at) = match self {
            Entry::Route(parts, at) => (parts, at),
            Entry::WrongMethod(allowed) => return wrong_method(&allowed),
        };
        let route = &parts.routes[at];
        match take(&parts, route, request).await {
            Ok(places) => {
                parts.counters.rest_taken.add();
                accepted(places)
            }
            Err(refusal) => {
                parts.counters.rest_refused.add();
                refusal.into_response()
            }
        }
    }
}

fn wrong_method(allowed: &str) -> Response<Body> {
    let message = format!("this route takes {allowed} only");
    let mut response =
        Refusal::new(StatusCode::METHOD_NOT_ALLOWED, FaultKind::Unimplemented, message).into_response();
    if let Ok(value) = HeaderValue::from_str(allowed) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}

/// None: there was no room. Numbers are texts, as proto3 JSON has them.
fn accepted(places: Option<Vec<Place>>) -> Response<Body> {
    let Some(places) = places else { return json::respond(StatusCode::ACCEPTED, &json!({})) };
    let position = |place: Place| {
        let (epoch, offset) = (place.at.epoch.to_string(), place.at.offset.to_string());
        json!({"room": place.room.as_str(), "epoch": epoch, "offset": offset})
    };
    json::ok(&json!({"positions": places.into_iter().map(position).collect::<Vec<_>>()}))
}

async fn take(
    parts: &Parts,
    route: &RestRoute,
    request: Request<Body>,
) -> Result<Option<Vec<Place>>, Refusal> {
    let (head, body) = request.into_parts();
    let variables = variables(route, head.uri.path())?;
    if head.uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(Fault::invalid("query", "this route takes none").into());
    }
    let room = room(route, &variables)?;
    let body = body_of(&head, body).await?;
    let payload = match &route.message_id {
        Some(id) => Bytes::from(wrap(id, &body)),
        None => body.clone(),
    };
    if let Some(check) = &parts.check {
        check.check(&payload)?;
    }
    let caller = caller::of_rest(&head.headers, &head.extensions);
    let work = carry_out(parts, route, &caller, &variables, room, body, payload);
    match tokio::time::timeout(route.wait, work).await {
        Ok(done) => done.map_err(Refusal::from),
        Err(_) => {
            let what = format!("not taken within {} ms", route.wait.as_millis());
            Err(Fault::new(FaultKind::TimedOut, what).with_certainty(Certainty::MaybeSent).into())
        }
    }
}

type Variables<'a> = Vec<(&'a str, String)>;

fn variables<'a>(route: &'a RestRoute, path: &str) -> Result<Variables<'a>, Fault> {
    let decoded = |(name, raw): (&'a str, &str)| match percent::strict(raw, false) {
        Some(value) if !value.contains(char::is_control) => Ok((name, value)),
        Some(_) => Err(Fault::invalid(name.to_owned(), "must not hold control characters")),
        None => Err(Fault::invalid(name.to_owned(), "is not UTF-8")),
    };
    route.path.matches(path).unwrap_or_default().into_iter().map(decoded).collect()
}

fn room(route: &RestRoute, variables: &Variables) -> Result<Option<RoomName>, Fault> {
    let Some(template) = &route.room else { return Ok(None) };
    let value =
        |place: &str| variables.iter().find(|pair| pair.0 == place).map(|pair| pair.1.as_str().into());
    let name = template.fill(value).map_err(|place| Fault::invalid(place.to_owned(), "is missing"))?;
    RoomName::parse("room", &name).map(Some)
}

async fn body_of(head: &request::Parts, body: Body) -> Result<Bytes, Refusal> {
    json::refuse_encoding(&head.headers)?;
    let body = json::read(body).await?;
    let media = json::media_type(&head.headers).unwrap_or_else(|| json::JSON.into());
    if media != json::JSON && !(media.starts_with("application/") && media.ends_with("+json")) {
        let message = "content-type: must be application/json";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, FaultKind::Invalid, message));
    }
    match serde_json::from_slice::<Value>(&body) {
        Ok(_) => Ok(body.slice_ref(body.trim_ascii())),
        Err(error) => Err(Fault::invalid("body", format!("is not JSON: {error}")).into()),
    }
}

async fn carry_out(
    parts: &Parts,
    route: &RestRoute,
    caller: &Caller,
    variables: &Variables<'_>,
    room: Option<RoomName>,
    body: Bytes,
    payload: Bytes,
) -> Result<Option<Vec<Place>>, Fault> {
    if let Some(topic) = &route.topic {
        let event = render(parts.run, route, caller, variables, room.as_ref(), &body);
        let about =
            ConnectionId::parse(NOBODY).map_err(|bad| Fault::new(FaultKind::Internal, bad.to_string()))?;
        let letter = Letter { topic: topic.shared(), about, relaxed: true, event };
        match events::publish(&parts.bus, letter, route.wait).await {
            Published::Taken => {}
            Published::Refused => {
                return Err(Fault::invalid(
                    "body",
                    format!("topic {topic} does not take it: too large, mostly"),
                ));
            }
            Published::Lost => {
                let fault = Fault::new(FaultKind::TimedOut, format!("topic {topic} did not take it in time"));
                let retry_after = Some(BUS_RETRY);
                return Err(Fault { retry_after, ..fault }.with_certainty(Certainty::MaybeSent));
            }
        }
    }
    let Some(room) = room else { return Ok(None) };
    let posted = parts.poster.post(vec![room], Post { kind: Kind::Text, payload }).await;
    posted.map(Some).map_err(|fault| match &route.topic {
        None => fault,
        Some(topic) => {
            let message =
                format!("published to topic {topic}, but the room did not take it: {}", fault.message);
            Fault { message: message.into(), ..fault }.with_certainty(Certainty::MaybeSent)
        }
    })
}

/// The body stands in the event as it came.
fn render(
    run: u64,
    route: &RestRoute,
    caller: &Caller,
    variables: &Variables,
    room: Option<&RoomName>,
    body: &[u8],
) -> Vec<u8> {
    static EVENTS: AtomicU64 = AtomicU64::new(1);
    let number = EVENTS.fetch_add(1, Ordering::Relaxed);
    let mut event: Map<String, Value> = Map::new();
    for (name, value) in variables {
        event.insert(attribute(name), value.as_str().into());
    }
    let fixed = [
        ("specversion", "1.0".to_owned()),
        ("id", format!("request-{run:016x}-{number}")),
        ("source", SOURCE.to_owned()),
        ("type", TYPE_REQUEST.to_owned()),
        ("time", rfc3339(wall())),
        ("datacontenttype", json::JSON.to_owned()),
    ];
    let optional = [
        ("subject", room.map(RoomName::as_str)),
        ("room", room.map(RoomName::as_str)),
        ("messageid", route.message_id.as_deref()),
        ("principal", Some(&*caller.principal).filter(|principal| !principal.is_empty())),
        ("traceparent", caller.traceparent.as_deref()),
    ];
    event.extend(fixed.map(|(name, value)| (name.to_owned(), value.into())));
    event.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))));
    let mut text = Value::Object(event).to_string().into_bytes();
    text.pop();
    text.extend_from_slice(b",\"data\":");
    text.extend_from_slice(body);
    text.push(b'}');
    text
}

fn wall() -> Wall {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Wall::from_unix_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

//! Ways into rooms that are no RPC, as settings write them: `--rest-route` and `--bind`.

#[cfg(test)]
mod tests;

use super::{
    template::{Path, Template},
    typed::check_message_id,
};
use crate::{
    core::{
        json::Pointer,
        names::{RoomName, Topic},
    },
    limits::{REST_ROUTE_WAIT_DEFAULT, REST_ROUTE_WAIT_MAX},
};
use std::time::Duration;

/// First segments of the paths that the service answers itself.
pub const TAKEN: &[&str] = &[
    "v1",
    "ws",
    "health",
    "livez",
    "readyz",
    "metrics",
    "openapi.json",
    "swagger",
    "console",
    "favicon.ico",
];
/// RPCs over HTTP have paths that begin with their package.
const TAKEN_PACKAGES: &[&str] = &["virtufin.", "grpc."];
const METHODS: &[&str] = &["POST", "PUT", "PATCH"];
/// Attributes of the event that are not a variable's to set.
const ATTRIBUTES: &[&str] = &[
    "specversion",
    "id",
    "source",
    "type",
    "time",
    "subject",
    "data",
    "database64",
    "datacontenttype",
    "dataschema",
    "traceparent",
    "tracestate",
    "messageid",
    "principal",
    "topic",
    "pubsubname",
];

/// `POST /chat/{room}/message room={room} message-id=chat.message topic=chat.in wait=5s`: what comes
/// to the path goes to the room, and to the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestRoute {
    pub method: Box<str>,
    pub path: Path,
    /// At least one of room and topic is there.
    pub room: Option<Template>,
    pub topic: Option<Topic>,
    /// The body is wrapped under it.
    pub message_id: Option<Box<str>>,
    /// How long the answer waits for room and topic.
    pub wait: Duration,
}

impl RestRoute {
    /// The error says what is wrong and the way out.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_ascii_whitespace();
        let example = "give one such as 'POST /chat/{room}/message room={room}'";
        let method = words.next().unwrap_or_default();
        if !METHODS.contains(&method) {
            return Err(format!("does not begin with one of {}; {example}", METHODS.join(", ")));
        }
        let path = words.next().ok_or_else(|| format!("has no path; {example}"))?;
        let path = Path::parse(path).map_err(|wrong| format!("has a path that {wrong}; {example}"))?;
        free(&path)?;
        let options = Options::read(words, &["room", "topic", "message-id", "wait"])?;
        let route = RestRoute {
            method: method.into(),
            room: options.get("room").map(|text| room_of(text, &path)).transpose()?,
            topic: options.get("topic").map(topic_of).transpose()?,
            message_id: options.get("message-id").map(message_id_of).transpose()?,
            wait: options.get("wait").map_or(Ok(REST_ROUTE_WAIT_DEFAULT), wait_of)?,
            path,
        };
        if route.room.is_none() && route.topic.is_none() {
            return Err("has neither room= nor topic=; give one or both".into());
        }
        if route.topic.is_some() {
            attributes(&route.path)?;
        }
        Ok(route)
    }

    /// No request could ever come to the second of them.
    pub fn hides(&self, other: &RestRoute) -> bool {
        self.method == other.method && self.path.is_shaped_as(&other.path)
    }
}

/// The name of an event's attribute: small letters and digits alone.
pub fn attribute(variable: &str) -> String {
    variable.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// `topic=orders room=user-{/user_id} message-id=order.updated`: events of the topic go to the room
/// that their data names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub topic: Topic,
    pub room: Template,
    pub message_id: Option<Box<str>>,
}

impl Binding {
    /// The error says what is wrong and the way out.
    pub fn parse(text: &str) -> Result<Self, String> {
        let example = "give one such as 'topic=orders room=user-{/user_id}'";
        let options = Options::read(text.split_ascii_whitespace(), &["topic", "room", "message-id"])?;
        let topic = options.get("topic").ok_or_else(|| format!("has no topic=; {example}"))?;
        let room = options.get("room").ok_or_else(|| format!("has no room=; {example}"))?;
        let room = Template::parse(room).map_err(|wrong| format!("has a room= that {wrong}; {example}"))?;
        for place in room.places() {
            if !place.starts_with('/') {
                return Err(format!(
                    "has {{{place}}} in its room=, which is no JSON pointer; write {{/{place}}}"
                ));
            }
            Pointer::parse(place).map_err(|wrong| format!("has {{{place}}} in its room=, which {wrong}"))?;
        }
        check_room(&room)?;
        Ok(Binding {
            topic: topic_of(topic)?,
            room,
            message_id: options.get("message-id").map(message_id_of).transpose()?,
        })
    }
}

/// `key=value` words, each key once.
struct Options<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Options<'a> {
    fn read(words: impl Iterator<Item = &'a str>, known: &[&str]) -> Result<Self, String> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let known_as = known.join("=, ");
            if !known.contains(&key) {
                return Err(format!("holds a word that is none of {known_as}= (values hold no spaces)"));
            }
            if value.is_empty() {
                return Err(format!("has {key}= without a value"));
            }
            if pairs.iter().any(|pair| pair.0 == key) {
                return Err(format!("has {key}= twice"));
            }
            pairs.push((key, value));
        }
        Ok(Options(pairs))
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find(|pair| pair.0 == key).map(|pair| pair.1)
    }
}

/// Each variable becomes an attribute of its own.
fn attributes(path: &Path) -> Result<(), String> {
    let names: Vec<_> = path.variables().map(attribute).collect();
    for (at, variable) in path.variables().enumerate() {
        if ATTRIBUTES.contains(&&*names[at]) || names[..at].contains(&names[at]) {
            let what = "that would hide an attribute of the event; call it otherwise";
            return Err(format!("has a variable {{{variable}}} {what}"));
        }
    }
    Ok(())
}

fn free(path: &Path) -> Result<(), String> {
    let Some(first) = path.first() else {
        return Err("has a path whose first segment is a variable, which would hide the service's own; \
                    begin with a fixed one"
            .into());
    };
    let taken = TAKEN.contains(&first) || TAKEN_PACKAGES.iter().any(|package| first.starts_with(package));
    match taken {
        true => Err(format!("has a path below /{first}, which the service answers itself; give another")),
        false => Ok(()),
    }
}

fn room_of(text: &str, path: &Path) -> Result<Template, String> {
    let room = Template::parse(text).map_err(|wrong| format!("has a room= that {wrong}"))?;
    if let Some(unknown) = room.places().find(|place| !path.variables().any(|name| name == *place)) {
        let known: Vec<_> = path.variables().map(|name| format!("{{{name}}}")).collect();
        let known = if known.is_empty() { "has none".into() } else { format!("has {}", known.join(", ")) };
        return Err(format!("has {{{unknown}}} in its room=, but the path {known}"));
    }
    check_room(&room)?;
    Ok(room)
}

/// What no value could make a valid name of.
fn check_room(room: &Template) -> Result<(), String> {
    let sample = room.fill(|_| Some("x".into())).unwrap_or_default();
    match RoomName::parse("room", &sample) {
        Ok(_) => Ok(()),
        Err(fault) => Err(format!("has a room= that cannot be: {}", fault.message)),
    }
}

fn topic_of(text: &str) -> Result<Topic, String> {
    if text.contains(['{', '}']) {
        return Err("has a topic= with braces; a topic takes no variables".into());
    }
    Topic::parse("topic", text).map_err(|fault| format!("has a topic= that cannot be: {}", fault.message))
}

fn message_id_of(text: &str) -> Result<Box<str>, String> {
    check_message_id(text).map_err(|wrong| format!("has a message-id= that {wrong}"))?;
    Ok(text.into())
}

fn wait_of(text: &str) -> Result<Duration, String> {
    let span = match text.strip_suffix("ms") {
        Some(number) => number.parse().map(Duration::from_millis),
        None => text.strip_suffix('s').unwrap_or(text).parse().map(Duration::from_secs),
    };
    match span {
        Ok(span) if !span.is_zero() && span <= REST_ROUTE_WAIT_MAX => Ok(span),
        _ => {
            let most = REST_ROUTE_WAIT_MAX.as_secs();
            Err(format!("has a wait= that is no duration up to {most}s; give one such as 500ms or 5s"))
        }
    }
}

//! The REST surface as one table: the router and the OpenAPI document are both made from it,
//! so that they cannot drift apart.

use super::{
    counters::calls::Method,
    rest::{self, Run, rooms},
};

/// A query parameter, in the spelling of the documents.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    pub name: &'static str,
    pub about: &'static str,
    pub kind: ParamKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    Text,
    Number {
        most: u32,
    },
    /// A whole number of 64 bits.
    Long,
    Flag,
    /// A name of this enum of the proto, repeatable or not.
    Choice {
        of: &'static str,
        repeated: bool,
    },
    /// `tag.<key>=<value>`, any number of them.
    Tags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Unary,
    /// Server-sent events.
    Events,
}

#[derive(Clone, Copy)]
pub struct Route {
    pub method: &'static str,
    pub path: &'static str,
    /// The method in the proto.
    pub rpc: Method,
    /// The request message is the body; what the path names is left out of it.
    pub body: bool,
    pub query: &'static [Param],
    pub shape: Shape,
    pub run: Run,
}

const fn text(name: &'static str, about: &'static str) -> Param {
    Param { name, about, kind: ParamKind::Text }
}

const TAGS: Param =
    Param { name: "tag.*", about: "Tag filters, ANDed: `tag.<key>=<value>`.", kind: ParamKind::Tags };

const LIST: &[Param] = &[
    TAGS,
    Param {
        name: "status",
        about: "Any of these: names in any case, or numbers.",
        kind: ParamKind::Choice { of: "ConnectionStatus", repeated: true },
    },
    Param {
        name: "direction",
        about: "OUT: dialled by the service; IN: accepted by it.",
        kind: ParamKind::Choice { of: "Direction", repeated: false },
    },
    text("instance", "Only this instance's connections."),
    PAGE_SIZE,
    PAGE_TOKEN,
];

const DISCONNECT: &[Param] = &[
    Param {
        name: "code",
        about: "The close code: 1000 or 3000 to 4999; 0: 1000.",
        kind: ParamKind::Number { most: 4999 },
    },
    text("reason", "The close frame's reason."),
];

const UPDATE: &[Param] = &[text(
    "updateMask",
    "Fields of `settings` to change, separated by commas; by default those that are in the body.",
)];

const PAGE_SIZE: Param = Param {
    name: "pageSize",
    about: "0: the default of 500.",
    kind: ParamKind::Number { most: crate::limits::PAGE_SIZE_MAX as u32 },
};
const PAGE_TOKEN: Param = text("pageToken", "`nextPageToken` of the page before.");
const ROOMS: &[Param] = &[text("prefix", "Only names that begin so."), PAGE_SIZE, PAGE_TOKEN];
const MEMBERS: &[Param] = &[PAGE_SIZE, PAGE_TOKEN];
const HISTORY: &[Param] = &[
    Param { name: "epoch", about: "After this position; 0: the last messages.", kind: ParamKind::Long },
    Param { name: "offset", about: "After this position, in its epoch.", kind: ParamKind::Long },
    Param {
        name: "limit",
        about: "0: the default of 100.",
        kind: ParamKind::Number { most: crate::limits::ROOM_HISTORY_LIMIT as u32 },
    },
];

const CURSOR: Param = text("cursor", "From after this cursor; the header `Last-Event-ID` does the same.");
const FROM_START: Param =
    Param { name: "fromStart", about: "From the oldest that is retained.", kind: ParamKind::Flag };

const FOLLOW_ONE: &[Param] = &[CURSOR, FROM_START];
const FOLLOW: &[Param] = &[text("topic", "Follow a topic; or else tag filters."), TAGS, CURSOR, FROM_START];
const WATCH: &[Param] = &[TAGS, text("id", "Only this connection."), CURSOR];

const fn call(method: &'static str, path: &'static str, rpc: Method, run: Run) -> Route {
    Route { method, path, rpc, body: true, query: &[], shape: Shape::Unary, run }
}

const fn ask(
    method: &'static str,
    path: &'static str,
    rpc: Method,
    query: &'static [Param],
    run: Run,
) -> Route {
    Route { method, path, rpc, body: false, query, shape: Shape::Unary, run }
}

const fn events(path: &'static str, rpc: Method, query: &'static [Param], run: Run) -> Route {
    Route { method: "GET", path, rpc, body: false, query, shape: Shape::Events, run }
}

pub const ROUTES: &[Route] = &[
    call("POST", "/v1/connections", Method::Connect, rest::connect),
    call("POST", "/v1/connect", Method::Connect, rest::connect),
    ask("GET", "/v1/connections", Method::List, LIST, rest::list),
    ask("GET", "/v1/connections/{id}", Method::Get, &[], rest::get),
    Route { query: UPDATE, ..call("PATCH", "/v1/connections/{id}", Method::Update, rest::update) },
    ask("DELETE", "/v1/connections/{id}", Method::Disconnect, DISCONNECT, rest::disconnect),
    call("POST", "/v1/connections/{id}/publish", Method::StartPublish, rest::start_publish),
    ask("DELETE", "/v1/connections/{id}/publish", Method::StopPublish, &[], rest::stop_publish),
    call("POST", "/v1/connections/{id}/stop-publish", Method::StopPublish, rest::stop_publish),
    call("POST", "/v1/connections/{id}/send", Method::Send, rest::send),
    call("POST", "/v1/send:batch", Method::SendBatch, rest::send_batch),
    call("POST", "/v1/connections/{id}/sendraw", Method::SendRaw, rest::send_raw),
    call("POST", "/v1/connections/{id}/send-raw", Method::SendRaw, rest::send_raw),
    call("POST", "/v1/connections/{id}/tags/{key}", Method::SetTag, rest::set_tag),
    ask("GET", "/v1/connections/{id}/tags/{key}", Method::GetTag, &[], rest::get_tag),
    call("PUT", "/v1/connections/{id}/tags", Method::SetTags, rest::set_tags),
    ask("GET", "/v1/connections/{id}/tags", Method::GetTags, &[], rest::get_tags),
    events("/v1/connections/{id}/messages", Method::Receive, FOLLOW_ONE, rest::receive_one),
    events("/v1/messages", Method::Receive, FOLLOW, rest::receive),
    events("/v1/watch", Method::Watch, WATCH, rest::watch),
    call("POST", "/v1/rooms/{room}/messages", Method::RoomSend, rooms::send_to_one),
    call("POST", "/v1/rooms:send", Method::RoomSend, rooms::send),
    call("POST", "/v1/broadcast", Method::Broadcast, rooms::broadcast),
    call("POST", "/v1/users/{user}/messages", Method::SendToUser, rooms::send_to_user),
    ask("DELETE", "/v1/users/{user}/connections", Method::KickUser, DISCONNECT, rooms::kick_user),
    call("PUT", "/v1/rooms/{room}/members/{id}", Method::Join, rooms::join),
    ask("DELETE", "/v1/rooms/{room}/members/{id}", Method::Leave, &[], rooms::leave),
    ask("GET", "/v1/rooms", Method::ListRooms, ROOMS, rooms::list_rooms),
    ask("GET", "/v1/rooms/{room}/members", Method::ListMembers, MEMBERS, rooms::list_members),
    ask("GET", "/v1/rooms/{room}/messages", Method::History, HISTORY, rooms::history),
    events("/v1/rooms/{room}/events", Method::Receive, FOLLOW_ONE, rest::receive_room),
];

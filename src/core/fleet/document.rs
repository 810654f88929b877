//! The fleet's documents as they stand in the store. Read leniently, since others write there too:
//! what cannot be read says so and is left to the caller's judgement.

use super::io::Member;
use crate::core::{
    id::ConnectionId,
    json::{Pointer, insert_member, replace_value},
};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, sync::Arc};

pub const MEMBERS: &str = "wsm-members";
pub const INDEX: &str = "websocket-index";
/// Buckets of ids that one instance owns: each is small, and a change rewrites only its own.
pub const BUCKETS: usize = 64;
/// Of the documents that only this program writes.
const VERSION: u64 = 1;

pub fn lease_key(incarnation: &str) -> String {
    format!("wsm-lease-{incarnation}")
}

pub fn bucket_key(incarnation: &str, bucket: usize) -> String {
    format!("wsm-owned-{incarnation}-{bucket}")
}

pub fn record_key(id: &ConnectionId) -> String {
    format!("websocket-{id}")
}

/// What reading a document came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<T> {
    Good(T),
    Newer,
    Bad(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    Live,
    /// Nothing is taken any more, what is owned is being closed or handed over.
    Leaving,
    /// Given back by its owner.
    Left,
    /// Tombstoned by an observer.
    Dead,
}

impl LeaseState {
    const fn name(self) -> &'static str {
        match self {
            LeaseState::Live => "live",
            LeaseState::Leaving => "leaving",
            LeaseState::Left => "left",
            LeaseState::Dead => "dead",
        }
    }

    pub const fn is_over(self) -> bool {
        matches!(self, LeaseState::Left | LeaseState::Dead)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub member: Member,
    /// A new number for each write that its owner tries.
    pub renewals: u64,
    pub state: LeaseState,
    /// Who tombstoned it.
    pub by: Option<Arc<str>>,
    /// Moves when one of its owner's buckets was written: then they are worth reading again.
    pub owned: u64,
    /// The highest epoch that its owner has seen: nobody falls below, whatever his wall clock says.
    pub epoch: u64,
}

impl Lease {
    pub fn encode(&self) -> Bytes {
        json!({
            "v": VERSION,
            "owner": &*self.member.incarnation,
            "instance": &*self.member.instance,
            "address": &*self.member.address,
            "renewals": self.renewals,
            "state": self.state.name(),
            "by": self.by.as_deref(),
            "owned": self.owned,
            "epoch": self.epoch,
        })
        .to_string()
        .into()
    }

    pub fn decode(value: &[u8]) -> Read<Lease> {
        let value = match object(value) {
            Read::Good(value) => value,
            Read::Newer => return Read::Newer,
            Read::Bad(why) => return Read::Bad(why),
        };
        let state = match value.get("state").and_then(Value::as_str) {
            Some("live") => LeaseState::Live,
            Some("leaving") => LeaseState::Leaving,
            Some("left") => LeaseState::Left,
            Some("dead") => LeaseState::Dead,
            other => return Read::Bad(format!("state is {other:?}")),
        };
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let Some(owner) = text("owner") else { return Read::Bad("no owner".into()) };
        let Some(renewals) = value.get("renewals").and_then(Value::as_u64) else {
            return Read::Bad("renewals is no number".into());
        };
        let number = |key: &str| value.get(key).and_then(Value::as_u64).unwrap_or(0);
        Read::Good(Lease {
            member: Member {
                incarnation: owner.into(),
                instance: text("instance").unwrap_or_default().into(),
                address: text("address").unwrap_or_default().into(),
            },
            renewals,
            state,
            by: text("by").map(Arc::from),
            owned: number("owned"),
            epoch: number("epoch"),
        })
    }
}

fn object(value: &[u8]) -> Read<Map<String, Value>> {
    match serde_json::from_slice(value) {
        Ok(Value::Object(map)) if map.get("v").and_then(Value::as_u64) > Some(VERSION) => Read::Newer,
        Ok(Value::Object(map)) => Read::Good(map),
        Ok(_) => Read::Bad("no JSON object".into()),
        Err(error) => Read::Bad(format!("not JSON: {error}")),
    }
}

/// Items of an array; an object that says it is newer is respected.
fn array(value: &[u8]) -> Read<Vec<Value>> {
    match serde_json::from_slice(value) {
        Ok(Value::Array(items)) => Read::Good(items),
        Ok(Value::Object(map)) if map.get("v").and_then(Value::as_u64) > Some(VERSION) => Read::Newer,
        Ok(_) => Read::Bad("no JSON array".into()),
        Err(error) => Read::Bad(format!("not JSON: {error}")),
    }
}

fn member_of(item: &Value) -> Option<Member> {
    let text = |key: &str| item.get(key).and_then(Value::as_str);
    let incarnation = text("incarnation").filter(|name| is_incarnation(name))?;
    Some(Member {
        incarnation: incarnation.into(),
        instance: text("instance").unwrap_or_default().into(),
        address: text("address").unwrap_or_default().into(),
    })
}

/// It becomes part of keys, where `||` is illegal and length is memory.
pub fn is_incarnation(name: &str) -> bool {
    (1..=crate::limits::INCARNATION_CHARS_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'|')
}

/// The members document as it stands; items that are not understood stay in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster(Vec<Value>);

impl Roster {
    pub fn decode(value: &[u8]) -> Read<Roster> {
        match array(value) {
            Read::Good(items) => Read::Good(Roster(items)),
            Read::Newer => Read::Newer,
            Read::Bad(why) => Read::Bad(why),
        }
    }

    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.0.iter().filter_map(member_of)
    }

    pub fn add(&mut self, member: &Member) {
        self.remove(&member.incarnation);
        self.0.push(json!({
            "incarnation": &*member.incarnation,
            "instance": &*member.instance,
            "address": &*member.address,
        }));
    }

    pub fn remove(&mut self, incarnation: &str) {
        self.0.retain(|item| item.get("incarnation").and_then(Value::as_str) != Some(incarnation));
    }

    pub fn encode(&self) -> Bytes {
        Value::Array(self.0.clone()).to_string().into()
    }
}

/// Ids of a bucket or of the index, and strings that can be no id of ours.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ids {
    pub ids: BTreeSet<ConnectionId>,
    pub odd: BTreeSet<String>,
}

pub fn decode_ids(value: &[u8]) -> Read<Ids> {
    let items = match array(value) {
        Read::Good(items) => items,
        Read::Newer => return Read::Newer,
        Read::Bad(why) => return Read::Bad(why),
    };
    let mut found = Ids::default();
    for item in items {
        match item.as_str().map(ConnectionId::parse) {
            Some(Ok(id)) => {
                found.ids.insert(id);
            }
            Some(Err(_)) => {
                found.odd.insert(item.as_str().unwrap_or_default().to_owned());
            }
            None => {}
        }
    }
    Read::Good(found)
}

/// Where the ids that an incarnation owns are listed.
pub fn owned_keys(incarnation: &str) -> Vec<String> {
    (0..BUCKETS).map(|bucket| bucket_key(incarnation, bucket)).collect()
}

/// The ids in one of them.
pub fn listed(value: &[u8]) -> Vec<ConnectionId> {
    match decode_ids(value) {
        Read::Good(found) => found.ids.into_iter().collect(),
        Read::Newer | Read::Bad(_) => Vec::new(),
    }
}

/// The JSON array of these, and how many fit within the bound.
pub fn encode_ids<'a>(ids: impl Iterator<Item = &'a str>, bytes_max: usize) -> (Bytes, usize) {
    let mut text = Vec::from(*b"[");
    let mut kept = 0;
    for id in ids {
        let quoted = Value::from(id).to_string();
        if text.len() + quoted.len() + 2 > bytes_max {
            break;
        }
        if kept > 0 {
            text.push(b',');
        }
        text.extend_from_slice(quoted.as_bytes());
        kept += 1;
    }
    text.push(b']');
    (text.into(), kept)
}

/// What the fleet wants to know of a connection's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// None in records of the earlier product.
    pub owner: Option<Arc<str>>,
    pub epoch: u64,
    /// A placeholder for a connection that is being dialled.
    pub claim: bool,
}

pub fn decode_record(value: &[u8]) -> Read<Head> {
    let value = match object(value) {
        Read::Good(value) => value,
        Read::Newer => return Read::Newer,
        Read::Bad(why) => return Read::Bad(why),
    };
    // Records of the earlier product have no epoch; some tools write numbers as text.
    let epoch = match value.get("epoch") {
        Some(Value::String(text)) => text.parse().unwrap_or(0),
        Some(number) => number.as_u64().unwrap_or(0),
        None => 0,
    };
    let owner = value.get("owner").and_then(Value::as_str).filter(|owner| is_incarnation(owner));
    if owner.is_none() && !is_earlier_record(&value) {
        return Read::Bad("it names no owner, and neither id and url of a connection".into());
    }
    let claim = value.get("claim").and_then(Value::as_bool).unwrap_or(false);
    Read::Good(Head { owner: owner.map(Arc::from), epoch, claim })
}

/// Of the earlier product, which named no owner: its names began with a small letter or a capital.
fn is_earlier_record(value: &Map<String, Value>) -> bool {
    let text = |names: [&str; 2]| names.into_iter().any(|name| value.get(name).is_some_and(Value::is_string));
    text(["id", "Id"]) && text(["url", "Url"])
}

/// A shard's document with its owner's name in it; None when it is no object.
pub fn own(document: &[u8], owner: &str) -> Option<Bytes> {
    let at = Pointer::parse("/owner").ok()?;
    let name = Value::from(owner).to_string();
    let text = replace_value(document, &at, name.as_bytes());
    text.or_else(|| insert_member(document, &at, name.as_bytes())).map(Bytes::from)
}

/// A record as it stands for its new owner. It keeps the epoch that consumers saw last, until the
/// new owner writes its own.
pub fn take(document: &[u8], owner: &Member, epoch: u64) -> Option<Bytes> {
    let Read::Good(mut value) = object(document) else { return None };
    value.insert("owner".into(), Value::from(&*owner.incarnation));
    value.insert("instanceId".into(), Value::from(&*owner.instance));
    if let Some(last) = value.insert("epoch".into(), epoch.into()) {
        value.entry("previousEpoch").or_insert(last);
    }
    Some(Value::Object(value).to_string().into())
}

pub fn placeholder(id: &ConnectionId, owner: &Member, epoch: u64) -> Bytes {
    json!({
        "id": id.as_str(),
        "owner": &*owner.incarnation,
        "instanceId": &*owner.instance,
        "epoch": epoch,
        "status": "Connecting",
        "autoReconnect": false,
        "claim": true,
    })
    .to_string()
    .into()
}

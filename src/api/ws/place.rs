//! Where a client that may come in belongs: its rooms, its name, what becomes of its messages.

use super::{auth::Pass, choose, handshake::Offer, refused::Refused};
use crate::{
    core::{
        id::ConnectionId,
        names::{self, RoomName},
        publish,
        reason::{Fault, FaultKind},
        rooms::{
            Admit, Entry, Format,
            request::Asked,
            route::{Filled, Inbound},
        },
        spec::{Spec, Tags},
    },
    limits,
};
use std::sync::Arc;

/// What the URL asks for, checked before anybody is asked whether it is allowed.
pub struct Wanted {
    id: Option<ConnectionId>,
    /// With each, whether the URL has a say in its name.
    rooms: Vec<(RoomName, bool)>,
    feeds: Option<(RoomName, bool)>,
    publish: Option<publish::Spec>,
}

pub fn wanted(filled: &Filled<'_>, asked: &Asked) -> Result<Wanted, Fault> {
    let rooms = match filled.rooms()? {
        Some(_) if !asked.rooms.is_empty() => {
            return Err(Fault::invalid(
                "room",
                "this route names its rooms itself; leave it out of the query",
            ));
        }
        Some(rooms) => rooms,
        None => asked.rooms.iter().map(|room| (room.clone(), true)).collect(),
    };
    // Told before anybody is asked, too.
    asked.after(rooms.len(), 0)?;
    let (mut feeds, mut publish) = (None, None);
    match &filled.route.inbound {
        Inbound::AsSpoken | Inbound::Ignore | Inbound::Protocol => {}
        Inbound::Publish(topic) => publish = Some(publish::Spec::new(filled.topic(topic)?.shared())),
        Inbound::Room(room) => feeds = Some((filled.room(room)?, room.varies())),
    }
    Ok(Wanted { id: filled.id()?, rooms, feeds, publish })
}

pub fn admit(
    filled: &Filled<'_>,
    asked: &Asked,
    wanted: Wanted,
    pass: Pass,
    offer: &Offer,
    spec: Arc<Spec>,
    mint: impl FnOnce() -> ConnectionId,
) -> Result<Admit, Refused> {
    for (room, asked) in wanted.rooms.iter().chain(&wanted.feeds) {
        // What the operator wrote into the route needs nobody's leave.
        if *asked && !pass.reach.allows(room) {
            let fault = Fault::new(FaultKind::Forbidden, "these credentials do not allow this room");
            return Err(Fault { field: "room".into(), ..fault }.into());
        }
    }
    let tags = tags(filled, &pass)?;
    let rooms = entries(asked, &wanted, &pass)?;
    let subprotocol = choose(offer, filled.route);
    let numbered = subprotocol == Some(limits::ROOMS_SUBPROTOCOL);
    Ok(Admit {
        given: wanted.id.is_some(),
        id: wanted.id.unwrap_or_else(mint),
        spec,
        tags,
        user: pass.user,
        subprotocol: subprotocol.map(Into::into),
        format: if numbered { Format::Numbered } else { filled.route.format },
        rooms,
        may_join: pass.may_join,
        feeds: wanted.feeds.into_iter().map(|(room, _)| room).collect(),
        publish: wanted.publish,
        protocol: match filled.route.inbound {
            Inbound::Protocol => true,
            Inbound::AsSpoken => numbered,
            Inbound::Ignore | Inbound::Publish(_) | Inbound::Room(_) => false,
        },
        valid_for: pass.valid_for,
    })
}

/// The URL's rooms first, then those that the credentials bring.
fn entries(asked: &Asked, wanted: &Wanted, pass: &Pass) -> Result<Vec<Entry>, Fault> {
    let mut rooms: Vec<RoomName> = wanted.rooms.iter().map(|(room, _)| room.clone()).collect();
    if pass.joins_beside || rooms.is_empty() {
        for room in &pass.joins {
            if !rooms.contains(room) {
                rooms.push(room.clone());
            }
        }
    }
    if rooms.len() > limits::ROOMS_PER_CONNECTION_MAX {
        let most = limits::ROOMS_PER_CONNECTION_MAX;
        return Err(Fault::invalid(
            "room",
            format!("a connection has at most {most} rooms; name some of them"),
        ));
    }
    let named = wanted.rooms.len();
    let after = asked.after(named, rooms.len() - named)?;
    Ok(rooms.into_iter().zip(after).map(|(room, after)| Entry { room, after }).collect())
}

/// The route's variables; what the credentials say of the same key counts more.
fn tags(filled: &Filled<'_>, pass: &Pass) -> Result<Tags, Fault> {
    let said = |key: &str| pass.tags.iter().any(|(known, _)| **known == *key);
    let own = filled.variables().filter(|(key, _)| !said(key)).map(|(key, value)| (key.into(), value.into()));
    let mut tags: Tags = own.chain(pass.tags.iter().cloned()).collect();
    names::validate_tag_count("tags", tags.len())?;
    tags.sort_unstable();
    Ok(tags)
}

#[cfg(test)]
mod tests;

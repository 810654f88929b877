//! What the URL of an opening handshake asks for.

use super::{Position, RoomName};
use crate::{
    core::{percent, reason::Fault, redact},
    limits,
};

/// The query key that may carry a token.
pub const TOKEN_KEY: &str = "access_token";
/// Keys that say something of one client alone.
const OF_ONE_CLIENT: [&str; 3] = [TOKEN_KEY, "epoch", "offset"];

/// A query, taken apart. Keys that mean nothing here are left alone: they are somebody else's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub rooms: Vec<RoomName>,
    after: Vec<Position>,
}

impl Asked {
    pub fn parse(query: &str) -> Result<Self, Fault> {
        let (mut asked, mut epochs, mut offsets) = (Asked::default(), Vec::new(), Vec::new());
        for (place, (key, value)) in pairs(query).enumerate() {
            if place == limits::QUERY_PAIRS_MAX {
                return Err(Fault::invalid("query", "has too many keys"));
            }
            match key {
                "room" => asked.add(value)?,
                "epoch" => epochs.push(number("epoch", value)?),
                "offset" => offsets.push(number("offset", value)?),
                _ => {}
            }
        }
        if epochs.len() != offsets.len() {
            let missing = if epochs.len() < offsets.len() { "epoch" } else { "offset" };
            return Err(Fault::invalid(missing, "epoch and offset go together, one of each"));
        }
        let pairs = epochs.into_iter().zip(offsets);
        asked.after = pairs.map(|(epoch, offset)| Position { epoch, offset }).collect();
        Ok(asked)
    }

    fn add(&mut self, value: &str) -> Result<(), Fault> {
        let room = percent::strict(value, true)
            .ok_or_else(|| Fault::invalid("room", "is not percent-encoded UTF-8"))?;
        let room = RoomName::parse("room", &room)?;
        if self.rooms.contains(&room) {
            return Err(Fault::invalid("room", "is given twice"));
        }
        if self.rooms.len() == limits::ROOMS_PER_CONNECTION_MAX {
            let message = format!("a connection has at most {} rooms", limits::ROOMS_PER_CONNECTION_MAX);
            return Err(Fault::invalid("room", message));
        }
        self.rooms.push(room);
        Ok(())
    }

    /// Where the client wants to go on, for each of this many rooms that the URL names, and for
    /// further ones that it does not.
    pub fn after(&self, named: usize, further: usize) -> Result<Vec<Option<Position>>, Fault> {
        let rooms = named + further;
        match &self.after[..] {
            [] => Ok(vec![None; rooms]),
            [one] => Ok(vec![Some(*one); rooms]),
            many if many.len() == named => {
                Ok(many.iter().copied().map(Some).chain(std::iter::repeat_n(None, further)).collect())
            }
            many => {
                let message =
                    format!("give epoch and offset once, or once for each of the {named} rooms in the URL");
                let message = format!("{message}, not {} times", many.len());
                Err(Fault::invalid("epoch", message))
            }
        }
    }
}

/// The first token in the query, percent-decoded; an error when there are two.
pub fn token(query: &str) -> Result<Option<String>, Fault> {
    let mut values = pairs(query).filter(|(key, _)| *key == TOKEN_KEY).map(|(_, value)| value);
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Fault::invalid(TOKEN_KEY, "is given more than once"));
    }
    percent::strict(first, true)
        .map(Some)
        .ok_or_else(|| Fault::invalid(TOKEN_KEY, "is not percent-encoded UTF-8"))
}

/// The query as it is shown: the same for all clients that ask for the same, secrets masked.
pub fn shown(query: &str) -> String {
    let mut shown = String::new();
    let of_all = |piece: &&str| !OF_ONE_CLIENT.contains(&piece.split('=').next().unwrap_or_default());
    redact::mask_pairs(&query.split('&').filter(of_all).collect::<Vec<_>>().join("&"), &mut shown);
    shown
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query
        .split('&')
        .filter(|piece| !piece.is_empty())
        .map(|piece| piece.split_once('=').unwrap_or((piece, "")))
}

fn number(field: &'static str, text: &str) -> Result<u64, Fault> {
    // `parse` would take a sign as well.
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or_else(|| Fault::invalid(field, "must be a whole number"))
}

#[cfg(test)]
mod tests;

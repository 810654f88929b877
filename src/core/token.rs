//! JSON web tokens: taken apart and judged here, without a clock and without cryptography. Who has
//! checked the signature of what `parse` found may believe what `claims` answers.
//!
//! Strict on purpose: an algorithm belongs to a key and never to a token, nothing in a token is ever
//! fetched, and a token that says nothing of its end, its audience or its issuer is none.

use crate::{
    core::{
        names::{self, RoomName},
        reason::Fault,
        spec::Tags,
    },
    limits,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use std::{fmt, time::Duration};

pub mod keys;

pub use keys::{Algorithm, Key, Material};

/// How far the clocks of issuers may be off.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// Why a token lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    TooLong,
    Malformed,
    /// `none`, or one that no key here has.
    Algorithm,
    /// Header fields that change what the others mean.
    Critical,
    Key,
    Signature,
    NoExpiry,
    Expired,
    NotYet,
    Audience,
    Issuer,
    /// `sub`, `rooms` or `tags` are not what they must be.
    Claims,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::TooLong => "the token is too long",
            Refused::Malformed => "the token is not a signed JSON web token in compact form",
            Refused::Algorithm => "the token's alg is not one that is accepted: HS256, RS256, ES256, EdDSA",
            Refused::Critical => "the token's header has crit, which is not supported",
            Refused::Key => "no key that is configured has the token's kid and alg",
            Refused::Signature => "the token's signature is not valid",
            Refused::NoExpiry => "the token has no exp",
            Refused::Expired => "the token has expired",
            Refused::NotYet => "the token is not valid yet",
            Refused::Audience => "the token's aud is another one",
            Refused::Issuer => "the token's iss is another one",
            Refused::Claims => "the token's sub, rooms or tags are not what they must be",
        })
    }
}

/// A token in its parts, none of which is to be believed yet.
#[derive(Clone, Debug)]
pub struct Parsed<'a> {
    pub algorithm: Algorithm,
    pub kid: Option<String>,
    /// What the signature is over.
    pub signed: &'a [u8],
    pub signature: Vec<u8>,
    payload: Vec<u8>,
}

pub fn parse(text: &str) -> Result<Parsed<'_>, Refused> {
    if text.len() > limits::TOKEN_BYTES_MAX {
        return Err(Refused::TooLong);
    }
    let (signed, signature) = text.rsplit_once('.').ok_or(Refused::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(Refused::Malformed)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::Malformed);
    let (header, payload, signature) = (object(&decode(header)?)?, decode(payload)?, decode(signature)?);
    if header.contains_key("crit") {
        return Err(Refused::Critical);
    }
    let algorithm = header.get("alg").and_then(Value::as_str).ok_or(Refused::Malformed)?;
    let algorithm = Algorithm::named(algorithm).ok_or(Refused::Algorithm)?;
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.clone()),
        Some(_) => return Err(Refused::Malformed),
    };
    Ok(Parsed { algorithm, kid, signed: signed.as_bytes(), signature, payload })
}

impl Parsed<'_> {
    /// The keys that this token may have been signed with: those with its kid, when it has one, and
    /// always those alone that are for its algorithm.
    pub fn candidates<'k>(&self, keys: &'k [Key]) -> Vec<&'k Key> {
        let named = |key: &&Key| self.kid.as_ref().is_none_or(|kid| key.kid.as_deref() == Some(kid));
        keys.iter().filter(|key| key.algorithm() == self.algorithm).filter(named).collect()
    }
}

/// What the operator expects of every token.
#[derive(Clone, Debug)]
pub struct Expected {
    pub audience: Box<str>,
    pub issuer: Box<str>,
}

/// What a token says of its bearer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    pub user: Option<Box<str>>,
    /// Which rooms it may join; names that end in `*` are beginnings.
    pub rooms: Vec<Box<str>>,
    pub tags: Tags,
    /// From now on.
    pub valid_for: Duration,
}

/// Of a token whose signature is valid. `now`: since 1970.
pub fn claims(token: &Parsed<'_>, expected: &Expected, now: Duration) -> Result<Claims, Refused> {
    let claims = object(&token.payload)?;
    let until = moment(&claims, "exp")?.ok_or(Refused::NoExpiry)?.saturating_add(LEEWAY);
    if until <= now {
        return Err(Refused::Expired);
    }
    if moment(&claims, "nbf")?.is_some_and(|from| from > now.saturating_add(LEEWAY)) {
        return Err(Refused::NotYet);
    }
    let audience = match claims.get("aud") {
        Some(Value::String(one)) => **one == *expected.audience,
        Some(Value::Array(some)) => some.iter().any(|one| one.as_str() == Some(&expected.audience)),
        _ => false,
    };
    if !audience {
        return Err(Refused::Audience);
    }
    if claims.get("iss").and_then(Value::as_str) != Some(&expected.issuer) {
        return Err(Refused::Issuer);
    }
    Ok(Claims {
        user: user_of(claims.get("sub")).map_err(|_| Refused::Claims)?,
        rooms: rooms_of("rooms", claims.get("rooms")).map_err(|_| Refused::Claims)?,
        tags: tags_of(claims.get("tags")).map_err(|_| Refused::Claims)?,
        valid_for: until - now,
    })
}

/// Seconds since 1970, with or without a fraction.
fn moment(claims: &Map<String, Value>, name: &str) -> Result<Option<Duration>, Refused> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
    // Beyond any date that is meant; a Duration could not hold all of them.
    let seconds = seconds.ok_or(Refused::Malformed)?.min(1e12);
    Ok(Some(Duration::from_secs_f64(seconds)))
}

fn object(text: &[u8]) -> Result<Map<String, Value>, Refused> {
    match serde_json::from_slice(text) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(Refused::Malformed),
    }
}

/// Who it is, as a credential says it.
pub fn user_of(value: Option<&Value>) -> Result<Option<Box<str>>, Fault> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(user)) if !user.is_empty() && user.len() <= limits::USER_BYTES_MAX => {
            if user.contains(char::is_control) {
                return Err(Fault::invalid("user", "must not hold control characters"));
            }
            Ok(Some(user.as_str().into()))
        }
        Some(_) => {
            Err(Fault::invalid("user", format!("must be a string of 1 to {} bytes", limits::USER_BYTES_MAX)))
        }
    }
}

/// Names, each of a room or the beginning of some and `*`.
pub fn rooms_of(field: &'static str, value: Option<&Value>) -> Result<Vec<Box<str>>, Fault> {
    let items = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(items)) if items.len() <= limits::CREDENTIAL_ROOMS_MAX => items,
        Some(_) => {
            let message = format!("must be a list of at most {} names", limits::CREDENTIAL_ROOMS_MAX);
            return Err(Fault::invalid(field, message));
        }
    };
    let name = |item: &Value| {
        let name = item.as_str().ok_or_else(|| Fault::invalid(field, "must be a list of strings"))?;
        if name != "*" {
            RoomName::parse(field, name.strip_suffix('*').unwrap_or(name))?;
        }
        Ok(name.into())
    };
    items.iter().map(name).collect()
}

pub fn tags_of(value: Option<&Value>) -> Result<Tags, Fault> {
    let members = match value {
        None | Some(Value::Null) => return Ok(Tags::new()),
        Some(Value::Object(members)) => members,
        Some(_) => return Err(Fault::invalid("tags", "must be an object of strings")),
    };
    let mut tags = Tags::with_capacity(members.len());
    for (key, value) in members {
        let value = value.as_str().ok_or_else(|| Fault::invalid("tags", "must be an object of strings"))?;
        tags.push((key.as_str().into(), value.into()));
    }
    names::validate_tags("tags", tags.iter().map(|(key, value)| (&**key, &**value)))?;
    tags.sort_unstable();
    Ok(tags)
}

#[cfg(test)]
mod tests;

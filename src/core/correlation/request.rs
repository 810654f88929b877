//! What a Send asks for: the id in its message, or one that is put there. Only looks; the
//! correlator commits what comes out of here.

use super::{
    claims::{Claims, PREFIX_BYTES},
    extract::Extractor,
    rule::{Inject, Rule, bounded_scalar},
};
use crate::{
    core::{
        json::{self, Pointer, Scalar},
        reason::{Fault, FaultKind},
    },
    limits::FIFO_RESYNC_DEFAULT,
};
use bytes::Bytes;
use std::{borrow::Cow, time::Duration};

/// Drawn ids that were all in use: the entropy is broken.
const DRAWS_MAX: usize = 16;

pub struct Request<'a> {
    pub payload: Bytes,
    pub wait: Wait<'a>,
    /// The number that the next injected id begins with.
    pub next_integer: u64,
}

pub enum Wait<'a> {
    Id { key: Vec<u8>, extractor: Extractor<'a>, rpc: bool },
    Prefix { key: Vec<u8> },
    Predicate { key: Vec<u8>, extractor: Extractor<'a> },
    Fifo { resync: Duration },
}

pub struct Preparation<'c> {
    pub claims: &'c Claims,
    pub entropy: &'c mut dyn FnMut() -> u64,
    pub next_integer: u64,
}

impl Preparation<'_> {
    pub fn prepare<'r>(self, rule: &'r Rule, payload: Bytes) -> Result<Request<'r>, Fault> {
        match rule {
            Rule::Auto => self.auto(payload),
            Rule::Json { request, response, inject } => self.json(request, response, *inject, payload),
            Rule::JsonRpc => self.json_rpc(payload),
            Rule::Array { position } => self.array(*position, payload),
            Rule::Prefix => self.prefix(payload),
            Rule::Fifo { resync } => Ok(self.as_is(payload, Wait::Fifo { resync: *resync })),
            Rule::Match { path, equals } => self.predicate(path, equals, payload),
        }
    }

    fn as_is<'r>(&self, payload: Bytes, wait: Wait<'r>) -> Request<'r> {
        Request { payload, wait, next_integer: self.next_integer }
    }

    /// An `id` that is null, an object or an array identifies nothing: then order decides.
    fn auto<'r>(self, payload: Bytes) -> Result<Request<'r>, Fault> {
        let id = if json::is_object(&payload) { json::top_level(&payload, "id") } else { None };
        let wait = match id {
            Some(raw) if !matches!(raw.first(), Some(b'{' | b'[' | b'n')) => {
                let key = self.free_key(&Extractor::TopId, &message_id(raw)?)?;
                Wait::Id { key, extractor: Extractor::TopId, rpc: false }
            }
            _ => Wait::Fifo { resync: FIFO_RESYNC_DEFAULT },
        };
        Ok(self.as_is(payload, wait))
    }

    fn json<'r>(
        self,
        request: &Pointer,
        response: &'r Pointer,
        inject: Inject,
        payload: Bytes,
    ) -> Result<Request<'r>, Fault> {
        let extractor = Extractor::member(response);
        let present = match json::pointer(&payload, request) {
            Some(raw) => Some(self.key(&extractor, &message_id(raw)?)?),
            None => None,
        };
        match present {
            Some(key) if !self.claims.id_in_use(&key) => {
                Ok(self.as_is(payload, Wait::Id { key, extractor, rpc: false }))
            }
            Some(_) if inject == Inject::No => Err(in_use()),
            None if inject == Inject::No => Err(Fault::invalid(
                "message",
                format!("has no value at {}, and inject is not set", request.as_str()),
            )),
            _ => self.with_new_id(request, present.is_some(), extractor, inject, &payload),
        }
    }

    /// The peer sees the new id and answers with it; the reply is handed on as it came.
    fn with_new_id<'r>(
        mut self,
        request: &Pointer,
        replace: bool,
        extractor: Extractor<'r>,
        inject: Inject,
        payload: &[u8],
    ) -> Result<Request<'r>, Fault> {
        let (raw, key) = match inject {
            Inject::Integer => self.next_free_integer(&extractor)?,
            Inject::Uuid | Inject::No => self.free_uuid(&extractor)?,
        };
        let made = match replace {
            true => json::replace_value(payload, request, raw.as_bytes()),
            false => json::insert_member(payload, request, raw.as_bytes()),
        };
        let Some(made) = made else {
            let message = format!("must be a JSON object in which {} can be set", request.as_str());
            return Err(Fault::invalid("message", message));
        };
        Ok(self.as_is(made.into(), Wait::Id { key, extractor, rpc: false }))
    }

    /// Ends: only so many ids are in use as Sends wait or are remembered.
    fn next_free_integer(&mut self, extractor: &Extractor<'_>) -> Result<(String, Vec<u8>), Fault> {
        loop {
            let number = self.next_integer;
            self.next_integer = number.wrapping_add(1).max(1);
            let key = self.key(extractor, &Scalar::Int(number.into()))?;
            if !self.claims.id_in_use(&key) {
                return Ok((number.to_string(), key));
            }
        }
    }

    fn free_uuid(&mut self, extractor: &Extractor<'_>) -> Result<(String, Vec<u8>), Fault> {
        for _ in 0..DRAWS_MAX {
            let uuid = uuid_v4((self.entropy)(), (self.entropy)());
            let key = self.key(extractor, &Scalar::Str(Cow::Borrowed(&uuid)))?;
            if !self.claims.id_in_use(&key) {
                return Ok((format!("\"{uuid}\""), key));
            }
        }
        Err(Fault::new(FaultKind::Internal, "no fresh correlation id could be drawn"))
    }

    fn json_rpc<'r>(self, payload: Bytes) -> Result<Request<'r>, Fault> {
        let id = if json::is_object(&payload) { json::top_level(&payload, "id") } else { None };
        let id = id.map(message_id).transpose()?.filter(Scalar::is_string_or_number);
        let Some(id) = id else {
            let message = "must be a JSON-RPC request with an id (a string or a number); send a notification by SendRaw";
            return Err(Fault::invalid("message", message));
        };
        let key = self.free_key(&Extractor::TopId, &id)?;
        Ok(self.as_is(payload, Wait::Id { key, extractor: Extractor::TopId, rpc: true }))
    }

    fn array<'r>(self, position: usize, payload: Bytes) -> Result<Request<'r>, Fault> {
        let call = json::is_array(&payload) && item(&payload, 0) == Some(Scalar::Int(2));
        let id = if call { item(&payload, position).filter(Scalar::is_string_or_number) } else { None };
        let Some(id) = id else {
            let message =
                format!("must be an array that begins with 2 and has a string or a number at {position}");
            return Err(Fault::invalid("message", message));
        };
        let extractor = Extractor::Array(position);
        let key = self.free_key(&extractor, &id)?;
        Ok(self.as_is(payload, Wait::Id { key, extractor, rpc: false }))
    }

    fn prefix<'r>(self, payload: Bytes) -> Result<Request<'r>, Fault> {
        for _ in 0..DRAWS_MAX {
            let (high, low) = ((self.entropy)(), (self.entropy)());
            let prefix: [u8; PREFIX_BYTES] = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
            let key = Claims::prefix_key(&prefix);
            if !self.claims.id_in_use(&key) {
                let payload = [&prefix[..], &payload].concat().into();
                return Ok(self.as_is(payload, Wait::Prefix { key }));
            }
        }
        Err(Fault::new(FaultKind::Internal, "no fresh correlation prefix could be drawn"))
    }

    fn predicate<'r>(self, path: &'r Pointer, equals: &str, payload: Bytes) -> Result<Request<'r>, Fault> {
        let extractor = Extractor::member(path);
        let key = self
            .claims
            .predicate_key(&extractor, &Scalar::from_constant(equals))
            .ok_or_else(too_many_places)?;
        if self.claims.predicate_in_doubt(&key) {
            let message = "an earlier Send with this predicate ended without its reply, which may still come";
            return Err(Fault {
                field: "correlation.match".into(),
                ..Fault::new(FaultKind::CorrelationInUse, message)
            });
        }
        Ok(self.as_is(payload, Wait::Predicate { key, extractor }))
    }

    fn key(&self, extractor: &Extractor<'_>, id: &Scalar<'_>) -> Result<Vec<u8>, Fault> {
        self.claims.id_key(extractor, id).ok_or_else(too_many_places)
    }

    fn free_key(&self, extractor: &Extractor<'_>, id: &Scalar<'_>) -> Result<Vec<u8>, Fault> {
        let key = self.key(extractor, id)?;
        if self.claims.id_in_use(&key) { Err(in_use()) } else { Ok(key) }
    }
}

fn message_id(raw: &[u8]) -> Result<Scalar<'_>, Fault> {
    bounded_scalar(raw).filter(|id| *id != Scalar::Null).ok_or_else(|| {
        Fault::invalid(
            "message",
            "its correlation id must be a string, a number or a boolean of at most 256 bytes",
        )
    })
}

fn item(message: &[u8], index: usize) -> Option<Scalar<'_>> {
    json::array_item(message, index).and_then(bounded_scalar)
}

fn in_use() -> Fault {
    let message = "its correlation id is in use: another Send waits with it, or ended without the reply, which may still come";
    Fault { field: "message".into(), ..Fault::new(FaultKind::CorrelationInUse, message) }
}

fn too_many_places() -> Fault {
    Fault::full("too many different correlation rules at once on this connection", Duration::from_secs(1))
}

/// Version 4, variant 1, in the usual spelling.
fn uuid_v4(high: u64, low: u64) -> String {
    let high = high & 0xFFFF_FFFF_FFFF_0FFF | 0x4000;
    let low = low & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xFFFF,
        high & 0xFFFF,
        low >> 48,
        low & 0xFFFF_FFFF_FFFF
    )
}

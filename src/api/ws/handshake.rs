//! The opening handshake of RFC 6455, as a server checks it. Strict where two readers could take a
//! request for two things.

use super::refused::Refused;
use crate::{
    api::{counters::WsRefusal, json::Refusal},
    core::{
        headers,
        reason::{Fault, FaultKind},
        redact::Secret,
    },
};
use base64::{
    Engine,
    alphabet::STANDARD as ALPHABET,
    engine::general_purpose::{GeneralPurpose, PAD, STANDARD},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
    header::{
        ALLOW, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, ORIGIN, SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
    },
    request::Parts,
};
use ring::digest;

const VERSION: HeaderValue = HeaderValue::from_static("13");
/// What a server proves with that it speaks the protocol.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_BYTES: usize = 16;
/// Some clients draw the characters of their key, not its bytes: bits that nobody reads may be set.
const KEY: GeneralPurpose = GeneralPurpose::new(&ALPHABET, PAD.with_decode_allow_trailing_bits(true));
/// A token that a page can send: its browser lets it set no other header.
const BEARER: &str = "bearer.";

/// A valid handshake.
#[derive(Debug)]
pub struct Offer {
    /// What `Sec-WebSocket-Accept` must say.
    pub accept: String,
    /// Those that the client offers, best first.
    pub subprotocols: Vec<String>,
    /// What stood among them as `bearer.<token>`.
    pub bearer: Option<Secret<String>>,
}

pub fn check(parts: &Parts, bodiless: bool) -> Result<Offer, Refused> {
    let headers = &parts.headers;
    if parts.method != Method::GET {
        let refusal = Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            FaultKind::Unimplemented,
            "this route takes the opening handshake of a WebSocket, which is a GET",
        );
        let refused = Refused::new(WsRefusal::Handshake, refusal);
        return Err(refused.with(ALLOW, HeaderValue::from_static("GET")));
    }
    if parts.version != Version::HTTP_11 {
        return refuse("version", "a WebSocket is opened over HTTP/1.1");
    }
    for name in [HOST, ORIGIN, UPGRADE, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, AUTHORIZATION] {
        if headers.get_all(&name).iter().nth(1).is_some() {
            return refuse(name.as_str().to_owned(), "must stand there once");
        }
    }
    if text(headers, &HOST)?.is_none_or(str::is_empty) {
        return refuse("host", "is missing");
    }
    upgrades(headers)?;
    let empty = headers.get(CONTENT_LENGTH).is_none_or(|length| length == "0");
    if headers.contains_key(TRANSFER_ENCODING) || !empty || !bodiless {
        return refuse("body", "an opening handshake has none");
    }
    let accept = accept(text(headers, &SEC_WEBSOCKET_KEY)?)?;
    let (subprotocols, bearer) = subprotocols(headers)?;
    Ok(Offer { accept, subprotocols, bearer })
}

fn upgrades(headers: &HeaderMap) -> Result<(), Refused> {
    match text(headers, &UPGRADE)? {
        None => return upgrade_required("upgrade", "this route is for WebSockets: use ws:// or wss://"),
        Some(protocol) if protocol.eq_ignore_ascii_case("websocket") => {}
        Some(_) => return refuse("upgrade", "must be websocket"),
    }
    let mut connection = false;
    for value in headers.get_all(CONNECTION) {
        let Ok(value) = value.to_str() else { return refuse("connection", "must be text") };
        connection |= value.split(',').any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    }
    if !connection {
        return refuse("connection", "must hold upgrade");
    }
    match text(headers, &SEC_WEBSOCKET_VERSION)? {
        Some("13") => Ok(()),
        _ => upgrade_required("sec-websocket-version", "must be 13"),
    }
}

fn accept(key: Option<&str>) -> Result<String, Refused> {
    let Some(key) = key else { return refuse("sec-websocket-key", "is missing") };
    if !KEY.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES) {
        return refuse("sec-websocket-key", "must be 16 bytes in base64");
    }
    Ok(accept_of(key))
}

fn accept_of(key: &str) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(GUID);
    STANDARD.encode(hash.finish())
}

type Subprotocols = (Vec<String>, Option<Secret<String>>);

/// A list, perhaps in several headers.
fn subprotocols(headers: &HeaderMap) -> Result<Subprotocols, Refused> {
    let mut all = Vec::new();
    for value in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        let Ok(value) = value.to_str() else {
            return refuse("sec-websocket-protocol", "must be a list of tokens");
        };
        all.extend(value.split(',').map(|name| name.trim().to_owned()));
    }
    if let Err(fault) = headers::validate_subprotocols(&all) {
        return refuse("sec-websocket-protocol", fault.to_string());
    }
    let (mut bearers, names): (Vec<_>, Vec<_>) = all.into_iter().partition(|name| name.starts_with(BEARER));
    let bearer = bearers.pop().map(|name| Secret::new(name[BEARER.len()..].to_owned()));
    if !bearers.is_empty() {
        return refuse("sec-websocket-protocol", "holds two tokens; give one");
    }
    Ok((names, bearer))
}

/// The one value, as text.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refused> {
    match headers.get(name).map(HeaderValue::to_str) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => refuse(name.as_str().to_owned(), "must be text"),
    }
}

fn refuse<T>(
    field: impl Into<std::borrow::Cow<'static, str>>,
    message: impl Into<std::borrow::Cow<'static, str>>,
) -> Result<T, Refused> {
    Err(Refused::new(WsRefusal::Handshake, Refusal::from(Fault::invalid(field, message))))
}

fn upgrade_required<T>(field: &'static str, message: &'static str) -> Result<T, Refused> {
    let refusal = Refusal { http: StatusCode::UPGRADE_REQUIRED, fault: Fault::invalid(field, message) };
    let refused = Refused::new(WsRefusal::Handshake, refusal);
    Err(refused.with(UPGRADE, HeaderValue::from_static("websocket")).with(SEC_WEBSOCKET_VERSION, VERSION))
}

#[cfg(test)]
mod tests;

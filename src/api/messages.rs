//! What an app sends to rooms and users: one payload, text or binary, and its type.

use super::validate;
use crate::{
    core::{correlation::Kind, reason::Fault, rooms::Post},
    limits,
};
use bytes::Bytes;

#[cfg(test)]
mod tests;

/// Exactly one of `message` and `data`. With a `message_id` the message must be JSON and travels as
/// `{"MESSAGE_ID": ..., "message": ...}`.
pub fn post(message: String, data: Bytes, message_id: &str, content_type: &str) -> Result<Post, Fault> {
    let field = if message.is_empty() { "data" } else { "message" };
    let (mut payload, mut kind) = validate::payload(message, data, content_type)?;
    if !message_id.is_empty() {
        payload = wrapped(message_id, field, &payload)?;
    } else if field == "data" && is_text(content_type) && std::str::from_utf8(&payload).is_ok() {
        kind = Kind::Text;
    }
    if payload.len() > limits::ROOM_MESSAGE_BYTES_MAX {
        let most = limits::ROOM_MESSAGE_BYTES_MAX;
        return Err(Fault::invalid(field, format!("a message to rooms or users has at most {most} bytes")));
    }
    Ok(Post { kind, payload })
}

/// A content type that says that bytes are a text.
fn is_text(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let application = media.strip_prefix("application/");
    media.starts_with("text/") || application.is_some_and(|kind| kind == "json" || kind.ends_with("+json"))
}

fn wrapped(message_id: &str, field: &str, payload: &[u8]) -> Result<Bytes, Fault> {
    if message_id.len() > limits::MESSAGE_ID_BYTES_MAX {
        let most = limits::MESSAGE_ID_BYTES_MAX;
        return Err(Fault::invalid("message_id", format!("has at most {most} bytes")));
    }
    let not_json = || Fault::invalid("message", "must be JSON when message_id is given");
    if field != "message" {
        return Err(Fault::invalid(
            "message",
            "must be given, as JSON, when message_id is; data has no type",
        ));
    }
    serde_json::from_slice::<serde::de::IgnoredAny>(payload).map_err(|_| not_json())?;
    let name = serde_json::to_vec(message_id).map_err(|_| not_json())?;
    let mut whole = Vec::with_capacity(payload.len() + name.len() + 32);
    whole.extend_from_slice(b"{\"MESSAGE_ID\":");
    whole.extend_from_slice(&name);
    whole.extend_from_slice(b",\"message\":");
    push_compact(&mut whole, payload);
    whole.push(b'}');
    Ok(whole.into())
}

/// JSON without the spaces between its parts; names keep their order and numbers their digits.
fn push_compact(out: &mut Vec<u8>, json: &[u8]) {
    let (mut in_string, mut escaped) = (false, false);
    for &byte in json {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            in_string = byte == b'"';
        }
        out.push(byte);
    }
}

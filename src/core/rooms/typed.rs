//! Typed messages: `{"MESSAGE_ID": "...", "message": ...}`.

use crate::{limits::MESSAGE_ID_BYTES_MAX, wire::event::push_escaped};

/// What a MESSAGE_ID may be where one is configured: it is a file's name and a type's.
pub fn check_message_id(id: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b':');
    if id.is_empty() || id.len() > MESSAGE_ID_BYTES_MAX || id.starts_with('.') || !id.bytes().all(plain) {
        return Err(format!(
            "must be 1 to {MESSAGE_ID_BYTES_MAX} letters, digits and . _ - :, not beginning with '.'"
        ));
    }
    Ok(())
}

/// `message` is JSON, and stands in the result as it is.
pub fn wrap(id: &str, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(id.len() + message.len() + 32);
    out.extend_from_slice(b"{\"MESSAGE_ID\":\"");
    push_escaped(&mut out, id.as_bytes());
    out.extend_from_slice(b"\",\"message\":");
    out.extend_from_slice(message);
    out.push(b'}');
    out
}

/// A text as a JSON string.
pub fn quoted(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    out.push(b'"');
    push_escaped(&mut out, text);
    out.push(b'"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_wrapped_as_it_stands() {
        assert_eq!(
            wrap("chat.message", b"{\"a\": 1e400}"),
            br#"{"MESSAGE_ID":"chat.message","message":{"a": 1e400}}"#
        );
        assert_eq!(wrap("a\"b", b"null"), br#"{"MESSAGE_ID":"a\"b","message":null}"#);
        assert_eq!(quoted("a\"\n\u{e9}".as_bytes()), "\"a\\\"\\n\u{e9}\"".as_bytes());
    }

    #[test]
    fn ids_that_could_be_no_files_name_are_refused() {
        for id in ["a", "chat.message", "order-updated", "v1:x_y"] {
            assert_eq!(check_message_id(id), Ok(()));
        }
        for id in ["", ".hidden", "a/b", "a b", "..", "é", &"x".repeat(MESSAGE_ID_BYTES_MAX + 1)] {
            assert!(check_message_id(id).is_err(), "{id}");
        }
    }
}

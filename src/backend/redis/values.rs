//! Answers of the server, taken apart.

use redis::Value;

pub fn bytes(value: Option<&Value>) -> Option<&[u8]> {
    match value? {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

pub fn text(value: Option<&Value>) -> Option<&str> {
    std::str::from_utf8(bytes(value)?).ok()
}

pub fn number(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::Int(number) => u64::try_from(*number).ok(),
        other => text(Some(other))?.parse().ok(),
    }
}

pub fn list(value: Option<&Value>) -> Option<&[Value]> {
    match value? {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

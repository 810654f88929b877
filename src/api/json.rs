//! Bodies: proto3 JSON in and out, and errors as `google.rpc.Status` JSON.

use super::status;
use crate::{
    core::reason::{Fault, FaultKind},
    limits,
};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

#[cfg(test)]
mod tests;

pub const JSON: &str = "application/json";

/// An error of the protocol around the message: it has its own HTTP status, beside the code.
#[derive(Debug)]
pub struct Refusal {
    pub http: StatusCode,
    pub fault: Fault,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let http = StatusCode::from_u16(status::row(fault.kind).http);
        Refusal { http: http.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), fault }
    }
}

impl Refusal {
    pub fn new(
        http: StatusCode,
        kind: FaultKind,
        message: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Self {
        Refusal { http, fault: Fault::new(kind, message) }
    }

    pub fn into_response(self) -> Response<Body> {
        let mut response = respond(self.http, &status::to_json(&self.fault));
        if let Some(after) = self.fault.retry_after {
            // In whole seconds, and never "at once".
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

/// A message from a body; no body at all is the empty message.
pub fn decode<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Fault> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let decoded = match serde_path_to_error::deserialize(&mut deserializer) {
        // proto3 JSON: null is the same as absent. Rare, so only a failure pays for it.
        Err(error) if error.inner().to_string().contains("null") => return from_value(value(body)?),
        decoded => decoded.map_err(named)?,
    };
    deserializer.end().map_err(|error| Fault::invalid("body", error.to_string()))?;
    Ok(decoded)
}

/// A message from a value.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(value).map_err(named)
}

/// A body's value with its nulls taken out.
pub fn value(body: &[u8]) -> Result<Value, Fault> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let mut value =
        serde_json::from_slice(body).map_err(|error| Fault::invalid("body", error.to_string()))?;
    strip_nulls(&mut value);
    Ok(value)
}

pub fn ok<T: Serialize>(message: &T) -> Response<Body> {
    respond(StatusCode::OK, message)
}

pub fn respond<T: Serialize>(status: StatusCode, message: &T) -> Response<Body> {
    let Ok(text) = serde_json::to_vec(message) else {
        return plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            JSON,
            r#"{"code":13,"message":"unprintable","details":[]}"#,
        );
    };
    plain(status, JSON, text)
}

pub fn plain(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Answers hold what only this caller may see, and a browser must not guess what they are.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The media type, without parameters, in small letters.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().unwrap_or("?");
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Refuses what would have to be unpacked first.
pub fn refuse_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            FaultKind::Invalid,
            "content-encoding: only identity is accepted",
        )),
        _ => Ok(()),
    }
}

/// The whole body, bounded in size and time.
pub async fn read<B>(body: B) -> Result<Bytes, Refusal>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let too_large = || Refusal {
        http: StatusCode::PAYLOAD_TOO_LARGE,
        fault: body_too_large(None, limits::REQUEST_BYTES_MAX),
    };
    if body.size_hint().lower() > limits::REQUEST_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let whole = Limited::new(body, limits::REQUEST_BYTES_MAX).collect();
    match tokio::time::timeout(limits::BODY_DEADLINE, whole).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Fault::invalid("body", "ended before it was complete").into()),
        Err(_) => Err(Refusal { http: StatusCode::REQUEST_TIMEOUT, fault: body_late() }),
    }
}

pub fn body_too_large(length: Option<usize>, most: usize) -> Fault {
    Fault::invalid(
        "body",
        match length {
            Some(length) => {
                format!("has {length} bytes, larger than {most} bytes, the most that one call takes")
            }
            None => format!("larger than {most} bytes"),
        },
    )
}

pub fn body_late() -> Fault {
    let seconds = limits::BODY_DEADLINE.as_secs();
    Fault::new(FaultKind::TimedOut, format!("body: not complete after {seconds} s"))
}

/// Members only: null in a list is an error.
fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

fn named(error: serde_path_to_error::Error<serde_json::Error>) -> Fault {
    let path = error.path().to_string();
    let told = error.into_inner().to_string();
    let field = unknown_field(&told).filter(|_| path == "." || path == "?").unwrap_or(match path.as_str() {
        "." | "?" => "body",
        path => path,
    });
    Fault::invalid(field.to_owned(), without_value(&told))
}

fn unknown_field(told: &str) -> Option<&str> {
    told.strip_prefix("unknown field `")?.split_once('`').map(|(name, _)| name)
}

/// An error must not repeat the value: it may be a header or a key that stands in the wrong place.
fn without_value(told: &str) -> String {
    let told = told.rsplit_once(" at line ").map_or(told, |(told, _)| told);
    if told.starts_with("data did not match any variant of untagged enum") {
        return "must be a number within its type's range".into();
    }
    for prefix in ["invalid type: ", "invalid value: "] {
        let Some((given, expected)) =
            told.strip_prefix(prefix).and_then(|rest| rest.rsplit_once(", expected "))
        else {
            continue;
        };
        let kind = given.split([' ', '`', '"']).next().unwrap_or("value");
        return format!("{prefix}{kind}, expected {expected}");
    }
    if let Some((_, expected)) =
        told.strip_prefix("unknown variant `").and_then(|rest| rest.rsplit_once(", expected "))
    {
        return format!("unknown value, expected {expected}");
    }
    told.to_owned()
}

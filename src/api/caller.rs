//! Who calls, until when, and within which trace: read from the request's head.

use super::service::Caller;
use http::{Extensions, HeaderMap};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Put into a request's extensions by whatever authenticated it.
#[derive(Clone, Debug, Default)]
pub struct Principal(pub String);

const TRACEPARENT: &str = "traceparent";
/// `version-trace-parent-flags`; later versions may be longer.
const TRACEPARENT_CHARS: std::ops::RangeInclusive<usize> = 55..=128;

pub fn of_grpc(headers: &HeaderMap, extensions: &Extensions) -> Caller {
    caller(headers, extensions, text(headers, "grpc-timeout").and_then(grpc_timeout))
}

pub fn of_connect(headers: &HeaderMap, extensions: &Extensions) -> Caller {
    let millis = text(headers, "connect-timeout-ms").filter(|text| text.len() <= 10);
    caller(headers, extensions, millis.and_then(digits).map(Duration::from_millis))
}

pub fn of_rest(headers: &HeaderMap, extensions: &Extensions) -> Caller {
    caller(headers, extensions, None)
}

fn caller(headers: &HeaderMap, extensions: &Extensions, deadline: Option<Duration>) -> Caller {
    let principal = extensions.get::<Principal>().map(|p| p.0.clone()).unwrap_or_default();
    let traceparent = text(headers, TRACEPARENT).and_then(traceparent);
    Caller { principal, deadline, traceparent }
}

/// A trace context that may be passed on.
pub fn traceparent(text: &str) -> Option<String> {
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (TRACEPARENT_CHARS.contains(&text.len()) && plain(text)).then(|| text.to_owned())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn digits(text: &str) -> Option<u64> {
    // `parse` would take a sign as well.
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// At most eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.is_empty() || number.len() > 8 {
        return None;
    }
    let number = digits(number)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

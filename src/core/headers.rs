//! What a caller may add to the handshake's request: headers and subprotocols.

use crate::{
    core::{reason::Fault, redact::escape_bounded},
    limits::{HEADERS_BYTES_MAX, HEADERS_MAX, SUBPROTOCOLS_MAX},
};
use std::fmt;

/// Of a bad name, so much stands in the fault.
const NAME_SHOWN_CHARS: usize = 64;
/// `: ` and the line end.
const LINE_OVERHEAD: usize = 4;

/// Names that frame the request or belong to the WebSocket handshake itself.
const FORBIDDEN_NAMES: [&str; 9] = [
    "host",
    "connection",
    "upgrade",
    "transfer-encoding",
    "te",
    "trailer",
    "keep-alive",
    "expect",
    "http2-settings",
];
const FORBIDDEN_PREFIXES: [&str; 3] = ["sec-websocket-", "content-", "proxy-"];

/// Checked headers, sorted by name. Their values are never formatted: any may be a credential.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(Box<str>, Box<str>)>);

impl Headers {
    /// Values that hold templates are checked again, by the same call, once they are rendered.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Fault> {
        let mut list: Vec<(Box<str>, Box<str>)> = Vec::new();
        let mut bytes = 0usize;
        for (name, value) in pairs {
            if list.len() == HEADERS_MAX {
                return Err(Fault::invalid("headers", format!("there may be at most {HEADERS_MAX} headers")));
            }
            bytes = bytes.saturating_add(name.len() + value.len() + LINE_OVERHEAD);
            if bytes > HEADERS_BYTES_MAX {
                let message = format!("all headers together may have at most {HEADERS_BYTES_MAX} bytes");
                return Err(Fault::invalid("headers", message));
            }
            check_name(name)?;
            check_value(name, value)?;
            list.push((name.into(), value.into()));
        }
        list.sort_by_cached_key(|(name, _)| name.to_ascii_lowercase());
        if let Some(twice) = list.windows(2).find(|pair| pair[0].0.eq_ignore_ascii_case(&pair[1].0)) {
            return refuse(&twice[1].0, "is given twice: names are compared without regard to case");
        }
        Ok(Headers(list))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// Names are not echoed: some services take a credential as a subprotocol.
pub fn validate_subprotocols<S: AsRef<str>>(list: &[S]) -> Result<(), Fault> {
    if list.len() > SUBPROTOCOLS_MAX {
        let message = format!("there may be at most {SUBPROTOCOLS_MAX} subprotocols");
        return Err(Fault::invalid("subprotocols", message));
    }
    let mut bytes = 0usize;
    for (place, name) in list.iter().enumerate() {
        let name = name.as_ref();
        let refuse = |message: &'static str| Err(Fault::invalid(format!("subprotocols[{place}]"), message));
        bytes = bytes.saturating_add(name.len());
        if bytes > HEADERS_BYTES_MAX {
            return refuse("the subprotocols together are too long for a header");
        }
        if !is_token(name) {
            return refuse("must be a token: letters, digits and !#$%&'*+-.^_`|~");
        }
        if list[..place].iter().any(|earlier| earlier.as_ref() == name) {
            return refuse("is given twice");
        }
    }
    Ok(())
}

/// A token as HTTP defines it (RFC 9110, 5.6.2).
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn check_name(name: &str) -> Result<(), Fault> {
    if !is_token(name) {
        return refuse(name, "a header's name must be a token: letters, digits and !#$%&'*+-.^_`|~");
    }
    let lower = name.to_ascii_lowercase();
    if lower == "sec-websocket-protocol" {
        return refuse(name, "is set by the field subprotocols");
    }
    let forbidden = FORBIDDEN_NAMES.contains(&lower.as_str())
        || FORBIDDEN_PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
    if forbidden {
        return refuse(name, "belongs to the handshake itself and cannot be set");
    }
    Ok(())
}

fn check_value(name: &str, value: &str) -> Result<(), Fault> {
    if value.contains(char::is_control) {
        return refuse(name, "its value must not hold control characters");
    }
    if value.starts_with(' ') || value.ends_with(' ') {
        return refuse(name, "its value must not begin or end with a space");
    }
    Ok(())
}

fn refuse<T>(name: &str, message: &'static str) -> Result<T, Fault> {
    Err(Fault::invalid(format!("headers[{}]", escape_bounded(name, NAME_SHOWN_CHARS)), message))
}

#[cfg(test)]
mod tests;

//! Where the sidecar is: the grammar of `DAPR_GRPC_ENDPOINT`.

use crate::ports::BackendError;
use std::fmt;

/// An address that was understood, and how it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// As the transport takes it.
    pub uri: String,
    shown: String,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// The sidecar that listens beside us.
pub fn local(port: u16) -> Address {
    Address { uri: format!("http://127.0.0.1:{port}"), shown: format!("127.0.0.1:{port}") }
}

/// `host[:port][?tls=true|false]`, `dns:host:port`, `dns:///host:port`, `unix:path`, `unix://path`,
/// `http://host[:port]`, `https://host[:port]`.
pub fn parse(text: &str) -> Result<Address, BackendError> {
    let text = text.trim();
    let bad = |why: &str| Err(refused(text, why));
    if let Some(path) = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if path.is_empty() || tls_of(text, query)? == Some(true) {
            return bad("a Unix socket needs a path and has no TLS");
        }
        return Ok(Address { uri: format!("unix://{path}"), shown: format!("unix://{path}") });
    }
    let (rest, query) = text.split_once('?').unwrap_or((text, ""));
    let asked = tls_of(text, query)?;
    let (place, default_port, scheme_tls) = if let Some(place) = rest.strip_prefix("https://") {
        (place, 443, Some(true))
    } else if let Some(place) = rest.strip_prefix("http://") {
        (place, 80, Some(false))
    } else if let Some(place) = rest.strip_prefix("dns://") {
        match place.split_once('/') {
            Some(("", place)) => (place, 443, None),
            Some(_) => return bad("a DNS server of its own is not supported: write dns:///host:port"),
            None => (place, 443, None),
        }
    } else if let Some(place) = rest.strip_prefix("dns:") {
        (place, 443, None)
    } else if rest.contains("://") {
        return bad("this scheme is not known; dns, unix, http and https are");
    } else {
        (rest, 443, None)
    };
    let tls = match (scheme_tls, asked) {
        (Some(scheme), Some(asked)) if scheme != asked => {
            return bad("the scheme and ?tls= contradict each other");
        }
        (scheme, asked) => scheme.or(asked).unwrap_or(false),
    };
    if tls {
        return bad("TLS to a sidecar is not built in: use a sidecar on the same host or pod, or a proxy");
    }
    let place = place.strip_suffix('/').unwrap_or(place);
    let (host, port) = split(text, place, default_port)?;
    Ok(Address { uri: format!("http://{host}:{port}"), shown: format!("{host}:{port}") })
}

fn split<'a>(text: &str, place: &'a str, default_port: u16) -> Result<(&'a str, u16), BackendError> {
    let (host, port) = match place.rsplit_once(':') {
        // The colons of a bare IPv6 address in brackets.
        Some((_, last)) if last.ends_with(']') => (place, None),
        Some((host, port)) => (host, Some(port)),
        None => (place, None),
    };
    let port = match port {
        None => default_port,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => return Err(refused(text, "the port must be a number from 1 to 65535")),
        },
    };
    let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let fine = match inside {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        }
    };
    if fine { Ok((host, port)) } else { Err(refused(text, "the host is not a name or an address")) }
}

fn tls_of(text: &str, query: &str) -> Result<Option<bool>, BackendError> {
    let mut tls = None;
    for part in query.split('&').filter(|part| !part.is_empty()) {
        tls = match part {
            "tls=true" => Some(true),
            "tls=false" => Some(false),
            _ => return Err(refused(text, "only ?tls=true and ?tls=false are known in its query")),
        };
    }
    Ok(tls)
}

fn refused(text: &str, why: &str) -> BackendError {
    BackendError {
        message: format!("DAPR_GRPC_ENDPOINT '{text}': {why} (for example 127.0.0.1:50001)"),
        transient: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        let cases = [
            ("localhost:50001", "http://localhost:50001"),
            (" daprd ", "http://daprd:443"),
            ("10.0.0.1:3?tls=false", "http://10.0.0.1:3"),
            ("[::1]:50001", "http://[::1]:50001"),
            ("[::1]", "http://[::1]:443"),
            ("http://h", "http://h:80"),
            ("http://h:5000/", "http://h:5000"),
            ("dns:h:1", "http://h:1"),
            ("dns:///h:1", "http://h:1"),
            ("dns://h:1?tls=false", "http://h:1"),
            ("unix:///tmp/d.socket", "unix:///tmp/d.socket"),
            ("unix:/tmp/d.socket", "unix:///tmp/d.socket"),
        ];
        for (text, uri) in cases {
            assert_eq!(parse(text).map(|address| address.uri), Ok(uri.to_owned()), "{text}");
        }
        assert_eq!(local(50001).to_string(), "127.0.0.1:50001");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("h:1?tls=maybe", "?tls=true"),
            ("h:1?x=1", "?tls=true"),
            ("h:1?tls=true", "not built in"),
            ("https://h", "not built in"),
            ("https://h?tls=false", "contradict"),
            ("http://h?tls=true", "contradict"),
            ("dns://8.8.8.8:53/h:1", "DNS server"),
            ("vsock://2:1", "scheme"),
            ("unix:", "path"),
            ("h:0", "port"),
            ("h:70000", "port"),
            ("::1", "host"),
            ("", "host"),
            ("h/p:1", "host"),
            ("a b:1", "host"),
        ];
        for (text, part) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.message.contains(part) && !error.transient, "{text}: {error}");
        }
    }
}

//! Where a dialled connection goes: a URL taken apart once, strictly, so that no later reader
//! can take it apart differently.

use crate::{
    core::{percent, reason::Fault, redact, redact::Secret},
    limits::URL_BYTES_MAX,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};
use url::Url;

const FIELD: &str = "url";
const LABEL_BYTES_MAX: usize = 63;
const NAME_BYTES_MAX: usize = 253;
/// A query without `key=` and longer than this is taken for a bare token.
const BARE_QUERY_SHOWN: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Ws,
    Wss,
}

impl Scheme {
    pub const fn name(self) -> &'static str {
        match self {
            Scheme::Ws => "ws",
            Scheme::Wss => "wss",
        }
    }

    pub const fn default_port(self) -> u16 {
        match self {
            Scheme::Ws => 80,
            Scheme::Wss => 443,
        }
    }

    pub const fn is_tls(self) -> bool {
        matches!(self, Scheme::Wss)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// Lower case, punycode, without a trailing dot.
    Domain(String),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Domain(name) => f.write_str(name),
            Host::V4(ip) => ip.fmt(f),
            Host::V6(ip) => write!(f, "[{ip}]"),
        }
    }
}

#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    pub scheme: Scheme,
    pub host: Host,
    pub port: u16,
    path_and_query: String,
    userinfo: Option<Secret<(String, String)>>,
    /// The name was written with a trailing dot: search domains do not apply.
    absolute: bool,
}

impl Target {
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if text.len() > URL_BYTES_MAX {
            return refuse(format!("must be at most {URL_BYTES_MAX} bytes"));
        }
        let (scheme, raw_authority) = check_raw(text)?;
        // The parse error is safe to show: it quotes nothing of the text.
        let url = Url::parse(text).or_else(|error| refuse(format!("is not a URL: {error}")))?;
        if url.as_str().len() > URL_BYTES_MAX {
            return refuse(format!("must be at most {URL_BYTES_MAX} bytes, percent-encoded"));
        }
        let (host, absolute) = match url.host() {
            Some(url::Host::Ipv4(ip)) => (Host::V4(ip), false),
            Some(url::Host::Ipv6(ip)) => (Host::V6(ip), false),
            Some(url::Host::Domain(name)) => check_domain(name)?,
            None => return refuse("names no host"),
        };
        let port = url.port().unwrap_or(scheme.default_port());
        if port == 0 {
            return refuse("port 0 cannot be dialled");
        }
        let userinfo = if raw_authority.contains('@') { decode_userinfo(&url)? } else { None };
        let path_and_query = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Ok(Target { scheme, host, port, path_and_query, userinfo: userinfo.map(Secret::new), absolute })
    }

    /// The address, where the URL holds one instead of a name.
    pub fn ip(&self) -> Option<IpAddr> {
        match self.host {
            Host::Domain(_) => None,
            Host::V4(ip) => Some(ip.into()),
            Host::V6(ip) => Some(ip.into()),
        }
    }

    /// The name to look up, with its trailing dot if it was written so; none for an address.
    pub fn lookup_name(&self) -> Option<String> {
        match &self.host {
            Host::Domain(name) => Some(if self.absolute { format!("{name}.") } else { name.clone() }),
            Host::V4(_) | Host::V6(_) => None,
        }
    }

    /// The `Host` header: the port only when it is not the scheme's own.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Path and query of the request line, percent-encoded. May hold secrets.
    pub fn request_target(&self) -> &str {
        &self.path_and_query
    }

    /// The `Authorization` header that the userinfo stands for.
    pub fn basic_authorization(&self) -> Option<Secret<String>> {
        let (user, password) = self.userinfo.as_ref()?.expose();
        Some(Secret::new(format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))))
    }

    pub fn has_userinfo(&self) -> bool {
        self.userinfo.is_some()
    }

    /// Whether `redacted()` hides anything: such a URL is sealed before it is stored.
    pub fn has_secrets(&self) -> bool {
        self.userinfo.is_some() || self.mask_target(&mut String::new())
    }

    /// The URL as it may be shown: without userinfo, the values of secret query keys masked.
    pub fn redacted(&self) -> String {
        let mut out = format!("{}://{}", self.scheme.name(), self.authority());
        self.mask_target(&mut out);
        out
    }

    fn mask_target(&self, out: &mut String) -> bool {
        let (path, query) = match self.path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.path_and_query.as_str(), None),
        };
        let mut masked = redact::mask_pairs(path, out);
        if let Some(query) = query {
            out.push('?');
            if !query.contains('=') && query.len() > BARE_QUERY_SHOWN {
                out.push_str(redact::MASK);
                masked = true;
            } else {
                masked |= redact::mask_pairs(query, out);
            }
        }
        masked
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.redacted())
    }
}

/// The URL standard is lenient where other readers are not: it drops tabs and line ends, takes `\`
/// for `/`, does without slashes, and allows several `@`. Whatever two readers could take apart in
/// two ways is refused before it is parsed.
fn check_raw(text: &str) -> Result<(Scheme, &str), Fault> {
    if text.is_empty() {
        return refuse("must not be empty");
    }
    if text.contains(|c: char| c.is_whitespace() || redact::is_deceptive(c)) {
        return refuse("must not hold whitespace, control or invisible characters; percent-encode them");
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return refuse("must begin with ws:// or wss://");
    };
    let scheme = match scheme {
        s if s.eq_ignore_ascii_case("ws") => Scheme::Ws,
        s if s.eq_ignore_ascii_case("wss") => Scheme::Wss,
        _ => return refuse("must begin with ws:// or wss://"),
    };
    if text.contains('#') {
        return refuse("must not have a fragment; write '#' as %23");
    }
    if text.contains('\\') {
        return refuse("must not hold a backslash; write it as %5C");
    }
    let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
    if authority.bytes().filter(|&b| b == b'@').count() > 1 {
        return refuse("must hold at most one '@' before the path; write others as %40");
    }
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() || host.starts_with(':') {
        return refuse("names no host");
    }
    if host.starts_with('[') && host.contains('%') {
        return refuse("must not hold a zone id: link-local addresses cannot be dialled");
    }
    Ok((scheme, authority))
}

fn check_domain(name: &str) -> Result<(Host, bool), Fault> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    let plain = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if bare.len() > NAME_BYTES_MAX || !bare.split('.').all(plain) {
        return refuse("its host is not a valid domain name");
    }
    Ok((Host::Domain(bare.to_ascii_lowercase()), bare.len() < name.len()))
}

fn decode_userinfo(url: &Url) -> Result<Option<(String, String)>, Fault> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let user = decode_part(url.username())?;
    let password = decode_part(url.password().unwrap_or_default())?;
    if user.contains(':') {
        return refuse("its user name must not hold ':', which basic authentication cannot carry");
    }
    Ok(Some((user, password)))
}

fn decode_part(part: &str) -> Result<String, Fault> {
    let decoded = percent::lenient(part).into_owned();
    match String::from_utf8(decoded) {
        Ok(text) if !text.contains(char::is_control) => Ok(text),
        _ => refuse("its userinfo must be UTF-8 without control characters"),
    }
}

fn refuse<T>(message: impl Into<std::borrow::Cow<'static, str>>) -> Result<T, Fault> {
    Err(Fault::invalid(FIELD, message))
}

#[cfg(test)]
mod tests;

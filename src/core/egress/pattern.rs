//! The patterns of `--egress-allow` and `--egress-deny`.

use super::class::unmapped;
use crate::core::redact::escape_log;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Net {
        ip: IpAddr,
        prefix: u8,
    },
    Name(String),
    /// `*.example.com`: every name below it, not itself.
    Below(String),
}

/// A range of addresses, a name or the names below one, each for all ports or for a single one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    what: What,
    port: Option<u16>,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPattern {
    pub pattern: String,
    pub reason: &'static str,
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "egress pattern '{}': {}", escape_log(&self.pattern), self.reason)
    }
}

impl std::error::Error for BadPattern {}

impl Pattern {
    /// `10.0.0.0/8`, `fd00::/8`, `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]:80`, `host`, `host:port`,
    /// `*.example.com`, `*.example.com:443`.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let bad = |reason| BadPattern { pattern: text.to_owned(), reason };
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(bad("is empty"));
        }
        let (what, port) = parse_parts(trimmed).map_err(bad)?;
        Ok(Pattern { what, port, text: trimmed.to_owned() })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn matches_name(&self, host: &str, port: u16) -> bool {
        let named = match &self.what {
            What::Net { .. } => false,
            What::Name(name) => name == host,
            What::Below(parent) => {
                host.strip_suffix(parent.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
        };
        named && self.port.is_none_or(|own| own == port)
    }

    pub(super) fn matches_ip(&self, ip: IpAddr, port: u16) -> bool {
        let What::Net { ip: net, prefix } = self.what else { return false };
        let inside = match (net, unmapped(ip)) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => same_prefix_v4(net, ip, prefix),
            (IpAddr::V6(net), IpAddr::V6(ip)) => same_prefix_v6(net, ip, prefix),
            _ => false,
        };
        inside && self.port.is_none_or(|own| own == port)
    }

    /// Names this one socket and no other.
    pub(super) fn is_exactly(&self, addr: SocketAddr) -> bool {
        self.port == Some(addr.port())
            && matches!(self.what, What::Net { ip, prefix } if prefix == width(ip) && ip == unmapped(addr.ip()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse_parts(text: &str) -> Result<(What, Option<u16>), &'static str> {
    if let Some((net, prefix)) = text.split_once('/') {
        return Ok((parse_net(net, prefix)?, None));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok((whole(ip), None));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']').ok_or("has '[' without ']'")?;
        let ip: Ipv6Addr = inside.parse().map_err(|_| "holds no IPv6 address between its brackets")?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(parse_port(port)?),
            None if after.is_empty() => None,
            None => return Err("has more after its ']' than ':port'"),
        };
        return Ok((whole(ip.into()), port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(parse_port(port)?)),
        None => (text, None),
    };
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Ok((whole(ip.into()), port));
    }
    let what = match host.strip_prefix("*.") {
        Some(parent) => What::Below(parse_name(parent)?),
        None => What::Name(parse_name(host)?),
    };
    Ok((what, port))
}

fn parse_net(net: &str, prefix: &str) -> Result<What, &'static str> {
    let ip: IpAddr = net.trim_matches(['[', ']']).parse().map_err(|_| "has no IP address before its '/'")?;
    // `parse` would take a sign as well.
    let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
    let prefix: u8 = prefix.parse().ok().filter(|_| digits).ok_or("has no prefix length after its '/'")?;
    if prefix > width(ip) {
        return Err("has a longer prefix than its address has bits");
    }
    let beyond = match ip {
        IpAddr::V4(ip) => ip.to_bits().checked_shl(prefix.into()).unwrap_or(0) != 0,
        IpAddr::V6(ip) => ip.to_bits().checked_shl(prefix.into()).unwrap_or(0) != 0,
    };
    if beyond {
        return Err("has bits set beyond its prefix: write the first address of the range");
    }
    match (unmapped(ip), ip) {
        (mapped @ IpAddr::V4(_), IpAddr::V6(_)) if prefix >= 96 => {
            Ok(What::Net { ip: mapped, prefix: prefix - 96 })
        }
        _ => Ok(What::Net { ip, prefix }),
    }
}

fn whole(ip: IpAddr) -> What {
    let ip = unmapped(ip);
    What::Net { ip, prefix: width(ip) }
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&port| digits && port != 0).ok_or("has no port from 1 to 65535 after its ':'")
}

/// As `Target` writes names: lower case, punycode, without a trailing dot.
fn parse_name(text: &str) -> Result<String, &'static str> {
    if text.contains('*') {
        return Err("may hold '*' only as its first label, as in *.example.com");
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    match url::Host::parse(text) {
        Ok(url::Host::Domain(name)) if plain_name(&name) => Ok(name),
        Ok(url::Host::Domain(_)) | Err(_) => Err("is neither an address, a range nor a host name"),
        Ok(_) => Err("spells an address unusually: write it in dotted decimal"),
    }
}

fn plain_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    name.split('.').all(|label| !label.is_empty() && label.bytes().all(plain))
}

fn same_prefix_v4(net: Ipv4Addr, ip: Ipv4Addr, prefix: u8) -> bool {
    (net.to_bits() ^ ip.to_bits()).checked_shr(32 - u32::from(prefix.min(32))).unwrap_or(0) == 0
}

fn same_prefix_v6(net: Ipv6Addr, ip: Ipv6Addr, prefix: u8) -> bool {
    (net.to_bits() ^ ip.to_bits()).checked_shr(128 - u32::from(prefix.min(128))).unwrap_or(0) == 0
}

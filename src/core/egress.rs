//! Which addresses may be dialled. A caller names the URL, so without this the service would be a
//! way into every network it stands in.
//!
//! The addresses are judged, never the name's looks: the check comes after the look-up, the dialler
//! connects to what was returned here and looks up nothing again, and every reconnect starts anew.

pub mod class;
pub mod pattern;

pub use class::{Class, classify};
pub use pattern::{BadPattern, Pattern};

use crate::core::reason::{Fault, FaultKind};
use class::{embedded, unmapped};
use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Opens what is closed by default; public addresses need no entry.
    pub allow: Vec<Pattern>,
    /// Wins over `allow`.
    pub deny: Vec<Pattern>,
    /// Where this process listens. One that listens on the unspecified address should also name
    /// every address of the machine here: they are not known in this place.
    pub own: Vec<SocketAddr>,
}

/// Why one address may not be dialled.
enum Refusal<'p> {
    Class(Class),
    Own,
    Listed(&'p Pattern),
}

/// The addresses of `host` that may be dialled, in the order given; never empty.
///
/// An address on the deny list is left out and the others serve: the operator said which to avoid
/// (`::/0`, say). An address refused by its class refuses the whole answer, even next to public
/// ones: no honest name answers with both, and a rebinding attacker does so, to have the public one
/// pass the check and fail to connect, and the second attempt go inside.
pub fn check(policy: &Policy, host: &str, port: u16, addrs: &[SocketAddr]) -> Result<Vec<SocketAddr>, Fault> {
    let host = normal_name(host);
    check_name(policy, &host, port)?;
    let by_name = policy.allow.iter().any(|pattern| pattern.matches_name(&host, port));
    let mut permitted = Vec::with_capacity(addrs.len());
    let mut listed = None;
    for &addr in addrs {
        match judge(policy, addr, by_name) {
            Ok(()) => permitted.push(addr),
            Err(Refusal::Listed(pattern)) => listed = listed.or(Some(pattern)),
            Err(Refusal::Class(class)) => return Err(refused_class(&host, port, class)),
            Err(Refusal::Own) => return Err(refused_own(&host)),
        }
    }
    match (permitted.is_empty(), listed) {
        (false, _) => Ok(permitted),
        (true, Some(pattern)) => Err(refused_listed(&host, pattern)),
        (true, None) => Err(Fault {
            field: Cow::Borrowed("url"),
            ..Fault::new(FaultKind::DialFailed, format!("'{host}' has no address"))
        }),
    }
}

/// What can be refused before the look-up, so that a denied name is not even asked for.
pub fn check_name(policy: &Policy, host: &str, port: u16) -> Result<(), Fault> {
    let host = normal_name(host);
    match policy.deny.iter().find(|pattern| pattern.matches_name(&host, port)) {
        Some(pattern) => Err(refused_listed(&host, pattern)),
        None => Ok(()),
    }
}

fn judge(policy: &Policy, addr: SocketAddr, allowed_by_name: bool) -> Result<(), Refusal<'_>> {
    let port = addr.port();
    let layers = layers(addr.ip());
    let denied_by =
        policy.deny.iter().find(|pattern| layers.iter().flatten().any(|&ip| pattern.matches_ip(ip, port)));
    // The class comes first: an answer that mixes in an inner address stays refused as a whole when
    // the deny list happens to cover that address too.
    for &ip in layers.iter().flatten() {
        let class = classify(ip);
        let allowed = || allowed_by_name || policy.allow.iter().any(|pattern| pattern.matches_ip(ip, port));
        if class != Class::Public && !allowed() {
            return Err(Refusal::Class(class));
        }
    }
    if let Some(pattern) = denied_by {
        return Err(Refusal::Listed(pattern));
    }
    let reaches_us = layers.iter().flatten().any(|&ip| policy.own.iter().any(|own| reaches(ip, port, *own)));
    if reaches_us && !policy.allow.iter().any(|pattern| pattern.is_exactly(addr)) {
        return Err(Refusal::Own);
    }
    Ok(())
}

/// The address and, where a translator or a tunnel would unwrap it, the one inside. Each has to pass
/// by itself: to allow NAT64 does not open the private networks behind it.
fn layers(ip: IpAddr) -> [Option<IpAddr>; 2] {
    let outer = unmapped(ip);
    let inner = match outer {
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => embedded(ip).map(IpAddr::V4),
    };
    [Some(outer), inner]
}

/// Whether a connection to `ip` could arrive at the listener `own`. A listener on the unspecified
/// address takes every local one, of both families; a connection to the unspecified address goes
/// to loopback.
fn reaches(ip: IpAddr, port: u16, own: SocketAddr) -> bool {
    let local = |ip: IpAddr| matches!(classify(ip), Class::Loopback | Class::Unspecified);
    let own_ip = unmapped(own.ip());
    port == own.port()
        && (ip == own_ip || (own_ip.is_unspecified() && local(ip)) || (ip.is_unspecified() && local(own_ip)))
}

fn normal_name(host: &str) -> String {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.trim_matches(['[', ']']).to_ascii_lowercase()
}

// The messages name the class but not the address: what an inner name resolves to is none of the
// caller's business.

fn refused_class(host: &str, port: u16, class: Class) -> Fault {
    let shown = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    denied(format!(
        "'{host}' leads to {}, which may not be dialled unless the operator starts the service with \
         --egress-allow {shown}:{port} or a range that holds it",
        class.name()
    ))
}

fn refused_own(host: &str) -> Fault {
    denied(format!(
        "'{host}' leads to this service itself, which may not be dialled unless the operator names \
         exactly that address and port with --egress-allow"
    ))
}

fn refused_listed(host: &str, pattern: &Pattern) -> Fault {
    denied(format!(
        "'{host}' is refused by the operator's --egress-deny {pattern}; --egress-allow does not lift it"
    ))
}

fn denied(message: String) -> Fault {
    Fault { field: Cow::Borrowed("url"), ..Fault::new(FaultKind::EgressDenied, message) }
}

#[cfg(test)]
mod tests;

//! What the binary does besides serving: a demonstration, following messages in a terminal, a
//! check for containers, types of messages.

mod client;
pub mod demo;
pub mod healthcheck;
pub mod tail;
pub mod types;
mod upstream;

use std::error::Error;

type Failure = Box<dyn Error + Send + Sync>;

/// Where a command on this machine reaches a port that listens on `address`.
fn reachable(address: std::net::SocketAddr) -> std::net::SocketAddr {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The innermost cause: the layers around it say nothing that a user could act on.
fn cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

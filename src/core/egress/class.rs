//! What kind of place an address is, after IANA's registries of special addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    Public,
    Unspecified,
    Loopback,
    Private,
    LinkLocal,
    /// Where a cloud hands out credentials to whoever asks from the machine.
    Metadata,
    Cgnat,
    Multicast,
    Broadcast,
    Documentation,
    Benchmark,
    UniqueLocal,
    SiteLocal,
    SixToFour,
    Teredo,
    Nat64,
    /// `::ffff:0:a.b.c.d`, of stateless translators.
    Translated,
    /// `::a.b.c.d`, long withdrawn.
    V4Compatible,
    Reserved,
}

impl Class {
    /// As it stands in a message, with its article.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Public => "a public address",
            Class::Unspecified => "the unspecified address",
            Class::Loopback => "a loopback address",
            Class::Private => "a private address",
            Class::LinkLocal => "a link-local address",
            Class::Metadata => "a cloud metadata address",
            Class::Cgnat => "a carrier-grade NAT address",
            Class::Multicast => "a multicast address",
            Class::Broadcast => "a broadcast address",
            Class::Documentation => "a documentation address",
            Class::Benchmark => "a benchmarking address",
            Class::UniqueLocal => "a unique local address",
            Class::SiteLocal => "a site-local address",
            Class::SixToFour => "a 6to4 address",
            Class::Teredo => "a Teredo address",
            Class::Nat64 => "a NAT64 address",
            Class::Translated => "an IPv4-translated address",
            Class::V4Compatible => "an IPv4-compatible address",
            Class::Reserved => "a reserved address",
        }
    }
}

/// A v4-mapped address is but another spelling of the IPv4 address that the kernel connects to: its
/// class is that one's.
pub fn classify(ip: IpAddr) -> Class {
    match unmapped(ip) {
        IpAddr::V4(ip) => classify_v4(ip),
        IpAddr::V6(ip) => classify_v6(ip),
    }
}

pub fn unmapped(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// The IPv4 address to which a translator or a tunnel would carry what is sent to `ip`.
pub fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = ip.to_bits();
    match classify_v6(ip) {
        // Of the operator's own prefix (64:ff9b:1::/48) only the /96 layout can be read: the others
        // are not told apart by looking.
        Class::Nat64 | Class::Translated | Class::V4Compatible => Some(Ipv4Addr::from_bits(bits as u32)),
        Class::SixToFour => Some(Ipv4Addr::from_bits((bits >> 80) as u32)),
        // The client's address, which Teredo writes inverted.
        Class::Teredo => Some(Ipv4Addr::from_bits(!(bits as u32))),
        _ => None,
    }
}

fn classify_v4(ip: Ipv4Addr) -> Class {
    match ip.octets() {
        [0, 0, 0, 0] => Class::Unspecified,
        [0, ..] => Class::Reserved,
        // AWS, GCP, Azure, DigitalOcean and ECS: the whole /24s, for each serves more than one.
        [169, 254, 169 | 170, _] => Class::Metadata,
        // Azure's wire server (a public address), Alibaba (in the CGNAT range), Oracle.
        [168, 63, 129, 16] | [100, 100, 100, 200] | [192, 0, 0, 192] => Class::Metadata,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Class::Private,
        [100, 64..=127, ..] => Class::Cgnat,
        [127, ..] => Class::Loopback,
        [169, 254, ..] => Class::LinkLocal,
        [192, 0, 0, _] => Class::Reserved,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Class::Documentation,
        [192, 88, 99, _] => Class::SixToFour,
        [198, 18 | 19, ..] => Class::Benchmark,
        [224..=239, ..] => Class::Multicast,
        [255, 255, 255, 255] => Class::Broadcast,
        [240..=255, ..] => Class::Reserved,
        _ => Class::Public,
    }
}

fn classify_v6(ip: Ipv6Addr) -> Class {
    if ip.is_unspecified() {
        return Class::Unspecified;
    }
    if ip.is_loopback() {
        return Class::Loopback;
    }
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => {
            classify_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        [0, 0, 0, 0, 0xffff, 0, ..] => Class::Translated,
        [0, 0, 0, 0, 0, 0, ..] => Class::V4Compatible,
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => Class::Nat64,
        // AWS (also its pod identities), GCP, Scaleway.
        [0xfd00, 0xec2, ..] | [0xfd20, 0xce, ..] | [0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42] => Class::Metadata,
        [0xfc00..=0xfdff, ..] => Class::UniqueLocal,
        [0xfe80..=0xfebf, ..] => Class::LinkLocal,
        [0xfec0..=0xfeff, ..] => Class::SiteLocal,
        [0xff00..=0xffff, ..] => Class::Multicast,
        [0x2001, 0, ..] => Class::Teredo,
        [0x2001, 2, 0, ..] => Class::Benchmark,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Class::Documentation,
        // The rest of the protocol assignments, 2001::/23.
        [0x2001, 1..=0x1ff, ..] => Class::Reserved,
        [0x2002, ..] => Class::SixToFour,
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => Class::Reserved,
    }
}

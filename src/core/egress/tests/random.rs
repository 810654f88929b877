//! Random addresses and policies against the table of special ranges.

use super::*;
use crate::core::random::Rng;

/// Special ranges as text, independent of `classify`: the model of the property test.
const SPECIAL: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "::ffff:0:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "::/3",
    "4000::/2",
    "8000::/1",
];

fn any_address(random: &mut Rng) -> IpAddr {
    let v4 = |random: &mut Rng| {
        let base = *random.pick(&[
            0u32,
            0x0a00_0000,
            0x7f00_0000,
            0xa9fe_a9fe,
            0xac10_0000,
            0xc0a8_0000,
            0x6440_0000,
        ]);
        let noise = random.word() as u32;
        Ipv4Addr::from_bits(match random.word() % 3 {
            0 => noise,
            1 => base ^ (noise & 0xffff),
            _ => base ^ (noise & 0x00ff_ffff),
        })
    };
    let inner = v4(random);
    let low = u128::from(inner.to_bits());
    let noise = (u128::from(random.word()) << 64) | u128::from(random.word());
    match random.word() % 9 {
        0..=2 => inner.into(),
        3 => Ipv6Addr::from_bits(0xffff_0000_0000 | low).into(),
        4 => Ipv6Addr::from_bits((0x64_ff9b << 96) | low).into(),
        5 => Ipv6Addr::from_bits((0x2002 << 112) | (low << 80) | (noise & 0xffff)).into(),
        6 => Ipv6Addr::from_bits((0x2001 << 112) | (!low & 0xffff_ffff)).into(),
        7 => Ipv6Addr::from_bits(noise).into(),
        _ => Ipv6Addr::from_bits((0x2 << 124) | (noise >> 4)).into(),
    }
}

fn in_any(ip: IpAddr, nets: &[Pattern]) -> bool {
    nets.iter().any(|net| net.matches_ip(ip, 80))
}

#[test]
fn no_special_address_is_returned_without_an_allow() {
    let special: Vec<Pattern> = SPECIAL.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    let mut random = Rng(0x9e37_79b9_7f4a_7c15);
    let (mut passed, mut refused) = (0, 0);
    for _ in 0..60_000 {
        let count = 1 + random.word() as usize % 3;
        let addrs: Vec<SocketAddr> =
            (0..count).map(|_| SocketAddr::new(any_address(&mut random), 80)).collect();
        let mut list = |most: u64| -> Vec<Pattern> {
            let count = random.word() % (most + 1);
            (0..count).map(|_| random.pick(&special).clone()).collect()
        };
        let policy = Policy { allow: list(3), deny: list(1), own: Vec::new() };
        let closed = |ip: IpAddr| in_any(unmapped(ip), &special) && !in_any(ip, &policy.allow);
        match check(&policy, "a.test", 80, &addrs) {
            Ok(permitted) => {
                passed += 1;
                assert!(!permitted.is_empty());
                for addr in &addrs {
                    assert!(!closed(addr.ip()), "{addr} under {policy:?}");
                }
                for addr in permitted {
                    assert!(addrs.contains(&addr) && !in_any(addr.ip(), &policy.deny));
                    let inside = layers(addr.ip())[1];
                    assert!(!inside.is_some_and(&closed), "{addr} hides {inside:?} under {policy:?}");
                }
            }
            Err(fault) => {
                refused += 1;
                assert_eq!(fault.kind, FaultKind::EgressDenied);
                let explained = addrs.iter().any(|addr| {
                    layers(addr.ip()).iter().flatten().any(|&ip| closed(ip) || in_any(ip, &policy.deny))
                });
                assert!(explained, "{addrs:?} refused under {policy:?}: {fault}");
            }
        }
    }
    assert!(passed > 1000 && refused > 1000, "{passed} passed, {refused} refused");
}

#[test]
fn classes_agree_with_the_table_of_ranges() {
    let special: Vec<Pattern> = SPECIAL.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    let mut random = Rng(7);
    for _ in 0..100_000 {
        let ip = any_address(&mut random);
        let public = classify(ip) == Public;
        assert_eq!(public, !in_any(ip, &special), "{ip} is {:?}", classify(ip));
    }
}

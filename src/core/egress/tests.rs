mod random;

use super::*;
use crate::core::target::Target;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What becomes of a spelling when nothing is allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// Refused as a URL.
    Bad,
    /// Refused for the class of its address.
    No(Class),
    Yes,
}
use Class::*;
use Fate::*;

/// Stands for DNS: a public address for every name but these.
fn resolve(target: &Target) -> Vec<SocketAddr> {
    let inside: IpAddr = match target.lookup_name().as_deref().map(|name| name.trim_end_matches('.')) {
        None => target.ip().unwrap(),
        Some("localhost" | "127.0.0.1.nip.io" | "localtest.me") => Ipv4Addr::LOCALHOST.into(),
        Some(name) if name.ends_with(".localhost") => Ipv6Addr::LOCALHOST.into(),
        Some("ip6-localhost") => Ipv6Addr::LOCALHOST.into(),
        Some("metadata.google.internal" | "metadata") => [169, 254, 169, 254].into(),
        Some("kubernetes.default.svc") => [10, 96, 0, 1].into(),
        Some("mapped.example.com") => "::ffff:192.168.0.1".parse().unwrap(),
        Some("nat64.example.com") => "64:ff9b::a00:1".parse().unwrap(),
        Some(_) => [93, 184, 215, 14].into(),
    };
    vec![SocketAddr::new(inside, target.port)]
}

fn fate(text: &str, policy: &Policy) -> Fate {
    let Ok(target) = Target::parse(text) else { return Bad };
    let addrs = resolve(&target);
    match check(policy, &target.host.to_string(), target.port, &addrs) {
        Ok(permitted) => {
            assert_eq!(permitted, addrs);
            Yes
        }
        Err(fault) => {
            assert_eq!(fault.kind, FaultKind::EgressDenied, "{text}");
            assert_eq!(fault.field, "url");
            let class = classify(addrs[0].ip());
            assert!(fault.message.contains(class.name()), "{text}: {fault}");
            assert!(fault.message.contains("--egress-allow"), "{text}: {fault}");
            No(class)
        }
    }
}

#[rustfmt::skip]
const SPELLINGS: &[(&str, Fate)] = &[
    // Plain public ones.
    ("ws://example.com", Yes), ("wss://example.com/", Yes), ("wss://example.com:9443/ws?x=1", Yes),
    ("WSS://EXAMPLE.COM/", Yes), ("wss://example.com./", Yes), ("wss://user:pw@example.com/", Yes),
    ("ws://8.8.8.8/", Yes), ("wss://1.1.1.1:443/", Yes), ("ws://[2606:4700:4700::1111]/", Yes),
    ("wss://bücher.example/", Yes), ("wss://xn--bcher-kva.example/", Yes), ("wss://my_service.example/", Yes),
    ("ws://11.0.0.1/", Yes), ("ws://9.255.255.255/", Yes), ("ws://172.15.255.255/", Yes),
    ("ws://172.32.0.1/", Yes), ("ws://192.167.255.255/", Yes), ("ws://192.169.0.1/", Yes),
    ("ws://100.63.255.255/", Yes), ("ws://100.128.0.1/", Yes), ("ws://126.255.255.255/", Yes),
    ("ws://128.0.0.1/", Yes), ("ws://169.253.255.255/", Yes), ("ws://169.255.0.1/", Yes),
    ("ws://198.17.255.255/", Yes), ("ws://198.20.0.1/", Yes), ("ws://223.255.255.255/", Yes),
    ("ws://[::ffff:8.8.8.8]/", Yes), ("ws://[2001:200::1]/", Yes), ("ws://[2003::1]/", Yes),
    // Loopback in every dress.
    ("ws://127.0.0.1/", No(Loopback)), ("ws://127.0.0.1:8080/", No(Loopback)), ("ws://127.1/", No(Loopback)),
    ("ws://127.0.1/", No(Loopback)), ("ws://127.255.255.254/", No(Loopback)), ("ws://2130706433/", No(Loopback)),
    ("ws://017700000001/", No(Loopback)), ("ws://0x7f000001/", No(Loopback)), ("ws://0x7F.0.0.1/", No(Loopback)),
    ("ws://0177.0.0.1/", No(Loopback)), ("ws://0177.0.0.01/", No(Loopback)), ("ws://0x7f.1/", No(Loopback)),
    ("ws://127.0x1/", No(Loopback)), ("ws://127.0.0.1./", No(Loopback)), ("ws://0x7f.0x0.0x0.0x1/", No(Loopback)),
    ("ws://127。0。0。1/", No(Loopback)), ("ws://127.0.0。1/", No(Loopback)), ("ws://127．0．0．1/", No(Loopback)),
    ("ws://127｡0｡0｡1/", No(Loopback)), ("ws://１２７.0.0.1/", No(Loopback)), ("ws://①②⑦.0.0.1/", No(Loopback)),
    ("ws://%31%32%37.0.0.1/", No(Loopback)), ("ws://127%2e0%2e0%2e1/", No(Loopback)),
    ("ws://user@127.0.0.1/", No(Loopback)), ("ws://example.com@127.0.0.1/", No(Loopback)),
    ("ws://example.com:80@127.0.0.1/", No(Loopback)), ("ws://127.0.0.1?@example.com/", No(Loopback)),
    ("ws://localhost/", No(Loopback)), ("ws://LOCALHOST/", No(Loopback)), ("ws://localhost./", No(Loopback)),
    ("ws://foo.localhost/", No(Loopback)), ("ws://ｌocalhost/", No(Loopback)), ("ws://loc%61lhost/", No(Loopback)),
    ("ws://ip6-localhost/", No(Loopback)), ("ws://127.0.0.1.nip.io/", No(Loopback)),
    ("ws://localtest.me/", No(Loopback)), ("ws://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/", No(Loopback)),
    ("ws://[::1]/", No(Loopback)), ("ws://[0:0:0:0:0:0:0:1]/", No(Loopback)), ("ws://[0000::0001]:80/", No(Loopback)),
    ("ws://[::ffff:127.0.0.1]/", No(Loopback)), ("ws://[::ffff:7f00:1]/", No(Loopback)),
    ("ws://[0:0:0:0:0:ffff:127.0.0.1]/", No(Loopback)), ("ws://[::FFFF:7F00:0001]/", No(Loopback)),
    // Unspecified goes to loopback.
    ("ws://0.0.0.0/", No(Unspecified)), ("ws://0/", No(Unspecified)), ("ws://0x0/", No(Unspecified)),
    ("ws://00.0/", No(Unspecified)), ("ws://[::]/", No(Unspecified)), ("ws://[::ffff:0.0.0.0]/", No(Unspecified)),
    ("ws://0.1.2.3/", No(Reserved)),
    // Private.
    ("ws://10.0.0.1/", No(Private)), ("ws://10.255.255.255/", No(Private)), ("ws://10.1/", No(Private)),
    ("ws://167772161/", No(Private)), ("ws://0x0a000001/", No(Private)), ("ws://012.0.0.1/", No(Private)),
    ("ws://172.16.0.1/", No(Private)), ("ws://172.31.255.255/", No(Private)), ("ws://192.168.0.1/", No(Private)),
    ("ws://192.168.257/", No(Private)), ("ws://3232235521/", No(Private)), ("ws://0xc0.0xa8.0.1/", No(Private)),
    ("ws://0300.0250.0.1/", No(Private)), ("ws://192.168.0.1./", No(Private)),
    ("ws://[::ffff:10.0.0.1]/", No(Private)), ("ws://[::ffff:c0a8:1]/", No(Private)),
    ("ws://kubernetes.default.svc/", No(Private)), ("ws://mapped.example.com/", No(Private)),
    // Link-local and metadata.
    ("ws://169.254.0.1/", No(LinkLocal)), ("ws://169.254.255.255/", No(LinkLocal)), ("ws://[fe80::1]/", No(LinkLocal)),
    ("ws://[febf::1]/", No(LinkLocal)),
    ("ws://169.254.169.254/latest/meta-data/", No(Metadata)), ("ws://2852039166/", No(Metadata)),
    ("ws://0xA9FEA9FE/", No(Metadata)), ("ws://0251.0376.0251.0376/", No(Metadata)), ("ws://169.254.43518/", No(Metadata)),
    ("ws://[::ffff:169.254.169.254]/", No(Metadata)), ("ws://[::ffff:a9fe:a9fe]/", No(Metadata)),
    ("ws://169.254.170.2/", No(Metadata)), ("ws://100.100.100.200/", No(Metadata)), ("ws://168.63.129.16/", No(Metadata)),
    ("ws://192.0.0.192/", No(Metadata)), ("ws://[fd00:ec2::254]/", No(Metadata)), ("ws://[fd20:ce::254]/", No(Metadata)),
    ("ws://[fd00:42::42]/", No(Metadata)), ("ws://metadata.google.internal/", No(Metadata)), ("ws://metadata/", No(Metadata)),
    ("ws://169。254。169。254/", No(Metadata)),
    // The rest of the special ranges.
    ("ws://100.64.0.1/", No(Cgnat)), ("ws://100.127.255.255/", No(Cgnat)), ("ws://192.0.0.8/", No(Reserved)),
    ("ws://192.0.2.1/", No(Documentation)), ("ws://198.51.100.7/", No(Documentation)), ("ws://203.0.113.9/", No(Documentation)),
    ("ws://[2001:db8::1]/", No(Documentation)), ("ws://[3fff::1]/", No(Documentation)), ("ws://[3fff:fff::1]/", No(Documentation)),
    ("ws://198.18.0.1/", No(Benchmark)), ("ws://198.19.255.255/", No(Benchmark)), ("ws://[2001:2::1]/", No(Benchmark)),
    ("ws://224.0.0.1/", No(Multicast)), ("ws://239.255.255.255/", No(Multicast)), ("ws://[ff02::1]/", No(Multicast)),
    ("ws://[ff0e::1]/", No(Multicast)), ("ws://240.0.0.1/", No(Reserved)), ("ws://255.255.255.254/", No(Reserved)),
    ("ws://255.255.255.255/", No(Broadcast)), ("ws://4294967295/", No(Broadcast)), ("ws://0xffffffff/", No(Broadcast)),
    ("ws://[fc00::1]/", No(UniqueLocal)), ("ws://[fdff:ffff::1]/", No(UniqueLocal)), ("ws://[fec0::1]/", No(SiteLocal)),
    ("ws://192.88.99.1/", No(SixToFour)), ("ws://[2002:7f00:1::]/", No(SixToFour)), ("ws://[2002:808:808::1]/", No(SixToFour)),
    ("ws://[2001::1]/", No(Teredo)), ("ws://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/", No(Teredo)),
    ("ws://[64:ff9b::127.0.0.1]/", No(Nat64)), ("ws://[64:ff9b::808:808]/", No(Nat64)), ("ws://[64:ff9b:1::1]/", No(Nat64)),
    ("ws://[64:ff9b:1:ffff::a00:1]/", No(Nat64)), ("ws://nat64.example.com/", No(Nat64)),
    ("ws://[::ffff:0:127.0.0.1]/", No(Translated)), ("ws://[::127.0.0.1]/", No(V4Compatible)), ("ws://[::8.8.8.8]/", No(V4Compatible)),
    ("ws://[::2]/", No(V4Compatible)), ("ws://[100::1]/", No(Reserved)), ("ws://[2001:10::1]/", No(Reserved)),
    ("ws://[2001:20::1]/", No(Reserved)), ("ws://[5f00::1]/", No(Reserved)), ("ws://[4000::1]/", No(Reserved)),
    ("ws://[64:ff9b:2::1]/", No(Reserved)), ("ws://[1::1]/", No(Reserved)),
    // Not URLs that we take.
    ("", Bad), ("example.com", Bad), ("//example.com/", Bad), ("http://example.com/", Bad), ("https://127.0.0.1/", Bad),
    ("file:///etc/passwd", Bad), ("gopher://127.0.0.1/", Bad), ("javascript:alert(1)", Bad), ("ws:example.com", Bad),
    ("ws:/example.com", Bad), ("ws:///127.0.0.1/", Bad), ("ws:////127.0.0.1/", Bad), ("ws:\\\\127.0.0.1/", Bad),
    ("ws://example.com\\@127.0.0.1/", Bad), ("ws://a@b@127.0.0.1/", Bad), ("ws://", Bad), ("ws://@/", Bad), ("ws://:80/", Bad),
    ("ws://?x", Bad), ("ws://example.com/#x", Bad), ("ws://example.com#@127.0.0.1/", Bad), (" ws://example.com/", Bad),
    ("ws://example.com/ ", Bad), ("ws://exa mple.com/", Bad), ("ws://127.0.0.1\t/", Bad), ("w\ns://127.0.0.1/", Bad),
    ("ws://127.0.0.1\r\nHost: x/", Bad), ("ws://127.0.0.1\0/", Bad), ("ws://local\u{200b}host/", Bad), ("ws://local\u{ad}host/", Bad),
    ("ws://example.com:0/", Bad), ("ws://example.com:65536/", Bad), ("ws://example.com:-1/", Bad), ("ws://example.com:8o/", Bad),
    ("ws://256.0.0.1/", Bad), ("ws://1.2.3.4.5/", Bad), ("ws://4294967296/", Bad), ("ws://127.0.0.1.1/", Bad), ("ws://0x7g.1/", Bad), ("ws://0x7g/", Yes),
    ("ws://1.2.3.08/", Bad), ("ws://[fe80::1%25eth0]/", Bad), ("ws://[fe80::1%eth0]/", Bad), ("ws://[::1", Bad), ("ws://::1/", Bad),
    ("ws://[::ffff:127.0.0.1.2]/", Bad), ("ws://[127.0.0.1]/", Bad), ("ws://[::1]x/", Bad), ("ws://[v1.x]/", Bad),
    ("ws://example..com/", Bad), ("ws://.example.com/", Bad), ("ws://example.com../", Bad), ("ws://127.0.0.1../", Bad),
    ("ws://exa%00mple.com/", Bad), ("ws://exa%2fmple.com/", Bad), ("ws://exa%40mple.com/", Bad), ("ws://*.example.com/", Bad),
    ("ws://exa%0d%0ample.com/", Bad), ("ws://-example.com/", Bad), ("ws://xn--a/", Bad), ("ws://{host}/", Bad),
];

#[test]
fn every_spelling_meets_its_fate() {
    let policy = Policy::default();
    let wrong: Vec<_> = SPELLINGS
        .iter()
        .map(|&(text, expected)| (text, expected, fate(text, &policy)))
        .filter(|(_, expected, got)| expected != got)
        .collect();
    assert!(SPELLINGS.len() >= 150);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn policy(allow: &[&str], deny: &[&str], own: &[&str]) -> Policy {
    let parse = |list: &[&str]| list.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    Policy {
        allow: parse(allow),
        deny: parse(deny),
        own: own.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

/// The addresses that may be dialled; none when refused.
fn dialled(policy: &Policy, host: &str, addrs: &[&str]) -> Vec<String> {
    let addrs: Vec<SocketAddr> = addrs.iter().map(|text| text.parse().unwrap()).collect();
    let port = addrs.first().map_or(80, |addr| addr.port());
    check(policy, host, port, &addrs).unwrap_or_default().iter().map(|addr| addr.to_string()).collect()
}

#[test]
fn patterns_match_what_they_say() {
    let cases: &[(&str, &str, &str, bool)] = &[
        ("10.0.0.0/8", "a.test", "10.9.8.7:80", true),
        ("10.0.0.0/8", "a.test", "11.0.0.1:80", true), // public anyway
        ("10.0.0.0/9", "a.test", "10.128.0.1:80", false),
        ("10.0.0.0/8", "a.test", "[::ffff:10.0.0.1]:80", true),
        ("::ffff:10.0.0.0/104", "a.test", "10.0.0.1:80", true),
        ("0.0.0.0/0", "a.test", "127.0.0.1:80", true),
        ("0.0.0.0/0", "a.test", "[::1]:80", false),
        ("::/0", "a.test", "[::1]:80", true),
        ("::/0", "a.test", "127.0.0.1:80", false),
        ("127.0.0.1", "a.test", "127.0.0.1:80", true),
        ("127.0.0.1", "a.test", "127.0.0.2:80", false),
        ("127.0.0.1:80", "a.test", "127.0.0.1:80", true),
        ("127.0.0.1:80", "a.test", "127.0.0.1:81", false),
        ("[::1]:80", "a.test", "[::1]:80", true),
        ("[::1]:80", "a.test", "[::1]:81", false),
        ("::1", "a.test", "[::1]:81", true),
        ("fd00::/8", "a.test", "[fd12::1]:80", true),
        ("fd00::/8", "a.test", "[fc00::1]:80", false),
        ("inner.test", "inner.test", "10.0.0.1:80", true),
        ("INNER.test.", "inner.TEST.", "10.0.0.1:80", true),
        ("inner.test", "x.inner.test", "10.0.0.1:80", false),
        ("inner.test:80", "inner.test", "10.0.0.1:80", true),
        ("inner.test:80", "inner.test", "10.0.0.1:81", false),
        ("*.inner.test", "x.inner.test", "10.0.0.1:80", true),
        ("*.inner.test", "x.y.inner.test", "10.0.0.1:80", true),
        ("*.inner.test", "inner.test", "10.0.0.1:80", false),
        ("*.inner.test", "xinner.test", "10.0.0.1:80", false),
        ("*.inner.test:443", "x.inner.test", "10.0.0.1:80", false),
        ("bücher.test", "xn--bcher-kva.test", "10.0.0.1:80", true),
        // The inner address has to be allowed as well.
        ("64:ff9b::/96", "a.test", "[64:ff9b::808:808]:80", true),
        ("64:ff9b::/96", "a.test", "[64:ff9b::a00:1]:80", false),
        ("2002::/16", "a.test", "[2002:808:808::1]:80", true),
        ("2002::/16", "a.test", "[2002:a00:1::1]:80", false),
        ("2001::/32", "a.test", "[2001::f5ff:fffe]:80", false), // 10.0.0.1, inverted
        ("2001::/32", "a.test", "[2001::f7f7:f7f7]:80", true),  // 8.8.8.8
    ];
    for &(allow, host, addr, expected) in cases {
        let got = !dialled(&policy(&[allow], &[], &[]), host, &[addr]).is_empty();
        assert_eq!(got, expected, "allow {allow}, {host} at {addr}");
    }
}

#[test]
fn bad_patterns_are_named() {
    for text in [
        "",
        " ",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/+8",
        "10.0.0.0/-1",
        "10.1.0.0/8",
        "::1/64",
        "fd00::/129",
        "example.com/8",
        "host:0",
        "host:65536",
        "host:+80",
        "host:",
        ":80",
        "[::1",
        "[::1]80",
        "[::1]:",
        "[1.2.3.4]",
        "a*.example.com",
        "*",
        "*.",
        "*.*.com",
        "2130706433",
        "0x7f.1",
        "127.1",
        "http://x/",
        "a b",
        "a..b",
        "a,b",
    ] {
        let error = Pattern::parse(text).expect_err(text);
        assert!(error.to_string().contains(&format!("'{text}'")), "{error}");
    }
    assert!(Pattern::parse("a\nb").unwrap_err().to_string().contains("a\\nb"));
}

#[test]
fn deny_wins_over_allow() {
    let by_net = policy(&["10.0.0.0/8", "inner.test"], &["10.1.0.0/16"], &[]);
    assert_eq!(dialled(&by_net, "inner.test", &["10.2.0.1:80"]), ["10.2.0.1:80"]);
    assert!(dialled(&by_net, "inner.test", &["10.1.0.1:80"]).is_empty());
    assert!(dialled(&by_net, "inner.test", &["[::ffff:10.1.0.1]:80"]).is_empty());

    let by_name = policy(&["10.0.0.0/8"], &["*.bad.test", "one.test:81"], &[]);
    for host in ["x.bad.test", "X.BAD.test."] {
        let fault = check(&by_name, host, 80, &["8.8.8.8:80".parse().unwrap()]).unwrap_err();
        assert!(fault.message.contains("--egress-deny *.bad.test"), "{fault}");
    }
    assert_eq!(dialled(&by_name, "one.test", &["8.8.8.8:80"]).len(), 1);
    assert_eq!(dialled(&by_name, "one.test", &["8.8.8.8:81"]).len(), 0);
    assert!(check_name(&by_name, "x.bad.test", 1).is_err());

    // The deny list sees through the translator too.
    let inside = policy(&["64:ff9b::/96"], &["8.8.8.0/24"], &[]);
    assert!(dialled(&inside, "a.test", &["[64:ff9b::808:808]:80"]).is_empty());
}

#[test]
fn mixed_answers() {
    let none = Policy::default();
    assert!(dialled(&none, "a.test", &["8.8.8.8:80", "10.0.0.1:80"]).is_empty());
    assert!(dialled(&none, "a.test", &["[::1]:80", "8.8.8.8:80"]).is_empty());

    let no_v6 = policy(&[], &["::/0"], &[]);
    assert_eq!(dialled(&no_v6, "a.test", &["[2606:4700::1]:80", "8.8.8.8:80"]), ["8.8.8.8:80"]);
    assert!(dialled(&no_v6, "a.test", &["[2606:4700::1]:80"]).is_empty());
    assert!(dialled(&no_v6, "a.test", &["8.8.8.8:80", "[::1]:80"]).is_empty(), "the class refuses first");

    let some = policy(&["10.0.0.0/8"], &[], &[]);
    assert_eq!(dialled(&some, "a.test", &["10.0.0.1:80", "8.8.8.8:80"]), ["10.0.0.1:80", "8.8.8.8:80"]);
    assert!(dialled(&some, "a.test", &["10.0.0.1:80", "127.0.0.1:80"]).is_empty());

    let fault = check(&none, "a.test", 80, &[]).unwrap_err();
    assert_eq!((fault.kind, &*fault.field), (FaultKind::DialFailed, "url"));
}

#[test]
fn our_own_listeners_need_their_exact_name() {
    let own = ["127.0.0.1:5002"];
    assert!(dialled(&policy(&["127.0.0.0/8"], &[], &own), "localhost", &["127.0.0.1:5002"]).is_empty());
    assert!(dialled(&policy(&["localhost:5002"], &[], &own), "localhost", &["127.0.0.1:5002"]).is_empty());
    assert!(dialled(&policy(&["127.0.0.1"], &[], &own), "localhost", &["127.0.0.1:5002"]).is_empty());
    assert!(dialled(&policy(&["0.0.0.0/0"], &[], &own), "zero", &["0.0.0.0:5002"]).is_empty());
    assert!(dialled(&policy(&["::/0", "0.0.0.0/0"], &[], &own), "x", &["[::127.0.0.1]:5002"]).is_empty());
    assert_eq!(dialled(&policy(&["127.0.0.0/8"], &[], &own), "localhost", &["127.0.0.1:5009"]).len(), 1);
    assert_eq!(dialled(&policy(&["127.0.0.1:5002"], &[], &own), "localhost", &["127.0.0.1:5002"]).len(), 1);
    assert_eq!(dialled(&policy(&["127.0.0.1:5002"], &[], &own), "x", &["[::ffff:127.0.0.1]:5002"]).len(), 1);

    let everywhere = policy(&["127.0.0.0/8", "::1"], &[], &["0.0.0.0:5001"]);
    assert!(dialled(&everywhere, "x", &["127.9.9.9:5001"]).is_empty());
    assert!(dialled(&everywhere, "x", &["[::1]:5001"]).is_empty());
    // A public address of the machine, when it is listed.
    let public = policy(&[], &[], &["8.8.8.8:443"]);
    let fault = check(&public, "me.test", 443, &["8.8.8.8:443".parse().unwrap()]).unwrap_err();
    assert!(fault.message.contains("this service itself"));
    assert_eq!(dialled(&public, "me.test", &["8.8.8.8:444"]).len(), 1);
}

#[test]
fn faults_do_not_tell_what_inner_names_resolve_to() {
    let fault = check(&Policy::default(), "secret.test", 80, &["10.1.2.3:80".parse().unwrap()]).unwrap_err();
    assert!(!fault.message.contains("10.1.2.3"));
    assert!(fault.message.contains("--egress-allow secret.test:80"));
    let fault = check(&Policy::default(), "[fd00::1]", 80, &["[fd00::1]:80".parse().unwrap()]).unwrap_err();
    assert!(fault.message.contains("--egress-allow [fd00::1]:80"));
}

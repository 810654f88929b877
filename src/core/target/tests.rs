use super::*;
use crate::core::random::Rng;
use crate::core::reason::FaultKind;

fn parse(text: &str) -> Target {
    Target::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

#[test]
fn parts_of_a_url() {
    let target = parse("wss://Example.COM./a/b?x=1&y=%20");
    assert_eq!(target.scheme, Scheme::Wss);
    assert_eq!(target.host, Host::Domain("example.com".into()));
    assert_eq!(target.lookup_name().as_deref(), Some("example.com."));
    assert_eq!((target.port, target.authority().as_str()), (443, "example.com"));
    assert_eq!(target.request_target(), "/a/b?x=1&y=%20");
    assert_eq!(target.redacted(), "wss://example.com/a/b?x=1&y=%20");
    assert!(!target.has_secrets() && target.ip().is_none() && target.basic_authorization().is_none());

    let target = parse("ws://[::1]:8080");
    assert_eq!((target.authority().as_str(), target.request_target()), ("[::1]:8080", "/"));
    assert_eq!(target.ip(), Some("::1".parse().unwrap()));
    assert_eq!(target.lookup_name(), None);

    assert_eq!(parse("ws://h:80/").authority(), "h");
    assert_eq!(parse("ws://h:443/").authority(), "h:443");
    assert_eq!(parse("wss://h:443?q").request_target(), "/?q");
    assert_eq!(parse("wss://h/ä").request_target(), "/%C3%A4");
    assert_eq!(parse("wss://h/stream/btc@trade").request_target(), "/stream/btc@trade");
    assert_eq!(parse("wss://bücher.example").authority(), "xn--bcher-kva.example");
}

#[test]
fn faults_name_the_field_and_show_nothing_of_the_url() {
    let long = format!("ws://h/{}", "a".repeat(URL_BYTES_MAX));
    let swells = format!("ws://h/{}", "ä".repeat(URL_BYTES_MAX / 4));
    let label = format!("ws://{}.example/", "a".repeat(64));
    for text in [
        long.as_str(),
        &swells,
        &label,
        "wss://user:canary@/",
        "wss://user:canary@h:99999/",
        "wss://user:canary@[::1%25x]/",
        "wss://us%3Aer:canary@h/",
        "wss://user:canary%00@h/",
        "wss://user:canary%ff@h/",
        "wss://h/?token=canary#x",
        "canary://h/",
    ] {
        let fault = Target::parse(text).expect_err(text);
        assert_eq!((fault.kind, &*fault.field), (FaultKind::Invalid, "url"));
        assert!(!fault.message.is_empty() && !fault.message.contains("canary"), "{fault}");
    }
    assert!(Target::parse(&format!("ws://h/{}", "a".repeat(URL_BYTES_MAX - 7))).is_ok());
}

#[test]
fn userinfo_becomes_a_header() {
    let target = parse("wss://Aladdin:open%20sesame@h/");
    assert_eq!(target.basic_authorization().unwrap().expose(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert_eq!(target.redacted(), "wss://h/");
    assert!(target.has_secrets() && target.has_userinfo());
    assert!(!target.request_target().contains("Aladdin") && !target.authority().contains("Aladdin"));
    // A colon in the password is legal, and so is no password.
    assert_eq!(parse("ws://a:b%3Ac@h").basic_authorization().unwrap().expose(), "Basic YTpiOmM=");
    assert_eq!(parse("ws://a@h").basic_authorization().unwrap().expose(), "Basic YTo=");
    assert_eq!(parse("ws://:b@h").basic_authorization().unwrap().expose(), "Basic OmI=");
    assert!(parse("ws://@h").basic_authorization().is_none());
}

#[test]
fn nothing_formats_a_secret() {
    let canary = "c4naryvalue";
    for key in [
        "token",
        "TOKEN",
        "access_token",
        "accessToken",
        "key",
        "api_key",
        "apikey",
        "apiKey",
        "api-key",
        "listenKey",
        "secret",
        "client_secret",
        "signature",
        "X-Amz-Signature",
        "X-Amz-Credential",
        "sig",
        "Sig",
        "auth",
        "authorization",
        "password",
        "passwd",
        "pwd",
        "pass",
        "session",
        "sessionid",
        "sid",
        "jwt",
        "credential",
        "to%6ben",
        "access%5Ftoken",
        "otp",
        "code",
        "hmac",
        "filter[token]",
        "bearer",
        "x.sig",
        "a;token",
    ] {
        for text in [
            format!("wss://h/p?a=1&{key}={canary}&b=2"),
            format!("wss://h/p?{key}={canary}"),
            format!("wss://h/p;{key}={canary}"),
            format!("wss://u:{canary}@h/?{key}={canary}"),
            format!("wss://h/?{key}={canary}=={canary};{canary}/{canary}"),
        ] {
            let target = parse(&text);
            assert!(target.has_secrets(), "{text}");
            for shown in
                [target.redacted(), target.to_string(), format!("{target:?}"), format!("{target:#?}")]
            {
                assert!(!shown.contains(canary), "{text} -> {shown}");
            }
        }
    }
    assert_eq!(parse("wss://h/p?a=1&token=x&b=2").redacted(), "wss://h/p?a=1&token=***&b=2");
}

#[test]
fn ordinary_queries_stay_readable() {
    for text in [
        "wss://stream.example/stream?streams=btcusdt@trade/ethusdt@depth",
        "wss://h/?room=a&room=b&since=5",
        "wss://h/?v=13&encoding=json&compress=zlib-stream",
        "wss://h/?id=station-7&format=design",
        "wss://h/?plain",
        "wss://h/?a==&b",
    ] {
        let target = parse(text);
        assert_eq!(target.redacted(), text);
        assert!(!target.has_secrets());
    }
}

#[test]
fn secrets_without_a_telling_key() {
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c4nary-value";
    for text in [
        format!("wss://h/?x={jwt}"),
        format!("wss://h/{jwt}/feed"),
        format!("wss://h/?{jwt}"),
        "wss://h/?c4nary-value-0123456789abcdef".to_owned(),
        "wss://h/?next=wss%3A%2F%2Fu%3Ac4nary-value%40h2%2F".to_owned(),
        "wss://h/?next=https%3A%2F%2Fh2%2F%3Ftoken%3Dc4nary-value".to_owned(),
        "wss://h/?next=https://h2/?token=c4nary-value".to_owned(),
    ] {
        let target = parse(&text);
        assert!(!target.redacted().contains("c4nary") && target.has_secrets(), "{}", target.redacted());
    }
}

#[test]
fn hostile_text_never_panics_and_parses_the_same_again() {
    let alphabet: Vec<char> = "ws:/@[]%.?#&=;ab09xé。\u{200b}\\ \t-_*{}|^`\"<>".chars().collect();
    let mut random = Rng(1);
    let mut next = || random.word() as usize;
    let mut parsed = 0;
    for round in 0..40_000 {
        let tail: String = (0..next() % 24).map(|_| alphabet[next() % alphabet.len()]).collect();
        let text = format!("{}{tail}", ["wss://", "ws://h/", "ws://a:b@", ""][round % 4]);
        let Ok(target) = Target::parse(&text) else { continue };
        parsed += 1;
        let again = format!("{}://{}{}", target.scheme.name(), target.authority(), target.request_target());
        let again = parse(&again);
        assert_eq!((&again.host, again.port), (&target.host, target.port), "{text}");
        assert_eq!(again.request_target(), target.request_target(), "{text}");
        assert!(target.request_target().starts_with('/') && target.request_target().is_ascii());
        assert!(!target.request_target().contains(|c: char| c.is_whitespace() || c.is_control()));
    }
    assert!(parsed > 2000, "{parsed}");
}

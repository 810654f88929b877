use super::*;

fn listed(texts: &[&str]) -> Origins {
    Origins::of(texts).unwrap()
}

#[test]
fn an_origin_is_its_scheme_host_and_port() {
    let origins = listed(&["https://app.example.com", "http://localhost:8080", "http://[::1]:81"]);
    let own = Origin::of_host(true, "ws.example.com");
    let cases: [(&[u8], bool); 24] = [
        (b"https://app.example.com", true),
        (b"https://app.example.com:443", true),
        (b"HTTPS://APP.Example.COM", true),
        (b"http://localhost:8080", true),
        (b"http://[::1]:81", true),
        // The wrong scheme, the wrong port.
        (b"http://app.example.com", false),
        (b"https://app.example.com:8443", false),
        (b"https://app.example.com:80", false),
        (b"http://localhost", false),
        // Names that only look alike.
        (b"https://app.example.com.evil.example", false),
        (b"https://evil-app.example.com", false),
        (b"https://evilapp.example.com", false),
        (b"https://app.example.com@evil.example", false),
        (b"https://evil.example/app.example.com", false),
        (b"https://app.example.com/", false),
        (b"https://app.example.com#", false),
        (b"https://app.example.com.", false),
        (b"null", false),
        (b"", false),
        (b"https://", false),
        (b"https://app.example.com:", false),
        (b"https://app.example.com:0443x", false),
        (b"https://app.example.com \xff", false),
        // Its own name is no exception where a list stands.
        (b"https://ws.example.com", false),
    ];
    for (given, expected) in cases {
        let shown = String::from_utf8_lossy(given);
        assert_eq!(origins.admit(Some(given), own.as_ref()), expected, "{shown}");
        assert!(Origins::Any.admit(Some(given), None), "{shown}");
    }
    assert!(origins.admit(None, None), "who sends none is no page");
}

#[test]
fn by_default_only_the_servers_own_pages() {
    let own = Origin::of_host(false, "Example.com:5001");
    let admit = |given: &[u8]| Origins::Own.admit(Some(given), own.as_ref());
    assert!(admit(b"http://example.com:5001"));
    assert!(!admit(b"https://example.com:5001"), "the other scheme");
    assert!(!admit(b"http://example.com") && !admit(b"http://example.com:5002"));
    assert!(!admit(b"http://evil.example:5001") && !admit(b"null") && !admit(b"x"));
    assert!(Origins::Own.admit(None, None));
    assert!(!Origins::Own.admit(Some(b"http://example.com"), None), "a Host that cannot be read");
    assert_eq!(Origin::of_host(true, "a:443"), Origin::of_host(true, "a"));
    for bad in ["", ":80", "a:b", "a:0", "a:70000", "[::1", "[]", "[::1]x", "a b", "a/b", "u@a"] {
        assert_eq!(Origin::of_host(false, bad), None, "{bad}");
    }
}

#[test]
fn a_list_that_cannot_be_read_is_an_error() {
    assert_eq!(Origins::of(&[] as &[&str]), Ok(Origins::Own));
    assert_eq!(Origins::of(&["https://a", "*"]), Ok(Origins::Any));
    assert_eq!(Origins::of(&["https://a", "a.example"]), Err("a.example".to_owned()));
}

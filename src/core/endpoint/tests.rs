use super::*;

#[test]
fn urls_are_taken_apart_once() {
    let endpoint = Endpoint::parse("https://auth.example/a?key=s").unwrap();
    assert_eq!((endpoint.tls, endpoint.port, endpoint.host.as_str()), (true, 443, "auth.example"));
    assert_eq!((endpoint.authority.as_str(), endpoint.path_and_query.as_str()), ("auth.example", "/a?key=s"));
    assert!(!format!("{endpoint:?}").contains("key"));
    let local = Endpoint::parse("http://[::1]:9000").unwrap();
    assert_eq!((local.host.as_str(), local.authority.as_str()), ("::1", "[::1]:9000"));
    assert_eq!((local.tls, local.path_and_query.as_str()), (false, "/"));
}

#[test]
fn what_is_none_says_so() {
    for (text, part) in [
        ("x", "is not a URL"),
        ("ftp://a", "neither http nor https"),
        ("http://", "is not a URL"),
        ("http://u:p@a", "must not hold a user"),
        ("http://a/#b", "must not have a fragment"),
        ("http://a:0/", "port 0"),
    ] {
        let told = Endpoint::parse(text).unwrap_err();
        assert!(told.contains(part), "{text}: {told}");
    }
}

use super::*;

#[test]
fn grpc_timeouts_in_every_unit() {
    for (text, expected) in [
        ("1H", Some(Duration::from_secs(3600))),
        ("2M", Some(Duration::from_secs(120))),
        ("3S", Some(Duration::from_secs(3))),
        ("99999999m", Some(Duration::from_millis(99_999_999))),
        ("5u", Some(Duration::from_micros(5))),
        ("6n", Some(Duration::from_nanos(6))),
        ("", None),
        ("S", None),
        ("+1S", None),
        ("123456789S", None),
        ("1s", None),
        ("1\u{e9}", None),
    ] {
        assert_eq!(grpc_timeout(text), expected, "{text}");
    }
}

#[test]
fn a_caller_from_the_head() {
    let mut headers = HeaderMap::new();
    headers.insert("connect-timeout-ms", "250".parse().unwrap());
    headers.insert("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap());
    let mut extensions = Extensions::new();
    extensions.insert(Principal("ann".into()));
    let caller = of_connect(&headers, &extensions);
    assert_eq!(caller.deadline, Some(Duration::from_millis(250)));
    assert_eq!(caller.principal, "ann");
    assert!(caller.traceparent.is_some());

    headers.insert("traceparent", "00-\"><script>".parse().unwrap());
    headers.insert("connect-timeout-ms", "99999999999".parse().unwrap());
    let caller = of_connect(&headers, &Extensions::new());
    assert_eq!((caller.deadline, caller.traceparent), (None, None));
}

use super::*;

#[test]
fn rules_are_read() {
    let usual = History::default();
    let rule = parse("ticks-* slow=drop_oldest history=none", usual).unwrap();
    assert_eq!((&*rule.pattern, rule.slow), ("ticks-*", Some(Slow::DropOldest)));
    assert!(rule.history.unwrap().is_none());
    let rule = parse("prices slow=keep_latest:/symbol history=messages:5,bytes:2MiB,age:90", usual).unwrap();
    assert_eq!(rule.slow, Some(Slow::KeepLatest(Some("/symbol".into()))));
    let age = Duration::from_secs(90);
    assert_eq!(rule.history, Some(History { messages: 5, bytes: 2 << 20, age }));
    let rule = parse("* history=age:1h", usual).unwrap();
    assert_eq!(rule.history, Some(History { age: Duration::from_secs(3600), ..usual }));
    assert_eq!(parse("a slow=close", usual).unwrap().slow, Some(Slow::Close));
    assert_eq!(parse("a slow=keep_latest", usual).unwrap().slow, Some(Slow::KeepLatest(None)));
}

#[test]
fn bad_rules_say_what_is_wrong_and_the_way_out() {
    for (text, part) in [
        ("", "a room name has 1 to 256 bytes"),
        ("slow=close", "must begin with a room's name"),
        ("a", "says nothing"),
        ("a,b slow=close", "must not hold control characters or commas"),
        ("a*b slow=close", "a * stands at the end only"),
        ("a slow=wait", "slow must be close, drop_oldest, keep_latest or keep_latest:/pointer"),
        ("a slow=keep_latest:symbol", "slow: 'symbol'"),
        ("a slow=close slow=close", "give each once"),
        ("a fast=yes", "'fast=yes' is not known"),
        ("a history=some", "history must be none, or some of"),
        ("a history=messages:x", "messages is not a whole number"),
        ("a history=bytes:1MB", "bytes uses a unit that is read in two ways"),
        ("a history=age:1y", "age is not a duration"),
        ("a history=age:31d", "at most 10000000 messages and 30 days"),
    ] {
        let told = parse(text, History::default()).unwrap_err();
        assert!(told.contains(part), "{text}: {told}");
    }
}

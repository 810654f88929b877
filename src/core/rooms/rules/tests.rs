use super::*;

fn rule(pattern: &str, messages: Option<usize>, slow: Option<Slow>) -> Rule {
    let history = messages.map(|messages| History { messages, ..History::default() });
    Rule { pattern: pattern.into(), history, slow }
}

#[test]
fn the_first_rule_that_fits_and_says_something_decides() {
    let rules = Rules {
        rules: vec![
            rule("chat/", Some(1), None),
            rule("chat/*", None, Some(Slow::DropOldest)),
            rule("chat/a*", Some(2), Some(Slow::Close)),
            rule("*", Some(3), None),
            rule("late", Some(9), Some(Slow::KeepLatest(None))),
        ],
        ..Rules::default()
    };
    let cases = [
        ("chat/", 1, Slow::DropOldest),
        ("chat/a", 2, Slow::DropOldest),
        ("chat/b", 3, Slow::DropOldest),
        ("chat", 3, Slow::Close),
        ("late", 3, Slow::KeepLatest(None)),
        ("chat/a*", 2, Slow::DropOldest),
    ];
    for (name, messages, slow) in cases {
        let name = RoomName::parse("room", name).unwrap();
        assert_eq!((rules.history(&name).messages, rules.slow(&name)), (messages, slow), "{name:?}");
    }
    assert_eq!(rules.history(&RoomName::everyone()).messages, 3);
    let none = Rules::default();
    assert_eq!(none.history(&RoomName::everyone()), History::default());
    assert_eq!(none.slow(&RoomName::everyone()), Slow::Close);
}

#[test]
fn a_history_without_room_for_anything_keeps_nothing() {
    let some = History::default();
    assert!(History::NONE.is_none() && !some.is_none());
    assert!(History { messages: 0, ..some }.is_none());
    assert!(History { bytes: 0, ..some }.is_none());
    assert!(History { age: Duration::ZERO, ..some }.is_none());
}

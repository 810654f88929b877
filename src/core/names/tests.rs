use super::*;
use crate::core::reason::FaultKind;

fn field_of<T: fmt::Debug>(result: Result<T, Fault>) -> String {
    let fault = result.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid);
    fault.field.into_owned()
}

#[test]
fn topics() {
    let longest = "t".repeat(TOPIC_BYTES_MAX);
    for good in [
        "a",
        "market.btc",
        "websocketmanager.lifecycle",
        "a/b/c",
        "a-b_c:d",
        "persistent://".trim_end_matches('/'),
        "größe",
        "话题",
        "a.b..c",
        ".hidden",
        "a/...",
        "a@b",
        "$x",
        "a=b",
        "(x)",
        &longest,
    ] {
        let topic = Topic::parse("topic", good).unwrap_or_else(|fault| panic!("{good}: {fault}"));
        assert_eq!((topic.as_str(), topic.to_string().as_str(), &*topic.shared()), (good, good, good));
    }
    let too_long = "t".repeat(TOPIC_BYTES_MAX + 1);
    for bad in [
        "",
        " ",
        "a b",
        "a\tb",
        "a\nb",
        "a\r\n",
        "a\0",
        "\u{7f}",
        "a\u{85}b",
        "a\u{2028}b",
        "a\u{3000}b",
        "a\u{202e}b",
        "\u{feff}a",
        "a\u{200b}",
        "a?metadata.ttlInSeconds=1",
        "a#b",
        "a%2fb",
        "%252e",
        "a\\b",
        "..\\x",
        "*",
        "a.*",
        "a+b",
        "a.>",
        "/a",
        "a/",
        "/",
        "//",
        "a//b",
        ".",
        "..",
        "./a",
        "../a",
        "a/../b",
        "a/./b",
        "a/..",
        &too_long,
    ] {
        assert_eq!(field_of(Topic::parse("publish.topic", bad)), "publish.topic", "{bad:?}");
    }
}

#[test]
fn rooms() {
    let longest = "é".repeat(ROOM_NAME_BYTES_MAX / 2);
    for good in [
        "a",
        "user-{/user_id}",
        "a b",
        "*?[x]",
        "a:b:c",
        "../x",
        "%00",
        " ",
        "😀",
        "\u{202e}",
        "a/b",
        &longest,
    ] {
        assert_eq!(RoomName::parse("room", good).unwrap().as_str(), good);
    }
    let too_long = format!("{longest}a");
    for bad in ["", "a,b", ",", "a\0", "a\r\nb", "\n", "\u{7f}", "a\u{80}", "\u{9f}", &too_long] {
        assert_eq!(field_of(RoomName::parse("room", bad)), "room", "{bad:?}");
    }
}

#[test]
fn names_look_up_by_text() {
    let mut rooms = std::collections::BTreeMap::new();
    rooms.insert(RoomName::parse("room", "a").unwrap(), 1);
    assert_eq!(rooms.get("a"), Some(&1));
    assert_eq!(format!("{:?}", Topic::parse("t", "x").unwrap()), "\"x\"");
}

#[test]
fn tags() {
    let keys: Vec<String> = (0..=TAGS_MAX).map(|n| format!("k{n:02}")).collect();
    let pairs = |count: usize| keys[..count].iter().map(|key| (key.as_str(), "v"));
    assert!(validate_tags("tags", pairs(TAGS_MAX)).is_ok());
    assert_eq!(field_of(validate_tags("tags", pairs(TAGS_MAX + 1))), "tags");
    assert!(validate_tags("tags", []).is_ok());
    assert!(validate_tag_count("tags", 50).is_ok() && validate_tag_count("tags", 51).is_err());

    // Characters, not bytes.
    for key in ["k", "a b", &"é".repeat(TAG_KEY_CHARS_MAX), "a/b", "a.b"] {
        assert!(validate_tag_key("key", key).is_ok(), "{key}");
    }
    for key in ["", "a\nb", "\0", "\u{85}", &"é".repeat(TAG_KEY_CHARS_MAX + 1)] {
        assert_eq!(field_of(validate_tag_key("key", key)), "key");
    }
    for value in ["", "a\nb", &"文".repeat(TAG_VALUE_CHARS_MAX)] {
        assert!(validate_tag_value("value", value).is_ok());
    }
    assert_eq!(field_of(validate_tag_value("value", &"文".repeat(TAG_VALUE_CHARS_MAX + 1))), "value");
    assert_eq!(field_of(validate_tags("settings.tags", [("a", "b"), ("", "c")])), "settings.tags");
}

#[test]
fn close_codes() {
    for (code, sent) in [(0, 1000), (1000, 1000), (3000, 3000), (3999, 3999), (4000, 4000), (4999, 4999)] {
        assert_eq!(validate_close("code", code, "reason", "bye"), Ok(sent));
    }
    for code in [1, 999, 1001, 1002, 1005, 1006, 1015, 2999, 5000, 65536 + 1000, u32::MAX] {
        assert_eq!(field_of(validate_close("code", code, "reason", "")), "code", "{code}");
    }
    assert!(validate_close("code", 1000, "reason", &"r".repeat(123)).is_ok());
    assert_eq!(field_of(validate_close("code", 1000, "reason", &"é".repeat(62))), "reason");
}

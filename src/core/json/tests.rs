use super::*;
use crate::core::random::Rng;
use crate::limits::{JSON_DEPTH_MAX, POINTER_BYTES_MAX};
use serde_json::Value;

impl Rng {
    /// Keys that need every care: empty, numeric, with separators, quotes, brackets, and not ASCII.
    fn key(&mut self) -> String {
        const KEYS: &[&str] = &[
            "id", "", "0", "1", "01", "a/b", "m~n", "q\"q", "back\\", "{", "]}", "ключ", "🦀", "x y", "a,b:c",
        ];
        self.pick(KEYS).to_string()
    }

    fn string(&mut self) -> String {
        const PIECES: &[&str] =
            &["\"", "\\", "\\\\", "{", "}", "[", "]", ",", ":", "abc", "é", "🦀", "\n", "\u{1}", " id "];
        (0..self.index(12)).map(|_| *self.pick(PIECES)).collect()
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.index(if depth == 0 { 5 } else { 9 }) {
            0 => Value::Null,
            1 => Value::Bool(self.word() & 1 == 0),
            2 => Value::from(self.word() as i64),
            3 => Value::from(self.index(1000) as f64 / 8.0),
            4 | 5 => Value::String(self.string()),
            6 => Value::Array((0..self.index(7)).map(|_| self.value(depth - 1)).collect()),
            _ => Value::Object((0..self.index(7)).map(|_| (self.key(), self.value(depth - 1))).collect()),
        }
    }

    /// Spells a document in one of its many ways: any white space, any escape.
    fn spell(&mut self, value: &Value, out: &mut String) {
        self.space(out);
        match value {
            Value::String(text) => self.spell_string(text, out),
            Value::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    self.spell(item, out);
                }
                self.space(out);
                out.push(']');
            }
            Value::Object(members) => {
                out.push('{');
                for (index, (key, member)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    self.space(out);
                    self.spell_string(key, out);
                    self.space(out);
                    out.push(':');
                    self.spell(member, out);
                }
                self.space(out);
                out.push('}');
            }
            bare => out.push_str(&bare.to_string()),
        }
        self.space(out);
    }

    fn spell_string(&mut self, text: &str, out: &mut String) {
        if self.index(3) > 0 {
            out.push_str(&serde_json::to_string(text).unwrap());
            return;
        }
        out.push('"');
        for unit in text.encode_utf16() {
            out.push_str(&format!("\\u{unit:04x}"));
        }
        out.push('"');
    }

    fn space(&mut self, out: &mut String) {
        for _ in 0..self.index(8).saturating_sub(5) {
            out.push_str(self.pick::<&str>(&[" ", "\n", "\t", "\r"]));
        }
    }
}

fn parsed(raw: Option<&[u8]>) -> Option<Value> {
    raw.map(|raw| serde_json::from_slice(raw).unwrap_or_else(|error| panic!("{error} in {raw:?}")))
}

fn at(text: &str) -> Pointer {
    Pointer::parse(text).unwrap()
}

/// Every pointer of a document, and some that lead nowhere.
fn pointers(value: &Value, prefix: &str, into: &mut Vec<String>) {
    into.push(prefix.to_owned());
    into.push(format!("{prefix}/nowhere"));
    into.push(format!("{prefix}/-"));
    into.push(format!("{prefix}/00"));
    match value {
        Value::Array(items) => {
            into.push(format!("{prefix}/{}", items.len()));
            for (index, item) in items.iter().enumerate() {
                pointers(item, &format!("{prefix}/{index}"), into);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                let key = key.replace('~', "~0").replace('/', "~1");
                pointers(member, &format!("{prefix}/{key}"), into);
            }
        }
        _ => {}
    }
}

#[test]
fn random_documents_agree_with_a_full_parser() {
    let mut random = Rng(0xDEC0_DE00_0000_0001);
    let mut looked_up = 0;
    for _ in 0..1500 {
        let value = random.value(4);
        let mut text = String::new();
        random.spell(&value, &mut text);
        let bytes = text.as_bytes();
        assert_eq!(is_object(bytes), value.is_object(), "{text}");
        assert_eq!(is_array(bytes), value.is_array(), "{text}");
        let mut all = Vec::new();
        pointers(&value, "", &mut all);
        for path in &all {
            if path.len() > POINTER_BYTES_MAX {
                continue;
            }
            looked_up += 1;
            assert_eq!(parsed(pointer(bytes, &at(path))).as_ref(), value.pointer(path), "{path} in {text}");
        }
        for _ in 0..4 {
            let key = random.key();
            let expected = value.as_object().and_then(|members| members.get(&key));
            assert_eq!(parsed(top_level(bytes, &key)).as_ref(), expected, "{key:?} in {text}");
            let index = random.index(8);
            assert_eq!(parsed(array_item(bytes, index)).as_ref(), value.get(index), "{index} in {text}");
        }
    }
    assert!(looked_up > 10_000, "the generator makes documents worth looking into: {looked_up}");
}

#[test]
fn scalars_of_random_documents_agree_with_a_full_parser() {
    let mut random = Rng(77);
    for _ in 0..5000 {
        let value = random.value(0);
        let mut text = String::new();
        random.spell(&value, &mut text);
        let ours = Scalar::parse(text.trim_ascii().as_bytes());
        match &value {
            Value::String(expected) => assert_eq!(ours, Some(Scalar::Str(expected.as_str().into()))),
            Value::Bool(expected) => assert_eq!(ours, Some(Scalar::Bool(*expected))),
            Value::Null => assert_eq!(ours, Some(Scalar::Null)),
            Value::Number(number) => match number.as_i64() {
                Some(expected) => assert_eq!(ours, Some(Scalar::Int(expected.into()))),
                None => assert!(matches!(ours, Some(Scalar::Number(_) | Scalar::Int(_))), "{text}"),
            },
            _ => unreachable!("depth 0 makes scalars only"),
        }
    }
}

#[test]
fn inserted_members_are_found_and_nothing_else_changes() {
    let mut random = Rng(4242);
    let (mut inserted, mut refused) = (0, 0);
    for _ in 0..3000 {
        let mut value = random.value(3);
        let mut text = String::new();
        random.spell(&value, &mut text);
        let keys: Vec<String> = (0..1 + random.index(3)).map(|_| random.key()).collect();
        let path: String =
            keys.iter().map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1"))).collect();
        let made = insert_member(text.as_bytes(), &at(&path), b"\"new\"");
        if !insert_by_hand(&mut value, &keys) {
            refused += 1;
            assert_eq!(made, None, "{path} into {text}");
            continue;
        }
        inserted += 1;
        let made = made.unwrap_or_else(|| panic!("{path} into {text}"));
        assert_eq!(serde_json::from_slice::<Value>(&made).unwrap(), value, "{path} into {text}");
        assert_eq!(parsed(pointer(&made, &at(&path))), Some(Value::from("new")));
        let replaced = replace_value(&made, &at(&path), b"7").unwrap();
        assert_eq!(parsed(pointer(&replaced, &at(&path))), Some(Value::from(7)));
    }
    assert!(inserted > 300 && refused > 300, "{inserted} {refused}");
}

fn insert_by_hand(value: &mut Value, keys: &[String]) -> bool {
    let mut parent = value;
    for (depth, key) in keys.iter().enumerate() {
        let last = depth + 1 == keys.len();
        let Some(members) = parent.as_object_mut() else { return false };
        if last && members.contains_key(key) {
            return false;
        }
        let empty = if last { Value::from("new") } else { Value::Object(Default::default()) };
        parent = members.entry(key.clone()).or_insert(empty);
    }
    true
}

#[test]
fn hostile_text_is_survived() {
    let deep = JSON_DEPTH_MAX as usize;
    let fits = format!("{{\"a\":{}{},\"id\":1}}", "[".repeat(deep), "]".repeat(deep));
    assert_eq!(top_level(fits.as_bytes(), "id"), Some(&b"1"[..]));
    let too_deep = format!("{{\"a\":{}{},\"id\":1}}", "[".repeat(deep + 1), "]".repeat(deep + 1));
    assert_eq!(top_level(too_deep.as_bytes(), "id"), None);
    assert_eq!(top_level(too_deep.as_bytes(), "a"), None);
    for unit in
        ["[", "{\"a\":", "{", "]", "}", "\\", "\"", "{\"", ",", ":", "{\"\\", "[\"\\\\", "\0", "\u{7f}"]
    {
        for times in [1, 63, 64, 65, 127, 128, 129, 10_000] {
            let text = unit.repeat(times);
            for before in ["", "{\"a\":", "[", "{\"id\":\"", "{\"a\":{\"b\":["] {
                let text = format!("{before}{text}");
                let bytes = text.as_bytes();
                let _ = (top_level(bytes, "id"), array_item(bytes, 3), pointer(bytes, &at("/a/0/b")));
                let _ = (insert_member(bytes, &at("/a/id"), b"1"), Scalar::parse(bytes));
            }
        }
    }
}

#[test]
fn every_cut_and_every_flipped_byte_of_a_message_is_survived() {
    let text = br#" {"a":[1,{"b":"x\\\"}"}],"k\u0065y":{"n":-1.5e3},"id":"\ud83e\udd80","t":true} "#;
    assert_eq!(parsed(top_level(text, "id")), Some(Value::from("🦀")));
    for cut in 0..text.len() {
        let _ = pointer(&text[..cut], &at("/key/n"));
        let last = top_level(&text[..cut], "t");
        assert!(
            last.is_none_or(|found| b"true".starts_with(found)),
            "a cut may shorten the last value, no more"
        );
        for replacement in *b"\"\\{}[],: 0\xff\0" {
            let mut bent = text.to_vec();
            bent[cut] = replacement;
            let _ = (pointer(&bent, &at("/key/n")), insert_member(&bent, &at("/z/y"), b"0"));
            let _ = top_level(&bent, "id").map(Scalar::parse);
        }
    }
}

#[test]
fn members_are_found_in_their_own_object_only() {
    for (text, expected) in [
        (r#"{"id":1}"#, Some("1")),
        (r#"{"a":{"id":2},"id":3}"#, Some("3")),
        (r#"{"a":{"id":2}}"#, None),
        (r#"{"id":1,"id":2}"#, Some("1")),
        (r#"{"\u0069d":5}"#, Some("5")),
        (r#"{"a":"\"id\":1","id":"x"}"#, Some("\"x\"")),
        (r#"{"id" : { "deep" : [ 1 ] } , "b":2}"#, Some("{ \"deep\" : [ 1 ] }")),
        (r#"["id",1]"#, None),
        (r#"{"id"}"#, None),
        (r#"{"id":}"#, None),
        (r#"{"id":"unterminated}"#, None),
        (r#"{"a":1 "id":2}"#, None),
        ("{}", None),
        ("", None),
        ("   ", None),
        ("id", None),
        ("\u{feff}{\"id\":1}", None),
    ] {
        assert_eq!(top_level(text.as_bytes(), "id"), expected.map(str::as_bytes), "{text}");
    }
}

#[test]
fn strings_and_brackets_may_stand_across_every_block_border() {
    for padding in 0..140 {
        for inner in [r#""\\\"""#, r#""\\""#, r#""]}""#, "[[{}]]", r#"{"a":"[\""}"#] {
            let text = format!("{{\"x\":[\"{}\",{inner}],\"id\":{padding}}}", "y".repeat(padding));
            assert_eq!(top_level(text.as_bytes(), "id"), Some(padding.to_string().as_bytes()), "{text}");
        }
    }
}

#[test]
fn pointers_are_checked_when_they_are_made() {
    for good in ["", "/", "/id", "/a/0/b", "/a~1b/m~0n", "//", "/ключ"] {
        assert_eq!(Pointer::parse(good).unwrap().as_str(), good);
    }
    let slashes = "/".repeat(POINTER_BYTES_MAX);
    let long = format!("/{}", "x".repeat(POINTER_BYTES_MAX));
    for (bad, why) in [
        ("id", BadPointer::NoSlash),
        ("/a~", BadPointer::Tilde),
        ("/a~2", BadPointer::Tilde),
        (&slashes, BadPointer::TooDeep),
        (&long, BadPointer::TooLong),
    ] {
        assert_eq!(Pointer::parse(bad).unwrap_err(), why, "{bad}");
    }
    assert_eq!(Pointer::member("a/b~c"), at("/a~1b~0c"));
    assert!(at("").is_root() && !at("/").is_root());
}

#[test]
fn scalars_are_equal_by_type_and_value() {
    let same = |a: &str, b: &str| {
        let (a, b) = (Scalar::parse(a.as_bytes()).unwrap(), Scalar::parse(b.as_bytes()).unwrap());
        let (mut key_a, mut key_b) = (Vec::new(), Vec::new());
        a.write_key(&mut key_a);
        b.write_key(&mut key_b);
        assert_eq!(a == b, key_a == key_b, "{a:?} {b:?}");
        a == b
    };
    let big = "170141183460469231731687303715884105727";
    for (a, b) in [
        ("1", "1.0"),
        ("1", "10e-1"),
        ("100", "1e2"),
        ("0", "-0"),
        ("0", "0.000e7"),
        ("1.5", "0.15e1"),
        ("-1.50", "-1.5"),
        (big, &format!("{big}.0")),
        ("1e40", "10e39"),
        ("\"a\"", "\"\\u0061\""),
        ("null", "null"),
    ] {
        assert!(same(a, b), "{a} {b}");
    }
    for (a, b) in [
        ("1", "\"1\""),
        ("1", "2"),
        ("1", "-1"),
        ("1", "true"),
        ("1.5", "15"),
        ("1.5", "-1.5"),
        ("null", "\"null\""),
        ("true", "false"),
        ("12345678901234567890", "12345678901234567000"),
        ("1e40", "1e41"),
        ("\"i\"", "\"I\""),
    ] {
        assert!(!same(a, b), "{a} {b}");
    }
    for bad in [
        "",
        "-",
        "01",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x1",
        "--1",
        "1-1",
        "1e9999999999999999",
        "nul",
        "\"",
        "{",
        "[1]",
    ] {
        assert_eq!(Scalar::parse(bad.as_bytes()), None, "{bad}");
    }
    assert_eq!(Scalar::parse(b"\"a\"b\""), None);
    assert_eq!(Scalar::parse(b"\"\\ud800\""), None);
    assert_eq!(Scalar::parse(b"\"\xff\""), None);
    assert_eq!(Scalar::from_constant("200"), Scalar::Int(200));
    assert_eq!(Scalar::from_constant("\"200\""), Scalar::Str("200".into()));
    assert_eq!(Scalar::from_constant("pong"), Scalar::Str("pong".into()));
}

#[test]
fn an_id_is_inserted_where_the_pointer_says() {
    for (text, path, expected) in [
        ("{}", "/id", r#"{"id":7}"#),
        (r#" { "a":1}"#, "/id", r#" {"id":7, "a":1}"#),
        (r#"{"h":{}}"#, "/h/x/y", r#"{"h":{"x":{"y":7}}}"#),
        (r#"{"h":{"k":0}}"#, "/h/c", r#"{"h":{"c":7,"k":0}}"#),
        ("{}", "/a\"b", r#"{"a\"b":7}"#),
    ] {
        let made = insert_member(text.as_bytes(), &at(path), b"7").unwrap();
        assert_eq!(String::from_utf8(made).unwrap(), expected);
    }
    for (text, path) in [
        ("[]", "/id"),
        ("7", "/id"),
        ("", "/id"),
        (r#"{"id":null}"#, "/id"),
        (r#"{"h":[]}"#, "/h/0"),
        (r#"{"h":1}"#, "/h/x"),
        (r#"{"h"}"#, "/id"),
        ("{}", ""),
    ] {
        assert_eq!(insert_member(text.as_bytes(), &at(path), b"7"), None, "{path} into {text}");
    }
}

//! One folder of schemas that has a bit of everything, and what becomes of it.

use super::*;
use std::{fs, path::PathBuf};

fn place(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/types").join(name)
}

fn documents() -> build::Documents {
    folder::documents(&place("schemas")).expect("sound schemas")
}

/// `WSM_GOLDEN=write` writes what is then to be looked at in the change.
fn compare(name: &str, text: &str) {
    if std::env::var("WSM_GOLDEN").as_deref() == Ok("write") {
        fs::write(place(name), text).expect("written");
    }
    let golden = fs::read_to_string(place(name)).unwrap_or_default();
    for (line, (is, was)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(is, was, "{name}:{}", line + 1);
    }
    assert_eq!(text.lines().count(), golden.lines().count(), "{name}");
}

#[test]
fn typescript_is_as_it_was_approved() {
    compare("messages.ts", &typescript::render(&build(&documents(), typescript::RESERVED)));
}

#[test]
fn python_is_as_it_was_approved() {
    compare("messages.py", &python::render(&build(&documents(), python::RESERVED)));
}

#[test]
fn no_schema_however_odd_stops_the_generator() {
    let odd = [
        "true",
        "false",
        "{}",
        r#"{"type":7}"#,
        r#"{"type":[]}"#,
        r#"{"type":"nothing"}"#,
        r#"{"enum":[]}"#,
        r#"{"oneOf":[]}"#,
        r#"{"properties":7,"required":7}"#,
        r##"{"$ref":"#"}"##,
        r##"{"$ref":"#/nowhere"}"##,
        r##"{"$ref":"#anchor"}"##,
        r##"{"$ref":"#/%zz"}"##,
        r##"{"anyOf":[{"$ref":"#"},{"type":"string"}]}"##,
        r##"{"type":"array","items":{"$ref":"#"}}"##,
        r##"{"type":"object","additionalProperties":{"$ref":"#"}}"##,
        r##"{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}"##,
        r#"{"properties":{"":{"type":"string"},"*/":{"description":"*/ \u2028 # \""}}}"#,
        r#"{"type":["object","array"],"properties":{"a":true},"items":false}"#,
    ];
    for text in odd {
        let document: serde_json::Value = serde_json::from_str(text).expect(text);
        let documents = build::Documents::from([("7.json".into(), document)]);
        let script = typescript::render(&build(&documents, typescript::RESERVED));
        let python = python::render(&build(&documents, python::RESERVED));
        assert!(script.contains("\"7\": T7;") && python.contains("\"7\": T7,"), "{text}");
    }
}

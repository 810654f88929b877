use super::*;
use std::{fs, time::Duration};

/// A folder whose files are given as name and text.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        put(&folder, name, text);
    }
    folder
}

/// In one step, as an editor or a mount does it.
fn put(folder: &tempfile::TempDir, name: &str, text: &str) {
    let aside = folder.path().join(format!(".{name}"));
    fs::write(&aside, text).expect("written");
    fs::rename(aside, folder.path().join(name)).expect("moved");
}

const PRICE: &str = r#"{"type":"object","required":["price"],"additionalProperties":false,
    "properties":{"price":{"type":"number","minimum":0},"tags":{"type":"array","items":{"type":"string"}}}}"#;

fn schemas(folder: &tempfile::TempDir, strict: bool) -> Schemas {
    Schemas::open(folder.path(), strict, Arc::default()).expect("sound schemas")
}

fn told(schemas: &Schemas, payload: &str) -> Result<(), String> {
    schemas.check(payload.as_bytes()).map_err(|fault| fault.to_string())
}

#[test]
fn a_message_is_checked_and_the_fault_names_its_place_and_the_schema() {
    let folder = folder(&[("order.updated.json", PRICE), ("notes.txt", "x"), ("other.JSON", "x")]);
    let schemas = schemas(&folder, false);
    let check =
        |message: &str| told(&schemas, &format!(r#"{{"MESSAGE_ID":"order.updated","message":{message}}}"#));
    assert_eq!(check(r#"{"price":1.5,"tags":["a"]}"#), Ok(()));
    let wrong = check(r#"{"price":"secret-value"}"#).unwrap_err();
    assert_eq!(wrong, r#"message/price: the value is not of type "number" (schema order.updated)"#);
    assert!(check(r#"{"price":1,"tags":["a",7]}"#).unwrap_err().starts_with("message/tags/1: "));
    assert!(check("{}").unwrap_err().starts_with("message: "));
    assert!(check("null").unwrap_err().starts_with("message: "));
    assert_eq!(schemas.counters.messages_invalid.get(), 4);
    assert_eq!(
        told(&schemas, r#"{"MESSAGE_ID":"order.updated"}"#),
        Err("message: is missing (schema order.updated)".into())
    );
}

#[test]
fn what_has_no_type_or_no_schema_passes_unless_it_is_strict() {
    let folder = folder(&[("a.json", PRICE)]);
    let (lenient, strict) = (schemas(&folder, false), schemas(&folder, true));
    for payload in [
        "hello",
        "[]",
        r#"["a",{"price":"x"}]"#,
        "{}",
        r#"{"MESSAGE_ID":7,"message":{}}"#,
        r#"{"MESSAGE_ID":"b","message":{}}"#,
        r#"{"MESSAGE_ID":"A","message":{}}"#,
        "{not json}",
        "",
    ] {
        assert_eq!(told(&lenient, payload), Ok(()), "{payload}");
        assert!(told(&strict, payload).is_err(), "{payload}");
    }
    assert!(strict.check(b"\xff\x00").is_err());
    assert_eq!(told(&strict, r#"{"MESSAGE_ID":"a","message":{"price":1}}"#), Ok(()));
    assert_eq!(strict.counters.messages_untyped.get(), 10);
}

#[test]
fn nothing_slips_by_that_a_reader_could_take_for_a_typed_message() {
    let folder = folder(&[("a.json", PRICE)]);
    let schemas = schemas(&folder, false);
    let deep = format!(r#"{{"message":{}{},"MESSAGE_ID":"a"}}"#, "[".repeat(300), "]".repeat(300));
    for payload in [
        r#"{"MESSAGE_ID":"b","message":{},"MESSAGE_ID":"a"}"#,
        r#"{"MESSAGE_ID":"a","message":{"price":1},"message":{"price":"x"}}"#,
        r#"{"MESSAGE_\u0049D":"a","message":{"price":"x"}}"#,
        r#"{"MESSAGE_ID":"a","message":{"price":1e999}}"#,
        r#" {"MESSAGE_ID" : "a", "message":{"price":1,"more":"\ud800"}} "#,
        &deep,
    ] {
        assert!(told(&schemas, payload).is_err(), "{payload}");
    }
}

#[test]
fn files_refer_to_one_another_and_to_nothing_else() {
    let user = r##"{"$defs":{"name":{"type":"string"}},"type":"object","properties":{"name":{"$ref":"#/$defs/name"}}}"##;
    let named = r#"{"$id":"https://example.com/named","type":"integer"}"#;
    let using = r#"{"type":"object","properties":{
        "user":{"$ref":"user.json"},"name":{"$ref":"./user.json#/$defs/name"},
        "id":{"$ref":"https://example.com/named"}}}"#;
    let folder = folder(&[("user.json", user), ("named.json", named), ("using.json", using)]);
    let schemas = schemas(&folder, false);
    let check = |message: &str| told(&schemas, &format!(r#"{{"MESSAGE_ID":"using","message":{message}}}"#));
    assert_eq!(check(r#"{"user":{"name":"a"},"name":"b","id":7}"#), Ok(()));
    for (message, place) in [
        (r#"{"user":{"name":7}}"#, "message/user/name: "),
        (r#"{"name":7}"#, "message/name: "),
        (r#"{"id":"7"}"#, "message/id: "),
    ] {
        assert!(check(message).unwrap_err().starts_with(place), "{message}");
    }
    for outside in ["https://example.com/x", "file:///etc/passwd", "../x.json", "missing.json"] {
        put(&folder, "using.json", &format!(r#"{{"$ref":"{outside}"}}"#));
        let wrong = Schemas::open(folder.path(), false, Arc::default()).err().expect("refused");
        assert!(wrong.contains("using.json: ") && wrong.lines().count() == 1, "{wrong}");
    }
}

#[test]
fn a_schema_that_refers_to_itself_ends() {
    let tree = r##"{"type":"object","properties":{"next":{"$ref":"#"}},"required":["value"]}"##;
    let folder = folder(&[("tree.json", tree)]);
    let schemas = schemas(&folder, false);
    let message = r#"{"MESSAGE_ID":"tree","message":{"value":1,"next":{"value":2,"next":{}}}}"#;
    assert!(told(&schemas, message).unwrap_err().starts_with("message/next/next: "));
    // Says nothing at all; two of them neither.
    put(&folder, "tree.json", r##"{"$ref":"#"}"##);
    put(&folder, "one.json", r#"{"anyOf":[{"$ref":"two.json"}]}"#);
    put(&folder, "two.json", r#"{"allOf":[{"$ref":"one.json"}]}"#);
    let mut watched = Folder::new(folder.path(), Arc::default());
    watched.look();
    for id in ["tree", "one", "two"] {
        let payload = format!(r#"{{"MESSAGE_ID":"{id}","message":{{"next":{{}}}}}}"#);
        let _ = judge(&watched.set(), false, payload.as_bytes());
    }
}

#[test]
fn every_file_that_does_not_work_is_named_at_start() {
    let big = format!(r#"{{"description":"{}"}}"#, "x".repeat(limits::SCHEMA_BYTES_MAX));
    let folder = folder(&[
        ("good.json", "true"),
        ("syntax.json", "{"),
        ("list.json", "[]"),
        ("type.json", r#"{"type":"number-or-so"}"#),
        ("pattern.json", r#"{"pattern":"(?=a)"}"#),
        ("big.json", &big),
        ("white space.json", "{}"),
    ]);
    let wrong = Schemas::open(folder.path(), false, Arc::default()).err().expect("refused");
    let lines: Vec<_> = wrong.lines().collect();
    for (line, part) in lines.iter().zip([
        "big.json: is larger than 262144 bytes",
        "list.json: is no JSON Schema",
        "pattern.json: ",
        "syntax.json: is not JSON: ",
        "type.json: ",
        "white space.json: its name, a MESSAGE_ID, must be",
    ]) {
        assert!(line.contains(part), "{line}");
    }
    assert_eq!(lines.len(), 6, "{wrong}");
    let gone = Schemas::open(&folder.path().join("gone"), false, Arc::default()).err().expect("refused");
    assert!(gone.contains("cannot be read"), "{gone}");
}

#[test]
fn a_look_sees_what_changed_and_keeps_what_worked() {
    let folder = folder(&[("a.json", PRICE), ("b.json", r#"{"$ref":"a.json"}"#)]);
    let counters: Arc<IntakeCounters> = Arc::default();
    let mut watched = Folder::new(folder.path(), counters.clone());
    assert!(watched.look());
    assert!(!watched.look());
    let judge = |watched: &Folder, id: &str, price: &str| {
        let payload = format!(r#"{{"MESSAGE_ID":"{id}","message":{{"price":{price}}}}}"#);
        super::judge(&watched.set(), true, payload.as_bytes()).is_ok()
    };
    assert!(judge(&watched, "a", "1") && judge(&watched, "b", "1") && !judge(&watched, "b", "true"));
    // Broken: the version before goes on, also for those that refer to it. Said once.
    put(&folder, "a.json", "{");
    assert!(watched.look() && !watched.look());
    assert!(judge(&watched, "a", "1") && judge(&watched, "b", "1") && !judge(&watched, "b", "true"));
    assert_eq!((counters.schemas_refused.get(), counters.schemas_read.get()), (1, 1));
    assert_eq!(watched.problems().len(), 1);
    // Mended, to something else.
    put(&folder, "a.json", r#"{"type":"object","properties":{"price":{"type":"boolean"}}}"#);
    assert!(watched.look());
    assert!(!judge(&watched, "a", "1") && judge(&watched, "b", "true"));
    assert!(watched.problems().is_empty());
    // Added and removed; what referred to the removed one keeps its last good version.
    put(&folder, "c.json", "true");
    fs::remove_file(folder.path().join("a.json")).expect("removed");
    assert!(watched.look());
    assert!(!judge(&watched, "a", "true") && judge(&watched, "b", "true") && judge(&watched, "c", "1"));
    assert_eq!(watched.problems().len(), 1);
    // The folder itself away for a moment changes nothing.
    let aside = folder.path().with_extension("aside");
    fs::rename(folder.path(), &aside).expect("moved");
    assert!(!watched.look() && !watched.look());
    assert!(judge(&watched, "c", "1"));
    fs::rename(&aside, folder.path()).expect("moved back");
    watched.look();
    assert_eq!(counters.schemas_refused.get(), 3);
}

/// Uses `schemas` until what it says is as wanted.
fn eventually(schemas: &Schemas, payload: &str, fine: bool) {
    let begun = Instant::now();
    while told(schemas, payload).is_ok() != fine {
        assert!(begun.elapsed() < Duration::from_secs(20), "{payload} was never {fine}");
        thread::yield_now();
    }
}

#[test]
fn a_changed_file_counts_by_itself() {
    let folder = folder(&[("a.json", "false")]);
    let schemas = schemas(&folder, false);
    let payload = r#"{"MESSAGE_ID":"a","message":1}"#;
    assert!(told(&schemas, payload).is_err());
    put(&folder, "a.json", "true");
    eventually(&schemas, payload, true);
    put(&folder, "a.json", r#"{"type":"string"}"#);
    eventually(&schemas, payload, false);
    fs::remove_file(folder.path().join("a.json")).expect("removed");
    eventually(&schemas, payload, true);
    assert_eq!(schemas.counters.schemas_read.get(), 3);
}

use super::*;
use crate::proto::{ConnectionStatus, Direction};

const KNOWN: &[&str] = &["page_size", "status", "from_start", "tag."];

fn parse(raw: &str) -> Result<Query, Fault> {
    Query::parse(Some(raw), KNOWN)
}

#[test]
fn both_spellings_and_percent_escapes() {
    for raw in ["pageSize=7", "page_size=7"] {
        assert_eq!(parse(raw).unwrap().number::<i32>("page_size").unwrap(), 7);
    }
    let query = parse("tag.room%20A=b%26c+d&tag.X=y&tag.X=z").unwrap();
    let tags: Vec<_> = query.tags().into_iter().map(|tag| (tag.key, tag.value)).collect();
    let expected = [("room A", "b&c d"), ("X", "y"), ("X", "z")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(tags, expected);
}

#[test]
fn what_is_unknown_or_broken_is_named() {
    for (raw, field) in
        [("bogus=1", "bogus"), ("page_size=1&Tag.x=2", "_tag.x"), ("tag.x=%ff", "tag.x"), ("=1", "")]
    {
        assert_eq!(parse(raw).unwrap_err().field, field, "{raw}");
    }
    assert!(parse(&"status=1&".repeat(257)).is_err());
    let twice = parse("pageSize=1&page_size=2").unwrap();
    assert_eq!(twice.number::<i32>("page_size").unwrap_err().field, "page_size");
    for raw in ["pageSize=x", "pageSize=", "pageSize=99999999999", "pageSize=1.5"] {
        assert!(parse(raw).unwrap().number::<i32>("page_size").is_err(), "{raw}");
    }
}

#[test]
fn flags() {
    for (raw, expected) in
        [("", false), ("fromStart", true), ("fromStart=true", true), ("from_start=0", false)]
    {
        assert_eq!(parse(raw).unwrap().flag("from_start").unwrap(), expected, "{raw}");
    }
    assert!(parse("fromStart=maybe").unwrap().flag("from_start").is_err());
}

#[test]
fn choices_by_name_in_any_case_or_number() {
    let status = |text| Query::choice("status", text, "", ConnectionStatus::from_str_name);
    for text in ["connected", "CONNECTED", "Connected", "2"] {
        assert_eq!(status(text).unwrap(), ConnectionStatus::Connected);
    }
    assert!(status("6").is_err() && status("").is_err() && status("nope").is_err());
    let direction = |text| Query::choice("direction", text, "DIRECTION_", Direction::from_str_name);
    for text in ["in", "direction_in", "2"] {
        assert_eq!(direction(text).unwrap(), Direction::In);
    }
}

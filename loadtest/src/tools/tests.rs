use super::{
    Program,
    ghz::{self, Connections, Counted, Wanted},
    k6,
};
use crate::{options::Options, report::Outcome, stage::Stage, trouble::EXIT_UNAVAILABLE};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs};

fn stage(words: &[&str]) -> Stage {
    let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
    Stage::new(Options::parse(&words).unwrap()).unwrap()
}

fn thresholds() -> Value {
    serde_json::from_str(&fs::read_to_string(super::root().join("loadtest/ghz/thresholds.json")).unwrap())
        .unwrap()
}

/// The names in a folder, without their ending.
fn files(folder: &str, ending: &str, but: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(super::root().join("loadtest").join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let named = names.filter_map(|name| name.strip_suffix(ending).map(str::to_owned));
    named.filter(|name| name != but).map(|name| format!("{folder}-{name}")).collect()
}

#[test]
fn every_script_and_configuration_can_be_run_and_the_other_way_round() {
    let mut there = files("k6", ".js", "wsm");
    there.extend(files("ghz", ".json", "thresholds"));
    let listed: BTreeSet<_> = super::SCENARIOS.iter().map(|scenario| scenario.name.to_owned()).collect();
    assert_eq!(there, listed);
    let thresholds = thresholds();
    for name in files("ghz", ".json", "thresholds") {
        let name = name.strip_prefix("ghz-").unwrap();
        assert!(ghz::wanted(&thresholds, name).is_ok(), "{name}");
    }
    assert_eq!(thresholds.as_object().unwrap().len(), files("ghz", ".json", "thresholds").len());
}

#[test]
fn settings_are_known_by_name_and_set_once() {
    let flags = |value: Option<&str>| [("--rate", value.map(str::to_owned), "RATE"), ("--bytes", None, "")];
    let read = |words: &[&str], rate| super::settings(&stage(words), &flags(rate), &["P99_MS", "VUS"]);
    let set = read(&["k6-send", "P99_MS=5", "VUS=2"], Some("7")).unwrap();
    let set: Vec<_> = set.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(set, [("RATE", "7"), ("P99_MS", "5"), ("VUS", "2")]);
    for (words, said) in [
        (&["k6-send", "P99=5"][..], "P99_MS, VUS"),
        (&["k6-send", "fast"], "'fast'"),
        (&["k6-send", "VUS="], "'VUS='"),
        (&["k6-send", "VUS=1", "VUS=2"], "VUS is set more than once"),
    ] {
        let refused = read(words, None).unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
    }
    let bytes = [("--bytes", Some("64".to_owned()), "")];
    assert!(
        super::settings(&stage(&["k6-send"]), &bytes, &[]).unwrap_err().to_string().starts_with("--bytes")
    );
}

#[test]
fn thresholds_that_make_no_sense_are_named() {
    let good = json!({"p99_ms": 5, "rate_share": 0.9, "connections": 3});
    let read = |change: &dyn Fn(&mut Value)| {
        let mut entry = good.clone();
        change(&mut entry);
        ghz::wanted(&json!({"x": entry}), "x").map_err(|trouble| trouble.to_string())
    };
    let wanted = Wanted { p99_ms: 5.0, rate_share: 0.9, connections: Connections::Fixed(3), counted: None };
    assert_eq!(read(&|_| ()), Ok(wanted));
    let counted = json!({"metric": "wsm_a", "label": "", "each": 2});
    let read_counted = read(&|entry| entry["counted"] = counted.clone()).unwrap().counted;
    assert_eq!(read_counted, Some(Counted { metric: "wsm_a".to_owned(), label: String::new(), each: 2 }));
    for (field, value) in [
        ("p99_ms", json!("fast")),
        ("p99_ms", json!(0)),
        ("rate_share", Value::Null),
        ("connections", json!(-1)),
        ("connections", json!("all")),
        ("counted", json!({"metric": "wsm_a", "label": ""})),
        ("p90_ms", json!(5)),
    ] {
        let why = read(&|entry| entry[field] = value.clone()).unwrap_err();
        assert!(why.contains(field) && why.contains("thresholds.json"), "{why}");
    }
    assert!(ghz::wanted(&json!({}), "x").is_err());
}

#[test]
fn a_crossed_threshold_of_k6_is_a_failure() {
    let summary = json!({"metrics": {
        "checks": {"passes": 4, "fails": 0, "value": 1, "thresholds": {"rate==1": false}},
        "room_latency": {"med": 1.5, "p(99)": 20.25, "max": 30, "thresholds": {"p(99)<20": true}},
    }});
    let mut outcome = Outcome::new("k6-rooms");
    k6::tell(&summary, &mut outcome);
    assert_eq!(outcome.failures, ["threshold: room_latency p(99)<20, found 20.250"]);
    assert_eq!(
        outcome.tables[0].rows,
        [["checks", "rate==1", "1", "yes"], ["room_latency", "p(99)<20", "20.250", "NO"]]
    );
    assert_eq!(outcome.tables[1].rows, [["checks passed", "4"], ["checks failed", "0"]]);
    assert_eq!(outcome.tables[2].rows[0][..5], ["room_latency", "1.500", "-", "-", "20.250"]);
}

#[test]
fn what_ghz_reports_is_held_against_what_was_wanted() {
    let result = json!({
        "rps": 95.0, "slowest": 9e6,
        "latencyDistribution": [{"percentage": 50, "latency": 1e6}, {"percentage": 99, "latency": 4.5e6}],
        "statusCodeDistribution": {"OK": 99, "Unavailable": 1},
        "errorDistribution": {"rpc error": 1},
    });
    let judged = |p99_ms, rate_share, total| {
        let wanted = Wanted { p99_ms, rate_share, connections: Connections::Total, counted: None };
        let mut outcome = Outcome::new("ghz-send");
        ghz::tell(&result, &wanted, (100, total), &mut outcome);
        outcome.failures
    };
    assert_eq!(judged(5.0, 0.9, 99), [] as [&str; 0]);
    assert_eq!(judged(5.0, 0.9, 100), ["threshold: calls that are OK = 100, found 99"]);
    assert_eq!(judged(4.0, 0.9, 99), ["threshold: p99 <= 4 ms, found 4.500"]);
    assert_eq!(judged(5.0, 0.96, 99), ["threshold: calls a second >= 96, found 95"]);
    let mut empty = Outcome::new("ghz-send");
    let wanted = Wanted { p99_ms: 1.0, rate_share: 1.0, connections: Connections::Total, counted: None };
    ghz::tell(&json!({}), &wanted, (1, 1), &mut empty);
    assert_eq!(empty.failures.len(), 3, "nothing counts as nothing: {:?}", empty.failures);
}

#[test]
fn a_tool_that_is_not_there_is_said_with_the_way_to_get_it() {
    let program =
        Program { name: "no-such-tool", variable: "WSM_NO_SUCH_TOOL", module: "example.org/tool@v1" };
    let why = program.find().unwrap_err();
    assert_eq!(why.code(), EXIT_UNAVAILABLE);
    let why = why.to_string();
    assert!(why.contains("go install example.org/tool@v1") && why.contains("WSM_NO_SUCH_TOOL"), "{why}");
}

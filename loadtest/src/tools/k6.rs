//! k6 with the scripts of `loadtest/k6`, whose thresholds are their own.

use super::{Ended, Program, Thresholds};
use crate::{
    clock::SECOND,
    report::{Outcome, Table},
    scenarios::Scenario,
    stage::Stage,
    trouble::{Result, Trouble},
    upstream::Manner,
};
use serde_json::Value;
use std::{fs, path::Path};

pub const PROGRAM: Program = Program { name: "k6", variable: "WSM_K6", module: "go.k6.io/k6@v1.8.1" };
/// What k6 ends with when a threshold was crossed; its summary says which.
const CROSSED: i32 = 99;
const TREND: &str = "avg,min,med,p(90),p(95),p(99),p(99.9),max";

/// A script, and how the flags are called in it; empty: it has no such thing.
struct Script {
    name: &'static str,
    connections: &'static str,
    bytes: &'static str,
    words: &'static [&'static str],
}

const SCRIPTS: &[Script] = &[
    Script { name: "send", connections: "CONNECTIONS", bytes: "", words: &["P99_MS", "VUS"] },
    Script { name: "connect", connections: "", bytes: "", words: &["P99_MS", "VUS"] },
    Script { name: "list", connections: "CONNECTIONS", bytes: "", words: &["P99_MS", "VUS"] },
    Script { name: "send-stream", connections: "CONNECTIONS", bytes: "", words: &["P99_MS", "STREAMS"] },
    Script {
        name: "rooms-send",
        connections: "",
        bytes: "PAYLOAD_BYTES",
        words: &["P99_MS", "ROOMS", "VUS"],
    },
    Script { name: "rooms", connections: "MEMBERS", bytes: "PAYLOAD_BYTES", words: &["P99_MS", "POST"] },
];

/// An entry of the list of scenarios.
pub const fn scenario(name: &'static str, shows: &'static str) -> Scenario {
    Scenario { name, shows, run, in_all: false, takes: super::TAKES }
}

fn run(stage: &Stage) -> Result<Outcome> {
    let options = &stage.options;
    let name = options.scenario.strip_prefix("k6-").unwrap_or_default();
    let script = SCRIPTS
        .iter()
        .find(|script| script.name == name)
        .ok_or_else(|| Trouble::Usage(format!("there is no script loadtest/k6/{name}.js")))?;
    let nanos = options.length(5, 30);
    let flags = [
        ("--rate", options.rate.map(|rate| rate.to_string()), "RATE"),
        ("--connections", options.connections.map(|count| count.to_string()), script.connections),
        ("--bytes", options.bytes.map(|bytes| bytes.to_string()), script.bytes),
    ];
    let mut settings = super::settings(stage, &flags, script.words)?;
    let program = PROGRAM.find()?;
    let service = stage.service(&[])?;
    let upstream = stage.upstream(Manner::default())?;
    settings.extend([
        ("SECONDS".to_owned(), (nanos / SECOND).to_string()),
        ("WSM_GRPC".to_owned(), service.at.grpc.to_string()),
        ("WSM_HTTP".to_owned(), format!("http://{}", service.at.http)),
        ("WSM_UPSTREAM".to_owned(), upstream.url("echo", 0)),
    ]);
    let folder = tempfile::tempdir()?;
    let summary = folder.path().join("summary.json");
    let ended = super::attend(stage, &service, &program, nanos, |command| {
        // No control port, and nothing is told to anybody about this run.
        command.args(["run", "--quiet", "--no-color", "--no-usage-report", "--address", ""]);
        command.args(["--summary-trend-stats", TREND, "--summary-export"]).arg(&summary);
        for (name, value) in &settings {
            command.args(["-e", &format!("{name}={value}")]);
        }
        command.arg(super::root().join("loadtest/k6").join(format!("{name}.js")));
    })?;
    super::show(stage, &ended);
    let mut outcome = Outcome::new(&options.scenario);
    outcome.nanos = nanos;
    for (name, value) in &settings {
        outcome.fact(name, value);
    }
    judge(&ended, &summary, &mut outcome);
    super::close(stage, service, &mut outcome)?;
    Ok(outcome)
}

fn judge(ended: &Ended, summary: &Path, outcome: &mut Outcome) {
    let code = ended.status.and_then(|status| status.code());
    let read = fs::read_to_string(summary).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
    match read {
        Some(summary) => tell(&summary, outcome),
        None => outcome.failures.push("k6 left no summary".to_owned()),
    }
    if !matches!(code, Some(0 | CROSSED)) {
        let code = code.map_or("a signal".to_owned(), |code| format!("code {code}"));
        outcome.failures.push(format!("k6 ended with {code}:{}", ended.complaints));
    }
    // What k6 says of a crossed threshold must not depend on how its summary is read.
    if code == Some(CROSSED) && outcome.failures.is_empty() {
        outcome.failures.push(format!("k6 says that a threshold was crossed:{}", ended.complaints));
    }
}

/// Counts, latencies and thresholds of k6's summary.
pub(super) fn tell(summary: &Value, outcome: &mut Outcome) {
    let mut thresholds = Thresholds::default();
    let mut counts = Table::new("counted by k6", &["what", "count"]);
    let mut latencies =
        Table::new("latencies by k6, ms", &["of", "p50", "p90", "p95", "p99", "p99.9", "max"]);
    for (name, metric) in summary["metrics"].as_object().into_iter().flatten() {
        let number = |field: &str| metric[field].as_f64();
        if let Some(count) = number("count") {
            counts.row(&[name.clone(), super::figure(count)]);
        }
        if let (Some(passes), Some(fails)) = (number("passes"), number("fails")) {
            counts.row(&[format!("{name} passed"), super::figure(passes)]);
            counts.row(&[format!("{name} failed"), super::figure(fails)]);
        }
        if number("med").is_some() {
            let parts = ["med", "p(90)", "p(95)", "p(99)", "p(99.9)", "max"];
            let mut row = vec![name.clone()];
            row.extend(parts.map(|part| number(part).map_or("-".to_owned(), super::figure)));
            latencies.row(&row);
        }
        // In this summary true says that it was crossed.
        for (wanted, crossed) in metric["thresholds"].as_object().into_iter().flatten() {
            let part = wanted.split(['<', '>', '=', '!']).next().unwrap_or_default().trim();
            let found = number(if part == "rate" { "value" } else { part });
            let found = found.map_or("-".to_owned(), super::figure);
            thresholds.add(outcome, name, wanted, &found, crossed == &Value::Bool(false));
        }
    }
    thresholds.into(outcome);
    outcome.tables.extend([counts, latencies]);
}

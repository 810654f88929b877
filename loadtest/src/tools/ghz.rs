//! ghz with the configurations of `loadtest/ghz`. It has no thresholds: ours stand beside them, and
//! the service's own counters say whether every call was what it was meant to be.

use super::{Ended, Program, Thresholds};
use crate::{
    clock::{self, MILLI, SECOND},
    proto::{ConnectRequest, DisconnectRequest, web_socket_manager_client::WebSocketManagerClient},
    report::{Outcome, Table},
    scenarios::Scenario,
    scrape::Scrape,
    service::Service,
    stage::Stage,
    stop,
    trouble::{Result, Trouble},
    upstream::{Manner, Upstream},
};
use serde_json::Value;
use std::{fs, path::Path};
use tonic::Code;

pub const PROGRAM: Program =
    Program { name: "ghz", variable: "WSM_GHZ", module: "github.com/bojand/ghz/cmd/ghz@v0.120.0" };
/// The call that makes connections itself.
const CONNECT: &str = "virtufin.WebSocketManager/Connect";
/// Of what is made for ghz, so that a call can be about these alone.
const TAG: (&str, &str) = ("made-for", "ghz");
/// For what the service counts a moment after it has answered.
const PATIENCE: u64 = 2 * SECOND;
/// Characters of an error that are shown.
const ERROR_MAX: usize = 120;
const CONNECTIONS_MAX: u64 = 1_000_000;

/// What a configuration needs and must hold, as it stands in `thresholds.json`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub p99_ms: f64,
    /// Of the rate that was asked for.
    pub rate_share: f64,
    pub connections: Connections,
    pub counted: Option<Counted>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connections {
    Fixed(u64),
    /// One for each call.
    Total,
}

/// A counter of the service that grows by so much with each call.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Counted {
    pub metric: String,
    pub label: String,
    pub each: u64,
}

impl Counted {
    fn of(&self, scrape: &Scrape) -> f64 {
        match self.label.split_once('=') {
            Some((label, value)) => scrape.sum_of(&self.metric, label, value.trim_matches('"')),
            None => scrape.sum(&self.metric),
        }
    }
}

/// An entry of the list of scenarios.
pub const fn scenario(name: &'static str, shows: &'static str) -> Scenario {
    Scenario { name, shows, run, in_all: false, takes: super::TAKES }
}

/// One run: which configuration, how much of it, and what it must hold.
struct Plan {
    name: String,
    config: Value,
    wanted: Wanted,
    rate: u64,
    total: u64,
}

impl Plan {
    fn of(stage: &Stage) -> Result<Plan> {
        let options = &stage.options;
        let name = options.scenario.strip_prefix("ghz-").unwrap_or_default();
        let flags = [
            ("--rate", options.rate.map(|rate| rate.to_string()), "RATE"),
            ("--connections", options.connections.map(|count| count.to_string()), ""),
            ("--bytes", options.bytes.map(|bytes| bytes.to_string()), ""),
        ];
        let settings = super::settings(stage, &flags, &["P99_MS", "RATE_SHARE"])?;
        let config = read(&format!("{name}.json"))?;
        let wanted = changed(wanted(&read("thresholds.json")?, name)?, &settings)?;
        let (rate, total) = calls(&config, &settings, options.length(5, 30) / SECOND)?;
        Ok(Plan { name: name.to_owned(), config, wanted, rate, total })
    }

    /// Connections that are there before the calls.
    fn prepared(&self) -> u64 {
        match self.wanted.connections {
            Connections::Fixed(count) => count,
            Connections::Total => self.total,
        }
    }

    /// Connections that may be there after them.
    fn made(&self) -> u64 {
        if self.config["call"] == CONNECT { self.total } else { self.prepared() }
    }
}

fn run(stage: &Stage) -> Result<Outcome> {
    let plan = Plan::of(stage)?;
    let program = PROGRAM.find()?;
    let service = stage.service(&[])?;
    let upstream = stage.upstream(Manner::default())?;
    let outcome = measure(stage, &plan, &program, &service, &upstream);
    // Nothing of this run stays in a service that goes on.
    if service.pid().is_none() {
        forget(&service, plan.made())?;
    }
    let mut outcome = outcome?;
    super::close(stage, service, &mut outcome)?;
    Ok(outcome)
}

fn measure(
    stage: &Stage,
    plan: &Plan,
    program: &Path,
    service: &Service,
    upstream: &Upstream,
) -> Result<Outcome> {
    let Plan { name, config, wanted, rate, total } = plan;
    prepare(service, upstream, plan.prepared())?;
    let folder = tempfile::tempdir()?;
    let result = folder.path().join("result.json");
    let before = counted(service, wanted)?;
    let nanos = total * SECOND / rate;
    let ended = super::attend(stage, service, program, nanos, |command| {
        command.arg("--config").arg(super::root().join("loadtest/ghz").join(format!("{name}.json")));
        command.args(["--total", &total.to_string(), "--rps", &rate.to_string()]);
        command.args(["--data", &data(config, upstream), "--format", "json", "--output"]).arg(&result);
        command.arg(service.at.grpc.to_string());
    })?;
    let mut outcome = Outcome::new(&stage.options.scenario);
    outcome.nanos = nanos;
    outcome.fact("service", service.at.grpc);
    outcome.fact("upstream", upstream.address);
    outcome.fact("call", config["call"].as_str().unwrap_or_default());
    outcome.fact("calls", total);
    outcome.fact("calls a second", rate);
    judge(&ended, fs::read_to_string(&result).ok(), wanted, (*rate, *total), &mut outcome);
    if let (Some(counter), Some(before)) = (&wanted.counted, before) {
        grown(service, counter, before, total * counter.each, &mut outcome)?;
    }
    Ok(outcome)
}

fn read(name: &str) -> Result<Value> {
    let place = super::root().join("loadtest/ghz").join(name);
    let text = fs::read_to_string(&place)
        .map_err(|error| Trouble::Usage(format!("loadtest/ghz/{name} cannot be read: {error}")))?;
    serde_json::from_str(&text).map_err(|error| Trouble::Usage(format!("loadtest/ghz/{name}: {error}")))
}

/// What stands under this name, every field of it known and in order.
pub(super) fn wanted(all: &Value, name: &str) -> Result<Wanted> {
    let bad = |what: &str| Trouble::Usage(format!("loadtest/ghz/thresholds.json: {name}: {what}"));
    let entry = all[name].as_object().ok_or_else(|| bad("there is none of this name"))?;
    let known = ["p99_ms", "rate_share", "connections", "counted"];
    if let Some(other) = entry.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(bad(&format!("'{other}' is none of {}", known.join(", "))));
    }
    let number = |field: &str| {
        let found = entry.get(field).and_then(Value::as_f64).filter(|number| *number > 0.0);
        found.ok_or_else(|| bad(&format!("{field} must be a number above 0")))
    };
    let connections = match &all[name]["connections"] {
        Value::String(text) if text == "total" => Connections::Total,
        other => match other.as_u64().filter(|count| *count <= CONNECTIONS_MAX) {
            Some(count) => Connections::Fixed(count),
            None => return Err(bad("connections must be a whole number or \"total\"")),
        },
    };
    let counted = entry.get("counted").map(|counted| {
        let text = |field: &str| counted[field].as_str().map(str::to_owned);
        let (metric, label, each) = (text("metric"), text("label"), counted["each"].as_u64());
        let whole = metric.zip(label).zip(each.filter(|each| *each > 0));
        whole
            .map(|((metric, label), each)| Counted { metric, label, each })
            .ok_or_else(|| bad("counted must have a metric, a label (\"\" for all) and a number each"))
    });
    Ok(Wanted {
        p99_ms: number("p99_ms")?,
        rate_share: number("rate_share")?,
        connections,
        counted: counted.transpose()?,
    })
}

/// With what was set for this run.
fn changed(mut wanted: Wanted, settings: &[(String, String)]) -> Result<Wanted> {
    for (name, value) in settings {
        let number = value.parse::<f64>().ok().filter(|number| *number > 0.0);
        let number =
            number.ok_or_else(|| Trouble::Usage(format!("{name}: '{value}' is not a number above 0")))?;
        match name.as_str() {
            "P99_MS" => wanted.p99_ms = number,
            "RATE_SHARE" => wanted.rate_share = number,
            _ => {}
        }
    }
    Ok(wanted)
}

/// Calls a second, which ghz wants whole, and in all.
fn calls(config: &Value, settings: &[(String, String)], seconds: u64) -> Result<(u64, u64)> {
    let given = settings.iter().find(|(name, _)| name == "RATE").map(|(_, value)| value);
    let rate = match given {
        Some(text) => text.parse().ok().filter(|rate| *rate > 0),
        None => config["rps"].as_u64().filter(|rate| *rate > 0),
    };
    let rate: u64 =
        rate.ok_or_else(|| Trouble::Usage("--rate: ghz wants a whole number of calls a second".to_owned()))?;
    Ok((rate, rate * seconds))
}

/// The call's data, with the address of what the service shall dial in it.
fn data(config: &Value, upstream: &Upstream) -> String {
    let mut data = config["data"].clone();
    if let Some(url) = data.get_mut("url") {
        *url = Value::String(upstream.url("echo", 0));
    }
    data.to_string()
}

/// Makes the connections that the calls are about: `ghz-0`, `ghz-1` and so on.
fn prepare(service: &Service, upstream: &Upstream, count: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = WebSocketManagerClient::new(service.channel().await?);
        for nth in 0..count {
            if stop::asked() {
                return Err(Trouble::Interrupted);
            }
            let request = ConnectRequest {
                url: upstream.url("echo", usize::try_from(nth).unwrap_or(usize::MAX)),
                connection_id: format!("ghz-{nth}"),
                tags: [(TAG.0.to_owned(), TAG.1.to_owned())].into(),
                ..ConnectRequest::default()
            };
            client.connect(request).await?;
        }
        Ok(())
    })
}

/// Ends those that are still there.
fn forget(service: &Service, count: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = WebSocketManagerClient::new(service.channel().await?);
        for nth in 0..count {
            let request = DisconnectRequest { id: format!("ghz-{nth}"), ..DisconnectRequest::default() };
            match client.disconnect(request).await {
                Err(status) if status.code() != Code::NotFound => return Err(status.into()),
                _ => {}
            }
        }
        Ok(())
    })
}

fn counted(service: &Service, wanted: &Wanted) -> Result<Option<f64>> {
    wanted.counted.as_ref().map(|counter| Ok(counter.of(&service.scrape()?))).transpose()
}

/// Waits a little for what the service has done and not counted yet.
fn grown(service: &Service, counter: &Counted, before: f64, meant: u64, outcome: &mut Outcome) -> Result<()> {
    let Counted { metric, label, .. } = counter;
    let give_up = clock::now() + PATIENCE;
    loop {
        let grown = counter.of(&service.scrape()?) - before;
        if grown < meant as f64 && clock::now() < give_up && !stop::asked() {
            clock::sleep(MILLI * 20);
            continue;
        }
        outcome.fact("counted by the service", super::figure(grown));
        if grown != meant as f64 && !stop::asked() {
            outcome.failures.push(format!("{metric}{{{label}}} grew by {grown}, not by {meant}"));
        }
        return Ok(());
    }
}

fn judge(ended: &Ended, result: Option<String>, wanted: &Wanted, calls: (u64, u64), outcome: &mut Outcome) {
    match result.and_then(|text| serde_json::from_str::<Value>(&text).ok()) {
        Some(result) => tell(&result, wanted, calls, outcome),
        None => outcome.failures.push("ghz left no result".to_owned()),
    }
    match ended.status.map(|status| status.code()) {
        Some(Some(0)) => {}
        Some(Some(code)) => outcome.failures.push(format!("ghz ended with code {code}:{}", ended.complaints)),
        Some(None) | None => outcome.failures.push(format!("ghz was ended:{}", ended.complaints)),
    }
}

/// Counts, latencies and thresholds from ghz' result.
pub(super) fn tell(result: &Value, wanted: &Wanted, (rate, total): (u64, u64), outcome: &mut Outcome) {
    let millis = |value: &Value| value.as_f64().map(|nanos| nanos / 1e6);
    let mut latencies = Table::new("latencies by ghz, ms", &["percentile", "latency"]);
    let mut p99 = None;
    for part in result["latencyDistribution"].as_array().into_iter().flatten() {
        let (share, latency) = (&part["percentage"], millis(&part["latency"]));
        latencies.row(&[format!("p{share}"), latency.map_or("-".to_owned(), super::figure)]);
        if share.as_u64() == Some(99) {
            p99 = latency;
        }
    }
    latencies.row(&["max".to_owned(), millis(&result["slowest"]).map_or("-".to_owned(), super::figure)]);
    let mut codes = Table::new("calls by ghz", &["ended with", "calls"]);
    for (code, count) in result["statusCodeDistribution"].as_object().into_iter().flatten() {
        codes.row(&[code.clone(), count.to_string()]);
    }
    for (error, count) in result["errorDistribution"].as_object().into_iter().flatten() {
        codes.row(&[error.chars().take(ERROR_MAX).collect(), count.to_string()]);
    }
    let fine = result["statusCodeDistribution"]["OK"].as_u64().unwrap_or(0);
    let reached = result["rps"].as_f64().unwrap_or(0.0);
    let least = rate as f64 * wanted.rate_share;
    let mut thresholds = Thresholds::default();
    thresholds.add(outcome, "calls that are OK", &format!("= {total}"), &fine.to_string(), fine == total);
    let found = p99.map_or("-".to_owned(), super::figure);
    let most = format!("<= {} ms", wanted.p99_ms);
    thresholds.add(outcome, "p99", &most, &found, p99.is_some_and(|p99| p99 <= wanted.p99_ms));
    let wanted = format!(">= {}", super::figure(least));
    thresholds.add(outcome, "calls a second", &wanted, &super::figure(reached), reached >= least);
    thresholds.into(outcome);
    outcome.tables.extend([codes, latencies]);
}

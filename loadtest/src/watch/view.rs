//! What is shown: blocks of lines, made of the instances' figures and nothing else.

use super::figures::{self, Histogram, Instance, bytes, number, over, percent, seconds};
use std::collections::{BTreeMap, BTreeSet};

/// A line and whether it wants to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Heading,
    Warning,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    pub tone: Tone,
}

pub type Block = Vec<Line>;

enum Unit {
    Count,
    Bytes,
}

type Labels = &'static [(&'static str, &'static str)];

/// Counters that are shown as flows: what they are called, and which samples they are.
const FLOWS: &[(&str, &str, Labels, Unit)] = &[
    ("messages in", "wsm_messages_total", &[("direction", "in")], Unit::Count),
    ("messages out", "wsm_messages_total", &[("direction", "out")], Unit::Count),
    ("traffic in", "wsm_traffic_bytes_total", &[("direction", "in")], Unit::Bytes),
    ("traffic out", "wsm_traffic_bytes_total", &[("direction", "out")], Unit::Bytes),
    ("sends", "wsm_sends_accepted_total", &[], Unit::Count),
    ("replies", "wsm_sends_ended_total", &[("outcome", "replied")], Unit::Count),
    ("raw sends", "wsm_raw_sends_accepted_total", &[], Unit::Count),
    ("numbered", "wsm_messages_numbered_total", &[], Unit::Count),
    ("published", "wsm_publish_delivered_total", &[], Unit::Count),
    ("fed to rooms", "wsm_messages_fed_total", &[], Unit::Count),
    ("room posts", "wsm_room_posts_total", &[], Unit::Count),
    ("room deliveries", "wsm_room_deliveries_total", &[("outcome", "delivered")], Unit::Count),
    ("came in", "wsm_accepted_total", &[], Unit::Count),
    ("dials", "wsm_dials_total", &[], Unit::Count),
    ("reconnects", "wsm_reconnects_total", &[], Unit::Count),
];

/// Everything that was lost, refused or ended otherwise than it should; the label that says why.
const LOSSES: &[(&str, &str, Option<&str>, &[&str])] = &[
    // What nobody asked to have published is no loss, nor is what a rule says to ignore.
    ("message", "wsm_messages_dropped_total", Some("reason"), &["not_published", "ignored"]),
    ("room delivery", "wsm_room_deliveries_total", Some("outcome"), &["delivered", "repeated", "left"]),
    ("slow reader", "wsm_slow_readers_total", Some("action"), &[]),
    ("send", "wsm_sends_ended_total", Some("outcome"), &["replied"]),
    ("send refused", "wsm_sends_refused_total", None, &[]),
    ("late reply", "wsm_replies_late_total", None, &[]),
    ("mailbox refused", "wsm_mailbox_refused_total", None, &[]),
    ("gap record refused", "wsm_publish_records_refused_total", None, &[]),
    ("lifecycle event", "wsm_lifecycle_dropped_total", None, &[]),
    ("client refused", "wsm_ws_refused_total", Some("reason"), &[]),
    ("dial failed", "wsm_dial_failures_total", None, &[]),
    ("violation", "wsm_protocol_violations_total", None, &[]),
    ("store error", "wsm_store_errors_total", None, &[]),
];

const HOLDINGS: &[(&str, &str)] = &[
    ("of them came in", "wsm_accepted_connections"),
    ("publishing", "wsm_publish_lanes"),
    ("members of rooms", "wsm_room_members"),
    ("followers", "wsm_followers"),
];

const QUEUES: &[(&str, &str, Unit)] = &[
    ("mailboxes", "wsm_mailbox_depth", Unit::Count),
    ("callers waiting", "wsm_shard_callers_waiting", Unit::Count),
    ("sends in flight", "wsm_sends_in_flight", Unit::Count),
    ("to be written to peers", "wsm_outbox_bytes", Unit::Bytes),
    ("publishing, messages", "wsm_publish_pending_messages", Unit::Count),
    ("publishing, spilled", "wsm_publish_spilled_messages", Unit::Count),
    ("publishing, queue", "wsm_publish_queue_bytes", Unit::Bytes),
    ("room deliveries in flight", "wsm_room_deliveries_in_flight", Unit::Count),
    ("room backlog", "wsm_room_backlog_bytes", Unit::Bytes),
    ("reads paused", "wsm_reads_paused", Unit::Count),
];

fn written(value: Option<f64>, unit: &Unit) -> String {
    match (value, unit) {
        (None, _) => "-".to_owned(),
        (Some(value), Unit::Count) => number(value),
        (Some(value), Unit::Bytes) => bytes(value),
    }
}

/// Rows of cells as lines: the first column to the left, the others to the right.
fn table(heading: &[&str], rows: Vec<(Vec<String>, Tone)>) -> Block {
    let heading: Vec<String> = heading.iter().map(|cell| (*cell).to_owned()).collect();
    let all: Vec<_> = std::iter::once((heading, Tone::Heading)).chain(rows).collect();
    let columns = all.iter().map(|(cells, _)| cells.len()).max().unwrap_or(0);
    let width = |column: usize| {
        all.iter()
            .filter_map(|(cells, _)| cells.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |cells: &[String]| {
        let mut text = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let width = widths[column];
            match column {
                0 => text.push_str(&format!("{cell:<width$}")),
                _ => text.push_str(&format!("  {cell:>width$}")),
            }
        }
        text
    };
    all.iter().map(|(cells, tone)| Line { text: line(cells), tone: *tone }).collect()
}

/// One line an instance: is it there, how is it, what does it take.
pub fn instances(instances: &[Instance]) -> Block {
    let row = |instance: &Instance| match &instance.now {
        Err(why) => {
            let state = format!("{}  not there: {why}; asked again and again", instance.address);
            Line { text: state, tone: Tone::Warning }
        }
        Ok(_) => up(instance),
    };
    instances.iter().map(row).collect()
}

fn up(instance: &Instance) -> Line {
    let value = |name| instance.value(name, &[]);
    let version =
        instance.now.as_ref().ok().and_then(|now| now.samples("wsm_build_info").first()?.label("version"));
    let ready = value("wsm_backend_ready").is_none_or(|ready| ready > 0.0);
    let mut parts = vec![
        instance.address.clone(),
        if ready { "ready".to_owned() } else { "NOT READY: its backend is away".to_owned() },
    ];
    parts.extend(version.map(|version| format!("version {version}")));
    parts.extend(value("wsm_uptime_seconds").map(|up| format!("up {}", figures::uptime(up))));
    parts.extend(
        instance.rate("wsm_process_cpu_seconds_total", &[]).map(|cpu| format!("cpu {}", percent(cpu))),
    );
    parts
        .extend(value("wsm_process_resident_memory_bytes").map(|memory| format!("memory {}", bytes(memory))));
    let open = value("wsm_process_open_fds");
    let files = open.map(|open| match value("wsm_process_max_fds") {
        Some(most) if most > 0.0 => format!("files {} of {}", number(open), number(most)),
        _ => format!("files {}", number(open)),
    });
    parts.extend(files);
    Line { text: parts.join("  "), tone: if ready { Tone::Plain } else { Tone::Warning } }
}

/// Flows: a second and in all; with several instances a column each, as far as the width goes.
pub fn flows(instances: &[Instance], width: usize) -> Block {
    let apart = instances.len() > 1 && 18 + 24 + instances.len() * 23 <= width;
    let mut heading = vec!["flow"];
    if apart {
        heading.extend(instances.iter().map(|instance| instance.address.as_str()));
    }
    heading.extend(["a second", "in all"]);
    let mut rows = Vec::new();
    for (name, metric, labels, unit) in FLOWS {
        let Some(total) = over(instances, |it| it.value(metric, labels)) else { continue };
        let mut cells = vec![(*name).to_owned()];
        if apart {
            cells.extend(instances.iter().map(|it| written(it.rate(metric, labels), unit)));
        }
        cells.push(written(over(instances, |it| it.rate(metric, labels)), unit));
        cells.push(written(Some(total), unit));
        rows.push((cells, Tone::Plain));
    }
    table(&heading, rows)
}

/// Percentiles of every histogram of times: since the last look, and since the start.
pub fn latencies(instances: &[Instance]) -> Block {
    let families: BTreeSet<String> = instances
        .iter()
        .filter_map(|instance| instance.now.as_ref().ok())
        .flat_map(|now| now.names().filter_map(|name| name.strip_suffix("_seconds_bucket")))
        .map(str::to_owned)
        .collect();
    let mut rows = Vec::new();
    for family in families {
        let (recent, all) = merged(instances, &format!("{family}_seconds"));
        if all.count() == 0.0 {
            continue;
        }
        let name = family.strip_prefix("wsm_").unwrap_or(&family).replace('_', " ");
        let rate = over(instances, |it| it.rate(&format!("{family}_seconds_count"), &[]));
        let mut cells = vec![name, written(rate, &Unit::Count)];
        cells.extend([0.5, 0.99, 0.999].map(|share| quantile(&recent, share)));
        cells.push(quantile(&all, 0.99));
        rows.push((cells, Tone::Plain));
    }
    table(&["latency", "a second", "p50", "p99", "p99.9", "p99 ever"], rows)
}

fn quantile(histogram: &Histogram, share: f64) -> String {
    match histogram.quantile(share) {
        None => "-".to_owned(),
        Some((bound, true)) => format!("> {}", seconds(bound)),
        Some((value, false)) => seconds(value),
    }
}

/// Over all instances: what came since the last look, and everything.
fn merged(instances: &[Instance], family: &str) -> (Histogram, Histogram) {
    let (mut recent, mut all) = (Histogram::default(), Histogram::default());
    for instance in instances {
        let Ok(now) = &instance.now else { continue };
        let whole = Histogram::of(now, family, &[]);
        if let Some(before) = &instance.before {
            recent.add(&whole.since(&Histogram::of(before, family, &[])));
        }
        all.add(&whole);
    }
    (recent, all)
}

/// What was lost, by reason; only what happened at least once.
pub fn losses(instances: &[Instance]) -> Block {
    let mut rows = Vec::new();
    for (name, metric, label, but) in LOSSES {
        for (reason, total) in reasons(instances, metric, *label) {
            if total == 0.0 || but.contains(&reason.as_str()) {
                continue;
            }
            let labels: Vec<_> = label.iter().map(|label| (*label, reason.as_str())).collect();
            let rate = over(instances, |it| it.rate(metric, &labels));
            let tone = if rate.is_some_and(|rate| rate > 0.0) { Tone::Warning } else { Tone::Plain };
            let what = if reason.is_empty() { (*name).to_owned() } else { format!("{name}: {reason}") };
            rows.push((vec![what, written(rate, &Unit::Count), number(total)], tone));
        }
    }
    if rows.is_empty() {
        rows.push((vec!["nothing".to_owned()], Tone::Plain));
    }
    table(&["dropped, refused, failed", "a second", "in all"], rows)
}

/// Sums by the value of a label, over all instances and shards.
fn reasons(instances: &[Instance], metric: &str, label: Option<&str>) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    for instance in instances {
        let Ok(now) = &instance.now else { continue };
        for sample in now.samples(metric) {
            let reason = label.and_then(|label| sample.label(label)).unwrap_or_default();
            *found.entry(reason.to_owned()).or_insert(0.0) += sample.value;
        }
    }
    found
}

/// What it holds: connections by status, and what hangs on them.
pub fn holdings(instances: &[Instance]) -> Block {
    let mut rows = Vec::new();
    for (status, count) in reasons(instances, "wsm_connections", Some("status")) {
        if count > 0.0 || status == "connected" {
            rows.push((vec![status, number(count)], Tone::Plain));
        }
    }
    for (name, metric) in HOLDINGS {
        let value = over(instances, |it| it.value(metric, &[]));
        rows.extend(value.map(|value| (vec![(*name).to_owned(), number(value)], Tone::Plain)));
    }
    table(&["connections", "now"], rows)
}

pub fn queues(instances: &[Instance]) -> Block {
    let row = |(name, metric, unit): &(&str, &str, Unit)| {
        let value = over(instances, |it| it.value(metric, &[]))?;
        Some((vec![(*name).to_owned(), written(Some(value), unit)], Tone::Plain))
    };
    table(&["waiting", "now"], QUEUES.iter().filter_map(row).collect())
}

/// One row a shard, those of all instances.
pub fn shards(all: &[Instance]) -> Block {
    let mut rows = Vec::new();
    for instance in all {
        let Ok(now) = &instance.now else { continue };
        let mut names: Vec<&str> =
            now.samples("wsm_shard_up").iter().filter_map(|it| it.label("shard")).collect();
        names.sort_by_key(|name| name.parse::<u32>().unwrap_or(u32::MAX));
        for shard in names {
            let name = match all.len() {
                1 => format!("shard {shard}"),
                _ => format!("{} {shard}", instance.address),
            };
            rows.push(shard_row(instance, shard, name));
        }
    }
    let heading =
        ["shard", "busy", "turns/s", "turn p99", "connections", "came in", "mailbox", "in/s", "out/s"];
    table(&heading, rows)
}

fn shard_row(instance: &Instance, shard: &str, name: String) -> (Vec<String>, Tone) {
    let of_shard = [("shard", shard)];
    let value = |metric| instance.value(metric, &of_shard);
    let rate = |metric| instance.rate(metric, &of_shard);
    let messages =
        |direction| instance.rate("wsm_messages_total", &[("shard", shard), ("direction", direction)]);
    let family = "wsm_shard_turn_seconds";
    let turns = match (&instance.before, &instance.now) {
        (Some(before), Ok(now)) => {
            Histogram::of(now, family, &of_shard).since(&Histogram::of(before, family, &of_shard))
        }
        _ => Histogram::default(),
    };
    let cells = vec![
        name,
        rate("wsm_shard_busy_seconds_total").map_or("-".to_owned(), percent),
        written(rate("wsm_shard_turn_seconds_count"), &Unit::Count),
        quantile(&turns, 0.99),
        written(value("wsm_connections"), &Unit::Count),
        written(value("wsm_accepted_connections"), &Unit::Count),
        written(value("wsm_mailbox_depth"), &Unit::Count),
        written(messages("in"), &Unit::Count),
        written(messages("out"), &Unit::Count),
    ];
    let silent = value("wsm_shard_up") == Some(0.0);
    (cells, if silent { Tone::Warning } else { Tone::Plain })
}

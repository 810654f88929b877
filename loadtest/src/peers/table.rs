//! A comparison as people and programs read it.

use super::{
    compare::{Comparison, Row},
    kind::Kind,
    measure::Open,
};
use crate::clock;
use serde_json::{Value, json};

const HEADS: [&str; 9] = [
    "server",
    "1 at a time",
    "64 at once",
    "p50 at 40/s",
    "p99 at 40/s",
    "knee, publishes/s",
    "p99 at half of it",
    "bytes/idle",
    "received",
];

/// One promise, and what came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub goal: String,
    pub measured: String,
    pub holds: bool,
}

impl Comparison {
    /// As a terminal shows it.
    pub fn text(&self) -> String {
        let mut lines = vec![HEADS.map(str::to_owned).to_vec()];
        lines.extend(self.rows.iter().map(|row| row.cells().to_vec()));
        let widths: Vec<usize> = (0..HEADS.len())
            .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
            .collect();
        let mut text = format!(
            "{} members of one room, 128 B. Deliveries and received messages are counted for each CPU-second of the server.\n\n",
            self.members
        );
        for line in &lines {
            let cells = line.iter().zip(&widths).enumerate();
            let cells: Vec<String> = cells
                .map(|(column, (cell, width))| match column {
                    0 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                })
                .collect();
            text += cells.join("  ").trim_end();
            text.push('\n');
        }
        for (kind, commands) in &self.skipped {
            text += &format!("skipped: {} is not installed: {}\n", kind.title(), commands.join("; "));
        }
        for (kind, trouble) in &self.broken {
            text += &format!("broken: {}: {trouble}\n", kind.title());
        }
        text
    }

    pub fn json(&self) -> Value {
        json!({
            "members": self.members,
            "payloadBytes": super::measure::BYTES,
            "servers": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "skipped": self.skipped.iter().map(|(kind, commands)| json!({"server": kind.name(), "install": commands})).collect::<Vec<_>>(),
            "broken": self.broken.iter().map(|(kind, trouble)| json!({"server": kind.name(), "trouble": trouble})).collect::<Vec<_>>(),
        })
    }

    /// What was promised beside the others. A rival that was not there is left out, and said above.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let Some(ours) = self.of(Kind::Ours) else { return Vec::new() };
        let mut all = Vec::new();
        let ratios: [(&str, Figure, Kind, f64); 10] = [
            ("1 at a time, of the raw loop", |row| row.one, Kind::Raw, 0.92),
            ("1 at a time, of nats-server", |row| row.one, Kind::Nats, 2.0),
            ("64 at once, of the batched raw loop", |row| row.many, Kind::RawBatched, 0.8),
            ("64 at once, of nats-server over WebSocket", |row| row.many, Kind::Nats, 3.0),
            ("64 at once, of Node ws", |row| row.many, Kind::NodeWs, 25.0),
            ("64 at once, of Jararaca", |row| row.many, Kind::Jararaca, 25.0),
            ("receiving, of the raw loop", |row| row.received, Kind::Raw, 0.6),
            ("receiving, of nats-server", |row| row.received, Kind::Nats, 1.3),
            ("64 at once, of tokio-tungstenite", |row| row.many, Kind::Tungstenite, 1.0),
            ("receiving, of tokio-tungstenite", |row| row.received, Kind::Tungstenite, 1.0),
        ];
        for (what, figure, other, bound) in ratios {
            if let Some(other) = self.of(other) {
                let ratio = figure(ours) / figure(other);
                all.push(Verdict {
                    goal: format!("{what} >= {bound}x"),
                    measured: format!("{ratio:.2}x ({} to {})", count(figure(ours)), count(figure(other))),
                    holds: ratio >= bound,
                });
            }
        }
        all.extend(self.beside_the_best(ours));
        all
    }

    fn beside_the_best(&self, ours: &Row) -> Vec<Verdict> {
        let rivals: Vec<&Row> =
            self.rows.iter().filter(|row| !row.kind.is_ours() && !row.kind.is_floor()).collect();
        let mut all = Vec::new();
        if let Some(best) = rivals.iter().max_by(|a, b| a.one.total_cmp(&b.one)) {
            all.push(Verdict {
                goal: "1 at a time, ahead of every peer".to_owned(),
                measured: format!("{} to {} of {}", count(ours.one), count(best.one), best.kind.title()),
                holds: ours.one > best.one,
            });
        }
        if let Some(best) = rivals.iter().min_by_key(|row| row.steady.p99) {
            all.push(Verdict {
                goal: "p99 at 40 publishes a second, no worse than the best peer's".to_owned(),
                measured: format!(
                    "{} to {} of {}",
                    clock::human(ours.steady.p99),
                    clock::human(best.steady.p99),
                    best.kind.title()
                ),
                holds: ours.steady.p99 <= best.steady.p99,
            });
        }
        all
    }
}

type Figure = fn(&Row) -> f64;

impl Row {
    fn cells(&self) -> [String; 9] {
        [
            self.kind.title().to_owned(),
            count(self.one),
            count(self.many),
            time(&self.steady, self.steady.p50),
            time(&self.steady, self.steady.p99),
            count(self.knee),
            time(&self.half, self.half.p99),
            format!("{:.0}", self.idle_bytes),
            count(self.received),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "server": self.kind.name(),
            "title": self.kind.title(),
            "deliveriesPerCpuSecond": {"oneAtATime": self.one, "64AtOnce": self.many},
            "deliveriesPerSecond": {"oneAtATime": self.one_wall, "64AtOnce": self.many_wall},
            "at40PublishesPerSecond": open(&self.steady),
            "kneePublishesPerSecond": self.knee,
            "atHalfTheKnee": open(&self.half),
            "bytesPerIdleConnection": self.idle_bytes,
            "receivedPerCpuSecond": number(self.received),
        })
    }
}

/// JSON has no word for what was not measured but null.
fn number(figure: f64) -> Value {
    if figure.is_finite() { json!(figure) } else { Value::Null }
}

fn open(open: &Open) -> Value {
    json!({
        "publishesPerSecond": open.rate,
        "p50Nanos": open.p50,
        "p99Nanos": open.p99,
        "p999Nanos": open.p999,
        "generatorBehindNanos": open.behind,
        "allCame": open.whole,
    })
}

fn time(open: &Open, nanos: u64) -> String {
    if open.whole { clock::human(nanos) } else { "not all came".to_owned() }
}

/// As people read it: 8.9 M, 220 k, 37.
pub fn count(figure: f64) -> String {
    match figure {
        figure if !figure.is_finite() => "-".to_owned(),
        figure if figure >= 1e6 => format!("{:.2} M", figure / 1e6),
        figure if figure >= 1e4 => format!("{:.0} k", figure / 1e3),
        figure => format!("{figure:.0}"),
    }
}

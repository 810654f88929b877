//! A comparison as people and programs read it.

use super::{
    compare::{Comparison, Row},
    kind::Kind,
    measure::{BYTES, Open},
};
use crate::{
    clock,
    goals::{Id, Reached},
    report::Table,
};
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

impl Comparison {
    pub fn tables(&self) -> Vec<Table> {
        let title = format!(
            "{} members of one room, {BYTES} B; deliveries and received messages are for each CPU-second of the server",
            self.members
        );
        let mut figures = Table::new(&title, &HEADS);
        self.rows.iter().for_each(|row| figures.row(&row.cells()));
        let mut tables = vec![figures];
        if !self.skipped.is_empty() {
            let mut skipped = Table::new(
                "not installed, and skipped; `loadtest/run peers --install` does this:",
                &["server", "command"],
            );
            for (kind, commands) in &self.skipped {
                skipped.row(&[kind.title().to_owned(), commands.join(" && ")]);
            }
            tables.push(skipped);
        }
        tables
    }

    pub fn json(&self) -> Value {
        let skipped =
            self.skipped.iter().map(|(kind, commands)| json!({"server": kind.name(), "install": commands}));
        json!({
            "members": self.members,
            "payloadBytes": BYTES,
            "servers": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "skipped": skipped.collect::<Vec<_>>(),
        })
    }

    /// What was promised beside the others. A rival that was not there is left out, and said above.
    pub fn goals(&self) -> Vec<Reached> {
        let Some(ours) = self.of(Kind::Ours) else { return Vec::new() };
        let ratios: [(Id, Figure, Kind, f64); 8] = [
            (Id::SingleOfRaw, |row| row.one, Kind::Raw, 0.92),
            (Id::SingleOfNats, |row| row.one, Kind::Nats, 2.0),
            (Id::BatchedOfRaw, |row| row.many, Kind::RawBatched, 0.8),
            (Id::BatchedOfNats, |row| row.many, Kind::Nats, 3.0),
            (Id::BatchedOfNode, |row| row.many, Kind::NodeWs, 25.0),
            (Id::BatchedOfJararaca, |row| row.many, Kind::Jararaca, 25.0),
            (Id::ReceiveOfRaw, |row| row.received, Kind::Raw, 0.6),
            (Id::ReceiveOfNats, |row| row.received, Kind::Nats, 1.3),
        ];
        // Half a comparison is none.
        if self.partial {
            return Vec::new();
        }
        let beside = |(id, figure, other, bound): (Id, Figure, Kind, f64)| {
            let (own, theirs) = (figure(ours), figure(self.of(other)?));
            let said = format!("{:.2}x ({} to {})", own / theirs, count(own), count(theirs));
            Some(Reached::new(id, own / theirs >= bound, said))
        };
        ratios.into_iter().filter_map(beside).chain(self.beside_the_best(ours)).collect()
    }

    fn beside_the_best(&self, ours: &Row) -> Vec<Reached> {
        let rivals = || self.rows.iter().filter(|row| !row.kind.is_ours() && !row.kind.is_floor());
        let most = rivals().max_by(|a, b| a.one.total_cmp(&b.one)).map(|best| {
            let said = format!("{} to {} of {}", count(ours.one), count(best.one), best.kind.title());
            Reached::new(Id::SingleOfPeers, ours.one > best.one, said)
        });
        let tail = |row: &Row| row.steady.filter(|open| open.whole).map(|open| open.p99);
        let soonest = rivals().filter_map(|row| Some((tail(row)?, row.kind))).min();
        let soonest = soonest.zip(ours.steady).map(|((theirs, kind), steady)| {
            let own = steady.p99;
            let said = format!("{} to {} of {}", clock::human(own), clock::human(theirs), kind.title());
            Reached::new(Id::TailOfPeers, steady.whole && own <= theirs, said)
        });
        most.into_iter().chain(soonest).collect()
    }
}

type Figure = fn(&Row) -> f64;

impl Row {
    fn cells(&self) -> [String; 9] {
        [
            self.kind.title().to_owned(),
            count(self.one),
            count(self.many),
            time(self.steady.as_ref(), |open| open.p50),
            time(self.steady.as_ref(), |open| open.p99),
            count(self.knee.map_or(f64::NAN, |it| it.0)),
            time(self.knee.as_ref().map(|it| &it.1), |open| open.p99),
            format!("{:.0}", self.idle_bytes),
            count(self.received),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "server": self.kind.name(),
            "title": self.kind.title(),
            "deliveriesPerCpuSecond": {"oneAtATime": number(self.one), "64AtOnce": number(self.many)},
            "deliveriesPerSecond": {"oneAtATime": number(self.one_wall), "64AtOnce": number(self.many_wall)},
            "at40PublishesPerSecond": self.steady.as_ref().map(open),
            "kneePublishesPerSecond": self.knee.map(|it| it.0),
            "atHalfTheKnee": self.knee.as_ref().map(|it| open(&it.1)),
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

fn time(open: Option<&Open>, nanos: fn(&Open) -> u64) -> String {
    match open {
        None => "-".to_owned(),
        Some(open) if open.whole => clock::human(nanos(open)),
        Some(_) => "not all came".to_owned(),
    }
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

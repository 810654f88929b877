//! A comparison as people and programs read it.

use super::{
    compare::{Comparison, Row},
    kind::{ALL, Kind},
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

    /// What was promised beside the others.
    pub fn goals(&self) -> Vec<Reached> {
        // Half a comparison is none.
        let Some(ours) = self.of(Kind::Ours).filter(|_| !self.partial) else { return Vec::new() };
        let beside = |(id, figure, other, bound): (Id, Figure, Kind, f64)| {
            let (own, theirs) = (figure(ours), figure(self.of(other)?));
            let said = format!("{:.2}x ({} to {})", own / theirs, count(own), count(theirs));
            Some(Reached::new(id, own / theirs >= bound, said))
        };
        RATIOS.into_iter().filter_map(beside).chain(self.beside_the_best(ours)).collect()
    }

    /// Those that have no figure, and why: a comparison with somebody who was not there is none.
    pub fn unmeasured(&self) -> Vec<(Id, String)> {
        let there = |kind: Kind| self.of(kind).is_some();
        let why = |kinds: &[Kind]| {
            if self.partial {
                return "interrupted".to_owned();
            }
            let absent = kinds.iter().copied().filter(|kind| !there(*kind));
            absent.map(|kind| self.absent(kind)).collect::<Vec<_>>().join("; ")
        };
        let ratios = RATIOS.into_iter().map(|(id, _, other, _)| (id, vec![Kind::Ours, other]));
        let best = [Id::SingleOfPeers, Id::TailOfPeers].map(|id| {
            let rivals = ALL.into_iter().filter(|kind| kind.is_rival());
            (id, std::iter::once(Kind::Ours).chain(rivals).collect())
        });
        let measured: Vec<Id> = self.goals().iter().map(|it| it.id).collect();
        let all = ratios.chain(best).filter(|(id, _)| !measured.contains(id));
        all.map(|(id, kinds)| (id, why(&kinds))).collect()
    }

    fn absent(&self, kind: Kind) -> String {
        let name = kind.name();
        if self.skipped.iter().any(|it| it.0 == kind) {
            return format!("{name} is not installed");
        }
        match self.broken.iter().find(|it| it.0 == kind) {
            Some((_, why)) => format!("{name}: {why}"),
            None => format!("{name} was not asked for"),
        }
    }

    /// With the rivals that this says nothing about.
    fn beside_the_best(&self, ours: &Row) -> Vec<Reached> {
        let rivals = || self.rows.iter().filter(|row| row.kind.is_rival());
        let without: Vec<String> = ALL
            .into_iter()
            .filter(|kind| kind.is_rival() && self.of(*kind).is_none())
            .map(|kind| self.absent(kind))
            .collect();
        let but = if without.is_empty() { String::new() } else { format!(" ({})", without.join(", ")) };
        let most = rivals().max_by(|a, b| a.one.total_cmp(&b.one)).map(|best| {
            let said = format!("{} to {} of {}{but}", count(ours.one), count(best.one), best.kind.title());
            Reached::new(Id::SingleOfPeers, ours.one > best.one, said)
        });
        let tail = |row: &Row| row.steady.filter(|open| open.whole).map(|open| open.p99);
        let soonest = rivals().filter_map(|row| Some((tail(row)?, row.kind))).min();
        let soonest = soonest.zip(ours.steady).map(|((theirs, kind), steady)| {
            let own = steady.p99;
            let said = format!("{} to {} of {}{but}", clock::human(own), clock::human(theirs), kind.title());
            Reached::new(Id::TailOfPeers, steady.whole && own <= theirs, said)
        });
        most.into_iter().chain(soonest).collect()
    }
}

/// Our figure beside another's of the same run, and what it must at least be of that.
const RATIOS: [(Id, Figure, Kind, f64); 8] = [
    (Id::SingleOfRaw, |row| row.one, Kind::Raw, 0.92),
    (Id::SingleOfNats, |row| row.one, Kind::Nats, 2.0),
    (Id::BatchedOfRaw, |row| row.many, Kind::RawBatched, 0.8),
    (Id::BatchedOfNats, |row| row.many, Kind::Nats, 3.0),
    (Id::BatchedOfNode, |row| row.many, Kind::NodeWs, 25.0),
    (Id::BatchedOfJararaca, |row| row.many, Kind::Jararaca, 25.0),
    (Id::ReceiveOfRaw, |row| row.received, Kind::Raw, 0.6),
    (Id::ReceiveOfNats, |row| row.received, Kind::Nats, 1.3),
];

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goals::of;

    fn row(kind: Kind, one: f64, p99: u64) -> Row {
        let open = Open { rate: 40.0, p50: p99, p99, p999: p99, behind: 0, whole: true };
        let (steady, knee) = (Some(open), Some((100.0, open)));
        Row {
            kind,
            one,
            one_wall: one,
            many: one,
            many_wall: one,
            steady,
            knee,
            idle_bytes: 0.0,
            received: one,
        }
    }

    fn comparison(rows: Vec<Row>, partial: bool) -> Comparison {
        let skipped = vec![(Kind::Nats, vec!["go install".to_owned()])];
        let broken = vec![(Kind::NodeWs, "it ended".to_owned())];
        Comparison { members: 10, rows, skipped, broken, partial }
    }

    /// Every goal of this scenario has a figure or a reason, never both and never neither.
    #[test]
    fn a_peer_that_was_not_there_leaves_no_goal_without_a_word() {
        let rows =
            || vec![row(Kind::Ours, 200.0, 5), row(Kind::Raw, 100.0, 1), row(Kind::Tungstenite, 150.0, 9)];
        for all in [comparison(rows(), false), comparison(rows(), true), comparison(Vec::new(), false)] {
            let mut told: Vec<Id> = all.goals().iter().map(|it| it.id).collect();
            told.extend(all.unmeasured().iter().map(|it| it.0));
            told.sort_unstable();
            let wanted: Vec<Id> =
                crate::goals::GOALS.iter().filter(|it| it.scenario == "peers").map(|it| it.id).collect();
            assert_eq!(told, wanted);
            assert!(all.unmeasured().iter().all(|it| !it.1.is_empty()), "{:?}", all.unmeasured());
        }
        let all = comparison(rows(), false);
        let why =
            |id: Id| all.unmeasured().into_iter().find(|it| it.0 == id).map(|it| it.1).unwrap_or_default();
        assert_eq!(why(Id::SingleOfNats), "nats is not installed");
        assert_eq!(why(Id::BatchedOfNode), "node-ws: it ended");
        assert_eq!(why(Id::BatchedOfJararaca), "jararaca was not asked for");
        let best = all.goals().into_iter().find(|it| it.id == Id::SingleOfPeers).expect("a rival is there");
        assert!(best.met && best.figure.contains("200 to 150 of tokio-tungstenite"), "{}", best.figure);
        assert!(best.figure.contains("nats is not installed"), "{}: {}", of(best.id).what, best.figure);
    }
}

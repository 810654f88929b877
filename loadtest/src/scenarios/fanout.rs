//! One room of many members.

use super::rooms::{self, Load};
use crate::{
    clock::{self, MILLI},
    goals::{Id, Reached},
    limits,
    peers::{
        compare::AT_ONCE,
        kind::Kind,
        measure::{BYTES, Closed, Hall},
        server::{self, FLAGS},
        table::count,
    },
    readers::{Readers, stamp},
    report::{Outcome, Table},
    stage::Stage,
    trouble::{Result, Trouble},
};

/// Deliveries a second of the schedule, over all members.
const SCHEDULED: f64 = 5_000_000.0;
const SINGLE: f64 = 200_000.0;
const TAIL: u64 = 50 * MILLI;

impl Load for Hall {
    fn say(&mut self, _number: u64, due: u64) {
        self.publish(due);
    }

    fn flush(&mut self, readers: &mut Readers) -> Result<()> {
        self.voice.flush(readers)
    }

    fn owed(&self) -> u64 {
        Hall::owed(self)
    }
}

pub fn run(stage: &Stage) -> Result<Outcome> {
    let options = &stage.options;
    let (members, bytes) =
        (options.connections.unwrap_or(1000), options.bytes.unwrap_or(BYTES).max(stamp::BYTES));
    limits::need_files(members as u64, &format!("a room of {members} members"))?;
    let mut outcome = Outcome::new("fanout");
    outcome.fact("members", members);
    outcome.fact("bytes", bytes);
    outcome.fact("shards", stage.shards());
    let mut table = Table::new(
        "Deliveries, each round ended when all members had all of it",
        &["published by", "in flight", "a second", "for each CPU-second", "p50", "p99"],
    );
    match each_way(stage, members, bytes, &mut table, &mut outcome) {
        // What was measured until then is the report.
        Err(Trouble::Interrupted) if !table.rows.is_empty() => outcome.partial = true,
        ended => ended?,
    }
    outcome.tables.push(table);
    outcome.notes.push("the reader spins: its core is always busy".to_owned());
    Ok(outcome)
}

fn each_way(
    stage: &Stage,
    members: usize,
    bytes: usize,
    table: &mut Table,
    outcome: &mut Outcome,
) -> Result<()> {
    let options = &stage.options;
    // A service that runs already has no way in of this scenario's.
    let ways: &[Kind] =
        if options.address.is_some() { &[Kind::OursByGrpc] } else { &[Kind::Ours, Kind::OursByGrpc] };
    for (nth, kind) in ways.iter().enumerate() {
        let service = stage.service(&FLAGS)?;
        if nth == 0 {
            outcome.noise = Some(stage.noise());
        }
        let before = service.scrape()?;
        let mut hall = Hall::fill(server::of_service(*kind, service), members, bytes, 0)?;
        for at_once in [1, AT_ONCE] {
            stage.progress.tick(|| format!("fanout: {}, {at_once} in flight", kind.title()));
            let closed = hall.closed(options.length(1, 10), at_once)?;
            table.row(&row(*kind, at_once, &closed));
            if nth == 0 && at_once == 1 && members >= 1000 {
                outcome.goals.push(single(&closed));
            }
        }
        if nth == 0 {
            scheduled(stage, &mut hall, members, outcome)?;
        }
        let service = hall.server.service().ok_or_else(|| Trouble::Failed("no service".to_owned()))?;
        rooms::books(service, &before, Hall::owed(&hall), &hall.crowd.tally, outcome)?;
    }
    Ok(())
}

fn row(kind: Kind, at_once: usize, closed: &Closed) -> [String; 6] {
    [
        kind.title().to_owned(),
        at_once.to_string(),
        count(closed.per_second()),
        count(closed.per_cpu_second()),
        clock::human(closed.p50),
        clock::human(closed.p99),
    ]
}

fn single(closed: &Closed) -> Reached {
    let figure = format!("{} a second at p99 {}", count(closed.per_second()), clock::human(closed.p99));
    Reached::new(Id::RoomSingle, closed.per_second() >= SINGLE && closed.p99 <= TAIL, figure)
}

/// On a schedule that the service can only keep by writing several messages at once.
fn scheduled(stage: &Stage, hall: &mut Hall, members: usize, outcome: &mut Outcome) -> Result<()> {
    let rate = stage.options.rate.unwrap_or(SCHEDULED / members as f64);
    outcome.fact("publishes a second", format!("{rate:.0}"));
    let watched = hall.server.service().and_then(|service| service.watched());
    let measure = stage.measure(&["delivery"], watched.into_iter().collect(), stage.options.length(3, 20));
    let schedule = measure.schedule(rate);
    let mut readers = std::mem::replace(&mut hall.crowd, Readers::new(1)?);
    let played = rooms::play(stage, "fanout", &measure, &schedule, rate * members as f64, &mut readers, hall);
    hall.crowd = readers;
    let operation = played?;
    measure.into(outcome);
    let (p99, wanted) = (operation.at(0.99), rate * members as f64);
    outcome.operations = vec![operation];
    let reached = hall.crowd.tally.received == Hall::owed(hall);
    let met = reached && p99 <= TAIL && wanted >= SCHEDULED * 0.999;
    if wanted >= SCHEDULED * 0.999 && !outcome.partial {
        let all = if reached { "all came" } else { "not all came" };
        let figure = format!("{} a second scheduled, {all}, p99 {}", count(wanted), clock::human(p99));
        outcome.goals.push(Reached::new(Id::RoomCoalesced, met, figure));
    }
    Ok(())
}

//! All clients lose their connections, and come back at the same moment.

use super::rooms;
use crate::{
    clock::{self, SECOND},
    limits,
    peers::voice::{Voice, Way},
    readers::{
        self, Readers,
        stamp::{self, Stamp},
        target::Target,
    },
    record::Operation,
    report::{Outcome, Table},
    service::Service,
    stage::{self, Stage},
    stop,
    trouble::{Result, Trouble},
};

const CLIENTS: usize = 10_000;
const CLIENTS_QUICK: usize = 3000;
const ROUNDS: usize = 3;
const PATIENCE: u64 = 60 * SECOND;
const ROOM: &str = "storm";

pub fn run(stage: &Stage) -> Result<Outcome> {
    let usual = if stage.options.quick { CLIENTS_QUICK } else { CLIENTS };
    let most = limits::most_sockets();
    let clients = stage.options.connections.unwrap_or(usual.min(most));
    limits::need_files(clients as u64, &format!("{clients} clients"))?;
    let mut outcome = Outcome::new("storm");
    outcome.fact("clients", clients);
    outcome.fact("shards", stage.shards());
    let mut service = stage.service(&[])?;
    outcome.noise = Some(stage.noise());
    let target = Target::plain(service.at.http, &format!("/ws/{ROOM}"));
    let mut all = Readers::new(1)?;
    stage.progress.tick(|| format!("storm: {clients} clients come in"));
    all.join(&target, clients, readers::POLITE, PATIENCE)?;
    let mut operation = Operation::new("reconnect");
    let mut table =
        Table::new("Rounds", &["round", "all back after", "a second", "p50", "p99", "CPU of the service"]);
    let mut spent = 0;
    for round in 0..ROUNDS {
        if stop::asked() {
            outcome.partial = true;
            break;
        }
        stage.progress.tick(|| format!("storm: round {} of {ROUNDS}", round + 1));
        // Gone without a word, all in one turn of this loop; the service learns it from their sockets.
        all.leave();
        let mut next = Readers::new(1)?;
        let (cpu, began) = (cpu(&service), clock::now());
        match next.join(&target, clients, clients, PATIENCE) {
            Err(Trouble::Interrupted) if round > 0 => {
                outcome.partial = true;
                break;
            }
            joined => joined?,
        };
        let took = clock::now() - began;
        let used = cpu_since(&service, cpu);
        table.row(&[
            (round + 1).to_string(),
            clock::human(took),
            format!("{:.0}", clients as f64 * 1e9 / took as f64),
            clock::human(next.openings.value_at_quantile(0.5)),
            clock::human(next.openings.value_at_quantile(0.99)),
            clock::human(used),
        ]);
        // Of the same bounds.
        let _ = operation.histogram.add(&next.openings);
        spent += took;
        all = next;
        hear(&service, &mut all, round as u64, clients, &mut outcome)?;
    }
    outcome.nanos = spent;
    operation.in_time = operation.done();
    outcome.operations = vec![operation];
    outcome.tables.push(table);
    let (_, books) = stage::settle(&service, 2 * SECOND)?;
    outcome.books.extend(books);
    service.end()?;
    Ok(outcome)
}

fn cpu(service: &Service) -> u64 {
    service.pid().and_then(crate::sample::cpu_nanos).unwrap_or(0)
}

fn cpu_since(service: &Service, before: u64) -> u64 {
    cpu(service).saturating_sub(before)
}

/// Who is back is a member: one message comes to each of them, once.
fn hear(
    service: &Service,
    all: &mut Readers,
    round: u64,
    clients: usize,
    outcome: &mut Outcome,
) -> Result<()> {
    let way = Way::Grpc { address: service.at.grpc, room: ROOM.to_owned() };
    let mut voice = Voice::open(way, stamp::BYTES, all)?;
    let owed = all.tally.received + clients as u64;
    voice.say(Stamp { stream: 0, number: round, nanos: clock::now() });
    voice.flush(all)?;
    all.await_received(owed, PATIENCE, &mut || voice.turn())?;
    rooms::complaints(&all.tally, outcome);
    Ok(())
}

//! All servers side by side, in turns: a neighbour on the machine then disturbs all of them alike.

use super::{
    kind::Kind,
    measure::{self, Hall, Open},
    server::{Place, Server},
};
use crate::{
    clock::{MILLI, SECOND},
    progress::Progress,
    stop,
    trouble::{Result, Trouble},
};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub members: usize,
    /// Clients that come and go before: more of them, a finer figure of what an idle one takes.
    pub idle: usize,
    /// Of a closed run, at least one round.
    pub closed: u64,
    pub turns: usize,
    /// Of the run at [`STEADY`] publishes a second.
    pub steady: u64,
    /// Of one step on the way to the knee.
    pub step: u64,
    pub receiving: u64,
    /// How near to one another what holds and what breaks must be to be the knee.
    pub near: f64,
}

pub const FULL: Plan = Plan {
    members: 1000,
    idle: 4000,
    closed: SECOND,
    turns: 5,
    steady: 10 * SECOND,
    step: SECOND,
    receiving: 3 * SECOND,
    near: 1.1,
};
pub const QUICK: Plan = Plan {
    members: 1000,
    idle: 0,
    closed: 150 * MILLI,
    turns: 3,
    steady: SECOND,
    step: 150 * MILLI,
    receiving: SECOND / 2,
    near: 1.4,
};

pub const AT_ONCE: usize = 64;
pub const STEADY: f64 = 40.0;
pub const SENDERS: usize = 100;
pub const FRAMES_A_WRITE: usize = 32;
/// What the tail may be at the knee.
pub const KNEE_BOUND: u64 = 50 * MILLI;

/// One server's figures.
#[derive(Clone, Debug)]
pub struct Row {
    pub kind: Kind,
    /// Deliveries a CPU-second of the server, and a second of the clock.
    pub one: f64,
    pub one_wall: f64,
    pub many: f64,
    pub many_wall: f64,
    pub steady: Option<Open>,
    /// Publishes a second, and how it is at half of that.
    pub knee: Option<(f64, Open)>,
    pub idle_bytes: f64,
    /// Messages a CPU-second.
    pub received: f64,
}

#[derive(Clone, Debug)]
pub struct Comparison {
    pub members: usize,
    pub rows: Vec<Row>,
    /// What is not installed, with the commands that would.
    pub skipped: Vec<(Kind, Vec<String>)>,
    /// What broke, and how.
    pub broken: Vec<(Kind, String)>,
    /// Ended by Ctrl-C: figures that were not taken are not there.
    pub partial: bool,
}

/// Figures of one server on their way.
struct Entry {
    hall: Hall,
    one: Vec<(f64, f64)>,
    many: Vec<(f64, f64)>,
    steady: Option<Open>,
    knee: Option<(f64, Open)>,
    received: f64,
}

impl Comparison {
    pub fn run(kinds: &[Kind], place: &Place, plan: &Plan, progress: &Progress) -> Result<Self> {
        let mut all = Comparison {
            members: plan.members,
            rows: Vec::new(),
            skipped: Vec::new(),
            broken: Vec::new(),
            partial: false,
        };
        let mut entries = Vec::new();
        for kind in kinds {
            let missing = kind.missing(&place.root);
            if !missing.is_empty() {
                progress.say(&format!("SKIPPED: {} is not installed; {}", kind.name(), missing.join("; ")));
                all.skipped.push((*kind, missing));
                continue;
            }
            progress.tick(|| format!("{}: {} members come in", kind.name(), plan.members));
            let started = Server::start(*kind, place)
                .and_then(|server| Hall::fill(server, plan.members, measure::BYTES, plan.idle));
            match started {
                Ok(hall) => entries.push(Entry::new(hall)),
                Err(error) => all.give_up(*kind, error)?,
            }
        }
        let phases: [(&str, Phase); 4] = [
            ("in turns", turn),
            ("40 publishes a second", steady),
            ("the knee", knee),
            ("receiving", receive),
        ];
        for (name, phase) in phases {
            if all.partial {
                break;
            }
            let rounds = if name == "in turns" { plan.turns + 1 } else { 1 };
            for round in 0..rounds {
                let mut going = Vec::new();
                for mut entry in entries {
                    let kind = entry.hall.server.kind;
                    progress.tick(|| format!("{name}, {} of {rounds}: {}", round + 1, kind.name()));
                    let done = if stop::asked() {
                        Err(Trouble::Interrupted)
                    } else {
                        phase(&mut entry, plan, round)
                    };
                    match done {
                        Ok(()) => going.push(entry),
                        Err(Trouble::Interrupted) => {
                            all.partial = true;
                            going.push(entry);
                        }
                        Err(error) => all.give_up(kind, error)?,
                    }
                }
                entries = going;
            }
        }
        all.rows = entries.into_iter().map(Entry::row).collect();
        Ok(all)
    }

    /// One that breaks is no reason to measure no other; Ctrl-C is.
    fn give_up(&mut self, kind: Kind, error: Trouble) -> Result<()> {
        if matches!(error, Trouble::Interrupted) {
            return Err(error);
        }
        self.broken.push((kind, error.to_string()));
        Ok(())
    }

    pub fn of(&self, kind: Kind) -> Option<&Row> {
        self.rows.iter().find(|row| row.kind == kind)
    }
}

type Phase = fn(&mut Entry, &Plan, usize) -> Result<()>;

/// The first turn makes the buffers, and is in no figure.
fn turn(entry: &mut Entry, plan: &Plan, round: usize) -> Result<()> {
    let one = entry.hall.closed(plan.closed, 1)?;
    let many = entry.hall.closed(plan.closed, AT_ONCE)?;
    if round > 0 {
        entry.one.push((one.per_cpu_second(), one.per_second()));
        entry.many.push((many.per_cpu_second(), many.per_second()));
    }
    Ok(())
}

fn steady(entry: &mut Entry, plan: &Plan, _round: usize) -> Result<()> {
    let open = entry.hall.open(STEADY, plan.steady, 2 * SECOND)?;
    if !open.whole {
        entry.hall.refill()?;
    }
    entry.steady = Some(open);
    Ok(())
}

/// It is looked for from a rate that the server has shown to hold.
fn knee(entry: &mut Entry, plan: &Plan, _round: usize) -> Result<()> {
    let (_, per_second) = median(&entry.one);
    let start = (per_second / plan.members as f64 * 0.7).max(2.0);
    entry.knee = Some(entry.hall.knee(start, plan.step, KNEE_BOUND, plan.near)?);
    Ok(())
}

fn receive(entry: &mut Entry, plan: &Plan, _round: usize) -> Result<()> {
    if let Some(sink) = entry.hall.server.sink.clone() {
        entry.received =
            measure::receiving(&entry.hall.server, &sink, SENDERS, FRAMES_A_WRITE, plan.receiving)?;
    }
    Ok(())
}

impl Entry {
    fn new(hall: Hall) -> Self {
        Entry { hall, one: Vec::new(), many: Vec::new(), steady: None, knee: None, received: f64::NAN }
    }

    fn row(self) -> Row {
        let ((one, one_wall), (many, many_wall)) = (median(&self.one), median(&self.many));
        Row {
            kind: self.hall.server.kind,
            one,
            one_wall,
            many,
            many_wall,
            steady: self.steady,
            knee: self.knee,
            idle_bytes: self.hall.idle_bytes,
            received: self.received,
        }
    }
}

fn median(figures: &[(f64, f64)]) -> (f64, f64) {
    let of = |part: fn(&(f64, f64)) -> f64| {
        let mut sorted: Vec<f64> = figures.iter().map(part).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    };
    (of(|it| it.0), of(|it| it.1))
}

//! How much it takes: the rate goes up until the tail breaks, and then half of that is looked at closely.

use super::{
    lanes::{Doors, House},
    sends::{self, Load},
};
use crate::{
    clock::{MILLI, SECOND, human},
    goals::{Id, Reached},
    noise::Noise,
    report::{Outcome, Table},
    stage::Stage,
    stop,
    trouble::Result,
};
use std::sync::atomic::Ordering;

/// A p99 above this is broken.
const BOUND: u64 = 5 * MILLI;
const FIRST: f64 = 10_000.0;
const GROWTH: f64 = 1.5;
/// More would be no service that we know.
const RATE_MAX: f64 = 5_000_000.0;
/// Between the last rate that held and the first that did not.
const HALVINGS: usize = 2;
const BREATH: u64 = SECOND / 2;
/// Half of it is asleep: two thousand looks.
const NOISE: u64 = 4 * SECOND;

struct Step {
    rate: f64,
    holds: bool,
    outcome: Outcome,
    issued: u64,
}

fn step(stage: &Stage, house: &House, rate: f64, nanos: u64, bytes: usize) -> Result<Step> {
    let measure = stage.measure_after(BREATH, &["Send"], house.watched(), nanos);
    let load = Load::new(&measure, &house.ids, bytes);
    let issued = load.issued.clone();
    let (runtime, channel, schedule) = (house.runtime.clone(), house.channel.clone(), measure.schedule(rate));
    let what = format!("knee at {rate:.0} a second");
    stage.watch(&what, &measure, move || runtime.block_on(sends::over_streams(channel, load, schedule)))?;
    let mut outcome = Outcome::new("knee");
    measure.into(&mut outcome);
    let send = &outcome.operations[0];
    // What was due and came late is in the tail; what never came, or never had its turn, is a failure.
    let whole = send.failed() == 0 && outcome.behind.is_none_or(|lag| lag.never == 0);
    let holds = whole && send.at(0.99) <= BOUND;
    Ok(Step { rate, holds, outcome, issued: issued.load(Ordering::Relaxed) })
}

pub fn run(stage: &Stage) -> Result<Outcome> {
    let options = &stage.options;
    let (count, bytes) = (options.connections.unwrap_or(64), options.bytes.unwrap_or(128));
    let mut head = Outcome::new("knee");
    let mut house = House::open(stage, &mut head, Doors { kind: "echo", count, flags: &[] }, |_| {})?;
    let nanos = options.length(2, 10);
    let mut table = Table::new(
        "Rates",
        &["a second", "done", "p50", "p99", "p99.9", "service cores", "generator behind", "holds"],
    );
    let (mut held, mut broke, mut issued, mut answered) = (0.0, None, 0, 0);
    let mut rate = options.rate.unwrap_or(FIRST);
    let (mut halvings, mut doubted) = (0, false);
    while !stop::asked() && rate < RATE_MAX && halvings <= HALVINGS {
        let step = step(stage, &house, rate, nanos, bytes)?;
        let send = &step.outcome.operations[0];
        table.row(&[
            format!("{:.0}", step.rate),
            format!("{:.0}", step.outcome.rate(send)),
            human(send.at(0.5)),
            human(send.at(0.99)),
            human(send.at(0.999)),
            step.outcome.processes.first().map_or(String::new(), |it| format!("{:.2}", it.cores(nanos))),
            step.outcome.behind.map_or(String::new(), |lag| human(lag.mean)),
            if step.holds { "yes" } else { "no" }.to_owned(),
        ]);
        issued += step.issued;
        answered += sends::answered(send);
        // A machine that was busy with something else for a moment is no knee: it must break twice.
        if !step.holds && !doubted {
            doubted = true;
            continue;
        }
        doubted = false;
        if step.holds {
            held = step.rate;
        } else {
            broke = Some(step.rate);
        }
        rate = match broke {
            None => step.rate * GROWTH,
            // Not even the first: lower.
            Some(broke) if held == 0.0 => broke / 2.0,
            Some(broke) => {
                halvings += 1;
                f64::midpoint(held, broke)
            }
        };
        if held == 0.0 && rate < 100.0 {
            break;
        }
    }
    let mut outcome = Outcome::new("knee");
    if held > 0.0 && !stop::asked() {
        // What the tail is held against is listened to for as long as a far percentile takes.
        head.noise = Some(stage.noise_for(NOISE));
        let half = step(stage, &house, held / 2.0, options.length(2, 10) * 4, bytes)?;
        issued += half.issued;
        let send = &half.outcome.operations[0];
        answered += sends::answered(send);
        goals(&half, held, head.noise.as_ref(), &mut outcome);
        outcome = Outcome { goals: outcome.goals, notes: outcome.notes, ..half.outcome };
    } else if !stop::asked() {
        let least = broke.unwrap_or(rate);
        let figure = format!("no knee: even {least:.0} a second does not hold p99 <= {}", human(BOUND));
        for id in [Id::HalfKneeP99, Id::HalfKneeP999] {
            outcome.goals.push(Reached::new(id, false, figure.clone()));
        }
    }
    outcome.partial |= stop::asked();
    outcome.facts.clone_from(&head.facts);
    outcome.fact("connections", count);
    outcome.fact("bytes", bytes);
    outcome.fact("bound", format!("p99 <= {}", human(BOUND)));
    outcome.noise = head.noise;
    outcome.tables.push(table);
    sends::balance(&house, issued, answered, &mut outcome)?;
    house.service.end()?;
    Ok(outcome)
}

fn goals(half: &Step, knee: f64, noise: Option<&Noise>, outcome: &mut Outcome) {
    let send = &half.outcome.operations[0];
    let (p99, p999) = (send.at(0.99), send.at(0.999));
    outcome.notes.push(format!(
        "the knee is at {knee:.0} a second; at half of it, {:.0}: p50 {}, p99 {}, p99.9 {}",
        half.rate,
        human(send.at(0.5)),
        human(p99),
        human(p999)
    ));
    let beside = |value: u64, own: fn(&Noise) -> u64| {
        let alone = noise.map_or(String::new(), |noise| format!("; the machine alone {}", human(own(noise))));
        format!("{} at {:.0} a second, knee {knee:.0}{alone}", human(value), half.rate)
    };
    let figure = beside(p99, |noise| noise.p99);
    outcome.goals.push(Reached::new(Id::HalfKneeP99, p99 <= MILLI, figure));
    let figure = beside(p999, |noise| noise.p999);
    outcome.goals.push(Reached::new(Id::HalfKneeP999, p999 <= 3 * MILLI, figure));
}

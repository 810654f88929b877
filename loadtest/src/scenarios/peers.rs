//! The service beside other people's servers and the floors under all of them.

use crate::{
    peers::{
        compare::{AT_ONCE, Comparison, FULL, Plan, QUICK},
        kind::{ALL, Kind},
        server::Place,
    },
    pin,
    report::Outcome,
    stage::Stage,
    trouble::{Result, Trouble},
};
use std::path::Path;

/// Sockets of one server's members, of its senders, and of its publisher.
const BESIDE: usize = 110;

pub fn run(stage: &Stage) -> Result<Outcome> {
    let options = &stage.options;
    if options.address.is_some() {
        return Err(Trouble::Usage(
            "peers compares CPU time, so it starts the service itself: leave --address out".to_owned(),
        ));
    }
    let named: Vec<Kind> = options.words.iter().map(|name| Kind::parse(name)).collect::<Result<_>>()?;
    let kinds = if named.is_empty() { ALL.to_vec() } else { named };
    let usual = if options.quick { QUICK } else { FULL };
    let plan = Plan { members: options.connections.unwrap_or(usual.members), ..usual };
    let what = format!("{} members at each of {} servers", plan.members, kinds.len());
    crate::limits::need_files((kinds.len() * (plan.members + BESIDE) + plan.idle) as u64, &what)?;
    let place = place(stage)?;
    if options.install {
        kinds.iter().try_for_each(|kind| kind.install(&place.root))?;
    }
    let mut outcome = Outcome::new("peers");
    outcome.fact("members", plan.members);
    outcome.fact("at once", AT_ONCE);
    outcome.fact("cores", format!("servers on {:?}, readers on {:?}", place.served_on, place.beside));
    outcome.noise = Some(stage.noise());
    pin::stay_on(&place.beside);
    let all = Comparison::run(&kinds, &place, &plan, &stage.progress);
    pin::stay_on(&[]);
    let all = all?;
    outcome.tables = all.tables();
    outcome.data = all.json();
    outcome.goals = all.goals();
    outcome.unmeasured = all.unmeasured();
    outcome.partial = all.partial;
    outcome.failures = all.broken.iter().map(|(kind, why)| format!("{}: {why}", kind.name())).collect();
    outcome.notes.push(
        "Readers spin: no server pays for waking them. `received`: 100 senders, 32 messages a write."
            .to_owned(),
    );
    Ok(outcome)
}

fn place(stage: &Stage) -> Result<Place> {
    let cores = stage.cores(1);
    Ok(Place {
        root: Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
        service: stage.binary()?,
        program: stage.program.clone(),
        served_on: cores.service,
        beside: cores.generator,
    })
}

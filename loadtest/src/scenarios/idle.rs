//! What connections cost that do nothing: memory for each, in both directions, and the CPU of their pings.

use super::{PING, lanes};
use crate::{
    books::Check,
    clock::{self, SECOND},
    goals::{Id, Reached},
    limits,
    proto::ConnectRequest,
    report::{Outcome, Table},
    sample,
    service::Service,
    stage::{self, Measure, Stage},
    stop,
    trouble::{Result, Trouble},
    upstream::Manner,
    ws::{Crowd, Seen},
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Opened before the baseline: tables and buffers that are there once, however many connections.
const WARM: usize = 600;
/// Of fewer, the steps in which tables grow are most of the figure.
const FEW: usize = 1000;
const KIB: f64 = 1024.0;

pub fn run(stage: &Stage) -> Result<Outcome> {
    let total = stage.options.connections.unwrap_or_else(limits::most_sockets);
    // In the service all of them are in one process.
    limits::need_files(total as u64, &format!("{total} connections"))?;
    let warm = WARM.min(total / 4);
    let each = (total / 2).saturating_sub(warm).max(1);
    let mut outcome = Outcome::new("idle");
    outcome.fact("connections", total);
    outcome.fact("accepted", each + warm);
    outcome.fact("dialled", each + warm);
    outcome.fact("ping interval", format!("{PING} s"));
    outcome.notes.push(
        "memory is what the service keeps dirty, without huge pages, for each connection after the first \
         few hundred of its kind"
            .to_owned(),
    );
    let mut service = stage.lean_service(&["--max-connections", &total.max(1000).to_string()])?;
    let upstream = stage.upstream(Manner::default())?;
    let runtime = lanes::runtime()?;
    let channel = runtime.block_on(service.channel())?;
    let before = service.scrape()?;
    let mut crowd = Crowd::new(service.at.http)?;
    let mut ended = 0u64;
    let mut open = |crowd: &mut Crowd, count: usize| {
        stage.progress.tick(|| format!("idle: {count} clients come in"));
        let paths = (0..count).map(|_| "/ws/idle".to_owned());
        crowd.open(paths, None, &mut |_, seen, _| ended += u64::from(matches!(seen, Seen::Closed(_))))
    };
    let dial = |from: usize, count: usize| {
        stage.progress.tick(|| format!("idle: {count} connections are dialled"));
        let requests = (from..from + count)
            .map(|number| ConnectRequest { url: upstream.url("quiet", number), ..ConnectRequest::default() });
        runtime.block_on(lanes::connect(&channel, requests.collect())).map(drop)
    };
    let pid = service.pid();
    let dirty = || pid.map_or(0, sample::settled_dirty);
    open(&mut crowd, warm)?;
    dial(0, warm)?;
    let bare = dirty();
    open(&mut crowd, each)?;
    let with_clients = dirty();
    dial(warm, each)?;
    let with_all = dirty();
    let watched = service.watched().into_iter().chain([upstream.watched()]).collect();
    let measure = stage.measure_after(0, &["idle"], watched, stage.options.length(PING, 2 * PING));
    let (pongs, crowd) = pings(stage, &measure, crowd)?;
    measure.into(&mut outcome);
    outcome.operations.clear();
    outcome.behind = None;
    let later = dirty();
    let kib = |from: u64, to: u64| to.saturating_sub(from) as f64 / KIB / each as f64;
    let (accepted, dialled) = (kib(bare, with_clients), kib(with_clients, with_all));
    let mean = later.saturating_sub(bare) as f64 / KIB / (2 * each) as f64;
    let mut table = Table::new("Memory of a connection", &["direction", "KiB"]);
    table.row(&["accepted".into(), format!("{accepted:.2}")]);
    table.row(&["dialled".into(), format!("{dialled:.2}")]);
    table.row(&["both, after the pings".into(), format!("{mean:.2}")]);
    outcome.tables.push(table);
    books(&service, &before, &crowd, 2 * (each + warm), ended + pongs, &mut outcome)?;
    if pid.is_some() && !outcome.partial {
        if each < FEW {
            let why = format!("{each} of a kind beyond the first are too few; leave --connections out");
            outcome.unmeasured.push((Id::IdleMemory, why));
        } else {
            let figure = format!("{accepted:.2} KiB accepted, {dialled:.2} KiB dialled, of {total}");
            outcome.goals.push(Reached::new(Id::IdleMemory, accepted <= 2.5 && dialled <= 2.5, figure));
        }
        pinged(total, &mut outcome);
    }
    service.end()?;
    Ok(outcome)
}

/// Connections that came in together are pinged together: less than an interval has all pings or none.
fn pinged(total: usize, outcome: &mut Outcome) {
    if outcome.nanos < PING * SECOND {
        let why = format!("that takes --seconds {PING} or more: then each connection is pinged");
        return outcome.unmeasured.push((Id::IdleCpu, why));
    }
    let used = outcome.processes[0].cores(outcome.nanos) * 100.0;
    let figure = format!("{used:.2} % of a core for {total}");
    outcome.goals.push(Reached::new(Id::IdleCpu, used <= 1.0, figure));
}

/// Lets pings come and go for as long as is measured. How many clients were closed meanwhile.
fn pings(stage: &Stage, measure: &Measure, mut crowd: Crowd) -> Result<(u64, Crowd)> {
    let (end, closed) = (measure.end, Arc::new(AtomicU64::new(0)));
    let count = closed.clone();
    let crowd = stage.watch("idle", measure, move || {
        while clock::now() < end && !stop::asked() {
            crowd.poll(end.min(clock::now() + SECOND / 5), &mut |_, seen, _| {
                if matches!(seen, Seen::Closed(_)) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })?;
        }
        Ok::<_, Trouble>(crowd)
    })?;
    Ok((closed.load(Ordering::Relaxed), crowd))
}

fn books(
    service: &Service,
    before: &crate::scrape::Scrape,
    crowd: &Crowd,
    wanted: usize,
    closed: u64,
    outcome: &mut Outcome,
) -> Result<()> {
    let (after, books) = stage::settle(service, SECOND)?;
    outcome.books.extend(books);
    let more = |name: &str| after.sum(name) - before.sum(name);
    let connected = after.sum_of("wsm_connections", "status", "connected")
        - before.sum_of("wsm_connections", "status", "connected");
    let pings = after.sum_of("wsm_pings_total", "direction", "out")
        - before.sum_of("wsm_pings_total", "direction", "out");
    outcome.notes.push(format!("{pings} pings sent, {} pongs received", more("wsm_pongs_received_total")));
    outcome.books.push(Check::new(
        "clients",
        ("accepted and open at the service", more("wsm_accepted_connections")),
        &[("open here".to_owned(), crowd.open_now() as f64)],
    ));
    outcome.books.push(Check::new(
        "connections, both ways",
        ("connected at the service", connected),
        &[("opened".to_owned(), wanted as f64)],
    ));
    if closed > 0 {
        outcome.failures.push(format!("{closed} idle clients were closed"));
    }
    Ok(())
}

//! Devices: as many as the file limit allows, silent but for pings, told something a few times a
//! second and answering each time.

use super::PING;
use crate::{
    clock::{self, MILLI, SECOND},
    limits, payload,
    proto::{SendRequest, web_socket_manager_client::WebSocketManagerClient},
    readers::{
        self, Readers,
        target::{Target, Wire},
    },
    record::Recorder,
    report::{Outcome, Table},
    sample,
    service::Service,
    stage::{self, Measure, Stage},
    stop,
    trouble::{Result, Trouble},
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tonic::transport::Channel;

/// Opened before the baseline: tables and buffers that are there once.
const WARM: usize = 300;
/// Commands a second, over all devices.
const RATE: f64 = 5.0;
const ROUTE: &str = "/device/{device} id={device}";
const PATIENCE: u64 = 30 * SECOND;

pub fn run(stage: &Stage) -> Result<Outcome> {
    let options = &stage.options;
    let devices = options.connections.unwrap_or_else(limits::most_sockets);
    limits::need_files(devices as u64, &format!("{devices} devices"))?;
    let rate = options.rate.unwrap_or(RATE);
    let mut outcome = Outcome::new("iot");
    outcome.fact("devices", devices);
    outcome.fact("commands a second", rate);
    outcome.fact("ping interval", format!("{PING} s"));
    let mut service = start(stage, devices)?;
    outcome.noise = Some(stage.noise());
    let mut all = Readers::new(1)?;
    let warm = WARM.min(devices / 4);
    join(stage, &service, &mut all, 0..warm)?;
    let dirty = || service.pid().map_or(0, sample::settled_dirty);
    let bare = dirty();
    join(stage, &service, &mut all, warm..devices)?;
    all.settle(SECOND / 2)?;
    let grown = dirty().saturating_sub(bare);
    let watched = service.watched().into_iter().collect();
    let measure = stage.measure_after(0, &["command"], watched, options.length(PING / 3, 2 * PING));
    command(stage, &service, &measure, rate, devices, &mut all)?;
    measure.into(&mut outcome);
    let kib = grown as f64 / 1024.0 / (devices - warm).max(1) as f64;
    let percent = per_cent(&service, &outcome);
    report(percent, kib, &mut outcome);
    super::rooms::complaints(&all.tally, &mut outcome);
    let (_, books) = stage::settle(&service, 2 * SECOND)?;
    outcome.books.extend(books);
    service.end()?;
    Ok(outcome)
}

fn start(stage: &Stage, devices: usize) -> Result<Service> {
    if stage.options.address.is_some() {
        return Err(Trouble::Usage(
            "iot has a route of its own for its devices, so it starts the service itself: leave --address out".into(),
        ));
    }
    stage.lean_service(&["--route", ROUTE, "--max-connections", &devices.max(1000).to_string()])
}

/// A device is reached by its own name.
fn name(device: usize) -> String {
    format!("device-{device}")
}

fn join(stage: &Stage, service: &Service, all: &mut Readers, devices: std::ops::Range<usize>) -> Result<()> {
    let give_up = clock::now() + PATIENCE;
    let (first, failed) = (all.members(), all.failed);
    let count = devices.len();
    for (nth, device) in devices.enumerate() {
        let path = format!("/device/{}", name(device));
        all.begin(&Target { wire: Wire::Answering, ..Target::plain(service.at.http, &path) })?;
        while all.opening() >= readers::POLITE || (nth + 1 == count && all.opening() > 0) {
            all.pass(10 * MILLI)?;
            stage.progress.tick(|| format!("iot: {} devices are in", all.members()));
            if stop::asked() {
                return Err(Trouble::Interrupted);
            }
            if all.failed > failed || clock::now() > give_up {
                let why = all.trouble.clone().unwrap_or_else(|| "no answer in time".to_owned());
                let open = all.members() - first;
                return Err(Trouble::Failed(format!("{open} of {count} devices are in: {why}")));
            }
        }
    }
    Ok(())
}

/// Commands on a schedule, each to another device; calls and devices share this thread.
fn command(
    stage: &Stage,
    service: &Service,
    measure: &Measure,
    rate: f64,
    devices: usize,
    all: &mut Readers,
) -> Result<()> {
    let runtime = super::lanes::runtime()?;
    let channel = runtime.block_on(service.channel())?;
    let schedule = measure.schedule(rate);
    let under_way = Arc::new(AtomicUsize::new(0));
    let mut sent = 0;
    while clock::now() < measure.end + PATIENCE {
        let now = clock::now();
        while sent < schedule.total() && schedule.due(sent) <= now && !stop::asked() {
            let due = schedule.due(sent);
            measure.behind.issued(due, now);
            under_way.fetch_add(1, Ordering::Relaxed);
            let asked = ask(channel.clone(), name(scattered(sent, devices)), sent, due);
            let (recorder, open) = (measure.recorder.clone(), under_way.clone());
            runtime.spawn(async move {
                told(&recorder, due, asked.await);
                open.fetch_sub(1, Ordering::Relaxed);
            });
            sent += 1;
        }
        let busy = under_way.load(Ordering::Relaxed) > 0;
        if busy {
            runtime.block_on(tokio::task::yield_now());
        }
        // No longer than until the next one is due: what is slept over counts as latency.
        let next = if sent < schedule.total() { schedule.due(sent) } else { u64::MAX };
        all.pass(if busy { 0 } else { MILLI.min(next.saturating_sub(clock::now())) })?;
        stage.progress.tick(|| {
            format!("iot: {sent} commands to {devices} devices, {} answered pings", all.tally.pinged)
        });
        if !busy && (now >= measure.end || stop::asked()) {
            return Ok(());
        }
    }
    Err(Trouble::Failed("commands are not answered".to_owned()))
}

/// Far from the one before: no device's memory is warm by chance.
fn scattered(number: u64, devices: usize) -> usize {
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16) as usize % devices
}

async fn ask(channel: Channel, id: String, number: u64, due: u64) -> std::result::Result<(), tonic::Status> {
    let message = payload::text(number, due, 128);
    let request = SendRequest { id, message, ..SendRequest::default() };
    WebSocketManagerClient::new(channel).send(request).await.map(drop)
}

fn told(recorder: &Recorder, due: u64, answer: std::result::Result<(), tonic::Status>) {
    match answer {
        Ok(()) => recorder.done(0, due, clock::now()),
        Err(status) => recorder.failed(0, due, clock::now(), status.message()),
    }
}

/// The service's share of a core, in per cent.
fn per_cent(service: &Service, outcome: &Outcome) -> f64 {
    let own = outcome.processes.iter().find(|process| process.name == service.name);
    own.map_or(f64::NAN, |process| process.cores(outcome.nanos) * 100.0)
}

fn report(percent: f64, kib: f64, outcome: &mut Outcome) {
    let mut table = Table::new("A device", &["what", "figure"]);
    table.row(&["user memory".into(), format!("{kib:.2} KiB")]);
    if outcome.nanos >= PING * SECOND {
        table.row(&["all of them, CPU".into(), format!("{percent:.2} % of a core")]);
    } else {
        let why = "which devices were pinged in less than an interval is chance: no figure of their CPU";
        outcome.notes.push(why.to_owned());
    }
    outcome.tables.push(table);
}

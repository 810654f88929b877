//! Two shards of one service beside two services of one shard each: what sharing a process costs.

use super::{
    lanes::{self},
    sends::{self, Load},
};
use crate::{
    clock::SECOND,
    goals::{Id, Reached},
    pin::{self, Cores},
    proto::ConnectRequest,
    report::{Outcome, Table},
    sample::Watched,
    service::{Service, Wanted},
    stage::{self, Stage},
    trouble::{Result, Trouble},
    upstream::{Manner, Upstream},
};
use std::{sync::atomic::Ordering, time::Duration};

/// Of both together.
const RATE: f64 = 20_000.0;

/// A way in: a channel, and the connections that Sends over it go to.
struct Door {
    channel: tonic::transport::Channel,
    ids: Vec<String>,
}

struct Figures {
    per_cpu_second: f64,
    rate: f64,
    generator: f64,
    upstream: f64,
}

pub fn run(stage: &Stage) -> Result<Outcome> {
    if stage.options.address.is_some() || stage.options.shards.is_some() {
        return Err(Trouble::Usage(
            "shards starts its own services: leave --address and --shards out".into(),
        ));
    }
    if pin::allowed().len() < 2 {
        return Err(Trouble::Unavailable("shards needs two cores, and this process has one".into()));
    }
    let mut outcome = Outcome::new("shards");
    let rate = stage.options.rate.unwrap_or(RATE);
    outcome.fact("rate", rate);
    // Where there are more than two cores the load has its own.
    let cores = stage.options.cores.clone().unwrap_or_else(|| {
        let all = pin::allowed();
        Cores { service: all[..2].to_vec(), generator: all.get(2..).unwrap_or_default().to_vec() }
    });
    let program = stage.binary()?;
    let start = |name: &str, shards: usize, cores: &[usize]| {
        stage.start(&Wanted { name, program: &program, shards, cores, small_pages: false, flags: &[] })
    };
    pin::stay_on(&cores.generator);
    outcome.noise = Some(stage.noise());
    let mut together = vec![start("two shards", 2, &cores.service)?];
    let one = measured(stage, &mut outcome, &together, rate, &cores)?;
    together.iter_mut().try_for_each(Service::end)?;
    let mut apart = vec![
        start("first of two", 1, &cores.service[..1])?,
        start("second of two", 1, &cores.service[cores.service.len() - 1..])?,
    ];
    let two = measured(stage, &mut outcome, &apart, rate, &cores)?;
    apart.iter_mut().try_for_each(Service::end)?;
    let mut table = Table::new(
        "Sends",
        &["service", "a second", "for each CPU-second", "generator's cores", "upstream's cores"],
    );
    for (name, it) in [("one of two shards", &one), ("two of one shard", &two)] {
        table.row(&[
            name.to_owned(),
            format!("{:.0}", it.rate),
            format!("{:.0}", it.per_cpu_second),
            format!("{:.2}", it.generator),
            format!("{:.2}", it.upstream),
        ]);
    }
    outcome.tables.push(table);
    if !outcome.partial {
        let ratio = one.per_cpu_second / two.per_cpu_second;
        let figure = format!(
            "{ratio:.2}x over loopback, {:.0} Sends a CPU-second; the generator takes {:.2} and the upstream {:.2} cores (in memory: cargo bench -- scale)",
            one.per_cpu_second, one.generator, one.upstream
        );
        outcome.goals.push(Reached::new(Id::TwoShards, ratio >= 0.9, figure));
    }
    Ok(outcome)
}

fn measured(
    stage: &Stage,
    outcome: &mut Outcome,
    services: &[Service],
    rate: f64,
    cores: &Cores,
) -> Result<Figures> {
    let upstream = Upstream::start(&stage.program, &cores.generator, Manner::default())?;
    let runtime = lanes::runtime()?;
    // A channel for each shard, wherever that shard is.
    let doors = runtime.block_on(async {
        let mut doors = Vec::new();
        for place in 0..2 {
            let service = &services[place % services.len()];
            let channel = service.channel().await?;
            let count = stage.options.connections.unwrap_or(64) / 2;
            let requests = (0..count.max(1)).map(|number| ConnectRequest {
                url: upstream.url("echo", number),
                ..ConnectRequest::default()
            });
            let ids = lanes::connect(&channel, requests.collect()).await?;
            doors.push(Door { channel, ids });
        }
        Ok::<_, Trouble>(doors)
    })?;
    let watched: Vec<Watched> =
        services.iter().filter_map(Service::watched).chain([upstream.watched()]).collect();
    let measure = stage.measure(&["Send"], watched, stage.options.length(4, 20));
    let whole = measure.schedule(rate);
    let loads: Vec<Load> =
        doors.iter().map(|door| Load::new(&measure, &door.ids, stage.options.bytes.unwrap_or(128))).collect();
    let issued: Vec<_> = loads.iter().map(|load| load.issued.clone()).collect();
    stage.watch("shards", &measure, move || {
        runtime.block_on(async {
            let mut calls = tokio::task::JoinSet::new();
            for (place, (door, load)) in doors.into_iter().zip(loads).enumerate() {
                calls.spawn(sends::over_streams(door.channel, load, whole.share(place as u64, 2)));
            }
            while let Some(ended) = calls.join_next().await {
                ended.map_err(|error| Trouble::Failed(error.to_string()))??;
            }
            Ok(())
        })
    })?;
    let mut part = Outcome::new("shards");
    measure.into(&mut part);
    let accepted = services.iter().map(|service| {
        let (after, books) = stage::settle(service, 2 * SECOND)?;
        outcome.books.extend(books);
        Ok(after.sum("wsm_sends_accepted_total") + after.sum("wsm_sends_refused_total"))
    });
    let accepted: f64 = accepted.collect::<Result<Vec<f64>>>()?.iter().sum();
    let issued: u64 = issued.iter().map(|it| it.load(Ordering::Relaxed)).sum();
    outcome.books.push(crate::books::Check::new(
        "Sends, the generator's count beside the service's",
        ("issued", issued as f64),
        &[("accepted or refused".to_owned(), accepted)],
    ));
    let cpu: u64 = part.processes.iter().take(services.len()).map(|it| it.cpu_nanos).sum();
    let used =
        |name: &str| part.processes.iter().find(|it| it.name == name).map_or(0.0, |it| it.cores(part.nanos));
    let send = &part.operations[0];
    let figures = Figures {
        per_cpu_second: send.in_time as f64 / Duration::from_nanos(cpu.max(1)).as_secs_f64(),
        rate: part.rate(send),
        generator: used("generator"),
        upstream: used("upstream"),
    };
    // The first service's is the one that is shown.
    if outcome.operations.is_empty() {
        outcome.operations = part.operations;
        outcome.nanos = part.nanos;
        outcome.behind = part.behind;
        outcome.processes = part.processes;
    }
    outcome.partial |= part.partial;
    Ok(figures)
}

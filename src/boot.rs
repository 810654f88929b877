//! Builds the house and takes it down: backend, listeners, shards on their threads, what was
//! stored before, and the drain.

mod commands;
mod drain;
mod fleet;
mod handover;
mod ingress;
mod intake;
mod manage;
mod open;
mod part;
mod restore;
mod rooms;
mod traces;
mod world;

pub use open::report as backend_report;

use self::{
    fleet::Conditions,
    part::Part,
    rooms::{Members, Outside},
};
use crate::{
    api::{
        commands::counters::CommandCounters,
        counters::{Counters as EdgeCounters, IntakeCounters, PeerCounters, WsCounters},
        listen::{self, Stop},
        observe::Observer,
        service::Readiness,
        typed::Check,
        validate::Defaults,
    },
    backend::Backend,
    config::Config,
    core::{correlation::Rule, spec::Settings},
    fleet::Handle,
    ports::spans::Spans,
    shard::{
        entropy::Entropy,
        gate::Gate,
        mailbox::{Hub, Mailbox},
    },
};
use std::{
    error::Error,
    net::SocketAddr,
    sync::Arc,
    thread::{self, JoinHandle},
};
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::mpsc,
};

type Failure = Box<dyn Error + Send + Sync>;

/// Where a started instance listens.
#[derive(Clone, Debug)]
pub struct Started {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    pub instance: String,
    pub backend: &'static str,
    pub shards: u32,
}

impl std::fmt::Display for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Started { http, grpc, admin, instance, backend, shards } = self;
        write!(
            f,
            "ready http={http} grpc={grpc} admin={admin} instance={instance} backend={backend} shards={shards}"
        )
    }
}

/// What the threads of one instance share; none of it is on a message's way.
struct Instance {
    hub: Hub,
    readiness: Arc<Readiness>,
    backend: Arc<Backend>,
    /// Both are there when documents are shared.
    gate: Option<Arc<Gate>>,
    fleet: Option<Handle>,
    edge: Arc<EdgeCounters>,
    peers: Arc<PeerCounters>,
    ingress: Arc<WsCounters>,
    outside: Arc<Outside>,
    commands: Arc<CommandCounters>,
    intake: Arc<IntakeCounters>,
    /// By shard.
    observers: Vec<Observer>,
    spans: Spans,
    /// None: messages have no types here.
    check: Option<Arc<dyn Check>>,
    /// Drawn at each start of the process.
    run: u64,
    started: Started,
    config: Arc<Config>,
}

/// Runs until it is told to leave. `started` is called once it is ready. Answers the exit code.
pub fn serve(config: Config, started: impl FnOnce(&Started)) -> Result<u8, Failure> {
    let config = Arc::new(config);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    // Fails only when one was installed before, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let backend = Arc::new(open::backend(&config)?);
    let http = listen::bind_shards(config.http_address(), config.shards as usize)
        .map_err(|error| busy("http-port", config.http_address(), &error))?;
    let grpc = listen::bind_shards(config.grpc_address(), config.shards as usize)
        .map_err(|error| busy("grpc-port", config.grpc_address(), &error))?;
    let admin = listen::bind(config.admin_address())
        .map_err(|error| busy("admin-port", config.admin_address(), &error))?;
    let (http_at, grpc_at, admin_at) = (http[0].local_addr()?, grpc[0].local_addr()?, admin.local_addr()?);
    let advertised = config.advertised(grpc_at)?.to_string();

    let intake_counters: Arc<IntakeCounters> = Arc::default();
    let check = intake::check(&config, &intake_counters)?;
    let (spans, exporter) = traces::start(&config)?;
    let mut entropy = Entropy::default();
    let mailboxes: Vec<_> = (0..config.shards).map(|_| Mailbox::new(config.mailbox_max)).collect();
    let hub = Hub::new(mailboxes.clone(), entropy.word());
    let gate = backend.documents().map(|_| Arc::<Gate>::default());
    let fleet = fleet::start(&config, &backend, &hub, &advertised, gate.clone(), &spans)?;
    let peers = Arc::<PeerCounters>::default();
    let members = match (&fleet, &gate) {
        (Some(fleet), Some(gate)) => Some(Members {
            fleet: fleet::reach(&fleet.handle, &config, &backend, &hub, &peers)?,
            gate: gate.clone(),
        }),
        _ => None,
    };
    let outside = Arc::new(Outside::open(&config, &hub, entropy.word(), members)?);
    let instance = Arc::new(Instance {
        hub,
        readiness: Arc::default(),
        backend,
        gate,
        fleet: fleet.as_ref().map(|fleet| fleet.handle.clone()),
        edge: Arc::default(),
        peers,
        ingress: Arc::default(),
        outside: outside.clone(),
        commands: Arc::default(),
        intake: intake_counters,
        observers: traces::observers(&config, &spans),
        spans,
        check,
        run: entropy.word(),
        started: Started {
            http: http_at,
            grpc: grpc_at,
            admin: admin_at,
            instance: config.instance_id.clone(),
            backend: config.backend.name(),
            shards: config.shards,
        },
        config: config.clone(),
    });
    let conditions = Conditions {
        backend: instance.backend.clone(),
        fleet: instance.fleet.clone(),
        outside: outside.clone(),
    };
    instance.readiness.watch(Arc::new(conditions));
    let dialler = Arc::new(world::dialler(&config, &[http_at, grpc_at, admin_at])?);
    let (stop_trigger, stop) = Stop::new();
    let (failed, failures) = mpsc::channel(1);
    let mut threads = Vec::new();
    for (shard, (http, grpc)) in http.into_iter().zip(grpc).enumerate() {
        let part = Part {
            shard: shard as u32,
            mailbox: mailboxes[shard].clone(),
            seed: entropy.word(),
            world: world::world(&instance, shard as u32, dialler.clone())?,
            instance: instance.clone(),
            http,
            grpc,
            stop: stop.clone(),
            failed: failed.clone(),
        };
        threads.push(thread::Builder::new().name(format!("shard-{shard}")).spawn(move || part.run())?);
    }
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let code = runtime.block_on(manage::manage(&instance, admin, stop, stop_trigger, failures, started))?;
    join(threads);
    if let Some(fleet) = fleet {
        fleet.join();
    }
    // One that fails keeps none of the others from being closed.
    let (outside, backend) = (outside.close(), instance.backend.close());
    if let Some(exporter) = exporter {
        exporter.close();
    }
    outside?;
    backend.map_err(|error| error.message)?;
    Ok(code)
}

fn busy(setting: &str, address: SocketAddr, error: &std::io::Error) -> Failure {
    format!("--{setting}: cannot listen on {address}: {error}; choose another port, or 0 for a free one")
        .into()
}

fn join(threads: Vec<JoinHandle<Result<(), Failure>>>) {
    for thread in threads {
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "a shard ended with an error"),
            Err(_) => tracing::error!("a shard's thread failed"),
        }
    }
}

/// What a request leaves open is as the settings say.
fn defaults(config: &Config) -> Defaults {
    Defaults {
        connect_timeout: config.connect_timeout,
        send_timeout: config.default_timeout,
        settings: Arc::new(Settings {
            auto_reconnect: false,
            reconnect_attempts_max: config.reconnect.max_attempts,
            reconnect_base: config.reconnect.base_delay,
            reconnect_max: config.reconnect.max_delay,
            ping_interval: config.ping_interval,
            pong_timeout: config.pong_timeout,
            sends_in_flight_max: config.sends_in_flight_max,
            send_bytes_max: config.max_message_bytes,
            message_bytes_max: config.max_message_bytes,
            correlation: Rule::Auto,
            ..(*Defaults::default().settings).clone()
        }),
    }
}

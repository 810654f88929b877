//! Builds the house and takes it down: backend, listeners, shards on their threads, what was
//! stored before, and the drain.

mod commands;
mod drain;
mod fleet;
mod handover;
mod ingress;
mod intake;
mod open;
mod restore;
mod rooms;
mod traces;

pub use open::report as backend_report;

use self::{
    fleet::Conditions,
    rooms::{Members, Outside},
};
use crate::{
    api::{
        admin::{self, AdminHooks},
        certs::Certificates,
        commands::counters::CommandCounters,
        counters::{Counters as EdgeCounters, IntakeCounters, PeerCounters, WsCounters},
        grpc,
        http::{self, HttpSettings},
        listen::{self, ListenSettings, Stop},
        observe::Observer,
        service::{Inner, Life, Readiness, Service},
        typed::Check,
        validate::Defaults,
    },
    backend::Backend,
    config::{self, Config, Secret},
    core::{
        correlation::Rule,
        egress::{Pattern, Policy},
        publish::Bounds,
        shard::Setup,
        spec::Settings,
    },
    fleet::Handle,
    limits, pki,
    ports::{Store, spans::Spans},
    shard::{
        self, Local, World,
        dial::{Dialler, SystemResolver},
        entropy::Entropy,
        gate::Gate,
        mailbox::{Hub, Mailbox},
        rooms::RoomWorld,
    },
    telemetry::collect::{Collector, Fixed, Sources},
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
    time::sleep,
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
    let dialler = Arc::new(dialler(&config, &[http_at, grpc_at, admin_at])?);
    let (stop_trigger, stop) = Stop::new();
    let mut threads = Vec::new();
    for (shard, (http, grpc)) in http.into_iter().zip(grpc).enumerate() {
        let part = Part {
            shard: shard as u32,
            mailbox: mailboxes[shard].clone(),
            seed: entropy.word(),
            world: world(&instance, shard as u32, dialler.clone())?,
            instance: instance.clone(),
            http,
            grpc,
            stop: stop.clone(),
        };
        threads.push(thread::Builder::new().name(format!("shard-{shard}")).spawn(move || part.run())?);
    }
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let code = runtime.block_on(manage(&instance, admin, stop, stop_trigger, started))?;
    join(threads);
    if let Some(fleet) = fleet {
        fleet.join();
    }
    outside.close()?;
    instance.backend.close().map_err(|error| error.message)?;
    if let Some(exporter) = exporter {
        exporter.close();
    }
    Ok(code)
}

/// The main thread: the admin port, what was stored before, signals, the drain.
async fn manage(
    instance: &Arc<Instance>,
    admin: std::net::TcpListener,
    stop: Stop,
    trigger: listen::StopTrigger,
    started: impl FnOnce(&Started),
) -> Result<u8, Failure> {
    let (drain_now, mut drain_asked) = mpsc::channel(1);
    let mut signals = drain::Signals::new()?;
    instance.outside.start(&instance.hub, &instance.config.instance_id);
    let hooks = Arc::new(Hooks {
        collector: Collector::new(Sources {
            hub: instance.hub.clone(),
            backend: instance.backend.clone(),
            edge: instance.edge.clone(),
            peers: instance.peers.clone(),
            ingress: instance.ingress.clone(),
            commands: instance.commands.clone(),
            intake: instance.intake.clone(),
            fleet: instance.fleet.clone(),
            rooms: instance.outside.redis.clone(),
            relay: instance.outside.relay.clone(),
            calls: instance.observers.iter().map(|observer| observer.calls.clone()).collect(),
            spans: instance.spans.clone(),
            fixed: Fixed::of(&instance.config),
            standing: traces::standing(instance.readiness.clone()),
        }),
        config: instance.config.clone(),
        drain: drain_now,
    });
    let settings = ListenSettings {
        certificates: None,
        counters: instance.edge.clone(),
        stop,
        drain: instance.config.drain_timeout,
    };
    let admin = tokio::task::spawn_local(listen::run(admin, admin::router(hooks), settings));
    let mut told = tokio::select! {
        biased;
        interrupted = signals.next() => Some(interrupted),
        _ = drain_asked.recv() => Some(false),
        ready = get_ready(instance) => ready.map(|()| None)?,
    };
    if told.is_none() {
        instance.readiness.set(Life::Ready);
        started(&instance.started);
    }
    let hurry = loop {
        told = match told {
            Some(hurry) => break hurry,
            None => tokio::select! {
                biased;
                interrupted = signals.next() => Some(interrupted),
                _ = drain_asked.recv() => Some(false),
            },
        };
    };
    let code = drain::drain(instance, hurry, &mut signals).await;
    trigger.stop();
    if code == 0 {
        let _ = tokio::time::timeout(limits::CLOSE_TIMEOUT, admin).await;
    }
    drain::stop_shards(instance);
    tracing::info!(code, "drained");
    Ok(code)
}

/// What must be done before work is taken: a lease in a fleet, and what an earlier run left.
async fn get_ready(instance: &Instance) -> Result<(), Failure> {
    if let Some(fleet) = &instance.fleet {
        tokio::select! {
            biased;
            () = fleet.held() => {}
            () = sleep(limits::START_PATIENCE) => {
                let why = instance.readiness.not_ready().unwrap_or_default();
                tracing::warn!(%why, "not ready yet: waiting");
                fleet.held().await;
            }
        }
    }
    restore::stored(instance).await
}

struct Hooks {
    collector: Collector,
    config: Arc<Config>,
    drain: mpsc::Sender<()>,
}

impl AdminHooks for Hooks {
    fn metrics(&self) -> std::pin::Pin<Box<dyn Future<Output = String> + Send + '_>> {
        Box::pin(self.collector.scrape())
    }

    fn config(&self) -> String {
        self.config.effective()
    }

    fn drain(&self) {
        // Full means that it was asked for already.
        let _ = self.drain.try_send(());
    }
}

/// What one shard's thread takes with it.
struct Part {
    shard: u32,
    mailbox: Arc<Mailbox>,
    seed: u64,
    world: World,
    instance: Arc<Instance>,
    http: std::net::TcpListener,
    grpc: std::net::TcpListener,
    stop: Stop,
}

impl Part {
    fn run(self) -> Result<(), Failure> {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> Result<(), Failure> {
        let config = &self.instance.config;
        let setup = setup(config, &self.instance.outside, self.shard, self.seed);
        let tls = self.world.dialler.tls.clone();
        let local = Local::start(self.shard, setup, self.mailbox, self.world);
        let service = Service::new(Inner {
            hub: self.instance.hub.clone(),
            defaults: defaults(config),
            instance: config.instance_id.clone(),
            // A shared bus is not read back: each member follows what it holds, and they ask one another.
            bus: self.instance.fleet.is_none().then(|| self.instance.backend.bus()),
            readiness: self.instance.readiness.clone(),
            fleet: fleet::peers(&self.instance)?,
            rooms: self.instance.outside.ports.clone(),
            check: self.instance.check.clone(),
            observer: self.instance.observers[self.shard as usize].clone(),
        });
        let counters = self.instance.edge.clone();
        let settings = || -> Result<ListenSettings, Failure> {
            let tls = config.tls.as_ref();
            let certificates = tls
                .map(|files| Certificates::open(&files.cert, &files.key, counters.clone()))
                .transpose()
                .map_err(|error| error.to_string())?;
            let stop = self.stop.clone();
            Ok(ListenSettings {
                certificates,
                counters: counters.clone(),
                stop,
                drain: limits::CLOSE_TIMEOUT,
            })
        };
        let poster = intake::poster(&service);
        let http_settings = HttpSettings {
            cors_origins: config.cors_origins.clone(),
            counters: counters.clone(),
            ingress: Some(ingress::start(&self.instance, &service, tls)?),
            entries: intake::entries(&self.instance, &poster),
            ..HttpSettings::default()
        };
        let http = listen::run(self.http, http::router(&service, http_settings), settings()?);
        let mut routes = grpc::routes(&service, counters.clone());
        if config.backend == config::Backend::Dapr {
            routes = routes.with_dapr_callbacks(config.dapr.app_api_token.as_ref().map(Secret::reveal));
        }
        let grpc = listen::run(self.grpc, routes, settings()?);
        let commands = (self.shard == 0).then(|| commands::start(&self.instance, &service, &self.stop));
        let bound = match self.shard {
            0 => intake::bind(&self.instance, &poster, &self.stop)?,
            _ => Vec::new(),
        };
        let http = tokio::task::spawn_local(http);
        let grpc = tokio::task::spawn_local(grpc);
        shard::run(local).await;
        if let Some(Some(commands)) = commands.transpose()? {
            commands.abort();
        }
        for binding in bound {
            // It writes down how far it came.
            let _ = tokio::time::timeout(limits::CLOSE_TIMEOUT, binding).await;
        }
        http.await??;
        grpc.await??;
        Ok(())
    }
}

fn busy(setting: &str, address: SocketAddr, error: &std::io::Error) -> Failure {
    format!("--{setting}: cannot listen on {address}: {error}; choose another port, or 0 for a free one")
        .into()
}

fn dialler(config: &Config, own: &[SocketAddr]) -> Result<Dialler, Failure> {
    let parse = |setting: &str, patterns: &[String]| -> Result<Vec<Pattern>, Failure> {
        let parsed = patterns
            .iter()
            .map(|text| Pattern::parse(text).map_err(|bad| format!("--{setting}: {bad}").into()));
        parsed.collect()
    };
    let policy = Policy {
        allow: parse("egress-allow", &config.egress_allow)?,
        deny: parse("egress-deny", &config.egress_deny)?,
        own: own.to_vec(),
    };
    let roots = config.tls_roots.as_ref().map(std::fs::read_to_string).transpose()?;
    let tls = pki::client_config(roots.as_deref().unwrap_or_default(), "", "")
        .map_err(|fault| fault.to_string())?;
    let user_agent = concat!("websocket-manager/", env!("CARGO_PKG_VERSION")).to_owned();
    Ok(Dialler { policy, resolver: Arc::new(SystemResolver), tls, user_agent })
}

fn world(instance: &Instance, shard: u32, dialler: Arc<Dialler>) -> Result<World, Failure> {
    let backend = &instance.backend;
    Ok(World {
        store: store_of(instance)?,
        bus: backend.bus(),
        spill: fleet::spill(instance, shard)?,
        seal: backend.local().sealer(),
        dialler,
        instance: instance.config.instance_id.as_str().into(),
        busy_poll: instance.config.busy_poll,
        gate: instance.gate.clone(),
        rooms: RoomWorld {
            neighbours: instance.hub.clone(),
            bus: instance.outside.ports.bus.clone(),
            relay: instance.outside.ports.relay.clone(),
        },
        spans: instance.spans.clone(),
    })
}

fn setup(config: &Config, outside: &Outside, shard: u32, seed: u64) -> Setup {
    Setup {
        shard,
        shards: config.shards,
        instance: config.instance_id.as_str().into(),
        connections_max: config.max_connections,
        outbox_bytes_max: config.outbox_bytes_max,
        ring_bytes: config.ring_bytes,
        dials_per_second: limits::DIALS_PER_SECOND,
        publish: Bounds {
            // One that is being filled cannot spill: several must fit below the queue's bound.
            batch_bytes: config.publish.batch_bytes.min(config.publish.queue_bytes / 4),
            batch_count: config.publish.batch_count,
            linger: config.publish.linger,
            in_flight: config.publish.in_flight,
            queue_bytes: config.publish.queue_bytes,
            ..Bounds::default()
        },
        lifecycle_topic: config.lifecycle_topic.as_str().into(),
        rooms: ingress::rooms(config, outside),
        seed,
    }
}

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

fn join(threads: Vec<JoinHandle<Result<(), Failure>>>) {
    for thread in threads {
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "a shard ended with an error"),
            Err(_) => tracing::error!("a shard's thread failed"),
        }
    }
}

fn store_of(instance: &Instance) -> Result<Arc<dyn Store>, Failure> {
    match &instance.fleet {
        Some(fleet) => Ok(Arc::new(fleet.clone())),
        None => instance.backend.store().ok_or_else(|| "the backend keeps no documents".into()),
    }
}

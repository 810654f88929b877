//! Settings: one table (`schema`), four sources (`sources`), every problem reported at once
//! (`check`), converted once into plain values (`Config`).

mod check;
pub mod cli;
mod convert;
mod derive;
mod fingerprint;
mod memory;
mod nearest;
mod render;
mod room_rule;
pub mod schema;
pub mod sources;
#[cfg(test)]
mod tests;
pub mod value;

pub use memory::MemoryBound;
pub use render::{help, markdown_table};
pub use value::HostPort;

use crate::core::{
    origin::Origins,
    rooms::{
        Rules,
        intake::{Binding, RestRoute},
        route::{Auth, Route},
    },
};
use render::Shown;
use sources::{Environment, Given};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// What a wrong configuration makes the process exit with.
pub const EXIT_BAD_CONFIGURATION: u8 = 64;

/// A text that no output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    pub fn new(text: &str) -> Self {
        Secret(text.into())
    }

    /// The one way to the text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Embedded,
    Dapr,
    Redis,
}

impl Backend {
    pub const fn name(self) -> &'static str {
        match self {
            Backend::Embedded => "embedded",
            Backend::Dapr => "dapr",
            Backend::Redis => "redis",
        }
    }
}

/// When the log's bytes are forced to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusFsync {
    Always,
    Interval(Duration),
    UnsafeNever,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFsync {
    Always,
    UnsafeNever,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Debug)]
pub struct DaprConfig {
    pub grpc_endpoint: Option<String>,
    pub grpc_port: u16,
    pub http_port: u16,
    pub api_token: Option<Secret>,
    pub app_api_token: Option<Secret>,
    pub pubsub_name: String,
    pub state_store_name: String,
    pub max_body_bytes: usize,
    pub bulk_in_flight: usize,
}

#[derive(Clone, Debug)]
pub struct ReconnectConfig {
    /// 0: for ever.
    pub max_attempts: u32,
    pub base_delay: Duration,
    pub max_delay: Duration,
}

/// Of one shard.
#[derive(Clone, Debug)]
pub struct PublishConfig {
    pub batch_bytes: usize,
    pub batch_count: usize,
    pub linger: Duration,
    pub in_flight: usize,
    pub queue_bytes: usize,
    pub spill_bytes: u64,
}

/// The channels of the earlier room system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jararaca {
    pub send: String,
    pub broadcast: String,
    /// A socket in several addressed rooms gets one copy.
    pub dedupe: bool,
}

impl Jararaca {
    /// Both names out of `send,broadcast`.
    pub fn names(text: &str) -> Option<(&str, &str)> {
        let (send, broadcast) = text.split_once(',')?;
        let (send, broadcast) = (send.trim(), broadcast.trim());
        let sound =
            !send.is_empty() && !broadcast.is_empty() && !broadcast.contains(',') && send != broadcast;
        sound.then_some((send, broadcast))
    }
}

/// The embedded log.
#[derive(Clone, Debug)]
pub struct BusConfig {
    pub fsync: BusFsync,
    pub segment_bytes: u64,
    pub topic_bytes_max: u64,
    pub topic_age_max: Duration,
}

/// Of one shard.
#[derive(Clone, Debug)]
pub struct RoomsConfig {
    pub rules: Arc<Rules>,
    /// All histories.
    pub history_bytes_max: usize,
    pub reader_bytes_max: usize,
}

/// What tokens are judged by.
#[derive(Clone, Debug)]
pub struct TokenConfig {
    pub keys: PathBuf,
    pub audience: String,
    pub issuer: String,
}

/// How WebSockets come in.
#[derive(Clone, Debug)]
pub struct IngressConfig {
    pub routes: Vec<Route>,
    pub auth: Auth,
    pub origins: Origins,
    pub token: Option<TokenConfig>,
    pub token_in_query: bool,
    /// A URL.
    pub authoriser: Option<Secret>,
    pub authoriser_timeout: Duration,
}

/// Everything the process runs by, as plain values.
#[derive(Clone, Debug)]
pub struct Config {
    pub http_port: u16,
    pub grpc_port: u16,
    pub admin_port: u16,
    pub listen: IpAddr,
    pub admin_listen: IpAddr,
    pub tls: Option<TlsFiles>,
    /// Origins as browsers send them, or `*`.
    pub cors_origins: Vec<String>,

    pub instance_id: String,
    /// None: the listen address and the real gRPC port.
    pub advertise: Option<HostPort>,
    pub shards: u32,
    pub data_dir: PathBuf,
    /// None: `secret_key_path` is made when it is not there. A file that was named must be there.
    pub secret_key_file: Option<PathBuf>,
    pub busy_poll: Duration,

    pub backend: Backend,
    pub redis_url: Option<Secret>,
    pub redis_stream_max: u64,
    pub jararaca: Option<Jararaca>,
    pub dead_letter_topic: Option<String>,
    /// None: no commands are taken from the bus.
    pub commands_topic: Option<String>,
    pub dapr: DaprConfig,
    pub connection_record_ttl: Option<Duration>,
    pub clear_all_on_start: bool,
    pub lifecycle_topic: String,

    /// Folder of the schemas of typed messages.
    pub schemas: Option<PathBuf>,
    pub schemas_strict: bool,
    pub rest_routes: Vec<RestRoute>,
    pub bindings: Vec<Binding>,

    /// CIDR or host[:port]; the egress policy parses them.
    pub egress_allow: Vec<String>,
    pub egress_deny: Vec<String>,
    /// Replaces the platform's authorities.
    pub tls_roots: Option<PathBuf>,
    pub connect_timeout: Duration,
    pub reconnect: ReconnectConfig,

    /// In one shard.
    pub max_connections: usize,
    pub default_timeout: Duration,
    pub ping_interval: Duration,
    pub pong_timeout: Duration,
    pub max_message_bytes: usize,
    pub sends_in_flight_max: usize,
    pub outbox_bytes_max: usize,
    pub mailbox_max: usize,
    /// In one shard.
    pub ring_bytes: usize,

    pub rooms: RoomsConfig,
    pub ingress: IngressConfig,

    pub publish: PublishConfig,
    pub bus: BusConfig,
    pub store_fsync: StoreFsync,

    pub drain_timeout: Duration,
    pub drain_lame_duck: Duration,
    pub log_level: LogLevel,
    pub log_format: LogFormat,
    /// None: no traces.
    pub otlp_endpoint: Option<String>,
    pub trace_one_in: u64,

    /// To be logged at start: what works, but is hardly meant.
    pub warnings: Vec<String>,
    shown: Vec<Shown>,
}

/// How much is checked: a command that only talks to a running service needs no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Server,
    Client,
}

impl Config {
    /// From the command line's settings and the environment; every problem at once.
    pub fn load(flags: &[Given], environment: &dyn Environment, scope: Scope) -> Result<Self, Vec<String>> {
        let mut values = sources::resolve(flags, environment);
        derive::derive(&mut values, environment);
        let mut config = convert::convert(&values);
        let mut findings = check::Findings {
            problems: std::mem::take(&mut values.problems),
            warnings: std::mem::take(&mut values.warnings),
        };
        if scope == Scope::Server {
            check::check(&config, &values, &mut findings);
        }
        config.warnings = findings.warnings;
        if findings.problems.is_empty() { Ok(config) } else { Err(findings.problems) }
    }

    /// The defaults on a machine with this many CPUs, for tests and benchmarks.
    pub fn with_defaults(cpus: u64) -> Self {
        struct Bare(u64);
        impl Environment for Bare {
            fn variables(&self) -> std::collections::BTreeMap<String, String> {
                Default::default()
            }
            fn cpus(&self) -> u64 {
                self.0
            }
            fn random(&self) -> u64 {
                0
            }
        }
        let mut values = sources::resolve(&[], &Bare(cpus));
        derive::derive(&mut values, &Bare(cpus));
        convert::convert(&values)
    }

    pub fn http_address(&self) -> SocketAddr {
        SocketAddr::new(self.listen, self.http_port)
    }

    pub fn grpc_address(&self) -> SocketAddr {
        SocketAddr::new(self.listen, self.grpc_port)
    }

    pub fn admin_address(&self) -> SocketAddr {
        SocketAddr::new(self.admin_listen, self.admin_port)
    }

    pub fn secret_key_path(&self) -> PathBuf {
        self.secret_key_file.clone().unwrap_or_else(|| self.data_dir.join("secret.key"))
    }

    /// Where a command on this machine finds the HTTP port.
    pub fn local_url(&self) -> String {
        let host = match self.listen {
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", SocketAddr::new(host, self.http_port))
    }

    /// What peers are told, once the gRPC port is bound; an address nobody listens on is an error.
    pub fn advertised(&self, bound: SocketAddr) -> Result<HostPort, String> {
        match &self.advertise {
            None => Ok(HostPort { host: bound.ip().to_string(), port: bound.port() }),
            Some(told) => check::reachable(told, bound).map(|()| told.clone()),
        }
    }

    /// The effective configuration as TOML, each setting with its source; secrets are not shown.
    pub fn effective(&self) -> String {
        render::effective(&self.shown)
    }

    pub fn memory(&self) -> MemoryBound {
        MemoryBound::of(self)
    }

    /// What `check` prints; TOML as a whole, so that it can be kept as a file.
    pub fn report(&self) -> String {
        let mut text = self.effective();
        text.push('\n');
        let warnings = self.warnings.iter().map(|it| format!("warning: {it}"));
        for line in self.memory().to_string().lines().map(String::from).chain(warnings) {
            text.push_str(format!("# {line}").trim_end());
            text.push('\n');
        }
        text
    }
}

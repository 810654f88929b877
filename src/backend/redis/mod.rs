//! Documents, leases and event streams directly on Redis, without a sidecar.
//!
//! Rooms (`rooms`) and the channels of the earlier room system (`relay`) stand on their own, beside any
//! backend.
//!
//! One thread with one runtime each. Each kind of work has a connection of its own, so that a long read
//! of a stream does not hold up a lease: documents, publishing, reading, and waiting for news. Every
//! command has a deadline, and a connection that missed one is made anew.
//!
//! A single server (or a master behind one name), Redis 7.0 or newer; not Redis Cluster, where one
//! script cannot write to several topics. A user with restricted rights needs all topics, the keys
//! of documents, `wsm:bus:*`, and EVAL.

mod bus;
mod documents;
mod fault;
mod fetch;
mod guard;
mod link;
mod publish;
mod pubsub;
mod readers;
mod relay;
mod rooms;
mod scripts;
mod sending;
mod stats;
mod tail;
#[cfg(test)]
mod tests;
mod thread;
mod values;

pub use relay::{Channels, RedisRelay};
pub use rooms::RedisRooms;
pub use stats::{POISON_KINDS, RedisRelayStats, RedisRoomsStats, RedisStats};

use super::Capabilities;
use crate::{
    core::tally::Tally,
    limits::{
        BUS_BATCHES_MAX, BUS_FETCHES_MAX, REDIS_COMMAND_TIMEOUT_DEFAULT, REDIS_DOCUMENT_COMMANDS_MAX,
        REDIS_STREAM_EVENTS_DEFAULT,
    },
    ports::{BackendError, Bus, Documents, timing::CALLS},
};
use bus::RedisBus;
use documents::RedisDocuments;
use link::{Link, Tools};
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, Value};
use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use thread::Thread;
use tokio::{sync::mpsc, time::Instant};

#[derive(Clone)]
pub struct RedisConfig {
    /// `redis://[user][:password@]host[:port][/db]`, `rediss://` for TLS, `unix://path`.
    pub url: String,
    /// About how many events a topic keeps.
    pub stream_events_max: u64,
    /// How old its events may get; none: any age.
    pub stream_age_max: Option<Duration>,
    pub command_timeout: Duration,
}

impl RedisConfig {
    pub fn new(url: impl Into<String>) -> Self {
        RedisConfig {
            url: url.into(),
            stream_events_max: REDIS_STREAM_EVENTS_DEFAULT,
            stream_age_max: None,
            command_timeout: REDIS_COMMAND_TIMEOUT_DEFAULT,
        }
    }
}

impl fmt::Debug for RedisConfig {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("stream_events_max", &self.stream_events_max)
            .field("stream_age_max", &self.stream_age_max)
            .field("command_timeout", &self.command_timeout)
            .finish_non_exhaustive()
    }
}

/// What was understood of the configuration.
pub(crate) struct Settings {
    /// Where the server is, to be shown.
    address: String,
    /// Never to be shown.
    secrets: Vec<String>,
    stream_events_max: u64,
    stream_age_max: Option<Duration>,
    command_timeout: Duration,
}

impl Settings {
    /// The text without what must not be seen.
    fn hide(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }
}

pub struct Redis {
    documents: Arc<RedisDocuments>,
    bus: Arc<RedisBus>,
    tools: Arc<Tools>,
    thread: Thread,
}

impl Redis {
    /// Checks the configuration and starts the thread; it does not wait for the server.
    pub fn open(config: RedisConfig) -> Result<Redis, BackendError> {
        let tools = Tools::new(config)?;
        let (documents, asked) = mpsc::channel(REDIS_DOCUMENT_COMMANDS_MAX);
        let (batches, batch_inbox) = mpsc::channel(BUS_BATCHES_MAX);
        let (fetches, fetch_inbox) = mpsc::channel(BUS_FETCHES_MAX);
        let shared = tools.clone();
        let thread = Thread::start("redis", move || {
            tokio::spawn(documents::serve(shared.clone(), asked));
            tokio::spawn(publish::run(shared.clone(), batch_inbox));
            tokio::spawn(readers::run(shared.clone(), fetch_inbox));
            tokio::spawn(ask_durable(shared));
        })?;
        Ok(Redis {
            documents: Arc::new(RedisDocuments { commands: documents, tools: tools.clone() }),
            bus: Arc::new(RedisBus { batches, fetches, tools: tools.clone() }),
            tools,
            thread,
        })
    }

    pub fn documents(&self) -> Arc<dyn Documents> {
        self.documents.clone()
    }

    pub fn bus(&self) -> Arc<dyn Bus> {
        self.bus.clone()
    }

    pub fn capabilities(&self) -> Capabilities {
        Capabilities {
            etag: true,
            ttl: true,
            ordered_bulk: true,
            broadcast: true,
            durable: self.tools.durable(),
        }
    }

    /// What the service waits for; for `/readyz`, so it asks nobody.
    pub fn health(&self) -> Result<(), String> {
        self.tools.well()
    }

    pub fn stats(&self) -> RedisStats {
        self.tools.counters.read()
    }

    /// In the order of `CALLS`.
    pub fn times(&self) -> [Tally; CALLS.len()] {
        self.tools.times.tallies()
    }

    /// Ends the thread. What waits is dropped, which its callers see.
    pub fn close(&self) -> Result<(), BackendError> {
        self.thread.close()
    }
}

fn understand(config: RedisConfig) -> Result<(Client, Settings), BackendError> {
    // The parser's own words may quote the URL.
    let bad = |what: &str| BackendError {
        message: format!(
            "the URL of Redis {what}: expected redis://[user][:password@]host[:port][/db], rediss://... or unix://path"
        ),
        transient: false,
    };
    if config.command_timeout.is_zero() {
        let message = "the command timeout of Redis must be longer than nothing".into();
        return Err(BackendError { message, transient: false });
    }
    let info: ConnectionInfo =
        config.url.as_str().into_connection_info().map_err(|_| bad("cannot be read"))?;
    let address = match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            format!("{host}:{port}")
        }
        ConnectionAddr::Unix(path) => path.display().to_string(),
        _ => return Err(bad("has a kind of address that is not supported")),
    };
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
    let mut secrets: Vec<String> = redis.password().map(str::to_owned).into_iter().collect();
    // As it stands in the URL, too.
    secrets.extend(url::Url::parse(&config.url).ok().and_then(|url| url.password().map(str::to_owned)));
    secrets.retain(|secret| !secret.is_empty());
    let client = Client::open(info.set_redis_settings(redis)).map_err(|_| bad("cannot be used"))?;
    let settings = Settings {
        address,
        secrets,
        stream_events_max: config.stream_events_max.max(1),
        stream_age_max: config.stream_age_max,
        command_timeout: config.command_timeout,
    };
    Ok((client, settings))
}

/// Whether what the server took survives a power cut: asked once a connection, where it may be.
async fn ask_durable(tools: Arc<Tools>) {
    const ASK_AGAIN: Duration = Duration::from_secs(60);
    let mut link = Link::start(&tools, "settings", Duration::ZERO);
    loop {
        let until = Instant::now() + tools.settings.command_timeout;
        let mut durable = true;
        for (name, wanted) in [("appendonly", "yes"), ("appendfsync", "always")] {
            let answer = link.command(redis::cmd("CONFIG").arg("GET").arg(name), until).await;
            durable &= matches!(answer, Ok(Value::Array(pair)) if values::text(pair.get(1)) == Some(wanted));
        }
        tools.health.durable.store(durable, Relaxed);
        tokio::select! {
            () = link.changed() => {}
            () = tokio::time::sleep(ASK_AGAIN) => {}
        }
    }
}

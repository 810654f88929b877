//! One connection that is made again when it breaks, and everything's word on how it stands.

use super::{
    RedisConfig, Settings,
    fault::Fault,
    stats::{Counters, add},
    understand,
};
use crate::{
    limits::{REDIS_RETRY_BASE, REDIS_RETRY_MAX},
    ports::{BackendError, timing::CallTimes},
};
use parking_lot::Mutex;
use redis::{AsyncConnectionConfig, Client, Cmd, Value, aio::MultiplexedConnection};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

/// How often a silent connection is tried.
pub const PING_EVERY: Duration = Duration::from_secs(1);
/// Commands that the client queues before a caller waits: more than we have under way.
const PIPELINE_BUFFER: usize = 256;

/// What is wrong now, by part; nothing when all is well.
#[derive(Default)]
pub struct Health {
    wrong: Mutex<BTreeMap<&'static str, String>>,
    pub durable: AtomicBool,
}

impl Health {
    pub fn ill(&self, part: &'static str, why: &str) {
        let mut wrong = self.wrong.lock();
        if wrong.get(part).is_none_or(|known| known != why) {
            tracing::warn!(part, why, "Redis cannot be used");
            wrong.insert(part, why.to_owned());
        }
    }

    /// Until it is known better.
    pub fn awaited(&self, part: &'static str) {
        self.wrong.lock().insert(part, "not connected yet".into());
    }

    pub fn well(&self, part: &'static str) {
        if self.wrong.lock().remove(part).is_some() {
            tracing::info!(part, "Redis can be used");
        }
    }

    pub fn first(&self) -> Option<String> {
        self.wrong.lock().values().next().cloned()
    }
}

/// What every part of the backend shares.
pub struct Tools {
    pub settings: Settings,
    pub client: Client,
    pub health: Health,
    pub counters: Counters,
    pub times: CallTimes,
}

#[derive(Clone)]
pub struct Live {
    connection: MultiplexedConnection,
    pub generation: u64,
}

impl Live {
    pub async fn call(&mut self, command: &Cmd) -> Result<Value, redis::RedisError> {
        self.connection.send_packed_command(command).await?.extract_error()
    }
}

/// A connection's users hold this; its keeper makes it again.
#[derive(Clone)]
pub struct Link {
    live: watch::Receiver<Option<Live>>,
    broken: mpsc::Sender<(u64, String)>,
    tools: Arc<Tools>,
}

impl Link {
    /// Starts its keeper on the runtime of the caller. `slack`: how much longer than others its
    /// commands may take, because they wait on purpose.
    pub fn start(tools: &Arc<Tools>, name: &'static str, slack: Duration) -> Link {
        let (sender, live) = watch::channel(None);
        let (broken, reports) = mpsc::channel(16);
        tools.health.awaited(name);
        let keeper = Keeper { tools: tools.clone(), name, slack, live: sender, reports };
        tokio::spawn(keeper.run());
        Link { live, broken, tools: tools.clone() }
    }

    pub fn current(&mut self) -> Option<Live> {
        self.live.borrow_and_update().clone()
    }

    /// Ends when the connection came or went.
    pub async fn changed(&mut self) {
        if self.live.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The connection as soon as there is one.
    pub async fn ready(&mut self) -> Live {
        loop {
            if let Some(live) = self.current() {
                return live;
            }
            self.changed().await;
        }
    }

    /// Says that a connection must not be used any more.
    pub fn report(&self, generation: u64, why: &str) {
        // Full: it is known.
        let _ = self.broken.try_send((generation, why.to_owned()));
    }

    /// One command, whatever the state of the connection, ended by the deadline.
    pub async fn command(&mut self, command: &Cmd, until: Instant) -> Result<Value, Fault> {
        let Ok(mut live) = timeout_at(until, self.ready()).await else {
            return Err(Fault::away(&self.tools));
        };
        let generation = live.generation;
        let answer = match timeout_at(until, live.call(command)).await {
            Ok(answer) => answer.map_err(|error| Fault::of(&self.tools.settings, &error)),
            Err(_) => Err(Fault::hangs(&self.tools.settings)),
        };
        if let Err(fault) = &answer
            && fault.of_connection
        {
            self.report(generation, &fault.why);
        }
        answer
    }
}

struct Keeper {
    tools: Arc<Tools>,
    name: &'static str,
    slack: Duration,
    live: watch::Sender<Option<Live>>,
    reports: mpsc::Receiver<(u64, String)>,
}

impl Keeper {
    async fn run(mut self) {
        let mut failures = 0;
        let mut generation = 0;
        loop {
            let why = match self.connect().await {
                Ok(connection) => {
                    generation += 1;
                    let since = Instant::now();
                    let live = Live { connection, generation };
                    add(&self.tools.counters.connects, 1);
                    self.tools.health.well(self.name);
                    self.live.send_replace(Some(live.clone()));
                    let why = self.watch_over(live).await;
                    self.live.send_replace(None);
                    if since.elapsed() > REDIS_RETRY_MAX {
                        failures = 0;
                    }
                    why
                }
                Err(fault) => fault.why,
            };
            if self.live.is_closed() {
                return;
            }
            add(&self.tools.counters.connection_failures, 1);
            self.tools.health.ill(self.name, &why);
            sleep(backoff(failures)).await;
            failures += 1;
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Fault> {
        let settings = &self.tools.settings;
        let limit = settings.command_timeout;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limit))
            .set_response_timeout(Some(limit + self.slack))
            .set_pipeline_buffer_size(PIPELINE_BUFFER);
        let connecting = async {
            let mut connection =
                self.tools.client.get_multiplexed_async_connection_with_config(&config).await?;
            // A server that loads its data set accepts connections and refuses all else.
            connection.send_packed_command(&redis::cmd("PING")).await?.extract_error()?;
            Ok(connection)
        };
        match timeout(limit, connecting).await {
            Ok(made) => made.map_err(|error| Fault::of(settings, &error)),
            Err(_) => Err(Fault::hangs(settings)),
        }
    }

    /// Why it is not to be used any more.
    async fn watch_over(&mut self, mut live: Live) -> String {
        let limit = self.tools.settings.command_timeout + self.slack;
        loop {
            let ping = async {
                sleep(PING_EVERY).await;
                timeout(limit, live.call(&redis::cmd("PING"))).await
            };
            tokio::select! {
                report = self.reports.recv() => match report {
                    Some((generation, why)) if generation == live.generation => return why,
                    Some(_) => {}
                    None => return "the backend is closed".into(),
                },
                answer = ping => match answer {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return Fault::of(&self.tools.settings, &error).why,
                    Err(_) => return Fault::hangs(&self.tools.settings).why,
                },
            }
        }
    }
}

/// Doubling, between half and the whole of it: many instances must not come back as one.
pub fn backoff(failures: u32) -> Duration {
    let whole = REDIS_RETRY_BASE.saturating_mul(1 << failures.min(10)).min(REDIS_RETRY_MAX);
    let mut random = [0; 2];
    // Without entropy they come back as one, which is no reason to fail.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random);
    whole / 2 + whole.mul_f64(f64::from(u16::from_le_bytes(random)) / 65536.0 / 2.0)
}

impl Tools {
    /// Checks the configuration; it does not ask the server.
    pub fn new(config: RedisConfig) -> Result<Arc<Tools>, BackendError> {
        let (client, settings) = understand(config)?;
        Ok(Arc::new(Tools {
            settings,
            client,
            health: Health::default(),
            counters: Counters::default(),
            times: CallTimes::default(),
        }))
    }

    /// What is waited for; asks nobody.
    pub fn well(&self) -> Result<(), String> {
        match self.health.first() {
            None => Ok(()),
            Some(why) => Err(format!("waiting for Redis at {}: {why}", self.settings.address)),
        }
    }

    pub fn durable(&self) -> bool {
        self.health.durable.load(Relaxed)
    }
}

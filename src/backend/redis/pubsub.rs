//! A connection that hears channels, made again when it breaks.
//!
//! It speaks RESP3, so that what is heard and the answers to commands come on one connection in the
//! order of the server, and it hands over what it hears from where it reads: nothing waits between
//! the socket and who listens, so the server never finds this reader slow.

use super::{
    fault::Fault,
    link::{PING_EVERY, Tools, backoff},
    stats::add,
};
use crate::limits::REDIS_RETRY_MAX;
use bytes::Bytes;
use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind, RedisError,
    Value, aio::MultiplexedConnection,
};
use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

/// Between two lines of the log about what others send wrongly.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Who hears what comes; never waits.
pub trait Hears: Send + Sync + 'static {
    fn heard(&self, channel: &[u8], payload: Bytes);
}

/// What is done with the connection as long as it lives.
pub trait Session: Send + 'static {
    fn hears(&self) -> Arc<dyn Hears>;
    /// Until it is no good any more, and why. Says when it can be used.
    fn serve(&mut self, line: Line) -> impl Future<Output = Fault> + Send;
    /// It broke: nothing is heard until `serve` is called again.
    fn lost(&mut self);
}

#[derive(Clone)]
pub struct Line {
    connection: MultiplexedConnection,
    ended: Arc<Notify>,
    tools: Arc<Tools>,
}

impl Line {
    pub async fn subscribe(&mut self, channels: &[Vec<u8>]) -> Result<(), Fault> {
        let tools = self.tools.clone();
        within(&tools, self.connection.subscribe(channels)).await
    }

    pub async fn unsubscribe(&mut self, channels: &[Vec<u8>]) -> Result<(), Fault> {
        let tools = self.tools.clone();
        within(&tools, self.connection.unsubscribe(channels)).await
    }

    pub async fn call(&mut self, command: &Cmd) -> Result<Value, Fault> {
        let tools = self.tools.clone();
        let calling = async { self.connection.send_packed_command(command).await?.extract_error() };
        within(&tools, calling).await
    }

    /// Why it is not to be used any more.
    async fn watch_over(mut self) -> Fault {
        loop {
            let ended = self.ended.clone();
            tokio::select! {
                () = ended.notified() => return Fault::cut(),
                () = sleep(PING_EVERY) => {
                    if let Err(fault) = self.call(&redis::cmd("PING")).await {
                        return fault;
                    }
                }
            }
        }
    }
}

async fn within<T>(tools: &Tools, answer: impl Future<Output = Result<T, RedisError>>) -> Result<T, Fault> {
    match timeout(tools.settings.command_timeout, answer).await {
        Ok(answer) => answer.map_err(|error| Fault::of(&tools.settings, &error)),
        Err(_) => Err(Fault::hangs(&tools.settings)),
    }
}

/// Keeps a connection for as long as the runtime lives.
pub async fn keep<S: Session>(tools: Arc<Tools>, part: &'static str, mut session: S) {
    let mut failures = 0;
    loop {
        let fault = match connect(&tools, session.hears()).await {
            Ok(line) => {
                add(&tools.counters.connects, 1);
                let since = Instant::now();
                let fault = tokio::select! {
                    fault = session.serve(line.clone()) => fault,
                    fault = line.watch_over() => fault,
                };
                session.lost();
                if since.elapsed() > REDIS_RETRY_MAX {
                    failures = 0;
                }
                fault
            }
            Err(fault) => fault,
        };
        add(&tools.counters.connection_failures, 1);
        tools.health.ill(part, &fault.why);
        // At once the first time: most often the server is there, and every moment is a gap.
        if failures > 0 {
            sleep(backoff(failures - 1)).await;
        }
        failures += 1;
    }
}

async fn connect(tools: &Arc<Tools>, hears: Arc<dyn Hears>) -> Result<Line, Fault> {
    let limit = tools.settings.command_timeout;
    let ended = Arc::new(Notify::new());
    let end = ended.clone();
    let listen = move |push: PushInfo| -> Result<(), Infallible> {
        match push.kind {
            PushKind::Message => {
                let mut data = push.data.into_iter();
                if let (Some(Value::BulkString(channel)), Some(Value::BulkString(payload))) =
                    (data.next(), data.next())
                {
                    hears.heard(&channel, payload.into());
                }
            }
            PushKind::Disconnection => end.notify_one(),
            _ => {}
        }
        Ok(())
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(limit))
        .set_response_timeout(Some(limit))
        .set_push_sender(listen);
    let client = speaking_resp3(&tools.client).map_err(|error| Fault::of(&tools.settings, &error))?;
    let connecting = async {
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        // A server that loads its data set accepts connections and refuses all else.
        connection.send_packed_command(&redis::cmd("PING")).await?.extract_error()?;
        Ok(connection)
    };
    let connection = within(tools, connecting).await?;
    Ok(Line { connection, ended, tools: tools.clone() })
}

fn speaking_resp3(client: &Client) -> Result<Client, RedisError> {
    let info = client.get_connection_info().clone();
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Client::open(info.set_redis_settings(settings).into_connection_info()?)
}

/// Says what others send wrongly, at most once a minute: whoever may publish could fill the log.
#[derive(Default)]
pub struct Complaints(Mutex<Option<Instant>>);

impl Complaints {
    pub fn say(&self, channel: &[u8], why: &str) {
        let mut last = self.0.lock();
        if last.is_some_and(|last| last.elapsed() < COMPLAIN_EVERY) {
            return;
        }
        *last = Some(Instant::now());
        let channel = String::from_utf8_lossy(channel);
        tracing::warn!(%channel, why, "dropped what somebody sent on a channel of Redis; counted, and said once a minute");
    }
}

//! The demo's upstream: a feed of prices and an echo, on loopback.

use super::Failure;
use crate::{
    core::{random, time::Wall},
    wire::event::rfc3339,
};
use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use serde_json::json;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::Semaphore,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async_with_config,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        protocol::WebSocketConfig,
    },
};

#[cfg(test)]
mod tests;

pub const TICKER: &str = "/ticker";
pub const ECHO: &str = "/echo";
pub const SYMBOL: &str = "DEMO";

const TICK: Duration = Duration::from_millis(200);
const HANDSHAKE: Duration = Duration::from_secs(5);
const CONNECTIONS_MAX: usize = 64;
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Starts it on a thread of its own, which ends with the process.
pub fn start() -> Result<SocketAddr, Failure> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let serve = move || runtime.block_on(serve(listener));
    thread::Builder::new().name("demo-upstream".into()).spawn(serve)?;
    Ok(address)
}

async fn serve(listener: std::net::TcpListener) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the demo's upstream cannot listen"),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((tcp, _)) => {
                // Replies are small, and whoever tries the demo looks at how soon they come. One whose
                // options cannot be set is gone, which its handshake shows.
                let _ = tcp.set_nodelay(true);
                tokio::spawn(async move {
                    talk(tcp).await;
                    drop(place);
                });
            }
            // Out of file descriptors, most likely: at once again would only spin.
            Err(_) => sleep(TICK).await,
        }
    }
}

async fn talk(tcp: TcpStream) {
    let mut ticker = false;
    // The library's signature asks for this large error.
    #[allow(clippy::result_large_err)]
    let route = |request: &Request, response: Response| match request.uri().path() {
        TICKER => {
            ticker = true;
            Ok(response)
        }
        ECHO => Ok(response),
        _ => Err(not_found()),
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let shaken = timeout(HANDSHAKE, accept_hdr_async_with_config(tcp, route, Some(config))).await;
    if let Ok(Ok(socket)) = shaken {
        // That the other side went away is no error of a demonstration.
        let _ = if ticker { tick(socket).await } else { echo(socket).await };
    }
}

fn not_found() -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(format!("here are {TICKER} and {ECHO}\n")));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

type Talked = Result<(), tokio_tungstenite::tungstenite::Error>;

async fn echo(mut socket: WebSocketStream<TcpStream>) -> Talked {
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

async fn tick(mut socket: WebSocketStream<TcpStream>) -> Talked {
    let mut walk = Walk::from(now());
    let mut timer = interval(TICK);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => {
                let tick = walk.step(now());
                socket.send(Message::text(tick)).await?;
            }
            // Reading also answers pings and the close.
            read = socket.next() => match read {
                Some(message) => drop(message?),
                None => return Ok(()),
            },
        }
    }
}

fn now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall::from_unix_nanos(since.as_nanos() as u64)
}

/// A price that wanders, in hundredths.
struct Walk {
    price: i64,
    n: u64,
    random: u64,
}

impl Walk {
    /// Begins differently each time.
    fn from(now: Wall) -> Self {
        Walk { price: 10_000, n: 0, random: now.unix_nanos() }
    }

    fn step(&mut self, now: Wall) -> String {
        self.n += 1;
        self.price = (self.price + (random::next(&mut self.random) % 101) as i64 - 50).max(1);
        let price = self.price as f64 / 100.0;
        json!({"symbol": SYMBOL, "price": price, "n": self.n, "time": rfc3339(now)}).to_string()
    }
}

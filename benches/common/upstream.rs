//! An upstream that echoes and keeps a book of who came when, on a thread of its own.

use super::{os, raw::tuned};
use futures_util::{SinkExt, StreamExt};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    accept_hdr_async_with_config,
    tungstenite::handshake::server::{ErrorResponse, Request, Response},
};
use websocket_manager::proto::ConnectRequest;

#[derive(Clone)]
pub struct Upstream {
    pub address: SocketAddr,
    book: Arc<Mutex<BTreeMap<String, Visit>>>,
}

/// One path's sockets.
#[derive(Clone, Copy, Debug)]
struct Visit {
    opened: usize,
    last: Instant,
}

impl Upstream {
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        listener.set_nonblocking(true).expect("a socket");
        let book: Arc<Mutex<BTreeMap<String, Visit>>> = Arc::default();
        let upstream = Upstream { address, book: book.clone() };
        thread::spawn(move || {
            os::unpin();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("in a runtime");
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(echo(stream, book.clone()));
                }
            });
        });
        upstream
    }

    /// Connections that come back, each to a path of its own.
    pub fn connects(&self, count: usize) -> impl Iterator<Item = ConnectRequest> {
        let address = self.address;
        (0..count).map(move |number| ConnectRequest {
            url: format!("ws://{address}/{number:06}"),
            connection_id: format!("bench-{number:06}"),
            auto_reconnect: true,
            ..Default::default()
        })
    }

    /// How long after `since` each path was opened, in order; those that were not are left out.
    pub fn opened_after(&self, since: Instant) -> Vec<Duration> {
        let book = self.book.lock().expect("no panic");
        let mut waits: Vec<_> =
            book.values().filter_map(|visit| visit.last.checked_duration_since(since)).collect();
        waits.sort_unstable();
        waits
    }

    /// Until `count` paths were opened after `since`; what there was when patience ended.
    pub fn wait_for(&self, count: usize, since: Instant, patience: Duration) -> Vec<Duration> {
        let give_up = Instant::now() + patience;
        loop {
            let waits = self.opened_after(since);
            if waits.len() >= count || Instant::now() > give_up {
                return waits;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sockets that were opened, over all paths.
    pub fn sockets(&self) -> usize {
        self.book.lock().expect("no panic").values().map(|visit| visit.opened).sum()
    }
}

// The error is tungstenite's own, and large.
#[allow(clippy::result_large_err)]
async fn echo(stream: TcpStream, book: Arc<Mutex<BTreeMap<String, Visit>>>) {
    let _ = stream.set_nodelay(true);
    let mut path = String::new();
    let note = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        request.uri().path().clone_into(&mut path);
        Ok(response)
    };
    let Ok(mut socket) = accept_hdr_async_with_config(stream, note, Some(tuned())).await else { return };
    {
        let now = Instant::now();
        let mut book = book.lock().expect("no panic");
        let visit = book.entry(path).or_insert(Visit { opened: 0, last: now });
        visit.opened += 1;
        visit.last = now;
    }
    while let Some(Ok(message)) = socket.next().await {
        // Pings are answered while it reads.
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            return;
        }
    }
}

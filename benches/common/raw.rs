//! The floor: what a careful caller of tokio-tungstenite pays.

use super::{
    calls::{Calls, Timings},
    message, os,
};
use futures_util::{SinkExt, StreamExt};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

/// The library's default reads into 128 KiB a connection, which costs it a multiple.
pub fn tuned() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(4096)
}

async fn dial(address: SocketAddr) -> WebSocketStream<TcpStream> {
    let tcp = TcpStream::connect(address).await.expect("the peer listens");
    tcp.set_nodelay(true).expect("TCP");
    let (socket, _) = client_async_with_config(format!("ws://{address}/"), tcp, Some(tuned()))
        .await
        .expect("the peer answers");
    socket
}

/// Connections that only receive, a task each, on one thread.
pub struct Receiver {
    pub clock: os::CpuClock,
    pub seen: Arc<AtomicU64>,
}

impl Receiver {
    pub fn start(address: SocketAddr, connections: usize) -> Self {
        let (sender, started) = mpsc::sync_channel(65_536);
        let seen = Arc::new(AtomicU64::new(0));
        let counted = seen.clone();
        thread::Builder::new()
            .name("bench-raw".to_owned())
            .spawn(move || {
                os::pin(0);
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async move {
                    for _ in 0..connections {
                        let (mut socket, counted) = (dial(address).await, counted.clone());
                        tokio::spawn(async move {
                            while let Some(Ok(message)) = socket.next().await {
                                std::hint::black_box(&message);
                                // One thread writes it: no locked instruction is needed.
                                counted.store(counted.load(Ordering::Relaxed) + 1, Ordering::Release);
                            }
                        });
                    }
                    sender.send(os::CpuClock::of_this_thread()).expect("awaited");
                    std::future::pending::<()>().await;
                });
            })
            .expect("a thread");
        let clock = started.recv().expect("a clock");
        Receiver { clock, seen }
    }
}

/// Calls on this thread: each connection keeps `window` messages under way, each sent by itself.
pub fn direct_calls(address: SocketAddr, plan: Calls) -> Timings {
    os::pin(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let timings = runtime.block_on(async move {
        let mut sockets = Vec::new();
        for _ in 0..plan.connections {
            sockets.push(dial(address).await);
        }
        let tasks = tokio::task::LocalSet::new();
        let clock = os::CpuClock::of_this_thread();
        let cpu = clock.nanos();
        let mut handles = Vec::new();
        for socket in sockets {
            handles.push(tasks.spawn_local(call(socket, plan)));
        }
        let mut waits = Vec::new();
        tasks
            .run_until(async {
                for handle in handles {
                    waits.extend(handle.await.expect("no panic"));
                }
            })
            .await;
        Timings::new(plan, clock.nanos() - cpu, waits)
    });
    os::pin(1);
    timings
}

async fn call(mut socket: WebSocketStream<TcpStream>, plan: Calls) -> Vec<u64> {
    let text = |number: usize| Message::text(message(&format!("{number:08}"), plan.bytes));
    let mut sent = 0;
    while sent < plan.window {
        socket.send(text(sent)).await.expect("open");
        sent += 1;
    }
    let mut waits = Vec::with_capacity(plan.each());
    let mut since = Instant::now();
    for _ in 0..plan.each() {
        std::hint::black_box(socket.next().await.expect("open").expect("well formed"));
        waits.push(since.elapsed().as_nanos() as u64);
        if sent < plan.each() {
            since = Instant::now();
            socket.send(text(sent)).await.expect("open");
            sent += 1;
        }
    }
    waits
}

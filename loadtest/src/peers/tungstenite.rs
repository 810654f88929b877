//! A bare broadcast on tokio-tungstenite: a task and a queue for each connection, on one thread, with
//! the read buffer that a careful caller gives it. The paths are those of the raw loop.

use crate::trouble::Result;
use futures_util::{SinkExt, StreamExt};
use std::{cell::RefCell, collections::HashMap, rc::Rc};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async_with_config,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        protocol::WebSocketConfig,
    },
};

/// The library's default reads into 128 KiB a connection, which costs it a multiple.
const READ_BYTES: usize = 4096;
/// Messages that wait for one member; a publisher then waits for it.
const QUEUE: usize = 1024;

type Members = Rc<RefCell<HashMap<u64, mpsc::Sender<Message>>>>;

/// Serves for ever; the port is told on standard output.
pub fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, accept())
}

async fn accept() -> Result<()> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let listener: TcpListener = socket.listen(4096)?;
    println!("port {}", listener.local_addr()?.port());
    let members = Members::default();
    for number in 0.. {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::task::spawn_local(serve_one(number, stream, members.clone()));
    }
    Ok(())
}

// What the callback may refuse with is the library's own choice.
#[allow(clippy::result_large_err)]
async fn serve_one(number: u64, stream: TcpStream, members: Members) {
    let mut path = String::new();
    let config = WebSocketConfig::default().read_buffer_size(READ_BYTES);
    let note = |request: &Request, response: Response| {
        request.uri().path().clone_into(&mut path);
        Ok(response)
    };
    let Ok(socket) = accept_hdr_async_with_config(stream, note, Some(config)).await else { return };
    match path.as_str() {
        "/publish" => publish(socket, &members).await,
        "/sink" => sink(socket).await,
        _ => {
            let (sender, queue) = mpsc::channel(QUEUE);
            members.borrow_mut().insert(number, sender);
            member(socket, queue).await;
            members.borrow_mut().remove(&number);
        }
    }
}

async fn publish(mut socket: WebSocketStream<TcpStream>, members: &Members) {
    while let Some(Ok(message)) = socket.next().await {
        if message.is_ping() || message.is_close() {
            continue;
        }
        let mut full = Vec::new();
        for member in members.borrow().values() {
            if let Err(mpsc::error::TrySendError::Full(message)) = member.try_send(message.clone()) {
                full.push((member.clone(), message));
            }
        }
        for (member, message) in full {
            // One that has gone is taken out by its own task.
            let _ = member.send(message).await;
        }
    }
}

async fn sink(mut socket: WebSocketStream<TcpStream>) {
    let mut received = 0_u64;
    while let Some(Ok(message)) = socket.next().await {
        std::hint::black_box(&message);
        received += 1;
    }
    std::hint::black_box(received);
}

/// What waits together is flushed together.
async fn member(mut socket: WebSocketStream<TcpStream>, mut queue: mpsc::Receiver<Message>) {
    if socket.send(Message::text("joined")).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            message = queue.recv() => {
                let Some(mut message) = message else { return };
                loop {
                    if socket.feed(message).await.is_err() {
                        return;
                    }
                    match queue.try_recv() {
                        Ok(next) => message = next,
                        Err(_) => break,
                    }
                }
                if socket.flush().await.is_err() {
                    return;
                }
            }
            read = socket.next() => {
                if !matches!(read, Some(Ok(_))) {
                    return;
                }
            }
        }
    }
}

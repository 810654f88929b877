use super::*;
use crate::api::testing::{ANY, on_a_shard, start};
use crate::core::random::Rng;
use axum::{Router, body::Body, extract::Request, routing::get};
use http::{Response, StatusCode, header};
use std::future::poll_fn;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};

async fn pair() -> (EdgeIo, TcpStream) {
    let listener = TcpListener::bind(ANY).await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (EdgeIo::new(EdgeStream::Plain(server)), client)
}

fn nothing_came(client: &TcpStream) -> bool {
    client.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[test]
fn small_writes_leave_with_the_flush() {
    on_a_shard(async {
        let (mut io, mut client) = pair().await;
        io.write_all(b"one ").await.unwrap();
        let slices = [IoSlice::new(b"two "), IoSlice::new(b"three")];
        let written = poll_fn(|context| Pin::new(&mut io).poll_write_vectored(context, &slices)).await;
        assert_eq!((written.unwrap(), io.waiting()), (9, 13));
        assert!(nothing_came(&client));
        io.flush().await.unwrap();
        assert_eq!((io.waiting(), io.gathered.capacity()), (0, 0), "no buffer while idle");
        let mut got = [0; 13];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"one two three");
    });
}

#[test]
fn deferred_flushes_wait_for_the_turns_end() {
    on_a_shard(async {
        let (io, mut client) = pair().await;
        let mut shared = SharedIo::new(io);
        for _ in 0..3 {
            shared.write_all(b"frame").await.unwrap();
            shared.flush().await.unwrap();
        }
        assert!(nothing_came(&client));
        poll_fn(|context| shared.poll_flush_now(context)).await.unwrap();
        let mut got = [0; 64];
        assert_eq!(client.read(&mut got).await.unwrap(), 15, "one write");
        shared.write_all(b"last").await.unwrap();
        shared.shutdown().await.unwrap();
        assert_eq!(client.read(&mut got).await.unwrap(), 4);
        assert_eq!(client.read(&mut got).await.unwrap(), 0);
    });
}

#[test]
fn large_and_many_writes_keep_their_order_against_a_slow_reader() {
    on_a_shard(async {
        let (mut io, mut client) = pair().await;
        let mut expected = Vec::new();
        let mut random = Rng(1);
        for round in 0..400u32 {
            let length = random.index(40_000);
            expected.extend(std::iter::repeat_n(round as u8, length));
        }
        let sent = expected.clone();
        let writer = tokio::task::spawn_local(async move {
            let mut rest = &sent[..];
            let mut step = 1;
            while !rest.is_empty() {
                step = (step * 7) % 50_021;
                let (now, later) = rest.split_at(step.min(rest.len()));
                io.write_all(now).await.unwrap();
                rest = later;
            }
            io.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        writer.await.unwrap();
        assert!(got == expected);
    });
}

/// An upgrade as WebSocket ingress does it: 101, then the socket and what the client sent ahead.
#[test]
fn an_upgrade_gives_the_socket_back_with_what_was_read_ahead() {
    on_a_shard(async {
        let (taken, mut receive) = mpsc::channel(1);
        let upgrade = move |mut request: Request| {
            let taken = taken.clone();
            async move {
                let upgraded = hyper::upgrade::on(&mut request);
                tokio::task::spawn_local(async move {
                    let io = EdgeIo::take(upgraded.await.unwrap()).await.unwrap();
                    let _ = taken.send(io).await;
                });
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                response.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
                response.headers_mut().insert(header::UPGRADE, "echo".parse().unwrap());
                response
            }
        };
        let router = Router::new().route("/ws", get(upgrade));
        let running = start(router);
        let mut client = TcpStream::connect(running.address).await.unwrap();
        let request =
            b"GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nahead of the answer";
        client.write_all(request).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        let Taken { stream, mut read_ahead } = receive.recv().await.unwrap();
        let EdgeStream::Plain(mut socket) = stream else { panic!("plain") };
        client.write_all(b", and after").await.unwrap();
        let mut rest = vec![0; 64];
        let mut all = read_ahead.split_to(read_ahead.len()).to_vec();
        while all.len() < b"ahead of the answer, and after".len() {
            let read = socket.read(&mut rest).await.unwrap();
            assert!(read > 0);
            all.extend_from_slice(&rest[..read]);
        }
        assert_eq!(all, b"ahead of the answer, and after");
        socket.write_all(b"from the new owner").await.unwrap();
        let mut answer = [0; 18];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"from the new owner");
    });
}

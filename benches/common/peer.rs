//! The other end of dialled connections: raw sockets that write bytes made before, or an echo.

use super::os;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Accepts on its own thread, so that dialling and feeding need not take turns.
pub struct Peer {
    pub address: SocketAddr,
    accepted: mpsc::Receiver<TcpStream>,
}

impl Peer {
    pub fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (sender, accepted) = mpsc::sync_channel(65_536);
        thread::spawn(move || {
            os::pin(1);
            for stream in listener.incoming() {
                let mut stream = stream.expect("accept");
                answer_handshake(&mut stream);
                if sender.send(stream).is_err() {
                    return;
                }
            }
        });
        Peer { address, accepted }
    }

    pub fn take(&self, count: usize) -> Vec<TcpStream> {
        let patience = Duration::from_secs(60);
        (0..count).map(|_| self.accepted.recv_timeout(patience).expect("a connection")).collect()
    }
}

fn answer_handshake(stream: &mut TcpStream) {
    stream.set_nodelay(true).expect("TCP");
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let _ = stream.write_all(handshake_answer(&head).as_bytes());
}

fn handshake_answer(head: &[u8]) -> String {
    let head = String::from_utf8_lossy(head);
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    });
    let accept = derive_accept_key(key.expect("a key").as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// A server's frame: text, final, not masked.
pub fn put_frame(out: &mut Vec<u8>, payload: &[u8]) {
    out.push(0x81);
    match payload.len() {
        len @ 0..=125 => out.push(len as u8),
        len @ 126..=65535 => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// Until `seen` reaches `target`; the caller's core has nothing better to do.
pub fn await_count(seen: &AtomicU64, target: u64) {
    let give_up = Instant::now() + Duration::from_secs(60);
    let mut looks = 0_u32;
    while seen.load(Ordering::Acquire) < target {
        looks += 1;
        if looks.is_multiple_of(64) {
            thread::yield_now();
            assert!(Instant::now() < give_up, "{} of {target} arrived", seen.load(Ordering::Acquire));
        }
    }
}

/// For a thread on the other core to come to rest.
pub fn let_settle() {
    let until = Instant::now() + Duration::from_micros(100);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

/// An echo on one core: all that one read brought goes back in one write.
pub fn echo(core: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    listener.set_nonblocking(true).expect("a socket");
    thread::spawn(move || {
        os::pin(core);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("in a runtime");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(echo_one(stream));
            }
        });
    });
    address
}

async fn echo_one(mut stream: tokio::net::TcpStream) -> std::io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    stream.set_nodelay(true)?;
    let mut input = Vec::with_capacity(64 * 1024);
    while !input.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(handshake_answer(&input).as_bytes()).await?;
    input.clear();
    let mut out = Vec::with_capacity(64 * 1024);
    while stream.read_buf(&mut input).await? > 0 {
        let mut at = 0;
        while let Some(size) = echo_frame(&input[at..], &mut out) {
            at += size;
        }
        input.drain(..at);
        stream.write_all(&out).await?;
        out.clear();
    }
    Ok(())
}

/// Answers one masked frame; the bytes it took, or None when it is not whole.
fn echo_frame(input: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let (head, len) = match *input.get(1)? & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes([*input.get(2)?, *input.get(3)?]))),
        127 => return None,
        len => (2, usize::from(len)),
    };
    let mask: [u8; 4] = input.get(head..head + 4)?.try_into().ok()?;
    let payload = input.get(head + 4..head + 4 + len)?;
    if input[0] & 0x0f < 8 {
        put_frame(out, payload);
        let start = out.len() - payload.len();
        for (place, byte) in out[start..].iter_mut().enumerate() {
            *byte ^= mask[place & 3];
        }
    }
    Some(head + 4 + len)
}

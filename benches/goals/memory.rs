//! What an idle connection keeps, in a process of its own: dirty private pages a connection.

use crate::common::{
    os,
    peer::Peer,
    rooms, scaled,
    shard::{self, Shard},
    table::Row,
};
use std::{
    io::Write,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};
use websocket_manager::limits;

pub fn run() -> Vec<Row> {
    let count = scaled(5000);
    let bare = measured("memory-bare", count, &server_frame());
    let ours = measured("memory-shard", count, &server_frame());
    let mut row = Row::absolute(
        &format!("idle dialled connection, {count} of them, state included"),
        2.5,
        ours[0],
        bare[0],
        "KiB",
    );
    row.measured = format!("{} (after a message {:.2} KiB)", row.measured, ours[1]);
    vec![row]
}

/// The same of connections that came to us, all of them in one room.
pub fn accepted() -> Vec<Row> {
    os::allow_many_files();
    let count = scaled(5000);
    let bare = measured("memory-bare", count, &server_frame());
    // A client's: masked, by zeros.
    let ours =
        measured("memory-accepted", count, &[&[0x82, 0xfe, 1, 0, 0, 0, 0, 0][..], &[b'x'; 256]].concat());
    let goal = format!("idle accepted connection, {count} of them in a room, state included");
    let mut row = Row::absolute(&goal, 2.0, ours[0], bare[0], "KiB");
    row.measured = format!("{} (after a message {:.2} KiB)", row.measured, ours[1]);
    vec![row]
}

fn server_frame() -> Vec<u8> {
    let mut frame = Vec::new();
    crate::common::peer::put_frame(&mut frame, &[b'x'; 256]);
    frame
}

/// KiB a connection: fresh, and after one message.
fn measured(role: &str, count: usize, frame: &[u8]) -> Vec<f64> {
    let peer = Peer::listen();
    os::unpin();
    let mut child = Command::new(std::env::current_exe().expect("a path"))
        .args([crate::ROLE, role, &peer.address.to_string(), &count.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program again");
    os::pin(1);
    let mut streams = peer.take(count + WARM);
    let mut stdin = child.stdin.take().expect("piped");
    // It tells when it is done by asking for the messages.
    let mut out = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).expect("figures");
    let fresh = line.trim().parse().expect("a number");
    streams.iter_mut().for_each(|stream| stream.write_all(frame).expect("open"));
    std::thread::sleep(Duration::from_secs(1));
    stdin.write_all(b"\n").expect("alive");
    line.clear();
    std::io::BufRead::read_line(&mut out, &mut line).expect("figures");
    let used = line.trim().parse().expect("a number");
    let _ = child.kill();
    let _ = child.wait();
    vec![fresh, used]
}

/// Opened before the baseline is taken: buffers of batches and the list of lifecycle events are
/// there once, and bounded, however many connections there are.
const WARM: usize = 1200;

fn arguments(rest: &[String]) -> (SocketAddr, usize) {
    (rest[0].parse().expect("an address"), rest[1].parse().expect("a count"))
}

fn report(count: usize, baseline: u64, other: impl Fn() -> u64) {
    let mut line = String::new();
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(500));
        let kib = (os::private_dirty().saturating_sub(baseline).saturating_sub(other())) as f64 / 1024.0;
        println!("{:.4}", kib / count as f64);
        let _ = std::io::stdin().read_line(&mut line);
    }
    std::thread::sleep(Duration::from_secs(60));
}

/// A task and a socket: nobody who uses tokio can have less.
pub fn bare(rest: &[String]) {
    os::small_pages_only();
    let (address, count) = arguments(rest);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (sender, opened) = std::sync::mpsc::sync_channel(65_536);
    std::thread::spawn(move || {
        runtime.block_on(async {
            for number in 0..count + WARM {
                if number == WARM {
                    let _ = sender.send(os::private_dirty());
                }
                let mut tcp = tokio::net::TcpStream::connect(address).await.expect("the peer listens");
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                tcp.write_all(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: x\r\n\r\n").await.expect("open");
                tokio::spawn(async move {
                    let mut small = [0; 64];
                    while tcp.read(&mut small).await.unwrap_or(0) > 0 {}
                });
            }
            let _ = sender.send(0);
            std::future::pending::<()>().await;
        });
    });
    let baseline = opened.recv().expect("a figure");
    let _ = opened.recv();
    report(count, baseline, || 0);
}

pub fn shard(rest: &[String]) {
    os::small_pages_only();
    let (address, count) = arguments(rest);
    let (shard, hub) = shard::alone();
    shard::connect_some(&hub, address, 0..WARM, true);
    let baseline = os::private_dirty();
    shard::connect_some(&hub, address, WARM..WARM + count, true);
    report(count, baseline, || retained(&shard));
}

/// The retained log is bounded by its own budget and shared by all: it is not a connection's.
fn retained(shard: &Shard) -> u64 {
    let (sender, told) = std::sync::mpsc::sync_channel(1);
    shard.run(move |local| async move {
        let _ = sender.send(local.core().gauges().ring_bytes);
    });
    told.recv().expect("the shard runs")
}

/// Sockets like those that a server accepts: the handshake is over, and the shard gets them.
pub fn members(rest: &[String]) {
    os::small_pages_only();
    let (address, count) = arguments(rest);
    let (shard, hub) = shard::alone();
    let usual = rooms::spec(limits::PING_INTERVAL_DEFAULT);
    let come = |count: usize| {
        let streams = (0..count).map(|_| handshaken(address)).collect();
        drop(rooms::admit(&shard, &hub, streams, &usual, true));
    };
    come(WARM);
    let baseline = os::private_dirty();
    // In parts, as a server would see them: a list of all sockets is this benchmark's own.
    (0..count / PART).for_each(|_| come(PART));
    report(count, baseline, || retained(&shard));
}

const PART: usize = 100;

fn handshaken(address: SocketAddr) -> std::net::TcpStream {
    use std::io::Read;
    let mut stream = std::net::TcpStream::connect(address).expect("the peer listens");
    stream.write_all(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: x\r\n\r\n").expect("open");
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    stream
}

//! Clients that come in by the service's HTTP port, from the SYN to the 101.

use crate::common::{clients::upgrade, median, os, runs, scaled, service::Service, table::Row};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// A room of its own, open to all: what every service has unless it is told otherwise.
const PATH: &str = "/ws/bench";
/// Handshakes under way at once.
const WINDOW: usize = 64;
const PATIENCE: Duration = Duration::from_secs(30);

/// On one core, the client on the other: handshakes for each second of the service's CPU time.
pub fn run() -> Vec<Row> {
    os::allow_many_files();
    let service = Service::start(&[]);
    let (count, mut rates, mut walls) = (scaled(3000), Vec::new(), Vec::new());
    for run in 0..=runs() {
        let (before, began) = (service.clock.nanos(), Instant::now());
        let open = come_in(service.http, count);
        if run > 0 {
            rates.push(count as f64 / ((service.clock.nanos() - before) as f64 / 1e9));
            walls.push(count as f64 / began.elapsed().as_secs_f64());
        }
        drop(open);
        wait_for_rest(&service);
    }
    let rate = median(rates);
    vec![Row {
        goal: "handshakes, the whole service on one core".into(),
        bound: ">= 3000/s".into(),
        measured: format!("{rate:.0} a CPU-second ({:.0}/s on the clock)", median(walls)),
        floor: "-".into(),
        met: rate >= 3000.0,
    }]
}

/// All sockets, open.
fn come_in(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let request = upgrade(address, PATH);
    let mut ready = os::Readable::new();
    let mut streams: Vec<(TcpStream, Vec<u8>)> = Vec::with_capacity(count);
    let (mut done, give_up) = (0, Instant::now() + PATIENCE);
    while done < count {
        while streams.len() < count && streams.len() - done < WINDOW {
            let mut stream = TcpStream::connect(address).expect("it listens");
            stream.set_nonblocking(true).expect("a socket");
            stream.write_all(request.as_bytes()).expect("a request fits");
            ready.add(&stream, streams.len());
            streams.push((stream, Vec::new()));
        }
        for number in ready.wait(1000) {
            let (stream, head) = &mut streams[number];
            let mut some = [0; 1024];
            let count = stream.read(&mut some).unwrap_or(0);
            let was_whole = head.ends_with(b"\r\n\r\n");
            head.extend_from_slice(&some[..count]);
            if !was_whole && head.ends_with(b"\r\n\r\n") {
                assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(head));
                done += 1;
            }
        }
        assert!(Instant::now() < give_up, "{done} of {count} came in");
    }
    streams.into_iter().map(|(stream, _)| stream).collect()
}

/// Until the ends of the last round cost nothing more.
fn wait_for_rest(service: &Service) {
    loop {
        let before = service.clock.nanos();
        std::thread::sleep(Duration::from_millis(50));
        if service.clock.nanos() - before < 1_000_000 {
            return;
        }
    }
}

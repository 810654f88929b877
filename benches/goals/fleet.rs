//! Instances that share one Redis: what a Send through a stranger costs, and what many quiet
//! connections cost the store.

use super::sends;
use crate::common::{
    calls::Calls,
    fleet::{Fleet, calls},
    median, os, peer, quick, runs, scaled,
    service::{Service, channel, runtime},
    table::Row,
    upstream::Upstream,
};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, ErrorKind, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};
use websocket_manager::proto::{ListRequest, web_socket_manager_client::WebSocketManagerClient};

/// CPU of both instances for a Send through the one that does not hold the connection, against one
/// through its owner.
pub fn forward() -> Vec<Row> {
    let Some(fleet) = Fleet::start() else { return Vec::new() };
    let echo = peer::echo(1);
    let (owner, other) = (fleet.member("owner"), fleet.member("other"));
    let plan = Calls { connections: 64, window: 1, total: scaled(40_000), bytes: 256 };
    owner.connect_all(sends::connects(echo, plan.connections));
    let clocks = [owner.clock, other.clock];
    let (mut local, mut forwarded) = (Vec::new(), Vec::new());
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for run in 0..=runs() {
        let here = sends::call_unary(owner.address, plan, &clocks);
        let there = sends::call_unary(other.address, plan, &clocks);
        if run > 0 {
            local.push(here.cpu_micros);
            forwarded.push(there.cpu_micros);
            near.push(here.p50_micros);
            far.push(there.p50_micros);
        }
    }
    let mut row =
        Row::ratio("Send through another instance, CPU of both", 2.2, median(forwarded), median(local), "us");
    row.measured = format!("{}, p50 {:.0} us", row.measured, median(far));
    row.floor = format!("{} local, p50 {:.0} us", row.floor, median(near));
    vec![row]
}

/// Many connections of one instance while nothing changes.
pub fn idle() -> Vec<Row> {
    let Some(fleet) = Fleet::start() else { return Vec::new() };
    os::allow_many_files();
    let upstream = Upstream::start();
    let service = fleet.member("idle");
    let count = if quick() { 1_000 } else { 10_000 };
    service.connect_all(upstream.connects(count));
    // The lists of ids are written at most once a second; then all is said.
    thread::sleep(Duration::from_secs(5));
    let span = Duration::from_secs(20);
    let mut redis = fleet.redis.connect();
    let before = calls(&mut redis);
    let written = watch_writes(fleet.redis.port, span);
    let after = calls(&mut redis);
    let called = |name: &str| after.get(name).unwrap_or(&0) - before.get(name).unwrap_or(&0);
    let renewals = written.get(LEASES).copied().unwrap_or(0);
    let all: u64 = written.values().sum();
    if std::env::var_os("BENCH_VERBOSE").is_some() {
        eprintln!("written by key: {written:?}; evalsha {}, set {}", called("evalsha"), called("set"));
    }
    let seconds = span.as_secs_f64();
    let rate = (all - renewals) as f64 / seconds;
    let writes = Row {
        goal: format!("{count} quiet connections: state writes a second"),
        bound: "<= 1.00 beyond leases".into(),
        measured: format!("{rate:.2} ({all} writes in {seconds:.0} s, {renewals} of a lease)"),
        floor: format!(
            "{:.2} renewals; EVALSHA {:.2}, SET {:.2}, reads {:.1}",
            renewals as f64 / seconds,
            called("evalsha") as f64 / seconds,
            called("set") as f64 / seconds,
            (called("mget") + called("hget")) as f64 / seconds,
        ),
        met: rate <= 1.0,
    };
    vec![writes, list(&service, count)]
}

const LEASES: &str = "wsm-lease";
/// What changes something in Redis, of all that the service asks of it.
const WRITES: &[&str] = &["SET", "DEL", "UNLINK", "XADD", "XTRIM", "HSET", "PEXPIRE", "SADD", "SREM"];

/// Every write in this span, by what its key begins with: as the server itself tells, scripts'
/// own commands included and counted instead of them.
fn watch_writes(port: u16, span: Duration) -> BTreeMap<String, u64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.write_all(b"MONITOR\r\n").expect("it reads");
    stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket");
    let until = Instant::now() + span;
    let (mut reader, mut line) = (BufReader::new(stream), Vec::new());
    let mut written = BTreeMap::new();
    while Instant::now() < until {
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => panic!("Redis has ended"),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(error) => panic!("Redis: {error}"),
        }
        if let Some(key) = written_key(&String::from_utf8_lossy(&line)) {
            *written.entry(key).or_insert(0) += 1;
        }
        line.clear();
    }
    written
}

/// `+1700000000.123456 [0 lua] "SET" "key" ...`
fn written_key(line: &str) -> Option<String> {
    let (_, words) = line.split_once("] ")?;
    let mut words = words.split('"').skip(1).step_by(2);
    let command = words.next()?.to_ascii_uppercase();
    if !WRITES.contains(&&*command) {
        return None;
    }
    let key = words.next()?;
    let kind = if key.starts_with(LEASES) { LEASES } else { key };
    Some(kind.to_owned())
}

/// Full pages, one after the other, as a client that reads the whole list asks for them.
fn list(service: &Service, count: usize) -> Row {
    let calls = scaled(200).max(40);
    let mut waits = runtime().block_on(async {
        let mut client =
            WebSocketManagerClient::new(channel(service.address).await).max_decoding_message_size(1 << 26);
        let (mut waits, mut page_token) = (Vec::new(), String::new());
        while waits.len() < calls {
            let request = ListRequest { page_size: 500, page_token, ..Default::default() };
            let since = Instant::now();
            let page = client.list(request).await.expect("a page").into_inner();
            let took = since.elapsed().as_secs_f64() * 1e3;
            if page.connections.len() == 500 {
                waits.push(took);
            }
            assert_eq!(page.total, count as u64);
            page_token = page.next_page_token;
        }
        waits
    });
    waits.sort_by(f64::total_cmp);
    let (p50, p99) = (waits[waits.len() / 2], waits[waits.len() * 99 / 100]);
    let goal = format!("List, a page of 500 of {count}, p50");
    let mut row = Row::absolute(&goal, 50.0, p50, f64::NAN, "ms");
    row.measured = format!("{}, p99 {p99:.1} ms", row.measured);
    row
}

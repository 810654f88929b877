//! One look at an instance's metrics: fetched over plain HTTP, read as Prometheus' text format.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

/// An instance that takes longer is shown as one that does not answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Hundreds of shards stay far below it.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

impl Sample {
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }
}

/// All samples by the name they are exported with.
#[derive(Debug, Clone)]
pub struct Scrape {
    pub at: Instant,
    samples: BTreeMap<String, Vec<Sample>>,
}

impl Scrape {
    pub fn read(at: Instant, text: &str) -> Result<Scrape, String> {
        let mut samples: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, sample) = read_line(line).ok_or_else(|| format!("not a metric: {line:.80}"))?;
            samples.entry(name).or_default().push(sample);
        }
        match samples.keys().any(|name| name.starts_with("wsm_")) {
            true => Ok(Scrape { at, samples }),
            false => Err("it has no metrics that begin with wsm_: is this the admin port?".to_owned()),
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.samples.keys().map(String::as_str)
    }

    pub fn samples(&self, name: &str) -> &[Sample] {
        self.samples.get(name).map_or(&[], Vec::as_slice)
    }

    /// Over all samples with these labels; nothing if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self
            .samples(name)
            .iter()
            .filter(|sample| labels.iter().all(|(key, value)| sample.label(key) == Some(value)))
            .peekable();
        found.peek()?;
        Some(found.map(|sample| sample.value).sum())
    }
}

/// `name{label="value",...} number`, and what may follow the number.
fn read_line(line: &str) -> Option<(String, Sample)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(mut inner) = rest.strip_prefix('{') {
        while let Some((label, after)) = read_label(inner.trim_start_matches([',', ' '])) {
            labels.push(label);
            inner = after;
        }
        rest = inner.trim_start_matches([',', ' ']).strip_prefix('}')?;
    }
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some((name.to_owned(), Sample { labels, value }))
}

/// One `label="value"` and what is behind it.
fn read_label(text: &str) -> Option<((String, String), &str)> {
    let (name, quoted) = text.split_once("=\"")?;
    if name.contains('}') {
        return None;
    }
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    loop {
        match characters.next()? {
            (at, '"') => return Some(((name.to_owned(), value), &quoted[at + 1..])),
            (_, '\\') => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            (_, other) => value.push(other),
        }
    }
}

/// One instance's metrics, or why there are none.
pub fn fetch(address: &str) -> Result<Scrape, String> {
    let answer = ask(address).map_err(|error| match error.kind() {
        // What a read or a connect that took too long ends with.
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
            format!("no answer within {} s", PATIENCE.as_secs())
        }
        _ => error.to_string(),
    })?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or("it does not speak HTTP: is this the admin port?")?;
    match head.lines().next().unwrap_or_default() {
        line if line.split(' ').nth(1) == Some("200") => Scrape::read(Instant::now(), body),
        line => Err(format!("/metrics answered '{line}': is this the admin port?")),
    }
}

/// HTTP/1.0, so that the answer comes in one piece and ends with the connection.
fn ask(address: &str) -> std::io::Result<Vec<u8>> {
    let end = Instant::now() + PATIENCE;
    let left = || match end.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(std::io::Error::from(std::io::ErrorKind::TimedOut)),
        left => Ok(left),
    };
    let place = address.to_socket_addrs()?.next().ok_or_else(|| std::io::Error::other("no such address"))?;
    let mut stream = TcpStream::connect_timeout(&place, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\nAccept: text/plain\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        stream.set_read_timeout(Some(left()?))?;
        let taken = stream.read(&mut piece)?;
        if taken == 0 {
            return Ok(answer);
        }
        answer.extend_from_slice(&piece[..taken]);
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(std::io::Error::other(format!("its answer is larger than {ANSWER_BYTES_MAX} bytes")));
        }
    }
}

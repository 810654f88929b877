//! `loadtest watch`: what a service does, live in a terminal, from its own metrics.

pub mod figures;
pub mod terminal;
pub mod view;

use crate::{
    clock::{self, MILLI},
    http,
    scrape::Scrape,
    stop,
    trouble::{EXIT_OK, Result, Trouble},
};
use figures::Instance;
use std::{
    net::ToSocketAddrs,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use terminal::Page;
use view::{Block, Line, Tone};

#[cfg(test)]
mod tests;

pub const HELP: &str = "\
Shows what a service does, live, from the metrics of its admin port.

Usage: loadtest/watch [--admin HOST:PORT]... [--every TIME] [--once]

  --admin HOST:PORT  Admin port of an instance; repeatable, at most 64 [default: 127.0.0.1:5003]
  --every TIME       How often to look: 500ms, 1s, 1m; 100ms to 1h [default: 1s]
  --once             Look twice, print one plain table, and end; 1 if an instance is not there
  -h, --help         Print this

Ctrl-C ends it. NO_COLOR=1 leaves colours out.";

const ADMIN_DEFAULT: &str = "127.0.0.1:5003";
const INSTANCES_MAX: usize = 64;
/// An instance that takes longer is shown as one that does not answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How soon Ctrl-C and a window of another size are noticed.
const GLANCE: u64 = 100 * MILLI;

#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    pub admin: Vec<String>,
    pub every: Duration,
    pub once: bool,
}

impl Options {
    /// Nothing when help was asked for.
    pub fn read(words: &[String]) -> Result<Option<Options>> {
        let mut options = Options { admin: Vec::new(), every: Duration::from_secs(1), once: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (flag, mut given) = match word.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            let mut value = || {
                given.take().or_else(|| words.next().cloned()).ok_or_else(|| usage(flag, "it wants a value"))
            };
            match flag {
                "-h" | "--help" => return Ok(None),
                "--once" => options.once = true,
                "--admin" => options.admin.push(address(&value()?)?),
                "--every" => options.every = every(&value()?)?,
                _ => return Err(usage(flag, "no such option")),
            }
        }
        if options.admin.is_empty() {
            options.admin.push(ADMIN_DEFAULT.to_owned());
        }
        if options.admin.len() > INSTANCES_MAX {
            return Err(usage("--admin", &format!("at most {INSTANCES_MAX} instances")));
        }
        Ok(Some(options))
    }
}

fn usage(flag: &str, why: &str) -> Trouble {
    Trouble::Usage(format!("{flag}: {why}; loadtest/watch --help says what there is"))
}

fn address(text: &str) -> Result<String> {
    let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let port = bare.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>()));
    match port {
        Some(Ok(1..)) if !bare.contains('/') => Ok(bare.to_owned()),
        _ => Err(usage("--admin", &format!("'{text}' is not HOST:PORT, such as {ADMIN_DEFAULT}"))),
    }
}

fn every(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => Some(1),
        "s" | "" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let millis = unit.zip(digits.parse::<u64>().ok()).and_then(|(unit, count)| count.checked_mul(unit));
    match millis {
        Some(millis @ 100..=3_600_000) => Ok(Duration::from_millis(millis)),
        _ => Err(usage("--every", &format!("'{text}' is not a time from 100ms to 1h"))),
    }
}

/// The exit code.
pub fn run(words: &[String]) -> Result<u8> {
    let Some(options) = Options::read(words)? else {
        println!("{HELP}");
        return Ok(EXIT_OK);
    };
    match options.once {
        true => once(&options),
        false => live(&options),
    }
}

/// Two looks, for rates, and a table without a terminal's marks.
fn once(options: &Options) -> Result<u8> {
    stop::listen();
    let mut instances = unseen(&options.admin);
    look(&mut instances);
    missing(&instances)?;
    pause(clock::now() + nanos(options.every), || false);
    look(&mut instances);
    if stop::asked() {
        return Err(Trouble::Interrupted);
    }
    missing(&instances)?;
    let (left, right) = blocks(&instances, usize::MAX);
    let below = terminal::stacked(left.into_iter().chain(right).collect());
    for line in view::instances(&instances).into_iter().chain(below) {
        println!("{}", line.text.trim_end());
    }
    Ok(EXIT_OK)
}

fn missing(instances: &[Instance]) -> Result<()> {
    let absent = |it: &Instance| it.now.as_ref().err().map(|why| format!("{}: {why}", it.address));
    match instances.iter().find_map(absent) {
        None => Ok(()),
        Some(why) => Err(Trouble::Unavailable(format!(
            "no metrics at {why}; --admin names the admin port, which the service's ready line shows"
        ))),
    }
}

fn live(options: &Options) -> Result<u8> {
    if !terminal::is_there() {
        let why = "standard output is no terminal: --once prints one table and ends";
        return Err(Trouble::Usage(why.to_owned()));
    }
    // A second Ctrl-C must not end us before the terminal is put back.
    stop::listen_only();
    let page = Page::open()?;
    let mut instances = unseen(&options.admin);
    let mut next = clock::now();
    loop {
        look(&mut instances);
        if stop::asked() {
            return Ok(EXIT_OK);
        }
        page.draw(&picture(&instances, options))?;
        // A look that took longer than it may does not make the next ones come in a heap.
        next = (next + nanos(options.every)).max(clock::now());
        let drawn = terminal::size();
        while pause(next, || terminal::size() != drawn) {
            page.draw(&picture(&instances, options))?;
        }
    }
}

fn picture(instances: &[Instance], options: &Options) -> Block {
    let size = terminal::size();
    let (left, right) = blocks(instances, size.width);
    let text = format!("WebSocket Manager, every {:?}; Ctrl-C ends this", options.every);
    let mut head = vec![Line { text, tone: Tone::Heading }];
    head.extend(view::instances(instances));
    terminal::fit(head, left, right, size)
}

/// By how much they matter when the window is small.
fn blocks(instances: &[Instance], width: usize) -> (Vec<Block>, Vec<Block>) {
    if instances.iter().all(|instance| instance.now.is_err()) {
        return (Vec::new(), Vec::new());
    }
    let left = vec![view::flows(instances, width), view::latencies(instances), view::shards(instances)];
    (left, vec![view::losses(instances), view::queues(instances), view::holdings(instances)])
}

fn unseen(addresses: &[String]) -> Vec<Instance> {
    let nothing = |address: &String| Instance {
        address: address.clone(),
        now: Err("not asked yet".to_owned()),
        before: None,
    };
    addresses.iter().map(nothing).collect()
}

/// At all at the same time: one that does not answer keeps nobody waiting, and Ctrl-C waits for none.
fn look(instances: &mut [Instance]) {
    // Room for all answers: nobody waits with one.
    let (sender, answers) = mpsc::sync_channel(instances.len());
    for (nth, instance) in instances.iter().enumerate() {
        let (sender, address) = (sender.clone(), instance.address.clone());
        // It ends within the patience of a look, and so does this process when it ends before.
        thread::spawn(move || sender.send((nth, fetch(&address))));
    }
    drop(sender);
    while !stop::asked() {
        match answers.recv_timeout(Duration::from_nanos(GLANCE)) {
            Ok((nth, answer)) => instances[nth].look(answer),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// One instance's metrics, or why there are none.
fn fetch(address: &str) -> std::result::Result<Scrape, String> {
    let place =
        address.to_socket_addrs().map_err(|error| error.to_string())?.next().ok_or("no such address")?;
    Scrape::read(Instant::now(), &http::get(place, "/metrics", PATIENCE)?)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Until then, or Ctrl-C, or something that wants to be seen at once: then true.
fn pause(until: u64, mut sees: impl FnMut() -> bool) -> bool {
    while clock::now() < until && !stop::asked() {
        clock::sleep_until(until.min(clock::now() + GLANCE));
        if sees() {
            return true;
        }
    }
    false
}

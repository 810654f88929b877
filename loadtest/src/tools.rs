//! Other people's load tools against the service: k6 and ghz with the scripts and configurations of
//! this folder. We start what they need, and say whether their thresholds held.

pub mod ghz;
pub mod k6;

use crate::{
    children::{Child, Start},
    clock::{self, SECOND},
    options::WORDS,
    report::{Outcome, Table},
    scenarios::Scenario,
    service::Service,
    stage::{self, Stage},
    stop,
    trouble::{Result, Trouble},
};
use rustix::process::Signal;
use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

/// Run by name alone, never among `all`: they need what not everybody has.
pub const SCENARIOS: &[Scenario] = &[
    k6::scenario("k6-send", "k6: Send, a unary call and its correlated reply"),
    k6::scenario("k6-connect", "k6: Connect and Disconnect, a socket to the upstream each"),
    k6::scenario("k6-list", "k6: List, a page of the connections with a tag among many"),
    k6::scenario("k6-send-stream", "k6: SendStream, many Sends on one call"),
    k6::scenario("k6-rooms-send", "k6: Rooms.Send, each message numbered"),
    k6::scenario("k6-rooms", "k6: many sockets in a room, each sees every number once"),
    ghz::scenario("ghz-send", "ghz: Send, a unary call and its correlated reply"),
    ghz::scenario("ghz-connect", "ghz: Connect, a socket to the upstream each"),
    ghz::scenario("ghz-disconnect", "ghz: Disconnect, of connections made before"),
    ghz::scenario("ghz-list", "ghz: List, a page of the connections with a tag among many"),
    ghz::scenario("ghz-send-stream", "ghz: SendStream, calls of 100 Sends each"),
    ghz::scenario("ghz-rooms-send", "ghz: Rooms.Send, each message numbered"),
];

/// Which of these a script or a configuration has a name for is its own matter.
const TAKES: &[&str] = &["--seconds", "--rate", "--connections", "--bytes", "--shards", WORDS];

/// What a tool may take beyond the time it was given: starting, the last answers, its summary.
const GRACE: u64 = 60 * SECOND;
/// From Ctrl-C to the end of a tool that makes a summary of what it has.
const PARTING: u64 = 10 * SECOND;
const GLANCE: u64 = SECOND / 50;
/// Lines of a tool's output that are kept; more are no summary.
const LINES_MAX: usize = 2000;

/// A program that is installed with `go install`, and the version that the scripts were written for.
pub struct Program {
    pub name: &'static str,
    pub variable: &'static str,
    pub module: &'static str,
}

impl Program {
    /// Where it is: named, in this checkout, on the path, or where Go puts it.
    pub fn find(&self) -> Result<PathBuf> {
        if let Some(named) = env::var_os(self.variable).map(PathBuf::from) {
            return match named.is_file() {
                true => Ok(named),
                false => {
                    Err(Trouble::Unavailable(format!("{}: {} is no file", self.variable, named.display())))
                }
            };
        }
        let here = root().join(".cache/bin");
        let path = env::var_os("PATH").unwrap_or_default();
        let go = env::var_os("HOME").map(|home| Path::new(&home).join("go/bin"));
        let folders = std::iter::once(here).chain(env::split_paths(&path)).chain(go);
        folders.map(|folder| folder.join(self.name)).find(|place| place.is_file()).ok_or_else(|| {
            Trouble::Unavailable(format!(
                "{} is not installed. Install it with `GOBIN=$PWD/.cache/bin go install {}` (a minute or two), put \
                 it on the PATH, or name it by {}",
                self.name, self.module, self.variable
            ))
        })
    }
}

/// This checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What was set by a flag or a word `NAME=VALUE`, each name at most once.
pub fn settings(
    stage: &Stage,
    flags: &[(&str, Option<String>, &str)],
    words: &[&str],
) -> Result<Vec<(String, String)>> {
    let options = &stage.options;
    let name = &options.scenario;
    let mut found: Vec<(String, String)> = Vec::new();
    for (flag, value, setting) in flags {
        match (value, *setting) {
            (Some(_), "") => return Err(Trouble::Usage(format!("{flag}: {name} has no such thing"))),
            (Some(value), setting) => found.push((setting.to_owned(), value.clone())),
            (None, _) => {}
        }
    }
    for word in &options.words {
        let known =
            word.split_once('=').filter(|(setting, value)| words.contains(setting) && !value.is_empty());
        let Some((setting, value)) = known else {
            let all = words.join(", ");
            return Err(Trouble::Usage(format!("'{word}': {name} knows NAME=VALUE with these names: {all}")));
        };
        if found.iter().any(|(other, _)| other == setting) {
            return Err(Trouble::Usage(format!("{setting} is set more than once")));
        }
        found.push((setting.to_owned(), value.to_owned()));
    }
    Ok(found)
}

/// How a tool ended.
pub struct Ended {
    /// Nothing: it was ended.
    pub status: Option<ExitStatus>,
    pub output: Vec<String>,
    pub complaints: String,
}

/// Runs a tool to its end beside a line that tells how far it is.
pub fn attend(
    stage: &Stage,
    service: &Service,
    program: &Path,
    nanos: u64,
    arguments: impl FnOnce(&mut Command),
) -> Result<Ended> {
    let name = &stage.options.scenario;
    let cores = stage.cores(stage.shards()).generator;
    let start = Start { name, program: program.as_os_str(), cores: &cores, small_pages: false };
    let begun = clock::now();
    let mut child = Child::start(&start, arguments)?;
    let mut output = Vec::new();
    let mut give_up = begun + nanos + GRACE;
    let mut parting = false;
    loop {
        let (lines, more) = child.lines();
        output.extend(lines);
        output.truncate(LINES_MAX);
        let status = child.status();
        if status.is_some() && !more {
            return Ok(Ended { status, output, complaints: child.complaints() });
        }
        if stop::asked() && !parting {
            parting = true;
            child.signal(Signal::INT);
            give_up = clock::now() + PARTING;
        }
        if clock::now() > give_up {
            child.end();
            let complaints = format!("\n    it did not end in time and was ended{}", child.complaints());
            return Ok(Ended { status: None, output, complaints });
        }
        stage.progress.tick(|| line(name, service, clock::now() - begun, nanos));
        clock::sleep(GLANCE);
    }
}

/// Told by the service's own counters: a tool that says nothing until its end is seen to work.
fn line(name: &str, service: &Service, passed: u64, nanos: u64) -> String {
    let done = match service.scrape() {
        Ok(scrape) => format!(
            "{} Sends, {} posts to rooms, {} deliveries, {} dials",
            scrape.sum_of("wsm_sends_ended_total", "outcome", "replied"),
            scrape.sum("wsm_room_posts_total"),
            scrape.sum_of("wsm_room_deliveries_total", "outcome", "delivered"),
            scrape.sum("wsm_dials_total"),
        ),
        Err(trouble) => trouble.to_string(),
    };
    format!("{name}: {} s of {} s; {done}", passed / SECOND, nanos / SECOND)
}

/// Thresholds of a tool, or ours for it: shown, and those that did not hold are failures.
pub struct Thresholds(Table);

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds(Table::new("thresholds", &["of", "wanted", "found", "held"]))
    }
}

impl Thresholds {
    pub fn add(&mut self, outcome: &mut Outcome, of: &str, wanted: &str, found: &str, held: bool) {
        let word = if held { "yes" } else { "NO" };
        self.0.row(&[of, wanted, found, word].map(str::to_owned));
        if !held {
            outcome.failures.push(format!("threshold: {of} {wanted}, found {found}"));
        }
    }

    pub fn into(self, outcome: &mut Outcome) {
        outcome.tables.push(self.0);
    }
}

/// The tool's own summary goes before ours, unless a program reads along.
fn show(stage: &Stage, ended: &Ended) {
    if !stage.options.json {
        for line in ended.output.iter().filter(|line| !line.trim().is_empty()) {
            println!("{line}");
        }
    }
}

/// The service's books, and its end.
fn close(stage: &Stage, mut service: Service, outcome: &mut Outcome) -> Result<()> {
    let (_, books) = stage::settle(&service, 2 * SECOND)?;
    outcome.books = books;
    if stop::asked() {
        outcome.partial = true;
        // Thresholds are about the whole run: what does not hold of a part of it is told, and no failure.
        let untold = outcome.failures.drain(..).map(|failure| format!("of this part: {failure}"));
        outcome.notes.extend(untold);
    }
    outcome.fact("shards", stage.shards());
    service.end()
}

/// A number of a tool's JSON, for people.
fn figure(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

#[cfg(test)]
mod tests;

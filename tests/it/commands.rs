//! What the binary does besides serving, as a user sees it: the real binary in the real shell.

use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

/// Generous: a loaded machine is slow, and a test that passes never waits this long.
const PATIENCE: Duration = Duration::from_secs(30);
const BINARY: &str = env!("CARGO_BIN_EXE_websocket-manager");

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    // Nothing of the surroundings may leak in: HOSTNAME, DAPR_*, WSM_*.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A process that runs until it is told to leave.
struct Running {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(65_536);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = command(BINARY, arguments).spawn().expect("the binary starts");
        let out = lines(child.stdout.take().expect("stdout is piped"));
        let err = lines(child.stderr.take().expect("stderr is piped"));
        Running { child, out, err }
    }

    /// The demo, and what its block says.
    fn demo(data: &Path) -> (Self, Block) {
        Self::demo_at(data, "0", "0")
    }

    fn demo_at(data: &Path, http: &str, grpc: &str) -> (Self, Block) {
        let data = data.to_str().expect("a path");
        let ports = ["--http-port", http, "--grpc-port", grpc, "--admin-port", "0"];
        let demo = Running::start(&[&["demo", "--shards", "2", "--data-dir", data], &ports[..]].concat());
        let ready = demo.line("the ready line", |line| line.starts_with("ready "));
        let mut text = String::new();
        demo.line("the block's end", |line| {
            text.push_str(line);
            text.push('\n');
            line.contains("Ctrl-C")
        });
        (demo, Block { ready, text })
    }

    /// The first line of standard output that is wanted.
    #[track_caller]
    fn line(&self, what: &str, wanted: impl FnMut(&str) -> bool) -> String {
        wait(&self.out, wanted).unwrap_or_else(|| {
            panic!(
                "waited in vain for {what}; standard error:\n{}",
                self.err.try_iter().collect::<Vec<_>>().join("\n")
            )
        })
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = command("sh", &["-c", "kill -$0 $1", name, &pid]).status();
        assert!(sent.expect("sh runs").success(), "signal {name}");
    }

    /// The exit code. The end shows in the pipe, and only then is it waited for.
    #[track_caller]
    fn end(&mut self) -> Option<i32> {
        self.rest();
        self.child.wait().expect("it can be waited for").code()
    }

    /// What is still to come on standard output.
    #[track_caller]
    fn rest(&self) -> Vec<String> {
        let mut rest = Vec::new();
        loop {
            match self.out.recv_timeout(PATIENCE) {
                Ok(line) => rest.push(line),
                Err(RecvTimeoutError::Disconnected) => return rest,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end"),
            }
        }
    }

    fn interrupted(&mut self) -> Option<i32> {
        self.signal("INT");
        self.end()
    }
}

fn wait(lines: &Receiver<String>, mut wanted: impl FnMut(&str) -> bool) -> Option<String> {
    loop {
        let line = lines.recv_timeout(PATIENCE).ok()?;
        if wanted(&line) {
            return Some(line);
        }
    }
}

/// What the demo printed.
struct Block {
    ready: String,
    text: String,
}

impl Block {
    fn address(&self, port: &str) -> String {
        let pairs = self.ready.split(' ').filter_map(|word| word.split_once('='));
        let found = pairs.into_iter().find(|(key, _)| *key == port);
        found.expect("the ready line names every port").1.to_owned()
    }

    fn url(&self) -> String {
        format!("http://{}", self.address("http"))
    }

    #[track_caller]
    fn command(&self, word: &str) -> String {
        let found = self.text.lines().map(str::trim).find(|line| line.contains(word));
        found.unwrap_or_else(|| panic!("no {word} in\n{}", self.text)).to_owned()
    }
}

/// Runs to its end: the exit code, standard output, standard error.
#[track_caller]
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut running = Running::start(arguments);
    let out = running.rest().join("\n");
    let code = running.end();
    (code, out, running.err.iter().collect::<Vec<_>>().join("\n"))
}

fn shell(line: &str) -> Output {
    command("sh", &["-c", line]).output().expect("sh runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn has(program: &str) -> bool {
    let found = shell(&format!("command -v {program}")).status.success();
    if !found {
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

#[test]
fn the_demo_shows_what_can_be_tried_and_it_works() {
    let data = folder();
    let (mut demo, block) = Running::demo(data.path());
    for port in ["http", "grpc", "admin"] {
        assert!(block.text.contains(&block.address(port)), "{port} in\n{}", block.text);
    }
    if has("curl") {
        let sent = shell(&block.command("curl "));
        assert!(sent.status.success(), "{}", text(&sent.stderr));
        let reply: Value = serde_json::from_slice(&sent.stdout).expect("the answer is JSON");
        assert_eq!(reply["response"], "hello", "{reply}");
        let page = shell(&format!("curl -sSL -o /dev/null -w '%{{http_code}}' {}/swagger", block.url()));
        assert_eq!(text(&page.stdout), "200");
    }
    if has("grpcurl") {
        let listed = shell(&block.command("grpcurl "));
        assert!(text(&listed.stdout).contains("demo-ticker"), "{}", text(&listed.stderr));
    }
    // The printed command begins with the binary as it was called.
    let tail = format!("{} | head -n 3", block.command(" tail "));
    let ticks = text(&shell(&tail).stdout);
    assert_eq!(ticks.lines().count(), 3, "{ticks}");
    assert!(ticks.lines().all(|line| line.contains("demo-ticker") && line.contains("\"price\"")), "{ticks}");
    assert!(data.path().join("demo").is_dir(), "its data is a folder of its own");
    assert_eq!(demo.interrupted(), Some(0));
}

#[test]
fn a_second_demo_on_the_same_data_finds_its_connections_a_new_upstream() {
    let data = folder();
    for _ in 0..2 {
        let (mut demo, block) = Running::demo(data.path());
        let url = block.url();
        let mut tail = Running::start(&["tail", "--id", "demo-ticker", "--json", "--url", &url]);
        let tick = tail.line("a tick", |line| line.contains("price"));
        let tick: Value = serde_json::from_str(&tick).expect("JSON");
        assert!(tick["id"] == "demo-ticker" && tick["cursor"].is_string(), "{tick}");
        assert_eq!(tail.interrupted(), Some(0));
        assert_eq!(demo.interrupted(), Some(0));
    }
}

#[test]
fn a_demo_that_cannot_connect_says_so_and_fails() {
    let data = folder();
    let folder = data.path().to_str().expect("a path");
    let ports = ["--http-port", "0", "--grpc-port", "0", "--admin-port", "0", "--shards", "1"];
    let denied = ["demo", "--data-dir", folder, "--egress-deny", "127.0.0.0/8"];
    let (code, _, said) = run(&[&denied[..], &ports].concat());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the demo could not be set up") && said.contains("--egress-deny"), "{said}");
}

#[test]
fn tail_follows_topics_and_tags_from_the_http_and_the_grpc_port() {
    let data = folder();
    let (_demo, block) = Running::demo(data.path());
    let (http, grpc) = (block.url(), format!("http://{}", block.address("grpc")));
    for (source, url) in [(["--topic", "demo.ticks"], &http), (["--tag", "demo=true"], &grpc)] {
        let mut tail = Running::start(&["tail", source[0], source[1], "--url", url]);
        tail.line("a tick", |line| line.contains("demo-ticker") && line.contains("\"symbol\":\"DEMO\""));
        assert_eq!(tail.interrupted(), Some(0), "{source:?}");
    }
}

#[test]
fn tail_goes_on_where_it_was_when_the_service_comes_back() {
    let data = folder();
    let (mut demo, block) = Running::demo(data.path());
    let port = |name: &str| block.address(name).rsplit(':').next().expect("a port").to_owned();
    let (http, grpc) = (port("http"), port("grpc"));
    let url = block.url();
    let mut tail =
        Running::start(&["tail", "--topic", "demo.ticks", "--json", "--from-start", "--url", &url]);
    let offset = |line: &str| {
        let message: Value = serde_json::from_str(line).expect("JSON");
        message["offset"].as_str().map_or(0, |text| text.parse::<u64>().expect("a number"))
    };
    tail.line("the fifth", |line| offset(line) >= 4);
    assert_eq!(demo.interrupted(), Some(0));
    wait(&tail.err, |line| line.contains("waiting for the service")).expect("a note of the loss");
    let seen: Vec<u64> = tail.out.try_iter().map(|line| offset(&line)).collect();
    let (mut demo, _) = Running::demo_at(data.path(), &http, &grpc);
    wait(&tail.err, |line| line.contains("there again")).expect("a note of the return");
    let mut offsets = seen.clone();
    tail.line("a tick of the second run", |line| {
        offsets.push(offset(line));
        line.contains("price") && offsets.len() > seen.len() + 5
    });
    let steps = offsets.windows(2).all(|two| two[1] == two[0] + 1);
    assert!(steps, "nothing twice, nothing left out: {offsets:?}");
    assert_eq!(tail.interrupted(), Some(0));
    assert_eq!(demo.interrupted(), Some(0));
}

#[test]
fn tail_says_what_is_wrong() {
    let (code, _, said) = run(&["tail", "--topic", "a", "--url", "http://127.0.0.1:1"]);
    assert!(code == Some(1) && said.contains("start it with 'websocket-manager serve'"), "{said}");

    let data = folder();
    let (_demo, block) = Running::demo(data.path());
    let (url, admin) = (block.url(), format!("http://{}", block.address("admin")));
    for (arguments, part) in [
        (["tail", "--id", "nobody", "--url", &url], "there is no connection nobody at"),
        (["tail", "--topic", "a b", "--url", &url], "topic"),
        (["tail", "--topic", "a", "--url", &admin], "HTTP or gRPC port"),
    ] {
        let (code, out, said) = run(&arguments);
        assert!(code == Some(1) && said.contains(part) && out.is_empty(), "{arguments:?}: {said}");
    }
}

#[test]
fn a_connection_that_ends_ends_its_tail() {
    let data = folder();
    let (_demo, block) = Running::demo(data.path());
    let url = block.url();
    let mut tail = Running::start(&["tail", "--id", "demo-ticker", "--url", &url]);
    tail.line("a tick", |line| line.contains("price"));
    if has("curl") {
        assert!(shell(&format!("curl -sS -X DELETE {url}/v1/connections/demo-ticker")).status.success());
        tail.line("the end", |line| line.contains("=== end: "));
        wait(&tail.err, |line| line.contains("connection demo-ticker has ended")).expect("a note");
        assert_eq!(tail.end(), Some(0));
    }
}

#[test]
fn healthcheck_tells_ready_from_not_ready() {
    let (code, _, said) = run(&["healthcheck", "--url", "http://127.0.0.1:1"]);
    assert!(code == Some(1) && said.contains("not ready: http://127.0.0.1:1: "), "{said}");

    let data = folder();
    let (mut demo, block) = Running::demo(data.path());
    let (code, _, said) = run(&["healthcheck", "--url", &block.url()]);
    assert_eq!(code, Some(0), "{said}");
    // As in a container, where the service's own settings are in force.
    let port = block.address("http").rsplit(':').next().expect("a port").to_owned();
    assert_eq!(run(&["healthcheck", "--http-port", &port]).0, Some(0));
    let (_, _, said) = run(&["healthcheck", "--url", &format!("http://{}", block.address("admin"))]);
    assert!(said.contains("HTTP port"), "{said}");
    assert_eq!(demo.interrupted(), Some(0));
}

//! The program from its start to its end: what it writes, what it leaves behind, and that is nothing.

use crate::{ended, fake::Fake};
use loadtest::clock::{self, MILLI, SECOND};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

const DELAY: Duration = Duration::from_millis(50);

fn command(fake: &Fake, out: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command
        .args(arguments)
        .args(["--cores", "none", "--warmup", "0", "--rate", "100", "--connections", "2", "--service"])
        .arg(&fake.program)
        .arg("--out")
        .arg(out);
    command
}

fn wait_for(what: &str, there: impl Fn() -> bool) {
    let give_up = clock::now() + 20 * SECOND;
    while !there() {
        assert!(clock::now() < give_up, "never: {what}");
        clock::sleep(10 * MILLI);
    }
}

/// The only report in a folder, in its three forms.
fn report(out: &Path) -> (Value, String, String) {
    let folders: Vec<PathBuf> = fs::read_dir(out).expect("a folder").flatten().map(|it| it.path()).collect();
    assert_eq!(folders.len(), 1, "one run, one report");
    let read = |name: &str| fs::read_to_string(folders[0].join(name)).expect("it was written");
    let json = serde_json::from_str(&read("report.json")).expect("JSON");
    (json, read("report.txt"), read("report.html"))
}

#[test]
fn a_run_ends_with_a_report_in_three_forms_and_its_books() {
    let (fake, out) = (Fake::start(DELAY), tempfile::tempdir().expect("a folder"));
    let ended = ended::output(&mut command(&fake, out.path(), &["send-stream", "--seconds", "2"]));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{said}");
    let (json, text, page) = report(out.path());
    assert_eq!(text, String::from_utf8_lossy(&ended.stdout), "what was shown is what was kept");
    let scenario = &json["scenarios"][0];
    let send = &scenario["operations"][0];
    assert_eq!((send["done"].as_u64(), send["failed"].as_u64()), (Some(200), Some(0)));
    assert_eq!(scenario["partial"], false);
    let books = scenario["books"].as_array().expect("books");
    assert!(books.len() >= 4 && books.iter().all(|it| it["balance"] == true), "{books:?}");
    for word in
        ["send-stream", "p99.9", "schedule: 200 issued", "noise:", "books balance", "service", "upstream"]
    {
        assert!(text.contains(word), "no '{word}' in {text}");
    }
    for word in [
        "<svg",
        "Latency by percentile",
        "Done a second",
        "p50 and p99 over time",
        "Cores in use",
        "Memory of its own",
        "Books",
    ] {
        assert!(page.contains(word), "no '{word}' in the page");
    }
    assert!(!page.contains("http://") && !page.contains("https://"), "it needs nothing from elsewhere");
    assert!(!page.contains("<script"));
}

#[test]
fn json_goes_to_standard_output_when_asked_for() {
    let (fake, out) = (Fake::start(DELAY), tempfile::tempdir().expect("a folder"));
    let arguments = ["send-unary", "--seconds", "1", "--json"];
    let ended = ended::output(&mut command(&fake, out.path(), &arguments));
    let json: Value = serde_json::from_slice(&ended.stdout).expect("JSON, and nothing else");
    assert_eq!(json["scenarios"][0]["operations"][0]["done"], 100);
}

#[test]
fn books_that_do_not_balance_fail_the_run() {
    let (fake, out) = (Fake::start_with(DELAY, 3), tempfile::tempdir().expect("a folder"));
    let ended = ended::output(&mut command(&fake, out.path(), &["send-stream", "--seconds", "1"]));
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(
        said.contains("books DO NOT BALANCE: Sends, the generator's count beside the service's"),
        "{said}"
    );
    assert!(said.contains("100 issued = 103 accepted"), "{said}");
}

/// A run that is under way, and the processes that it started.
fn under_way(fake: &Fake, out: &Path) -> (Child, Vec<u32>) {
    let mut command = command(fake, out, &["send-stream", "--seconds", "600"]);
    let mut run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let lines = BufReader::new(run.stderr.take().expect("piped")).lines();
    let (sender, told) = mpsc::sync_channel(256);
    // To its end: what is still said would block it otherwise.
    thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(sender.try_send(line))));
    let give_up = clock::now() + 60 * SECOND;
    loop {
        let left = Duration::from_nanos(give_up.saturating_sub(clock::now()));
        match told.recv_timeout(left) {
            Ok(line) if line.contains(" done, ") => break,
            Ok(_) => {}
            Err(error) => {
                let _ = run.kill().and_then(|()| run.wait().map(drop));
                panic!("no progress is told: {error}");
            }
        }
    }
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.id())).expect("Linux");
    let children: Vec<u32> = children.split_whitespace().filter_map(|it| it.parse().ok()).collect();
    assert_eq!(children.len(), 2, "a service and an upstream");
    (run, children)
}

/// Ended, whether or not its parent has looked.
fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

fn signal(run: &Child, signal: Signal) {
    let pid = Pid::from_raw(run.id().cast_signed()).expect("a process");
    rustix::process::kill_process(pid, signal).expect("it runs");
}

#[test]
fn ctrl_c_leaves_a_partial_report_and_no_process() {
    let (fake, out) = (Fake::start(DELAY), tempfile::tempdir().expect("a folder"));
    let (run, children) = under_way(&fake, out.path());
    signal(&run, Signal::INT);
    let ended = ended::wait(run);
    assert_eq!(ended.status.code(), Some(130));
    let (json, text, _) = report(out.path());
    assert_eq!(json["scenarios"][0]["partial"], true);
    assert!(text.contains("partial: interrupted"), "{text}");
    assert!(json["scenarios"][0]["operations"][0]["done"].as_u64() > Some(0), "what was measured is there");
    assert!(children.iter().all(|pid| is_gone(*pid)), "its processes are gone when it is");
}

#[test]
fn a_run_that_is_killed_takes_its_processes_along() {
    let (fake, out) = (Fake::start(DELAY), tempfile::tempdir().expect("a folder"));
    let (mut run, children) = under_way(&fake, out.path());
    run.kill().expect("it runs");
    run.wait().expect("it ends");
    wait_for("its processes are gone", || children.iter().all(|pid| is_gone(*pid)));
}

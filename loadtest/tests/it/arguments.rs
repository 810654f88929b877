//! What people get wrong, and what they are told.

use crate::ended;
use std::{
    net::TcpListener,
    process::{Command, Output},
};

fn loadtest(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    ended::output(command.env_remove("WSM_BIN").args(arguments))
}

fn refused(arguments: &[&str], code: i32, words: &[&str]) {
    let output = loadtest(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?} does not say '{word}': {said}");
    }
}

#[test]
fn every_scenario_is_listed_with_what_it_shows() {
    let output = loadtest(&["--list"]);
    let text = String::from_utf8_lossy(&output.stdout);
    for scenario in loadtest::scenarios::SCENARIOS {
        assert!(text.contains(scenario.name) && text.contains(scenario.shows), "{}", scenario.name);
    }
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_scenario_that_is_not_there_is_answered_with_those_that_are() {
    refused(&["send-steam"], 64, &["'send-steam'", "did you mean 'send-stream'", "knee"]);
    refused(&["--quick"], 64, &["which scenario", "send-unary"]);
    refused(&[], 64, &["usage:", "send-unary"]);
}

#[test]
fn flags_are_bounded_and_named() {
    refused(&["knee", "--second", "3"], 64, &["'--second'", "--seconds"]);
    refused(&["knee", "--seconds", "0"], 64, &["--seconds", "'0'", "from 1 to 86400"]);
    refused(&["knee", "--rate=fast"], 64, &["--rate", "'fast'", "0.1"]);
    refused(&["knee", "--rate", "NaN"], 64, &["--rate"]);
    refused(&["knee", "--connections", "1000001"], 64, &["--connections", "1000000"]);
    refused(&["knee", "--bytes"], 64, &["--bytes wants a value"]);
    refused(&["knee", "--quick=yes"], 64, &["--quick takes no value"]);
    refused(&["knee", "--cores", "0"], 64, &["--cores", "SERVICE:GENERATOR"]);
    refused(&["knee", "--cores", "0:9999"], 64, &["--cores"]);
    refused(&["knee", "--address", "here"], 64, &["--address", "HOST:PORT"]);
    refused(&["knee", "--address", "127.0.0.1:1", "--shards", "2"], 64, &["--shards"]);
    refused(&["knee", "--address", "127.0.0.1:1", "--service", "x"], 64, &["--service"]);
}

/// What a scenario has no use for would be a setting that changes nothing.
#[test]
fn a_flag_that_changes_nothing_is_refused() {
    refused(&["storm", "--rate", "5"], 64, &["--rate", "storm", "--connections"]);
    refused(&["idle", "--warmup", "5"], 64, &["--warmup", "idle"]);
    refused(&["send-stream", "nats"], 64, &["'nats'", "send-stream", "--bytes"]);
    refused(&["send-stream", "--install"], 64, &["--install"]);
    refused(&["k6-send", "--warmup", "3"], 64, &["--warmup", "k6-send"]);
    refused(&["knee", "--seed", "3"], 64, &["'--seed'"]);
}

#[test]
fn a_folder_that_takes_no_report_is_said_before_anything_starts() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let folder = file.path().join("results").display().to_string();
    refused(&["send-stream", "--service", "/bin/false", "--out", &folder], 64, &["--out", &folder]);
}

#[test]
fn other_machines_are_not_loaded_by_accident() {
    refused(&["knee", "--address", "192.0.2.1:5002"], 64, &["192.0.2.1:5002", "--allow-remote"]);
}

#[test]
fn a_service_that_is_not_there_is_named_with_the_way_out() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").to_string();
    let three = format!("{free},{free},{free}");
    refused(&["send-stream", "--address", &three], 69, &[&free, "websocket-manager serve"]);
    refused(
        &["send-stream", "--service", "nowhere/websocket-manager"],
        69,
        &["nowhere", "cargo build --release"],
    );
    // It is there, and is no service: its end and its last words are told.
    refused(&["send-stream", "--service", "/bin/false"], 69, &["service", "ended"]);
}

#[test]
fn too_few_files_are_told_with_the_limit_and_how_to_raise_it() {
    let program = env!("CARGO_BIN_EXE_loadtest");
    for scenario in ["idle", "send-stream"] {
        let line = format!("ulimit -n 256; exec {program} {scenario} --connections 5000 --service /bin/true");
        let output = ended::output(Command::new("sh").args(["-c", &line]));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{said}");
        for word in ["RLIMIT_NOFILE", "5100", "256", "ulimit -Hn", "--connections 156"] {
            assert!(said.contains(word), "{scenario} does not say '{word}': {said}");
        }
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    refused(&["upstream", "--port", &port], 69, &[&port, "in use"]);
    refused(&["upstream", "--prot", &port], 64, &["'--prot'", "--port"]);
}

//! Upstreams of other makes: the Python `websockets` library and the Node `ws` library.

use super::{repo, wait::within};
use std::process::Stdio;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

pub struct ForeignUpstream {
    pub url: String,
    _child: Child,
}

/// Set by `tests/run`, which installs what is needed: then a missing peer is a failure.
const REQUIRED: &str = "WSM_REQUIRE_PEERS";

pub async fn python() -> Option<ForeignUpstream> {
    let python = repo::root().join(".cache/venv/bin/python");
    let there = python.exists();
    start(Command::new(python).arg("tests/upstreams/echo.py"), there, "python websockets").await
}

pub async fn node() -> Option<ForeignUpstream> {
    let there = repo::root().join("tests/node/node_modules/ws").exists();
    start(Command::new("node").arg("tests/upstreams/echo.mjs"), there, "node ws").await
}

async fn start(command: &mut Command, installed: bool, what: &str) -> Option<ForeignUpstream> {
    if !installed {
        assert!(std::env::var_os(REQUIRED).is_none(), "{what} is not installed: run tests/run once");
        eprintln!("SKIPPED: {what} is not installed: run tests/run once");
        return None;
    }
    let command =
        command.current_dir(repo::root()).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    let port = within(what, lines.next_line()).await.ok().flatten().expect("it prints its port");
    Some(ForeignUpstream { url: format!("ws://127.0.0.1:{}/", port.trim()), _child: child })
}

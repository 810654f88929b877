//! The real binary: started with free ports, stopped in every way, restarted on the same data.

use super::{
    grpc::{Client, connect_to},
    http::Http,
    metrics::Metrics,
    pki::Pki,
    wait::within,
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, process::Stdio, sync::Arc};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// Another build of it, a release build say, can be named in WSM_BIN.
fn binary() -> std::ffi::OsString {
    std::env::var_os("WSM_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_websocket-manager").into())
}

/// How a service is to be started.
#[derive(Clone)]
pub struct Plan {
    args: Vec<String>,
    data: Arc<TempDir>,
    /// The authority that signed the service's certificate, when it speaks TLS.
    tls: Option<Arc<Pki>>,
}

impl Plan {
    /// Two shards, so that every test crosses threads; loopback may be dialled.
    pub fn new() -> Self {
        let data = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        let folder = data.path().to_string_lossy().into_owned();
        let base = ["serve", "--http-port", "0", "--grpc-port", "0", "--admin-port", "0", "--shards", "2"];
        let rest = ["--backend", "embedded", "--egress-allow", "127.0.0.0/8", "--data-dir", &folder];
        let args = base.iter().chain(&rest).map(ToString::to_string).collect();
        Plan { args, data, tls: None }
    }

    /// Nothing but what is needed to start: no address may be dialled that is not public.
    pub fn without_egress() -> Self {
        let mut plan = Plan::new();
        let at = plan.args.iter().position(|arg| arg == "--egress-allow").expect("it is there");
        plan.args.drain(at..at + 2);
        plan
    }

    pub fn args(mut self, more: &[&str]) -> Self {
        self.args.extend(more.iter().map(ToString::to_string));
        self
    }

    /// Another value for a flag that `new` gives.
    pub fn set(mut self, flag: &str, value: &str) -> Self {
        let at = self.args.iter().position(|arg| arg == flag).expect("it is there");
        value.clone_into(&mut self.args[at + 1]);
        self
    }

    /// TLS on both public ports, with the certificate that `pki` has on disk.
    pub fn tls(self, pki: &Arc<Pki>) -> Self {
        let (cert, key) = pki.server_files(self.data.path());
        let mut plan =
            self.args(&["--tls-cert", &cert.to_string_lossy(), "--tls-key", &key.to_string_lossy()]);
        plan.tls = Some(pki.clone());
        plan
    }

    /// Only looks at the settings.
    pub fn check(mut self) -> Self {
        "check".clone_into(&mut self.args[0]);
        self
    }

    /// Runs until it ends by itself: for what must not start. (exit code, stdout, stderr)
    pub async fn run_to_end(&self) -> (i32, String, String) {
        let output = within("the end of the process", command(&self.args).output()).await.expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// Without waiting for it to be ready, which it may never be: its ports must have been given.
    pub fn start_unready(self) -> Unready {
        let mut child = command(&self.args).spawn().expect("the binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        keep(child.stderr.take().expect("stderr is piped"), log.clone());
        Unready { log, _plan: self, _child: child }
    }

    pub async fn start(self) -> Service {
        self.begin().ready().await
    }

    /// Does not wait until it is ready.
    pub fn begin(self) -> Starting {
        let mut child = command(&self.args).spawn().expect("the binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        let errors = child.stderr.take().expect("stderr is piped");
        keep(errors, log.clone());
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        Starting { plan: self, child, log, lines }
    }
}

/// A process that has not said yet that it is ready.
pub struct Starting {
    plan: Plan,
    child: Child,
    log: Arc<Mutex<String>>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Starting {
    pub async fn ready(mut self) -> Service {
        let line = within("the ready line", self.lines.next_line()).await.ok().flatten();
        let Some(ready) = line.as_deref().and_then(Ready::parse) else {
            panic!("no ready line but {line:?}; standard error:\n{}", self.log.lock());
        };
        let Starting { plan, child, log, mut lines } = self;
        // Kept open: a closed pipe must not be what ends the process.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Service { plan, child, ready, log }
    }

    /// SIGTERM before it is ready; the exit code.
    pub async fn terminate(mut self) -> i32 {
        super::daemon::send_signal("TERM", &self.child).await;
        let status = within("the end of the process", self.child.wait()).await.expect("it can be waited for");
        status.code().unwrap_or(-1)
    }
}

fn command(args: &[String]) -> Command {
    let mut command = Command::new(binary());
    // Nothing of the surroundings may leak in: HOSTNAME, DAPR_*, WSM_*.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Keeps what a process writes, line by line.
pub(super) fn keep(stream: impl AsyncRead + Unpin + Send + 'static, log: Arc<Mutex<String>>) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut log = log.lock();
            log.push_str(&line);
            log.push('\n');
        }
    });
}

/// A process that may not serve yet.
pub struct Unready {
    log: Arc<Mutex<String>>,
    _plan: Plan,
    _child: Child,
}

impl Unready {
    pub fn log(&self) -> String {
        self.log.lock().clone()
    }
}

/// What the service says once it serves.
#[derive(Clone, Debug)]
pub struct Ready {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    pub instance: String,
    pub backend: String,
    pub shards: u32,
}

impl Ready {
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        if words.next()? != "ready" {
            return None;
        }
        let pairs: BTreeMap<&str, &str> = words.filter_map(|word| word.split_once('=')).collect();
        let address = |key: &str| pairs.get(key)?.parse().ok();
        Some(Ready {
            http: address("http")?,
            grpc: address("grpc")?,
            admin: address("admin")?,
            instance: pairs.get("instance")?.to_string(),
            backend: pairs.get("backend")?.to_string(),
            shards: pairs.get("shards")?.parse().ok()?,
        })
    }
}

pub struct Service {
    plan: Plan,
    child: Child,
    pub ready: Ready,
    log: Arc<Mutex<String>>,
}

impl Service {
    pub async fn start() -> Self {
        Plan::new().start().await
    }

    pub async fn grpc(&self) -> Client {
        connect_to(self.ready.grpc, self.plan.tls.as_deref()).await
    }

    pub fn http(&self) -> Http {
        Http::new(self.ready.http, self.plan.tls.as_deref())
    }

    pub fn admin(&self) -> Http {
        Http::new(self.ready.admin, None)
    }

    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.admin().get("/metrics").await.text())
    }

    /// The sum of the series of `name` that have all these labels.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.metrics().await.sum(name, labels)
    }

    /// Everything on standard error so far.
    pub fn log(&self) -> String {
        self.log.lock().clone()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.plan.data.path().to_owned()
    }

    /// A signal by its name, as `kill` takes it.
    pub async fn signal(&self, name: &str) {
        super::daemon::send_signal(name, &self.child).await;
    }

    /// The exit code; -1 when a signal ended it.
    pub async fn exit(&mut self) -> i32 {
        let status = within("the end of the process", self.child.wait()).await.expect("it can be waited for");
        status.code().unwrap_or(-1)
    }

    /// The end that leaves no time for anything.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    pub async fn terminate(&mut self) -> i32 {
        self.signal("TERM").await;
        self.exit().await
    }

    /// The same arguments and data once more; this process must have ended.
    pub async fn start_again(&mut self) -> Service {
        assert!(self.child.id().is_none(), "the first process still runs");
        self.plan.clone().start().await
    }
}

#[test]
fn the_ready_line_is_understood() {
    let line = "ready http=127.0.0.1:1 grpc=127.0.0.1:2 admin=[::1]:3 instance=a backend=embedded shards=2";
    let ready = Ready::parse(line).expect("a ready line");
    assert_eq!((ready.http.port(), ready.grpc.port(), ready.admin.port()), (1, 2, 3));
    assert_eq!((ready.instance.as_str(), ready.backend.as_str(), ready.shards), ("a", "embedded", 2));
    assert!(Ready::parse("starting").is_none());
    assert!(Ready::parse("ready http=127.0.0.1:1").is_none());
}

//! A server of another make on loopback: started, killed, paused and started again on the same
//! ports and data.

use super::{repo, service::keep, wait::within, wait_for};
use parking_lot::Mutex;
use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::process::{Child, Command};

/// Below the ports that the kernel gives to connections, so that a server that was killed finds its
/// port free when it comes back.
const PORTS: std::ops::Range<u32> = 14_000..32_000;

/// Ports that are free now. Each process counts from a place of its own, and gives none twice
/// before it has been all around.
pub fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let size = PORTS.end - PORTS.start;
    // Spreads neighbouring process numbers over the whole range.
    let begin = std::process::id().wrapping_mul(2_654_435_761) % size;
    let next = || {
        (0..size).find_map(|_| {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let port = u16::try_from(PORTS.start + (begin + step) % size).ok()?;
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok().map(|_| port)
        })
    };
    std::array::from_fn(|_| next().expect("a free port"))
}

/// A program that `tests/run` installs. It names it in `variable`; a run by hand finds it on the
/// PATH or at one of `places`. None, and said, when it is nowhere.
pub fn installed(variables: &[&str], name: &str, places: &[PathBuf]) -> Option<PathBuf> {
    for variable in variables {
        if let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) {
            let path = PathBuf::from(path);
            assert!(path.is_file(), "{variable} names {}, which is no file", path.display());
            return Some(path);
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name));
    let found = found.chain(places.iter().cloned()).find(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var_os("WSM_REQUIRE_PARTS").is_none(), "{name} is not installed: run tests/run");
        eprintln!("SKIPPED: {name} is not installed: run tests/run once");
    }
    found
}

pub fn redis_server() -> Option<PathBuf> {
    installed(&["WSM_REDIS_SERVER"], "redis-server", &[])
}

/// Of the user's own installation, or what `tests/run` built.
pub fn daprd() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".dapr/bin/daprd"));
    let built = repo::root().join(".cache/daprd/v1.18.2/daprd");
    let places: Vec<_> = home.into_iter().chain([built]).collect();
    installed(&["DAPRD_BIN", "WSM_DAPRD"], "daprd", &places)
}

pub struct Daemon {
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    folder: PathBuf,
    child: Option<Child>,
    log: Arc<Mutex<String>>,
}

impl Daemon {
    /// Not started yet; it will run in `folder`.
    pub fn new(program: PathBuf, folder: &Path, args: Vec<String>) -> Self {
        let (folder, log) = (folder.to_owned(), Arc::default());
        Daemon { program, args, env: Vec::new(), folder, child: None, log }
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Only starts the process; whether it serves is its owner's question.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} still runs", self.program.display());
        let mut command = Command::new(&self.program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.args(&self.args).current_dir(&self.folder).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        keep(child.stdout.take().expect("stdout is piped"), self.log.clone());
        keep(child.stderr.take().expect("stderr is piped"), self.log.clone());
        self.child = Some(child);
    }

    /// Panics with its log when it has ended by itself.
    pub fn assert_runs(&mut self) {
        let ended = self.child.as_mut().map(|child| child.try_wait().expect("it can be asked"));
        if let Some(Some(status)) = ended {
            panic!("{} ended: {status}\n{}", self.program.display(), self.log.lock());
        }
    }

    /// The end that leaves no time for anything.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.expect("it can be killed");
        }
    }

    /// SIGTERM, and waits for the end; the exit code.
    pub async fn terminate(&mut self) -> i32 {
        self.signal("TERM").await;
        self.wait().await
    }

    /// For its end; the exit code, -1 when a signal ended it.
    pub async fn wait(&mut self) -> i32 {
        let mut child = self.child.take().expect("it runs");
        let status = within("the end of the process", child.wait()).await.expect("it can be waited for");
        status.code().unwrap_or(-1)
    }

    /// By its name, as `kill` takes it: STOP and CONT for a pause.
    pub async fn signal(&self, name: &str) {
        let child = self.child.as_ref().expect("it runs");
        send_signal(name, child).await;
    }

    /// Everything it wrote since the first start.
    pub fn log(&self) -> String {
        self.log.lock().clone()
    }
}

/// Through the shell's own kill: no unsafe call, no further tool.
pub async fn send_signal(name: &str, child: &Child) {
    let pid = child.id().expect("the process lives").to_string();
    let status = Command::new("sh").args(["-c", "kill -$0 $1", name, &pid]).status().await;
    assert!(status.expect("sh runs").success(), "signal {name}");
    if name == "STOP" {
        // The signal is sent, not yet obeyed: a thread may still answer on another CPU.
        wait_for("the process to stand still", async || stands_still(&pid).then_some(())).await;
    }
}

/// Every thread of it; as far as there is a /proc to tell.
fn stands_still(pid: &str) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state follows the name, which stands in parentheses and may hold any sign.
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    })
}

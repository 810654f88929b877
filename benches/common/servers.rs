//! Redis, a Dapr sidecar and a NATS server, real, for one run: on loopback, in folders of their own,
//! ended with it.

use super::os;
use serde_json::json;
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Below the ports that the kernel gives to connections.
const PORTS: std::ops::Range<u32> = 14_000..32_000;
const PATIENCE: Duration = Duration::from_secs(30);
pub const PUBSUB: &str = "pubsub";
/// Events that a topic keeps, about: frames are large, and Redis keeps them in memory.
const STREAM_EVENTS: &str = "2000";

fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let size = PORTS.end - PORTS.start;
    let begin = std::process::id().wrapping_mul(2_654_435_761) % size;
    let next = || {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(PORTS.start + (begin + step) % size).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok().map(|_| port)
    };
    (0..size).find_map(|_| next()).expect("a free port")
}

/// Named by a variable, on the PATH, or at one of `places`. None, and said, when it is nowhere.
fn installed(variable: &str, name: &str, places: &[PathBuf]) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(name));
    let found = named.into_iter().chain(on_path).chain(places.iter().cloned()).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: no {name} here; {variable} may name one");
    }
    found
}

/// Ended with its owner.
struct Daemon {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// A child stays where its parent was; this thread comes back to the second core.
    fn start(
        name: &'static str,
        core: Option<usize>,
        program: &Path,
        folder: &Path,
        args: &[String],
        environment: &[(&str, &str)],
    ) -> Self {
        let log = folder.join("log");
        let output = File::create(&log).expect("the folder takes files");
        let errors = output.try_clone().expect("a file");
        os::place(core);
        let child = Command::new(program)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(environment.iter().copied())
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::from(output))
            .stderr(Stdio::from(errors))
            .spawn();
        os::pin(1);
        Daemon { name, child: child.unwrap_or_else(|error| panic!("{name}: {error}")), log }
    }

    fn wait_until(&mut self, there: impl Fn() -> bool) {
        let give_up = Instant::now() + PATIENCE;
        while !there() {
            let ended = self.child.try_wait().expect("it can be asked").is_some();
            if ended || Instant::now() > give_up {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                panic!("{} does not serve:\n{log}", self.name);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Redis {
    pub port: u16,
    _daemon: Daemon,
    _folder: TempDir,
}

impl Redis {
    /// On this core, or on any.
    pub fn start(core: Option<usize>) -> Option<Self> {
        let program = installed("WSM_REDIS_SERVER", "redis-server", &[])?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let words = format!("--bind 127.0.0.1 --port {port} --protected-mode no --appendonly no --save");
        let mut args: Vec<String> = words.split(' ').map(str::to_owned).collect();
        args.push(String::new());
        let mut daemon = Daemon::start("redis-server", core, &program, folder.path(), &args, &[]);
        daemon.wait_until(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        Some(Redis { port, _daemon: daemon, _folder: folder })
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub fn connect(&self) -> redis::Connection {
        let client = redis::Client::open(self.url()).expect("a URL");
        client.get_connection().expect("it listens")
    }
}

/// A message server that speaks WebSocket, with one thread of its own on the first core.
pub struct Nats {
    pub clock: os::CpuClock,
    pub tcp: SocketAddr,
    pub websocket: SocketAddr,
    _daemon: Daemon,
    _folder: TempDir,
}

impl Nats {
    pub fn start() -> Option<Self> {
        let place = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".cache/bin/nats-server");
        let program = installed("NATS_SERVER", "nats-server", &[place])?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [tcp, websocket] = std::array::from_fn(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
        let config = format!(
            "host: 127.0.0.1\nport: {}\nping_interval: \"1h\"\n\
             websocket {{ host: 127.0.0.1, port: {}, no_tls: true }}\n",
            tcp.port(),
            websocket.port()
        );
        fs::write(folder.path().join("nats.conf"), config).expect("the folder takes files");
        let args = ["-c", "nats.conf"].map(str::to_owned);
        let one = [("GOMAXPROCS", "1")];
        let mut daemon = Daemon::start("nats-server", Some(0), &program, folder.path(), &args, &one);
        daemon.wait_until(|| [tcp, websocket].iter().all(|at| TcpStream::connect(at).is_ok()));
        let clock = os::CpuClock::of_process(daemon.child.id());
        Some(Nats { clock, tcp, websocket, _daemon: daemon, _folder: folder })
    }
}

/// A sidecar whose components stand on a Redis of its own.
pub struct Sidecar {
    pub grpc: SocketAddr,
    _daemon: Daemon,
    _folder: TempDir,
    _redis: Redis,
}

impl Sidecar {
    /// Both on this core, or on any.
    pub fn start(core: Option<usize>) -> Option<Self> {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".dapr/bin/daprd"));
        let places: Vec<_> = home.into_iter().chain([root.join(".cache/daprd/v1.18.2/daprd")]).collect();
        let program = installed("DAPRD_BIN", "daprd", &places)?;
        let redis = Redis::start(core)?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_files(folder.path(), redis.port).expect("the folder takes files");
        let [http, grpc, internal, metrics, profile] = std::array::from_fn(|_| free_port());
        let words = format!(
            "--mode standalone --app-id bench --resources-path resources --config config.yaml \
             --dapr-listen-addresses 127.0.0.1 --dapr-internal-grpc-listen-address 127.0.0.1 \
             --metrics-listen-address 127.0.0.1 --enable-metrics=false --max-body-size 16Mi \
             --dapr-graceful-shutdown-seconds 1 --log-level warn --dapr-http-port {http} \
             --dapr-grpc-port {grpc} --dapr-internal-grpc-port {internal} --metrics-port {metrics} \
             --profile-port {profile}"
        );
        let args: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let mut daemon = Daemon::start("daprd", core, &program, folder.path(), &args, &[]);
        daemon.wait_until(|| is_healthy(http));
        let grpc = SocketAddr::from((Ipv4Addr::LOCALHOST, grpc));
        Some(Sidecar { grpc, _daemon: daemon, _folder: folder, _redis: redis })
    }
}

fn is_healthy(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let mut answer = String::new();
    let request = "GET /v1.0/healthz/outbound HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let asked = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    asked.is_ok() && answer.starts_with("HTTP/1.1 204")
}

/// JSON is YAML.
fn write_files(folder: &Path, redis: u16) -> std::io::Result<()> {
    let resources = folder.join("resources");
    fs::create_dir(&resources)?;
    let component = |name: &str, kind: &str, pairs: &[(&str, &str)]| {
        let mut metadata = vec![json!({"name": "redisHost", "value": format!("127.0.0.1:{redis}")})];
        metadata.extend(pairs.iter().map(|(name, value)| json!({"name": name, "value": value})));
        let document = json!({
            "apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": {"name": name},
            "spec": {"type": kind, "version": "v1", "metadata": metadata},
        });
        fs::write(resources.join(format!("{name}.yaml")), document.to_string())
    };
    component("statestore", "state.redis", &[("keyPrefix", "name"), ("poolSize", "64")])?;
    let pairs = [("maxLenApprox", STREAM_EVENTS), ("concurrency", "128"), ("poolSize", "128")];
    component(PUBSUB, "pubsub.redis", &pairs)?;
    let config = json!({
        "apiVersion": "dapr.io/v1alpha1", "kind": "Configuration", "metadata": {"name": "bench"},
        "spec": {
            "tracing": {"samplingRate": "0"}, "metrics": {"enabled": false},
            "features": [{"name": "HotReload", "enabled": false}],
        },
    });
    fs::write(folder.join("config.yaml"), config.to_string())
}

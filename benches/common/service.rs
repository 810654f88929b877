//! The built service as a process of its own.

use super::os;
use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};
use websocket_manager::proto::{ConnectRequest, web_socket_manager_client::WebSocketManagerClient};

pub struct Service {
    child: Child,
    pub address: SocketAddr,
    pub http: SocketAddr,
    pub clock: os::CpuClock,
    /// When the process was started, and how long it took to the ready line.
    pub began: Instant,
    pub ready_after: Duration,
    _data: TempDir,
}

impl Service {
    /// As it is shipped, with one shard, on the first core.
    pub fn start(more: &[&str]) -> Self {
        os::pin(0);
        let service = Self::start_here(&[&["--shards", "1"], more].concat());
        os::pin(1);
        service
    }

    /// A child inherits where its parent may run.
    pub fn start_here(more: &[&str]) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let began = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_websocket-manager"))
            // Nothing of the surroundings leaks in.
            .env_clear()
            .args(["serve", "--http-port", "0", "--grpc-port", "0", "--admin-port", "0"])
            .args(["--egress-allow", "127.0.0.0/8", "--log-level", "error", "--data-dir"])
            .arg(data.path())
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the service");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let ready =
            lines.find_map(|line| line.ok().filter(|line| line.starts_with("ready "))).expect("it starts");
        let ready_after = began.elapsed();
        thread::spawn(move || lines.for_each(drop));
        let port = |name: &str| {
            let word = ready.split_whitespace().find_map(|word| word.strip_prefix(name)).expect("a port");
            word.parse().expect("an address")
        };
        let (address, http) = (port("grpc="), port("http="));
        let clock = os::CpuClock::of_process(child.id());
        Service { address, http, child, clock, began, ready_after, _data: data }
    }

    /// The end that leaves no time for anything.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self) {
        let pid = self.child.id().to_string();
        let told = Command::new("sh").args(["-c", "kill -TERM $0", &pid]).status();
        assert!(told.expect("sh runs").success());
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "it ended with {status}");
    }

    pub fn connect_all(&self, requests: impl Iterator<Item = ConnectRequest>) {
        let requests: Vec<_> = requests.collect();
        runtime().block_on(async {
            let channel = channel(self.address).await;
            for some in requests.chunks(64) {
                let calls: Vec<_> = some
                    .iter()
                    .map(|request| {
                        let mut client = WebSocketManagerClient::new(channel.clone());
                        let request = request.clone();
                        tokio::spawn(async move { client.connect(request).await })
                    })
                    .collect();
                for call in calls {
                    call.await.expect("no panic").expect("connected");
                }
            }
        });
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

pub async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URL").tcp_nodelay(true);
    endpoint.connect().await.expect("it listens")
}

//! The service under load: a process of its own, or one that runs already.

use crate::{
    children::{Child, Start},
    clock::SECOND,
    http,
    sample::Watched,
    scrape::Scrape,
    trouble::{Result, Trouble},
};
use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

const PATIENCE: u64 = 30 * SECOND;
/// Between asking and the last byte of the metrics, and until a connection for gRPC stands.
const SHORT_PATIENCE: Duration = Duration::from_secs(10);
/// For the answer to a call: longer than the service's own patience with an upstream. Without it one
/// call that is never answered would keep a run for ever.
const CALL_PATIENCE: Duration = Duration::from_secs(15);

/// Where a service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    pub admin: SocketAddr,
}

pub struct Service {
    pub at: Addresses,
    pub name: String,
    child: Option<Child>,
    /// Removed with it.
    _data: Option<TempDir>,
}

/// How one is started.
pub struct Wanted<'a> {
    pub name: &'a str,
    pub program: &'a Path,
    pub shards: usize,
    pub cores: &'a [usize],
    pub small_pages: bool,
    pub flags: &'a [&'a str],
}

impl Service {
    /// With state of its own in a temporary folder, on free ports. Must be called on the main thread,
    /// with which the process ends.
    pub fn start(wanted: &Wanted) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let start = Start {
            name: wanted.name,
            program: wanted.program.as_os_str(),
            cores: wanted.cores,
            small_pages: wanted.small_pages,
        };
        let mut child = Child::start(&start, |command| {
            // Nothing of the surroundings leaks in.
            command
                .env_clear()
                .args(["serve", "--http-port", "0", "--grpc-port", "0", "--admin-port", "0"])
                .args(["--egress-allow", "127.0.0.0/8", "--log-level", "warn", "--instance-id", "loadtest"])
                .args(["--shards", &wanted.shards.to_string(), "--drain-lame-duck", "0", "--data-dir"])
                .arg(data.path())
                .args(wanted.flags);
        })?;
        let ready = child.line("ready ", PATIENCE)?;
        let port = |name: &str| {
            let word = ready.split_whitespace().find_map(|word| word.strip_prefix(name));
            word.and_then(|word| word.parse().ok()).ok_or_else(|| {
                Trouble::Unavailable(format!("the service's ready line has no {name}: '{ready}'"))
            })
        };
        let at = Addresses { grpc: port("grpc=")?, http: port("http=")?, admin: port("admin=")? };
        Ok(Service { at, name: wanted.name.to_owned(), child: Some(child), _data: Some(data) })
    }

    /// One that somebody else started.
    pub fn running(at: Addresses) -> Result<Self> {
        let service = Service { at, name: "service".to_owned(), child: None, _data: None };
        service.scrape().map_err(|error| {
            Trouble::Unavailable(format!(
                "no service at {} (admin port): {error}. Start one (`websocket-manager serve`), correct --address, or leave --address out to have one started",
                at.admin
            ))
        })?;
        Ok(service)
    }

    /// None for a service that somebody else started.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::pid)
    }

    #[must_use]
    pub fn watched(&self) -> Option<Watched> {
        self.pid().map(|pid| Watched { name: self.name.clone(), pid })
    }

    /// A connection for gRPC, in the runtime that is running.
    pub async fn channel(&self) -> Result<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.at.grpc))?
            .tcp_nodelay(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .connect_timeout(SHORT_PATIENCE)
            .timeout(CALL_PATIENCE);
        Ok(endpoint.connect().await?)
    }

    pub fn scrape(&self) -> Result<Scrape> {
        let told = http::get(self.at.admin, "/metrics", SHORT_PATIENCE);
        told.and_then(|text| Scrape::read(Instant::now(), &text))
            .map_err(|why| Trouble::Failed(format!("the metrics at {}: {why}", self.at.admin)))
    }

    /// Ends it, and says when it ended badly by itself before.
    pub fn end(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let alive = child.alive();
        child.end();
        if alive {
            return Ok(());
        }
        Err(Trouble::Failed(format!(
            "{} had ended before the run was over:{}",
            self.name,
            child.complaints()
        )))
    }
}

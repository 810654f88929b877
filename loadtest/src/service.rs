//! The service under load: a process of its own, or one that runs already.

use crate::{
    children::{Child, Start},
    clock::SECOND,
    metrics::Scrape,
    sample::Watched,
    trouble::{Result, Trouble},
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

const PATIENCE: u64 = 30 * SECOND;
/// Between asking and the last byte of an answer over HTTP.
const HTTP_PATIENCE: Duration = Duration::from_secs(10);

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
            .connect_timeout(HTTP_PATIENCE);
        Ok(endpoint.connect().await?)
    }

    pub fn scrape(&self) -> Result<Scrape> {
        Ok(Scrape::parse(&get(self.at.admin, "/metrics")?))
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

/// The body of an answer over HTTP, of whatever is small.
pub fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, HTTP_PATIENCE)?;
    stream.set_read_timeout(Some(HTTP_PATIENCE))?;
    // In one write: a server may answer the first packet and close on the second.
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let line = head.lines().next().unwrap_or_default();
    if line.split(' ').nth(1) != Some("200") {
        return Err(Trouble::Failed(format!("{path} at {address} answered '{line}'")));
    }
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Ok(if chunked { joined(body) } else { body.to_owned() })
}

fn joined(mut chunks: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = chunks.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { break };
        let Some(chunk) = rest.get(..size).filter(|chunk| !chunk.is_empty()) else { break };
        body.push_str(chunk);
        chunks = rest.get(size + 2..).unwrap_or("");
    }
    body
}

#[cfg(test)]
mod tests {
    #[test]
    fn chunks_are_joined() {
        assert_eq!(super::joined("4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n"), "abcdef");
    }
}

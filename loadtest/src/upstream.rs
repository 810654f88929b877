//! What the service dials: an upstream of ours, as a process of its own, so that its CPU is told apart.

pub mod server;

use crate::{
    children::{Child, Start},
    clock::SECOND,
    sample::Watched,
    trouble::{Result, Trouble},
};
use std::{net::SocketAddr, path::Path};

const PATIENCE: u64 = 10 * SECOND;

/// How it treats what comes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// Echoes leave so many nanoseconds after the message came.
    pub delay: u64,
}

pub struct Upstream {
    child: Child,
    pub address: SocketAddr,
}

/// What an upstream counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub sockets: u64,
    pub received: u64,
    pub echoed: u64,
    pub fed: u64,
    /// Due, and left out because the peer read too slowly.
    pub unsent: u64,
}

/// What each feed of an upstream sends, all of them together.
#[derive(Clone, Copy, Debug)]
pub struct Feed {
    pub start: u64,
    /// Messages a second over all feeds, dealt out in turn.
    pub rate: f64,
    pub nanos: u64,
    pub burst: u64,
    pub bytes: usize,
}

impl Upstream {
    /// `program` is this one.
    pub fn start(program: &Path, cores: &[usize], manner: Manner) -> Result<Self> {
        let start = Start { name: "upstream", program: program.as_os_str(), cores, small_pages: false };
        let mut child = Child::start(&start, |command| {
            command.args(["upstream", "--delay-us", &(manner.delay / 1000).to_string()]);
        })?;
        let line = child.line("listening ", PATIENCE)?;
        let address = line.trim_start_matches("listening ").parse();
        let address = address.map_err(|_| Trouble::Failed(format!("upstream says '{line}'")))?;
        Ok(Upstream { child, address })
    }

    /// `echo`, `feed` or `quiet`, with something that tells one connection from another.
    #[must_use]
    pub fn url(&self, kind: &str, number: usize) -> String {
        format!("ws://{}/{kind}/{number}", self.address)
    }

    #[must_use]
    pub fn watched(&self) -> Watched {
        Watched { name: "upstream".to_owned(), pid: self.child.pid() }
    }

    pub fn feed(&mut self, feed: &Feed) -> Result<()> {
        let Feed { start, rate, nanos, burst, bytes } = feed;
        self.child.tell(&format!("feed {start} {rate} {nanos} {burst} {bytes}"))
    }

    /// No more of the feed.
    pub fn hush(&mut self) -> Result<()> {
        self.child.tell("hush")
    }

    /// Does nothing at all for so long, from now on.
    pub fn stall(&mut self, nanos: u64) -> Result<()> {
        self.child.tell(&format!("stall {nanos}"))
    }

    /// Closes all sockets without a word.
    pub fn cut(&mut self) -> Result<()> {
        self.child.tell("cut")
    }

    pub fn counts(&mut self) -> Result<Counts> {
        self.child.tell("counts")?;
        let line = self.child.line("counts ", PATIENCE)?;
        let part = |name: &str| {
            line.split(' ')
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
                .unwrap_or(0)
        };
        Ok(Counts {
            sockets: part("sockets"),
            received: part("received"),
            echoed: part("echoed"),
            fed: part("fed"),
            unsent: part("unsent"),
        })
    }
}

//! The command line.

use crate::{
    clock::SECOND,
    pin::Cores,
    service::Addresses,
    trouble::{Result, Trouble},
};
use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
};

/// What a run is asked to be; what is None is the scenario's own choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    pub scenario: String,
    pub seconds: Option<u64>,
    pub warmup: Option<u64>,
    pub rate: Option<f64>,
    pub connections: Option<usize>,
    pub bytes: Option<usize>,
    pub shards: Option<usize>,
    pub quick: bool,
    pub json: bool,
    pub install: bool,
    pub service: Option<PathBuf>,
    pub address: Option<Addresses>,
    pub allow_remote: bool,
    pub cores: Option<Cores>,
    pub out: Option<PathBuf>,
    /// What stands after the flags: a scenario's own words.
    pub words: Vec<String>,
}

/// What stands after the flags, among what a scenario takes.
pub const WORDS: &str = "words";

struct Flag {
    name: &'static str,
    value: &'static str,
    meaning: &'static str,
}

const FLAGS: &[Flag] = &[
    Flag { name: "--seconds", value: "N", meaning: "how long is measured, after the warm-up (1 to 86400)" },
    Flag { name: "--warmup", value: "N", meaning: "seconds before that, which are in no figure (0 to 600)" },
    Flag { name: "--rate", value: "N", meaning: "operations a second (0.1 to 10000000)" },
    Flag { name: "--connections", value: "N", meaning: "connections, or members (1 to 1000000)" },
    Flag { name: "--bytes", value: "N", meaning: "size of a message (32 to 1048576)" },
    Flag { name: "--shards", value: "N", meaning: "shards of the service that is started (1 to 256)" },
    Flag { name: "--quick", value: "", meaning: "short: a look, not a figure to publish" },
    Flag {
        name: "--json",
        value: "",
        meaning: "the report as JSON on standard output, instead of the table",
    },
    Flag { name: "--install", value: "", meaning: "peers: install what is missing, into .cache" },
    Flag {
        name: "--service",
        value: "PATH",
        meaning: "the binary to start (else WSM_BIN, else target/release/websocket-manager)",
    },
    Flag {
        name: "--address",
        value: "GRPC[,HTTP,ADMIN]",
        meaning: "use a running service: its gRPC address, or all three; HTTP and admin are one port below and above otherwise",
    },
    Flag { name: "--allow-remote", value: "", meaning: "let --address be no loopback address" },
    Flag {
        name: "--cores",
        value: "S:G|none",
        meaning: "cores of the service and of what loads it, such as 0:1 or 0,1:2,3",
    },
    Flag { name: "--out", value: "DIR", meaning: "where reports go (else loadtest/results)" },
];

#[must_use]
pub fn help() -> String {
    let mut text = "usage: loadtest/run SCENARIO [flags]\n       loadtest/run --list\n\n".to_owned();
    for flag in FLAGS {
        text += &format!("  {:<30} {}\n", format!("{} {}", flag.name, flag.value), flag.meaning);
    }
    text + "\nExit codes: 0 all well; 1 a goal, a threshold or the books failed; 64 wrong arguments; \
            69 something needed is not there; 130 Ctrl-C.\n"
}

fn number<T: std::str::FromStr + PartialOrd + std::fmt::Display + Copy>(
    flag: &str,
    text: &str,
    least: T,
    most: T,
) -> Result<T> {
    let value = text.parse().ok().filter(|value| *value >= least && *value <= most);
    value.ok_or_else(|| Trouble::Usage(format!("{flag}: '{text}' is not a number from {least} to {most}")))
}

impl Options {
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Options::default();
        let mut address = None;
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if !argument.starts_with('-') {
                if options.scenario.is_empty() {
                    options.scenario.clone_from(argument);
                } else {
                    options.words.push(argument.clone());
                }
                continue;
            }
            let (name, mut given) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let Some(flag) = FLAGS.iter().find(|flag| flag.name == name) else {
                return Err(Trouble::Usage(format!("there is no flag '{name}'\n\n{}", help())));
            };
            if flag.value.is_empty() && given.is_some() {
                return Err(Trouble::Usage(format!("{name} takes no value")));
            }
            if !flag.value.is_empty() && given.is_none() {
                given = rest.next().cloned();
            }
            let Some(value) = given.or_else(|| flag.value.is_empty().then(String::new)) else {
                return Err(Trouble::Usage(format!("{name} wants a value: {}", flag.meaning)));
            };
            if name == "--address" {
                address = Some(value);
            } else {
                options.set(name, &value)?;
            }
        }
        options.address = address.map(|text| addresses(&text, options.allow_remote)).transpose()?;
        if options.address.is_some() && options.service.is_some() {
            return Err(Trouble::Usage(
                "--address uses a running service, --service starts one: give one".into(),
            ));
        }
        if options.address.is_some() && options.shards.is_some() {
            return Err(Trouble::Usage(
                "--shards is for a service that is started here, not with --address".into(),
            ));
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "--seconds" => self.seconds = Some(number(name, value, 1, 86_400)?),
            "--warmup" => self.warmup = Some(number(name, value, 0, 600)?),
            "--rate" => self.rate = Some(number(name, value, 0.1, 10_000_000.0)?),
            "--connections" => self.connections = Some(number(name, value, 1, 1_000_000)?),
            "--bytes" => self.bytes = Some(number(name, value, 32, 1 << 20)?),
            "--shards" => self.shards = Some(number(name, value, 1, 256)?),
            "--quick" => self.quick = true,
            "--json" => self.json = true,
            "--install" => self.install = true,
            "--allow-remote" => self.allow_remote = true,
            "--service" => self.service = Some(PathBuf::from(value)),
            "--cores" => self.cores = Some(Cores::parse(value)?),
            "--out" => self.out = Some(PathBuf::from(value)),
            _ => unreachable!("every flag of the table is set here"),
        }
        Ok(())
    }

    /// What was set of that which a scenario may have no use for.
    fn set_here(&self) -> impl Iterator<Item = &'static str> {
        [
            ("--seconds", self.seconds.is_some()),
            ("--warmup", self.warmup.is_some()),
            ("--rate", self.rate.is_some()),
            ("--connections", self.connections.is_some()),
            ("--bytes", self.bytes.is_some()),
            ("--shards", self.shards.is_some()),
            ("--install", self.install),
            (WORDS, !self.words.is_empty()),
        ]
        .into_iter()
        .filter_map(|(flag, set)| set.then_some(flag))
    }

    /// A flag that would change nothing is refused: whoever sets it believes that it does. (What cannot
    /// be had at a service that runs already is said by the scenario, which knows why.)
    pub fn only(&self, scenario: &str, takes: &[&str]) -> Result<()> {
        let Some(other) = self.set_here().find(|flag| !takes.contains(flag)) else { return Ok(()) };
        let takes: Vec<&str> = takes.iter().copied().filter(|flag| *flag != WORDS).collect();
        let what = if other == WORDS { format!("'{}'", self.words.join(" ")) } else { other.to_owned() };
        Err(Trouble::Usage(format!(
            "{what}: {scenario} has no use for it; beside what every scenario takes it has {}",
            takes.join(", ")
        )))
    }

    /// Nanoseconds: what was asked for, else the shorter or the longer of a scenario's own.
    #[must_use]
    pub fn length(&self, quick: u64, full: u64) -> u64 {
        self.seconds.unwrap_or(if self.quick { quick } else { full }) * SECOND
    }

    #[must_use]
    pub fn warm(&self) -> u64 {
        self.warmup.unwrap_or(if self.quick { 1 } else { 3 }) * SECOND
    }
}

/// One address, whose neighbours are the usual ones, or all three.
fn addresses(text: &str, remote: bool) -> Result<Addresses> {
    let one = |text: &str| -> Result<SocketAddr> {
        let found = text.to_socket_addrs().ok().and_then(|mut all| all.next());
        let address = found.ok_or_else(|| {
            Trouble::Usage(format!("--address: '{text}' is not HOST:PORT, such as 127.0.0.1:5002"))
        })?;
        if !remote && !address.ip().is_loopback() {
            return Err(Trouble::Usage(format!(
                "--address: {address} is not this machine. Load may harm what it hits: add --allow-remote if that one is yours"
            )));
        }
        Ok(address)
    };
    let words: Vec<&str> = text.split(',').collect();
    match *words.as_slice() {
        [grpc, http, admin] => Ok(Addresses { grpc: one(grpc)?, http: one(http)?, admin: one(admin)? }),
        [grpc] => {
            let grpc = one(grpc)?;
            let port = |port: Option<u16>| {
                port.ok_or_else(|| Trouble::Usage("--address: name all three: GRPC,HTTP,ADMIN".to_owned()))
            };
            Ok(Addresses {
                grpc,
                http: SocketAddr::new(grpc.ip(), port(grpc.port().checked_sub(1))?),
                admin: SocketAddr::new(grpc.ip(), port(grpc.port().checked_add(1))?),
            })
        }
        _ => Err(Trouble::Usage("--address wants one address, or three: GRPC,HTTP,ADMIN".to_owned())),
    }
}

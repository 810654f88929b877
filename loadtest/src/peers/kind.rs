//! The servers that are compared, where their programs are, and how they are installed.

use crate::trouble::{Result, Trouble};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A WebSocket of the service's that feeds a room: what its clients send goes to all.
    Ours,
    /// The same, published by `Rooms.Send`, a unary call for each message.
    OursByGrpc,
    Raw,
    RawBatched,
    Tungstenite,
    Nats,
    NatsOverTcp,
    NodeWs,
    PythonWebsockets,
    Jararaca,
}

pub const ALL: [Kind; 10] = [
    Kind::Ours,
    Kind::OursByGrpc,
    Kind::Raw,
    Kind::RawBatched,
    Kind::Tungstenite,
    Kind::Nats,
    Kind::NatsOverTcp,
    Kind::NodeWs,
    Kind::PythonWebsockets,
    Kind::Jararaca,
];

/// One version of each, so that figures do not change because a package did.
const NATS_VERSION: &str = "v2.15.2";

impl Kind {
    /// As the command line names it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ours => "service",
            Kind::OursByGrpc => "service-grpc",
            Kind::Raw => "raw",
            Kind::RawBatched => "raw-batched",
            Kind::Tungstenite => "tungstenite",
            Kind::Nats => "nats",
            Kind::NatsOverTcp => "nats-tcp",
            Kind::NodeWs => "node-ws",
            Kind::PythonWebsockets => "python-websockets",
            Kind::Jararaca => "jararaca",
        }
    }

    /// As the table names it.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Ours => "this service, fed by a WebSocket",
            Kind::OursByGrpc => "this service, by Rooms.Send",
            Kind::Raw => "raw loop, a send(2) a message",
            Kind::RawBatched => "raw loop, a send(2) a socket",
            Kind::Tungstenite => "tokio-tungstenite, bare",
            Kind::Nats => "nats-server, WebSocket",
            Kind::NatsOverTcp => "nats-server, its own TCP",
            Kind::NodeWs => "Node ws",
            Kind::PythonWebsockets => "Python websockets, uvloop",
            Kind::Jararaca => "Jararaca on uvicorn, Redis",
        }
    }

    pub fn parse(name: &str) -> Result<Self> {
        ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names: Vec<_> = ALL.into_iter().map(Kind::name).collect();
            Trouble::Usage(format!("peers: '{name}' is none of {}", names.join(", ")))
        })
    }

    pub fn is_ours(self) -> bool {
        matches!(self, Kind::Ours | Kind::OursByGrpc)
    }

    /// Neither we nor the floors, which are what the kernel costs.
    pub fn is_rival(self) -> bool {
        !self.is_ours() && !matches!(self, Kind::Raw | Kind::RawBatched)
    }

    /// The commands that install what is missing, run in the repository's folder; empty when nothing is.
    pub fn missing(self, root: &Path) -> Vec<String> {
        let venv = |name: &str, requirements: &str| {
            format!(
                "python3 -m venv .cache/{name} && .cache/{name}/bin/pip install --quiet -r {requirements}"
            )
        };
        let mut commands = Vec::new();
        match self {
            Kind::Ours | Kind::OursByGrpc | Kind::Raw | Kind::RawBatched | Kind::Tungstenite => {}
            Kind::Nats | Kind::NatsOverTcp if nats(root).is_none() => commands.push(format!(
                "GOBIN=$PWD/.cache/bin go install github.com/nats-io/nats-server/v2@{NATS_VERSION}"
            )),
            Kind::Nats | Kind::NatsOverTcp => {}
            Kind::NodeWs => {
                if on_path("node").is_none() {
                    commands.push("apt-get install --yes nodejs npm".to_owned());
                }
                if !root.join("tests/node/node_modules/ws/package.json").is_file() {
                    commands
                        .push("npm --prefix tests/node ci --no-audit --no-fund --loglevel=error".to_owned());
                }
            }
            Kind::PythonWebsockets => {
                if !has_package(&python_websockets(root), "uvloop") {
                    commands.push(venv("venv-peers", "loadtest/peers/requirements.txt"));
                }
            }
            Kind::Jararaca => {
                if on_path("redis-server").is_none() {
                    commands.push("apt-get install --yes redis-server".to_owned());
                }
                if !has_package(&python_jararaca(root), "jararaca") {
                    commands.push(venv("venv-jararaca", "tests/jararaca-requirements.txt"));
                }
            }
        }
        commands
    }

    /// Runs them; what they say goes to this terminal.
    pub fn install(self, root: &Path) -> Result<()> {
        for command in self.missing(root) {
            eprintln!("installing for {}: {command}", self.name());
            let status = Command::new("sh").args(["-c", &command]).current_dir(root).status()?;
            if !status.success() {
                return Err(Trouble::Unavailable(format!("{}: `{command}` failed ({status})", self.name())));
            }
        }
        Ok(())
    }
}

pub fn nats(root: &Path) -> Option<PathBuf> {
    on_path("nats-server").or_else(|| Some(root.join(".cache/bin/nats-server")).filter(|path| path.is_file()))
}

pub fn python_websockets(root: &Path) -> PathBuf {
    root.join(".cache/venv-peers/bin/python")
}

pub fn python_jararaca(root: &Path) -> PathBuf {
    root.join(".cache/venv-jararaca/bin/python")
}

pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Asked of the files: a Python takes a while to say it.
fn has_package(python: &Path, package: &str) -> bool {
    let Some(venv) = python.parent().and_then(Path::parent) else { return false };
    let Ok(versions) = std::fs::read_dir(venv.join("lib")) else { return false };
    python.is_file()
        && versions.flatten().any(|version| version.path().join("site-packages").join(package).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_understood_and_no_other() {
        for kind in ALL {
            assert_eq!(Kind::parse(kind.name()).expect("it has this name"), kind);
        }
        let refused = Kind::parse("rabbit").expect_err("unknown").to_string();
        assert!(refused.contains("'rabbit'") && refused.contains("node-ws"), "{refused}");
    }

    #[test]
    fn what_is_missing_comes_with_the_command_that_installs_it() {
        let nowhere = Path::new("/nonexistent");
        for kind in [Kind::NodeWs, Kind::PythonWebsockets, Kind::Jararaca] {
            assert!(!kind.missing(nowhere).is_empty(), "{}", kind.name());
        }
        assert_eq!(Kind::Raw.missing(nowhere), [] as [&str; 0]);
        let jararaca = Kind::Jararaca.missing(nowhere).join("\n");
        assert!(jararaca.contains("tests/jararaca-requirements.txt"), "{jararaca}");
    }
}

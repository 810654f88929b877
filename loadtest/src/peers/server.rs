//! One server under comparison, started: a process of its own on the core that servers have.

use super::{
    kind::{self, Kind},
    voice::Way,
};
use crate::{
    children::{Child, Start},
    clock::{self, MILLI, SECOND},
    readers::target::{Target, Wire},
    service::{Service, Wanted},
    stop,
    trouble::{Result, Trouble},
};
use std::{
    ffi::{OsStr, OsString},
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

const PATIENCE: u64 = 30 * SECOND;
/// Of one look at whether a helper serves.
const GLANCE: Duration = Duration::from_secs(5);
const ROOM: &str = "peers";
/// Any two names: the application's constructor takes them.
const CHANNELS: [&str; 2] = ["peers:send", "peers:broadcast"];

/// Where everything is that a server is started from.
pub struct Place {
    /// The repository's folder.
    pub root: PathBuf,
    /// The service's binary, and this program's, which is the floors.
    pub service: PathBuf,
    pub program: PathBuf,
    /// Of the server that is measured, and of everything else.
    pub served_on: Vec<usize>,
    pub beside: Vec<usize>,
}

pub struct Server {
    pub kind: Kind,
    /// Where members come in.
    pub target: Target,
    pub way: Way,
    /// Where senders send what nobody hears.
    pub sink: Option<Target>,
    process: Process,
    /// What the server needs beside itself: on the other cores, and in no figure.
    _helpers: Vec<Child>,
    _folder: Option<TempDir>,
}

enum Process {
    Peer(Child),
    Ours(Service),
}

impl Server {
    /// The floors run as this very program, with `peer NAME`.
    pub fn start(kind: Kind, place: &Place) -> Result<Self> {
        match kind {
            Kind::Ours | Kind::OursByGrpc => ours(kind, place),
            Kind::Raw | Kind::RawBatched | Kind::Tungstenite => {
                broadcast(kind, place, place.program.as_os_str(), &["peer".into(), kind.name().into()])
            }
            Kind::NodeWs => {
                let script = place.root.join("loadtest/peers/ws_broadcast.mjs");
                broadcast(kind, place, OsStr::new("node"), &[script.into()])
            }
            Kind::PythonWebsockets => {
                let script = place.root.join("loadtest/peers/websockets_broadcast.py");
                broadcast(kind, place, kind::python_websockets(&place.root).as_os_str(), &[script.into()])
            }
            Kind::Nats | Kind::NatsOverTcp => nats(kind, place),
            Kind::Jararaca => jararaca(place),
        }
    }

    /// None for a service that somebody else started.
    pub fn pid(&self) -> Option<u32> {
        match &self.process {
            Process::Peer(child) => Some(child.pid()),
            Process::Ours(service) => service.pid(),
        }
    }

    /// The service, when that is what it is.
    pub fn service(&self) -> Option<&Service> {
        match &self.process {
            Process::Peer(_) => None,
            Process::Ours(service) => Some(service),
        }
    }
}

fn child(kind: Kind, place: &Place, program: &OsStr, arguments: &[OsString]) -> Result<Child> {
    begin(kind.name(), &place.served_on, program, arguments)
}

fn begin(name: &str, cores: &[usize], program: &OsStr, arguments: &[OsString]) -> Result<Child> {
    let start = Start { name, program, cores, small_pages: true };
    Child::start(&start, |command| {
        // One thread for those that would take a thread for every core they see.
        command.args(arguments).env("GOMAXPROCS", "1");
    })
}

fn port(child: &mut Child) -> Result<SocketAddr> {
    let line = child.line("", PATIENCE)?;
    let word = line.trim_start_matches("port ").trim();
    let port: u16 = word
        .parse()
        .map_err(|_| Trouble::Unavailable(format!("'{line}' is no port{}", child.complaints())))?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// What the service is started with: a way in for who feeds the room, and one for what nobody hears.
pub const FLAGS: [&str; 4] =
    ["--route", "/publish/{topic} messages=room:peers", "--route", "/sink/{topic} messages=ignore"];

fn ours(kind: Kind, place: &Place) -> Result<Server> {
    let wanted = Wanted {
        name: kind.name(),
        program: &place.service,
        shards: 1,
        cores: &place.served_on,
        small_pages: true,
        flags: &FLAGS,
    };
    Ok(of_service(kind, Service::start(&wanted)?))
}

/// One that runs already, with these [`FLAGS`] unless it is published to by gRPC.
pub fn of_service(kind: Kind, service: Service) -> Server {
    let way = if kind == Kind::Ours {
        Way::WebSocket(Target::plain(service.at.http, "/publish/x"))
    } else {
        Way::Grpc { address: service.at.grpc, room: ROOM.to_owned() }
    };
    Server {
        kind,
        target: Target::plain(service.at.http, &format!("/ws/{ROOM}")),
        way,
        sink: Some(Target::plain(service.at.http, "/sink/x")),
        process: Process::Ours(service),
        _helpers: Vec::new(),
        _folder: None,
    }
}

/// One that tells its port and has the paths of the raw loop.
fn broadcast(kind: Kind, place: &Place, program: &OsStr, arguments: &[OsString]) -> Result<Server> {
    let mut child = child(kind, place, program, arguments)?;
    let address = port(&mut child)?;
    Ok(Server {
        kind,
        target: Target::greeting(address, "/members"),
        way: Way::WebSocket(Target::plain(address, "/publish")),
        sink: Some(Target::plain(address, "/sink")),
        process: Process::Peer(child),
        _helpers: Vec::new(),
        _folder: None,
    })
}

fn nats(kind: Kind, place: &Place) -> Result<Server> {
    let program = kind::nats(&place.root).ok_or_else(|| Trouble::Unavailable("no nats-server".to_owned()))?;
    let folder = tempfile::tempdir()?;
    // -1: a port that is free, told in a file.
    let config = format!(
        "host: 127.0.0.1\nport: -1\nping_interval: \"1h\"\nports_file_dir: {:?}\n\
         websocket {{ host: 127.0.0.1, port: -1, no_tls: true }}\n",
        folder.path()
    );
    let file = folder.path().join("nats.conf");
    fs::write(&file, config)?;
    let mut child = child(kind, place, program.as_os_str(), &["-c".into(), file.into()])?;
    let ports = folder.path().join(format!("nats-server_{}.ports", child.pid()));
    let mut found = None;
    wait_for(&mut child, || {
        found = told_ports(&ports);
        found.is_some()
    })?;
    let Some((tcp, websocket)) = found else { return Err(Trouble::Unavailable("no nats-server".to_owned())) };
    let (address, wire) = match kind {
        Kind::NatsOverTcp => (tcp, Wire::NatsOverTcp),
        _ => (websocket, Wire::NatsOverWebSocket),
    };
    let target = Target { wire, ..Target::plain(address, "/") };
    let sink = Some(Target { listens: false, ..target.clone() });
    Ok(Server {
        kind,
        target,
        way: Way::Nats(tcp),
        sink,
        process: Process::Peer(child),
        _helpers: Vec::new(),
        _folder: Some(folder),
    })
}

/// Of its clients, and of those over WebSocket.
fn told_ports(file: &Path) -> Option<(SocketAddr, SocketAddr)> {
    let ports: serde_json::Value = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
    let first =
        |name: &str| -> Option<SocketAddr> { ports[name][0].as_str()?.split("://").nth(1)?.parse().ok() };
    Some((first("nats")?, first("websocket")?))
}

/// An application of the earlier room system, as its documentation writes it; Redis is no part of the
/// figures, and stands on the other cores.
fn jararaca(place: &Place) -> Result<Server> {
    let folder = tempfile::tempdir()?;
    let (redis, mut helper) = redis(place, folder.path())?;
    let url = format!("redis://{redis}/0");
    let script = place.root.join("tests/python/jararaca_app.py");
    let words = [&url, CHANNELS[0], CHANNELS[1]].map(OsString::from);
    let arguments: Vec<OsString> = [script.into()].into_iter().chain(words).collect();
    let mut child = child(Kind::Jararaca, place, kind::python_jararaca(&place.root).as_os_str(), &arguments)?;
    let address = port(&mut child)?;
    // It consumes in its own time, and says nothing when it does.
    wait_for(&mut helper, || listeners(redis) == Some(1))?;
    Ok(Server {
        kind: Kind::Jararaca,
        target: Target::greeting(address, &format!("/chat/ws/{ROOM}")),
        way: Way::Redis { address: redis, channel: CHANNELS[0].to_owned(), room: ROOM.to_owned() },
        sink: Some(Target::greeting(address, "/chat/ws/nobody")),
        process: Process::Peer(child),
        _helpers: vec![helper],
        _folder: Some(folder),
    })
}

fn redis(place: &Place, folder: &Path) -> Result<(SocketAddr, Child)> {
    let program =
        kind::on_path("redis-server").ok_or_else(|| Trouble::Unavailable("no redis-server".to_owned()))?;
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let words =
        format!("--bind 127.0.0.1 --port {port} --protected-mode no --appendonly no --daemonize no --dir");
    let mut arguments: Vec<OsString> = words.split(' ').map(OsString::from).collect();
    arguments.extend([folder.into(), "--save".into(), "".into()]);
    let mut child = begin("redis-server", &place.beside, program.as_os_str(), &arguments)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    wait_for(&mut child, || TcpStream::connect_timeout(&address, GLANCE).is_ok())?;
    Ok((address, child))
}

/// How many hear the channel of sends.
fn listeners(redis: SocketAddr) -> Option<u32> {
    use std::io::{BufRead, BufReader, Write};
    let mut stream = TcpStream::connect_timeout(&redis, GLANCE).ok()?;
    stream.set_read_timeout(Some(GLANCE)).ok()?;
    write!(stream, "PUBSUB NUMSUB {}\r\n", CHANNELS[0]).ok()?;
    // An array of the name, in two lines, and the number.
    let line = BufReader::new(stream).lines().nth(3)?.ok()?;
    line.strip_prefix(':')?.parse().ok()
}

fn wait_for(child: &mut Child, mut there: impl FnMut() -> bool) -> Result<()> {
    let give_up = clock::now() + PATIENCE;
    while !there() {
        if stop::asked() {
            return Err(Trouble::Interrupted);
        }
        if !child.alive() || clock::now() > give_up {
            // Its last words come a moment later.
            clock::sleep(50 * MILLI);
            return Err(Trouble::Unavailable(format!("it does not serve:{}", child.complaints())));
        }
        clock::sleep(10 * MILLI);
    }
    Ok(())
}

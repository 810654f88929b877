//! A real server for one test: its own port and folder, killed and started again at will.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};
use tempfile::TempDir;

pub struct RedisServer {
    pub port: u16,
    folder: TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl RedisServer {
    pub fn start(arguments: &[&str]) -> RedisServer {
        let folder = tempfile::tempdir().expect("a folder");
        let arguments = arguments.iter().map(|&text| text.to_owned()).collect();
        let mut server = RedisServer { port: free_port(), folder, arguments, child: None };
        server.run();
        server
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Starts it, again after `kill`, and waits until it answers.
    pub fn run(&mut self) {
        let folder = self.folder.path().display().to_string();
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir", &folder])
            .args(["--unixsocket", &self.socket().display().to_string()])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""])
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.child = Some(child);
        let until = Instant::now() + Duration::from_secs(20);
        while !self.answers() {
            assert!(Instant::now() < until, "redis-server does not answer");
            std::thread::yield_now();
        }
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut answer = [0; 7];
        stream.write_all(b"PING\r\n").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && (&answer == b"+PONG\r\n" || &answer == b"-NOAUTH")
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a signal");
            child.wait().expect("its end");
        }
    }

    /// STOP, CONT.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        let status = Command::new("kill").args([format!("-{name}"), id]).status().expect("kill");
        assert!(status.success());
    }

    /// What redis-cli would do; the text of the answer.
    pub fn call(&self, words: &[&str]) -> redis::Value {
        let client = redis::Client::open(self.url()).expect("a client");
        let mut connection = client.get_connection().expect("a connection");
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut connection).expect("an answer")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Below the range from which the kernel gives ports to clients.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let from = 12_000 + (std::process::id() % 9000) as u16 * 2;
        let port = from + NEXT.fetch_add(1, Ordering::Relaxed) % 2000;
        if port < 32_000 && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

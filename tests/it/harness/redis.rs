//! A real Redis on loopback: with an append-only file, so that what it said it wrote comes back
//! with it.

use super::{
    daemon::{Daemon, free_ports, redis_server},
    wait_for,
};
use redis::FromRedisValue;
use tempfile::TempDir;

pub struct Redis {
    pub port: u16,
    daemon: Daemon,
    _folder: TempDir,
}

/// An entry of a stream: its id, and its fields in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: String,
    pub fields: Fields,
}

type Fields = Vec<(String, Vec<u8>)>;

impl Redis {
    /// None, and said, when there is no redis-server here.
    pub async fn start() -> Option<Self> {
        let program = redis_server()?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [port] = free_ports();
        let port_text = port.to_string();
        let address = ["--bind", "127.0.0.1", "--port", &port_text, "--protected-mode", "no"];
        // The file is written before the answer leaves and kept by the kernel when the server is
        // killed; fsync would only guard against a loss of power, which no test makes.
        let kept = ["--appendonly", "yes", "--appendfsync", "no", "--save", ""];
        let args = address.iter().chain(&kept).map(ToString::to_string).collect();
        let daemon = Daemon::new(program, folder.path(), args);
        let mut redis = Redis { port, daemon, _folder: folder };
        redis.start_again().await;
        Some(redis)
    }

    /// `redis://...`, as `--redis-url` takes it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// `host:port`, as Dapr's components take it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub async fn kill(&mut self) {
        self.daemon.kill().await;
    }

    /// On the same port, with what it had.
    pub async fn start_again(&mut self) {
        self.daemon.start();
        wait_for("Redis to answer", async || {
            self.daemon.assert_runs();
            // LOADING and refused connections alike: not yet.
            self.try_run::<String>(&["PING"]).await.ok()
        })
        .await;
    }

    /// It keeps its connections and answers nothing until `resume`.
    pub async fn pause(&self) {
        self.daemon.signal("STOP").await;
    }

    pub async fn resume(&self) {
        self.daemon.signal("CONT").await;
    }

    /// One command over a connection of its own.
    pub async fn try_run<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let mut connection = redis::Client::open(self.url())?.get_multiplexed_async_connection().await?;
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        command.query_async(&mut connection).await
    }

    pub async fn run<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_run(words).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    pub async fn get(&self, key: &str) -> Option<String> {
        self.run(&["GET", key]).await
    }

    pub async fn set(&self, key: &str, value: &str) {
        self.run::<String>(&["SET", key, value]).await;
    }

    /// How many there were.
    pub async fn del(&self, key: &str) -> u64 {
        self.run(&["DEL", key]).await
    }

    /// Sorted.
    pub async fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys: Vec<String> = self.run(&["KEYS", pattern]).await;
        keys.sort();
        keys
    }

    /// A whole stream; empty when there is none.
    pub async fn stream(&self, name: &str) -> Vec<Entry> {
        let mut stream: Vec<Entry> = Vec::new();
        loop {
            // Piece by piece: the client waits for each answer only so long.
            let from = stream.last().map_or("-".to_owned(), |entry| format!("({}", entry.id));
            let piece: Vec<(String, Fields)> = self.run(&["XRANGE", name, &from, "+", "COUNT", PIECE]).await;
            if piece.is_empty() {
                return stream;
            }
            stream.extend(piece.into_iter().map(|(id, fields)| Entry { id, fields }));
        }
    }

    /// The latest events of a topic, the newest first.
    pub async fn latest(&self, topic: &str, count: usize) -> Vec<serde_json::Value> {
        let words = ["XREVRANGE", topic, "+", "-", "COUNT", &count.to_string()];
        let entries: Vec<(String, Fields)> = self.run(&words).await;
        entries.into_iter().map(|(id, fields)| event(topic, &Entry { id, fields })).collect()
    }

    /// The events of a topic in their order, as JSON: from the field that Dapr's component and our
    /// own adapter write an event to.
    pub async fn events(&self, topic: &str) -> Vec<serde_json::Value> {
        self.stream(topic).await.iter().map(|entry| event(topic, entry)).collect()
    }

    /// Adds an entry as a publisher does.
    pub async fn add(&self, topic: &str, event: &serde_json::Value) -> String {
        self.run(&["XADD", topic, "*", EVENT_FIELD, &event.to_string()]).await
    }

    pub fn log(&self) -> String {
        self.daemon.log()
    }
}

fn event(topic: &str, entry: &Entry) -> serde_json::Value {
    let field = entry.fields.iter().find(|(name, _)| name == EVENT_FIELD);
    let (_, bytes) = field.unwrap_or_else(|| panic!("{topic} {}: no field {EVENT_FIELD}", entry.id));
    let event = serde_json::from_slice(bytes);
    event.unwrap_or_else(|error| panic!("{topic} {}: {error}", entry.id))
}

const EVENT_FIELD: &str = "data";
/// Entries of a stream in one answer.
const PIECE: &str = "1000";

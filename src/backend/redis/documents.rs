//! Documents under exactly their keys, with compare-and-set by scripts.

use super::{
    fault::Fault,
    link::{Link, Tools},
    scripts,
    stats::add,
    values,
};
use crate::{
    limits::{REDIS_DOCUMENTS_IN_FLIGHT, REDIS_KEYS_PER_GET},
    ports::{BackendError, Documents, Expect, Pending, Put, Version, Versioned},
};
use bytes::Bytes;
use redis::{Cmd, Value};
use std::{fmt::Write, sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::Instant,
};

/// A value up to this is its own version. The scripts say it too.
const WHOLE_VERSION_MAX: usize = 64;

type Answer<T> = oneshot::Sender<Result<T, BackendError>>;

pub enum Command {
    Get { keys: Vec<String>, answer: Answer<Vec<Option<Versioned>>> },
    Put { key: String, value: Bytes, expect: Expect, ttl: Option<Duration>, answer: Answer<Put> },
    Delete { key: String, expect: Version, answer: Answer<Put> },
}

pub struct Asked {
    command: Command,
    until: Instant,
}

pub struct RedisDocuments {
    pub commands: mpsc::Sender<Asked>,
    pub tools: Arc<Tools>,
}

impl RedisDocuments {
    fn ask<T: Send + 'static>(
        &self,
        command: impl FnOnce(Answer<T>) -> Command,
    ) -> Pending<Result<T, BackendError>> {
        let (answer, answered) = oneshot::channel();
        let until = Instant::now() + self.tools.settings.command_timeout;
        let refused = match self.commands.try_send(Asked { command: command(answer), until }) {
            Ok(()) => None,
            Err(mpsc::error::TrySendError::Full(_)) => Some("too many documents wait for Redis"),
            Err(mpsc::error::TrySendError::Closed(_)) => Some("the Redis backend is closed"),
        };
        Box::pin(async move {
            let closed = |what: &str| BackendError { message: what.into(), transient: true };
            match refused {
                Some(what) => Err(closed(what)),
                None => answered.await.unwrap_or_else(|_| Err(closed("the Redis backend is closed"))),
            }
        })
    }
}

impl Documents for RedisDocuments {
    fn get(&self, keys: Vec<String>) -> Pending<Result<Vec<Option<Versioned>>, BackendError>> {
        self.ask(|answer| Command::Get { keys, answer })
    }

    fn put(
        &self,
        key: String,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> Pending<Result<Put, BackendError>> {
        self.ask(|answer| Command::Put { key, value, expect, ttl, answer })
    }

    fn delete(&self, key: String, expect: Version) -> Pending<Result<Put, BackendError>> {
        self.ask(|answer| Command::Delete { key, expect, answer })
    }
}

pub async fn serve(tools: Arc<Tools>, mut asked: mpsc::Receiver<Asked>) {
    let link = Link::start(&tools, "documents", Duration::ZERO);
    let places = Arc::new(Semaphore::new(REDIS_DOCUMENTS_IN_FLIGHT));
    while let Some(Asked { command, until }) = asked.recv().await {
        // Never closed. Each holder ends by its own deadline, so this does too.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let worker = Worker { tools: tools.clone(), link: link.clone(), until };
        tokio::spawn(async move {
            worker.run(command).await;
            drop(place);
        });
    }
}

struct Worker {
    tools: Arc<Tools>,
    link: Link,
    until: Instant,
}

impl Worker {
    /// A caller that went away does not wait for its answer: those are not errors.
    async fn run(mut self, command: Command) {
        let (since, tools) = (Instant::now(), self.tools.clone());
        match command {
            Command::Get { keys, answer } => {
                add(&self.tools.counters.document_reads, keys.len() as u64);
                let got = self.get(&keys).await;
                tools.times.read.record(since.elapsed());
                let _ = answer.send(self.counted(got));
            }
            Command::Put { key, value, expect, ttl, answer } => {
                let put = self.put(&key, &value, &expect, ttl).await;
                tools.times.write.record(since.elapsed());
                let _ = answer.send(self.counted(put));
            }
            Command::Delete { key, expect, answer } => {
                let arguments = [&expect[..]];
                let gone = self.script(scripts::DELETE, &key, &arguments).await;
                tools.times.write.record(since.elapsed());
                let put = gone.map(|gone| if gone { Put::Written(expect) } else { self.conflict() });
                let _ = answer.send(self.counted(put));
            }
        }
    }

    fn counted<T>(&self, result: Result<T, BackendError>) -> Result<T, BackendError> {
        if result.is_err() {
            add(&self.tools.counters.document_errors, 1);
        }
        result
    }

    fn conflict(&self) -> Put {
        add(&self.tools.counters.document_conflicts, 1);
        Put::Conflict
    }

    async fn get(&mut self, keys: &[String]) -> Result<Vec<Option<Versioned>>, BackendError> {
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(REDIS_KEYS_PER_GET) {
            let mut command = redis::cmd("MGET");
            command.arg(keys);
            let Value::Array(values) = self.call(&command).await? else {
                return Err(self.unexpected("MGET"));
            };
            if values.len() != keys.len() {
                return Err(self.unexpected("MGET"));
            }
            for (key, value) in keys.iter().zip(values) {
                found.push(match value {
                    Value::BulkString(value) => {
                        let value = Bytes::from(value);
                        Some(Versioned { version: version(&value), value })
                    }
                    _ => self.foreign(key).await?,
                });
            }
        }
        Ok(found)
    }

    /// MGET answers alike for what is not there and for what is no string. The latter is somebody
    /// else's: it reads as a document that nobody understands, so that the others of the same look
    /// are not held up, and no write can expect its version.
    async fn foreign(&mut self, key: &str) -> Result<Option<Versioned>, BackendError> {
        let kind = self.call(redis::cmd("TYPE").arg(key)).await?;
        let kind = match values::text(Some(&kind)) {
            // A string came meanwhile: it was absent all the same.
            Some("none" | "string") => return Ok(None),
            kind => kind.unwrap_or("value of an unknown type"),
        };
        let value = format!("(a Redis {kind}, not a document: somebody else uses this key)").into();
        Ok(Some(Versioned { value, version: format!("!{kind}").into() }))
    }

    async fn put(
        &mut self,
        key: &str,
        value: &Bytes,
        expect: &Expect,
        ttl: Option<Duration>,
    ) -> Result<Put, BackendError> {
        add(&self.tools.counters.document_writes, 1);
        let expect = match expect {
            Expect::Absent => &[],
            Expect::Version(version) => &version[..],
        };
        // Less than a millisecond would be none.
        let ttl = ttl.map(|ttl| ttl.as_millis().max(1).to_string()).unwrap_or_default();
        let written = self.script(scripts::PUT, key, &[expect, value, ttl.as_bytes()]).await?;
        Ok(if written { Put::Written(version(value)) } else { self.conflict() })
    }

    async fn script(&mut self, text: &str, key: &str, arguments: &[&[u8]]) -> Result<bool, BackendError> {
        let call = |name: &str, script: &str| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(1).arg(key).arg(arguments);
            command
        };
        let mut answer = self.link.command(&call("EVALSHA", &script_sha(text)), self.until).await;
        if answer.as_ref().is_err_and(|fault| fault.no_script) {
            answer = self.link.command(&call("EVAL", text), self.until).await;
        }
        match answer.map_err(|fault| fault.error(&self.tools.settings))? {
            Value::Int(1) => Ok(true),
            Value::Int(0) => Ok(false),
            _ => Err(self.unexpected("a script")),
        }
    }

    async fn call(&mut self, command: &Cmd) -> Result<Value, BackendError> {
        let answer = self.link.command(command, self.until).await;
        answer.map_err(|fault| fault.error(&self.tools.settings))
    }

    fn unexpected(&self, what: &str) -> BackendError {
        Fault::answer(what).error(&self.tools.settings)
    }
}

fn version(value: &Bytes) -> Version {
    let mut version = Vec::new();
    if value.len() <= WHOLE_VERSION_MAX {
        version.push(b'=');
        version.extend_from_slice(value);
    } else {
        version.extend_from_slice(format!("#{}:{}", value.len(), sha1(value)).as_bytes());
    }
    version.into()
}

/// The name under which the server knows a script.
pub fn script_sha(text: &str) -> String {
    sha1(text.as_bytes())
}

fn sha1(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
    digest.as_ref().iter().fold(String::with_capacity(40), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

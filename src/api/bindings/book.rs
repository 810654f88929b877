//! Up to where each bound topic was read, kept over restarts.

use crate::ports::{BackendError, Documents, Expect, Pending, Put, Version, Versioned};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub trait Book: Send + Sync {
    /// The offset to go on from. None: the topic was never read.
    fn load(&self, topic: &str) -> Pending<Result<Option<u64>, BackendError>>;
    /// False: somebody else has written since this book was loaded, and reads the topic.
    fn save(&self, topic: &str, next: u64) -> Pending<Result<bool, BackendError>>;
}

/// Files in a folder of its own, for an instance whose log is its own too. The log may be newer than
/// the file after a crash, so some events are sent again.
pub struct FileBook {
    folder: PathBuf,
}

impl FileBook {
    pub fn new(folder: &Path) -> Self {
        FileBook { folder: folder.into() }
    }

    /// A topic is no file's name: it may hold '/'.
    fn file(&self, topic: &str) -> PathBuf {
        self.folder.join(URL_SAFE_NO_PAD.encode(topic))
    }
}

impl Book for FileBook {
    fn load(&self, topic: &str) -> Pending<Result<Option<u64>, BackendError>> {
        let file = self.file(topic);
        aside(file, |file| match fs::read_to_string(file) {
            Ok(text) => match text.trim().parse() {
                Ok(next) => Ok(Some(next)),
                Err(_) => Err(io::Error::other("is not a number; delete it to begin from now")),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
    }

    fn save(&self, topic: &str, next: u64) -> Pending<Result<bool, BackendError>> {
        let file = self.file(topic);
        aside(file, move |file| {
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder)?;
            }
            // In one step: a crash leaves the old number or the new one.
            let new = file.with_extension("new");
            fs::write(&new, next.to_string())?;
            fs::rename(&new, file)?;
            Ok(true)
        })
    }
}

/// Not on a shard's thread: a disk may be slow.
fn aside<T: Send + 'static>(
    file: PathBuf,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Pending<Result<T, BackendError>> {
    Box::pin(async move {
        let named = file.clone();
        let failed =
            |what: String| BackendError { message: format!("{}: {what}", file.display()), transient: true };
        match tokio::task::spawn_blocking(move || work(&named)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(error) => Err(failed(error.to_string())),
        }
    })
}

/// The fleet's documents, for a log that all instances share.
pub struct SharedBook {
    documents: Arc<dyn Documents>,
    /// Of what was read or written last. Held for a moment, never over a call.
    versions: Arc<Mutex<BTreeMap<String, Version>>>,
}

impl SharedBook {
    pub fn new(documents: Arc<dyn Documents>) -> Self {
        SharedBook { documents, versions: Arc::default() }
    }
}

fn key(topic: &str) -> String {
    format!("wsm-binding-{topic}")
}

impl Book for SharedBook {
    fn load(&self, topic: &str) -> Pending<Result<Option<u64>, BackendError>> {
        let (key, versions) = (key(topic), self.versions.clone());
        let asked = self.documents.get(vec![key.clone()]);
        Box::pin(async move {
            let Some(Versioned { value, version }) = asked.await?.pop().flatten() else {
                versions.lock().remove(&key);
                return Ok(None);
            };
            versions.lock().insert(key.clone(), version);
            match std::str::from_utf8(&value).ok().and_then(|text| text.trim().parse().ok()) {
                Some(next) => Ok(Some(next)),
                None => {
                    let message = format!("document '{key}' is not a number; delete it to begin from now");
                    Err(BackendError { message, transient: false })
                }
            }
        })
    }

    fn save(&self, topic: &str, next: u64) -> Pending<Result<bool, BackendError>> {
        let (key, versions) = (key(topic), self.versions.clone());
        let expect = versions.lock().get(&key).cloned().map_or(Expect::Absent, Expect::Version);
        let written = self.documents.put(key.clone(), Bytes::from(next.to_string()), expect, None);
        Box::pin(async move {
            match written.await? {
                Put::Written(version) => {
                    versions.lock().insert(key, version);
                    Ok(true)
                }
                Put::Conflict => Ok(false),
            }
        })
    }
}

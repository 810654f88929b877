//! The topics of the embedded bus: names as folders, events as records.

use super::{
    disk::{Files, file_error, sync_dir},
    log::{Log, Tools},
};
use crate::{
    core::{
        percent,
        publish::batch::{Event, EventKind},
    },
    limits::RECORD_BYTES_MAX,
    ports::BackendError,
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The longest file name that file systems take.
const FOLDER_BYTES_MAX: usize = 255;
/// In a folder whose name could not hold the topic's name: the file that does.
const NAME_FILE: &str = "name";
/// kind 1 | messages 4 | epoch 8 | first seq 8 | last seq 8 | length of the connection's id 1.
const META_BYTES: usize = 30;

pub struct Topic {
    pub name: Arc<str>,
    pub log: Log,
    /// A write failed in this turn: what follows in the turn fails too, to keep the order.
    pub failed: bool,
    pub touched: bool,
}

pub struct Topics {
    dir: PathBuf,
    segment_bytes: u64,
    max: usize,
    tools: Tools,
    pub list: Vec<Topic>,
    by_name: BTreeMap<Arc<str>, usize>,
    /// The folder of topics has entries that no fsync covers.
    pub dir_unsynced: bool,
}

impl Topics {
    pub fn open(dir: PathBuf, segment_bytes: u64, max: usize, tools: Tools) -> Result<Topics, BackendError> {
        make_dir(&dir).map_err(|e| file_error("create", &dir, &e))?;
        let mut topics = Topics {
            dir,
            segment_bytes,
            max,
            tools,
            list: Vec::new(),
            by_name: BTreeMap::new(),
            dir_unsynced: false,
        };
        let mut found: Vec<(String, PathBuf)> = Vec::new();
        let entries = fs::read_dir(&topics.dir).map_err(|e| file_error("list", &topics.dir, &e))?;
        for entry in entries {
            let path = entry.map_err(|e| file_error("list", &topics.dir, &e))?.path();
            match topic_name(&path) {
                Some(name) => found.push((name, path)),
                None => tracing::warn!(path = %path.display(), "not a topic of the log: left alone"),
            }
        }
        found.sort_unstable();
        for (name, path) in found {
            topics.add(&name, path)?;
        }
        Ok(topics)
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// None when there are as many topics as there may be.
    pub fn find_or_create(&mut self, name: &str) -> Result<Option<usize>, BackendError> {
        if let Some(place) = self.find(name) {
            return Ok(Some(place));
        }
        if self.list.len() >= self.max {
            return Ok(None);
        }
        let folder = folder_name(name);
        let path = self.dir.join(&folder);
        make_dir(&path).map_err(|e| file_error("create", &path, &e))?;
        if folder.starts_with("%%") {
            fs::write(path.join(NAME_FILE), name).map_err(|e| file_error("create", &path, &e))?;
        }
        self.dir_unsynced = true;
        self.add(name, path).map(Some)
    }

    fn add(&mut self, name: &str, path: PathBuf) -> Result<usize, BackendError> {
        let place = self.list.len();
        let log = Log::open(place as u32, path, self.segment_bytes, self.tools.clone())?;
        let name: Arc<str> = name.into();
        self.by_name.insert(name.clone(), place);
        self.list.push(Topic { name, log, failed: false, touched: false });
        Ok(place)
    }

    pub fn sync_dir(&mut self) -> Result<(), BackendError> {
        if self.dir_unsynced {
            sync_dir(&self.dir).map_err(|e| file_error("fsync", &self.dir, &e))?;
            self.dir_unsynced = false;
        }
        Ok(())
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Topic {
    /// Prepares one event; false when it is too big for any record.
    pub fn stage(
        &mut self,
        files: &mut Files,
        nanos: u64,
        event: &Event,
        json: &[u8],
    ) -> Result<bool, BackendError> {
        let connection = event.connection.as_str().as_bytes();
        let length = u8::try_from(connection.len()).unwrap_or(u8::MAX);
        let connection = &connection[..usize::from(length)];
        if META_BYTES + connection.len() + json.len() > RECORD_BYTES_MAX {
            return Ok(false);
        }
        let mut meta = [0; META_BYTES];
        meta[0] = match event.kind {
            EventKind::Message => 0,
            EventKind::Gap => 1,
            EventKind::End => 2,
            EventKind::Lifecycle => 3,
        };
        meta[1..5].copy_from_slice(&event.messages.to_le_bytes());
        meta[5..13].copy_from_slice(&event.epoch.to_le_bytes());
        meta[13..21].copy_from_slice(&event.first_seq.to_le_bytes());
        meta[21..29].copy_from_slice(&event.last_seq.to_le_bytes());
        meta[29] = length;
        self.touched = true;
        self.log.stage(files, nanos, &[&meta, connection, json])?;
        Ok(true)
    }
}

/// The event's JSON inside a record's body.
pub fn event_json(body: &Bytes) -> Bytes {
    let start = body.get(META_BYTES - 1).map_or(0, |&length| META_BYTES + usize::from(length));
    body.slice(start.min(body.len())..)
}

pub fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// The topic, percent-encoded; a name too long for a folder becomes `%%` and its hash.
pub fn folder_name(topic: &str) -> String {
    let mut folder = String::with_capacity(topic.len());
    for (place, byte) in topic.bytes().enumerate() {
        // A leading dot hides the folder, and `.` and `..` mean other folders.
        if is_plain(byte) && !(place == 0 && byte == b'.') {
            folder.push(char::from(byte));
        } else {
            let _ = write!(folder, "%{byte:02X}");
        }
    }
    if folder.is_empty() || folder.len() > FOLDER_BYTES_MAX {
        folder = String::from("%%");
        let digest = ring::digest::digest(&ring::digest::SHA256, topic.as_bytes());
        for byte in &digest.as_ref()[..16] {
            let _ = write!(folder, "{byte:02x}");
        }
    }
    folder
}

fn topic_name(folder: &Path) -> Option<String> {
    if !folder.is_dir() {
        return None;
    }
    let text = folder.file_name()?.to_str()?;
    let name = if text.starts_with("%%") {
        fs::read_to_string(folder.join(NAME_FILE)).ok()?
    } else {
        percent::strict(text, false)?
    };
    (folder_name(&name) == text).then_some(name)
}

//! The folder of schemas: what is in it, and what of it works. A file that does not work changes
//! nothing: its last good version goes on.

use super::{
    Set,
    compile::{Documents, Schema},
};
use crate::{api::counters::IntakeCounters, core::rooms::typed::check_message_id, limits};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

const SUFFIX: &str = ".json";

/// Changes whenever the file does: a new one under the old name has another inode.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

pub struct Folder {
    path: PathBuf,
    counters: Arc<IntakeCounters>,
    /// None before the first look.
    listed: Option<Vec<(Box<str>, Stamp)>>,
    files: BTreeMap<Box<str>, File>,
    /// Why the folder as a whole could not be read at the last look.
    wrong: Option<String>,
}

#[derive(Default)]
struct File {
    stamp: Option<Stamp>,
    /// Its last good version.
    document: Option<Arc<Value>>,
    schema: Option<Arc<Schema>>,
    /// Why the file as it is now cannot be read.
    unread: Option<String>,
    /// Why the document makes no schema.
    uncompiled: Option<String>,
    /// What was logged of it.
    told: Option<String>,
}

impl File {
    fn wrong(&self) -> Option<&String> {
        self.unread.as_ref().or(self.uncompiled.as_ref())
    }
}

impl Folder {
    /// Empty until the first look.
    pub fn new(path: &Path, counters: Arc<IntakeCounters>) -> Self {
        Folder { path: path.into(), counters, listed: None, files: BTreeMap::new(), wrong: None }
    }

    /// What works.
    pub fn set(&self) -> Set {
        let sound = self.files.iter().filter_map(|(file, state)| Some((file, state.schema.clone()?)));
        sound.map(|(file, schema)| (message_id(file).into(), schema)).collect()
    }

    /// What does not, a line each.
    pub fn problems(&self) -> Vec<String> {
        let files = self.files.iter().filter_map(|(file, state)| {
            Some(format!("{}: {}", self.path.join(&**file).display(), state.wrong()?))
        });
        self.wrong.iter().cloned().chain(files).collect()
    }

    /// Two calls for the folder, and a stat for each file. True: the set may have changed.
    pub fn look(&mut self) -> bool {
        let listed = match list(&self.path) {
            Ok(listed) => listed,
            Err(wrong) => {
                if self.wrong.as_ref() != Some(&wrong) {
                    self.counters.schemas_refused.add();
                    tracing::warn!("{wrong}; the schemas that were read before go on");
                    self.wrong = Some(wrong);
                }
                return false;
            }
        };
        self.wrong = None;
        if self.listed.as_ref() == Some(&listed) {
            return false;
        }
        self.files.retain(|file, _| listed.iter().any(|(name, _)| name == file));
        for (file, stamp) in &listed {
            let state = self.files.entry(file.clone()).or_default();
            if state.stamp.as_ref() == Some(stamp) {
                continue;
            }
            state.stamp = Some(stamp.clone());
            match read(&self.path.join(&**file)) {
                Ok(document) => (state.document, state.unread) = (Some(Arc::new(document)), None),
                Err(wrong) => state.unread = Some(wrong),
            }
        }
        self.compile();
        if self.listed.replace(listed).is_some() {
            self.counters.schemas_read.add();
            let (folder, schemas) = (self.path.display(), self.set().len());
            tracing::info!(%folder, schemas, "schemas read again");
        }
        true
    }

    /// All of them: they may refer to one another.
    fn compile(&mut self) {
        let documents: Arc<Documents> = Arc::new(
            self.files
                .iter()
                .filter_map(|(file, state)| Some((file.clone(), state.document.clone()?)))
                .collect(),
        );
        for (file, state) in &mut self.files {
            if let Some(document) = &state.document {
                match Schema::compile(file, document, &documents) {
                    Ok(schema) => (state.schema, state.uncompiled) = (Some(Arc::new(schema)), None),
                    Err(wrong) => state.uncompiled = Some(wrong),
                }
            }
            let wrong = state.wrong().cloned();
            if wrong != state.told {
                if let Some(wrong) = &wrong {
                    self.counters.schemas_refused.add();
                    let (folder, kept) = (self.path.display(), state.schema.is_some());
                    tracing::warn!(%folder, %file, %wrong, kept, "schema refused; a last good version goes on");
                }
                state.told = wrong;
            }
        }
    }
}

/// The MESSAGE_ID that a file is for.
pub fn message_id(file: &str) -> &str {
    file.strip_suffix(SUFFIX).unwrap_or(file)
}

/// Every schema of a folder, by file name; or all that is wrong, a line each.
pub fn documents(path: &Path) -> Result<BTreeMap<Box<str>, Value>, Vec<String>> {
    let (mut documents, mut problems) = (BTreeMap::new(), Vec::new());
    for (file, _) in list(path).map_err(|wrong| vec![wrong])? {
        let whole = path.join(&*file);
        match read(&whole) {
            Ok(document) => drop(documents.insert(file, document)),
            Err(wrong) => problems.push(format!("{}: {wrong}", whole.display())),
        }
    }
    if problems.is_empty() { Ok(documents) } else { Err(problems) }
}

/// By name. Other files, and folders, are nobody's business here.
fn list(path: &Path) -> Result<Vec<(Box<str>, Stamp)>, String> {
    let unread =
        |error: io::Error| format!("the folder of schemas {} cannot be read: {error}", path.display());
    let mut listed: Vec<(Box<str>, Stamp)> = Vec::new();
    for entry in fs::read_dir(path).map_err(unread)? {
        let name = entry.map_err(unread)?.file_name();
        let Some(name) = name.to_str().filter(|name| name.ends_with(SUFFIX) && !name.starts_with('.')) else {
            continue;
        };
        // Follows links: mounted configuration is made of them. What is gone by now is gone.
        let Ok(data) = fs::metadata(path.join(name)) else { continue };
        if !data.is_file() {
            continue;
        }
        let stamp = Stamp { modified: data.modified().ok(), bytes: data.len(), inode: data.ino() };
        listed.push((name.into(), stamp));
        if listed.len() > limits::SCHEMAS_MAX {
            let (folder, most) = (path.display(), limits::SCHEMAS_MAX);
            return Err(format!("the folder of schemas {folder} has more than {most} of them"));
        }
    }
    listed.sort_by(|one, two| one.0.cmp(&two.0));
    Ok(listed)
}

fn read(path: &Path) -> Result<Value, String> {
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    check_message_id(message_id(file)).map_err(|wrong| format!("its name, a MESSAGE_ID, {wrong}"))?;
    let most = limits::SCHEMA_BYTES_MAX as u64;
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > most {
        return Err(format!("is larger than {most} bytes"));
    }
    let document = serde_json::from_slice(&bytes).map_err(|error| format!("is not JSON: {error}"))?;
    match document {
        Value::Object(_) | Value::Bool(_) => Ok(document),
        _ => Err("is no JSON Schema: that is an object, or true or false".into()),
    }
}

//! The embedded store: one redb file, one thread, one transaction for all writes that wait.

use super::{
    Fsync, Thread,
    disk::{file_error, open_file, sync_dir},
    log::Tools,
    stats::add,
};
use crate::{
    core::id::ConnectionId,
    limits::{DISK_GROUP_BYTES, DISK_GROUP_COUNT, STORE_WRITES_MAX},
    ports::{BackendError, Done, Store},
};
use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::{
    fmt, fs,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

const DOCUMENTS: TableDefinition<&str, &[u8]> = TableDefinition::new("connections");
const CACHE_BYTES: usize = 16 * 1024 * 1024;

type Documents = Vec<(ConnectionId, Bytes)>;

enum Command {
    Write { id: ConnectionId, document: Option<Bytes>, done: Done<Result<(), BackendError>> },
    Load(Sender<Result<Documents, BackendError>>),
    Stop,
}

pub struct EmbeddedStore {
    commands: Sender<Command>,
    tools: Tools,
}

/// Opens or creates the file and starts the thread.
pub fn start(
    path: PathBuf,
    fsync: Fsync,
    tools: Tools,
) -> Result<(Arc<EmbeddedStore>, Thread), BackendError> {
    let mut file = StoreFile { path, fsync, tools: tools.clone(), database: None };
    file.open()?;
    let (commands, inbox) = bounded(STORE_WRITES_MAX);
    let thread =
        std::thread::Builder::new().name("wsm-store".into()).spawn(move || run(&inbox, file)).map_err(
            |e| BackendError { message: format!("cannot start the store thread: {e}"), transient: true },
        )?;
    Ok((Arc::new(EmbeddedStore { commands, tools }), thread))
}

impl EmbeddedStore {
    pub fn stop(&self) {
        let _ = self.commands.send(Command::Stop);
    }

    fn write(&self, id: &ConnectionId, document: Option<Bytes>, done: Done<Result<(), BackendError>>) {
        let command = Command::Write { id: id.clone(), document, done };
        if let Err(TrySendError::Full(Command::Write { done, .. })) = self.commands.try_send(command) {
            add(&self.tools.counters.store_errors, 1);
            let message = "too many writes wait at the store: try again later".to_owned();
            done.complete(Err(BackendError { message, transient: true }));
        }
    }
}

impl Store for EmbeddedStore {
    fn put(&self, id: &ConnectionId, document: Bytes, done: Done<Result<(), BackendError>>) {
        self.write(id, Some(document), done);
    }

    fn delete(&self, id: &ConnectionId, done: Done<Result<(), BackendError>>) {
        self.write(id, None, done);
    }

    fn load(&self) -> Result<Documents, BackendError> {
        let stopped = || BackendError { message: "the store has stopped".into(), transient: false };
        let (answer, answered) = bounded(1);
        self.commands.send(Command::Load(answer)).map_err(|_| stopped())?;
        answered.recv().map_err(|_| stopped())?
    }
}

struct Write {
    id: ConnectionId,
    document: Option<Bytes>,
    done: Done<Result<(), BackendError>>,
}

fn run(inbox: &Receiver<Command>, mut file: StoreFile) -> Result<(), BackendError> {
    while let Ok(first) = inbox.recv() {
        let mut writes = Vec::new();
        let mut bytes = 0;
        let mut other = None;
        let mut command = Some(first);
        while let Some(current) = command {
            match current {
                Command::Write { id, document, done } => {
                    bytes += document.as_ref().map_or(0, Bytes::len);
                    writes.push(Write { id, document, done });
                }
                // In its order: after the writes before it.
                _ => {
                    other = Some(current);
                    break;
                }
            }
            if writes.len() >= DISK_GROUP_COUNT || bytes >= DISK_GROUP_BYTES {
                break;
            }
            command = inbox.try_recv().ok();
        }
        file.commit(writes);
        match other {
            Some(Command::Load(answer)) => {
                let _ = answer.send(file.load());
            }
            Some(Command::Stop) => break,
            _ => {}
        }
    }
    file.close()
}

struct StoreFile {
    path: PathBuf,
    fsync: Fsync,
    tools: Tools,
    /// None after an error: redb must read the file again.
    database: Option<Database>,
}

impl StoreFile {
    fn open(&mut self) -> Result<&Database, BackendError> {
        if self.database.is_none() {
            if !self.path.exists() {
                self.create()?;
            }
            self.database = Some(self.open_at(&self.path, false)?);
        }
        // Just set.
        self.database.as_ref().ok_or_else(|| self.broken("open", "it is not open"))
    }

    /// Under another name first, so that an empty file under the real one always means damage.
    fn create(&self) -> Result<(), BackendError> {
        let made = self.path.with_extension("redb.new");
        match fs::remove_file(&made) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(file_error("delete", &made, &error));
            }
            _ => {}
        }
        let database = self.open_at(&made, true)?;
        self.transact(&database, &[]).map_err(|e| self.broken("create", &e))?;
        database.close().map_err(|e| self.broken("create", &e))?;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        fs::rename(&made, &self.path)
            .and_then(|()| sync_dir(dir))
            .map_err(|e| file_error("create", &self.path, &e))
    }

    fn open_at(&self, path: &Path, create: bool) -> Result<Database, BackendError> {
        let file = open_file(path, create).map_err(|e| file_error("open", path, &e))?;
        let bytes = file.metadata().map_err(|e| file_error("open", path, &e))?.len();
        if bytes == 0 && !create {
            return Err(self.damaged("it is empty"));
        }
        let backend = RedbFile { file, tools: self.tools.clone(), fsync: self.fsync };
        redb::Builder::new()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true)
            .create_with_backend(backend)
            .map_err(|error| match error {
                redb::DatabaseError::Storage(redb::StorageError::Io(error))
                    if error.kind() != io::ErrorKind::InvalidData
                        && error.kind() != io::ErrorKind::UnexpectedEof =>
                {
                    file_error("open", path, &error)
                }
                redb::DatabaseError::UpgradeRequired(format) => {
                    self.damaged(&format!("it has the file format {format} of another version"))
                }
                other => self.damaged(&other.to_string()),
            })
    }

    fn damaged(&self, why: &str) -> BackendError {
        BackendError {
            message: format!(
                "the store file {} is damaged ({why}) and was left as it is: restore it from a copy, or move it away \
                 to begin with no stored connections",
                self.path.display()
            ),
            transient: false,
        }
    }

    fn broken(&self, what: &str, why: impl fmt::Display) -> BackendError {
        BackendError {
            message: format!("cannot {what} the store file {}: {why}", self.path.display()),
            transient: true,
        }
    }

    fn commit(&mut self, writes: Vec<Write>) {
        if writes.is_empty() {
            return;
        }
        let result = self.try_commit(&writes);
        let counters = &self.tools.counters;
        match &result {
            Ok(()) => {
                add(&counters.store_writes, writes.len() as u64);
                add(&counters.store_commits, 1);
            }
            Err(error) => {
                add(&counters.store_errors, 1);
                tracing::error!(%error, "the embedded store failed");
            }
        }
        for write in writes {
            write.done.complete(result.clone());
        }
    }

    fn try_commit(&mut self, writes: &[Write]) -> Result<(), BackendError> {
        self.open()?;
        let Some(database) = self.database.take() else { return Err(self.broken("open", "it is not open")) };
        // After an error redb refuses everything: the database is dropped, the next write reopens it.
        self.transact(&database, writes).map_err(|e| self.broken("write to", &e))?;
        self.database = Some(database);
        Ok(())
    }

    fn transact(&self, database: &Database, writes: &[Write]) -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        {
            let mut table = transaction.open_table(DOCUMENTS)?;
            for write in writes {
                match &write.document {
                    Some(document) => table.insert(write.id.as_str(), document.as_ref())?,
                    None => table.remove(write.id.as_str())?,
                };
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn load(&mut self) -> Result<Documents, BackendError> {
        self.open()?;
        let Some(database) = &self.database else { return Err(self.broken("open", "it is not open")) };
        let read = || -> Result<Documents, redb::Error> {
            let transaction = database.begin_read()?;
            let table = transaction.open_table(DOCUMENTS)?;
            let mut documents = Vec::new();
            for entry in table.iter()? {
                let (id, document) = entry?;
                match ConnectionId::parse(id.value()) {
                    Ok(id) => documents.push((id, Bytes::copy_from_slice(document.value()))),
                    Err(why) => {
                        tracing::warn!(id = id.value(), %why, "a stored document has a bad id: left alone")
                    }
                }
            }
            Ok(documents)
        };
        read().map_err(|e| self.broken("read", &e))
    }

    fn close(mut self) -> Result<(), BackendError> {
        match self.database.take() {
            Some(database) => database.close().map_err(|e| self.broken("close", &e)),
            None => Ok(()),
        }
    }
}

/// The file as redb sees it: through the seam, and without fsync where that was asked for. The
/// data still reaches the file with every commit, so that only a power cut can hurt.
struct RedbFile {
    file: File,
    tools: Tools,
    fsync: Fsync,
}

impl fmt::Debug for RedbFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedbFile")
    }
}

impl redb::StorageBackend for RedbFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.tools.disk.read_exact_at(&self.file, out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.tools.disk.set_len(&self.file, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.fsync == Fsync::UnsafeNever {
            return Ok(());
        }
        let began = Instant::now();
        let result = self.tools.disk.sync(&self.file);
        self.tools.counters.fsynced(began.elapsed(), result.is_ok());
        result
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.tools.disk.write_all_at(&self.file, data, offset)
    }
}

#[cfg(test)]
mod tests;

//! One thread with one runtime, ended when it is closed.

use crate::ports::BackendError;
use parking_lot::Mutex;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

pub struct Thread {
    name: &'static str,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Thread {
    /// `begin` is called on it and spawns what it does.
    pub fn start(name: &'static str, begin: impl FnOnce() + Send + 'static) -> Result<Thread, BackendError> {
        let cannot = |error: std::io::Error| BackendError {
            message: format!("cannot start the thread '{name}': {error}"),
            transient: true,
        };
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
        let handle = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                runtime.block_on(async {
                    begin();
                    let _ = stopped.await;
                });
                // A name that is looked up right now must not hold up the end.
                runtime.shutdown_background();
            })
            .map_err(cannot)?;
        Ok(Thread { name, stop: Mutex::new(Some(stop)), handle: Mutex::new(Some(handle)) })
    }

    /// What it did is dropped, which those who wait for it see.
    pub fn close(&self) -> Result<(), BackendError> {
        drop(self.stop.lock().take());
        let Some(handle) = self.handle.lock().take() else { return Ok(()) };
        handle.join().map_err(|_| BackendError {
            message: format!("the thread '{}' panicked", self.name),
            transient: false,
        })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "a thread did not end well");
        }
    }
}

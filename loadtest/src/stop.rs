//! Ctrl-C: the first ends the run and leaves a partial report; the second ends this process at once,
//! and the kernel ends what it started.

use std::sync::atomic::{AtomicUsize, Ordering};

static ASKED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note(_signal: libc::c_int) {
    ASKED.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn note_once(_signal: libc::c_int) {
    if ASKED.fetch_add(1, Ordering::Relaxed) > 0 {
        // SAFETY: one of the few calls that a signal handler may make.
        unsafe { libc::_exit(i32::from(crate::trouble::EXIT_INTERRUPTED)) }
    }
}

/// From now on SIGINT and SIGTERM are noted instead of ending the process.
pub fn listen() {
    handle(note_once);
}

/// The same, and a second one ends nothing either: for who looks soon, and has something to put back.
pub fn listen_only() {
    handle(note);
}

fn handle(handler: extern "C" fn(libc::c_int)) {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler touches one atomic number and nothing else.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as libc::sighandler_t;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

#[must_use]
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed) > 0
}

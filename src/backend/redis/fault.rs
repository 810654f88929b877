//! What went wrong, in words that may be shown.

use super::{Settings, link::Tools};
use crate::ports::BackendError;
use redis::{ErrorKind, RedisError, ServerErrorKind};

#[derive(Debug)]
pub struct Fault {
    pub why: String,
    /// Not of the command: another connection may do better, or must.
    pub of_connection: bool,
    pub no_script: bool,
    /// The server itself said so: whatever was asked did not happen.
    pub refused: bool,
}

impl Fault {
    pub fn of(settings: &Settings, error: &RedisError) -> Fault {
        if error.is_timeout() {
            return Fault::hangs(settings);
        }
        let kind = error.kind();
        // After a failover the name may lead to the new master, this connection does not.
        let demoted =
            matches!(kind, ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown));
        let by_server = matches!(kind, ErrorKind::Server(_) | ErrorKind::Extension);
        let mut why = settings.hide(&error.to_string());
        if let ErrorKind::AuthenticationFailed = kind {
            why.push_str(" (check user and password in the URL)");
        }
        Fault {
            why,
            of_connection: demoted || !by_server,
            no_script: kind == ErrorKind::Server(ServerErrorKind::NoScript),
            refused: by_server,
        }
    }

    pub fn hangs(settings: &Settings) -> Fault {
        let why = format!("no answer within {} ms", settings.command_timeout.as_millis());
        Fault { why, of_connection: true, no_script: false, refused: false }
    }

    /// There was no connection within the deadline.
    pub fn away(tools: &Tools) -> Fault {
        let why = tools.health.first().unwrap_or_else(|| "no connection".into());
        Fault { why, of_connection: true, no_script: false, refused: false }
    }

    /// The other end closed the connection.
    pub fn cut() -> Fault {
        let why = "the connection was cut".into();
        Fault { why, of_connection: true, no_script: false, refused: false }
    }

    /// The server lost data, or somebody deleted our session.
    pub fn forgotten() -> Fault {
        let why = "the server lost the session of this connection".into();
        Fault { why, of_connection: true, no_script: false, refused: false }
    }

    pub fn answer(what: &str) -> Fault {
        let why = format!("an unexpected answer to {what}: is this a Redis server?");
        Fault { why, of_connection: false, no_script: false, refused: false }
    }

    pub fn error(&self, settings: &Settings) -> BackendError {
        BackendError { message: format!("Redis at {}: {}", settings.address, self.why), transient: true }
    }
}

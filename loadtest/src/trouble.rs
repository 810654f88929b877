//! Why a run ends without a result, and the exit code that says so.

use std::{fmt, io};

#[derive(Debug)]
pub enum Trouble {
    /// What was asked for cannot be: names the argument and the way out.
    Usage(String),
    /// The service, or something that the run needs, is not there.
    Unavailable(String),
    /// Ctrl-C before there was anything to report.
    Interrupted,
    /// Anything else: the run broke.
    Failed(String),
}

pub type Result<T> = std::result::Result<T, Trouble>;

pub const EXIT_OK: u8 = 0;
/// A goal, a threshold or the books.
pub const EXIT_FAILED: u8 = 1;
pub const EXIT_USAGE: u8 = 64;
pub const EXIT_UNAVAILABLE: u8 = 69;
pub const EXIT_INTERRUPTED: u8 = 130;

impl Trouble {
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Trouble::Usage(_) => EXIT_USAGE,
            Trouble::Unavailable(_) => EXIT_UNAVAILABLE,
            Trouble::Interrupted => EXIT_INTERRUPTED,
            Trouble::Failed(_) => EXIT_FAILED,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Usage(text) | Trouble::Unavailable(text) | Trouble::Failed(text) => f.write_str(text),
            Trouble::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Trouble {}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Failed(error.to_string())
    }
}

impl From<tonic::Status> for Trouble {
    fn from(status: tonic::Status) -> Self {
        Trouble::Failed(format!("the service answered {:?}: {}", status.code(), status.message()))
    }
}

impl From<tonic::transport::Error> for Trouble {
    fn from(error: tonic::transport::Error) -> Self {
        Trouble::Unavailable(format!("no gRPC at the service: {error}"))
    }
}

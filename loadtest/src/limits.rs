//! Open files: as many as the system lets this process have, and a clear word when that is too few.

use crate::trouble::{Result, Trouble};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a process needs besides its sockets under load.
pub const FILES_BESIDE: u64 = 100;

/// Raises the soft limit to the hard one, for this process and its children, and tells it.
#[must_use]
pub fn raise_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    files()
}

/// How many files this process may have open.
#[must_use]
pub fn files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Left of the limit for all else, where as many sockets are wanted as there can be.
const LESS: usize = 500;
/// More would take longer to come in than they are looked at.
const SOCKETS_MAX: usize = 200_000;

/// As many sockets as the limit allows, less some for all else.
#[must_use]
pub fn most_sockets() -> usize {
    usize::try_from(files()).unwrap_or(usize::MAX).saturating_sub(LESS).min(SOCKETS_MAX)
}

/// Fails when one process cannot have so many sockets.
pub fn need_files(sockets: u64, what: &str) -> Result<()> {
    enough_files(sockets, what, files())
}

pub fn enough_files(sockets: u64, what: &str, limit: u64) -> Result<()> {
    let needed = sockets + FILES_BESIDE;
    if needed <= limit {
        return Ok(());
    }
    Err(Trouble::Usage(format!(
        "too few file descriptors: {what} needs {needed} in one process (RLIMIT_NOFILE), and the hard limit is \
         {limit}. Raise it (`ulimit -Hn {needed}` as root, LimitNOFILE= of a unit, or the container's --ulimit \
         nofile={needed}), or ask for at most --connections {}",
        limit.saturating_sub(FILES_BESIDE)
    )))
}

/// For whoever met the limit on the way.
#[must_use]
pub fn too_few_files(sockets: u64) -> Trouble {
    Trouble::Usage(format!(
        "too few file descriptors: no more than {sockets} sockets at this limit of {} (RLIMIT_NOFILE). Raise it \
         (`ulimit -n`, up to `ulimit -Hn`; LimitNOFILE= of a unit), or ask for fewer --connections",
        files()
    ))
}

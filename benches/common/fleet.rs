//! Instances of the built service that share one Redis and one key.

use super::{servers::Redis, service::Service};
use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::PathBuf};
use tempfile::TempDir;

/// Any 32 bytes in hex do; a benchmark's secrets are none.
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";

pub struct Fleet {
    pub redis: Redis,
    key: PathBuf,
    _folder: TempDir,
}

impl Fleet {
    /// None, and said, when there is no Redis here.
    pub fn start() -> Option<Self> {
        let redis = Redis::start(None)?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let key = folder.path().join("secret.key");
        fs::write(&key, KEY).expect("the folder takes files");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("the mode can be set");
        Some(Fleet { redis, key, _folder: folder })
    }

    /// One shard, on the first core.
    pub fn member(&self, name: &str) -> Service {
        let (url, key) = (self.redis.url(), self.key.to_string_lossy());
        Service::start(&[
            "--backend",
            "redis",
            "--redis-url",
            &url,
            "--secret-key-file",
            &key,
            "--instance-id",
            name,
            "--drain-lame-duck",
            "0s",
        ])
    }
}

/// How often each command was called, those inside scripts too.
pub fn calls(redis: &mut redis::Connection) -> BTreeMap<String, u64> {
    let text: String = redis::cmd("INFO").arg("commandstats").query(redis).expect("it answers");
    let line = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

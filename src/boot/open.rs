//! From the configuration to an open backend.

use super::Failure;
use crate::{
    backend::{
        Backend,
        embedded::{Embedded, EmbeddedConfig, Fsync, LocalDisk},
        redis::{Redis, RedisConfig},
    },
    config::{self, BusFsync, Config, StoreFsync},
};

/// Never waits for a server: one that is not there yet is waited for later, and said.
pub(super) fn backend(config: &Config) -> Result<Backend, Failure> {
    let disk = disk(config);
    Ok(match config.backend {
        config::Backend::Embedded => Backend::Embedded(Embedded::open(disk).map_err(|error| error.message)?),
        config::Backend::Redis => {
            let url = config.redis_url.as_ref().map(config::Secret::reveal).unwrap_or_default();
            let mut redis = RedisConfig::new(url);
            redis.stream_events_max = config.redis_stream_max;
            let local = LocalDisk::open(&disk).map_err(|error| error.message)?;
            Backend::Redis(Redis::open(redis).map_err(|error| error.message)?, local)
        }
        config::Backend::Dapr => return Err("the dapr backend is not there yet".into()),
    })
}

fn disk(config: &Config) -> EmbeddedConfig {
    let mut disk = EmbeddedConfig::new(config.data_dir.clone(), config.shards);
    disk.secret_key_file = config.secret_key_file.clone();
    disk.store_fsync = match config.store_fsync {
        StoreFsync::Always => Fsync::Always,
        StoreFsync::UnsafeNever => Fsync::UnsafeNever,
    };
    disk.bus_fsync = match config.bus.fsync {
        BusFsync::Always => Fsync::Always,
        BusFsync::Interval(every) => Fsync::Interval(every),
        BusFsync::UnsafeNever => Fsync::UnsafeNever,
    };
    disk.segment_bytes = config.bus.segment_bytes;
    disk.topic_bytes_max = config.bus.topic_bytes_max;
    disk.topic_age_max = config.bus.topic_age_max;
    disk.spill_bytes_max = config.publish.spill_bytes;
    disk
}

//! From the configuration to an open backend.

use super::Failure;
use crate::{
    backend::{
        Backend, Capabilities,
        dapr::{Dapr, DaprConfig, endpoint},
        embedded::{self, Embedded, EmbeddedConfig, Fsync, LocalDisk},
        redis::{Redis, RedisConfig},
    },
    config::{self, BusFsync, Config, StoreFsync},
    limits,
};
use std::{
    thread,
    time::{Duration, Instant},
};

/// Never waits for a server: one that is not there yet is waited for later, and said.
pub(super) fn backend(config: &Config) -> Result<Backend, Failure> {
    let disk = disk(config);
    Ok(match config.backend {
        config::Backend::Embedded => Backend::Embedded(Embedded::open(disk).map_err(|error| error.message)?),
        config::Backend::Redis => {
            let local = LocalDisk::open(&disk).map_err(|error| error.message)?;
            Backend::Redis(Redis::open(redis(config)).map_err(|error| error.message)?, local)
        }
        config::Backend::Dapr => {
            let dapr = Dapr::open(dapr(config)?).map_err(|error| error.message)?;
            Backend::Dapr(Box::new(dapr), LocalDisk::open(&disk).map_err(|error| error.message)?)
        }
    })
}

/// What the backend can do, in comment lines for `check`: a server or sidecar that is there is
/// asked, for a moment; nothing on this machine's disk is touched.
pub fn report(config: &Config) -> String {
    let name = config.backend.name();
    let (capabilities, trouble) = match config.backend {
        config::Backend::Embedded => {
            let durable = config.store_fsync != StoreFsync::UnsafeNever;
            (Capabilities { durable, ..embedded::CAPABILITIES }, None)
        }
        config::Backend::Redis => match Redis::open(redis(config)) {
            Ok(redis) => {
                let trouble = patiently(|| redis.health().err());
                (redis.capabilities(), trouble)
            }
            Err(error) => return format!("# backend {name}: {error}\n"),
        },
        config::Backend::Dapr => match dapr(config).and_then(|dapr| Ok(Dapr::open(dapr)?)) {
            Ok(dapr) => {
                let trouble = patiently(|| {
                    Some(dapr.health()).filter(|health| !health.is_ready()).map(|health| health.to_string())
                });
                (dapr.capabilities(), trouble)
            }
            Err(error) => return format!("# backend {name}: {error}\n"),
        },
    };
    if let Some(trouble) = trouble {
        return format!("# backend {name}: {trouble}; what it can do is shown by /readyz once it is there\n");
    }
    let Capabilities { etag, ttl, ordered_bulk, broadcast, durable } = capabilities;
    let yes = |it: bool| if it { "yes" } else { "no" };
    format!(
        "# backend {name}: etag {}, ttl {}, ordered bulk {}, broadcast {}, durable {}\n",
        yes(etag),
        yes(ttl),
        yes(ordered_bulk),
        yes(broadcast),
        yes(durable)
    )
}

/// Looks until there is no trouble, for as long as somebody at a terminal likes to wait.
fn patiently(mut trouble: impl FnMut() -> Option<String>) -> Option<String> {
    let until = Instant::now() + limits::CHECK_PATIENCE;
    loop {
        match trouble() {
            Some(_) if Instant::now() < until => thread::park_timeout(Duration::from_millis(20)),
            found => return found,
        }
    }
}

pub(super) fn redis(config: &Config) -> RedisConfig {
    let url = config.redis_url.as_ref().map(config::Secret::reveal).unwrap_or_default();
    let mut redis = RedisConfig::new(url);
    redis.stream_events_max = config.redis_stream_max;
    redis
}

fn dapr(config: &Config) -> Result<DaprConfig, Failure> {
    let given = &config.dapr;
    let address = match &given.grpc_endpoint {
        Some(text) => endpoint::parse(text).map_err(|error| format!("dapr_grpc_endpoint: {error}"))?,
        None => endpoint::local(given.grpc_port),
    };
    let mut dapr = DaprConfig::new(address);
    dapr.api_token = given.api_token.as_ref().map(|token| token.reveal().to_owned());
    dapr.pubsub = given.pubsub_name.clone();
    dapr.state_store = given.state_store_name.clone();
    dapr.max_body_bytes = given.max_body_bytes;
    dapr.bulk_in_flight = given.bulk_in_flight;
    dapr.dead_letter_topic = config.dead_letter_topic.clone();
    Ok(dapr)
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

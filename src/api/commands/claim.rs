//! Who runs a command: this instance's memory first, then a document that the fleet shares.

use crate::{
    core::{seen::Seen, time::Time},
    limits,
    ports::{Documents, Expect, Put},
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::time::Instant;

const KEY_PREFIX: &str = "wsm-command-";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    Mine,
    /// Another instance has it, or this one in an earlier life.
    Taken,
    Unknown(String),
}

pub struct Claims {
    documents: Option<Arc<dyn Documents>>,
    /// Names this run of the process.
    run: u64,
    attempts: AtomicU64,
    started: Instant,
    seen: Mutex<Seen<()>>,
    /// Claims of ours of which nobody knows whether they stand, with their values: only such a
    /// document may be taken for our own when it is met again.
    unsure: Mutex<Seen<Bytes>>,
}

/// Of the source and the id. A cryptographic hash: nobody can make two commands look like one.
pub fn key(source: &str, id: &str) -> u128 {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    hash.update(&(source.len() as u64).to_be_bytes());
    hash.update(source.as_bytes());
    hash.update(id.as_bytes());
    hash.finish().as_ref().iter().take(16).fold(0, |key, byte| key << 8 | u128::from(*byte))
}

impl Claims {
    pub fn new(documents: Option<Arc<dyn Documents>>, run: u64) -> Self {
        let seen = || limits::COMMANDS_REMEMBERED_MAX;
        Claims {
            documents,
            run,
            attempts: AtomicU64::new(0),
            started: Instant::now(),
            seen: Mutex::new(Seen::new(seen(), limits::COMMAND_CLAIM_TTL)),
            unsure: Mutex::new(Seen::new(seen(), limits::COMMAND_CLAIM_TTL)),
        }
    }

    /// False: this instance has met it already.
    pub fn first(&self, key: u128) -> bool {
        self.seen.lock().remember(key, (), self.now())
    }

    /// It was given back: when it comes again it is new.
    pub fn forget(&self, key: u128) {
        self.seen.lock().forget(key);
    }

    /// Before it is run: afterwards no other instance will.
    pub async fn claim(&self, key: u128) -> Claim {
        let Some(documents) = &self.documents else { return Claim::Mine };
        let name = format!("{KEY_PREFIX}{key:032x}");
        let known = self.unsure.lock().get(key, self.now()).cloned();
        let value = known.clone().unwrap_or_else(|| self.value());
        let ttl = Some(limits::COMMAND_CLAIM_TTL);
        let put = documents.put(name.clone(), value.clone(), Expect::Absent, ttl).await;
        let claim = match &put {
            Ok(Put::Written(_)) => Claim::Mine,
            // Surely another one's, unless an earlier attempt of ours was left open.
            Ok(Put::Conflict) if known.is_none() => Claim::Taken,
            Ok(Put::Conflict) | Err(_) => match documents.get(vec![name]).await {
                Ok(found) => match found.into_iter().next().flatten() {
                    Some(found) if found.value == value => Claim::Mine,
                    Some(_) => Claim::Taken,
                    None => Claim::Unknown(put.map_or_else(|e| e.message, |_| "it has just expired".into())),
                },
                Err(error) => Claim::Unknown(error.message),
            },
        };
        let mut unsure = self.unsure.lock();
        match claim {
            Claim::Unknown(_) => drop(unsure.remember(key, value, self.now())),
            Claim::Mine | Claim::Taken => drop(unsure.forget(key)),
        }
        claim
    }

    /// Unlike any other attempt's.
    fn value(&self) -> Bytes {
        format!("{:016x}/{}", self.run, self.attempts.fetch_add(1, Ordering::Relaxed)).into()
    }

    fn now(&self) -> Time {
        Time::ZERO + self.started.elapsed()
    }
}

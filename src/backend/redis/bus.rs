//! The bus as others see it: two bounded queues into the thread.

use super::{link::Tools, publish::Job, readers::Fetch, stats::add};
use crate::{
    core::publish::batch::{Batch, PublishError},
    ports::{BackendError, Bus, Done, TopicChunk, TopicFrom},
};
use std::sync::Arc;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::Instant,
};

pub struct RedisBus {
    pub batches: mpsc::Sender<Job>,
    pub fetches: mpsc::Sender<Fetch>,
    pub tools: Arc<Tools>,
}

impl Bus for RedisBus {
    fn publish(&self, batch: Arc<Batch>, done: Done<Result<(), PublishError>>) {
        let until = Instant::now() + self.tools.settings.command_timeout;
        // Closed: the completion is dropped, which says so.
        if let Err(TrySendError::Full(job)) = self.batches.try_send(Job { batch, done, until }) {
            add(&self.tools.counters.publish_retries, 1);
            job.done.complete(Err(PublishError::Retry));
        }
    }

    fn fetch(
        &self,
        topic: &str,
        from: TopicFrom,
        bytes_max: usize,
        done: Done<Result<TopicChunk, BackendError>>,
    ) {
        let until = Instant::now() + self.tools.settings.command_timeout;
        let fetch = Fetch { topic: topic.into(), from, bytes_max, done, until };
        if let Err(TrySendError::Full(fetch)) = self.fetches.try_send(fetch) {
            add(&self.tools.counters.fetches_refused, 1);
            let message = "too many reads wait at Redis: try again later".to_owned();
            fetch.done.complete(Err(BackendError { message, transient: true }));
        }
    }
}

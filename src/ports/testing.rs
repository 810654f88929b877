//! A backend for tests that need one and do not look at it.

use super::{BackendError, Bus, Done, Seal, Spill, Store, TopicChunk, TopicFrom};
use crate::core::{
    id::ConnectionId,
    publish::batch::{Batch, PublishError},
};
use bytes::Bytes;
use std::sync::Arc;

/// A backend that keeps nothing and agrees to everything.
pub struct Nothing;

impl Store for Nothing {
    fn put(&self, _: &ConnectionId, _: Bytes, done: Done<Result<(), BackendError>>) {
        done.complete(Ok(()));
    }
    fn delete(&self, _: &ConnectionId, done: Done<Result<(), BackendError>>) {
        done.complete(Ok(()));
    }
    fn load(&self) -> Result<Vec<(ConnectionId, Bytes)>, BackendError> {
        Ok(Vec::new())
    }
}

impl Bus for Nothing {
    fn publish(&self, _: Arc<Batch>, done: Done<Result<(), PublishError>>) {
        done.complete(Ok(()));
    }
    fn fetch(&self, _: &str, _: TopicFrom, _: usize, done: Done<Result<TopicChunk, BackendError>>) {
        done.complete(Ok(TopicChunk { events: Vec::new(), next: 0, skipped: 0 }));
    }
}

impl Spill for Nothing {
    fn append(&self, _: Vec<u8>, done: Done<Result<bool, BackendError>>) {
        done.complete(Ok(false));
    }
    fn peek(&self, done: Done<Result<Option<Vec<u8>>, BackendError>>) {
        done.complete(Ok(None));
    }
    fn pop(&self, done: Done<Result<(), BackendError>>) {
        done.complete(Ok(()));
    }
}

impl Seal for Nothing {
    fn seal(&self, _: &str, plain: &[u8]) -> Result<Vec<u8>, BackendError> {
        Ok(plain.to_vec())
    }
    fn open(&self, _: &str, sealed: &[u8]) -> Result<Vec<u8>, BackendError> {
        Ok(sealed.to_vec())
    }
}

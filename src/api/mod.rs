//! The edges: protocols in, values out. Stateless; what they know of a shard is its mailbox.

pub mod service;

//! The edges: protocols in, values out. Stateless; what they know of a shard is its mailbox.

pub mod admin;
pub mod app_callback;
pub mod bindings;
pub mod caller;
pub mod certs;
pub mod commands;
pub mod connect;
mod convert;
pub mod cors;
pub mod counters;
pub mod entries;
mod events;
mod follow;
pub mod grpc;
pub mod health;
pub mod http;
pub mod io;
pub mod json;
pub mod listen;
mod messages;
pub mod openapi;
pub mod peers;
pub mod posts;
pub mod query;
pub mod rest;
pub mod routes;
mod sends;
pub mod serve;
pub mod service;
pub mod sse;
pub mod status;
#[cfg(test)]
mod testing;
pub mod typed;
mod update;
pub mod validate;
pub mod ws;

//! The integration tests: one binary, one link, tests in parallel inside it.

mod harness;

mod golden;
mod layers;
mod licences;
mod tidy;

mod commands;
mod connect;
mod docs;
mod drain;
mod fleet;
mod publish;
mod real;
mod receive;
mod restart;
mod rooms;
mod security;
mod send;
mod status;
mod telemetry;
mod tls;
mod types;

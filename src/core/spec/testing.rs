//! What tests mean by a connection unless they say otherwise.

use super::{Dial, Settings};
use crate::core::{correlation::Rule, target::Target};
use std::{sync::Arc, time::Duration};

pub fn settings() -> Settings {
    Settings {
        auto_reconnect: true,
        reconnect_attempts_max: 0,
        reconnect_base: Duration::from_secs(1),
        reconnect_max: Duration::from_secs(1),
        ping_interval: Duration::ZERO,
        pong_timeout: Duration::from_secs(5),
        idle_data: Duration::ZERO,
        sends_per_second: 0.0,
        sends_burst: 0,
        send_bytes_max: 10_000,
        sends_in_flight_max: 10,
        message_bytes_max: 10_000,
        correlation: Rule::Auto,
        rooms: Arc::default(),
    }
}

pub fn dial(url: &str) -> Dial {
    Dial {
        target: Target::parse(url).unwrap(),
        headers: Vec::new(),
        subprotocols: Vec::new(),
        tls: None,
        source_ip: None,
        timeout: Duration::from_secs(5),
    }
}

//! Defaults that depend on the machine, or follow what was given beside them: who moves one of two
//! related settings need not know the other.

use super::{
    check,
    sources::{Environment, Resolved},
    value::{Unit, Value},
};
use crate::limits;
use std::time::Duration;

/// Settings whose default depends on the machine or on other settings.
pub fn derive(values: &mut Resolved, environment: &dyn Environment) {
    let unset = |values: &Resolved, key| values.entry(key).value.is_none();
    if unset(values, "shards") {
        let cpus = environment.cpus().clamp(1, crate::limits::SHARDS_MAX);
        values.set_derived("shards", Value::Count(cpus), "CPUs that this process may use");
    }
    if unset(values, "instance_id") {
        let id = format!("wsm-{:016x}", environment.random());
        values.set_derived("instance_id", Value::Text(id), "random");
    }
    if unset(values, "backend") {
        let (name, how) = match sidecar(values) {
            true => ("dapr", "a Dapr sidecar is configured"),
            false => ("embedded", "no Dapr sidecar is configured"),
        };
        values.set_derived("backend", Value::Text(name.into()), how);
    }
    if unset(values, "commands") {
        let dapr = values.text("backend") == Some("dapr");
        values.set_derived("commands", Value::Switch(dapr), "on with the dapr backend");
    }
    drain(values);
    pings(values);
    reconnects(values);
    sizes(values);
}

/// Somebody told us where a sidecar is.
fn sidecar(values: &Resolved) -> bool {
    check::SIDECAR.iter().any(|key| values.given(key))
}

/// The first of the two was given, the second was not: its default may follow.
fn only(values: &Resolved, given: &str, other: &str) -> bool {
    values.given(given) && !values.given(other) && values.sound(&[given, other])
}

fn drain(values: &mut Resolved) {
    if only(values, "drain_timeout", "drain_lame_duck") {
        let whole = values.span("drain_timeout").unwrap_or_default();
        let part = limits::DRAIN_LAME_DUCK_DEFAULT.min(whole / 4);
        set_span(values, "drain_lame_duck", part, Unit::Seconds, "follows drain_timeout");
    }
}

fn pings(values: &mut Resolved) {
    if only(values, "ping_interval", "pong_timeout") {
        let two = values.span("ping_interval").unwrap_or_default() * 2;
        set_span(values, "pong_timeout", two, Unit::Seconds, "follows ping_interval");
    }
    if only(values, "pong_timeout", "ping_interval") {
        let half = values.span("pong_timeout").unwrap_or_default() / 2;
        let pause = limits::PING_INTERVAL_DEFAULT.min(half);
        set_span(values, "ping_interval", pause, Unit::Seconds, "follows pong_timeout");
    }
}

fn reconnects(values: &mut Resolved) {
    let (base, max) = ("reconnect_base_delay_ms", "reconnect_max_delay_ms");
    if only(values, base, max) {
        let least = values.span(base).unwrap_or_default();
        let bound = limits::RECONNECT_MAX_DEFAULT.max(least);
        set_span(values, max, bound, Unit::Millis, "follows reconnect_base_delay_ms");
    }
    if only(values, max, base) {
        let most = values.span(max).unwrap_or_default();
        let first = limits::RECONNECT_BASE_DEFAULT.min(most);
        set_span(values, base, first, Unit::Millis, "follows reconnect_max_delay_ms");
    }
}

fn sizes(values: &mut Resolved) {
    if only(values, "publish_queue_bytes", "publish_batch_bytes") {
        let batch = values.number("publish_queue_bytes").min(limits::PUBLISH_BATCH_BYTES as u64);
        values.set_derived("publish_batch_bytes", Value::Bytes(batch), "follows publish_queue_bytes");
    }
    // Retention drops whole files, so a topic wants some of them.
    if only(values, "bus_topic_bytes_max", "bus_segment_bytes") {
        let part = (values.number("bus_topic_bytes_max") / 4).max(64 * 1024);
        let segment = part.min(limits::BUS_SEGMENT_BYTES_DEFAULT as u64);
        values.set_derived("bus_segment_bytes", Value::Bytes(segment), "follows bus_topic_bytes_max");
    }
    if only(values, "bus_segment_bytes", "bus_topic_bytes_max") {
        let some = values.number("bus_segment_bytes").saturating_mul(4);
        let topic = some.max(limits::BUS_TOPIC_BYTES_DEFAULT as u64);
        values.set_derived("bus_topic_bytes_max", Value::Bytes(topic), "follows bus_segment_bytes");
    }
}

fn set_span(values: &mut Resolved, key: &str, span: Duration, unit: Unit, how: &'static str) {
    let default = values.entry(key).value.clone();
    // Where it comes to the same, it simply is the default.
    if default != Some(Value::Span(span, unit)) {
        values.set_derived(key, Value::Span(span, unit), how);
    }
}

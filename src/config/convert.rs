//! From the table's values to the plain ones that the process runs by: once, at start.

use super::{
    Backend, BusConfig, BusFsync, Config, DaprConfig, HostPort, IngressConfig, Jararaca, LogFormat, LogLevel,
    PublishConfig, ReconnectConfig, RoomsConfig, Secret, StoreFsync, TlsFiles, TokenConfig, render,
    room_rule, sources::Resolved,
};
use crate::core::rooms::intake::{Binding, RestRoute};
use crate::core::{
    origin::Origins,
    rooms::{
        History, Rules, Slow,
        route::{Auth, Route},
    },
};
use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// What could not be read has its default here, or stands at zero; such a configuration is refused.
pub fn convert(v: &Resolved) -> Config {
    Config {
        http_port: port(v, "http_port"),
        grpc_port: port(v, "grpc_port"),
        admin_port: port(v, "admin_port"),
        listen: address(v, "listen"),
        admin_listen: address(v, "admin_listen"),
        tls: path(v, "tls_cert").zip(path(v, "tls_key")).map(|(cert, key)| TlsFiles { cert, key }),
        cors_origins: v.list("cors_origin"),
        instance_id: text(v, "instance_id"),
        advertise: v.text("advertise").and_then(|it| HostPort::parse(it).ok()),
        shards: small(v, "shards"),
        data_dir: path(v, "data_dir").unwrap_or_default(),
        secret_key_file: path(v, "secret_key_file"),
        busy_poll: span(v, "busy_poll_us"),
        backend: backend(v),
        redis_url: secret(v, "redis_url"),
        redis_stream_max: v.number("redis_stream_max"),
        jararaca: v.text("jararaca_channels").and_then(Jararaca::names).map(|(send, broadcast)| Jararaca {
            send: send.to_owned(),
            broadcast: broadcast.to_owned(),
            dedupe: v.switch("jararaca_dedupe"),
        }),
        dead_letter_topic: v.text("dead_letter_topic").map(String::from),
        commands_topic: v.switch("commands").then(|| text(v, "commands_topic")),
        dapr: dapr(v),
        connection_record_ttl: v.span("connection_record_ttl"),
        clear_all_on_start: v.switch("clear_all_on_start"),
        lifecycle_topic: text(v, "lifecycle_topic"),
        schemas: path(v, "schemas"),
        schemas_strict: v.switch("schemas_strict"),
        rest_routes: v.list("rest_route").iter().filter_map(|it| RestRoute::parse(it).ok()).collect(),
        bindings: v.list("bind").iter().filter_map(|it| Binding::parse(it).ok()).collect(),
        egress_allow: v.list("egress_allow"),
        egress_deny: v.list("egress_deny"),
        tls_roots: path(v, "tls_roots"),
        connect_timeout: span(v, "connect_timeout_ms"),
        reconnect: ReconnectConfig {
            max_attempts: small(v, "reconnect_max_attempts"),
            base_delay: span(v, "reconnect_base_delay_ms"),
            max_delay: span(v, "reconnect_max_delay_ms"),
        },
        max_connections: size(v, "max_connections"),
        default_timeout: span(v, "default_timeout_ms"),
        ping_interval: span(v, "ping_interval"),
        pong_timeout: span(v, "pong_timeout"),
        max_message_bytes: size(v, "max_message_bytes"),
        sends_in_flight_max: size(v, "sends_in_flight_max"),
        outbox_bytes_max: size(v, "outbox_bytes_max"),
        mailbox_max: size(v, "mailbox_max"),
        ring_bytes: size(v, "ring_bytes"),
        rooms: rooms(v),
        ingress: ingress(v),
        publish: publish(v),
        bus: bus(v),
        store_fsync: match v.text("store_fsync") {
            Some("unsafe-never") => StoreFsync::UnsafeNever,
            _ => StoreFsync::Always,
        },
        drain_timeout: span(v, "drain_timeout"),
        drain_lame_duck: span(v, "drain_lame_duck"),
        log_level: log_level(v),
        log_format: match v.text("log_format") {
            Some("json") => LogFormat::Json,
            _ => LogFormat::Text,
        },
        otlp_endpoint: v.text("otlp_endpoint").map(String::from),
        trace_one_in: v.number("trace_one_in"),
        warnings: Vec::new(),
        shown: render::shown(v),
    }
}

fn dapr(v: &Resolved) -> DaprConfig {
    DaprConfig {
        grpc_endpoint: v.text("dapr_grpc_endpoint").map(String::from),
        grpc_port: port(v, "dapr_grpc_port"),
        http_port: port(v, "dapr_http_port"),
        api_token: secret(v, "dapr_api_token"),
        app_api_token: secret(v, "app_api_token"),
        pubsub_name: text(v, "pubsub_name"),
        state_store_name: text(v, "state_store_name"),
        max_body_bytes: size(v, "dapr_max_body_bytes"),
        bulk_in_flight: size(v, "bulk_in_flight"),
    }
}

fn rooms(v: &Resolved) -> RoomsConfig {
    let history = History {
        messages: size(v, "room_history_messages"),
        bytes: size(v, "room_history_bytes"),
        age: span(v, "room_history_age"),
    };
    let rules = v.list("room_rule");
    let rules = rules.iter().filter_map(|text| room_rule::parse(text, history).ok()).collect();
    RoomsConfig {
        rules: Arc::new(Rules { rules, history, slow: Slow::default() }),
        history_bytes_max: size(v, "rooms_history_bytes"),
        reader_bytes_max: size(v, "reader_bytes_max"),
    }
}

fn ingress(v: &Resolved) -> IngressConfig {
    let token = || {
        let (audience, issuer) = (v.text("token_audience")?, v.text("token_issuer")?);
        Some(TokenConfig { keys: path(v, "token_keys")?, audience: audience.into(), issuer: issuer.into() })
    };
    IngressConfig {
        routes: v.list("route").iter().filter_map(|text| Route::parse(text).ok()).collect(),
        auth: v.text("ws_auth").and_then(Auth::named).unwrap_or_default(),
        origins: Origins::of(&v.list("ws_origin")).unwrap_or_default(),
        token: token(),
        token_in_query: v.switch("ws_token_in_query"),
        authoriser: secret(v, "ws_authoriser"),
        authoriser_timeout: span(v, "ws_authoriser_timeout_ms"),
    }
}

fn publish(v: &Resolved) -> PublishConfig {
    PublishConfig {
        batch_bytes: size(v, "publish_batch_bytes"),
        batch_count: size(v, "publish_batch_count"),
        linger: span(v, "publish_linger"),
        in_flight: size(v, "publish_in_flight"),
        queue_bytes: size(v, "publish_queue_bytes"),
        spill_bytes: v.number("spill_bytes"),
    }
}

fn bus(v: &Resolved) -> BusConfig {
    BusConfig {
        fsync: match v.text("bus_fsync") {
            Some("always") => BusFsync::Always,
            Some("unsafe-never") => BusFsync::UnsafeNever,
            _ => BusFsync::Interval(span(v, "bus_fsync_interval")),
        },
        segment_bytes: v.number("bus_segment_bytes"),
        topic_bytes_max: v.number("bus_topic_bytes_max"),
        topic_age_max: span(v, "bus_topic_age_max"),
    }
}

fn backend(v: &Resolved) -> Backend {
    match v.text("backend") {
        Some("dapr") => Backend::Dapr,
        Some("redis") => Backend::Redis,
        _ => Backend::Embedded,
    }
}

fn log_level(v: &Resolved) -> LogLevel {
    match v.text("log_level") {
        Some("trace") => LogLevel::Trace,
        Some("debug") => LogLevel::Debug,
        Some("warn") => LogLevel::Warn,
        Some("error") => LogLevel::Error,
        Some("off") => LogLevel::Off,
        _ => LogLevel::Info,
    }
}

fn port(v: &Resolved, key: &str) -> u16 {
    u16::try_from(v.number(key)).unwrap_or(0)
}

fn small(v: &Resolved, key: &str) -> u32 {
    u32::try_from(v.number(key)).unwrap_or(u32::MAX)
}

fn size(v: &Resolved, key: &str) -> usize {
    usize::try_from(v.number(key)).unwrap_or(usize::MAX)
}

fn span(v: &Resolved, key: &str) -> Duration {
    v.span(key).unwrap_or_default()
}

fn text(v: &Resolved, key: &str) -> String {
    v.text(key).unwrap_or_default().to_string()
}

fn path(v: &Resolved, key: &str) -> Option<PathBuf> {
    v.text(key).map(PathBuf::from)
}

fn secret(v: &Resolved, key: &str) -> Option<Secret> {
    v.text(key).map(Secret::new)
}

fn address(v: &Resolved, key: &str) -> IpAddr {
    v.text(key).and_then(|it| it.parse().ok()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

//! The one table of settings. Flags, environment variables, TOML keys, help, README and the
//! effective configuration are all made from it, so that they cannot drift apart.

use super::{
    room_rule,
    value::{Choice, Kind, Unit, Value},
};
use crate::limits;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    Listening,
    Instance,
    Backend,
    Rooms,
    Dialling,
    Connections,
    Publishing,
    Embedded,
    Operation,
}

impl Group {
    pub const ALL: &'static [Group] = &[
        Group::Listening,
        Group::Instance,
        Group::Backend,
        Group::Rooms,
        Group::Dialling,
        Group::Connections,
        Group::Publishing,
        Group::Embedded,
        Group::Operation,
    ];

    pub const fn title(self) -> &'static str {
        match self {
            Group::Listening => "Listening",
            Group::Instance => "This instance",
            Group::Backend => "Backend",
            Group::Rooms => "Rooms",
            Group::Dialling => "Dialling",
            Group::Connections => "Connections",
            Group::Publishing => "Publishing",
            Group::Embedded => "Embedded log and store",
            Group::Operation => "Operation",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Preset {
    /// Not set.
    None,
    /// Worked out from other settings or the machine; the text says how.
    Derived(&'static str),
    Count(u64),
    Bytes(usize),
    Span(Duration),
    Switch(bool),
    Text(&'static str),
}

#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The TOML key; the flag is the same with dashes, the variable the same in capitals after `WSM_`.
    pub key: &'static str,
    pub group: Group,
    pub kind: Kind,
    pub default: Preset,
    pub help: &'static str,
    /// Never shown, in no output.
    pub secret: bool,
    pub short: Option<char>,
    /// Further environment variables, best first.
    pub env: &'static [&'static str],
    /// Further names in the environment and in the TOML file, best first.
    pub aliases: &'static [&'static str],
    /// A variable that is set everywhere by others, so that it only replaces the default.
    pub ambient_env: Option<&'static str>,
}

const fn setting(
    group: Group,
    key: &'static str,
    kind: Kind,
    default: Preset,
    help: &'static str,
) -> Setting {
    let none: &[&str] = &[];
    Setting {
        key,
        group,
        kind,
        default,
        help,
        secret: false,
        short: None,
        env: none,
        aliases: none,
        ambient_env: None,
    }
}

impl Setting {
    const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    const fn env(mut self, names: &'static [&'static str]) -> Self {
        self.env = names;
        self
    }

    const fn alias(mut self, names: &'static [&'static str]) -> Self {
        self.aliases = names;
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    const fn ambient(mut self, name: &'static str) -> Self {
        self.ambient_env = Some(name);
        self
    }

    /// With dashes, without the two in front.
    pub fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    /// Every environment variable, best first.
    pub fn variables(&self) -> Vec<String> {
        let own = format!("WSM_{}", self.key.to_ascii_uppercase());
        let others = self.aliases.iter().chain(self.env).chain(&self.ambient_env);
        std::iter::once(own).chain(others.map(ToString::to_string)).collect()
    }

    /// Every key in the TOML file, best first; the file cannot name another one.
    pub fn toml_keys(&self) -> impl Iterator<Item = &'static str> {
        let own = (self.key != CONFIG).then_some(self.key);
        own.into_iter().chain(self.aliases.iter().copied())
    }

    pub fn default_value(&self) -> Option<Value> {
        Some(match self.default {
            Preset::None | Preset::Derived(_) => return None,
            Preset::Count(n) => Value::Count(n),
            Preset::Bytes(n) => Value::Bytes(n as u64),
            Preset::Span(span) => match self.kind {
                Kind::Span { unit, .. } => Value::Span(span, unit),
                _ => Value::Span(span, Unit::Seconds),
            },
            Preset::Switch(on) => Value::Switch(on),
            Preset::Text(text) => Value::Text(text.into()),
        })
    }

    pub fn default_text(&self) -> String {
        match (self.default, self.default_value()) {
            (Preset::Derived(how), _) => how.into(),
            (_, Some(value)) => value.show(),
            _ => "none".into(),
        }
    }
}

/// The setting that names the TOML file.
pub const CONFIG: &str = "config";

pub fn position(key: &str) -> Option<usize> {
    SETTINGS.iter().position(|it| it.key == key)
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn in_ms(min: Duration, max: Duration) -> Kind {
    Kind::Span { unit: Unit::Millis, min, max }
}

const fn in_s(min: Duration, max: Duration) -> Kind {
    Kind::Span { unit: Unit::Seconds, min, max }
}

const fn size(min: u64, max: u64) -> Kind {
    Kind::Bytes { min, max }
}

const fn one(name: &'static str) -> Choice {
    Choice { name, also: &[] }
}

const fn named(name: &'static str, also: &'static [&'static str]) -> Choice {
    Choice { name, also }
}

const ANY_PORT: Kind = Kind::Port { zero: true };
const PORT: Kind = Kind::Port { zero: false };
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const TIB: u64 = 1024 * GIB;
const HOUR: Duration = secs(3600);

pub const BACKENDS: &[Choice] = &[one("embedded"), one("dapr"), one("redis")];
pub const BUS_FSYNC: &[Choice] = &[one("always"), one("interval"), one("unsafe-never")];
pub const STORE_FSYNC: &[Choice] = &[one("always"), one("unsafe-never")];
pub const WS_AUTH: &[Choice] = &[one("open"), one("token"), one("authoriser")];
pub const LOG_FORMATS: &[Choice] = &[one("text"), one("json")];
/// The names of the earlier service beside ours.
pub const LOG_LEVELS: &[Choice] = &[
    one("trace"),
    one("debug"),
    named("info", &["information"]),
    named("warn", &["warning"]),
    named("error", &["critical"]),
    named("off", &["none"]),
];

use Group::{Backend, Connections, Dialling, Embedded, Instance, Listening, Operation, Publishing, Rooms};

#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    setting(Listening, "http_port", ANY_PORT, Preset::Count(5001),
        "Port of REST, gRPC-Web, Connect, WebSocket ingress and console. 0 picks a free port.")
        .short('s').alias(&["HttpPort"]),
    setting(Listening, "grpc_port", ANY_PORT, Preset::Count(5002),
        "Port of native gRPC: h2c, or TLS when a certificate is given. 0 picks a free port.")
        .short('g').alias(&["GrpcPort"]),
    setting(Listening, "admin_port", ANY_PORT, Preset::Count(5003),
        "Port of metrics, drain and configuration. 0 picks a free port."),
    setting(Listening, "listen", Kind::Address, Preset::Text("127.0.0.1"),
        "Address of the two public ports. Anything but loopback opens them to the network."),
    setting(Listening, "admin_listen", Kind::Address, Preset::Text("127.0.0.1"),
        "Address of the admin port, which asks for no credentials."),
    setting(Listening, "tls_cert", Kind::Path, Preset::None,
        "PEM certificate chain for both public ports; read again when it changes. Needs --tls-key."),
    setting(Listening, "tls_key", Kind::Path, Preset::None,
        "PEM private key of --tls-cert."),
    setting(Listening, "cors_origin", Kind::Origins, Preset::None,
        "Browser origin that may call the HTTP port, such as https://app.example.com; * allows all.")
        .env(&["Cors__AllowedOrigins"]),

    setting(Instance, "instance_id", Kind::Name, Preset::Derived("HOSTNAME, else random"),
        "Name of this instance; unique in a fleet.").ambient("HOSTNAME"),
    setting(Instance, "advertise", Kind::HostPort, Preset::Derived("the listen address and the gRPC port"),
        "Address by which peers reach this instance."),
    setting(Instance, "shards", Kind::Count { min: 1, max: limits::SHARDS_MAX }, Preset::Derived("one a CPU that this process may use"),
        "Threads that own sockets."),
    setting(Instance, "data_dir", Kind::Path, Preset::Text("./data"),
        "Folder of the embedded store, the log, spilled events and the key file; one process a folder."),
    setting(Instance, "secret_key_file", Kind::Path, Preset::Derived("secret.key in the data folder, made at the first start"),
        "Key that seals secrets in stored connections; the same file for all instances of a fleet."),
    setting(Instance, "busy_poll_us", Kind::Span { unit: Unit::Micros, min: Duration::ZERO, max: millis(10) }, Preset::Span(Duration::ZERO),
        "How long a shard spins for more work before it sleeps: lower latency for more CPU. 0 is off."),

    setting(Backend, "backend", Kind::Choice(BACKENDS), Preset::Derived("dapr when a sidecar is configured, else embedded"),
        "Where connections are recorded and events are published."),
    setting(Backend, "redis_url", Kind::Text, Preset::None,
        "Redis for the redis backend, or for rooms with another backend.").secret(),
    setting(Backend, "pubsub_name", Kind::Name, Preset::Text("pubsub"),
        "Dapr pub/sub component.").short('n').alias(&["pubsubName"]),
    setting(Backend, "state_store_name", Kind::Name, Preset::Text("statestore"),
        "Dapr state store component.").short('t').alias(&["stateStoreName"]),
    setting(Backend, "dapr_grpc_endpoint", Kind::Text, Preset::None,
        "Sidecar's gRPC endpoint, before --dapr-grpc-port.").env(&["DAPR_GRPC_ENDPOINT"]),
    setting(Backend, "dapr_grpc_port", PORT, Preset::Count(50001),
        "Sidecar's gRPC port on this machine.").alias(&["DaprGrpcPort"]).env(&["DAPR_GRPC_PORT"]),
    setting(Backend, "dapr_http_port", PORT, Preset::Count(3500),
        "Sidecar's HTTP port on this machine.").alias(&["DaprHttpPort"]).env(&["DAPR_HTTP_PORT"]),
    setting(Backend, "dapr_api_token", Kind::Text, Preset::None,
        "Token that the sidecar asks of us.").env(&["DAPR_API_TOKEN"]).secret(),
    setting(Backend, "app_api_token", Kind::Text, Preset::None,
        "Token that we ask of the sidecar.").env(&["APP_API_TOKEN"]).secret(),
    setting(Backend, "dapr_max_body_bytes", size(64 * KIB, GIB), Preset::Bytes(limits::DAPR_BODY_BYTES_DEFAULT),
        "Largest request that the sidecar takes: its --max-body-size."),
    setting(Backend, "bulk_in_flight", Kind::Count { min: 1, max: limits::DAPR_BULK_IN_FLIGHT_MAX as u64 }, Preset::Count(limits::DAPR_BULK_IN_FLIGHT_DEFAULT as u64),
        "Bulk publishes under way at the sidecar."),
    setting(Backend, "redis_stream_max", Kind::Count { min: 1, max: 1_000_000_000 }, Preset::Count(limits::REDIS_STREAM_EVENTS_DEFAULT),
        "Events kept of one topic on Redis, about; the oldest go first."),
    setting(Backend, "dead_letter_topic", Kind::Name, Preset::None,
        "Topic for events that Dapr refuses for good; without it they are counted and dropped."),
    setting(Backend, "commands_topic", Kind::Name, Preset::Text("websocketmanager.commands"),
        "Topic of commands for callers that live on Dapr."),
    setting(Backend, "commands", Kind::Switch, Preset::Derived("on with the dapr backend"),
        "Whether commands are taken from --commands-topic. Who may publish there may use every connection."),
    setting(Backend, "connection_record_ttl", in_s(secs(30), HOUR), Preset::None,
        "Life of a stored connection record unless refreshed; without it records stay until deleted.")
        .env(&["CONNECTION_RECORD_TTL_SECONDS"]),
    setting(Backend, "clear_all_on_start", Kind::Switch, Preset::Switch(false),
        "Forget every stored connection at start.").env(&["CLEAR_ALL_ON_START"]),
    setting(Backend, "lifecycle_topic", Kind::Name, Preset::Text("websocketmanager.lifecycle"),
        "Topic of lifecycle events."),
    setting(Backend, "rooms_pubsub", Kind::Name, Preset::None,
        "Dapr pub/sub component that reaches every instance, for rooms."),
    setting(Backend, "jararaca_channels", Kind::Text, Preset::None,
        "Channel names send,broadcast of the earlier room system; needs --redis-url."),
    setting(Backend, "jararaca_dedupe", Kind::Switch, Preset::Switch(true),
        "With --jararaca-channels: a socket in several addressed rooms gets one copy, not one for each room."),

    setting(Rooms, "schemas", Kind::Path, Preset::None,
        "Folder of JSON Schemas, <MESSAGE_ID>.json, that typed messages are checked against; read again when they change."),
    setting(Rooms, "schemas_strict", Kind::Switch, Preset::Switch(false),
        "Refuse messages to rooms that have no MESSAGE_ID, or one without a schema. Needs --schemas."),
    setting(Rooms, "rest_route", Kind::RestRoutes, Preset::None,
        "What is sent to a path goes to a room, or to a topic for an application, or both: 'POST /chat/{room}/message room={room} message-id=chat.message topic=chat.in wait=5s'."),
    setting(Rooms, "bind", Kind::Bindings, Preset::None,
        "Events of a topic go to the room that their data names by JSON pointers: 'topic=orders room=user-{/user_id} message-id=order.updated'."),
    setting(Rooms, "route", Kind::Routes, Preset::None,
        "Path by which WebSocket clients come in, beside /ws/{room} and /ws?room=..., such as '/chat/{user} \
         rooms=lobby,user-{user} messages=protocol'. Keys: id, rooms, messages (ignore, protocol, publish:TOPIC, \
         room:NAME), subprotocols, format (verbatim, binary), auth, origin."),
    setting(Rooms, "ws_auth", Kind::Choice(WS_AUTH), Preset::Text("open"),
        "Who may come in: anybody, the bearer of a signed token, or whom --ws-authoriser lets in; a route may say otherwise."),
    setting(Rooms, "ws_origin", Kind::Origins, Preset::Derived("this server's own, by the Host header"),
        "Origin whose pages may open a WebSocket, exactly: scheme, host and port; * allows all. Clients that are no pages send none and are let in. Needed behind a proxy that ends TLS."),
    setting(Rooms, "token_keys", Kind::Path, Preset::None,
        "JSON web key set that tokens are checked with (HS256, RS256, ES256, EdDSA); read again when it changes."),
    setting(Rooms, "token_audience", Kind::Text, Preset::None,
        "What every token's aud must hold."),
    setting(Rooms, "token_issuer", Kind::Text, Preset::None,
        "What every token's iss must be."),
    setting(Rooms, "ws_token_in_query", Kind::Switch, Preset::Switch(false),
        "Whether a token may come as ?access_token=, for clients that can set no header; proxies may log it."),
    setting(Rooms, "ws_authoriser", Kind::Text, Preset::None,
        "URL of the service that is asked, by POST, about each client that comes in where auth is authoriser.").secret(),
    setting(Rooms, "ws_authoriser_timeout_ms", in_ms(millis(1), limits::AUTHORISER_TIMEOUT_MAX), Preset::Span(limits::AUTHORISER_TIMEOUT_DEFAULT),
        "How long the authoriser may take; clients get 503 after that."),
    setting(Rooms, "room_rule", Kind::RoomRules, Preset::None,
        "Rule for rooms by name or beginning, such as 'ticks-* slow=drop_oldest history=none'. slow: close, drop_oldest, keep_latest[:/pointer]; \
         history: none or some of messages:N,bytes:SIZE,age:TIME. The first that fits decides."),
    setting(Rooms, "room_history_messages", Kind::Count { min: 0, max: room_rule::MESSAGES_MAX as u64 }, Preset::Count(limits::ROOM_HISTORY_MESSAGES as u64),
        "Messages that a room keeps for clients that come back, unless a rule says otherwise. 0 keeps none."),
    setting(Rooms, "room_history_bytes", size(0, 64 * GIB), Preset::Bytes(limits::ROOM_HISTORY_BYTES),
        "Bytes of them."),
    setting(Rooms, "room_history_age", in_s(Duration::ZERO, room_rule::AGE_MAX), Preset::Span(limits::ROOM_HISTORY_AGE),
        "Age up to which they are kept."),
    setting(Rooms, "rooms_history_bytes", size(64 * KIB, 64 * GIB), Preset::Bytes(limits::ROOMS_HISTORY_BYTES),
        "Histories of all rooms of one shard together."),
    setting(Rooms, "reader_bytes_max", size(KIB, GIB), Preset::Bytes(limits::READER_BYTES_DEFAULT),
        "How far one reader may be behind its rooms before their rule for slow readers applies."),

    setting(Dialling, "egress_allow", Kind::Patterns, Preset::None,
        "CIDR or host[:port] that may be dialled; private and loopback addresses need one."),
    setting(Dialling, "egress_deny", Kind::Patterns, Preset::None,
        "CIDR or host[:port] that may not be dialled; stronger than allow."),
    setting(Dialling, "tls_roots", Kind::Path, Preset::None,
        "PEM file of the authorities that dialled servers are checked against, instead of the platform's."),
    setting(Dialling, "connect_timeout_ms", in_ms(millis(1), limits::CONNECT_TIMEOUT_MAX), Preset::Span(limits::CONNECT_TIMEOUT_DEFAULT),
        "Longest dial: name, TCP, TLS and handshake together."),
    setting(Dialling, "reconnect_max_attempts", Kind::Count { min: 0, max: 1_000_000 }, Preset::Count(0),
        "Attempts before a lost connection is given up. 0 goes on for ever.")
        .alias(&["ReconnectMaxAttempts"]).env(&["WebSocketOptions__ReconnectMaxAttempts"]),
    setting(Dialling, "reconnect_base_delay_ms", in_ms(millis(1), HOUR), Preset::Span(limits::RECONNECT_BASE_DEFAULT),
        "Bound of the first reconnect delay; doubles with each attempt, full jitter.")
        .alias(&["ReconnectBaseDelayMs"]).env(&["WebSocketOptions__ReconnectBaseDelayMs"]),
    setting(Dialling, "reconnect_max_delay_ms", in_ms(millis(1), HOUR), Preset::Span(limits::RECONNECT_MAX_DEFAULT),
        "Bound of every reconnect delay."),

    setting(Connections, "max_connections", Kind::Count { min: 1, max: 1_000_000 }, Preset::Count(limits::CONNECTIONS_PER_SHARD_MAX as u64),
        "Connections in one shard; beyond it Connect is RESOURCE_EXHAUSTED."),
    setting(Connections, "default_timeout_ms", in_ms(millis(1), limits::SEND_TIMEOUT_MAX), Preset::Span(limits::SEND_TIMEOUT_DEFAULT),
        "How long a Send without timeout_ms waits for its reply.")
        .alias(&["DefaultTimeoutMs"]).env(&["WebSocketOptions__DefaultTimeoutMs"]),
    setting(Connections, "ping_interval", in_s(millis(100), HOUR), Preset::Span(limits::PING_INTERVAL_DEFAULT),
        "Pause between our pings."),
    setting(Connections, "pong_timeout", in_s(millis(200), secs(7200)), Preset::Span(limits::PONG_TIMEOUT_DEFAULT),
        "Silence after which a peer that was pinged is taken for dead; more than --ping-interval."),
    setting(Connections, "max_message_bytes", size(1, limits::MESSAGE_BYTES_MAX as u64), Preset::Bytes(limits::MESSAGE_BYTES_DEFAULT),
        "Largest inbound message; a larger one closes the connection with 1009."),
    setting(Connections, "sends_in_flight_max", Kind::Count { min: 1, max: 1_000_000 }, Preset::Count(limits::SENDS_IN_FLIGHT_DEFAULT as u64),
        "Sends that wait for a reply on one connection."),
    setting(Connections, "outbox_bytes_max", size(KIB, GIB), Preset::Bytes(limits::OUTBOX_BYTES_MAX),
        "Bytes that wait to be written on one connection."),
    setting(Connections, "mailbox_max", Kind::Count { min: 16, max: 1_048_576 }, Preset::Count(limits::MAILBOX_COMMANDS_MAX as u64),
        "Commands that wait at one shard; beyond it callers get RESOURCE_EXHAUSTED."),
    setting(Connections, "ring_bytes", size(64 * KIB, 64 * GIB), Preset::Bytes(limits::RING_BYTES_DEFAULT),
        "Messages that one shard keeps for followers that come back."),

    setting(Publishing, "publish_batch_bytes", size(KIB, 4 * MIB), Preset::Bytes(limits::PUBLISH_BATCH_BYTES),
        "Size at which a batch of events leaves for the bus."),
    setting(Publishing, "publish_batch_count", Kind::Count { min: 1, max: 100_000 }, Preset::Count(limits::PUBLISH_BATCH_COUNT as u64),
        "Number of events at which a batch leaves."),
    setting(Publishing, "publish_linger", in_ms(Duration::ZERO, secs(10)), Preset::Span(limits::PUBLISH_LINGER),
        "Age at which a batch leaves, full or not."),
    setting(Publishing, "publish_in_flight", Kind::Count { min: 1, max: 1024 }, Preset::Count(limits::PUBLISH_IN_FLIGHT as u64),
        "Batches of one shard under way at the bus."),
    setting(Publishing, "publish_queue_bytes", size(KIB, 64 * GIB), Preset::Bytes(limits::PUBLISH_QUEUE_BYTES),
        "Events of one shard that wait in memory before they spill to disk."),
    setting(Publishing, "spill_bytes", size(0, 64 * TIB), Preset::Bytes(limits::SPILL_BYTES_DEFAULT),
        "Events of one shard that wait on disk before reads pause."),

    setting(Embedded, "bus_fsync", Kind::Choice(BUS_FSYNC), Preset::Text("interval"),
        "When accepted events are forced to disk. unsafe-never leaves it to the operating system."),
    setting(Embedded, "bus_fsync_interval", in_ms(millis(1), secs(60)), Preset::Span(limits::BUS_FSYNC_INTERVAL_DEFAULT),
        "Longest wait of an accepted event for the disk with --bus-fsync interval."),
    setting(Embedded, "bus_segment_bytes", size(64 * KIB, 4 * GIB), Preset::Bytes(limits::BUS_SEGMENT_BYTES_DEFAULT),
        "Size of one file of the log; retention drops whole files."),
    setting(Embedded, "bus_topic_bytes_max", size(64 * KIB, 64 * TIB), Preset::Bytes(limits::BUS_TOPIC_BYTES_DEFAULT),
        "Bytes kept of one topic; the oldest go first."),
    setting(Embedded, "bus_topic_age_max", in_s(secs(1), secs(10 * 365 * 86_400)), Preset::Span(limits::BUS_TOPIC_AGE_DEFAULT),
        "Age up to which events of a topic are kept."),
    setting(Embedded, "store_fsync", Kind::Choice(STORE_FSYNC), Preset::Text("always"),
        "Whether a stored connection is on disk before Connect answers. unsafe-never leaves it to the operating system."),

    setting(Operation, CONFIG, Kind::Path, Preset::None,
        "TOML file with any of these settings; its keys are the flags with underscores."),
    setting(Operation, "drain_timeout", in_s(Duration::ZERO, HOUR), Preset::Span(limits::DRAIN_TIMEOUT_DEFAULT),
        "From SIGTERM to the forced end (exit code 2)."),
    setting(Operation, "drain_lame_duck", in_s(Duration::ZERO, HOUR), Preset::Span(limits::DRAIN_LAME_DUCK_DEFAULT),
        "First part of the drain: not ready any more, all work still done, so that callers look elsewhere."),
    setting(Operation, "log_level", Kind::Choice(LOG_LEVELS), Preset::Text("info"),
        "Least severe log that is written; Information, Warning, Critical and None are understood too.")
        .short('l').env(&["Logging__LogLevel__Default"]),
    setting(Operation, "log_format", Kind::Choice(LOG_FORMATS), Preset::Text("text"),
        "Form of the logs on standard error."),
    setting(Operation, "otlp_endpoint", Kind::Text, Preset::None,
        "OpenTelemetry collector that gets traces, by OTLP over gRPC without TLS, such as http://127.0.0.1:4317; without it there are none."),
    setting(Operation, "trace_one_in", Kind::Count { min: 1, max: 1_000_000_000 }, Preset::Count(1),
        "Of traces that begin here, one in this many is kept; a caller's traceparent decides for its own."),
];

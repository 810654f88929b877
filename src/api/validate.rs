//! From a request to checked values. Argument errors come first, each naming its field; what the
//! contract knows and this version cannot do is refused by name, never ignored.

use crate::{
    core::{
        correlation::{Inject, Kind, Rule},
        headers::{self, Headers},
        id::ConnectionId,
        names::{self, RoomName, Topic},
        publish::{self, Format, Gaps, Ordering, Overflow},
        reason::Fault,
        spec::{Connect, Dial, Settings, Spec, Tags, Tls},
        target::Target,
    },
    limits,
    proto::{
        ConnectRequest, Correlation, Heartbeat, IdleOptions, PublishFormat, PublishGaps, PublishOptions,
        PublishOrdering, PublishOverflow, ReconnectOptions, SendLimits, TlsOptions, correlation,
    },
};
use bytes::Bytes;
use prost::Message;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

/// What a request leaves open is filled from here; `config` makes it.
#[derive(Clone, Debug)]
pub struct Defaults {
    pub connect_timeout: Duration,
    pub send_timeout: Duration,
    pub settings: Arc<Settings>,
}

/// Everything of a Connect but its id.
pub struct Checked {
    pub spec: Arc<Spec>,
    pub tags: Tags,
    pub publish: Option<publish::Spec>,
}

pub fn connect(
    request: &ConnectRequest,
    defaults: &Defaults,
    mint: impl FnOnce() -> ConnectionId,
) -> Result<Connect, Fault> {
    let chosen = !request.connection_id.is_empty();
    let id = if chosen {
        ConnectionId::parse_chosen(&request.connection_id)
            .map_err(|why| Fault::invalid("connection_id", why.to_string()))?
    } else {
        mint()
    };
    let Checked { spec, tags, publish } = checked(request, defaults)?;
    Ok(Connect { id, chosen, spec, tags, publish })
}

pub fn checked(request: &ConnectRequest, defaults: &Defaults) -> Result<Checked, Fault> {
    if request.url.is_empty() && request.profile.is_empty() {
        return Err(Fault::invalid("url", "must be given, such as wss://example.com/feed"));
    }
    not_built(request)?;
    let target = Target::parse(&request.url)?;
    let headers =
        Headers::parse(request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
    headers::validate_subprotocols(&request.subprotocols)?;
    let tls = request.tls.as_ref().map(|tls| tls_of(tls, &target)).transpose()?;
    let source_ip = match request.source_ip.as_str() {
        "" => None,
        text => {
            Some(text.parse::<IpAddr>().map_err(|_| Fault::invalid("source_ip", "is not an IP address"))?)
        }
    };
    let timeout = millis("connect_timeout_ms", request.connect_timeout_ms, limits::CONNECT_TIMEOUT_MAX)?
        .unwrap_or(defaults.connect_timeout);
    let has_secrets = target.has_secrets()
        || !headers.is_empty()
        || tls.as_ref().is_some_and(|tls| !tls.client_key.is_empty());
    let tags = tags("tags", &request.tags)?;
    let publish = request.publish.as_ref().map(|options| publish_options(options, "publish.")).transpose()?;
    let dial = Dial {
        target,
        headers: headers.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        subprotocols: request.subprotocols.iter().map(|name| name.as_str().into()).collect(),
        tls: tls.map(Box::new),
        source_ip,
        timeout,
    };
    let settings = match settings(request, &defaults.settings)? {
        usual if usual == *defaults.settings => defaults.settings.clone(),
        own => Arc::new(own),
    };
    let spec = Spec { dial, settings, source: Bytes::from(request.encode_to_vec()), has_secrets };
    Ok(Checked { spec: Arc::new(spec), tags, publish })
}

/// Fields that the contract has and this version has not.
fn not_built(request: &ConnectRequest) -> Result<(), Fault> {
    let empty_heartbeat = Heartbeat::default();
    let heartbeat = request.heartbeat.as_ref().unwrap_or(&empty_heartbeat);
    let asked = [
        ("profile", !request.profile.is_empty()),
        ("proxy", request.proxy.is_some()),
        ("fallback_urls", !request.fallback_urls.is_empty()),
        ("open_messages", !request.open_messages.is_empty()),
        ("heartbeat.text", !heartbeat.text.is_empty()),
        ("heartbeat.json", !heartbeat.json.is_empty()),
        ("heartbeat.answers", !heartbeat.answers.is_empty()),
        ("ignore", !request.ignore.is_empty()),
        ("idle.heartbeat_ms", request.idle.is_some_and(|idle| idle.heartbeat_ms != 0)),
        ("rotate", request.rotate.is_some()),
        ("limits.budget", request.limits.as_ref().is_some_and(|limits| !limits.budget.is_empty())),
        ("sequence", request.sequence.is_some()),
        ("variables", !request.variables.is_empty()),
    ];
    match asked.into_iter().find(|(_, asked)| *asked) {
        Some((field, _)) => Err(Fault::unimplemented(field)),
        None => Ok(()),
    }
}

fn settings(request: &ConnectRequest, defaults: &Settings) -> Result<Settings, Fault> {
    let mut settings = defaults.clone();
    settings.auto_reconnect = request.auto_reconnect;
    if let Some(reconnect) = &request.reconnect {
        reconnect_options(reconnect, &mut settings)?;
    }
    if let Some(heartbeat) = &request.heartbeat
        && let Some(interval) = millis("heartbeat.interval_ms", heartbeat.interval_ms, DAY)?
    {
        at_least("heartbeat.interval_ms", interval, 100)?;
        settings.ping_interval = interval;
        settings.pong_timeout = settings.pong_timeout.max(interval);
    }
    if let Some(idle) = &request.idle {
        idle_options(idle, &mut settings)?;
    }
    if let Some(limits) = &request.limits {
        send_limits(limits, &mut settings)?;
    }
    if let Some(rule) = &request.correlation {
        settings.correlation = rule_of(rule)?;
    }
    if !request.rooms.is_empty() {
        settings.rooms = rooms("rooms", &request.rooms, limits::ROOMS_PER_CONNECTION_MAX)?.into();
    }
    if let Some(bytes) = positive("max_message_bytes", request.max_message_bytes, limits::MESSAGE_BYTES_MAX)?
    {
        settings.message_bytes_max = bytes;
    }
    Ok(settings)
}

fn reconnect_options(options: &ReconnectOptions, settings: &mut Settings) -> Result<(), Fault> {
    if let Some(attempts) = positive("reconnect.max_attempts", options.max_attempts, 1_000_000)? {
        settings.reconnect_attempts_max = attempts as u32;
    }
    if let Some(base) = millis("reconnect.base_ms", options.base_ms, DAY)? {
        settings.reconnect_base = base;
        settings.reconnect_max = settings.reconnect_max.max(base);
    }
    if let Some(max) = millis("reconnect.max_ms", options.max_ms, DAY)? {
        if max < settings.reconnect_base {
            return Err(Fault::invalid("reconnect.max_ms", "must not be under reconnect.base_ms"));
        }
        settings.reconnect_max = max;
    }
    Ok(())
}

fn idle_options(options: &IdleOptions, settings: &mut Settings) -> Result<(), Fault> {
    if let Some(data) = millis("idle.data_ms", options.data_ms, DAY)? {
        settings.idle_data = data;
    }
    if let Some(pong) = millis("idle.pong_ms", options.pong_ms, DAY)? {
        settings.pong_timeout = pong;
    }
    Ok(())
}

fn send_limits(options: &SendLimits, settings: &mut Settings) -> Result<(), Fault> {
    if !(0.0..=1e9).contains(&options.per_second) {
        return Err(Fault::invalid("limits.per_second", "must be between 0 and 1000000000"));
    }
    if options.per_second > 0.0 {
        settings.sends_per_second = options.per_second;
        settings.sends_burst = options.per_second.ceil().clamp(1.0, 1e9) as u32;
    }
    if let Some(burst) = positive("limits.burst", options.burst, 1_000_000_000)? {
        settings.sends_burst = burst as u32;
    }
    if let Some(bytes) =
        positive("limits.max_message_bytes", options.max_message_bytes, limits::MESSAGE_BYTES_MAX)?
    {
        settings.send_bytes_max = bytes;
    }
    if let Some(count) = positive("limits.max_in_flight", options.max_in_flight, limits::SENDS_IN_FLIGHT_MAX)?
    {
        settings.sends_in_flight_max = count;
    }
    Ok(())
}

fn tls_of(tls: &TlsOptions, target: &Target) -> Result<Tls, Fault> {
    for (field, text) in
        [("tls.ca", &tls.ca), ("tls.client_cert", &tls.client_cert), ("tls.client_key", &tls.client_key)]
    {
        if text.len() > limits::TLS_PEM_BYTES_MAX {
            return Err(Fault::invalid(
                field,
                format!("must be at most {} bytes", limits::TLS_PEM_BYTES_MAX),
            ));
        }
    }
    if !target.scheme.is_tls() {
        return Err(Fault::invalid("tls", "is only for wss URLs"));
    }
    if tls.client_cert.is_empty() != tls.client_key.is_empty() {
        let missing = if tls.client_key.is_empty() { "tls.client_key" } else { "tls.client_cert" };
        return Err(Fault::invalid(missing, "client_cert and client_key go together"));
    }
    if !tls.server_name.is_empty()
        && rustls::pki_types::ServerName::try_from(tls.server_name.as_str()).is_err()
    {
        return Err(Fault::invalid("tls.server_name", "is not a host name or an address"));
    }
    crate::pki::client_config(&tls.ca, &tls.client_cert, &tls.client_key)?;
    Ok(Tls {
        ca: tls.ca.clone(),
        client_cert: tls.client_cert.clone(),
        client_key: tls.client_key.clone(),
        server_name: tls.server_name.clone(),
    })
}

pub fn rule_of(message: &Correlation) -> Result<Rule, Fault> {
    use correlation::Rule as R;
    let number = |field: &'static str, value: i32| {
        u64::try_from(value).map_err(|_| Fault::invalid(field, "must not be negative"))
    };
    match &message.rule {
        None | Some(R::Auto(_)) => Ok(Rule::Auto),
        Some(R::JsonRpc(_)) => Ok(Rule::JsonRpc),
        Some(R::Prefix(_)) => Ok(Rule::Prefix),
        Some(R::Array(array)) => Rule::array(number("correlation.array.position", array.position)?),
        Some(R::Fifo(fifo)) => Rule::fifo(number("correlation.fifo.resync_ms", fifo.resync_ms)?),
        Some(R::Match(rule)) => Rule::matching(&rule.path, &rule.equals),
        Some(R::Json(json)) => {
            let inject = match (json.inject || json.inject_integer, json.inject_integer) {
                (false, _) => Inject::No,
                (true, false) => Inject::Uuid,
                (true, true) => Inject::Integer,
            };
            Rule::json(&json.request_path, &json.response_path, inject)
        }
    }
}

/// `prefix` stands before the field's name in errors.
pub fn publish_options(options: &PublishOptions, prefix: &'static str) -> Result<publish::Spec, Fault> {
    let field = |name: &str| format!("{prefix}{name}");
    let unknown = |name: &str| Fault::invalid(field(name), "is not a value of this enum");
    let topic = Topic::parse(if prefix.is_empty() { "topic" } else { "publish.topic" }, &options.topic)?;
    let format = match PublishFormat::try_from(options.format).map_err(|_| unknown("format"))? {
        PublishFormat::Unspecified | PublishFormat::Envelope => Format::Envelope,
        PublishFormat::Payload => Format::Payload,
        PublishFormat::Frames => Format::Frames,
    };
    let ordering = match PublishOrdering::try_from(options.ordering).map_err(|_| unknown("ordering"))? {
        PublishOrdering::Unspecified | PublishOrdering::Ordered => Ordering::Ordered,
        PublishOrdering::Relaxed => Ordering::Relaxed,
    };
    let gaps = match PublishGaps::try_from(options.gaps).map_err(|_| unknown("gaps"))? {
        PublishGaps::Unspecified | PublishGaps::InBand => Gaps::InBand,
        PublishGaps::Lifecycle => Gaps::Lifecycle,
    };
    let overflow = match PublishOverflow::try_from(options.overflow).map_err(|_| unknown("overflow"))? {
        PublishOverflow::Unspecified | PublishOverflow::Spill => Overflow::Spill,
        PublishOverflow::Pause => Overflow::Pause,
        PublishOverflow::DropOldest => Overflow::DropOldest,
        PublishOverflow::DropNewest => Overflow::DropNewest,
        PublishOverflow::KeepLatest => {
            Overflow::KeepLatest { key: overflow_key(options, &field("overflow_key"))? }
        }
    };
    if !options.overflow_key.is_empty() && !matches!(overflow, Overflow::KeepLatest { .. }) {
        return Err(Fault::invalid(
            field("overflow_key"),
            "is only for overflow PUBLISH_OVERFLOW_KEEP_LATEST",
        ));
    }
    Ok(publish::Spec { topic: topic.shared(), format, ordering, overflow, gaps })
}

fn overflow_key(options: &PublishOptions, field: &str) -> Result<Option<String>, Fault> {
    if options.overflow_key.is_empty() {
        return Ok(None);
    }
    crate::core::json::Pointer::parse(&options.overflow_key)
        .map_err(|bad| Fault::invalid(field.to_owned(), bad.to_string()))?;
    Ok(Some(options.overflow_key.clone()))
}

/// Sorted, as the core keeps them; entries with an empty value are left out.
pub fn tags(field: &'static str, given: &BTreeMap<String, String>) -> Result<Tags, Fault> {
    let changes = tag_changes(field, given)?;
    let tags: Tags = changes.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    names::validate_tag_count(field, tags.len())?;
    Ok(tags)
}

pub fn tag_changes(field: &'static str, given: &BTreeMap<String, String>) -> Result<Tags, Fault> {
    for (key, value) in given {
        names::validate_tag_key(field, key)?;
        names::validate_tag_value(field, value)?;
    }
    Ok(given.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect())
}

pub fn id(text: &str) -> Result<ConnectionId, Fault> {
    ConnectionId::parse(text).map_err(|why| Fault::invalid("id", why.to_string()))
}

/// By name, each once.
pub fn rooms(field: &'static str, given: &[String], most: usize) -> Result<Vec<RoomName>, Fault> {
    let mut names = BTreeSet::new();
    for name in given {
        if names.insert(name.as_str()) && names.len() > most {
            return Err(Fault::invalid(field, format!("must be at most {most} rooms")));
        }
    }
    names.into_iter().map(|name| RoomName::parse(field, name)).collect()
}

pub fn page_size(size: i32) -> Result<usize, Fault> {
    count("page_size", size, limits::PAGE_SIZE_DEFAULT, limits::PAGE_SIZE_MAX)
}

/// 0 means the usual.
pub fn count(field: &'static str, given: i32, usual: usize, max: usize) -> Result<usize, Fault> {
    Ok(positive(field, given, max)?.unwrap_or(usual))
}

/// Exactly one of `message` and `data`.
pub fn payload(message: String, data: Bytes, content_type: &str) -> Result<(Bytes, Kind), Fault> {
    match (message.is_empty(), data.is_empty()) {
        (false, true) => Ok((Bytes::from(message), kind_of(content_type, Kind::Text))),
        (true, false) => Ok((data, Kind::Binary)),
        (true, true) => {
            Err(Fault::invalid("message", "exactly one of message and data must be given, not neither"))
        }
        (false, false) => {
            Err(Fault::invalid("message", "exactly one of message and data must be given, not both"))
        }
    }
}

/// A text goes as a text frame unless its content type says that it is binary.
fn kind_of(content_type: &str, otherwise: Kind) -> Kind {
    if content_type.eq_ignore_ascii_case("application/octet-stream") { Kind::Binary } else { otherwise }
}

pub fn send_timeout(timeout_ms: i32, defaults: &Defaults) -> Result<Duration, Fault> {
    Ok(millis("timeout_ms", timeout_ms, limits::SEND_TIMEOUT_MAX)?.unwrap_or(defaults.send_timeout))
}

const DAY: Duration = Duration::from_secs(86_400);

/// None for 0, which means the default.
fn millis(field: &'static str, value: i32, max: Duration) -> Result<Option<Duration>, Fault> {
    let value = positive(field, value, usize::try_from(max.as_millis()).unwrap_or(usize::MAX))?;
    Ok(value.map(|millis| Duration::from_millis(millis as u64)))
}

fn positive(field: &'static str, value: i32, max: usize) -> Result<Option<usize>, Fault> {
    match usize::try_from(value) {
        Ok(0) => Ok(None),
        Ok(value) if value <= max => Ok(Some(value)),
        Ok(_) => Err(Fault::invalid(field, format!("must be at most {max}"))),
        Err(_) => Err(Fault::invalid(field, "must not be negative")),
    }
}

fn at_least(field: &'static str, value: Duration, min_ms: u64) -> Result<(), Fault> {
    if value < Duration::from_millis(min_ms) {
        return Err(Fault::invalid(field, format!("must be at least {min_ms}")));
    }
    Ok(())
}

impl Default for Defaults {
    fn default() -> Self {
        Defaults {
            connect_timeout: limits::CONNECT_TIMEOUT_DEFAULT,
            send_timeout: limits::SEND_TIMEOUT_DEFAULT,
            settings: Arc::new(Settings {
                auto_reconnect: false,
                reconnect_attempts_max: 0,
                reconnect_base: limits::RECONNECT_BASE_DEFAULT,
                reconnect_max: limits::RECONNECT_MAX_DEFAULT,
                ping_interval: limits::PING_INTERVAL_DEFAULT,
                pong_timeout: limits::PONG_TIMEOUT_DEFAULT,
                idle_data: Duration::ZERO,
                sends_per_second: 0.0,
                sends_burst: 0,
                send_bytes_max: limits::MESSAGE_BYTES_DEFAULT,
                sends_in_flight_max: limits::SENDS_IN_FLIGHT_DEFAULT,
                message_bytes_max: limits::MESSAGE_BYTES_DEFAULT,
                correlation: Rule::Auto,
                rooms: Arc::default(),
            }),
        }
    }
}

//! Kinds of settings: how a text becomes a value, and how a value is shown again.

use super::room_rule;
use crate::core::{
    egress::Pattern,
    rooms::{
        History,
        intake::{Binding, RestRoute},
        route::Route,
    },
};
use std::{net::IpAddr, time::Duration};

/// What a plain number means for a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Micros,
    Millis,
    Seconds,
}

/// One member of a closed choice: the name that is shown, and other spellings that are taken.
#[derive(Debug)]
pub struct Choice {
    pub name: &'static str,
    pub also: &'static [&'static str],
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `zero`: 0 picks a free port.
    Port {
        zero: bool,
    },
    Count {
        min: u64,
        max: u64,
    },
    Bytes {
        min: u64,
        max: u64,
    },
    Span {
        unit: Unit,
        min: Duration,
        max: Duration,
    },
    Switch,
    Text,
    /// A name that becomes part of a topic, a key or a folder.
    Name,
    Path,
    Address,
    HostPort,
    Choice(&'static [Choice]),
    /// A web origin, repeatable.
    Origins,
    /// A CIDR or host[:port] pattern, repeatable.
    Patterns,
    /// A route by which clients come in, repeatable.
    Routes,
    /// A rule for rooms, repeatable.
    RoomRules,
    /// A way from a path to rooms and topics, repeatable.
    RestRoutes,
    /// A way from a topic to rooms, repeatable.
    Bindings,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Count(u64),
    Bytes(u64),
    Span(Duration, Unit),
    Switch(bool),
    Text(String),
    List(Vec<String>),
}

const NAME_BYTES_MAX: usize = 200;
const TEXT_BYTES_MAX: usize = 8 * 1024;

impl Kind {
    pub fn repeatable(self) -> bool {
        self.separator().is_some()
    }

    /// What stands between the items of one text; None: there is only one.
    pub fn separator(self) -> Option<(char, &'static str)> {
        match self {
            Kind::Origins | Kind::Patterns | Kind::RestRoutes | Kind::Bindings => Some((',', "comma")),
            Kind::Routes | Kind::RoomRules => Some((';', "semicolon")),
            _ => None,
        }
    }

    /// The error says what is wrong and the way out, without the text itself.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("is empty; leave it out to get the default".into());
        }
        // Texts that were not UTF-8 arrive with this mark: a guess at a path would be worse.
        if text.contains('\u{fffd}') || text.chars().any(char::is_control) {
            return Err("holds control characters or is not UTF-8".into());
        }
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("is longer than {TEXT_BYTES_MAX} bytes"));
        }
        match self {
            Kind::Port { zero } => port(text, zero),
            Kind::Count { min, max } => {
                let count = text.parse().map_err(|_| format!("is not a whole number from {min} to {max}"))?;
                between(count, min, max, |n| n.to_string()).map(Value::Count)
            }
            Kind::Bytes { min, max } => between(bytes(text)?, min, max, show_bytes).map(Value::Bytes),
            Kind::Span { unit, min, max } => {
                between(span(text, unit)?, min, max, show_span).map(|d| Value::Span(d, unit))
            }
            Kind::Switch => switch(text),
            Kind::Text | Kind::Path => Ok(Value::Text(text.into())),
            Kind::Name => name(text),
            Kind::Address => match text.trim_matches(['[', ']']).parse::<IpAddr>() {
                Ok(address) => Ok(Value::Text(address.to_string())),
                Err(_) => Err("is not an IP address; give one such as 127.0.0.1, 0.0.0.0 or ::".into()),
            },
            Kind::HostPort => HostPort::parse(text).map(|it| Value::Text(it.to_string())),
            Kind::Choice(choices) => choose(text, choices),
            Kind::Origins => split(text, ',', origin).map(Value::List),
            Kind::Patterns => split(text, ',', pattern).map(Value::List),
            Kind::Routes => each(text, |text| Route::parse(text).map(drop)),
            Kind::RoomRules => each(text, |text| room_rule::parse(text, History::default()).map(drop)),
            Kind::RestRoutes => {
                split(text, ',', |it| RestRoute::parse(it).map(|_| it.into())).map(Value::List)
            }
            Kind::Bindings => split(text, ',', |it| Binding::parse(it).map(|_| it.into())).map(Value::List),
        }
    }

    /// The placeholder in the help.
    pub fn placeholder(self) -> &'static str {
        match self {
            Kind::Port { .. } => "PORT",
            Kind::Count { .. } => "N",
            Kind::Bytes { .. } => "BYTES",
            Kind::Span { .. } => "DURATION",
            Kind::Switch => "BOOL",
            Kind::Text => "TEXT",
            Kind::Name | Kind::Choice(_) => "NAME",
            Kind::Path => "PATH",
            Kind::Address => "IP",
            Kind::HostPort => "HOST:PORT",
            Kind::Origins => "ORIGIN",
            Kind::Patterns => "PATTERN",
            Kind::Routes => "ROUTE",
            Kind::RoomRules => "RULE",
            Kind::RestRoutes => "ROUTE",
            Kind::Bindings => "BINDING",
        }
    }

    /// The allowed range, for the help; empty where the kind says it all.
    pub fn range(self) -> String {
        match self {
            Kind::Count { min, max } => format!("{min} to {max}"),
            Kind::Bytes { min, max } => format!("{} to {}", show_bytes(min), show_bytes(max)),
            Kind::Span { min, max, unit } => {
                let plain = match unit {
                    Unit::Micros => "us",
                    Unit::Millis => "ms",
                    Unit::Seconds => "s",
                };
                format!("{} to {}, plain numbers are {plain}", show_span(min), show_span(max))
            }
            Kind::Choice(choices) => choices.iter().map(|it| it.name).collect::<Vec<_>>().join(" | "),
            _ => String::new(),
        }
    }
}

impl Value {
    /// For people: help and README.
    pub fn show(&self) -> String {
        match self {
            Value::Count(n) => n.to_string(),
            Value::Bytes(n) => show_bytes(*n),
            Value::Span(d, _) => show_span(*d),
            Value::Switch(on) => on.to_string(),
            Value::Text(text) => text.clone(),
            Value::List(items) => items.join(","),
        }
    }

    /// For a TOML file.
    pub fn toml(&self) -> String {
        match self {
            Value::Count(n) => n.to_string(),
            Value::Switch(on) => on.to_string(),
            Value::Span(..) | Value::Bytes(_) | Value::Text(_) => {
                toml::Value::String(self.show()).to_string()
            }
            Value::List(items) => {
                toml::Value::Array(items.iter().cloned().map(toml::Value::String).collect()).to_string()
            }
        }
    }
}

/// A name or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

impl HostPort {
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || "is not host:port; give one such as 10.0.0.5:5002 or [::1]:5002".to_string();
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let is_name =
            |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        let host = match bare {
            Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => v6,
            None if !host.is_empty() && is_name(host) => host,
            _ => return Err(bad()),
        };
        Ok(HostPort { host: host.to_string(), port })
    }

    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// In the largest binary unit that divides it.
pub fn show_bytes(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// In the largest unit that divides it.
pub fn show_span(span: Duration) -> String {
    let micros = span.as_micros();
    for (size, unit) in [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s")] {
        if micros.is_multiple_of(size) && (micros != 0 || unit == "s") {
            return format!("{}{unit}", micros / size);
        }
    }
    if micros.is_multiple_of(1000) { format!("{}ms", micros / 1000) } else { format!("{micros}us") }
}

fn between<T: PartialOrd + Copy>(it: T, min: T, max: T, show: impl Fn(T) -> String) -> Result<T, String> {
    if it < min || it > max {
        return Err(format!("is out of range; give {} to {}", show(min), show(max)));
    }
    Ok(it)
}

/// Digits, then letters; a number that does not fit is an error like any other.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let bad = || "is not a size; give bytes or a size such as 512KiB, 8MiB or 8M".to_string();
    let (number, unit) = number_and_unit(text).ok_or_else(bad)?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        "kb" | "mb" | "gb" | "tb" => {
            return Err("uses a unit that is read in two ways; write KiB, MiB or GiB".into());
        }
        _ => return Err(bad()),
    };
    number.checked_mul(1 << shift).ok_or_else(bad)
}

pub(super) fn span(text: &str, unit: Unit) -> Result<Duration, String> {
    let bad = || "is not a duration; give one such as 100ms, 25s or 2m".to_string();
    let (number, name) = number_and_unit(text).ok_or_else(bad)?;
    let micros = match (name, unit) {
        ("us", _) | ("", Unit::Micros) => 1,
        ("ms", _) | ("", Unit::Millis) => 1000,
        ("s", _) | ("", Unit::Seconds) => 1_000_000,
        ("m" | "min", _) => 60_000_000,
        ("h", _) => 3_600_000_000,
        ("d", _) => 86_400_000_000,
        _ => return Err(bad()),
    };
    number.checked_mul(micros).map(Duration::from_micros).ok_or_else(bad)
}

fn port(text: &str, zero: bool) -> Result<Value, String> {
    match text.parse::<u16>() {
        Ok(0) if !zero => Err("must not be 0; give a port from 1 to 65535".into()),
        Ok(port) => Ok(Value::Count(port.into())),
        Err(_) if zero => Err("is not a port; give 0 (any free one) to 65535".into()),
        Err(_) => Err("is not a port; give 1 to 65535".into()),
    }
}

fn switch(text: &str) -> Result<Value, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(Value::Switch(true)),
        "false" | "0" | "no" | "off" => Ok(Value::Switch(false)),
        _ => Err("is neither true nor false".into()),
    }
}

fn name(text: &str) -> Result<Value, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'~' | b':' | b'/');
    if text.len() > NAME_BYTES_MAX || !text.bytes().all(allowed) {
        return Err(format!("must be at most {NAME_BYTES_MAX} letters, digits and . _ - ~ : /"));
    }
    Ok(Value::Text(text.into()))
}

fn choose(text: &str, choices: &[Choice]) -> Result<Value, String> {
    let wanted = text.replace('_', "-");
    let is = |name: &str| name.eq_ignore_ascii_case(&wanted);
    match choices.iter().find(|it| is(it.name) || it.also.iter().any(|also| is(also))) {
        Some(choice) => Ok(Value::Text(choice.name.into())),
        None => {
            let names: Vec<_> = choices.iter().map(|it| it.name).collect();
            Err(format!("is not known; give one of {}", names.join(", ")))
        }
    }
}

fn split(
    text: &str,
    separator: char,
    check: impl Fn(&str) -> Result<String, String>,
) -> Result<Vec<String>, String> {
    text.split(separator).map(str::trim).filter(|it| !it.is_empty()).map(check).collect()
}

/// Items that are long enough to be named each: all that are wrong are told.
fn each(text: &str, check: impl Fn(&str) -> Result<(), String>) -> Result<Value, String> {
    let items = split(text, ';', |it| Ok(it.to_owned()))?;
    let wrong: Vec<_> = items
        .iter()
        .filter_map(|it| {
            check(it).err().map(|why| if items.len() > 1 { format!("'{it}': {why}") } else { why })
        })
        .collect();
    if wrong.is_empty() { Ok(Value::List(items)) } else { Err(format!("is wrong: {}", wrong.join("; "))) }
}

fn origin(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.into());
    }
    let bad =
        || "is not a web origin; give scheme://host[:port], such as https://app.example.com".to_string();
    let url = url::Url::parse(text).map_err(|_| bad())?;
    let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let anonymous = url.username().is_empty() && url.password().is_none();
    if matches!(url.scheme(), "http" | "https") && plain && anonymous {
        Ok(url.origin().ascii_serialization())
    } else {
        Err(bad())
    }
}

/// Parsed here to be refused with all else that is wrong, and again where the policy is made.
fn pattern(text: &str) -> Result<String, String> {
    if text.contains("://") || text.contains(char::is_whitespace) {
        return Err(
            "is not a pattern; give a CIDR such as 10.0.0.0/8 or a host such as feed.example.com:443".into(),
        );
    }
    match Pattern::parse(text) {
        Ok(_) => Ok(text.into()),
        Err(bad) => Err(format!("holds a bad {bad}")),
    }
}

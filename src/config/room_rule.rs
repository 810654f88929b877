//! Rules for rooms, as an operator writes them.

use super::value::{self, Unit};
use crate::core::{
    json::Pointer,
    names::RoomName,
    rooms::{History, Rule, Slow},
};
use std::time::Duration;

/// `ticks-* slow=drop_oldest history=messages:1000,bytes:1MiB,age:5m`; what a history leaves out is
/// as in `usual`. The error says what is wrong and the way out.
pub fn parse(text: &str, usual: History) -> Result<Rule, String> {
    let mut words = text.split_whitespace();
    let pattern = words.next().unwrap_or_default();
    if pattern.contains('=') && !pattern.ends_with('*') {
        return Err("must begin with a room's name, or the beginning of names and *, such as ticks-*".into());
    }
    if pattern != "*" {
        let name = pattern.strip_suffix('*').unwrap_or(pattern);
        RoomName::parse("room", name).map_err(|fault| format!("'{pattern}': {}", fault.message))?;
        if name.contains('*') {
            return Err(format!("'{pattern}': a * stands at the end only, for whatever follows"));
        }
    }
    let mut rule = Rule { pattern: pattern.into(), history: None, slow: None };
    for word in words {
        match word.split_once('=') {
            Some(("slow", value)) if rule.slow.is_none() => rule.slow = Some(slow(value)?),
            Some(("history", value)) if rule.history.is_none() => {
                rule.history = Some(history(value, usual)?);
            }
            Some(("slow" | "history", _)) => return Err(format!("'{word}' comes second; give each once")),
            _ => return Err(format!("'{word}' is not known; give slow=... and history=...")),
        }
    }
    if rule.slow.is_none() && rule.history.is_none() {
        return Err("says nothing; give slow=... or history=... behind the name".into());
    }
    Ok(rule)
}

fn slow(text: &str) -> Result<Slow, String> {
    match text.split_once(':') {
        None if text == "close" => Ok(Slow::Close),
        None if text == "drop_oldest" => Ok(Slow::DropOldest),
        None if text == "keep_latest" => Ok(Slow::KeepLatest(None)),
        Some(("keep_latest", pointer)) => match Pointer::parse(pointer) {
            Ok(_) => Ok(Slow::KeepLatest(Some(pointer.into()))),
            Err(bad) => Err(format!("slow: '{pointer}': {bad}")),
        },
        _ => Err("slow must be close, drop_oldest, keep_latest or keep_latest:/pointer".into()),
    }
}

fn history(text: &str, usual: History) -> Result<History, String> {
    if text == "none" {
        return Ok(History::NONE);
    }
    let mut history = usual;
    for part in text.split(',') {
        let (name, value) = part.split_once(':').unwrap_or((part, ""));
        let told = |why: String| format!("history: {name} {why}");
        match name {
            "messages" => {
                history.messages = value.parse().map_err(|_| told("is not a whole number".into()))?;
            }
            "bytes" => {
                let bytes = value::bytes(value).map_err(told)?;
                history.bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            }
            "age" => history.age = value::span(value, Unit::Seconds).map_err(told)?,
            _ => return Err("history must be none, or some of messages:N,bytes:SIZE,age:TIME".into()),
        }
    }
    if history.messages > MESSAGES_MAX || history.age > AGE_MAX {
        return Err("history: at most 10000000 messages and 30 days".into());
    }
    Ok(history)
}

/// Also those of the settings for all rooms.
pub const MESSAGES_MAX: usize = 10_000_000;
pub const AGE_MAX: Duration = Duration::from_secs(30 * 86_400);

#[cfg(test)]
mod tests;

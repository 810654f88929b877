//! Logs: one line an event on standard error, as text or JSON.

use crate::config::{LogFormat, LogLevel};
use std::io::IsTerminal;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, fmt};

/// Sets the process's logs up. The first call counts; a later one changes nothing.
pub fn start(level: LogLevel, format: LogFormat) {
    let subscriber = fmt().with_env_filter(filter(level)).with_writer(std::io::stderr);
    // A second subscriber is refused by the library, which is what is wanted.
    let _ = match format {
        LogFormat::Text => {
            let subscriber = subscriber.with_ansi(std::io::stderr().is_terminal());
            tracing::subscriber::set_global_default(subscriber.finish())
        }
        LogFormat::Json => {
            let subscriber = subscriber.json().flatten_event(true).with_current_span(false);
            tracing::subscriber::set_global_default(subscriber.finish())
        }
    };
}

/// Libraries are one step quieter than we are: their debug logs hold headers and payloads.
fn filter(level: LogLevel) -> EnvFilter {
    let (ours, theirs) = match level {
        LogLevel::Trace => (LevelFilter::TRACE, LevelFilter::INFO),
        LogLevel::Debug => (LevelFilter::DEBUG, LevelFilter::INFO),
        LogLevel::Info => (LevelFilter::INFO, LevelFilter::WARN),
        LogLevel::Warn => (LevelFilter::WARN, LevelFilter::WARN),
        LogLevel::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
        LogLevel::Off => (LevelFilter::OFF, LevelFilter::OFF),
    };
    EnvFilter::new(format!("{theirs},websocket_manager={ours}"))
}

#[cfg(test)]
mod tests;

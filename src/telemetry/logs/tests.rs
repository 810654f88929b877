use super::*;

#[test]
fn libraries_never_log_headers_and_payloads() {
    for level in [LogLevel::Trace, LogLevel::Debug] {
        let text = filter(level).to_string();
        assert!(text.contains("info"), "{text}");
        assert!(text.contains("websocket_manager="), "{text}");
    }
    assert!(filter(LogLevel::Off).to_string().contains("off"));
}

#[test]
fn a_second_start_is_harmless() {
    start(LogLevel::Off, LogFormat::Text);
    start(LogLevel::Trace, LogFormat::Json);
    tracing::error!("not written: the first call counts");
}

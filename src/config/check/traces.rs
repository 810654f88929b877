//! Where traces go.

use super::{Config, Findings, Resolved};
use url::Url;

pub(super) fn check(config: &Config, values: &Resolved, findings: &mut Findings) {
    let way_out = "give the collector's gRPC port, such as http://127.0.0.1:4317";
    match &config.otlp_endpoint {
        Some(text) => {
            if let Err(wrong) = endpoint(text) {
                let source = &values.entry("otlp_endpoint").source;
                findings.problems.push(format!("otlp_endpoint ({source}) {wrong}; {way_out}"));
            }
        }
        None if config.trace_one_in != 1 && values.sound(&["trace_one_in"]) => {
            let source = &values.entry("trace_one_in").source;
            findings.warnings.push(format!(
                "trace_one_in ({source}) does nothing without a collector: give --otlp-endpoint"
            ));
        }
        None => {}
    }
}

fn endpoint(text: &str) -> Result<(), &'static str> {
    let url = Url::parse(text).map_err(|_| "is not a URL")?;
    match url.scheme() {
        "http" => {}
        "https" => return Err("asks for TLS, which this version does not speak to collectors"),
        _ => return Err("does not begin with http://"),
    }
    if url.host_str().is_none_or(str::is_empty) || url.port() == Some(0) {
        return Err("names no host and port");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or password");
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("must end with the port: OTLP over gRPC has no path");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_and_a_port_will_do() {
        for good in ["http://127.0.0.1:4317", "http://collector:4317/", "http://[::1]:4317", "http://otel"] {
            assert_eq!(endpoint(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "collector:4317",
            "127.0.0.1:4317",
            "https://collector:4317",
            "grpc://collector:4317",
            "http://user:secret@collector:4317",
            "http://collector:4318/v1/traces",
            "http://collector:4317?x",
            "http://collector:0",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}

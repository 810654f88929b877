//! Traces, and what instances of a fleet have in common.

use super::*;

#[test]
fn a_collector_is_a_host_and_a_port() {
    let config = good(&["--otlp-endpoint", "http://127.0.0.1:4317", "--trace-one-in=50"], &env(&[]));
    assert_eq!((config.otlp_endpoint.as_deref(), config.trace_one_in), (Some("http://127.0.0.1:4317"), 50));
    assert_eq!(good(&[], &env(&[])).otlp_endpoint, None);
    let problem = one_problem(&[], &env(&[("WSM_OTLP_ENDPOINT", "https://collector:4317")]));
    assert!(problem.contains("WSM_OTLP_ENDPOINT") && problem.contains("TLS"), "{problem}");
    assert!(problem.contains("http://127.0.0.1:4317"), "{problem}");
    let warnings = good(&["--trace-one-in=5"], &env(&[])).warnings;
    assert!(warnings.iter().any(|warning| warning.contains("--otlp-endpoint")), "{warnings:?}");
    let problem = one_problem(&["--otlp-endpoint=http://c:1", "--trace-one-in=0"], &env(&[]));
    assert!(problem.contains("trace_one_in"), "{problem}");
}

#[test]
fn instances_with_the_same_settings_have_one_fingerprint() {
    let of = |arguments: &[&str]| good(arguments, &env(&[])).fingerprint();
    let plain = of(&[]);
    assert!(plain < 1 << 48);
    // Their own, and how a value was given.
    assert_eq!(of(&["--instance-id=a", "-s", "0", "--listen=127.0.0.2", "--shards=3"]), plain);
    assert_eq!(of(&["--instance-id=b", "--drain-timeout=30"]), of(&["--drain-timeout", "30s"]));
    assert_ne!(of(&["--max-connections=7"]), plain);
    // Nobody can try secrets against it.
    let secret = |url: &str| of(&["--redis-url", url]);
    assert_eq!(secret("redis://:one@a:1"), secret("redis://:two@b:2"));
    assert_ne!(secret("redis://:one@a:1"), plain);
}

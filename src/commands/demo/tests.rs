use super::*;
use crate::config::TlsFiles;

fn started() -> Started {
    Started {
        http: "0.0.0.0:8001".parse().expect("an address"),
        grpc: "[::]:8002".parse().expect("an address"),
        admin: "127.0.0.1:8003".parse().expect("an address"),
        instance: "a".into(),
        backend: "embedded",
        shards: 1,
    }
}

#[test]
fn the_block_has_addresses_that_can_be_reached_and_commands_on_lines_of_their_own() {
    let text = block(&started(), &Config::with_defaults(1), "./websocket-manager", Paint::NONE);
    for part in ["http://127.0.0.1:8001/swagger", "[::1]:8002\n", "http://127.0.0.1:8003/metrics"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let commands: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert_eq!(
        commands,
        [
            "curl -sS http://127.0.0.1:8001/v1/connections/demo-echo/send -H 'content-type: application/json' \
             -d '{\"message\": \"hello\"}'",
            "grpcurl -plaintext [::1]:8002 virtufin.WebSocketManager/List",
            "./websocket-manager tail --topic demo.ticks --url http://[::1]:8002",
        ]
    );
    assert!(!text.contains('\x1b'));
}

#[test]
fn with_tls_the_commands_speak_it() {
    let mut config = Config::with_defaults(1);
    config.tls = Some(TlsFiles { cert: "my cert.pem".into(), key: "key.pem".into() });
    let text = block(&started(), &config, "wsm", Paint::NONE);
    assert!(text.contains("curl -k -sS https://127.0.0.1:8001/"));
    assert!(text.contains("grpcurl -insecure "));
    assert!(text.contains("--url https://[::1]:8002 --tls-cert 'my cert.pem' --tls-key key.pem\n"));
    assert!(text.contains("http://127.0.0.1:8003/metrics"), "admin stays plain");
}

#[test]
fn words_survive_a_shell() {
    for (word, shown) in
        [("a/b-1.2", "a/b-1.2"), ("", "''"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("$x", "'$x'")]
    {
        assert_eq!(quoted(word), shown);
    }
}

//! What no setting tells alone: relations, files, the report, and what an enemy may give.

use super::*;
use crate::core::random::Rng;

#[test]
fn ports_differ_and_relations_hold() {
    assert!(one_problem(&["--grpc-port", "5001"], &env(&[])).contains("are both 5001"));
    let free = good(&["--http-port", "0", "--grpc-port", "0", "--admin-port", "0"], &env(&[]));
    assert_eq!(free.http_port, 0);
    for (arguments, part) in [
        (
            ["--drain-lame-duck=9s", "--drain-timeout=8s"],
            "drain_lame_duck = 9s (flag --drain-lame-duck) must not be more than drain_timeout = 8s",
        ),
        (
            ["--ping-interval=25", "--pong-timeout=25"],
            "ping_interval = 25s (flag --ping-interval) must be less",
        ),
        (["--reconnect-base-delay-ms=11", "--reconnect-max-delay-ms=10"], "reconnect_max_delay_ms = 10ms"),
        (["--publish-queue-bytes=64K", "--publish-batch-bytes=65K"], "publish_batch_bytes = 65KiB"),
        (["--bus-topic-bytes-max=1M", "--bus-segment-bytes=2M"], "bus_segment_bytes = 2MiB"),
    ] {
        let problem = one_problem(&arguments, &env(&[]));
        assert!(problem.contains(part), "{problem}");
    }
    assert!(one_problem(&["--bus-fsync", "never"], &env(&[])).contains("unsafe-never"));
    assert_eq!(good(&["--bus-fsync", "unsafe_never"], &env(&[])).bus.fsync, BusFsync::UnsafeNever);
}

#[test]
fn ways_into_rooms_do_not_stand_in_one_anothers_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let schemas = folder.path().to_str().expect("a plain path");
    let route = "--rest-route=POST /a/{b} room=a-{b}";
    let config = good(
        &[
            "--schemas",
            schemas,
            "--schemas-strict",
            route,
            "--rest-route=PUT /a/{c} topic=d",
            "--bind=topic=t room=r",
        ],
        &env(&[("WSM_BIND", "topic=x room=y")]),
    );
    assert_eq!(config.schemas.as_deref(), Some(folder.path()));
    assert!(config.schemas_strict);
    assert_eq!((config.rest_routes.len(), config.bindings.len()), (2, 1));
    let two = good(&[], &env(&[("WSM_BIND", "topic=x room=y, topic=x room=u-{/v}")]));
    assert_eq!(two.bindings.len(), 2);
    for (arguments, part) in [
        (&["--schemas", "/not/there"][..], "schemas = '/not/there' (flag --schemas) is not a folder"),
        (&["--schemas-strict"], "schemas_strict (flag --schemas-strict) needs schemas"),
        (&[route, "--rest-route=POST /a/{x} topic=t"], "number 2 takes the POST requests of an earlier one"),
        (&["--rest-route=POST /v1/x room=a"], "below /v1, which the service answers itself"),
        (&["--rest-route=POST /x room={y}"], "but the path has none"),
        (&["--bind=topic=t room=r", "--bind=room=r topic=t"], "the same binding of topic t stands twice"),
        (&["--bind=topic=t room={y}"], "write {/y}"),
    ] {
        let problem = one_problem(arguments, &env(&[]));
        assert!(problem.contains(part), "{problem}");
    }
}

#[test]
fn a_default_follows_what_was_given_beside_it() {
    let second = Duration::from_secs(1);
    let config = |argument: &str| good(&[argument], &env(&[]));
    assert_eq!(config("--drain-timeout=2s").drain_lame_duck, second / 2);
    assert_eq!(config("--drain-timeout=60s").drain_lame_duck, 3 * second);
    assert_eq!(config("--ping-interval=60s").pong_timeout, 120 * second);
    assert_eq!(config("--pong-timeout=10s").ping_interval, 5 * second);
    assert_eq!(config("--reconnect-base-delay-ms=60s").reconnect.max_delay, 60 * second);
    assert_eq!(config("--reconnect-max-delay-ms=500").reconnect.base_delay, second / 2);
    assert_eq!(config("--publish-queue-bytes=64K").publish.batch_bytes, 64 << 10);
    assert_eq!(config("--bus-topic-bytes-max=1M").bus.segment_bytes, 256 << 10);
    assert_eq!(config("--bus-segment-bytes=4G").bus.topic_bytes_max, 16 << 30);
    let text = config("--drain-timeout=2s").effective();
    assert!(text.contains("drain_lame_duck = \"500ms\"  # default: follows drain_timeout"), "{text}");
    // Each end of each range, alone, is a configuration that runs, also when it is kept as a file.
    // Not so the lame duck: the drain's whole is what an orchestrator grants, and never moves by itself.
    for setting in SETTINGS.iter().filter(|it| it.key != "drain_lame_duck") {
        let (min, max) = match setting.kind {
            Kind::Count { min, max } | Kind::Bytes { min, max } => (min.to_string(), max.to_string()),
            Kind::Span { min, max, .. } => (value::show_span(min), value::show_span(max)),
            _ => continue,
        };
        for end in [min, max] {
            let kept = file(&config(&format!("--{}={end}", setting.flag())).report());
            good(&["--config", at(&kept)], &env(&[]));
        }
    }
}

#[test]
fn open_addresses_are_warned_about() {
    let config = good(&["--listen", "0.0.0.0", "--admin-listen=::"], &env(&[]));
    assert_eq!(config.warnings.len(), 2, "{:?}", config.warnings);
    assert_eq!(config.local_url(), "http://127.0.0.1:5001");
    assert!(config.report().contains("# warning: listen = 0.0.0.0 opens"));
}

#[test]
fn an_address_nobody_listens_on_is_refused() {
    for wrong in ["0.0.0.0:5002", "127.0.0.1:1", "10.0.0.5:5002"] {
        assert!(one_problem(&["--advertise", wrong], &env(&[])).contains("advertise"), "{wrong}");
    }
    for wrong in ["10.0.0.5", "host:0", ":1", "a b:1", "::1:5", "[x]:1"] {
        assert!(one_problem(&["--advertise", wrong], &env(&[])).contains("is not host:port"), "{wrong}");
    }
    let config = good(&["--advertise", "pod-7.wsm:5002"], &env(&[]));
    let bound = "127.0.0.1:5002".parse().expect("an address");
    assert_eq!(config.advertised(bound).map(|it| it.to_string()), Ok("pod-7.wsm:5002".into()));
    let plain = good(&[], &env(&[]));
    assert_eq!(plain.advertised(bound).map(|it| it.to_string()), Ok("127.0.0.1:5002".into()));
    // With a free port, only the bound one can be right.
    let free = good(&["--grpc-port", "0", "--advertise", "127.0.0.1:5002"], &env(&[]));
    assert!(free.advertised("127.0.0.1:4711".parse().expect("an address")).is_err());
}

#[test]
fn certificate_and_key_go_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path.to_str().expect("a plain path").to_string()
    };
    let pair = rcgen::generate_simple_self_signed(["localhost".into()]).expect("a certificate");
    let other = rcgen::generate_simple_self_signed(["localhost".into()]).expect("a certificate");
    let cert = write("cert.pem", &pair.cert.pem());
    let key = write("key.pem", &pair.signing_key.serialize_pem());
    let wrong = write("other.pem", &other.signing_key.serialize_pem());
    let config = good(&["--tls-cert", &cert, "--tls-key", &key, "--tls-roots", &cert], &env(&[]));
    assert!(config.tls.is_some() && config.local_url().starts_with("https://"));
    let problem = one_problem(&["--tls-cert", &cert, "--tls-key", &wrong], &env(&[]));
    assert!(problem.contains("do not go together"), "{problem}");
    assert!(one_problem(&["--tls-cert", &cert], &env(&[])).contains("give --tls-key"));
    assert!(one_problem(&["--tls-key", &key], &env(&[])).contains("give --tls-cert"));
    let swapped = bad(&["--tls-cert", &key, "--tls-key", &cert, "--tls-roots", "/not/there"], &env(&[]));
    assert_eq!(swapped.len(), 3, "{swapped:#?}");
}

#[test]
fn folders_and_key_files() {
    let plain = file("x");
    let under = format!("{}/data", at(&plain));
    assert!(one_problem(&["--data-dir", &under], &env(&[])).contains("lies under a file"));
    let config = good(&["--data-dir", "/tmp/not/there/yet"], &env(&[]));
    assert_eq!(config.secret_key_path(), PathBuf::from("/tmp/not/there/yet/secret.key"));
    assert!(!config.data_dir.exists(), "checking makes nothing");
    assert!(one_problem(&["--secret-key-file", "/not/there"], &env(&[])).contains("cannot be read"));
    assert!(
        one_problem(&["--config", "/not/there"], &env(&[])).contains("--config /not/there: cannot be read")
    );
}

#[test]
fn the_environment_of_a_cluster_does_no_harm() {
    let links = env(&[
        ("WSM_SERVICE_HOST", "10.0.0.1"),
        ("WSM_SERVICE_PORT", "5001"),
        ("WSM_SERVICE_PORT_HTTP", "5001"),
        ("WSM_PORT", "tcp://10.0.0.1:5001"),
        ("WSM_PORT_5001_TCP", "tcp://10.0.0.1:5001"),
        ("WSM_PORT_5001_TCP_ADDR", "10.0.0.1"),
        ("WSM_HTTP_PORT", "tcp://10.0.0.1:5001"),
    ]);
    let config = good(&[], &links);
    assert_eq!(config.http_port, 5001);
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(config.warnings[0].contains("WSM_HTTP_PORT is ignored"));
    assert!(one_problem(&[], &env(&[("WSM_GRPC_HOST", "h")])).contains("WSM_ADVERTISE"));
    assert_eq!(good(&[], &env(&[("VIRTUFIN_API_HOST", "h")])).warnings.len(), 1);
    let shadowed = good(&[], &env(&[("WSM_HTTP_PORT", "1"), ("HttpPort", "2")]));
    assert_eq!(shadowed.http_port, 1);
    assert!(shadowed.warnings[0].contains("HttpPort is ignored"), "{:?}", shadowed.warnings);
    assert_eq!(good(&[], &env(&[("WSM_HTTP_PORT", "")])).http_port, 5001);
}

const CANARY: &str = "canary-7f3a";

#[test]
fn secrets_are_never_shown() {
    let sources = [
        vec!["--dapr-api-token", CANARY, "--app-api-token", CANARY],
        vec!["--redis-url", CANARY],
        vec!["--dapr-api-token=\u{1}canary-7f3a"],
        vec!["--app-api-token", CANARY, "--http-prot", "1"],
    ];
    let variables =
        env(&[("WSM_DAPR_API_TOKEN", CANARY), ("APP_API_TOKEN", CANARY), ("DAPR_API_TOKEN", "other")]);
    for arguments in sources {
        for environment in [&env(&[]), &variables] {
            let shown = match run(&arguments, environment) {
                Ok(it) => format!("{it:?}\n{:#?}\n{}", it.config, it.config.report()),
                Err(exit) => format!("{exit:?}"),
            };
            assert!(!shown.contains("canary"), "{shown}");
        }
    }
    let config = good(&[], &variables);
    assert_eq!(config.dapr.api_token.as_ref().map(Secret::reveal), Some(CANARY));
    assert!(
        config.effective().contains("# dapr_api_token is set, not shown  # environment WSM_DAPR_API_TOKEN")
    );
    // A file that is not TOML is quoted by the parser, so its text must not reach the message.
    let broken = file("dapr_api_token = \"canary-7f3a\nhttp_port = 1\n");
    let shown = one_problem(&["--config", at(&broken)], &env(&[]));
    assert!(!shown.contains("canary") && shown.contains("line "), "{shown}");
    let wrong = file("dapr_api_token = [[\"canary-7f3a\"]]\n");
    assert!(!one_problem(&["--config", at(&wrong)], &env(&[])).contains("canary"));
}

#[test]
fn the_report_read_back_is_the_same_configuration() {
    let variables = env(&[
        ("WSM_CORS_ORIGIN", "https://a.example,*"),
        ("WSM_EGRESS_ALLOW", "10.0.0.0/8,feed.example:443"),
        ("WSM_MAX_MESSAGE_BYTES", "70000"),
        ("WSM_CONNECTION_RECORD_TTL", "90"),
        ("WSM_BUS_FSYNC", "always"),
        ("WSM_DATA_DIR", "/tmp/it's \"here\" # not there"),
        ("WSM_BUSY_POLL_US", "50"),
        ("DefaultTimeoutMs", "1500"),
        ("HOSTNAME", "pod-7"),
    ]);
    let first = good(&["--shards", "5", "--log-level", "Critical"], &variables);
    let text = first.report();
    toml::from_str::<toml::Table>(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let kept = file(&text);
    let second = good(&["--config", at(&kept)], &env(&[]));
    let plain = |config: &Config| {
        let mut config = config.clone();
        config.shown.clear();
        format!("{config:#?}")
    };
    assert_eq!(plain(&first), plain(&second));
}

#[test]
fn memory_adds_up_and_follows_the_settings() {
    let config = good(&["--shards", "2", "--max-connections", "10", "--mailbox-max", "16"], &env(&[]));
    let bound = config.memory();
    assert_eq!(bound.total(), bound.rows.iter().map(memory::MemoryRow::total).sum::<u64>());
    assert!(bound.idle() < bound.total());
    let row = |what: &str| bound.rows.iter().find(|it| it.what == what).expect(what).total();
    assert_eq!(row("outboxes"), 20 * config.outbox_bytes_max as u64);
    assert_eq!(row("rings"), 2 * config.ring_bytes as u64);
    assert!(row("half-open sockets") > 0);
    assert_eq!(row("spans"), 0, "they are off");
    let traced = good(&["--otlp-endpoint", "http://127.0.0.1:4317"], &env(&[])).memory();
    assert!(traced.rows.iter().any(|it| it.what == "spans" && it.total() > 0));
    let text = config.report();
    assert!(text.contains("# Worst case: 20 connections open"), "{text}");
    assert!(text.contains("# Without the requests and answers of callers"), "{text}");
    let most = ["--shards=256", "--max-connections=1000000", "--outbox-bytes-max=1GiB", "--ring-bytes=64GiB"];
    assert!(good(&most, &env(&[])).memory().total() > 1 << 50);
}

#[test]
fn values_in_every_spelling() {
    let bytes = Kind::Bytes { min: 0, max: u64::MAX };
    for (text, wanted) in [("8MiB", 8 << 20), ("8M", 8 << 20), ("8 mib", 8 << 20), ("64k", 65_536), ("9", 9)]
    {
        assert_eq!(bytes.parse(text), Ok(Value::Bytes(wanted)), "{text}");
    }
    for text in ["", "MiB", "-1", "1.5M", "8MB", "99999999999999999999", "17179869184G", "1x"] {
        assert!(bytes.parse(text).is_err(), "{text}");
    }
    let span = |unit| Kind::Span { unit, min: Duration::ZERO, max: Duration::MAX };
    for (unit, text, micros) in [
        (value::Unit::Seconds, "25s", 25_000_000),
        (value::Unit::Seconds, "25", 25_000_000),
        (value::Unit::Millis, "25", 25_000),
        (value::Unit::Micros, "25", 25),
        (value::Unit::Seconds, "100ms", 100_000),
        (value::Unit::Millis, "2m", 120_000_000),
        (value::Unit::Millis, "7d", 604_800_000_000),
    ] {
        assert_eq!(span(unit).parse(text), Ok(Value::Span(Duration::from_micros(micros), unit)), "{text}");
        let shown = value::show_span(Duration::from_micros(micros));
        assert_eq!(span(unit).parse(&shown), span(unit).parse(text), "{shown}");
    }
    for text in ["", "s", "-1s", "1.5s", "1h30m", "99999999999999999d", "1 fortnight"] {
        assert!(span(value::Unit::Seconds).parse(text).is_err(), "{text}");
    }
    for text in ["https://a.example/path", "ftp://a", "a.example", "https://u:p@a.example", "null"] {
        assert!(Kind::Origins.parse(text).is_err(), "{text}");
    }
}

#[test]
fn arguments_of_an_enemy_do_no_harm() {
    let mut random = Rng(0x2545_f491_4f6c_dd1d);
    let words =
        ["--", "-", "=", "--http-port", "-s", "--=", "-é", "--tag", "tail", "\u{fffd}", "1e9", "", "--url"];
    for _ in 0..300 {
        let mut next = || *random.pick(&words);
        let arguments: Vec<String> = (0..5).map(|_| format!("{}{}", next(), next())).collect();
        if let Err(Exit::Bad(problems)) = cli::parse(&arguments, &env(&[])) {
            assert!(problems.iter().all(|it| !it.is_empty()));
        }
    }
}

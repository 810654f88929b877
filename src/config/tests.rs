use super::{
    cli::{self, Command, Exit, Invocation, Tail, TailSource},
    schema::{CONFIG, SETTINGS, Setting},
    sources::Environment,
    value::{Kind, Value},
    *,
};
use std::{collections::BTreeMap, fs, io::Write};

#[derive(Default)]
struct Given(BTreeMap<String, String>);

impl Environment for Given {
    fn variables(&self) -> BTreeMap<String, String> {
        self.0.clone()
    }
    fn cpus(&self) -> u64 {
        3
    }
    fn random(&self) -> u64 {
        7
    }
}

fn env(pairs: &[(&str, &str)]) -> Given {
    Given(pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
}

fn run(arguments: &[&str], environment: &Given) -> Result<Invocation, Exit> {
    cli::parse(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>(), environment)
}

#[track_caller]
fn good(arguments: &[&str], environment: &Given) -> Config {
    match run(arguments, environment) {
        Ok(it) => it.config,
        Err(exit) => panic!("{exit:?}"),
    }
}

#[track_caller]
fn bad(arguments: &[&str], environment: &Given) -> Vec<String> {
    match run(arguments, environment) {
        Err(Exit::Bad(problems)) => problems,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn one_problem(arguments: &[&str], environment: &Given) -> String {
    let problems = bad(arguments, environment);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems[0].clone()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

fn at(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().expect("a plain path")
}

/// A value that the setting takes and that is not its default.
fn sample(setting: &Setting) -> &'static str {
    match setting.kind {
        Kind::Port { .. } => "6123",
        Kind::Count { .. } => "17",
        Kind::Bytes { .. } => "2M",
        Kind::Span { unit: value::Unit::Seconds, .. } => "31",
        Kind::Span { .. } => "9",
        Kind::Switch => "TRUE",
        Kind::Text | Kind::Name | Kind::Path => "some.name",
        Kind::Address => "::1",
        Kind::HostPort => "peer.example:6123",
        Kind::Choice(choices) => choices[choices.len() - 1].name,
        Kind::Origins => "https://a.example,http://b.example:8080",
        Kind::Patterns => "10.0.0.0/8,feed.example:443",
    }
}

/// Without the checks between settings, which a single sample cannot meet.
fn resolved(flags: &[sources::Given], environment: &Given) -> sources::Resolved {
    sources::resolve(flags, environment)
}

#[test]
fn the_contracts_defaults() {
    let config = good(&[], &env(&[]));
    assert_eq!((config.http_port, config.grpc_port, config.admin_port), (5001, 5002, 5003));
    assert!(config.listen.is_loopback() && config.admin_listen.is_loopback());
    assert_eq!(config.backend, Backend::Embedded);
    assert_eq!(config.shards, 3);
    assert_eq!(config.instance_id, "wsm-0000000000000007");
    assert_eq!(config.data_dir, PathBuf::from("./data"));
    assert_eq!(config.drain_timeout, Duration::from_secs(25));
    assert_eq!(config.drain_lame_duck, Duration::from_secs(3));
    assert_eq!(config.default_timeout, Duration::from_secs(10));
    assert_eq!(config.reconnect.max_attempts, 0);
    assert_eq!(config.reconnect.base_delay, Duration::from_secs(1));
    assert_eq!(config.reconnect.max_delay, Duration::from_secs(30));
    assert_eq!((config.log_level, config.log_format), (LogLevel::Info, LogFormat::Text));
    assert_eq!(config.bus.fsync, BusFsync::Interval(Duration::from_millis(100)));
    assert_eq!(config.store_fsync, StoreFsync::Always);
    assert_eq!(config.connection_record_ttl, None);
    assert_eq!(config.dapr.pubsub_name, "pubsub");
    assert_eq!(config.dapr.state_store_name, "statestore");
    assert_eq!((config.dapr.grpc_port, config.dapr.http_port), (50001, 3500));
    assert_eq!(config.lifecycle_topic, "websocketmanager.lifecycle");
    assert!(config.cors_origins.is_empty() && config.egress_allow.is_empty());
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(config.local_url(), "http://127.0.0.1:5001");
}

#[test]
fn flag_before_environment_before_file_before_default() {
    let toml = file("http_port = 1001\ngrpc_port = 1002\nadmin_port = 1003\n");
    let variables = env(&[("WSM_HTTP_PORT", "2001"), ("WSM_GRPC_PORT", "2002"), ("WSM_CONFIG", at(&toml))]);
    let config = good(&["--http-port", "3001"], &variables);
    assert_eq!((config.http_port, config.grpc_port, config.admin_port), (3001, 2002, 1003));
    let text = config.effective();
    assert!(text.contains("http_port = 3001  # flag --http-port\n"), "{text}");
    assert!(text.contains("grpc_port = 2002  # environment WSM_GRPC_PORT\n"), "{text}");
    assert!(text.contains(&format!("admin_port = 1003  # file {}, key admin_port\n", at(&toml))), "{text}");
    assert!(text.contains("listen = \"127.0.0.1\"  # default\n"), "{text}");
}

#[test]
fn hostname_only_replaces_the_default() {
    let toml = file("instance_id = \"from-file\"\n");
    let variables = env(&[("HOSTNAME", "pod-7")]);
    assert_eq!(good(&[], &variables).instance_id, "pod-7");
    assert_eq!(good(&["--config", at(&toml)], &variables).instance_id, "from-file");
    let both = env(&[("HOSTNAME", "pod-7"), ("WSM_INSTANCE_ID", "mine")]);
    assert_eq!(good(&[], &both).instance_id, "mine");
    assert!(one_problem(&[], &env(&[("HOSTNAME", "a/b")])).contains("HOSTNAME"));
}

#[test]
fn every_name_of_every_setting_works() {
    for (index, setting) in SETTINGS.iter().enumerate() {
        if setting.key == CONFIG {
            continue;
        }
        let text = sample(setting);
        let wanted = setting.kind.parse(text).expect(setting.key);
        assert_ne!(setting.default_value().as_ref(), Some(&wanted), "{}", setting.key);
        for name in setting.variables() {
            let values = resolved(&[], &env(&[(&name, text)]));
            assert_eq!(values.entry(setting.key).value.as_ref(), Some(&wanted), "{name}");
            assert!(values.problems.is_empty() && values.warnings.is_empty(), "{name} {:?}", values.problems);
        }
        for key in setting.toml_keys() {
            let toml = file(&format!("{key} = {}\n", wanted.toml()));
            let values = resolved(&[], &env(&[("WSM_CONFIG", at(&toml))]));
            assert_eq!(values.entry(setting.key).value.as_ref(), Some(&wanted), "{key}");
            assert!(values.problems.is_empty(), "{key} {:?}", values.problems);
        }
        let given = sources::Given { setting: index, name: setting.flag(), text: text.into() };
        assert_eq!(resolved(&[given], &env(&[])).entry(setting.key).value.as_ref(), Some(&wanted));
    }
}

#[test]
fn no_name_stands_for_two_settings() {
    let mut names = std::collections::BTreeMap::new();
    for setting in SETTINGS {
        let short = setting.short.map(|it| format!("-{it}"));
        let all = setting.variables().into_iter().chain([format!("--{}", setting.flag())]).chain(short);
        for name in all {
            assert_eq!(names.insert(name.clone(), setting.key), None, "{name}");
        }
    }
}

#[test]
fn names_of_the_earlier_service() {
    let variables = env(&[
        ("HttpPort", "6001"),
        ("GrpcPort", "6002"),
        ("pubsubName", "messages"),
        ("stateStoreName", "states"),
        ("DefaultTimeoutMs", "5000"),
        ("ReconnectMaxAttempts", "5"),
        ("ReconnectBaseDelayMs", "250"),
        ("CONNECTION_RECORD_TTL_SECONDS", "300"),
        ("CLEAR_ALL_ON_START", "TRUE"),
        ("Logging__LogLevel__Default", "Information"),
        ("Cors__AllowedOrigins__0", "https://a.example"),
        ("Cors__AllowedOrigins__1", "https://b.example"),
    ]);
    let config = good(&[], &variables);
    assert_eq!((config.http_port, config.grpc_port), (6001, 6002));
    assert_eq!(config.dapr.pubsub_name, "messages");
    assert_eq!(config.dapr.state_store_name, "states");
    assert_eq!(config.default_timeout, Duration::from_secs(5));
    assert_eq!(config.reconnect.max_attempts, 5);
    assert_eq!(config.reconnect.base_delay, Duration::from_millis(250));
    assert_eq!(config.connection_record_ttl, Some(Duration::from_secs(300)));
    assert!(config.clear_all_on_start);
    assert_eq!(config.cors_origins, ["https://a.example", "https://b.example"]);
    for (text, on) in [("true", true), ("1", true), ("TRUE", true), ("false", false), ("", false)] {
        assert_eq!(good(&[], &env(&[("CLEAR_ALL_ON_START", text)])).clear_all_on_start, on, "{text}");
    }
    let short = good(&["-s", "1", "-g2", "-l=Trace", "-n", "a", "-t", "b"], &env(&[]));
    assert_eq!((short.http_port, short.grpc_port, short.log_level), (1, 2, LogLevel::Trace));
    assert_eq!((short.dapr.pubsub_name.as_str(), short.dapr.state_store_name.as_str()), ("a", "b"));
    for outside in ["29", "3601"] {
        assert!(one_problem(&[], &env(&[("CONNECTION_RECORD_TTL_SECONDS", outside)])).contains("30s to 1h"));
    }
}

#[test]
fn log_levels_of_both_worlds() {
    use LogLevel::*;
    for (text, level) in [
        ("Trace", Trace),
        ("Debug", Debug),
        ("Information", Info),
        ("Warning", Warn),
        ("Error", Error),
        ("Critical", Error),
        ("None", Off),
        ("trace", Trace),
        ("debug", Debug),
        ("info", Info),
        ("warn", Warn),
        ("error", Error),
        ("off", Off),
    ] {
        assert_eq!(good(&["--log-level", text], &env(&[])).log_level, level, "{text}");
    }
}

#[test]
fn all_problems_at_once() {
    let toml = file("grcp_port = 1\nlisten = \"nowhere\"\nshards = 1.5\n[server]\nport = 1\n");
    let problems = bad(
        &["--config", at(&toml), "--http-prot", "80", "--admin-port", "x", "srve", "--outbox-bytes-max=4MB"],
        &env(&[("WSM_DATADIR", "x"), ("DefaultTimeoutMs", "soon"), ("WSM_REDIS_URL", "redis://h")]),
    );
    let text = problems.join("\n");
    for part in [
        "flag --http-prot is not known; did you mean --http-port?",
        "command 'srve' is not known; did you mean serve?",
        "environment WSM_DATADIR is not known; did you mean WSM_DATA_DIR?",
        "key grcp_port is not known; did you mean grpc_port?",
        "key server is not known; keys stand at the top level",
        "listen = 'nowhere' (file ",
        "shards (file ",
        "admin_port = 'x' (flag --admin-port) is not a port",
        "outbox_bytes_max = '4MB' (flag --outbox-bytes-max) uses a unit",
        "default_timeout_ms = 'soon' (environment DefaultTimeoutMs) is not a duration",
        "redis_url (environment WSM_REDIS_URL) beside backend = 'embedded'",
    ] {
        assert!(text.contains(part), "missing: {part}\n{text}");
    }
    assert_eq!(problems.len(), 11, "{text}");
}

#[test]
fn a_setting_that_cannot_be_read_is_reported_once() {
    // The default stands in, and would collide with the other port.
    let problem = one_problem(&["--http-port", "x", "--grpc-port", "5001"], &env(&[]));
    assert!(problem.starts_with("http_port = 'x' (flag --http-port)"), "{problem}");
}

#[test]
fn missing_double_and_swallowed_values() {
    assert!(one_problem(&["--http-port"], &env(&[])).contains("--http-port PORT"));
    let swallowed = bad(&["--http-port", "--shards", "x"], &env(&[]));
    assert_eq!(swallowed.len(), 2, "{swallowed:?}");
    let problem = one_problem(&["--data-dir", "-g", "80"], &env(&[]));
    assert!(problem.contains("--data-dir needs a value"), "{problem}");
    assert!(one_problem(&["-s", "1", "--http-port", "2"], &env(&[])).contains("more than once"));
    assert!(one_problem(&["--check-config=yes"], &env(&[])).contains("takes no value"));
    assert!(one_problem(&["serve", "demo"], &env(&[])).contains("exclude one another"));
    let config = good(&["--egress-allow", "10.0.0.0/8", "--egress-allow=127.0.0.1,::1"], &env(&[]));
    assert_eq!(config.egress_allow, ["10.0.0.0/8", "127.0.0.1", "::1"]);
}

#[test]
fn flags_before_and_after_the_command() {
    for arguments in [["--http-port", "1", "demo"], ["demo", "--http-port", "1"]] {
        let it = run(&arguments, &env(&[])).expect("good");
        assert_eq!((it.command, it.config.http_port), (Command::Demo, 1));
    }
    assert_eq!(run(&[], &env(&[])).expect("good").command, Command::Serve);
    assert_eq!(run(&["--clear-all-on-start", "demo"], &env(&[])).expect("good").command, Command::Demo);
    for arguments in [&["check"][..], &["--check-config"], &["demo", "--check-config"]] {
        assert_eq!(run(arguments, &env(&[])).expect("good").command, Command::Check);
    }
}

#[test]
fn commands_that_talk_to_a_running_service() {
    let it = run(&["tail", "--tag", "a=b=c", "--tag=d=", "--from-start"], &env(&[])).expect("good");
    let tags = vec![("a".into(), "b=c".into()), ("d".into(), String::new())];
    let tail =
        Tail { url: None, source: TailSource::Tags(tags), from_start: true, cursor: None, json: false };
    assert_eq!(it.command, Command::Tail(tail));
    let arguments = ["tail", "--id", "-x", "--url", "http://h:1", "--cursor", "-c", "--json"];
    let it = run(&arguments, &env(&[])).expect("good");
    let source = TailSource::Id("-x".into());
    let (url, cursor) = (Some("http://h:1".into()), Some("-c".into()));
    let tail = Tail { url, source, from_start: false, cursor, json: true };
    assert_eq!(it.command, Command::Tail(tail));
    // What would keep the service from starting is no matter of theirs.
    let sidecar = env(&[("DAPR_GRPC_PORT", "50001"), ("WSM_TLS_CERT", "/not/there")]);
    let it = run(&["healthcheck"], &sidecar).expect("good");
    assert_eq!(it.command, Command::Healthcheck { url: None });
    assert!(one_problem(&["tail"], &env(&[])).contains("tail needs one of"));
    assert!(one_problem(&["tail", "--id", "a", "--topic", "b"], &env(&[])).contains("tail needs one of"));
    assert!(one_problem(&["tail", "--tag", "a"], &env(&[])).contains("KEY=VALUE"));
    assert!(one_problem(&["serve", "--topic", "b"], &env(&[])).contains("belongs to tail"));
    assert!(one_problem(&["healthcheck", "--url", "h:1"], &env(&[])).contains("--url"));
}

#[test]
fn help_and_version_win_over_mistakes() {
    for arguments in [&["--help"][..], &["-h"], &["-?"], &["serve", "--nonsense", "--help"]] {
        let Err(exit @ Exit::Text(_)) = run(arguments, &env(&[])) else { panic!() };
        assert_eq!(exit.code(), 0);
    }
    let version = run(&["--version"], &env(&[])).expect_err("a text");
    assert_eq!(version, Exit::Text(format!("websocket-manager {}\n", env!("CARGO_PKG_VERSION"))));
    assert_eq!(Exit::Bad(Vec::new()).code(), 64);
}

#[test]
fn help_and_table_name_every_setting() {
    let (help, table) = (help(), markdown_table());
    for setting in SETTINGS {
        let flag = format!("--{}", setting.flag());
        assert!(help.contains(&format!("{flag} {}", setting.kind.placeholder())), "{flag}");
        assert!(table.contains(&format!("| `{flag}`")), "{flag}");
        for name in setting.variables() {
            assert!(help.contains(&name) && table.contains(&format!("`{name}`")), "{name}");
        }
        if let Some(value) = setting.default_value() {
            assert_eq!(setting.kind.parse(&value.show()).as_ref(), Ok(&value), "{flag}");
        }
    }
    let columns = |line: &str| line.replace("\\|", "").matches('|').count();
    assert!(table.lines().all(|line| columns(line) == 5), "{table}");
    assert!(help.lines().all(|line| line.len() <= 150), "{help}");
    assert_eq!(run(&["check", "--markdown"], &env(&[])).expect_err("a text"), Exit::Text(table));
}

#[test]
fn the_backend_follows_what_is_configured() {
    assert_eq!(good(&[], &env(&[("DAPR_GRPC_PORT", "50001")])).backend, Backend::Dapr);
    // A token alone names no sidecar.
    assert_eq!(good(&[], &env(&[("DAPR_API_TOKEN", "t")])).backend, Backend::Embedded);
    let told = good(&["--backend", "embedded"], &env(&[("DAPR_GRPC_PORT", "50001")]));
    assert_eq!(told.backend, Backend::Embedded);
    let dapr = good(&["--backend", "dapr"], &env(&[]));
    assert_eq!(dapr.commands_topic.as_deref(), Some("websocketmanager.commands"));
    let redis = good(&["--backend", "redis", "--redis-url", "redis://127.0.0.1:6379"], &env(&[]));
    assert_eq!((redis.backend, redis.commands_topic), (Backend::Redis, None));
    assert!(one_problem(&["--backend", "redis"], &env(&[])).contains("give --redis-url"));
    let problem = one_problem(&["--backend", "redis", "--redis-url", "http://x"], &env(&[]));
    assert!(problem.contains("is no redis:// URL"), "{problem}");
    for flags in [&["--commands"][..], &["--dead-letter-topic", "dead"]] {
        assert!(one_problem(flags, &env(&[])).contains("needs the dapr backend"));
    }
}

#[test]
fn what_this_version_does_not_build_is_refused() {
    for (flag, value) in
        [("--redis-url", "redis://127.0.0.1"), ("--rooms-pubsub", "x"), ("--jararaca-channels", "x")]
    {
        assert!(one_problem(&[flag, value], &env(&[])).contains("not supported by this version"));
    }
}

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
    let text = config.report();
    assert!(text.contains("# Worst case: 20 connections open"), "{text}");
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
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let words =
        ["--", "-", "=", "--http-port", "-s", "--=", "-é", "--tag", "tail", "\u{fffd}", "1e9", "", "--url"];
    for _ in 0..300 {
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            words[(seed % words.len() as u64) as usize]
        };
        let arguments: Vec<String> = (0..5).map(|_| format!("{}{}", next(), next())).collect();
        if let Err(Exit::Bad(problems)) = cli::parse(&arguments, &env(&[])) {
            assert!(problems.iter().all(|it| !it.is_empty()));
        }
    }
}

mod ingress;
mod operation;
mod relations;

use super::{
    cli::{self, Command, Exit, Invocation, Language, Tail, TailSource, Types},
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
        Kind::Switch if matches!(setting.default_value(), Some(value::Value::Switch(true))) => "FALSE",
        Kind::Switch => "TRUE",
        Kind::Text | Kind::Name | Kind::Path => "some.name",
        Kind::Address => "::1",
        Kind::HostPort => "peer.example:6123",
        Kind::Choice(choices) => choices[choices.len() - 1].name,
        Kind::Origins => "https://a.example,http://b.example:8080",
        Kind::Patterns => "10.0.0.0/8,feed.example:443",
        Kind::Routes => "/chat/{room} messages=protocol; /live rooms=a,b",
        Kind::RoomRules => "ticks-* slow=close; prices history=messages:5,age:1m",
        Kind::RestRoutes => "POST /a/{b} room={b},PUT /c topic=d",
        Kind::Bindings => "topic=a room=r-{/b},topic=c room=d message-id=e",
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
        &env(&[("WSM_DATADIR", "x"), ("DefaultTimeoutMs", "soon"), ("WSM_JARARACA_CHANNELS", "x")]),
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
        "jararaca_channels (environment WSM_JARARACA_CHANNELS) must be two different names",
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
    let it = run(&["types", "--schemas", "/not/there", "--lang", "python", "--out", "m.py"], &env(&[]));
    let types = Types { language: Language::Python, out: Some("m.py".into()) };
    assert_eq!(it.expect("good").command, Command::Types(types));
    assert!(one_problem(&["types", "--schemas", "x"], &env(&[])).contains("types needs a language"));
    assert!(one_problem(&["types", "--lang", "cobol"], &env(&[])).contains("--lang is not known"));
    assert!(one_problem(&["serve", "--lang", "python"], &env(&[])).contains("belongs to types"));
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
    assert!(one_problem(&["--rooms-pubsub", "x"], &env(&[])).contains("not supported by this version"));
}

#[test]
fn rooms_may_be_on_redis_beside_any_backend() {
    let url = ["--redis-url", "redis://127.0.0.1"];
    let beside = good(&url, &env(&[]));
    assert!(beside.backend == Backend::Embedded && beside.redis_url.is_some() && beside.jararaca.is_none());

    let channels = ["--jararaca-channels", "app:send, app:all"];
    let relay = good(&[url, channels].concat(), &env(&[])).jararaca.expect("channels");
    assert_eq!((&*relay.send, &*relay.broadcast, relay.dedupe), ("app:send", "app:all", true));
    let copies = good(&[&url[..], &channels, &["--jararaca-dedupe=false"]].concat(), &env(&[])).jararaca;
    assert!(copies.is_some_and(|relay| !relay.dedupe));

    assert!(one_problem(&channels, &env(&[])).contains("give --redis-url"));
    for bad in ["a", "a,a", "a,", ",b", "a,b,c", ","] {
        let problem = one_problem(&[&url[..], &["--jararaca-channels", bad]].concat(), &env(&[]));
        assert!(problem.contains("two different names"), "{problem}");
    }
}

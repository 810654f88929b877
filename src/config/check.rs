//! What no single setting can tell: relations between settings, files, and what this version
//! does not build. Nothing stops at the first problem.

mod ingress;
mod traces;

use super::{
    Backend, Config, schema,
    sources::Resolved,
    value::{HostPort, show_bytes, show_span},
};
use crate::limits;
use rustls::{
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use std::{fs, net::SocketAddr, path::Path};

#[derive(Debug, Default)]
pub struct Findings {
    pub problems: Vec<String>,
    pub warnings: Vec<String>,
}

/// A sidecar is configured when one of these is given.
pub const SIDECAR: &[&str] = &["dapr_grpc_endpoint", "dapr_grpc_port", "dapr_http_port"];

/// Settings that the contract names and this version does not build. Lifting a restriction means a
/// change here, and nowhere else.
const NOT_BUILT: &[&str] = &["rooms_pubsub"];

pub fn check(config: &Config, values: &Resolved, findings: &mut Findings) {
    not_built(values, findings);
    backend(config, values, findings);
    relay(config, values, findings);
    addresses(config, values, findings);
    relations(config, values, findings);
    ingress::check(config, values, findings);
    traces::check(config, values, findings);
    tls(config, values, findings);
    files(config, values, findings);
    intake(config, values, findings);
}

fn not_built(values: &Resolved, findings: &mut Findings) {
    for key in NOT_BUILT.iter().filter(|key| values.given(key)) {
        let source = &values.entry(key).source;
        findings.problems.push(format!("{key} ({source}) is not supported by this version; leave it out"));
    }
}

fn backend(config: &Config, values: &Resolved, findings: &mut Findings) {
    let given = values.given("redis_url");
    if config.backend == Backend::Redis && !given {
        let source = &values.entry("backend").source;
        findings
            .problems
            .push(format!("backend = 'redis' ({source}) needs a server; give --redis-url redis://host:6379"));
    }
    if let Some(url) = &config.redis_url
        && let Err(wrong) = redis::parse_redis_url(url.reveal()).ok_or("is no redis:// URL")
    {
        let source = &values.entry("redis_url").source;
        findings
            .problems
            .push(format!("redis_url ({source}) {wrong}; give redis://[user:password@]host:port[/db]"));
    }
    if values.given("dead_letter_topic") && config.backend != Backend::Dapr {
        let source = &values.entry("dead_letter_topic").source;
        findings.problems.push(format!(
            "dead_letter_topic ({source}) needs the dapr backend; leave it out or give --backend dapr"
        ));
    }
    if config.commands_topic.is_some() && config.backend != Backend::Dapr {
        let source = &values.entry("commands").source;
        findings
            .problems
            .push(format!("commands ({source}) needs the dapr backend; leave it out or give --backend dapr"));
    }
}

fn relay(config: &Config, values: &Resolved, findings: &mut Findings) {
    let problem = if values.given("jararaca_channels") && config.jararaca.is_none() {
        "must be two different names, as send,broadcast"
    } else if config.jararaca.is_some() && !values.given("redis_url") {
        "needs the server that carries them; give --redis-url redis://host:6379"
    } else {
        return;
    };
    let source = &values.entry("jararaca_channels").source;
    findings.problems.push(format!("jararaca_channels ({source}) {problem}"));
}

fn addresses(config: &Config, values: &Resolved, findings: &mut Findings) {
    let ports =
        [("http_port", config.http_port), ("grpc_port", config.grpc_port), ("admin_port", config.admin_port)];
    for (index, (key, port)) in ports.iter().enumerate() {
        for (other, same) in &ports[index + 1..] {
            if port == same && *port != 0 && values.sound(&[key, other]) {
                findings.problems.push(format!(
                    "{key} ({}) and {other} ({}) are both {port}; give them different ports, or 0 for any",
                    values.entry(key).source,
                    values.entry(other).source
                ));
            }
        }
    }
    if values.sound(&["instance_id"]) && config.instance_id.contains([':', '/']) {
        findings.problems.push(format!(
            "instance_id = '{}' ({}) must not hold ':' or '/'; give another with --instance-id",
            config.instance_id,
            values.entry("instance_id").source
        ));
    }
    if let Some(told) = &config.advertise
        && config.grpc_port != 0
        && values.sound(&["advertise", "grpc_port", "listen"])
        && let Err(wrong) = reachable(told, config.grpc_address())
    {
        findings.problems.push(format!("advertise ({}): {wrong}", values.entry("advertise").source));
    }
    if !config.listen.is_loopback() {
        findings.warnings.push(format!(
            "listen = {} opens the public ports to the network and no credentials are configured: \
             whoever reaches them may use every connection",
            config.listen
        ));
    }
    if !config.admin_listen.is_loopback() {
        findings.warnings.push(format!(
            "admin_listen = {} opens the admin port, which asks for no credentials, to the network",
            config.admin_listen
        ));
    }
}

/// Refuses what surely nobody listens on; a name, or another machine's address in front of this
/// one (a load balancer, NAT), cannot be judged from here.
pub fn reachable(told: &HostPort, bound: SocketAddr) -> Result<(), String> {
    let way_out = format!("the gRPC port listens on {bound}; give that, or leave --advertise out");
    let Some(ip) = told.ip() else { return Ok(()) };
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(format!("{told} is no address that a peer can reach: {way_out}"));
    }
    let ours = ip == bound.ip() || (ip.is_loopback() && bound.ip().is_unspecified());
    if bound.ip().is_loopback() && !ours {
        return Err(format!("nobody listens on {told}: {way_out}, or --listen on that address"));
    }
    if ours && told.port != bound.port() {
        return Err(format!("nobody listens on {told}: {way_out}"));
    }
    if ip.is_loopback() && !ours {
        return Err(format!("nobody listens on {told}: {way_out}"));
    }
    Ok(())
}

fn relations(config: &Config, values: &Resolved, findings: &mut Findings) {
    // (the smaller, the larger, holds, the way out)
    let rules = [
        (
            "reconnect_base_delay_ms",
            "reconnect_max_delay_ms",
            config.reconnect.base_delay <= config.reconnect.max_delay,
            "must not be more than",
        ),
        ("ping_interval", "pong_timeout", config.ping_interval < config.pong_timeout, "must be less than"),
        (
            "drain_lame_duck",
            "drain_timeout",
            config.drain_lame_duck <= config.drain_timeout,
            "must not be more than",
        ),
        (
            "publish_batch_bytes",
            "publish_queue_bytes",
            config.publish.batch_bytes <= config.publish.queue_bytes,
            "must not be more than",
        ),
        (
            "bus_segment_bytes",
            "bus_topic_bytes_max",
            config.bus.segment_bytes <= config.bus.topic_bytes_max,
            "must not be more than",
        ),
    ];
    for (small, large, holds, must) in rules {
        if !holds && values.sound(&[small, large]) {
            let show = |key: &str| {
                let entry = values.entry(key);
                format!("{} ({})", entry.value.as_ref().map(|it| it.show()).unwrap_or_default(), entry.source)
            };
            findings.problems.push(format!("{small} = {} {must} {large} = {}", show(small), show(large)));
        }
    }
    if config.max_message_bytes > config.publish.queue_bytes {
        findings.warnings.push(format!(
            "max_message_bytes = {} is more than publish_queue_bytes = {}: such a message goes by the disk",
            show_bytes(config.max_message_bytes as u64),
            show_bytes(config.publish.queue_bytes as u64)
        ));
    }
    if config.connection_record_ttl.is_some() && config.backend == Backend::Embedded {
        let warning =
            "connection_record_ttl is not applied by the embedded backend: records stay until deleted";
        findings.warnings.push(warning.into());
    }
    if config.default_timeout > config.drain_timeout && values.given("default_timeout_ms") {
        findings.warnings.push(format!(
            "default_timeout_ms = {} is more than drain_timeout = {}: a drain may cut Sends short",
            show_span(config.default_timeout),
            show_span(config.drain_timeout)
        ));
    }
}

fn tls(config: &Config, values: &Resolved, findings: &mut Findings) {
    for (one, other) in [("tls_cert", "tls_key"), ("tls_key", "tls_cert")] {
        if values.given(one) && !values.given(other) {
            let flag = schema::position(other).map(|at| schema::SETTINGS[at].flag()).unwrap_or_default();
            let source = &values.entry(one).source;
            findings.problems.push(format!("{one} ({source}) needs {other} too; give --{flag}"));
        }
    }
    if let Some(files) = &config.tls {
        let cert = certificates(&files.cert);
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| {
            format!("{}: no private key in PEM form can be read: {error}", files.key.display())
        });
        match (cert, key) {
            (Ok(chain), Ok(key)) => {
                let provider: CryptoProvider = ring::default_provider();
                if let Err(error) = CertifiedKey::from_der(chain, key, &provider) {
                    findings.problems.push(format!(
                        "tls_cert {} and tls_key {} do not go together: {error}; give the key of this certificate",
                        files.cert.display(),
                        files.key.display()
                    ));
                }
            }
            (cert, key) => {
                let blame = |key: &str| values.entry(key).source.to_string();
                findings
                    .problems
                    .extend(cert.err().map(|it| format!("tls_cert ({}) {it}", blame("tls_cert"))));
                findings.problems.extend(key.err().map(|it| format!("tls_key ({}) {it}", blame("tls_key"))));
            }
        }
    }
    if let Some(path) = &config.tls_roots
        && let Err(wrong) = certificates(path)
    {
        findings.problems.push(format!("tls_roots ({}) {wrong}", values.entry("tls_roots").source));
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error: &dyn std::fmt::Display| {
        format!("{}: no certificate in PEM form can be read: {error}", path.display())
    };
    let read = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))?;
    let chain: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| unreadable(&error))?;
    if chain.is_empty() {
        return Err(unreadable(&"the file holds none"));
    }
    Ok(chain)
}

fn files(config: &Config, values: &Resolved, findings: &mut Findings) {
    let folder = config.data_dir.display();
    let source = &values.entry("data_dir").source;
    let above = existing(&config.data_dir).and_then(|it| fs::metadata(it).ok());
    let wrong = match above {
        None => Some("cannot be made: no folder above it is there"),
        Some(meta) if !meta.is_dir() => Some("is not a folder, or lies under a file"),
        Some(meta) if meta.permissions().readonly() => Some("cannot be written"),
        Some(_) => None,
    };
    if let Some(wrong) = wrong {
        findings
            .problems
            .push(format!("data_dir = '{folder}' ({source}) {wrong}; give another with --data-dir"));
    }
    if let Some(path) = &config.secret_key_file {
        let source = &values.entry("secret_key_file").source;
        match fs::File::open(path).and_then(|file| file.metadata()) {
            Ok(meta) if !meta.is_file() => {
                let path = path.display();
                findings.problems.push(format!("secret_key_file = '{path}' ({source}) is not a file"));
            }
            Ok(meta) => {
                use std::os::unix::fs::PermissionsExt;
                if meta.permissions().mode() & 0o077 != 0 {
                    findings.warnings.push(format!(
                        "secret_key_file '{}' can be read by others than its owner; chmod 600 it",
                        path.display()
                    ));
                }
            }
            Err(error) => findings.problems.push(format!(
                "secret_key_file = '{}' ({source}) cannot be read: {error}; copy the fleet's file there, \
                 or leave it out to have one made in the data folder",
                path.display()
            )),
        }
    }
}

/// Typed messages, and ways into rooms that are no RPC.
fn intake(config: &Config, values: &Resolved, findings: &mut Findings) {
    let source = |key: &str| &values.entry(key).source;
    match &config.schemas {
        Some(path) if !path.is_dir() => findings.problems.push(format!(
            "schemas = '{}' ({}) is not a folder; give one with a file <MESSAGE_ID>.json for each type",
            path.display(),
            source("schemas")
        )),
        None if config.schemas_strict => findings
            .problems
            .push(format!("schemas_strict ({}) needs schemas; give --schemas DIR", source("schemas_strict"))),
        _ => {}
    }
    let bounds = [
        ("rest_route", config.rest_routes.len(), limits::REST_ROUTES_MAX),
        ("bind", config.bindings.len(), limits::BINDINGS_MAX),
    ];
    for (key, given, most) in bounds.into_iter().filter(|(_, given, most)| given > most) {
        findings.problems.push(format!("{key} ({}) is given {given} times; at most {most}", source(key)));
    }
    for (at, route) in config.rest_routes.iter().enumerate() {
        if config.rest_routes[..at].iter().any(|earlier| earlier.hides(route)) {
            let (number, method) = (at + 1, &route.method);
            findings.problems.push(format!(
                "rest_route ({}): number {number} takes the {method} requests of an earlier one; leave one out",
                source("rest_route")
            ));
        }
    }
    for (at, binding) in config.bindings.iter().enumerate() {
        if config.bindings[..at].contains(binding) {
            let topic = &binding.topic;
            let problem =
                format!("bind ({}): the same binding of topic {topic} stands twice", source("bind"));
            findings.problems.push(problem);
        }
    }
}

/// The folder, or the nearest one above it that is there.
fn existing(path: &Path) -> Option<&Path> {
    path.ancestors()
        .map(|it| if it.as_os_str().is_empty() { Path::new(".") } else { it })
        .find(|it| it.exists())
}

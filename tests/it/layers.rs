//! Who may import whom: the table of the architecture, kept by reading every path in `src/`.

mod paths;

use crate::harness::repo;
pub use paths::test_files;
use paths::{Path, Stripped};

struct Layer {
    name: &'static str,
    /// Files of the layer, below `src/`; the first layer with a match is the file's.
    files: &'static [&'static str],
    /// Modules of this crate that it may name.
    may: &'static [&'static str],
    /// Modules below those that it must not see all the same.
    never: &'static [&'static str],
    /// Outer crates that it must not name; `std` paths too.
    outside: &'static [&'static str],
}

const CLOCKS: &[&str] = &["std::time::Instant", "std::time::SystemTime"];
const RUNTIME: &[&str] = &[
    "std::time::Instant",
    "std::time::SystemTime",
    "std::thread",
    "std::fs",
    "std::process",
    "std::env",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::mpsc",
    "std::hash::RandomState",
    "std::collections::hash_map::RandomState",
    "tokio",
    "tokio_rustls",
    "tokio_tungstenite",
    "tonic",
    "axum",
    "hyper",
    "hyper_util",
    "http",
    "tower",
    "tracing",
    "prometheus",
    "prost",
    "rustls",
    "ring",
    "redb",
    "socket2",
    "libc",
    "parking_lot",
    "crossbeam",
    "futures_core",
];
const EDGE_CRATES: &[&str] = &["tonic", "axum", "hyper", "hyper_util", "tower"];

/// From the innermost out. A file that no layer names is an error: whoever adds a module decides
/// where it belongs.
const LAYERS: &[Layer] = &[
    Layer {
        name: "foundation",
        files: &["limits.rs", "limits/", "core/id.rs", "core/time.rs", "core/reason.rs"],
        may: &["limits", "core::id", "core::time", "core::reason"],
        never: &[],
        outside: RUNTIME,
    },
    Layer { name: "core", files: &["core/"], may: &["limits", "core", "wire"], never: &[], outside: RUNTIME },
    Layer {
        name: "wire",
        files: &["wire/"],
        may: &["limits", "core", "wire"],
        never: &["core::shard"],
        outside: RUNTIME,
    },
    Layer {
        name: "ports",
        files: &["ports.rs", "ports/"],
        may: &["limits", "core", "wire", "ports"],
        never: &["core::shard"],
        outside: CLOCKS,
    },
    Layer {
        name: "pki",
        files: &["pki.rs", "wkt.rs", "pki/"],
        may: &["limits", "core", "wire", "pki"],
        never: &["core::shard"],
        outside: EDGE_CRATES,
    },
    Layer {
        name: "shard",
        files: &["shard/"],
        may: &["limits", "core", "wire", "ports", "pki", "shard"],
        never: &[],
        outside: &["tonic", "axum", "hyper", "hyper_util", "tower", "redb", "prometheus"],
    },
    Layer {
        name: "fleet",
        files: &["fleet.rs", "fleet/"],
        may: &["limits", "core", "wire", "ports", "shard::mailbox", "shard::gate", "shard::record", "fleet"],
        never: &["core::shard"],
        outside: &["tonic", "axum", "hyper", "hyper_util", "tower", "redb", "prometheus", "redis", "dapr"],
    },
    Layer {
        name: "backend",
        files: &["backend/"],
        may: &["limits", "core", "wire", "ports", "backend"],
        never: &["core::shard"],
        outside: &["axum"],
    },
    Layer {
        name: "api",
        files: &["api/"],
        may: &["limits", "core", "wire", "ports", "pki", "wkt", "proto", "api", "shard::mailbox"],
        never: &["core::shard"],
        outside: &["redb", "prometheus"],
    },
    Layer {
        name: "config",
        files: &["config/"],
        may: &["limits", "core", "config"],
        never: &["core::shard"],
        outside: EDGE_CRATES,
    },
    // Spans to a collector, over the same transport as the edges'.
    Layer {
        name: "exporter",
        files: &["telemetry/otlp.rs", "telemetry/otlp/"],
        may: &["limits", "core", "ports", "telemetry::otlp"],
        never: &["core::shard"],
        outside: &["axum", "hyper", "hyper_util"],
    },
    // Reads what everybody counts of themselves, at scrape; nobody reads it.
    Layer {
        name: "telemetry",
        files: &["telemetry/"],
        may: &[
            "limits",
            "core",
            "config",
            "telemetry",
            "shard::metrics",
            "shard::mailbox",
            // What a shard lets its inspectors see.
            "shard::Local",
            "api::counters",
            "api::commands::counters",
            "backend",
            "fleet",
            "ports",
        ],
        never: &[],
        outside: EDGE_CRATES,
    },
    Layer {
        name: "boot",
        files: &["boot.rs", "boot/", "main.rs", "lib.rs", "commands/"],
        may: &[""],
        never: &[],
        outside: &[],
    },
];

/// What one file does against the table.
fn violations(file: &str, text: &str) -> Vec<String> {
    let Some(layer) = layer_of(file) else {
        return vec![format!("src/{file}: belongs to no layer of tests/it/layers.rs")];
    };
    let stripped = Stripped::new(text);
    let mut found = Vec::new();
    for Path { line, text } in paths::named(file, &stripped) {
        if let Some(inside) = text.strip_prefix("crate::") {
            let may = layer.may.iter().any(|root| root.is_empty() || within(inside, root));
            if !may || layer.never.iter().any(|root| within(inside, root)) {
                found.push(format!("src/{file}:{line}: the {} layer must not name {text}", layer.name));
            }
        } else if layer.outside.iter().any(|root| within(&text, root)) {
            found.push(format!("src/{file}:{line}: the {} layer must not use {text}", layer.name));
        }
    }
    found
}

fn layer_of(file: &str) -> Option<&'static Layer> {
    let holds = |name: &str| if name.ends_with('/') { file.starts_with(name) } else { file == name };
    LAYERS.iter().find(|layer| layer.files.iter().any(|name| holds(name)))
}

/// `path` is `root` or below it. A path that is longer than the use says (`core` for `core::id`)
/// does not count as below.
fn within(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[test]
fn every_file_keeps_to_its_layer() {
    let files = repo::sources("src", &[".rs"]);
    assert!(files.len() > 10, "the sources were not found");
    let tests = test_files(&files);
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !tests.contains(&file.path)) {
        let short = file.path.strip_prefix("src/").expect("below src");
        found.extend(violations(short, &file.text));
    }
    assert!(found.is_empty(), "{} imports against the architecture:\n{}", found.len(), found.join("\n"));
}

#[test]
fn a_planted_violation_is_found_with_its_place() {
    let planted = [
        (
            "core/outbox.rs",
            "fn a() {}\nuse tokio::time::sleep;\n",
            "src/core/outbox.rs:2: the core layer must not use tokio::time::sleep",
        ),
        (
            "core/outbox.rs",
            "use std::{\n    fmt,\n    time::{Duration, Instant},\n};",
            "src/core/outbox.rs:3: the core layer must not use std::time::Instant",
        ),
        (
            "core/id.rs",
            "use crate::core::outbox::Outbox;",
            "src/core/id.rs:1: the foundation layer must not name crate::core::outbox::Outbox",
        ),
        (
            "api/rest.rs",
            "fn f() { crate::backend::open() }",
            "src/api/rest.rs:1: the api layer must not name crate::backend::open",
        ),
        (
            "api/rest.rs",
            "use crate::{limits, core::{shard::ShardCore}};",
            "src/api/rest.rs:1: the api layer must not name crate::core::shard::ShardCore",
        ),
        (
            "shard/dial.rs",
            "use super::super::backend;",
            "src/shard/dial.rs:1: the shard layer must not name crate::backend",
        ),
        (
            "wire/close.rs",
            "pub use ::tonic::Code;",
            "src/wire/close.rs:1: the wire layer must not use tonic::Code",
        ),
        ("newcomer.rs", "", "src/newcomer.rs: belongs to no layer of tests/it/layers.rs"),
    ];
    for (file, text, message) in planted {
        assert_eq!(violations(file, text), [message], "{file}: {text}");
    }
}

#[test]
fn what_is_allowed_or_only_said_is_let_through() {
    let fine = [
        ("core/outbox.rs", "//! use tokio::net;\nuse std::time::Duration;\nlet s = \"use tonic::x\";"),
        ("core/outbox.rs", "use std::net::{IpAddr, SocketAddr}; // crate::backend"),
        ("core/shard/send.rs", "use super::{ShardCore, super::io::Effect}; use self::x;"),
        (
            "api/status.rs",
            "use crate::{core::reason::Fault, proto::*}; /* use crate::backend; */ use tonic::Code;",
        ),
        ("api/listen.rs", "use crate::shard::mailbox::Handle;"),
        ("boot.rs", "use crate::{api, backend, shard}; use tokio::net;"),
        ("wire/mod.rs", "let r = r#\"tokio::x\"#; let c = '\"'; let l: &'static str = a;"),
    ];
    for (file, text) in fine {
        assert_eq!(violations(file, text), [] as [&str; 0], "{file}: {text}");
    }
}

//! What is linked: licences that may be shipped, one version of each crate, no build script that
//! was not looked at. Read from cargo's own metadata, without a network.

use crate::harness::repo;
use serde_json::Value;
use std::{collections::BTreeMap, process::Command};

/// Licences that a closed product may ship with, as SPDX ids.
const LICENCES: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "CDLA-Permissive-2.0",
    "Unlicense",
    "0BSD",
    "CC0-1.0",
    "BSL-1.0",
];

/// Crates that come in two versions, and why that is borne.
const TWICE: &[(&str, &str)] = &[
    ("base64", "rcgen's PEM writer is a step ahead; only in tests"),
    ("bit-vec", "fancy-regex, below jsonschema, is a step behind what the lock file has for other platforms"),
    ("foldhash", "comes with the older hashbrown"),
    ("getrandom", "ring has stayed with 0.2"),
    ("hashbrown", "petgraph, below prost-build, is a step behind; only while building"),
    ("syn", "the derive crates are moving to 3 one by one; only while building"),
    ("synstructure", "comes with the two versions of syn"),
];

/// Build scripts run on every developer's machine: each was looked at.
const BUILD_SCRIPTS: &[&str] = &[
    "ahash",
    "anyhow",
    "crossbeam-deque",
    "crossbeam-epoch",
    "crossbeam-utils",
    "getrandom",
    "httparse",
    "icu_normalizer_data",
    "icu_properties_data",
    "jsonschema-value",
    "libc",
    "libmimalloc-sys",
    "num-traits",
    "oid-registry",
    "parking_lot_core",
    "pbjson-types",
    "prettyplease",
    "proc-macro2",
    "prometheus",
    "pulldown-cmark",
    "quote",
    "redb",
    "ref-cast",
    "ring",
    "rustix",
    "rustls",
    "serde",
    "serde_core",
    "serde_json",
    "thiserror",
    "unicode-general-category",
    "zerocopy",
    "zmij",
];

struct Package {
    name: String,
    version: String,
    licence: String,
    outside: bool,
    builds: bool,
}

fn packages() -> Vec<Package> {
    // Of this platform only: what others need may not have been fetched.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", &platform])
        .current_dir(repo::root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let package = |value: &Value| Package {
        name: text(&value["name"]),
        version: text(&value["version"]),
        licence: text(&value["license"]),
        outside: !value["source"].is_null(),
        builds: list(&value["targets"])
            .iter()
            .any(|target| list(&target["kind"]).contains(&"custom-build".into())),
    };
    list(&metadata["packages"]).iter().map(package).collect()
}

/// `A OR B` needs one of them, `A AND B` both; parentheses bind.
fn may_ship(expression: &str) -> bool {
    // Before SPDX expressions there was a slash.
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut at = 0;
    let verdict = any_of(&words, &mut at);
    verdict && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize) -> bool {
    let mut verdict = all_of(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        verdict |= all_of(words, at);
    }
    verdict
}

fn all_of(words: &[&str], at: &mut usize) -> bool {
    let mut verdict = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        verdict &= one(words, at);
    }
    verdict
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let verdict = any_of(words, at);
        *at += 1;
        return verdict;
    }
    if words.get(*at) == Some(&"WITH") {
        let whole = format!("{word} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
        return LICENCES.contains(&whole.as_str());
    }
    LICENCES.contains(word)
}

#[test]
fn every_licence_may_be_shipped() {
    let bad: Vec<_> = packages()
        .into_iter()
        .filter(|package| package.outside && !may_ship(&package.licence))
        .map(|package| format!("{} {}: '{}'", package.name, package.version, package.licence))
        .collect();
    assert!(bad.is_empty(), "licences that nobody allowed:\n{}", bad.join("\n"));
}

#[test]
fn crates_come_in_one_version() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages() {
        versions.entry(package.name).or_default().push(package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let new: Vec<_> = versions
        .iter()
        .filter(|(name, _)| !TWICE.iter().any(|allowed| allowed.0 == name.as_str()))
        .map(|(name, versions)| format!("{name}: {}", versions.join(", ")))
        .collect();
    assert!(new.is_empty(), "in more than one version, and not in TWICE:\n{}", new.join("\n"));
    let stale: Vec<_> = TWICE.iter().filter(|allowed| !versions.contains_key(allowed.0)).collect();
    assert!(stale.is_empty(), "no longer needed in TWICE: {stale:?}");
    assert!(TWICE.iter().all(|allowed| !allowed.1.is_empty()), "each has its reason");
}

#[test]
fn build_scripts_were_looked_at() {
    let built: Vec<_> = packages().into_iter().filter(|package| package.outside && package.builds).collect();
    let new: Vec<_> = built
        .iter()
        .map(|package| package.name.as_str())
        .filter(|name| !BUILD_SCRIPTS.contains(name))
        .collect();
    assert!(new.is_empty(), "build scripts that are not in BUILD_SCRIPTS: {new:?}");
    let stale: Vec<_> =
        BUILD_SCRIPTS.iter().filter(|name| !built.iter().any(|package| package.name == **name)).collect();
    assert!(stale.is_empty(), "no longer needed in BUILD_SCRIPTS: {stale:?}");
}

#[test]
fn licence_expressions_are_understood() {
    for fine in ["MIT", "MIT OR GPL-3.0", "MIT/Apache-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
        assert!(may_ship(fine), "{fine}");
    }
    assert!(may_ship("Apache-2.0 WITH LLVM-exception"));
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR AGPL-3.0) AND MIT", "MIT WITH x", "MIT MIT"] {
        assert!(!may_ship(bad), "{bad}");
    }
}

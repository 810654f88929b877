//! House rules that no other tool keeps.

use crate::{
    harness::repo::{self, Source},
    layers,
};

/// A file that is longer wants to be two.
const LINES_MAX: usize = 450;
/// rustfmt keeps code to 110; long texts in tables and comments get a little more.
const WIDTH_MAX: usize = 200;
const FOLDERS: &[&str] =
    &["src", "tests", "proto", "benches", "loadtest", "clients", "dashboards", "deploy", ".ci"];
const TEXTS: &[&str] =
    &[".rs", ".proto", ".py", ".mjs", ".js", ".ts", ".cs", ".go", ".toml", ".md", ".sh", ".yml", ".yaml"];
/// Where waiting is done for all tests.
const WAITING: &[&str] = &["tests/it/harness/wait.rs", "tests/python/parts.py"];
/// This file names what it forbids.
const SELF: &str = "tests/it/tidy.rs";

struct Rule {
    name: &'static str,
    applies: fn(&Source, bool) -> bool,
    breaks: fn(&str) -> bool,
}

const RULES: &[Rule] = &[
    Rule {
        name: "a marker of unfinished work",
        applies: |_, _| true,
        breaks: |line| ["FIXME", "TODO", "XXX"].iter().any(|word| has_word(line, word)),
    },
    Rule {
        name: "a test that is switched off",
        applies: |file, _| file.path.ends_with(".rs"),
        breaks: |line| line.trim_start().starts_with("#[ignore"),
    },
    Rule {
        name: "a sleep in a test: wait for the thing itself (harness::wait_for)",
        applies: |file, test| test && !WAITING.contains(&&*file.path),
        breaks: |line| {
            ["thread::sleep", "time::sleep(", "time.sleep(", "asyncio.sleep("]
                .iter()
                .any(|call| line.contains(call))
        },
    },
    Rule {
        name: "a thread that sleeps",
        applies: |file, test| !test && file.path.starts_with("src/"),
        breaks: |line| line.contains("thread::sleep"),
    },
    Rule {
        name: "a path of one machine",
        applies: |_, _| true,
        breaks: |line| machine_paths().iter().any(|path| is_absolute_use(line, path)),
    },
    Rule {
        name: "a line that is too wide",
        applies: |_, _| true,
        breaks: |line| line.chars().count() > WIDTH_MAX && !line.starts_with('|'),
    },
    Rule {
        name: "a tab or a space at a line's end",
        applies: |file, _| file.path.ends_with(".rs"),
        breaks: |line| line.contains('\t') || line.ends_with(' '),
    },
];

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let outside = |character: Option<char>| character.is_none_or(|it| !it.is_alphanumeric() && it != '_');
        outside(line[..at].chars().next_back()) && outside(line[at + word.len()..].chars().next())
    })
}

/// Where people keep their files, and where this checkout stands.
fn machine_paths() -> &'static [String] {
    static PATHS: std::sync::LazyLock<Vec<String>> = std::sync::LazyLock::new(|| {
        let mut paths = vec!["/root/".to_owned(), "/home/".to_owned(), "/Users/".to_owned()];
        paths.extend(
            repo::root()
                .parent()
                .map(|parent| format!("{}/", parent.display()))
                .filter(|path| path.len() > 5),
        );
        paths
    });
    &PATHS
}

/// As the beginning of a path, not as a part of a relative one or of a URL.
fn is_absolute_use(line: &str, path: &str) -> bool {
    let inside =
        |before: char| before.is_alphanumeric() || matches!(before, '/' | '.' | '-' | '_' | '}' | ')');
    line.match_indices(path).any(|(at, _)| !line[..at].chars().next_back().is_some_and(inside))
}

fn complaints(file: &Source, test: bool) -> Vec<String> {
    let mut found = Vec::new();
    let lines = file.text.lines().count();
    if file.path.ends_with(".rs") && lines > LINES_MAX {
        found.push(format!("{}: {lines} lines, at most {LINES_MAX}", file.path));
    }
    for (number, line) in file.text.lines().enumerate() {
        for rule in RULES.iter().filter(|rule| (rule.applies)(file, test) && (rule.breaks)(line)) {
            found.push(format!("{}:{}: {}", file.path, number + 1, rule.name));
        }
    }
    found
}

fn all() -> Vec<Source> {
    let mut files: Vec<_> = FOLDERS.iter().flat_map(|folder| repo::sources(folder, TEXTS)).collect();
    for name in
        ["README.md", "Cargo.toml", "clippy.toml", "build.rs", "tests/run", ".ci/run", "deploy/Dockerfile"]
    {
        let text = std::fs::read_to_string(repo::root().join(name)).unwrap_or_default();
        files.push(Source { path: name.to_owned(), text });
    }
    files
}

#[test]
fn the_house_is_tidy() {
    let files = all();
    let tests = layers::test_files(&files);
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.path != SELF) {
        let test = file.path.starts_with("tests/") || tests.contains(&file.path);
        found.extend(complaints(file, test));
    }
    assert!(found.is_empty(), "{} complaints:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_rule_finds_what_it_forbids() {
    let file = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    let planted = [
        (file("src/a.rs", "x\n// TODO later"), "src/a.rs:2: a marker of unfinished work"),
        (file("tests/it/a.rs", "#[ignore]"), "tests/it/a.rs:1: a test that is switched off"),
        (file("src/a.rs", "    std::thread::sleep(x);"), "src/a.rs:1: a thread that sleeps"),
        (file("src/a.rs", "let path = \"/root/x\";"), "src/a.rs:1: a path of one machine"),
        (file("src/a.rs", "let x = 1; "), "src/a.rs:1: a tab or a space at a line's end"),
        (file("src/a.rs", &"x\n".repeat(451)), "src/a.rs: 451 lines, at most 450"),
        (file("proto/a.proto", &"x".repeat(201)), "proto/a.proto:1: a line that is too wide"),
    ];
    for (file, complaint) in planted {
        assert_eq!(complaints(&file, file.path.starts_with("tests/")), [complaint]);
    }
    let slept = complaints(&file("tests/it/a.rs", "tokio::time::sleep(x).await;"), true);
    assert!(slept.len() == 1 && slept[0].contains("a sleep in a test"), "{slept:?}");
    let fine = file("src/a.rs", "let a = mastodon::TODOS; // see docs/home/ and https://x.example/home/");
    assert_eq!(complaints(&fine, false), [] as [&str; 0]);
}

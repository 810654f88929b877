//! What is written from the table: help, README's table, the effective configuration.

use super::{
    schema::{CONFIG, Group, SETTINGS, Setting},
    sources::Resolved,
    value::{Unit, Value},
};
use std::fmt::{self, Write};

const WIDTH: usize = 100;

/// A setting as it may be shown; of a secret, only that it is set.
#[derive(Clone)]
pub struct Shown {
    setting: &'static Setting,
    toml: Option<String>,
    set: bool,
    source: String,
}

impl Shown {
    pub fn setting(&self) -> &'static Setting {
        self.setting
    }

    /// None: it is not set, or a secret.
    pub fn value(&self) -> Option<&str> {
        self.toml.as_deref()
    }

    pub fn is_set(&self) -> bool {
        self.set
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.setting.key, self.source)
    }
}

pub fn shown(values: &Resolved) -> Vec<Shown> {
    let show = |(setting, entry): (&'static Setting, &super::sources::Entry)| Shown {
        setting,
        toml: entry.value.as_ref().filter(|_| !setting.secret).map(|it| plain(setting, it)),
        set: entry.value.is_some(),
        source: entry.source.to_string(),
    };
    values.entries().map(show).collect()
}

/// A key that ends in a unit reads best with a plain number of it.
fn plain(setting: &Setting, value: &Value) -> String {
    let number = match *value {
        Value::Span(span, Unit::Millis)
            if setting.key.ends_with("_ms") && span.subsec_nanos() % 1_000_000 == 0 =>
        {
            Some(span.as_millis())
        }
        Value::Span(span, Unit::Micros) if setting.key.ends_with("_us") => Some(span.as_micros()),
        _ => None,
    };
    number.map_or_else(|| value.toml(), |it| it.to_string())
}

pub fn effective(all: &[Shown]) -> String {
    let mut text = String::new();
    for group in Group::ALL {
        let _ = writeln!(text, "{}# {}", if text.is_empty() { "" } else { "\n" }, group.title());
        for it in all.iter().filter(|it| it.setting.group == *group) {
            let key = it.setting.key;
            let _ = match &it.toml {
                // The file cannot name another one.
                Some(value) if key == CONFIG => writeln!(text, "# {key} = {value}  # {}", it.source),
                Some(value) => writeln!(text, "{key} = {value}  # {}", it.source),
                None if it.set => writeln!(text, "# {key} is set, not shown  # {}", it.source),
                None => writeln!(text, "# {key} is not set  # default: {}", it.setting.default_text()),
            };
        }
    }
    text
}

/// README's table of settings.
pub fn markdown_table() -> String {
    let mut text = String::from("| flag | environment | default | meaning |\n|---|---|---|---|\n");
    for group in Group::ALL {
        let _ = writeln!(text, "| **{}** | | | |", group.title());
        for setting in SETTINGS.iter().filter(|it| it.group == *group) {
            let flags: Vec<_> = spellings(setting).iter().map(|it| format!("`{it}`")).collect();
            let variables: Vec<_> = setting.variables().iter().map(|it| format!("`{it}`")).collect();
            let (flags, variables) = (flags.join(", "), variables.join(", "));
            let meaning = explained(setting).replace('|', "\\|");
            let _ = writeln!(text, "| {flags} | {variables} | {} | {meaning} |", setting.default_text());
        }
    }
    text
}

/// Long flag, then short.
fn spellings(setting: &Setting) -> Vec<String> {
    let long = format!("--{}", setting.flag());
    std::iter::once(long).chain(setting.short.map(|short| format!("-{short}"))).collect()
}

fn explained(setting: &Setting) -> String {
    let mut text = setting.help.to_string();
    let range = setting.kind.range();
    if !range.is_empty() {
        let _ = write!(text, " ({range})");
    }
    if let Some((_, separator)) = setting.kind.separator() {
        let _ = write!(text, " Repeatable; {separator} separated in the environment.");
    }
    text
}

const HEAD: &str = "\
Holds WebSocket connections for a whole organisation, in both directions, and never loses a message silently.

Usage: websocket-manager [COMMAND] [SETTINGS]

Commands:
  serve        Run the service (the default)
  demo         Run the service with a small demonstration in it, in the folder demo below --data-dir
  check        Check the configuration; print it with its sources and the worst-case memory
  tail         Follow messages of a running service; see 'Options of tail'
  types        Write TypeScript or Python types of the messages that --schemas describes
  healthcheck  Exit with 0 if a running service is ready, else 1, for container health checks

Options:
  --check-config   The same as the command check, after any other command
  -h, -?, --help   Print this
  -V, --version    Print the version

Options of tail (one of --id, --topic and --tag):
  --url URL        Address of the service [default: this machine and --http-port]
  --id ID          Follow one connection
  --topic TOPIC    Follow a topic
  --tag KEY=VALUE  Follow the connections with this tag; repeatable, all must match
  --from-start     From the oldest message that is kept, not from now
  --cursor CURSOR  Go on after this cursor
  --json           Each message as one line of JSON, cursor and all

Options of types (with --schemas DIR):
  --lang NAME      typescript or python
  --out FILE       Where to [default: standard output]

Options of healthcheck:
  --url URL        Address of the service [default: this machine and --http-port]

Settings stand before or after the command. A flag wins over the environment, the environment over
the TOML file, the file over the default; an empty environment variable counts as not set. Durations
are written 100ms, 25s, 2m or as a plain number, sizes 512KiB, 8MiB, 8M or as plain bytes.
";

const TAIL: &str = "
Examples:
  websocket-manager
      Run on loopback with the embedded backend, everything under ./data
  websocket-manager serve --listen 0.0.0.0 --tls-cert cert.pem --tls-key key.pem
      Run for the network, with TLS
  websocket-manager --config wsm.toml --check-config
      Say what a file would do, without doing it
  websocket-manager check
      Show what is in force, where each value comes from and how much memory it may take
  WSM_HTTP_PORT=8080 WSM_EGRESS_ALLOW=127.0.0.1,10.0.0.0/8 websocket-manager
      Configure by the environment
  websocket-manager tail --topic ticks --from-start
      Print the messages of a topic
  websocket-manager types --schemas schemas --lang typescript --out messages.ts
      Write the types of typed messages

Exit codes: 0 drained, 1 fatal, 2 drained by force, 64 bad configuration.
";

pub fn help() -> String {
    let mut text = String::from(HEAD);
    for group in Group::ALL {
        let _ = writeln!(text, "\n{}:", group.title());
        for setting in SETTINGS.iter().filter(|it| it.group == *group) {
            let mut flags = spellings(setting);
            flags.reverse();
            let _ = writeln!(text, "  {} {}", flags.join(", "), setting.kind.placeholder());
            let environment = setting.variables().join(", ");
            let default = setting.default_text();
            wrap(&mut text, &explained(setting));
            wrap(&mut text, &format!("[default: {default}] [env: {environment}]"));
        }
    }
    text.push_str(TAIL);
    text
}

fn wrap(text: &mut String, about: &str) {
    const INDENT: &str = "          ";
    let mut line = String::from(INDENT);
    for word in about.split(' ') {
        if line.len() + 1 + word.len() > WIDTH && line.trim() != "" {
            let _ = writeln!(text, "{}", line.trim_end());
            line = String::from(INDENT);
        }
        if line.len() > INDENT.len() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}

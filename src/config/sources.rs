//! Where settings come from: flag, then environment, then TOML file, then default.

use super::{
    nearest::did_you_mean,
    schema::{CONFIG, SETTINGS, Setting, position},
    value::Value,
};
use std::{collections::BTreeMap, fmt, fs, time::Duration};

/// What is asked of the process, so that parsing is a pure function in tests.
pub trait Environment {
    fn variables(&self) -> BTreeMap<String, String>;
    /// CPUs that this process may use, after mask and quota.
    fn cpus(&self) -> u64;
    fn random(&self) -> u64;
}

/// The process that runs.
pub struct Process;

impl Environment for Process {
    fn variables(&self) -> BTreeMap<String, String> {
        let lossy = |it: std::ffi::OsString| it.to_string_lossy().into_owned();
        std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect()
    }

    fn cpus(&self) -> u64 {
        std::thread::available_parallelism().map_or(1, |n| n.get() as u64)
    }

    fn random(&self) -> u64 {
        use std::hash::{BuildHasher, Hasher};
        // Keyed by the operating system; this names an instance, it guards nothing.
        std::hash::RandomState::new().build_hasher().finish()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Flag(String),
    Variable(String),
    File {
        path: String,
        key: String,
    },
    Default,
    /// The default, worked out from the machine.
    Derived(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(name) => write!(f, "flag {name}"),
            Source::Variable(name) => write!(f, "environment {name}"),
            Source::File { path, key } => write!(f, "file {path}, key {key}"),
            Source::Default => f.write_str("default"),
            Source::Derived(how) => write!(f, "default: {how}"),
        }
    }
}

/// A setting as it stood on the command line.
#[derive(Clone, Debug)]
pub struct Given {
    pub setting: usize,
    /// As typed, such as `-s`.
    pub name: String,
    pub text: String,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub value: Option<Value>,
    pub source: Source,
    /// What was given could not be read; the default stands in, and no further check looks at it.
    pub broken: bool,
}

/// Every setting's value and source, in the order of the table.
#[derive(Debug)]
pub struct Resolved {
    entries: Vec<Entry>,
    pub problems: Vec<String>,
    pub warnings: Vec<String>,
}

impl Resolved {
    pub fn entry(&self, key: &str) -> &Entry {
        &self.entries[Self::index(key)]
    }

    pub fn set_derived(&mut self, key: &str, value: Value, how: &'static str) {
        let entry = &mut self.entries[Self::index(key)];
        entry.value = Some(value);
        entry.source = Source::Derived(how);
    }

    pub fn entries(&self) -> impl Iterator<Item = (&'static Setting, &Entry)> {
        SETTINGS.iter().zip(&self.entries)
    }

    /// Given by somebody, in whatever way.
    pub fn given(&self, key: &str) -> bool {
        !matches!(self.entry(key).source, Source::Default | Source::Derived(_))
    }

    /// None of these was unreadable.
    pub fn sound(&self, keys: &[&str]) -> bool {
        keys.iter().all(|key| !self.entry(key).broken)
    }

    pub fn number(&self, key: &str) -> u64 {
        match self.entry(key).value {
            Some(Value::Count(n) | Value::Bytes(n)) => n,
            _ => 0,
        }
    }

    pub fn span(&self, key: &str) -> Option<Duration> {
        match self.entry(key).value {
            Some(Value::Span(span, _)) => Some(span),
            _ => None,
        }
    }

    pub fn switch(&self, key: &str) -> bool {
        self.entry(key).value == Some(Value::Switch(true))
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        match &self.entry(key).value {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub fn list(&self, key: &str) -> Vec<String> {
        match &self.entry(key).value {
            Some(Value::List(items)) => items.clone(),
            _ => Vec::new(),
        }
    }

    /// A key that is not in the table is a mistake in this module, met by every test.
    #[allow(clippy::expect_used)]
    fn index(key: &str) -> usize {
        position(key).expect("the key is in the table")
    }
}

/// Every problem of every source is collected; nothing stops at the first.
pub fn resolve(flags: &[Given], environment: &dyn Environment) -> Resolved {
    let mut reader = Reader { problems: Vec::new(), warnings: Vec::new() };
    let variables = reader.variables(environment.variables());
    let nothing = (toml::Table::new(), String::new());
    let mut file = nothing.clone();
    let mut entries = Vec::with_capacity(SETTINGS.len());
    // The file's own name comes first; its entry is put where the table has it.
    let config = position(CONFIG).map(|index| reader.entry(index, flags, &variables, &nothing));
    if let Some(Value::Text(path)) = config.as_ref().and_then(|entry| entry.value.as_ref()) {
        file = (reader.file(path), path.clone());
    }
    for (index, setting) in SETTINGS.iter().enumerate() {
        entries.push(match &config {
            Some(entry) if setting.key == CONFIG => entry.clone(),
            _ => reader.entry(index, flags, &variables, &file),
        });
    }
    Resolved { entries, problems: reader.problems, warnings: reader.warnings }
}

struct Reader {
    problems: Vec<String>,
    warnings: Vec<String>,
}

type File = (toml::Table, String);

impl Reader {
    /// Refuses what looks like ours and is not; drops empty ones, which mean "not set" in
    /// compose files and manifests.
    fn variables(&mut self, all: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let ours: Vec<String> = SETTINGS.iter().flat_map(Setting::variables).collect();
        let mut kept = BTreeMap::new();
        for (name, value) in all {
            if name.starts_with("WSM_") && is_service_link(&name, &value) {
                if ours.contains(&name) {
                    self.warnings.push(format!(
                        "environment {name} is ignored: its value is that of a Kubernetes service link; \
                         set enableServiceLinks: false or rename the service"
                    ));
                }
            } else if let Some((_, instead)) = GONE.iter().find(|(gone, _)| *gone == name) {
                self.problems.push(format!("environment {name} is not known any more: {instead}"));
            } else if name.starts_with("WSM_") && !ours.contains(&name) {
                let hint = did_you_mean(&name, ours.iter().map(String::as_str));
                self.problems.push(format!("environment {name} is not known{hint}"));
            } else if WITHOUT_EFFECT.contains(&name.as_str()) {
                self.warnings.push(format!("environment {name} of the earlier service has no effect"));
            } else if !value.is_empty() {
                kept.insert(name, value);
            }
        }
        kept
    }

    fn file(&mut self, path: &str) -> toml::Table {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.problems.push(format!("--config {path}: cannot be read: {error}"));
                return toml::Table::new();
            }
        };
        let table: toml::Table = match toml::from_str(&text) {
            Ok(table) => table,
            // Not the error as a whole: it quotes the line, and the line may hold a secret.
            Err(error) => {
                let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
                let line = before.matches('\n').count() + 1;
                self.problems.push(format!("--config {path}: line {line} is not TOML: {}", error.message()));
                return toml::Table::new();
            }
        };
        let known: Vec<&str> = SETTINGS.iter().flat_map(Setting::toml_keys).collect();
        for (key, value) in &table {
            if known.contains(&key.as_str()) {
                continue;
            }
            let hint = match value {
                toml::Value::Table(_) => "; keys stand at the top level, without tables".to_string(),
                _ => did_you_mean(key, known.iter().copied()),
            };
            self.problems.push(format!("file {path}: key {key} is not known{hint}"));
        }
        table
    }

    fn entry(
        &mut self,
        index: usize,
        flags: &[Given],
        variables: &BTreeMap<String, String>,
        file: &File,
    ) -> Entry {
        let setting = &SETTINGS[index];
        let found = self
            .in_flags(index, flags)
            .or_else(|| self.in_variables(setting, variables))
            .or_else(|| self.in_file(setting, file))
            .or_else(|| ambient(setting, variables));
        let fallback = setting.default_value();
        let Some((texts, source)) = found else {
            let source = Source::Default;
            return Entry { value: fallback, source, broken: false };
        };
        match self.parse(setting, &texts, &source) {
            Some(value) => Entry { value: Some(value), source, broken: false },
            None => Entry { value: fallback, source, broken: true },
        }
    }

    fn in_flags(&mut self, index: usize, flags: &[Given]) -> Option<(Vec<String>, Source)> {
        let given: Vec<&Given> = flags.iter().filter(|it| it.setting == index).collect();
        let first = given.first()?;
        if given.len() > 1 && !SETTINGS[index].kind.repeatable() {
            self.problems.push(format!("flag {} is given more than once; give it once", first.name));
        }
        let texts = given.iter().map(|it| it.text.clone()).collect();
        Some((texts, Source::Flag(first.name.clone())))
    }

    fn in_variables(
        &mut self,
        setting: &Setting,
        variables: &BTreeMap<String, String>,
    ) -> Option<(Vec<String>, Source)> {
        let mut found: Vec<(Vec<String>, String)> = Vec::new();
        for name in setting.variables() {
            if setting.ambient_env == Some(&name) {
                continue;
            }
            if let Some(value) = variables.get(&name) {
                found.push((vec![value.clone()], name));
            } else if setting.kind.repeatable() {
                let items = indexed(&name, variables);
                if !items.is_empty() {
                    found.push((items, format!("{name}__0")));
                }
            }
        }
        let mut found = found.into_iter();
        let (texts, name) = found.next()?;
        for (other, shadowed) in found {
            if other != texts {
                self.warnings.push(format!("environment {shadowed} is ignored: {name} says otherwise"));
            }
        }
        Some((texts, Source::Variable(name)))
    }

    fn in_file(&mut self, setting: &Setting, (table, path): &File) -> Option<(Vec<String>, Source)> {
        let mut keys = setting.toml_keys().filter(|key| table.contains_key(*key));
        let key = keys.next()?;
        if let Some(second) = keys.next() {
            self.problems.push(format!("file {path}: {key} and {second} are the same setting; keep {key}"));
        }
        let source = Source::File { path: path.clone(), key: key.into() };
        match texts_of(table.get(key)?) {
            // An empty array is the empty list, which only a repeatable setting has.
            Some(texts) if !texts.is_empty() || setting.kind.repeatable() => Some((texts, source)),
            _ => {
                self.problems.push(format!("{key} ({source}) must be one number, text or boolean"));
                None
            }
        }
    }

    fn parse(&mut self, setting: &Setting, texts: &[String], source: &Source) -> Option<Value> {
        let mut list = Vec::new();
        let mut single = None;
        let mut sound = true;
        for text in texts {
            match setting.kind.parse(text) {
                Ok(Value::List(items)) => list.extend(items),
                Ok(value) => single = Some(value),
                Err(wrong) => {
                    sound = false;
                    let shown = if setting.secret { "(not shown)".into() } else { excerpt(text) };
                    self.problems.push(format!("{} = {shown} ({source}) {wrong}", setting.key));
                }
            }
        }
        let value = if setting.kind.repeatable() { Some(Value::List(list)) } else { single };
        value.filter(|_| sound)
    }
}

fn ambient(setting: &Setting, variables: &BTreeMap<String, String>) -> Option<(Vec<String>, Source)> {
    let name = setting.ambient_env?;
    let value = variables.get(name)?;
    Some((vec![value.clone()], Source::Variable(name.into())))
}

/// `NAME__0`, `NAME__1`...: how the earlier service's platform writes lists.
fn indexed(name: &str, variables: &BTreeMap<String, String>) -> Vec<String> {
    let mut items: Vec<(u32, &String)> = variables
        .iter()
        .filter_map(|(key, value)| {
            let index = key.strip_prefix(name)?.strip_prefix("__")?.parse().ok()?;
            Some((index, value))
        })
        .collect();
    items.sort_unstable();
    items.into_iter().map(|(_, value)| value.clone()).collect()
}

fn texts_of(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text.clone()]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(on) => Some(vec![on.to_string()]),
        toml::Value::Array(items) => {
            items.iter().map(|it| it.as_str().map(ToString::to_string)).collect::<Option<Vec<_>>>()
        }
        _ => None,
    }
}

fn excerpt(text: &str) -> String {
    const SHOWN: usize = 80;
    let start: String = text.chars().take(SHOWN).collect();
    format!("'{}{}'", start.escape_debug(), if start.len() < text.len() { "..." } else { "" })
}

/// Kubernetes puts the address of every service into every pod of a namespace; a service called
/// `wsm` or `wsm-http` would otherwise keep its own pods from starting.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let by_name = ["_SERVICE_HOST", "_SERVICE_PORT"].iter().any(|it| name.contains(it));
    let by_port = ["_TCP", "_UDP", "_SCTP"].iter().any(|it| {
        name.split_once(it).is_some_and(|(before, _)| {
            before.rsplit_once("_PORT_").is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        })
    });
    by_name || by_port || (is_address && name.ends_with("_PORT"))
}

/// Names of the earlier service that look like ours and mean something else.
const GONE: &[(&str, &str)] = &[
    ("WSM_GRPC_HOST", "set WSM_ADVERTISE=host:port"),
    ("WSM_PEER_DEFAULT_HOST", "set WSM_ADVERTISE=host:port on each instance"),
    ("WSM_PEER_DEFAULT_PORT", "set WSM_ADVERTISE=host:port on each instance"),
];

/// Names of the earlier service that may well be set and change nothing here.
const WITHOUT_EFFECT: &[&str] = &[
    "INSTANCE_DISCOVERY_INTERVAL_SECONDS",
    "INSTANCE_HEARTBEAT_INTERVAL_SECONDS",
    "INSTANCE_STALE_THRESHOLD_SECONDS",
    "OWNERSHIP_MISS_FORWARD_THRESHOLD",
    "VIRTUFIN_API_GRPC_PORT",
    "VIRTUFIN_API_HOST",
    "WEBSOCKETMANAGER_DISCOVERY_INTERVAL_SECONDS",
    "WEBSOCKETMANAGER_HEARTBEAT_INTERVAL_SECONDS",
    "WEBSOCKETMANAGER_STALE_THRESHOLD_SECONDS",
];

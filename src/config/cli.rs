//! The command line. Read by hand, not by a parser library: those stop at the first mistake, and
//! here every mistake of every source is reported at once.

use super::{
    Config, EXIT_BAD_CONFIGURATION, Scope, help, markdown_table,
    nearest::did_you_mean,
    schema::SETTINGS,
    sources::{Environment, Given, Process},
    value::Kind,
};
use std::{collections::VecDeque, io::Write, path::PathBuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Serve,
    Demo,
    /// Print `config.report()`.
    Check,
    Tail(Tail),
    Types(Types),
    Healthcheck {
        /// None: `config.local_url()`.
        url: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// None: `config.local_url()`.
    pub url: Option<String>,
    pub source: TailSource,
    pub from_start: bool,
    pub cursor: Option<String>,
    /// Each message as one line of JSON.
    pub json: bool,
}

/// The schemas are those of the setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Types {
    pub language: Language,
    /// None: standard output.
    pub out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    TypeScript,
    Python,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TailSource {
    Id(String),
    Topic(String),
    /// All of them must match.
    Tags(Vec<(String, String)>),
}

#[derive(Clone, Debug)]
pub struct Invocation {
    pub command: Command,
    pub config: Config,
}

/// Why there is nothing to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Help, version: for standard output, and all is well.
    Text(String),
    /// Every problem that was found.
    Bad(Vec<String>),
}

impl Exit {
    pub fn code(&self) -> u8 {
        match self {
            Exit::Text(_) => 0,
            Exit::Bad(_) => EXIT_BAD_CONFIGURATION,
        }
    }

    /// To standard output or standard error; a closed pipe is nobody's fault.
    pub fn print(&self) {
        let _ = match self {
            Exit::Text(text) => std::io::stdout().write_all(text.as_bytes()),
            Exit::Bad(problems) => {
                let lines: String = problems.iter().map(|it| format!("error: {it}\n")).collect();
                std::io::stderr().write_all(lines.as_bytes())
            }
        };
    }
}

/// The arguments and the environment of this process.
pub fn from_process() -> Result<Invocation, Exit> {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|it| it.to_string_lossy().into_owned()).collect();
    parse(&arguments, &Process)
}

/// `arguments` without the program's name.
pub fn parse(arguments: &[String], environment: &dyn Environment) -> Result<Invocation, Exit> {
    let mut scan = Scan::default();
    scan.run(arguments);
    if scan.has("help") {
        return Err(Exit::Text(help()));
    }
    if scan.has("version") {
        return Err(Exit::Text(format!("websocket-manager {}\n", env!("CARGO_PKG_VERSION"))));
    }
    if scan.has("markdown") {
        return Err(Exit::Text(markdown_table()));
    }
    let command = scan.command();
    let scope = match command {
        Command::Tail(_) | Command::Types(_) | Command::Healthcheck { .. } => Scope::Client,
        Command::Serve | Command::Demo | Command::Check => Scope::Server,
    };
    let loaded = Config::load(&scan.given, environment, scope);
    match loaded {
        Ok(config) if scan.problems.is_empty() => Ok(Invocation { command, config }),
        Ok(_) => Err(Exit::Bad(scan.problems)),
        Err(problems) => Err(Exit::Bad(scan.problems.into_iter().chain(problems).collect())),
    }
}

const COMMANDS: &[&str] = &["serve", "demo", "check", "tail", "types", "healthcheck"];

/// An option that is no setting.
struct Extra {
    name: &'static str,
    takes_text: bool,
    /// The commands that know it; empty for all.
    commands: &'static [&'static str],
}

const fn plain(name: &'static str, takes_text: bool, commands: &'static [&'static str]) -> Extra {
    Extra { name, takes_text, commands }
}

const OPTIONS: &[Extra] = &[
    plain("help", false, &[]),
    plain("version", false, &[]),
    plain("check-config", false, &[]),
    plain("markdown", false, &["check"]),
    plain("url", true, &["tail", "healthcheck"]),
    plain("id", true, &["tail"]),
    plain("topic", true, &["tail"]),
    plain("tag", true, &["tail"]),
    plain("from-start", false, &["tail"]),
    plain("cursor", true, &["tail"]),
    plain("json", false, &["tail"]),
    plain("lang", true, &["types"]),
    plain("out", true, &["types"]),
];

#[derive(Default)]
struct Scan {
    command: Option<String>,
    given: Vec<Given>,
    options: Vec<(&'static str, String)>,
    problems: Vec<String>,
}

/// What a flag's name stands for.
enum Meaning {
    Setting(usize),
    Option(&'static Extra),
}

impl Scan {
    fn run(&mut self, arguments: &[String]) {
        let mut rest: VecDeque<&str> = arguments.iter().map(String::as_str).collect();
        while let Some(argument) = rest.pop_front() {
            if let Some(long) = argument.strip_prefix("--") {
                let (name, text) = match long.split_once('=') {
                    Some((name, text)) => (name, Some(text)),
                    None => (long, None),
                };
                self.flag(&format!("--{name}"), meaning(name), text, &mut rest);
            } else if let Some(short) = argument.strip_prefix('-').filter(|it| !it.is_empty()) {
                self.short(short, &mut rest);
            } else {
                self.word(argument);
            }
        }
    }

    /// `-s 80`, `-s80`, `-s=80`.
    fn short(&mut self, short: &str, rest: &mut VecDeque<&str>) {
        let letter = short.chars().next().unwrap_or('-');
        let after = &short[letter.len_utf8()..];
        let after = (!after.is_empty()).then(|| after.strip_prefix('=').unwrap_or(after));
        let long = match letter {
            'h' | '?' => Some("help"),
            'V' => Some("version"),
            _ => None,
        };
        let setting = SETTINGS.iter().position(|it| it.short == Some(letter)).map(Meaning::Setting);
        self.flag(&format!("-{letter}"), long.and_then(meaning).or(setting), after, rest);
    }

    fn flag(&mut self, typed: &str, meaning: Option<Meaning>, text: Option<&str>, rest: &mut VecDeque<&str>) {
        // A missing value must not swallow the next flag; ids and cursors may begin with one dash.
        let own = matches!(meaning, Some(Meaning::Setting(_)));
        let take = || match rest.front() {
            Some(next) if next.starts_with("--") || (own && is_short(next)) => None,
            _ => rest.pop_front().map(String::from),
        };
        match meaning {
            // It may stand alone, so a word after it is not its value.
            Some(Meaning::Setting(setting)) if matches!(SETTINGS[setting].kind, Kind::Switch) => {
                let text = text.unwrap_or("true").to_string();
                self.given.push(Given { setting, name: typed.into(), text });
            }
            Some(Meaning::Setting(setting)) => match text.map(String::from).or_else(take) {
                Some(text) => self.given.push(Given { setting, name: typed.into(), text }),
                None => {
                    let wanted = SETTINGS[setting].kind.placeholder();
                    self.problems.push(format!("flag {typed} needs a value: {typed} {wanted}"));
                }
            },
            Some(Meaning::Option(option)) if option.takes_text => {
                match text.map(String::from).or_else(take) {
                    Some(text) if !text.is_empty() => self.options.push((option.name, text)),
                    _ => self.problems.push(format!("flag {typed} needs a value")),
                }
            }
            Some(Meaning::Option(option)) => match text {
                None => self.options.push((option.name, String::new())),
                Some(_) => self.problems.push(format!("flag {typed} takes no value")),
            },
            None => {
                let known = SETTINGS.iter().map(|it| format!("--{}", it.flag()));
                let known: Vec<String> =
                    known.chain(OPTIONS.iter().map(|it| format!("--{}", it.name))).collect();
                let hint = did_you_mean(typed, known.iter().map(String::as_str));
                self.problems.push(format!("flag {typed} is not known{hint}"));
                // What follows is most likely its value, and no mistake of its own.
                if rest.front().is_some_and(|it| !it.starts_with('-') && !COMMANDS.contains(it)) {
                    rest.pop_front();
                }
            }
        }
    }

    fn word(&mut self, word: &str) {
        if !COMMANDS.contains(&word) {
            let hint = did_you_mean(word, COMMANDS.iter().copied());
            let commands = COMMANDS.join(", ");
            self.problems.push(format!("command '{word}' is not known{hint}; the commands are {commands}"));
        } else if let Some(first) = &self.command {
            self.problems.push(format!("commands {first} and {word} exclude one another; give one"));
        } else {
            self.command = Some(word.into());
        }
    }

    fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(option, _)| *option == name)
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.options.iter().filter(|(option, _)| *option == name).map(|(_, text)| text.clone()).collect()
    }

    fn one(&mut self, name: &str) -> Option<String> {
        let mut all = self.all(name);
        if all.len() > 1 {
            self.problems.push(format!("flag --{name} is given more than once; give it once"));
        }
        all.pop()
    }

    fn command(&mut self) -> Command {
        let name = self.command.clone().unwrap_or_else(|| "serve".into());
        for option in OPTIONS {
            if self.has(option.name)
                && !option.commands.is_empty()
                && !option.commands.contains(&name.as_str())
            {
                let commands = option.commands.join(" and ");
                self.problems.push(format!("flag --{} belongs to {commands}, not to {name}", option.name));
            }
        }
        let command = match name.as_str() {
            "demo" => Command::Demo,
            "check" => Command::Check,
            "tail" => self.tail(),
            "types" => self.types(),
            "healthcheck" => Command::Healthcheck { url: self.url() },
            _ => Command::Serve,
        };
        if self.has("check-config") { Command::Check } else { command }
    }

    fn tail(&mut self) -> Command {
        let (id, topic, tags) = (self.one("id"), self.one("topic"), self.all("tag"));
        let chosen = usize::from(id.is_some()) + usize::from(topic.is_some()) + usize::from(!tags.is_empty());
        if chosen != 1 {
            self.problems.push("tail needs one of --id ID, --topic TOPIC and --tag KEY=VALUE".into());
        }
        let mut pairs = Vec::new();
        for tag in &tags {
            match tag.split_once('=').filter(|(key, _)| !key.is_empty()) {
                Some((key, value)) => pairs.push((key.into(), value.into())),
                None => self.problems.push(format!("flag --tag '{}' is not KEY=VALUE", tag.escape_debug())),
            }
        }
        let from_start = self.has("from-start");
        let cursor = self.one("cursor");
        if from_start && cursor.is_some() {
            self.problems.push("--from-start and --cursor exclude one another; give one".into());
        }
        let source = match (id, topic) {
            (Some(id), _) => TailSource::Id(id),
            (None, Some(topic)) => TailSource::Topic(topic),
            (None, None) => TailSource::Tags(pairs),
        };
        Command::Tail(Tail { url: self.url(), source, from_start, cursor, json: self.has("json") })
    }

    fn types(&mut self) -> Command {
        let language = match self.one("lang").as_deref() {
            Some("python") => Language::Python,
            Some("typescript") => Language::TypeScript,
            given => {
                let wrong =
                    if given.is_some() { "flag --lang is not known" } else { "types needs a language" };
                self.problems.push(format!("{wrong}; give --lang typescript or --lang python"));
                Language::TypeScript
            }
        };
        Command::Types(Types { language, out: self.one("out").map(PathBuf::from) })
    }

    fn url(&mut self) -> Option<String> {
        let url = self.one("url")?;
        let sound = url::Url::parse(&url).is_ok_and(|it| {
            matches!(it.scheme(), "http" | "https" | "grpc" | "grpcs") && it.host_str().is_some()
        });
        if !sound {
            self.problems.push("flag --url is not an address; give one such as http://127.0.0.1:5001".into());
        }
        Some(url)
    }
}

fn meaning(name: &str) -> Option<Meaning> {
    let option = OPTIONS.iter().find(|it| it.name == name).map(Meaning::Option);
    option.or_else(|| SETTINGS.iter().position(|it| it.flag() == name).map(Meaning::Setting))
}

fn is_short(argument: &str) -> bool {
    argument.strip_prefix('-').is_some_and(|it| it.starts_with(|c: char| c.is_ascii_alphabetic()))
}

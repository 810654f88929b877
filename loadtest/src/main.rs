//! Arguments to scenarios to a report to an exit code.

use loadtest::{
    options::{self, Options},
    peers,
    report::{Report, json, table},
    scenarios::{self, SCENARIOS, Scenario},
    stage::Stage,
    stop,
    trouble::{EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, Result, Trouble},
    upstream, watch,
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    stop::listen();
    match dispatch(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(trouble) => {
            eprintln!("loadtest: {trouble}");
            ExitCode::from(trouble.code())
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<u8> {
    match arguments.first().map(String::as_str) {
        None => {
            eprint!("{}\n{}", options::help(), list());
            Ok(EXIT_USAGE)
        }
        Some("--help" | "-h" | "help") => {
            print!("{}\n{}", options::help(), list());
            Ok(EXIT_OK)
        }
        Some("--list") => {
            print!("{}", list());
            Ok(EXIT_OK)
        }
        Some("watch") => watch::run(&arguments[1..]),
        // What a scenario starts beside the service: this program again.
        Some("upstream") => upstream::server::main(&arguments[1..]).map(|()| EXIT_OK),
        Some("peer") => peers::serve(arguments.get(1).map_or("", String::as_str)).map(|()| EXIT_OK),
        Some(_) => run(Options::parse(arguments)?, arguments),
    }
}

fn list() -> String {
    let width = scenarios::every().map(|it| it.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for scenario in scenarios::every() {
        text += &format!("{:<width$}  {}\n", scenario.name, scenario.shows);
    }
    text + &format!("{:<width$}  every one of them but the endless, and each goal with its figure\n", "all")
}

fn wanted(name: &str) -> Result<Vec<&'static Scenario>> {
    if name == "all" {
        return Ok(SCENARIOS.iter().filter(|it| it.in_all).collect());
    }
    if name.is_empty() {
        return Err(Trouble::Usage(format!("which scenario?\n{}", list())));
    }
    scenarios::find(name).map(|it| vec![it]).ok_or_else(|| {
        let near =
            scenarios::nearest(name).map_or(String::new(), |near| format!(" (did you mean '{near}'?)"));
        Trouble::Usage(format!("there is no scenario '{name}'{near}; there are:\n{}", list()))
    })
}

fn run(options: Options, arguments: &[String]) -> Result<u8> {
    let wanted = wanted(&options.scenario)?;
    let alone = wanted.len() == 1;
    if let [one] = wanted.as_slice() {
        options.only(one.name, one.takes)?;
    }
    let mut report = Report::new(&options.scenario, arguments);
    let stage = Stage::new(options)?;
    writable(&results(&stage))?;
    for scenario in wanted {
        if stop::asked() {
            report.left_out.push((scenario.name.to_owned(), "interrupted".to_owned()));
            continue;
        }
        stage.progress.say(scenario.name);
        match (scenario.run)(&stage) {
            Ok(outcome) => report.outcomes.push(outcome),
            Err(trouble) if alone && !stop::asked() => return Err(trouble),
            Err(trouble) => report.left_out.push((scenario.name.to_owned(), trouble.to_string())),
        }
    }
    finish(&stage, &report)
}

/// Where reports go.
fn results(stage: &Stage) -> PathBuf {
    let usual = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("results");
    stage.options.out.clone().unwrap_or_else(usual)
}

/// Tried before anything starts: minutes later it would be too late.
fn writable(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder)).map(drop).map_err(|error| {
        Trouble::Usage(format!(
            "--out: no report can be written to {}: {error}; name a folder that is yours",
            folder.display()
        ))
    })
}

fn finish(stage: &Stage, report: &Report) -> Result<u8> {
    stage.progress.clear();
    if stage.options.json {
        print!("{}", json::render(report));
    } else {
        print!("{}", table::render(report));
    }
    let folder = report.write(&results(stage))?;
    eprintln!("report: {}", folder.join("report.html").display());
    if stop::asked() {
        return Ok(EXIT_INTERRUPTED);
    }
    let well = report.left_out.is_empty() && report.outcomes.iter().all(|it| it.is_well());
    Ok(if well { EXIT_OK } else { EXIT_FAILED })
}

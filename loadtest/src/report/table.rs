//! The report as text.

use super::{Outcome, Report, Table};
use crate::{
    clock::human,
    goals::{self, GOALS},
};

#[must_use]
pub fn render(report: &Report) -> String {
    let mut text = format!("{}\n{}\n{}\n", report.command, report.machine, report.begun);
    for outcome in &report.outcomes {
        text += &scenario(outcome);
    }
    text + &promises(report)
}

fn scenario(outcome: &Outcome) -> String {
    let mut text = format!(
        "\n== {}{}\n",
        outcome.scenario,
        if outcome.partial { " (partial: interrupted)" } else { "" }
    );
    let facts: Vec<String> = outcome.facts.iter().map(|(name, value)| format!("{name} {value}")).collect();
    if !facts.is_empty() {
        text += &format!("   {}\n", facts.join(", "));
    }
    if !outcome.operations.is_empty() {
        text += &grid(&latencies(outcome));
    }
    if !outcome.processes.is_empty() {
        text += &grid(&processes(outcome));
    }
    for table in &outcome.tables {
        text += &format!("   {}\n{}", table.title, grid(table));
    }
    if let Some(lag) = outcome.behind {
        text += &format!("   schedule: {}\n", lag.says());
    }
    if let Some(noise) = &outcome.noise {
        text += &format!("   noise: {}\n", noise.says());
    }
    for check in &outcome.books {
        let verdict = if check.balances() { "balance" } else { "DO NOT BALANCE" };
        text += &format!("   books {verdict}: {}: {}\n", check.name, check.terms);
    }
    for operation in &outcome.operations {
        for (why, count) in &operation.failures {
            text += &format!("   {} failed {count} times: {why}\n", operation.name);
        }
    }
    for note in &outcome.notes {
        text += &format!("   {note}\n");
    }
    for failure in &outcome.failures {
        text += &format!("   FAILED: {failure}\n");
    }
    text
}

#[must_use]
pub fn latencies(outcome: &Outcome) -> Table {
    let mut table = Table::new(
        "Latency from the due time",
        &["operation", "done", "failed", "a second", "p50", "p90", "p99", "p99.9", "max"],
    );
    for operation in &outcome.operations {
        let at = |quantile| human(operation.at(quantile));
        table.row(&[
            operation.name.to_owned(),
            operation.done().to_string(),
            operation.failed().to_string(),
            format!("{:.0}", outcome.rate(operation)),
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            human(operation.histogram.max()),
        ]);
    }
    table
}

#[must_use]
pub fn processes(outcome: &Outcome) -> Table {
    let mut table = Table::new("Processes", &["process", "cores", "CPU s", "RSS MiB", "of that its own MiB"]);
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / (1 << 20) as f64);
    for process in &outcome.processes {
        let memory = process.memory_max();
        table.row(&[
            process.name.clone(),
            format!("{:.2}", process.cores(outcome.nanos)),
            format!("{:.2}", process.cpu_nanos as f64 / 1e9),
            mib(memory.resident),
            mib(memory.anonymous),
        ]);
    }
    table
}

/// Every goal whose figure was to be measured here, with it; with `all`, every goal there is.
#[must_use]
pub fn goals(report: &Report) -> Table {
    let mut table = Table::new("Goals", &["goal", "bound", "figure", "verdict"]);
    let reached: Vec<_> = report.outcomes.iter().flat_map(|outcome| &outcome.goals).collect();
    for goal in GOALS {
        let mine: Vec<_> = reached.iter().filter(|it| it.id == goal.id).collect();
        for it in &mine {
            let goal = goals::of(it.id);
            let verdict = if it.met { "met" } else { "MISSED" };
            table.row(&[goal.what.into(), goal.bound.into(), it.figure.clone(), verdict.into()]);
        }
        let told = report.outcomes.iter().flat_map(|it| &it.unmeasured).find(|it| it.0 == goal.id);
        if mine.is_empty() && (told.is_some() || report.title == "all") {
            let left_out = report.left_out.iter().find(|it| it.0 == goal.scenario);
            let why = told.map(|it| &*it.1).or(left_out.map(|it| &*it.1));
            let why = why.unwrap_or("the scenario gave no figure");
            table.row(&[goal.what.into(), goal.bound.into(), format!("not measured: {why}"), "-".into()]);
        }
    }
    table
}

fn promises(report: &Report) -> String {
    let table = goals(report);
    let mut text = String::new();
    if !table.rows.is_empty() {
        text += &format!("\n== goals\n{}", grid(&table));
    }
    for (scenario, why) in &report.left_out {
        text += &format!("   {scenario} was left out: {why}\n");
    }
    text
}

/// Columns as wide as their widest cell; the first to the left, numbers to the right.
fn grid(table: &Table) -> String {
    let rows: Vec<&Vec<String>> = std::iter::once(&table.head).chain(&table.rows).collect();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let numbers = |column: usize| {
        let looks = |cell: &String| cell.starts_with(|it: char| it.is_ascii_digit() || it == '-');
        column > 0
            && table.rows.iter().filter_map(|row| row.get(column)).all(|cell| looks(cell) && cell.len() < 16)
    };
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(column, cell)| {
                let pad = " ".repeat(width(column) - cell.chars().count());
                if numbers(column) { format!("{pad}{cell}") } else { format!("{cell}{pad}") }
            })
            .collect();
        text += &format!("   {}\n", cells.join("  ").trim_end());
    }
    text
}

//! The report as one page that needs nothing else: tables, and charts in inline SVG.

use super::{
    Outcome, Report, Table,
    chart::{self, Chart, Scale},
    json::QUANTILES,
    table,
};
use crate::clock::human;

const STYLE: &str = include_str!("page.css");

#[must_use]
pub fn render(report: &Report) -> String {
    let mut body = format!(
        "<h1>{}</h1><p class=\"facts\"><code>{}</code><br>{}<br>{}</p>",
        escape(&report.title),
        escape(&report.command),
        escape(&report.machine),
        escape(&report.begun)
    );
    let goals = table::goals(report);
    if !goals.rows.is_empty() {
        body += &grid(&goals);
    }
    for (scenario, why) in &report.left_out {
        body += &format!("<p class=\"bad\">{} was left out: {}</p>", escape(scenario), escape(why));
    }
    if report.outcomes.len() > 1 {
        let links = report.outcomes.iter().map(|it| {
            let name = escape(&it.scenario);
            format!("<a href=\"#{name}\">{name}</a>")
        });
        body += &format!("<nav>{}</nav>", links.collect::<Vec<_>>().join(" "));
    }
    for outcome in &report.outcomes {
        body += &scenario(outcome);
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>loadtest {}</title>\
         <style>{STYLE}</style></head><body>{body}</body></html>\n",
        escape(&report.title)
    )
}

fn scenario(outcome: &Outcome) -> String {
    let name = escape(&outcome.scenario);
    let mut text = format!("<section id=\"{name}\"><h2>{name}</h2>");
    if outcome.partial {
        text += "<p class=\"bad\">Partial: it was interrupted.</p>";
    }
    for failure in &outcome.failures {
        text += &format!("<p class=\"bad\">{}</p>", escape(failure));
    }
    let facts = outcome.facts.iter().map(|(name, value)| format!("{} {}", escape(name), escape(value)));
    text += &format!("<p class=\"facts\">{}</p>", facts.collect::<Vec<_>>().join(", "));
    if !outcome.operations.is_empty() {
        text += &grid(&table::latencies(outcome));
        text += &format!(
            "<div class=\"charts\">{}{}{}</div>",
            percentiles(outcome),
            throughput(outcome),
            tail(outcome)
        );
    }
    if !outcome.processes.is_empty() {
        text += &grid(&table::processes(outcome));
        text += &format!("<div class=\"charts\">{}{}</div>", cpu(outcome), memory(outcome));
    }
    text += &outcome.tables.iter().map(grid).collect::<String>();
    text += &words(outcome);
    text + "</section>"
}

/// Schedule, noise, books, reasons of failures and notes.
fn words(outcome: &Outcome) -> String {
    let mut lines = Vec::new();
    if let Some(lag) = outcome.behind {
        lines.push(format!("Schedule: {}.", lag.says()));
    }
    if let Some(noise) = &outcome.noise {
        lines.push(format!("The machine's own noise: {}.", noise.says()));
    }
    for operation in &outcome.operations {
        for (why, count) in &operation.failures {
            lines.push(format!("{} failed {count} times: {why}", operation.name));
        }
    }
    lines.extend(outcome.notes.iter().cloned());
    let mut text: String = lines.iter().map(|line| format!("<p>{}</p>", escape(line))).collect();
    if !outcome.books.is_empty() {
        let mut books = Table::new("Books", &["what", "terms", "verdict"]);
        for check in &outcome.books {
            let verdict = if check.balances() { "balance" } else { "DO NOT BALANCE" };
            books.row(&[check.name.clone(), check.terms.clone(), verdict.to_owned()]);
        }
        text += &grid(&books);
    }
    text
}

/// How far out in the tail: 90 % is 1, 99 % is 2, 99.9 % is 3.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(1e-5).log10()
}

fn percentiles(outcome: &Outcome) -> String {
    let mut chart = Chart::new("Latency by percentile", Scale::Logarithmic, human);
    chart.across = vec![
        (0.0, "0".to_owned()),
        (nines(0.5), "50 %".to_owned()),
        (nines(0.9), "90 %".to_owned()),
        (nines(0.99), "99 %".to_owned()),
        (nines(0.999), "99.9 %".to_owned()),
        (nines(0.9999), "99.99 %".to_owned()),
        (5.0, "100 %".to_owned()),
    ];
    for operation in outcome.operations.iter().filter(|it| it.done() > 0) {
        let points = QUANTILES.iter().map(|it| (nines(*it), operation.at(*it).max(1) as f64));
        chart.line(operation.name, points.collect());
    }
    chart.render()
}

fn plain(value: u64) -> String {
    match value {
        0..10_000 => value.to_string(),
        10_000..10_000_000 => format!("{:.0} k", value as f64 / 1e3),
        _ => format!("{:.1} M", value as f64 / 1e6),
    }
}

fn throughput(outcome: &Outcome) -> String {
    let mut chart = Chart::new("Done a second", Scale::Linear, plain);
    for operation in &outcome.operations {
        let points = operation.seconds.iter().map(|it| (it.at as f64, it.done as f64));
        chart.line(operation.name, points.collect());
    }
    chart.over_time().render()
}

fn tail(outcome: &Outcome) -> String {
    let mut chart = Chart::new("p50 and p99 over time", Scale::Logarithmic, human);
    for operation in outcome.operations.iter().take(chart::LINES_MAX / 2) {
        let line = |part: fn(&crate::record::Moment) -> u64| {
            let seconds = operation.seconds.iter().filter(|it| it.done > 0);
            seconds.map(|it| (it.at as f64, part(it).max(1) as f64)).collect()
        };
        chart.line(&format!("{} p50", operation.name), line(|it| it.p50));
        chart.line(&format!("{} p99", operation.name), line(|it| it.p99));
    }
    chart.over_time().render()
}

fn cpu(outcome: &Outcome) -> String {
    let mut chart = Chart::new("Cores in use", Scale::Linear, |milli| format!("{:.2}", milli as f64 / 1e3));
    for process in &outcome.processes {
        chart.line(&process.name, process.moments.iter().map(|it| (it.at, it.cores * 1e3)).collect());
    }
    chart.over_time().render()
}

fn memory(outcome: &Outcome) -> String {
    // In tenths of a MiB, so that the rules are at round figures.
    let mut chart =
        Chart::new("Memory of its own", Scale::Linear, |tenths| format!("{:.1} MiB", tenths as f64 / 10.0));
    let tenths = f64::from(1 << 20) / 10.0;
    for process in &outcome.processes {
        let points = process.moments.iter().map(|it| (it.at, it.memory.anonymous as f64 / tenths));
        chart.line(&process.name, points.collect());
    }
    chart.over_time().render()
}

fn grid(table: &Table) -> String {
    let cell = |text: &String| {
        let bad = if matches!(text.as_str(), "MISSED" | "DO NOT BALANCE") { " class=\"bad\"" } else { "" };
        format!("<td{bad}>{}</td>", escape(text))
    };
    let head: String = table.head.iter().map(|it| format!("<th>{}</th>", escape(it))).collect();
    let rows: String = table
        .rows
        .iter()
        .map(|row| format!("<tr>{}</tr>", row.iter().map(cell).collect::<String>()))
        .collect();
    format!(
        "<h3>{}</h3><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>",
        escape(&table.title)
    )
}

#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

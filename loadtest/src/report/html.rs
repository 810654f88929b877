//! The report as one page that needs nothing else: tables, and charts in inline SVG.

use super::{Outcome, Report, Table, table};

#[must_use]
pub fn render(report: &Report) -> String {
    let mut body = format!(
        "<h1>{}</h1><p><code>{}</code><br>{}<br>{}</p>",
        escape(&report.title),
        escape(&report.command),
        escape(&report.machine),
        escape(&report.begun)
    );
    let goals = table::goals(report);
    if !goals.rows.is_empty() {
        body += &grid(&goals);
    }
    for outcome in &report.outcomes {
        body += &scenario(outcome);
    }
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{}</title>{body}</html>\n",
        escape(&report.title)
    )
}

fn scenario(outcome: &Outcome) -> String {
    let mut text = format!("<section><h2>{}</h2>", escape(&outcome.scenario));
    text += &grid(&table::latencies(outcome));
    text + "</section>"
}

fn grid(table: &Table) -> String {
    let cells = |row: &[String], tag: &str| -> String {
        row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect()
    };
    let rows: String = table.rows.iter().map(|row| format!("<tr>{}</tr>", cells(row, "td"))).collect();
    format!(
        "<h3>{}</h3><table><thead><tr>{}</tr></thead><tbody>{rows}</tbody></table>",
        escape(&table.title),
        cells(&table.head, "th")
    )
}

#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

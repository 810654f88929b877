//! The report for programs.

use super::{Outcome, Report};
use crate::{goals, record::Operation};
use serde_json::{Value, json};

#[must_use]
pub fn value(report: &Report) -> Value {
    json!({
        "title": report.title,
        "command": report.command,
        "machine": report.machine,
        "begun": report.begun,
        "scenarios": report.outcomes.iter().map(scenario).collect::<Vec<_>>(),
        "leftOut": report.left_out.iter().map(|it| json!({"scenario": it.0, "why": it.1})).collect::<Vec<_>>(),
    })
}

#[must_use]
pub fn render(report: &Report) -> String {
    format!("{:#}\n", value(report))
}

fn scenario(outcome: &Outcome) -> Value {
    let processes = outcome.processes.iter().map(|it| {
        json!({
            "name": it.name,
            "cpuSeconds": it.cpu_nanos as f64 / 1e9,
            "cores": it.cores(outcome.nanos),
            "residentBytes": it.memory_max().resident,
            "anonymousBytes": it.memory_max().anonymous,
            "seconds": it.moments.iter().map(|it| json!({
                "at": it.at, "cores": it.cores, "residentBytes": it.memory.resident,
                "anonymousBytes": it.memory.anonymous,
            })).collect::<Vec<_>>(),
        })
    });
    json!({
        "scenario": outcome.scenario,
        "partial": outcome.partial,
        "seconds": outcome.nanos as f64 / 1e9,
        "facts": outcome.facts.iter().cloned().map(|(name, value)| (name, json!(value))).collect::<serde_json::Map<_, _>>(),
        "operations": outcome.operations.iter().map(|it| operation(outcome, it)).collect::<Vec<_>>(),
        "processes": processes.collect::<Vec<_>>(),
        "schedule": outcome.behind.map(|it| json!({
            "issued": it.issued, "late": it.late, "meanNanos": it.mean, "maxNanos": it.max,
            "never": it.never,
        })),
        "noiseNanos": outcome.noise.map(|it| json!({
            "p50": it.p50, "p99": it.p99, "p999": it.p999, "max": it.max, "longestGap": it.longest_gap,
        })),
        "books": outcome.books.iter().map(|it| json!({
            "name": it.name, "left": it.left, "right": it.right, "terms": it.terms, "balance": it.balances(),
        })).collect::<Vec<_>>(),
        "tables": outcome.tables.iter().map(|it| json!({
            "title": it.title, "head": it.head, "rows": it.rows,
        })).collect::<Vec<_>>(),
        "data": outcome.data,
        "goals": outcome.goals.iter().map(|it| json!({
            "goal": goals::of(it.id).what, "bound": goals::of(it.id).bound, "figure": it.figure, "met": it.met,
        })).collect::<Vec<_>>(),
        "unmeasured": outcome.unmeasured.iter().map(|it| json!({
            "goal": goals::of(it.0).what, "why": it.1,
        })).collect::<Vec<_>>(),
        "notes": outcome.notes,
        "failures": outcome.failures,
    })
}

/// Enough quantiles to draw the curve, closer together towards its end.
pub const QUANTILES: &[f64] = &[
    0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99, 0.995, 0.9975,
    0.999, 0.9995, 0.9999, 0.99995, 0.99999, 1.0,
];

fn operation(outcome: &Outcome, operation: &Operation) -> Value {
    json!({
        "name": operation.name,
        "done": operation.done(),
        "failed": operation.failed(),
        "warm": operation.warm,
        "perSecond": outcome.rate(operation),
        "failures": operation.failures,
        "quantileNanos": QUANTILES.iter()
            .map(|quantile| json!([quantile, operation.at(*quantile)])).collect::<Vec<_>>(),
        "seconds": operation.seconds.iter().map(|it| json!({
            "at": it.at, "done": it.done, "failed": it.failed, "p50": it.p50, "p99": it.p99, "max": it.max,
        })).collect::<Vec<_>>(),
    })
}

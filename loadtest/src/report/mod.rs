//! What came out, in three forms: a table for the terminal, JSON for programs, a page for people.

pub mod chart;
pub mod html;
pub mod json;
pub mod table;

use crate::{
    books::Check,
    goals::{self, Reached},
    noise::Noise,
    record::Operation,
    sample::Use,
    schedule::Lag,
    trouble::Result,
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// What one scenario found.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub scenario: String,
    /// What was asked for: connections, rates, sizes, cores.
    pub facts: Vec<(String, String)>,
    pub operations: Vec<Operation>,
    /// Nanoseconds that were measured.
    pub nanos: u64,
    pub processes: Vec<Use>,
    pub behind: Option<Lag>,
    pub books: Vec<Check>,
    pub tables: Vec<Table>,
    /// The figures of the tables, for programs; null where there is nothing but what stands elsewhere.
    pub data: serde_json::Value,
    pub goals: Vec<Reached>,
    /// Goals that this was to measure and did not, with the reason.
    pub unmeasured: Vec<(goals::Id, String)>,
    pub notes: Vec<String>,
    pub noise: Option<Noise>,
    /// What went wrong, in so many words; empty is well.
    pub failures: Vec<String>,
    /// Ended by Ctrl-C.
    pub partial: bool,
}

/// Figures that are no latencies.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub title: String,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    #[must_use]
    pub fn new(title: &str, head: &[&str]) -> Self {
        Table {
            title: title.to_owned(),
            head: head.iter().map(|it| (*it).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: &[String]) {
        self.rows.push(cells.to_vec());
    }
}

impl Outcome {
    #[must_use]
    pub fn new(scenario: &str) -> Self {
        Outcome { scenario: scenario.to_owned(), ..Outcome::default() }
    }

    pub fn fact(&mut self, name: &str, value: impl ToString) {
        self.facts.push((name.to_owned(), value.to_string()));
    }

    /// No failures, no goal missed, all of the schedule issued, and books that balance.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.failures.is_empty()
            && self.behind.is_none_or(|lag| lag.never == 0)
            && self.books.iter().all(Check::balances)
            && self.goals.iter().all(|goal| goal.met)
    }

    /// Operations that succeeded in a second of what was measured.
    #[must_use]
    pub fn rate(&self, operation: &Operation) -> f64 {
        operation.in_time as f64 / (self.nanos.max(1) as f64 / 1e9)
    }
}

/// A whole run: what was asked for, the machine, and each scenario's outcome.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub title: String,
    pub command: String,
    pub machine: String,
    pub begun: String,
    pub outcomes: Vec<Outcome>,
    /// Scenarios that could not be run, with the reason.
    pub left_out: Vec<(String, String)>,
}

impl Report {
    #[must_use]
    pub fn new(title: &str, arguments: &[String]) -> Self {
        Report {
            title: title.to_owned(),
            command: format!("loadtest/run {}", arguments.join(" ")),
            machine: machine(),
            begun: utc(SystemTime::now()),
            ..Report::default()
        }
    }

    /// The folder that it was written to.
    pub fn write(&self, under: &Path) -> Result<PathBuf> {
        let stamp: String = self.begun.chars().filter(char::is_ascii_alphanumeric).collect();
        let mut folder = under.join(format!("{stamp}-{}", self.title));
        let mut again = 1;
        while folder.exists() {
            again += 1;
            folder = under.join(format!("{stamp}-{}-{again}", self.title));
        }
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("report.json"), json::render(self))?;
        fs::write(folder.join("report.html"), html::render(self))?;
        fs::write(folder.join("report.txt"), table::render(self))?;
        Ok(folder)
    }
}

/// What figures depend on.
fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|it| it.1));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    format!(
        "{} cores for this process, {}, {} GiB, Linux {}",
        crate::pin::allowed().len(),
        model.unwrap_or("unknown CPU"),
        kib.unwrap_or(0) / (1 << 20),
        kernel.trim()
    )
}

/// `2026-11-21T13:40:50Z`.
#[must_use]
pub fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Civil from days, with years that begin in March.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year_of_era + era * 400 + carry;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_795_268_450), "2026-11-21T13:40:50Z");
    }
}

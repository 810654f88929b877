//! What can be run. Each scenario starts what it needs, loads it, and ends it.

use crate::{report::Outcome, stage::Stage, tools, trouble::Result};

pub struct Scenario {
    pub name: &'static str,
    pub shows: &'static str,
    pub run: fn(&Stage) -> Result<Outcome>,
    /// Whether `all` has it.
    pub in_all: bool,
}

pub mod lanes;
pub mod sends;

pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "send-stream",
    shows: "correlated Sends over SendStream: each waits for the upstream's echo",
    run: sends::stream,
    in_all: true,
}];

/// Ours, and other people's tools.
pub fn every() -> impl Iterator<Item = &'static Scenario> {
    SCENARIOS.iter().chain(tools::SCENARIOS)
}

#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    every().find(|scenario| scenario.name == name)
}

/// The name that a slip of the finger may have meant.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    let names = every().map(|scenario| scenario.name).chain(["all"]);
    names.map(|known| (distance(name, known), known)).filter(|it| it.0 <= 3).min().map(|it| it.1)
}

/// Letters to put in, take out or change.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate().map(|(at, letter)| (at + 1, letter)) {
        let mut corner = row[0];
        row[0] = at;
        for (place, against) in other.iter().enumerate().map(|(place, it)| (place + 1, it)) {
            let changed = corner + usize::from(letter != *against);
            corner = row[place];
            row[place] = changed.min(row[place] + 1).min(row[place - 1] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_understood() {
        assert_eq!(nearest("send-stram"), Some("send-stream"));
        assert_eq!(nearest("al"), Some("all"));
        assert_eq!(nearest("something-else"), None);
    }
}

//! The service's own counters, in Prometheus' text format, and whether its books balance.

use std::collections::BTreeMap;

/// Samples by name; labels as they stand, `shard="0",outcome="replied"`.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    samples: BTreeMap<String, Vec<(String, f64)>>,
}

impl Scrape {
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut samples: BTreeMap<String, Vec<(String, f64)>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            // Values hold no space, and labels hold none after the brace.
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            samples
                .entry(name.to_owned())
                .or_default()
                .push((labels.trim_end_matches('}').to_owned(), value));
        }
        Scrape { samples }
    }

    /// Over all labels; a metric that is not there is 0.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        self.sum_where(name, "")
    }

    /// Of the samples that have this label: `outcome="replied"`.
    #[must_use]
    pub fn sum_where(&self, name: &str, label: &str) -> f64 {
        self.samples
            .get(name)
            .map_or(0.0, |all| all.iter().filter(|it| it.0.contains(label)).map(|it| it.1).sum())
    }

    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.samples.contains_key(name)
    }

    /// The values of one label with their sums, such as drops by reason; those that are 0 are left out.
    #[must_use]
    pub fn by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut found = BTreeMap::new();
        for (labels, value) in self.samples.get(name).into_iter().flatten() {
            let begin = format!("{label}=\"");
            let Some(at) = labels.find(&begin) else { continue };
            let rest = &labels[at + begin.len()..];
            let name = rest.split('"').next().unwrap_or_default();
            if *value != 0.0 {
                *found.entry(name.to_owned()).or_default() += value;
            }
        }
        found
    }
}

/// One equation of the books, with its terms as they were found.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    pub name: String,
    pub left: f64,
    pub right: f64,
    pub terms: String,
}

impl Check {
    #[must_use]
    pub fn new(name: &str, left: (&str, f64), right: &[(String, f64)]) -> Self {
        let terms: Vec<String> = right.iter().map(|(name, value)| format!("{value} {name}")).collect();
        Check {
            name: name.to_owned(),
            left: left.1,
            right: right.iter().map(|it| it.1).sum(),
            terms: format!("{} {} = {}", left.1, left.0, terms.join(" + ")),
        }
    }

    #[must_use]
    pub fn balances(&self) -> bool {
        (self.left - self.right).abs() < 0.5
    }
}

/// The three sums that the service promises at every scrape.
#[must_use]
pub fn books(scrape: &Scrape) -> Vec<Check> {
    let sends = Check::new(
        "Sends",
        ("accepted", scrape.sum("wsm_sends_accepted_total")),
        &parts(scrape, "wsm_sends_ended_total", "outcome", &[("in flight", "wsm_sends_in_flight")]),
    );
    let numbered = scrape.sum("wsm_messages_numbered_total") + scrape.sum("wsm_publish_restored_total");
    let messages = Check::new(
        "messages",
        ("numbered", numbered),
        &parts(
            scrape,
            "wsm_messages_dropped_total",
            "reason",
            &[
                ("delivered", "wsm_publish_delivered_total"),
                ("fed", "wsm_messages_fed_total"),
                ("pending", "wsm_publish_pending_messages"),
                ("spilled", "wsm_publish_spilled_messages"),
            ],
        ),
    );
    let rooms = Check::new(
        "deliveries of rooms",
        ("accepted", scrape.sum("wsm_room_deliveries_accepted_total")),
        &parts(
            scrape,
            "wsm_room_deliveries_total",
            "outcome",
            &[("in flight", "wsm_room_deliveries_in_flight")],
        ),
    );
    vec![sends, messages, rooms]
}

fn parts(scrape: &Scrape, family: &str, label: &str, others: &[(&str, &str)]) -> Vec<(String, f64)> {
    let ended = scrape.by(family, label).into_iter();
    ended.chain(others.iter().map(|(name, metric)| ((*name).to_owned(), scrape.sum(metric)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP wsm_sends_accepted_total Sends accepted.
wsm_sends_accepted_total{shard="0"} 7
wsm_sends_accepted_total{shard="1"} 3
wsm_sends_ended_total{shard="0",outcome="replied"} 8
wsm_sends_ended_total{shard="0",outcome="timed_out"} 1
wsm_sends_in_flight{shard="1"} 1
wsm_messages_numbered_total{shard="0"} 5
wsm_publish_delivered_total{shard="0"} 4
wsm_uptime_seconds 1.5e1
"#;

    #[test]
    fn samples_are_summed_and_told_apart() {
        let scrape = Scrape::parse(TEXT);
        assert_eq!(scrape.sum("wsm_sends_accepted_total"), 10.0);
        assert_eq!(scrape.sum_where("wsm_sends_ended_total", "outcome=\"replied\""), 8.0);
        assert_eq!(scrape.sum("wsm_uptime_seconds"), 15.0);
        assert_eq!(scrape.by("wsm_sends_ended_total", "outcome").len(), 2);
        assert!(!scrape.has("wsm_nothing"));
    }

    #[test]
    fn a_message_that_is_nowhere_is_found() {
        let books = books(&Scrape::parse(TEXT));
        assert!(books[0].balances(), "{}", books[0].terms);
        assert!(!books[1].balances(), "{}", books[1].terms);
        assert!(books[2].balances(), "nothing happened there");
    }
}

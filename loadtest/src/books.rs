//! The books: what the service's own counters say, and whether they balance with themselves and with
//! what was done here.

use crate::scrape::Scrape;

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
    use std::time::Instant;

    const TEXT: &str = r#"wsm_sends_accepted_total{shard="0"} 7
wsm_sends_accepted_total{shard="1"} 3
wsm_sends_ended_total{shard="0",outcome="replied"} 8
wsm_sends_ended_total{shard="0",outcome="timed_out"} 1
wsm_sends_in_flight{shard="1"} 1
wsm_messages_numbered_total{shard="0"} 5
wsm_publish_delivered_total{shard="0"} 4
"#;

    #[test]
    fn a_message_that_is_nowhere_is_found() {
        let books = books(&Scrape::read(Instant::now(), TEXT).expect("metrics"));
        assert!(books[0].balances(), "{}", books[0].terms);
        assert!(!books[1].balances(), "{}", books[1].terms);
        assert!(books[2].balances(), "nothing happened there");
    }
}

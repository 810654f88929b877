//! Prometheus' text format, as the service exports it: samples by name, with their labels.

use std::{collections::BTreeMap, time::Instant};

#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

impl Sample {
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(key, value)| self.label(key) == Some(value))
    }
}

/// All samples by the name they are exported with.
#[derive(Debug, Clone)]
pub struct Scrape {
    pub at: Instant,
    samples: BTreeMap<String, Vec<Sample>>,
}

impl Scrape {
    pub fn read(at: Instant, text: &str) -> Result<Scrape, String> {
        let mut samples: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, sample) = read_line(line).ok_or_else(|| format!("not a metric: {line:.80}"))?;
            samples.entry(name).or_default().push(sample);
        }
        match samples.keys().any(|name| name.starts_with("wsm_")) {
            true => Ok(Scrape { at, samples }),
            false => Err("it has no metrics that begin with wsm_: is this the admin port?".to_owned()),
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.samples.keys().map(String::as_str)
    }

    #[must_use]
    pub fn samples(&self, name: &str) -> &[Sample] {
        self.samples.get(name).map_or(&[], Vec::as_slice)
    }

    /// Over all samples with these labels; nothing if there is none.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.samples(name)
            .iter()
            .filter(|sample| sample.has(labels))
            .map(|sample| sample.value)
            .reduce(|sum, next| sum + next)
    }

    /// Over all labels; a metric that is not there is 0.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        self.value(name, &[]).unwrap_or(0.0)
    }

    /// Of the samples with this label: what was never counted is 0.
    #[must_use]
    pub fn sum_of(&self, name: &str, label: &str, value: &str) -> f64 {
        self.value(name, &[(label, value)]).unwrap_or(0.0)
    }

    /// The values of one label with their sums, such as drops by reason; those that are 0 are left out.
    #[must_use]
    pub fn by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut found = BTreeMap::new();
        for sample in self.samples(name).iter().filter(|sample| sample.value != 0.0) {
            if let Some(value) = sample.label(label) {
                *found.entry(value.to_owned()).or_default() += sample.value;
            }
        }
        found
    }
}

/// `name{label="value",...} number`, and what may follow the number.
fn read_line(line: &str) -> Option<(String, Sample)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(mut inner) = rest.strip_prefix('{') {
        while let Some((label, after)) = read_label(inner.trim_start_matches([',', ' '])) {
            labels.push(label);
            inner = after;
        }
        rest = inner.trim_start_matches([',', ' ']).strip_prefix('}')?;
    }
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some((name.to_owned(), Sample { labels, value }))
}

/// One `label="value"` and what is behind it.
fn read_label(text: &str) -> Option<((String, String), &str)> {
    let (name, quoted) = text.split_once("=\"")?;
    if name.contains('}') {
        return None;
    }
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    loop {
        match characters.next()? {
            (at, '"') => return Some(((name.to_owned(), value), &quoted[at + 1..])),
            (_, '\\') => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            (_, other) => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Scrape, String> {
        Scrape::read(Instant::now(), text)
    }

    #[test]
    fn metrics_are_read_with_their_labels() {
        let text = "# HELP wsm_a A {thing}.\n# TYPE wsm_a counter\nwsm_a{shard=\"0\",why=\"a \\\"b\\\", \\\\c} \\n\"} 4\n\
                    wsm_a{shard=\"1\",why=\"x\",} 2.5 1700000000\nwsm_b +Inf\nother 7\n";
        let read = read(text).expect("metrics");
        assert_eq!(read.value("wsm_a", &[]), Some(6.5));
        assert_eq!(read.value("wsm_a", &[("shard", "1")]), Some(2.5));
        assert_eq!(read.samples("wsm_a")[0].label("why"), Some("a \"b\", \\c} \n"));
        assert_eq!(read.value("wsm_b", &[]), Some(f64::INFINITY));
        assert_eq!((read.value("wsm_c", &[]), read.value("wsm_a", &[("shard", "2")])), (None, None));
    }

    #[test]
    fn samples_are_summed_and_told_apart() {
        let text = "wsm_ended{shard=\"0\",outcome=\"left\"} 2\nwsm_ended{shard=\"1\",outcome=\"left\"} 1\n\
                    wsm_ended{shard=\"0\",outcome=\"never_left\"} 4\nwsm_ended{shard=\"0\",outcome=\"lost\"} 0\n";
        let read = read(text).expect("metrics");
        assert_eq!((read.sum("wsm_ended"), read.sum("wsm_other")), (7.0, 0.0));
        // The whole value of the label, and no more than that.
        assert_eq!(
            (read.sum_of("wsm_ended", "outcome", "left"), read.sum_of("wsm_ended", "outcome", "x")),
            (3.0, 0.0)
        );
        let by: Vec<_> = read.by("wsm_ended", "outcome").into_iter().collect();
        assert_eq!(by, [("left".to_owned(), 3.0), ("never_left".to_owned(), 4.0)]);
    }

    #[test]
    fn what_is_no_metric_of_the_service_is_said() {
        let why = |text| read(text).map(|_| ()).expect_err("refused");
        assert!(why("up 1\n").contains("admin port"));
        for broken in ["wsm_a", "wsm_a{b=\"c} 1", "wsm_a{b=\"c\"", "wsm_a x", "<html>"] {
            assert!(why(broken).contains("not a metric"), "{broken}");
        }
    }
}

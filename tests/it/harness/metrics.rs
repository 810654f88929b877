//! The Prometheus text format, as far as a test asks: name, labels, value.

pub struct Metrics(Vec<Series>);

pub struct Series {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

impl Metrics {
    pub fn parse(text: &str) -> Self {
        Metrics(text.lines().filter(|line| !line.starts_with('#')).filter_map(series).collect())
    }

    /// 0 when there is no such series.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted = |series: &&Series| {
            let has =
                |(key, value): &(&str, &str)| series.labels.iter().any(|it| it.0 == *key && it.1 == *value);
            series.name == name && labels.iter().all(has)
        };
        // Not `sum()`, whose empty value is -0.
        self.0.iter().filter(wanted).fold(0.0, |sum, series| sum + series.value)
    }

    pub fn series(&self) -> &[Series] {
        &self.0
    }
}

fn series(line: &str) -> Option<Series> {
    let (head, value) = line.rsplit_once(' ')?;
    let (name, labels) = match head.split_once('{') {
        None => (head, Vec::new()),
        Some((name, rest)) => (name, labels(rest.strip_suffix('}')?)),
    };
    Some(Series { name: name.to_owned(), labels, value: value.parse().ok()? })
}

/// Label values of ours come from closed sets, so a quote or a comma inside of one does not occur.
fn labels(text: &str) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (key, value) = part.split_once('=')?;
        Some((key.trim().to_owned(), value.trim_matches('"').to_owned()))
    };
    text.split(',').filter_map(pair).collect()
}

#[test]
fn series_are_summed_over_labels_that_are_not_named() {
    let metrics = Metrics::parse(
        "# HELP a b\na_total{shard=\"0\",reason=\"x\"} 2\na_total{shard=\"1\",reason=\"x\"} 3\nb 7\n",
    );
    assert_eq!(metrics.sum("a_total", &[("reason", "x")]), 5.0);
    assert_eq!(metrics.sum("a_total", &[("shard", "1")]), 3.0);
    assert_eq!(metrics.sum("b", &[]), 7.0);
    assert_eq!(metrics.sum("c", &[]), 0.0);
    assert_eq!(metrics.series().len(), 3);
}

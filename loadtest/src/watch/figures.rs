//! Figures made of two looks at the same instances: rates, percentiles, and how they are written.

use crate::scrape::Scrape;
use std::time::Duration;

/// An instance as it was at the last look and is now.
#[derive(Debug)]
pub struct Instance {
    pub address: String,
    pub now: Result<Scrape, String>,
    /// Nothing at the first look, after an absence, and after a restart.
    pub before: Option<Scrape>,
}

impl Instance {
    /// Takes the next look; what cannot be compared with it is forgotten.
    pub fn look(&mut self, next: Result<Scrape, String>) {
        let last = std::mem::replace(&mut self.now, next);
        let uptime = |scrape: &Scrape| scrape.value("wsm_uptime_seconds", &[]);
        self.before = match (last, &self.now) {
            (Ok(last), Ok(now)) if uptime(&last) <= uptime(now) => Some(last),
            _ => None,
        };
    }

    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.now.as_ref().ok()?.value(name, labels)
    }

    pub fn rate(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let (before, now) = (self.before.as_ref()?, self.now.as_ref().ok()?);
        // A label that is new begins at 0.
        let grown = now.value(name, labels)? - before.value(name, labels).unwrap_or(0.0);
        let elapsed = now.at.duration_since(before.at).as_secs_f64();
        (elapsed > 0.0).then(|| grown.max(0.0) / elapsed)
    }
}

/// A sum over instances; nothing when no instance has the figure.
pub fn over(instances: &[Instance], figure: impl Fn(&Instance) -> Option<f64>) -> Option<f64> {
    instances.iter().filter_map(figure).reduce(|sum, next| sum + next)
}

/// Counts at or below each bound, the last bound being infinite.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    pub buckets: Vec<(f64, f64)>,
}

impl Histogram {
    /// Of one family in one look, over all its samples with these labels.
    pub fn of(scrape: &Scrape, family: &str, labels: &[(&str, &str)]) -> Histogram {
        let mut made = Histogram::default();
        for sample in scrape.samples(&format!("{family}_bucket")) {
            let wanted = labels.iter().all(|(key, value)| sample.label(key) == Some(value));
            if let (true, Some(Ok(bound))) = (wanted, sample.label("le").map(str::parse)) {
                made.put(bound, sample.value);
            }
        }
        made.buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        made
    }

    fn put(&mut self, bound: f64, count: f64) {
        match self.buckets.iter_mut().find(|(known, _)| *known == bound) {
            Some((_, sum)) => *sum += count,
            None => self.buckets.push((bound, count)),
        }
    }

    /// What came since; a bucket that was not there counted nothing.
    pub fn since(&self, before: &Histogram) -> Histogram {
        let earlier = |bound: f64| {
            before.buckets.iter().find(|(known, _)| *known == bound).map_or(0.0, |(_, count)| *count)
        };
        let buckets = self.buckets.iter().map(|(bound, count)| (*bound, count - earlier(*bound))).collect();
        Histogram { buckets }
    }

    pub fn add(&mut self, other: &Histogram) {
        for (bound, count) in &other.buckets {
            self.put(*bound, *count);
        }
        self.buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    }

    pub fn count(&self) -> f64 {
        self.buckets.last().map_or(0.0, |(_, count)| *count)
    }

    /// As Prometheus' `histogram_quantile`: a straight line within the bucket. What lies beyond the
    /// last finite bound is told as that bound and `true`.
    pub fn quantile(&self, share: f64) -> Option<(f64, bool)> {
        let count = self.count();
        if count <= 0.0 {
            return None;
        }
        let rank = share * count;
        let at = self.buckets.iter().position(|(_, below)| *below >= rank)?;
        let (bound, below) = self.buckets[at];
        let (floor, under) = if at == 0 { (0.0, 0.0) } else { self.buckets[at - 1] };
        if bound.is_infinite() {
            return Some((floor, true));
        }
        Some((floor + (bound - floor) * (rank - under) / (below - under).max(f64::MIN_POSITIVE), false))
    }
}

/// 1,234,567; small ones with a decimal when they have one.
pub fn number(value: f64) -> String {
    if value.abs() < 100.0 && (value - value.round()).abs() >= 0.05 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 && digits != "0" { format!("-{text}") } else { text }
}

pub fn bytes(value: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = value;
    for unit in units {
        if scaled.abs() < 1024.0 || unit == "TiB" {
            return if unit == "B" { format!("{scaled:.0} B") } else { format!("{scaled:.1} {unit}") };
        }
        scaled /= 1024.0;
    }
    String::new()
}

/// Three figures and the unit that suits them.
pub fn seconds(value: f64) -> String {
    let (scaled, unit) = match value {
        _ if value >= 1.0 => (value, "s"),
        _ if value >= 1e-3 => (value * 1e3, "ms"),
        _ => (value * 1e6, "us"),
    };
    let decimals = if scaled >= 100.0 { 0 } else { usize::from(scaled >= 10.0 || scaled == 0.0) };
    match scaled {
        _ if scaled < 10.0 && scaled > 0.0 => format!("{scaled:.2} {unit}"),
        _ => format!("{scaled:.decimals$} {unit}"),
    }
}

pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// 3d 4h, 4h 12m, 12m 5s, 5s.
pub fn uptime(value: f64) -> String {
    let all = Duration::from_secs_f64(value.max(0.0)).as_secs();
    let parts = [(all / 86_400, "d"), (all / 3_600 % 24, "h"), (all / 60 % 60, "m"), (all % 60, "s")];
    let first = parts.iter().position(|(part, _)| *part > 0).unwrap_or(3);
    let shown = parts.iter().skip(first).take(2);
    shown.map(|(part, unit)| format!("{part}{unit}")).collect::<Vec<_>>().join(" ")
}

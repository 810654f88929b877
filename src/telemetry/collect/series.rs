//! The page as the Prometheus library wants it.

use super::super::{
    catalogue::{self, Kind, Metric, Read, Set},
    snapshot::Page,
};
use crate::{
    api::counters::calls::{CallEnd, EndsByMethod, Method},
    backend::embedded::EmbeddedStats,
    core::tally::Tally,
};
use prometheus::{
    core::{Collector as Source, Desc},
    proto::{self, LabelPair, MetricFamily, MetricType},
};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// The page as a source of the Prometheus library.
pub(super) struct Shelf {
    descriptions: Vec<Desc>,
    page: Arc<parking_lot::Mutex<Page>>,
}

impl Shelf {
    pub(super) fn new(page: Arc<parking_lot::Mutex<Page>>) -> Self {
        let describe = |metric: &Metric| {
            let labels = metric.labels().into_iter().map(str::to_owned).collect();
            Desc::new(metric.name.to_owned(), metric.help.to_owned(), labels, HashMap::new())
                .expect("the catalogue is in order: it is tested")
        };
        Shelf { descriptions: catalogue::all().map(describe).collect(), page }
    }
}

impl Source for Shelf {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let page = self.page.lock();
        catalogue::all().map(|metric| family(metric, &page)).collect()
    }
}

fn family(metric: &Metric, page: &Page) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.help.to_owned());
    family.set_field_type(match metric.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    family.set_metric(series(metric, page));
    family
}

fn series(metric: &Metric, page: &Page) -> Vec<proto::Metric> {
    let one = |values: &[&str], value: f64| number(metric, values, value);
    let set = |set: Set, read: &dyn Fn(usize) -> f64| -> Vec<proto::Metric> {
        let values = set.values().into_iter().enumerate();
        values.map(|(n, value)| one(&[value], read(n))).collect()
    };
    let shards = || page.shards.iter().enumerate().map(|(shard, view)| (shard.to_string(), view));
    match metric.read {
        Read::Shard(read) => shards().map(|(shard, view)| one(&[&shard], read(view))).collect(),
        Read::ShardSet(set, read) => shards()
            .flat_map(|(shard, view)| {
                let values = set.values().into_iter().enumerate();
                values.map(move |(n, value)| one(&[&shard, value], read(view, n)))
            })
            .collect(),
        Read::ShardLatency(bounds, read) => shards()
            .map(|(shard, view)| {
                let latency = read(view);
                let below = latency.cumulative(bounds);
                histogram(metric, &[&shard], &below, latency.count(), latency.sum())
            })
            .collect(),
        Read::Process(read) => vec![one(&[], read(page))],
        Read::Embedded(read) => vec![one(&[], read(&page.embedded))],
        Read::EmbeddedSet(of, read) => set(of, &|n| read(&page.embedded, n)),
        Read::ProcessSet(of, read) => set(of, &|n| read(page, n)),
        Read::Dapr(read) => page.dapr.iter().map(|stats| one(&[], read(stats))).collect(),
        Read::DaprSet(of, read) => page.dapr.iter().flat_map(|stats| set(of, &|n| read(stats, n))).collect(),
        Read::Redis(read) => page.redis.iter().map(|stats| one(&[], read(stats))).collect(),
        Read::RedisSet(of, read) => {
            page.redis.iter().flat_map(|stats| set(of, &|n| read(stats, n))).collect()
        }
        Read::Rooms(read) => page.rooms.iter().map(|stats| one(&[], read(stats))).collect(),
        Read::Relay(read) => page.relay.iter().map(|stats| one(&[], read(stats))).collect(),
        Read::RelaySet(of, read) => {
            page.relay.iter().flat_map(|stats| set(of, &|n| read(stats, n))).collect()
        }
        Read::Fsync => vec![fsync(metric, &page.embedded)],
        Read::Intake => page.intake.iter().map(|(event, count)| one(&[event], *count as f64)).collect(),
        Read::Edge => page.edge.iter().map(|(event, count)| one(&[event], *count as f64)).collect(),
        Read::Tally(read) => read(page).map(|tally| tallied(metric, &[], &tally)).into_iter().collect(),
        Read::TallySet(of, read) => {
            let values = of.values().into_iter().enumerate();
            values.filter_map(|(n, value)| Some(tallied(metric, &[value], &read(page, n)?))).collect()
        }
        Read::ShardTally(read) => {
            shards().map(|(shard, view)| tallied(metric, &[&shard], read(view))).collect()
        }
        Read::Fleet(read) => page.pace.iter().map(|pace| one(&[], read(pace))).collect(),
        Read::Venue(read) => page.venues.iter().map(|(venue, of)| one(&[venue], read(of) as f64)).collect(),
        Read::Calls => methods(|_| true).flat_map(|it| ends(metric, it, &page.calls.ended)).collect(),
        Read::CallTimes => methods(|it| !it.is_stream())
            .map(|it| tallied(metric, &[it.name()], &page.calls.took[it as usize]))
            .collect(),
        Read::Streams => methods(Method::is_stream)
            .map(|it| one(&[it.name()], page.calls.open[it as usize] as f64))
            .collect(),
        Read::StreamEnds => {
            methods(Method::is_stream).flat_map(|it| ends(metric, it, &page.calls.closed)).collect()
        }
        Read::Build => vec![one(&BUILD.map(|known| known.unwrap_or(page.fixed.backend)), 1.0)],
    }
}

fn methods(wanted: fn(Method) -> bool) -> impl Iterator<Item = Method> {
    Method::ALL.iter().copied().filter(move |method| wanted(*method))
}

/// One series for each way that calls of a method end.
fn ends(metric: &Metric, method: Method, counts: &EndsByMethod) -> Vec<proto::Metric> {
    let ends = CallEnd::ALL.iter().zip(counts[method as usize]);
    ends.map(|(end, count)| number(metric, &[method.name(), end.name()], count as f64)).collect()
}

/// In the order of the labels; the one that is not known before is the backend.
pub(super) const BUILD: [Option<&str>; 4] =
    [Some(env!("CARGO_PKG_VERSION")), Some(COMMIT), Some(env!("BUILT_BY_RUSTC")), None];
/// Whoever builds for others says what: the sources of a release need not be a repository.
const COMMIT: &str = match option_env!("WSM_BUILD_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

fn tallied(metric: &Metric, values: &[&str], tally: &Tally) -> proto::Metric {
    histogram(metric, values, &tally.cumulative(), tally.count(), tally.sum())
}

fn labelled(metric: &Metric, values: &[&str]) -> proto::Metric {
    let pairs = metric.labels().into_iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    proto::Metric::from_label(pairs.collect())
}

fn number(metric: &Metric, values: &[&str], value: f64) -> proto::Metric {
    let mut series = labelled(metric, values);
    if metric.kind == Kind::Counter {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        series.set_counter(counter);
    } else {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        series.set_gauge(gauge);
    }
    series
}

/// `below`: how many were at most each of the metric's bounds.
fn histogram(metric: &Metric, values: &[&str], below: &[u64], count: u64, sum: Duration) -> proto::Metric {
    let buckets = metric.buckets().iter().zip(below).map(|(bound, below)| {
        let mut bucket = proto::Bucket::default();
        // Divided, not multiplied: 0.00025 must not be written with a tail.
        bucket.set_upper_bound(*bound as f64 / 1e6);
        bucket.set_cumulative_count(*below);
        bucket
    });
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(count);
    histogram.set_sample_sum(sum.as_secs_f64());
    let mut series = labelled(metric, values);
    series.set_histogram(histogram);
    series
}

/// The count is that of the buckets: the disk threads go on counting while they are read.
fn fsync(metric: &Metric, stats: &EmbeddedStats) -> proto::Metric {
    let mut count = 0;
    let below = stats.fsync_buckets.map(|bucket| {
        count += bucket;
        count
    });
    histogram(metric, &[], &below, count, Duration::from_micros(stats.fsync_micros))
}

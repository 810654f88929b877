//! One scrape: every shard is asked for a copy of its numbers, and the catalogue is filled in.
//! What is counted is counted where it happens, with no lock and no shared word; all the cost is here.

use super::{
    catalogue::{self, Kind, Metric, Read, Set},
    process::{self, Process},
    snapshot::{CommandsView, FleetView, IngressView, Page, PeersView, ShardSnapshot},
};
use crate::{
    api::{
        commands::counters::CommandCounters,
        counters::{Counters as EdgeCounters, IntakeCounters, PeerCounters, WsCounters},
    },
    backend::{
        Backend,
        embedded::EmbeddedStats,
        redis::{RedisRelay, RedisRooms},
    },
    fleet::Handle,
    limits,
    shard::{Local, mailbox::Hub},
};
use prometheus::{
    Registry, TextEncoder,
    core::{Collector as Source, Desc},
    proto::{self, LabelPair, MetricFamily, MetricType},
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, oneshot},
    time::{Instant, timeout_at},
};

/// Whose numbers are on the page.
pub struct Sources {
    pub hub: Hub,
    pub backend: Arc<Backend>,
    pub edge: Arc<EdgeCounters>,
    pub peers: Arc<PeerCounters>,
    pub ingress: Arc<WsCounters>,
    pub commands: Arc<CommandCounters>,
    pub intake: Arc<IntakeCounters>,
    pub fleet: Option<Handle>,
    /// Rooms on Redis, and the channels of the earlier room system.
    pub rooms: Option<Arc<RedisRooms>>,
    pub relay: Option<Arc<RedisRelay>>,
}

pub struct Collector {
    sources: Sources,
    started: Instant,
    registry: Registry,
    page: Arc<parking_lot::Mutex<Page>>,
    /// By shard, what it was asked and has not answered. Held for the whole of a scrape: two at
    /// once would ask twice.
    asked: Mutex<Vec<Option<oneshot::Receiver<ShardSnapshot>>>>,
}

impl Collector {
    pub fn new(sources: Sources) -> Self {
        let shards = sources.hub.shards();
        let page = Arc::new(parking_lot::Mutex::new(Page::new(shards)));
        let registry = Registry::new();
        registry
            .register(Box::new(Shelf::new(page.clone())))
            .expect("the catalogue is in order: it is tested");
        let asked = Mutex::new((0..shards).map(|_| None).collect());
        Collector { sources, started: Instant::now(), registry, page, asked }
    }

    /// The page in the Prometheus text format.
    pub async fn scrape(&self) -> String {
        let answers = self.ask_shards().await;
        let mut busy = process::thread_seconds("shard-");
        let process = Process::read(self.started.elapsed());
        {
            let mut page = self.page.lock();
            for (shard, (view, answer)) in page.shards.iter_mut().zip(answers).enumerate() {
                let mailbox = self.sources.hub.mailbox(shard as u32);
                view.update(answer, mailbox, busy.remove(&format!("shard-{shard}")));
            }
            page.process = process;
            self.read(&mut page);
        }
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_else(|error| {
            tracing::error!(%error, "the metrics cannot be written");
            String::new()
        })
    }

    /// What is not a shard's.
    fn read(&self, page: &mut Page) {
        let Sources { backend, edge, peers, ingress, commands, intake, fleet, rooms, relay, .. } =
            &self.sources;
        page.backend_ready = backend.trouble().is_none();
        page.embedded = backend.local().stats();
        match &**backend {
            Backend::Embedded(_) => {}
            Backend::Dapr(dapr, _) => page.dapr = Some(dapr.stats()),
            Backend::Redis(redis, _) => page.redis = Some(redis.stats()),
        }
        page.rooms = rooms.as_ref().map(|rooms| rooms.stats());
        page.relay = relay.as_ref().map(|relay| relay.stats());
        page.edge = edge.all();
        page.intake = intake.all();
        page.peers = PeersView::read(peers);
        page.ingress = IngressView::read(ingress);
        page.commands = CommandsView::read(commands);
        page.fleet = FleetView::read(fleet.as_ref());
    }

    /// All at once; a shard that is silent for too long is left out.
    async fn ask_shards(&self) -> Vec<Option<ShardSnapshot>> {
        let mut asked = self.asked.lock().await;
        for (shard, pending) in asked.iter_mut().enumerate() {
            // One question at a time: a shard that hangs must not be buried under them.
            let silent = pending
                .as_mut()
                .is_some_and(|answer| matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
            if !silent {
                *pending = ask(&self.sources.hub, shard as u32);
            }
        }
        let deadline = Instant::now() + limits::SCRAPE_SHARD_WAIT;
        let mut answers = Vec::new();
        for pending in asked.iter_mut() {
            let answer = match pending {
                Some(answer) => timeout_at(deadline, answer).await,
                None => {
                    answers.push(None);
                    continue;
                }
            };
            if answer.is_ok() {
                *pending = None;
            }
            answers.push(answer.ok().and_then(Result::ok));
        }
        answers
    }
}

/// None: the shard has ended.
fn ask(hub: &Hub, shard: u32) -> Option<oneshot::Receiver<ShardSnapshot>> {
    let (sender, answer) = oneshot::channel();
    let look = move |local: &Local| {
        // Nobody waits any more: the scrape was given up.
        let _ = sender.send(ShardSnapshot::take(local));
    };
    hub.inspect(shard, Box::new(look)).is_ok().then_some(answer)
}

/// The page as a source of the Prometheus library.
struct Shelf {
    descriptions: Vec<Desc>,
    page: Arc<parking_lot::Mutex<Page>>,
}

impl Shelf {
    fn new(page: Arc<parking_lot::Mutex<Page>>) -> Self {
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
        Read::Build => vec![one(&[env!("CARGO_PKG_VERSION")], 1.0)],
    }
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

#[cfg(test)]
mod tests;

//! The page is read back as Prometheus reads it.

mod more;
mod script;

use super::super::{
    catalogue::{self, Kind, Metric, Read, Set},
    snapshot::{PeersView, ShardView},
};
use super::*;
use crate::{
    api::{
        counters::{ForwardOutcome, calls::Method},
        validate::{self, Defaults},
    },
    backend::{
        dapr::{DaprStats, ERROR_KINDS},
        embedded::{Embedded, EmbeddedConfig, Fsync},
        redis::{RedisRelayStats, RedisRoomsStats, RedisStats},
    },
    core::{
        egress::Policy,
        id::ConnectionId,
        io::{Command, Context},
        spec::Connect,
        tally::{BOUNDS_MICROS, Tally},
    },
    proto as api,
    shard::{
        self, World,
        dial::{Dialler, SystemResolver},
        mailbox::Mailbox,
        metrics::OTHERS,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A page by the rules of the text format: every line is one of three kinds.
#[derive(Default)]
struct Parsed {
    kinds: BTreeMap<String, String>,
    helps: BTreeMap<String, String>,
    /// By name and labels, as written.
    series: BTreeMap<String, f64>,
}

impl Parsed {
    fn read(text: &str) -> Self {
        let mut parsed = Parsed::default();
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(parsed.helps.insert(name.into(), help.into()).is_none(), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(parsed.kinds.insert(name.into(), kind.into()).is_none(), "{line}");
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
                assert!(parsed.series.insert(series.into(), value).is_none(), "{line}");
            }
        }
        parsed
    }

    fn of(page: Page) -> Self {
        let registry = Registry::new();
        registry.register(Box::new(Shelf::new(Arc::new(parking_lot::Mutex::new(page))))).unwrap();
        Parsed::read(&TextEncoder::new().encode_to_string(&registry.gather()).unwrap())
    }

    /// All series of a name together.
    fn sum(&self, name: &str) -> f64 {
        let of_name = |series: &str| series.split('{').next() == Some(name);
        let found: Vec<_> = self.series.iter().filter(|(series, _)| of_name(series)).collect();
        assert!(!found.is_empty(), "{name} is missing");
        found.into_iter().map(|(_, value)| value).sum()
    }

    fn get(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("{series} is missing"))
    }
}

/// Label names and values of a series as written; no value here holds a quote or a comma.
fn labels(series: &str) -> BTreeMap<&str, &str> {
    let Some((_, labels)) = series.split_once('{') else { return BTreeMap::new() };
    let labels = labels.strip_suffix('}').unwrap().split(',');
    labels.map(|label| label.split_once('=').unwrap()).map(|(k, v)| (k, v.trim_matches('"'))).collect()
}

fn names(set: Set) -> BTreeSet<String> {
    set.values().into_iter().map(str::to_owned).collect()
}

/// Whether a page has it: a backend that is not in use has none of its own.
fn is_there(metric: &Metric, parsed: &Parsed) -> bool {
    let used = |prefix: &str| parsed.series.keys().any(|series| series.starts_with(prefix));
    match metric.read {
        Read::Dapr(_) | Read::DaprSet(..) => used("wsm_dapr_"),
        Read::Redis(_) | Read::RedisSet(..) => used("wsm_redis_"),
        Read::Rooms(_) => used("wsm_rooms_redis_"),
        Read::Relay(_) | Read::RelaySet(..) => used("wsm_relay_"),
        Read::Fleet(_) | Read::Tally(_) | Read::TallySet(..) => used(metric.name),
        _ => true,
    }
}

fn allowed(metric: &Metric, label: &str, shards: u32) -> BTreeSet<String> {
    match (label, &metric.read) {
        ("shard", _) => (0..shards).map(|shard| shard.to_string()).collect(),
        ("event", Read::Edge) => {
            EdgeCounters::default().all().into_iter().map(|(name, _)| name.into()).collect()
        }
        ("event", Read::Intake) => {
            IntakeCounters::default().all().into_iter().map(|(name, _)| name.into()).collect()
        }
        (_, Read::Build) => {
            let place = metric.labels().iter().position(|known| *known == label).unwrap();
            // Without a configuration there is no backend.
            [series::BUILD[place].unwrap_or_default().to_owned()].into()
        }
        ("venue", _) => [OTHERS.to_owned()].into(),
        ("method", Read::CallTimes) => {
            Method::ALL.iter().filter(|it| !it.is_stream()).map(|it| it.name().to_owned()).collect()
        }
        ("method", Read::Streams | Read::StreamEnds) => {
            Method::ALL.iter().filter(|it| it.is_stream()).map(|it| it.name().to_owned()).collect()
        }
        ("method", _) => names(Set::Method),
        ("outcome", Read::Calls | Read::StreamEnds) => names(Set::CallEnd),
        (_, Read::ShardSet(set, _) | Read::EmbeddedSet(set, _) | Read::ProcessSet(set, _)) => names(*set),
        (_, Read::DaprSet(set, _) | Read::RedisSet(set, _) | Read::RelaySet(set, _)) => names(*set),
        (_, Read::TallySet(set, _)) => names(*set),
        _ => panic!("{}: an unknown label {label}", metric.name),
    }
}

/// Both ways, from the first scrape on: every metric with every value of its labels, and no other.
fn agrees(parsed: &Parsed, shards: u32) {
    let mut expected = BTreeSet::new();
    for metric in catalogue::all().filter(|metric| is_there(metric, parsed)) {
        assert_eq!(parsed.kinds.get(metric.name).map(String::as_str), Some(metric.kind.name()));
        assert_eq!(parsed.helps.get(metric.name).map(String::as_str), Some(metric.help));
        let mut combinations = vec![Vec::new()];
        for label in metric.labels() {
            let values = allowed(metric, label, shards);
            let extend = |known: Vec<String>| {
                values.iter().map(move |value| [known.clone(), vec![format!("{label}=\"{value}\"")]].concat())
            };
            combinations = combinations.into_iter().flat_map(extend).collect();
        }
        for labels in combinations {
            let series = |suffix: &str, labels: &[String]| match labels {
                [] => format!("{}{suffix}", metric.name),
                _ => format!("{}{suffix}{{{}}}", metric.name, labels.join(",")),
            };
            if metric.kind == Kind::Histogram {
                let bounds = metric.buckets().iter().map(|bound| (*bound as f64 / 1e6).to_string());
                for bound in bounds.chain(["+Inf".to_owned()]) {
                    let labels = [labels.clone(), vec![format!("le=\"{bound}\"")]].concat();
                    expected.insert(series("_bucket", &labels));
                }
                expected.extend([series("_sum", &labels), series("_count", &labels)]);
            } else {
                expected.insert(series("", &labels));
            }
        }
    }
    assert_eq!(parsed.series.keys().cloned().collect::<BTreeSet<_>>(), expected);
    assert_eq!(parsed.kinds.len(), catalogue::all().filter(|metric| is_there(metric, parsed)).count());
}

/// No counter falls, and every histogram is one: buckets rise to the count.
fn only_rises(before: &Parsed, after: &Parsed) {
    for (series, value) in &after.series {
        let name = series.split('{').next().unwrap();
        let part = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let histogram = part.filter(|base| after.kinds.get(*base).is_some_and(|kind| kind == "histogram"));
        if histogram.is_some() || name.ends_with("_total") {
            let known = before.series.get(series).copied().unwrap_or_default();
            assert!(*value >= known, "{series} fell from {known} to {value}");
        }
    }
    for metric in catalogue::all().filter(|metric| metric.kind == Kind::Histogram) {
        let name = format!("{}_bucket", metric.name);
        let mut of: BTreeMap<_, Vec<(f64, f64)>> = BTreeMap::new();
        for (series, value) in
            after.series.iter().filter(|(series, _)| series.split('{').next() == Some(&name))
        {
            let mut labels = labels(series);
            let bound = labels.remove("le").unwrap().parse().unwrap();
            of.entry(labels).or_default().push((bound, *value));
        }
        for (labels, mut buckets) in of {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{name} {labels:?}: {buckets:?}");
            let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let count = after.get(&format!("{}_count{labels}", metric.name));
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, count)), "{name}");
        }
    }
}

/// Every message and every Send is found again.
fn balances(parsed: &Parsed) {
    let sum = |name: &str| parsed.sum(name);
    let read = parsed.get("wsm_messages_total{shard=\"0\",direction=\"in\"}");
    assert_eq!(read, sum("wsm_messages_numbered_total") + sum("wsm_replies_consumed_total"));
    let unpublished = parsed.get("wsm_messages_dropped_total{shard=\"0\",reason=\"not_published\"}");
    let fed = sum("wsm_messages_fed_total");
    assert_eq!(sum("wsm_messages_numbered_total"), sum("wsm_publish_accepted_total") + fed + unpublished);
    let came = sum("wsm_messages_numbered_total") + sum("wsm_publish_restored_total");
    let left = sum("wsm_publish_pending_messages") + sum("wsm_publish_spilled_messages");
    let went = sum("wsm_publish_delivered_total") + fed + sum("wsm_messages_dropped_total");
    assert_eq!(came, went + left);
    let ended = sum("wsm_sends_ended_total") + sum("wsm_sends_in_flight");
    assert_eq!(sum("wsm_sends_accepted_total"), ended);
}

fn connect(id: &str, url: &str) -> Connect {
    let request = api::ConnectRequest { url: url.into(), connection_id: id.into(), ..Default::default() };
    validate::connect(&request, &Defaults::default(), || unreachable!("the id is given")).unwrap()
}

fn embedded(folder: &std::path::Path, shards: u32) -> Embedded {
    let mut config = EmbeddedConfig::new(folder, shards);
    config.store_fsync = Fsync::UnsafeNever;
    config.bus_fsync = Fsync::UnsafeNever;
    Embedded::open(config).unwrap()
}

fn sources(hub: Hub, backend: Arc<Backend>) -> Sources {
    let (edge, peers, ingress, commands, intake) = Default::default();
    Sources {
        hub,
        backend,
        edge,
        peers,
        ingress,
        commands,
        intake,
        fleet: None,
        rooms: None,
        relay: None,
        calls: vec![Arc::default()],
        spans: Default::default(),
        fixed: Fixed::default(),
        standing: Box::new(|| Standing { ready: true, draining: false }),
    }
}

fn on_a_shard<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build_local(Default::default()).unwrap().block_on(test)
}

#[test]
fn a_fresh_page_is_whole() {
    for shards in [1, 3] {
        let parsed = Parsed::of(Page::new(shards));
        agrees(&parsed, shards);
        let moved: Vec<_> = parsed.series.iter().filter(|(_, value)| **value != 0.0).collect();
        let [version, commit, rustc, backend] = series::BUILD.map(Option::unwrap_or_default);
        let build = format!(
            "wsm_build_info{{version=\"{version}\",commit=\"{commit}\",rustc=\"{rustc}\",backend=\"{backend}\"}}"
        );
        // Without a fleet the lease is held.
        assert_eq!(moved, [(&build, &1.0), (&"wsm_lease_held".to_owned(), &1.0)]);
    }
}

/// Of one histogram with the buckets of `Tally`: bounds, infinity, sum and count.
const TALLY_SERIES: usize = BOUNDS_MICROS.len() + 3;

#[test]
fn each_backend_shows_its_own_numbers() {
    let foreign = |parsed: &Parsed| {
        let of = |prefix: &str| parsed.series.keys().filter(|name| name.starts_with(prefix)).count();
        (of("wsm_dapr_"), of("wsm_redis_"))
    };
    assert_eq!(foreign(&Parsed::of(Page::new(1))), (0, 0));

    let mut errors = [0; ERROR_KINDS.len()];
    errors[1] = 4;
    let dapr = DaprStats { events: 3, dead_lettered: 2, errors, ..DaprStats::default() };
    let parsed = Parsed::of(Page { dapr: Some(dapr), ..Page::new(1) });
    agrees(&parsed, 1);
    assert_eq!(foreign(&parsed), (12 + ERROR_KINDS.len() + 3 * TALLY_SERIES, 0));
    assert_eq!(parsed.get("wsm_dapr_events_total"), 3.0);
    assert_eq!(parsed.get("wsm_dapr_dead_letters_total"), 2.0);
    assert_eq!(parsed.get("wsm_dapr_errors_total{kind=\"unavailable\"}"), 4.0);

    let redis = RedisStats { document_writes: 5, parked_readers: 6, ..RedisStats::default() };
    let mut times = [Tally::default(); 3];
    times[2].record(Duration::from_micros(70));
    let parsed = Parsed::of(Page { redis: Some(redis), redis_times: Some(times), ..Page::new(1) });
    agrees(&parsed, 1);
    assert_eq!(foreign(&parsed), (0, 17 + 3 * TALLY_SERIES));
    assert_eq!(parsed.get("wsm_redis_call_seconds_count{call=\"write\"}"), 1.0);
    assert_eq!(parsed.get("wsm_redis_call_seconds_bucket{call=\"write\",le=\"0.0001\"}"), 1.0);
    assert_eq!(parsed.get("wsm_redis_call_seconds_bucket{call=\"write\",le=\"0.00005\"}"), 0.0);
    assert_eq!(parsed.get("wsm_redis_document_calls_total{call=\"read\"}"), 0.0);
    assert_eq!(parsed.get("wsm_redis_document_calls_total{call=\"write\"}"), 5.0);
    assert_eq!(parsed.get("wsm_redis_parked_readers"), 6.0);

    let rooms = RedisRoomsStats { sent: 7, subscribed: 8, ..RedisRoomsStats::default() };
    let relay = RedisRelayStats { receivers: 9, not_utf8: 10, ..RedisRelayStats::default() };
    let parsed = Parsed::of(Page { rooms: Some(rooms), relay: Some(relay), ..Page::new(1) });
    agrees(&parsed, 1);
    assert_eq!(foreign(&parsed), (0, 0));
    assert_eq!(parsed.get("wsm_rooms_redis_sent_total"), 7.0);
    assert_eq!(parsed.get("wsm_rooms_redis_subscribed"), 8.0);
    assert_eq!(parsed.get("wsm_relay_receivers_total"), 9.0);
    assert_eq!(parsed.get("wsm_relay_poison_total{reason=\"not_utf8\"}"), 10.0);
}

#[test]
fn the_books_balance_after_every_step() {
    for seed in 1..=20 {
        let mut script = script::Script::new(seed);
        let mut before = Parsed::default();
        for _ in 0..40 {
            for _ in 0..10 {
                script.step();
            }
            let page = |inner| Page {
                shards: vec![ShardView { up: true, inner, ..Default::default() }],
                ..Page::new(1)
            };
            let parsed = Parsed::of(page(ShardSnapshot::of_core(&script.core)));
            agrees(&parsed, 1);
            balances(&parsed);
            only_rises(&before, &parsed);
            before = parsed;
        }
        for name in ["wsm_publish_delivered_total", "wsm_sends_accepted_total", "wsm_messages_dropped_total"]
        {
            assert!(before.sum(name) > 0.0, "seed {seed} never reached {name}");
        }
    }
}

#[test]
fn a_silent_shard_is_down_and_keeps_its_last_values() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let mailbox = Mailbox::new(1);
        let hub = Hub::new(vec![mailbox.clone()], 1);
        let backend = Arc::new(Backend::Embedded(embedded(folder.path(), 1)));
        let collector = Collector::new(sources(hub.clone(), backend));
        collector.page.lock().shards[0].inner.core.dials = 7;
        let id = || ConnectionId::parse("some").unwrap();
        let waits = hub.call(0, Context::default(), Command::Get(id()));
        assert!(hub.call(0, Context::default(), Command::Get(id())).await.is_err(), "the mailbox holds one");
        for _ in 0..3 {
            let parsed = Parsed::read(&collector.scrape().await);
            agrees(&parsed, 1);
            assert_eq!(parsed.sum("wsm_shard_up"), 0.0);
            assert_eq!(parsed.sum("wsm_dials_total"), 7.0);
            assert_eq!(parsed.sum("wsm_mailbox_refused_total"), 1.0);
            // The command and one question, however often it is asked.
            assert_eq!(parsed.sum("wsm_mailbox_depth"), 2.0);
        }
        drop(waits);
    });
}

#[test]
fn a_running_shard_answers() {
    on_a_shard(async {
        let folder = tempfile::tempdir().unwrap();
        let backend = embedded(folder.path(), 1);
        let tls = crate::pki::client_config("", "", "").unwrap();
        let policy = Policy { allow: Vec::new(), deny: Vec::new(), own: Vec::new() };
        let dialler = Dialler { policy, resolver: Arc::new(SystemResolver), tls, user_agent: "test".into() };
        let world = World {
            gate: None,
            store: backend.store(),
            bus: backend.bus(),
            spill: backend.local().spill(0).unwrap(),
            seal: backend.local().sealer(),
            dialler: Arc::new(dialler),
            instance: "one".into(),
            busy_poll: std::time::Duration::ZERO,
            rooms: Default::default(),
            spans: Default::default(),
        };
        let mailbox = Mailbox::new(16);
        let local = Local::start(0, script::setup(1), mailbox.clone(), world);
        let running = tokio::task::spawn_local(shard::run(local.clone()));
        let hub = Hub::new(vec![mailbox], 1);
        let sources = sources(hub.clone(), Arc::new(Backend::Embedded(backend)));
        sources.edge.accepted.add();
        let collector = Collector::new(sources);
        let first = Parsed::read(&collector.scrape().await);
        // Loopback is not allowed: the dial fails, and the lifecycle events go to the bus.
        let refused = Command::Connect(Box::new(connect("denied", "ws://127.0.0.1:9/")));
        assert!(hub.call(0, Context::default(), refused).await.is_err());
        let mut second = Parsed::read(&collector.scrape().await);
        while second.sum("wsm_publish_seconds_count") == 0.0 {
            tokio::task::yield_now().await;
            second = Parsed::read(&collector.scrape().await);
        }
        agrees(&second, 1);
        only_rises(&first, &second);
        balances(&second);
        assert_eq!((first.sum("wsm_shard_up"), second.sum("wsm_shard_up")), (1.0, 1.0));
        assert_eq!((first.sum("wsm_dials_total"), second.sum("wsm_dials_total")), (0.0, 1.0));
        assert_eq!(second.get("wsm_closes_total{shard=\"0\",cause=\"egress_denied\"}"), 1.0);
        assert_eq!(second.get("wsm_edge_total{event=\"accepted\"}"), 1.0);
        assert!(second.sum("wsm_embedded_appended_events_total") > 0.0);
        assert!(second.sum("wsm_shard_turn_seconds_count") > first.sum("wsm_shard_turn_seconds_count"));
        local.stop();
        running.await.unwrap();
        assert_eq!(Parsed::read(&collector.scrape().await).sum("wsm_shard_up"), 0.0);
    });
}

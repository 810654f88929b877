//! What is on the page of calls, venues, queues, the lease and spans.

use super::*;
use crate::{
    api::counters::calls::{CallCounters, CallEnd, CallsView},
    config::Config,
    ports::spans::{SpanOutcome, Spans},
    shard::metrics::{ShardMetrics, VenueCounts},
    telemetry::snapshot::FleetPace,
};

fn page_with(metrics: impl Fn(usize, &mut ShardMetrics)) -> Page {
    let mut page = Page::new(2);
    for (shard, view) in page.shards.iter_mut().enumerate() {
        metrics(shard, &mut view.inner.metrics);
    }
    page
}

#[test]
fn venues_of_all_shards_are_summed_and_stay_bounded() {
    let mut page = page_with(|shard, metrics| {
        metrics.venues.opened("a.example", shard == 1);
        metrics.venues.opened("other", true);
        for n in 0..10_000 {
            metrics.venues.failed(&format!("no-{n}.example"));
            metrics.venues.opened(&format!("h-{n}.example"), false);
        }
    });
    page.sum_venues();
    page.sum_venues();
    assert!(page.venues.len() <= limits::VENUES_PER_SHARD_MAX + 1, "{}", page.venues.len());
    assert_eq!(page.venues["a.example"], VenueCounts { dials: 2, failures: 0, reconnects: 1 });
    let all = page.venues.values().fold(VenueCounts::default(), |mut sum, counts| {
        sum.add(counts);
        sum
    });
    assert_eq!(all, VenueCounts { dials: 2 * 20_002, failures: 20_000, reconnects: 3 });
    let parsed = Parsed::of(page);
    assert_eq!(parsed.get("wsm_venue_reconnects_total{venue=\"a.example\"}"), 1.0);
    assert_eq!(parsed.sum("wsm_venue_dial_failures_total"), 20_000.0);
}

#[test]
fn a_hot_shard_and_what_waits_for_it_stand_out() {
    let mut page = page_with(|shard, metrics| {
        let wait = Duration::from_millis([1, 900][shard]);
        metrics.mailbox_wait.record(wait);
        metrics.lag.record(wait);
    });
    page.shards[0].busy_seconds = 3.0;
    page.shards[1].busy_seconds = 59.0;
    page.shards[1].inner.publish.waited.record(Duration::from_secs(2));
    page.shards[1].inner.gauges.room_members_behind = 4;
    let parsed = Parsed::of(page);
    agrees(&parsed, 2);
    for name in ["wsm_mailbox_wait_seconds", "wsm_shard_lag_seconds"] {
        let quick = |shard: usize| parsed.get(&format!("{name}_bucket{{shard=\"{shard}\",le=\"0.0025\"}}"));
        assert_eq!([0, 1].map(quick), [1.0, 0.0], "{name}");
    }
    assert_eq!(parsed.get("wsm_shard_busy_seconds_total{shard=\"1\"}"), 59.0);
    assert_eq!(parsed.get("wsm_publish_wait_seconds_sum{shard=\"1\"}"), 2.0);
    assert_eq!(parsed.sum("wsm_room_members_behind"), 4.0);
}

#[test]
fn calls_are_told_by_method_and_end() {
    let calls = CallCounters::default();
    for (n, end) in CallEnd::ALL.iter().enumerate() {
        for _ in 0..=n {
            calls.begun();
            calls.ended(Method::RoomSend, *end, Duration::from_millis(2));
        }
    }
    calls.begun();
    calls.opened(Method::Watch);
    calls.opened(Method::Watch);
    calls.closed(Method::Watch, CallEnd::Failed);
    let parsed = Parsed::of(Page { calls: CallsView::read([&calls]), ..Page::new(1) });
    agrees(&parsed, 1);
    for (n, end) in CallEnd::ALL.iter().enumerate() {
        let series = format!("wsm_calls_total{{method=\"Rooms.Send\",outcome=\"{}\"}}", end.name());
        assert_eq!(parsed.get(&series), (n + 1) as f64);
    }
    assert_eq!(parsed.sum("wsm_calls_in_flight"), 1.0);
    assert_eq!(parsed.get("wsm_call_seconds_count{method=\"Rooms.Send\"}"), 10.0);
    assert_eq!(parsed.get("wsm_streams_open{method=\"Watch\"}"), 1.0);
    assert_eq!(parsed.get("wsm_streams_ended_total{method=\"Watch\",outcome=\"failed\"}"), 1.0);
}

#[test]
fn only_a_fleet_has_a_lease_that_ends() {
    let parsed = Parsed::of(Page::new(1));
    assert!(!parsed.kinds.contains_key("wsm_lease_left_seconds"));
    let mut pace = FleetPace { lease_left: 6.5, ..FleetPace::default() };
    pace.renewal.record(Duration::from_millis(4));
    pace.documents[1].record(Duration::from_millis(8));
    let parsed = Parsed::of(Page { pace: Some(pace), ..Page::new(1) });
    agrees(&parsed, 1);
    assert_eq!(parsed.get("wsm_lease_left_seconds"), 6.5);
    assert_eq!(parsed.get("wsm_lease_renewal_seconds_bucket{le=\"0.005\"}"), 1.0);
    assert_eq!(parsed.get("wsm_fleet_document_seconds_count{call=\"read\"}"), 0.0);
    assert_eq!(parsed.get("wsm_fleet_document_seconds_count{call=\"write\"}"), 1.0);
}

#[test]
fn bounds_stand_beside_what_they_bound() {
    let config = Config::with_defaults(2);
    let parsed = Parsed::of(Page { fixed: Fixed::of(&config), ..Page::new(2) });
    assert_eq!(parsed.get("wsm_connections_max"), config.max_connections as f64);
    assert_eq!(parsed.get("wsm_publish_queue_max_bytes"), config.publish.queue_bytes as f64);
    assert!(parsed.get("wsm_memory_bound_bytes") > parsed.get("wsm_publish_queue_max_bytes"));
    assert_eq!(parsed.get("wsm_config_hash") as u64, config.fingerprint());
    let build = parsed.series.keys().find(|series| series.starts_with("wsm_build_info")).unwrap();
    assert_eq!(labels(build)["backend"], "embedded");
}

#[test]
fn spans_are_told_by_what_became_of_them() {
    let (spans, _queue) = Spans::open(1, 1);
    spans.count(SpanOutcome::Sent, 3);
    spans.count(SpanOutcome::Failed, 4);
    let parsed = Parsed::of(Page { spans: spans.outcomes(), ..Page::new(1) });
    let of = |outcome: &str| parsed.get(&format!("wsm_trace_spans_total{{outcome=\"{outcome}\"}}"));
    assert_eq!(["sent", "dropped", "failed"].map(of), [3.0, 0.0, 4.0]);
}

#[test]
fn calls_between_instances_are_told_by_their_end() {
    let counters = PeerCounters::default();
    for (n, outcome) in ForwardOutcome::ALL.iter().enumerate() {
        (0..=n).for_each(|_| counters.forwarded(*outcome).add());
    }
    counters.streams_opened.add();
    counters.holder_cache_misses.add();
    let parsed = Parsed::of(Page { peers: PeersView::read(&counters), ..Page::new(1) });
    agrees(&parsed, 1);
    // Every counter of the set is one of the outcomes, under its own name.
    for (n, outcome) in ForwardOutcome::ALL.iter().enumerate() {
        let count = (n + 1) as u64;
        let own = format!("forwarded_{}", outcome.name());
        assert!(counters.all().iter().any(|(name, value)| *name == own && *value == count), "{own}");
        let series = format!("wsm_peer_calls_forwarded_total{{outcome=\"{}\"}}", outcome.name());
        assert_eq!(parsed.get(&series), count as f64);
    }
    let forwarded = counters.all().into_iter().filter(|(name, _)| name.starts_with("forwarded_")).count();
    assert_eq!(forwarded, ForwardOutcome::ALL.len());
    assert_eq!(parsed.get("wsm_peer_streams_total{event=\"opened\"}"), 1.0);
    assert_eq!(parsed.get("wsm_peer_streams_total{event=\"closed\"}"), 0.0);
    assert_eq!(parsed.get("wsm_peer_cache_total{outcome=\"miss\"}"), 1.0);
}

#[test]
fn latencies_become_buckets() {
    let mut page = Page::new(1);
    page.shards[0].inner.metrics.send.record(Duration::from_micros(50));
    page.shards[0].inner.metrics.send.record(Duration::from_micros(700));
    page.shards[0].inner.metrics.send.record(Duration::from_secs(61));
    page.embedded.fsync_buckets[1] = 2;
    page.embedded.fsync_buckets[11] = 1;
    page.embedded.fsync_micros = 2_000_500;
    let parsed = Parsed::of(page);
    only_rises(&Parsed::default(), &parsed);
    let send = |bound: &str| parsed.get(&format!("wsm_send_seconds_bucket{{shard=\"0\",le=\"{bound}\"}}"));
    assert_eq!(["0.00005", "0.0005", "0.001", "60", "+Inf"].map(send), [1.0, 1.0, 2.0, 2.0, 3.0]);
    assert_eq!(parsed.sum("wsm_send_seconds_sum"), 61.00075);
    let fsync = |bound: &str| parsed.get(&format!("wsm_embedded_fsync_seconds_bucket{{le=\"{bound}\"}}"));
    assert_eq!(["0.0001", "0.00025", "1", "+Inf"].map(fsync), [0.0, 2.0, 2.0, 3.0]);
    assert_eq!(parsed.sum("wsm_embedded_fsync_seconds_sum"), 2.0005);
}

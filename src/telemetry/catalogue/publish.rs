//! The way of messages to their topics. The books balance at every scrape:
//! numbered + restored = delivered + fed + dropped + pending + spilled.

use super::{Metric, Read, Set, WAIT_BUCKETS_MICROS, counter, gauge, histogram};

pub(super) const PUBLISH: &[Metric] = &[
    counter(
        "wsm_messages_numbered_total",
        "Messages that took a number; each is published, fed to rooms, or dropped for a reason.",
        Read::Shard(|shard| shard.inner.core.numbered as f64),
    ),
    counter(
        "wsm_messages_fed_total",
        "Messages that took a number and went to rooms, and to no topic.",
        Read::Shard(|shard| shard.inner.core.fed as f64),
    ),
    counter(
        "wsm_messages_dropped_total",
        "Messages lost, by reason. All but not_published had been accepted for publishing.",
        Read::ShardSet(Set::DropReason, |shard, n| {
            (shard.inner.core.dropped[n] + shard.inner.publish.dropped[n]) as f64
        }),
    ),
    counter(
        "wsm_gaps_total",
        "Gaps in a connection's numbers, whether or not it is published.",
        Read::ShardSet(Set::GapCause, |shard, n| shard.inner.core.gaps[n] as f64),
    ),
    counter(
        "wsm_publish_gap_records_total",
        "Gap records on their way to topics; drops in a row share one.",
        Read::ShardSet(Set::GapCause, |shard, n| shard.inner.publish.gap_records[n] as f64),
    ),
    counter(
        "wsm_publish_accepted_total",
        "Messages handed to the publisher.",
        Read::Shard(|shard| shard.inner.publish.accepted as f64),
    ),
    counter(
        "wsm_publish_restored_total",
        "Messages of an earlier process, settled from its spill log.",
        Read::Shard(|shard| shard.inner.publish.restored as f64),
    ),
    counter(
        "wsm_publish_delivered_total",
        "Messages taken by the bus.",
        Read::Shard(|shard| shard.inner.publish.delivered as f64),
    ),
    gauge(
        "wsm_publish_pending_messages",
        "Messages in memory: not delivered, dropped or spilled yet.",
        Read::Shard(|shard| shard.inner.publisher.pending_messages as f64),
    ),
    gauge(
        "wsm_publish_spilled_messages",
        "Messages of this process on the spill log.",
        Read::Shard(|shard| shard.inner.publisher.spilled_messages as f64),
    ),
    gauge(
        "wsm_publish_spilled_batches",
        "Batches of this process on the spill log.",
        Read::Shard(|shard| shard.inner.publisher.spilled_batches as f64),
    ),
    histogram(
        "wsm_publish_wait_seconds",
        "From a batch's first event to handing it to the bus for the first time: batching and queueing. Of \
         what was on the spill log, since it was read back.",
        Read::ShardTally(|shard| &shard.inner.publish.waited),
    ),
    histogram(
        "wsm_publish_seconds",
        "From handing a batch to the bus to its answer at the shard.",
        Read::ShardLatency(WAIT_BUCKETS_MICROS, |shard| &shard.inner.metrics.publish),
    ),
    counter(
        "wsm_publish_batches_total",
        "Batches taken by the bus, sent again after a failure, written to the spill log.",
        Read::ShardSet(Set::BatchOutcome, |shard, n| {
            let publish = &shard.inner.publish;
            [publish.batches_taken, publish.batches_retried, publish.batches_spilled][n] as f64
        }),
    ),
    gauge(
        "wsm_publish_batches_in_flight",
        "Batches at the bus that it has not answered.",
        Read::Shard(|shard| shard.inner.publisher.batches_in_flight as f64),
    ),
    gauge(
        "wsm_publish_queue_bytes",
        "Bytes of events in memory, without those of lanes that wait.",
        Read::Shard(|shard| shard.inner.publisher.queued_bytes as f64),
    ),
    gauge(
        "wsm_publish_lanes",
        "Connections that publish.",
        Read::Shard(|shard| shard.inner.publisher.lanes as f64),
    ),
    gauge(
        "wsm_publish_lanes_holding",
        "Lanes that hold messages or gap records back until the bus keeps up.",
        Read::Shard(|shard| shard.inner.publisher.holding_lanes as f64),
    ),
    gauge(
        "wsm_publish_overflowing",
        "1 while the queue is over its bound.",
        Read::Shard(|shard| f64::from(u8::from(shard.inner.publisher.overflowing))),
    ),
    gauge(
        "wsm_publish_spill_full",
        "1 while the spill log cannot take more and reads pause.",
        Read::Shard(|shard| f64::from(u8::from(shard.inner.publisher.spill_full))),
    ),
    counter(
        "wsm_publish_records_refused_total",
        "Gap records, end markers and lifecycle events that the bus refused.",
        Read::Shard(|shard| shard.inner.publish.records_refused as f64),
    ),
    counter(
        "wsm_publish_ends_dropped_total",
        "End markers that a full waiting room dropped.",
        Read::Shard(|shard| shard.inner.publish.ends_dropped as f64),
    ),
    counter(
        "wsm_publish_records_unreadable_total",
        "Records of the spill log that could not be read.",
        Read::Shard(|shard| shard.inner.publish.records_unreadable as f64),
    ),
    counter(
        "wsm_lifecycle_dropped_total",
        "Lifecycle events dropped because the queue was far over its bound.",
        Read::Shard(|shard| shard.inner.publish.lifecycle_dropped as f64),
    ),
];

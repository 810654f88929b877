//! The Dapr and the Redis backend. With another backend there are no such series.

use super::{Metric, Read, Set, counter, gauge, histogram};

pub(super) const DAPR: &[Metric] = &[
    counter(
        "wsm_dapr_bulk_requests_total",
        "Bulk publishes at the sidecar.",
        Read::Dapr(|stats| stats.bulk_requests as f64),
    ),
    counter(
        "wsm_dapr_bulk_retries_total",
        "Of those, the ones whose events were sent before, or may have been.",
        Read::Dapr(|stats| stats.bulk_retries as f64),
    ),
    counter(
        "wsm_dapr_events_total",
        "Events that the component acknowledged.",
        Read::Dapr(|stats| stats.events as f64),
    ),
    counter(
        "wsm_dapr_refused_events_total",
        "Events that the component will never take.",
        Read::Dapr(|stats| stats.refused_events as f64),
    ),
    counter(
        "wsm_dapr_dead_letters_total",
        "Refused events that the dead letter topic has.",
        Read::Dapr(|stats| stats.dead_lettered as f64),
    ),
    counter(
        "wsm_dapr_batches_given_back_total",
        "Batches given back to their shards because nothing got through.",
        Read::Dapr(|stats| stats.batches_given_back as f64),
    ),
    histogram(
        "wsm_dapr_call_seconds",
        "What the sidecar took, until it failed or was given up as well: for a bulk publish, and to read or \
         write documents, reading back included.",
        Read::TallySet(Set::BackendCall, |page, n| page.dapr.as_ref().map(|stats| stats.times[n])),
    ),
    gauge(
        "wsm_dapr_bulk_in_flight",
        "Bulk publishes under way.",
        Read::Dapr(|stats| stats.bulk_in_flight as f64),
    ),
    gauge(
        "wsm_dapr_batches_held",
        "Batches of the shards that are not answered.",
        Read::Dapr(|stats| stats.batches_held as f64),
    ),
    gauge(
        "wsm_dapr_bulk_fallback",
        "1 once the sidecar is known to have the bulk call under its older name only.",
        Read::Dapr(|stats| stats.fallback as f64),
    ),
    counter(
        "wsm_dapr_state_calls_total",
        "Calls for documents.",
        Read::Dapr(|stats| stats.state_calls as f64),
    ),
    counter(
        "wsm_dapr_state_doubts_total",
        "Writes that had to be read back because their answer was none.",
        Read::Dapr(|stats| stats.state_doubts as f64),
    ),
    counter(
        "wsm_dapr_probes_total",
        "Questions about the sidecar and its components.",
        Read::Dapr(|stats| stats.probes as f64),
    ),
    counter(
        "wsm_dapr_errors_total",
        "Calls of the sidecar that failed.",
        Read::DaprSet(Set::DaprError, |stats, n| stats.errors[n] as f64),
    ),
];

pub(super) const REDIS: &[Metric] = &[
    counter(
        "wsm_redis_connects_total",
        "Connections to the server that were made.",
        Read::Redis(|stats| stats.connects as f64),
    ),
    counter(
        "wsm_redis_connection_failures_total",
        "Connections to the server that broke or could not be made.",
        Read::Redis(|stats| stats.connection_failures as f64),
    ),
    histogram(
        "wsm_redis_call_seconds",
        "What the server took, until it failed or was given up as well: for a batch, and to read or write \
         documents.",
        Read::TallySet(Set::BackendCall, |page, n| page.redis_times.map(|times| times[n])),
    ),
    counter(
        "wsm_redis_document_calls_total",
        "Reads and writes of documents.",
        Read::RedisSet(Set::DocumentCall, |stats, n| [stats.document_reads, stats.document_writes][n] as f64),
    ),
    counter(
        "wsm_redis_document_conflicts_total",
        "Writes that found another document.",
        Read::Redis(|stats| stats.document_conflicts as f64),
    ),
    counter(
        "wsm_redis_document_errors_total",
        "Documents' commands whose outcome nobody knows.",
        Read::Redis(|stats| stats.document_errors as f64),
    ),
    counter(
        "wsm_redis_published_events_total",
        "Events added to streams.",
        Read::Redis(|stats| stats.published_events as f64),
    ),
    counter(
        "wsm_redis_published_bytes_total",
        "Their bytes.",
        Read::Redis(|stats| stats.published_bytes as f64),
    ),
    counter(
        "wsm_redis_published_batches_total",
        "Batches added to streams.",
        Read::Redis(|stats| stats.published_batches as f64),
    ),
    counter(
        "wsm_redis_publish_retries_total",
        "Batches answered with try again.",
        Read::Redis(|stats| stats.publish_retries as f64),
    ),
    counter(
        "wsm_redis_publish_recovered_total",
        "Of those, the ones that turned out to be taken: no second copy was sent.",
        Read::Redis(|stats| stats.publish_recovered as f64),
    ),
    counter(
        "wsm_redis_publish_held_total",
        "Batches held back because an older one of their connection had failed.",
        Read::Redis(|stats| stats.publish_held as f64),
    ),
    counter(
        "wsm_redis_refused_events_total",
        "Events refused for good.",
        Read::Redis(|stats| stats.refused_events as f64),
    ),
    counter(
        "wsm_redis_fetched_events_total",
        "Events read from streams.",
        Read::Redis(|stats| stats.fetched_events as f64),
    ),
    counter(
        "wsm_redis_fetches_refused_total",
        "Fetches refused because too many wait.",
        Read::Redis(|stats| stats.fetches_refused as f64),
    ),
    counter(
        "wsm_redis_foreign_entries_total",
        "Entries of other writers in a stream that are no events, left out.",
        Read::Redis(|stats| stats.foreign_entries as f64),
    ),
    gauge(
        "wsm_redis_parked_readers",
        "Readers that wait at the end of a topic.",
        Read::Redis(|stats| stats.parked_readers as f64),
    ),
];

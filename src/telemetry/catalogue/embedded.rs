//! The embedded backend's log, spill logs and store.

use super::{Metric, Read, Set, counter, gauge, histogram};

pub(super) const EMBEDDED: &[Metric] = &[
    counter(
        "wsm_embedded_appended_events_total",
        "Events written to topics.",
        Read::Embedded(|stats| stats.appended_events as f64),
    ),
    counter(
        "wsm_embedded_appended_bytes_total",
        "Bytes written to topics, record heads included.",
        Read::Embedded(|stats| stats.appended_bytes as f64),
    ),
    counter(
        "wsm_embedded_bus_writes_total",
        "Write calls for topics.",
        Read::Embedded(|stats| stats.bus_writes as f64),
    ),
    counter(
        "wsm_embedded_bus_retries_total",
        "Batches answered with try again.",
        Read::Embedded(|stats| stats.bus_retries as f64),
    ),
    counter(
        "wsm_embedded_refused_events_total",
        "Events refused for good.",
        Read::Embedded(|stats| stats.bus_refused_events as f64),
    ),
    counter(
        "wsm_embedded_fetches_refused_total",
        "Fetches refused because too many wait.",
        Read::Embedded(|stats| stats.fetches_refused as f64),
    ),
    histogram("wsm_embedded_fsync_seconds", "What forcing data to the disk took.", Read::Fsync),
    counter(
        "wsm_embedded_errors_total",
        "Failures of the disk, by the part that met them.",
        Read::EmbeddedSet(Set::Stage, |stats, n| {
            [stats.bus_errors, stats.fsync_errors, stats.spill_errors, stats.store_errors][n] as f64
        }),
    ),
    counter(
        "wsm_embedded_damaged_places_total",
        "Damaged places met in log files.",
        Read::Embedded(|stats| stats.damaged_places as f64),
    ),
    counter(
        "wsm_embedded_torn_bytes_total",
        "Bytes cut from torn tails of log files.",
        Read::Embedded(|stats| stats.torn_bytes as f64),
    ),
    counter(
        "wsm_embedded_segments_deleted_total",
        "Segments deleted for their topic's age or size.",
        Read::Embedded(|stats| stats.segments_deleted as f64),
    ),
    gauge("wsm_embedded_topics", "Topics.", Read::Embedded(|stats| stats.topics as f64)),
    gauge("wsm_embedded_segments", "Segment files.", Read::Embedded(|stats| stats.segments as f64)),
    gauge(
        "wsm_embedded_parked_readers",
        "Readers that wait at the end of a topic.",
        Read::Embedded(|stats| stats.parked_readers as f64),
    ),
    gauge("wsm_embedded_open_files", "Open log files.", Read::Embedded(|stats| stats.open_files as f64)),
    gauge(
        "wsm_embedded_disk_bytes",
        "Bytes on disk of topics and of spill logs.",
        Read::EmbeddedSet(Set::DiskStage, |stats, n| [stats.bus_bytes, stats.spill_bytes][n] as f64),
    ),
    counter(
        "wsm_embedded_spill_records_total",
        "Records written to spill logs, forgotten after delivery, and refused at the bound.",
        Read::EmbeddedSet(Set::SpillOutcome, |stats, n| {
            [stats.spill_appended, stats.spill_popped, stats.spill_refused][n] as f64
        }),
    ),
    counter(
        "wsm_embedded_store_writes_total",
        "Documents written or deleted.",
        Read::Embedded(|stats| stats.store_writes as f64),
    ),
    counter(
        "wsm_embedded_store_commits_total",
        "Transactions of the store; one holds all that waited.",
        Read::Embedded(|stats| stats.store_commits as f64),
    ),
];

"""What is behind the publisher: this machine's disk, a Dapr sidecar, Redis."""

from source.model import DAPR, FLEET, GREEN, RED, YELLOW, Row, states, timeseries
from source.query import gauge, increase, over, quantile, quantiles, rate, select

NO_DAPR = "Empty as long as no chosen instance has the Dapr backend."
NO_REDIS = "Empty as long as no chosen instance has the Redis backend."

EMBEDDED = Row(
    "On this machine's disk: topics of the embedded backend, spill logs of every one",
    [
        timeseries(
            "Appended",
            "Events a second written to topics.",
            "ops",
            [(rate("wsm_embedded_appended_events_total", by="instance"), "{{instance}}")],
            width=6,
        ),
        timeseries(
            "Bytes appended",
            "A second, record heads included.",
            "Bps",
            [(rate("wsm_embedded_appended_bytes_total", by="instance"), "{{instance}}")],
            width=6,
        ),
        timeseries(
            "Forcing to disk",
            "What fsync took. Above 100 ms accepted events are at risk for longer, and Connect is slow.",
            "s",
            quantiles("wsm_embedded_fsync_seconds"),
            width=6,
            steps=((0.1, YELLOW), (1, RED)),
        ),
        timeseries(
            "On disk",
            "Bytes of topics, and of the spill logs of all shards together. Compare with the free space of --data-dir; "
            "a shard whose spill log is at its bound pauses reads.",
            "bytes",
            [
                (gauge("wsm_embedded_disk_bytes", by=("instance", "stage")), "{{instance}} {{stage}}"),
                (gauge("wsm_publish_spill_max_bytes", how="max"), "bound of a shard's spill log"),
            ],
            width=6,
        ),
        timeseries(
            "Errors of the disk",
            "In this window, by the part that met them. Anything but 0: full, read-only or broken.",
            "short",
            [(increase("wsm_embedded_errors_total", by="stage", window="$__rate_interval"), "{{stage}}")],
            width=6,
            calm=True,
        ),
        timeseries(
            "Damage",
            "Damaged places met in log files, and bytes cut from torn tails, in this window. After a crash one torn tail "
            "is usual; anything while running is not.",
            "short",
            [
                (increase("wsm_embedded_damaged_places_total", window="$__rate_interval"), "damaged places"),
                (increase("wsm_embedded_torn_bytes_total", window="$__rate_interval"), "torn bytes"),
            ],
            width=6,
            calm=True,
        ),
        timeseries(
            "Write calls and transactions",
            "A second. Far fewer than events: they share calls.",
            "ops",
            [
                (rate("wsm_embedded_bus_writes_total"), "topic writes"),
                (rate("wsm_embedded_store_writes_total"), "documents"),
                (rate("wsm_embedded_store_commits_total"), "store transactions"),
            ],
            width=6,
        ),
        timeseries(
            "Spill logs",
            "Records a second. Refused: at the bound --spill-bytes.",
            "ops",
            [(rate("wsm_embedded_spill_records_total", by="outcome"), "{{outcome}}")],
            width=6,
            calm=True,
        ),
        timeseries(
            "Topics and files",
            "Topics, their segment files, and log files that are open.",
            "none",
            [
                (gauge("wsm_embedded_topics"), "topics"),
                (gauge("wsm_embedded_segments"), "segments"),
                (gauge("wsm_embedded_open_files"), "open files"),
            ],
            width=6,
        ),
        timeseries(
            "Segments deleted",
            "In this window, for their topic's age or size: readers further behind have lost them.",
            "short",
            [(increase("wsm_embedded_segments_deleted_total", window="$__rate_interval"), "deleted")],
            width=6,
            calm=True,
        ),
        timeseries(
            "Readers",
            "Readers that wait at the end of a topic; fetches refused a second because too many wait.",
            "none",
            [
                (gauge("wsm_embedded_parked_readers"), "waiting"),
                (rate("wsm_embedded_fetches_refused_total"), "refused a second"),
            ],
            width=6,
        ),
        timeseries(
            "Not taken",
            "Batches a second answered with try again; events refused for good.",
            "ops",
            [
                (rate("wsm_embedded_bus_retries_total"), "again"),
                (rate("wsm_embedded_refused_events_total"), "refused"),
            ],
            width=6,
            calm=True,
        ),
    ],
)

DAPR_ROW = Row(
    "Dapr (backend dapr)",
    [
        timeseries(
            "Events",
            "A second that the component acknowledged, and those that it will never take.",
            "ops",
            [
                (rate("wsm_dapr_events_total"), "acknowledged"),
                (rate("wsm_dapr_refused_events_total"), "refused for good"),
                (rate("wsm_dapr_dead_letters_total"), "on the dead letter topic"),
            ],
            scenario=DAPR,
            empty=NO_DAPR,
        ),
        timeseries(
            "Bulk publishes",
            "A second, and those whose events were sent before or may have been: subscribers may see these twice.",
            "ops",
            [(rate("wsm_dapr_bulk_requests_total"), "requests"), (rate("wsm_dapr_bulk_retries_total"), "retries")],
            scenario=DAPR,
            empty=NO_DAPR,
        ),
        timeseries(
            "Under way",
            "Bulk publishes at the sidecar, and batches of shards that are not answered. Constantly at "
            "--bulk-in-flight: the sidecar or its component is the bound.",
            "none",
            [(gauge("wsm_dapr_bulk_in_flight"), "bulk"), (gauge("wsm_dapr_batches_held"), "batches held")],
            scenario=DAPR,
            empty=NO_DAPR,
            calm=True,
        ),
        timeseries(
            "Errors by kind",
            "Calls of the sidecar that failed, a second. timeout and unavailable: the sidecar or its "
            "component is away or slow; the others are its answers.",
            "ops",
            [(rate("wsm_dapr_errors_total", by="kind"), "{{kind}}")],
            scenario=DAPR,
            empty=NO_DAPR,
            calm=True,
        ),
        timeseries(
            "Documents and questions",
            "Calls a second for documents; writes that had to be read back because their answer was "
            "none; questions about the sidecar.",
            "ops",
            [
                (rate("wsm_dapr_state_calls_total"), "documents"),
                (rate("wsm_dapr_state_doubts_total"), "read back"),
                (rate("wsm_dapr_probes_total"), "questions"),
            ],
            scenario=DAPR,
            empty=NO_DAPR,
        ),
        timeseries(
            "Given back",
            "Batches a second given back to their shards because nothing got through. They wait or spill there.",
            "ops",
            [(rate("wsm_dapr_batches_given_back_total"), "given back")],
            scenario=DAPR,
            empty=NO_DAPR,
            calm=True,
        ),
        timeseries(
            "Time of calls",
            "99 % of the sidecar's calls are faster. All kinds together: the sidecar; one: its component.",
            "s",
            [(quantile(0.99, "wsm_dapr_call_seconds", by="call"), "{{call}}")],
            scenario=DAPR,
            empty=NO_DAPR,
        ),
        states(
            "Bulk call",
            "Whether the sidecar knows the bulk call under its stable name.",
            [(gauge("wsm_dapr_bulk_fallback", by="instance"), "{{instance}}")],
            ((0, "stable", GREEN), (1, "older name", YELLOW)),
            scenario=DAPR,
            empty=NO_DAPR,
            calm=True,
        ),
        timeseries(
            "Commands over the bus",
            "A second, by what became of them. malformed, invalid and unknown_method are the callers' "
            "faults; full and expired say that they come too fast.",
            "ops",
            [(rate("wsm_commands_total", by="outcome"), "{{outcome}}")],
            scenario=DAPR,
        ),
        timeseries(
            "Commands now, and their replies",
            "Commands that are not ended, whether they are taken at all, and replies a second.",
            "none",
            [
                (gauge("wsm_commands_in_flight"), "in flight"),
                (over(select("wsm_commands_taking")), "instances that take them"),
                (rate("wsm_command_replies_total", by="outcome"), "replies {{outcome}}"),
            ],
            scenario=DAPR,
        ),
    ],
)

REDIS = Row(
    "Redis (backend redis)",
    [
        timeseries(
            "Events",
            "A second, added to streams and read from them, and refused for good.",
            "ops",
            [
                (rate("wsm_redis_published_events_total"), "added"),
                (rate("wsm_redis_fetched_events_total"), "read"),
                (rate("wsm_redis_refused_events_total"), "refused for good"),
                (rate("wsm_redis_foreign_entries_total"), "foreign, left out"),
            ],
            scenario=FLEET,
            empty=NO_REDIS,
        ),
        timeseries(
            "Batches",
            "A second, and those answered with try again, held back behind them, or found to have been taken.",
            "ops",
            [
                (rate("wsm_redis_published_batches_total"), "added"),
                (rate("wsm_redis_publish_retries_total"), "again"),
                (rate("wsm_redis_publish_held_total"), "held back"),
                (rate("wsm_redis_publish_recovered_total"), "had been taken"),
            ],
            scenario=FLEET,
            empty=NO_REDIS,
        ),
        timeseries(
            "Time of commands",
            "99 % of Redis' answers are faster. Above 100 ms: the server is loaded, or far, or saves.",
            "s",
            [(quantile(0.99, "wsm_redis_call_seconds", by="call"), "{{call}}")],
            scenario=FLEET,
            empty=NO_REDIS,
        ),
        timeseries(
            "Bytes",
            "A second, of events added to streams.",
            "Bps",
            [(rate("wsm_redis_published_bytes_total"), "added")],
            scenario=FLEET,
            empty=NO_REDIS,
        ),
        timeseries(
            "Documents",
            "Reads and writes a second; conflicts (another document stood there) and errors (nobody knows).",
            "ops",
            [
                (rate("wsm_redis_document_calls_total", by="call"), "{{call}}"),
                (rate("wsm_redis_document_conflicts_total"), "conflicts"),
                (rate("wsm_redis_document_errors_total"), "errors"),
            ],
            scenario=FLEET,
            empty=NO_REDIS,
        ),
        timeseries(
            "Connections to the server",
            "Made and broken in this window. Broken ones again and again: the server or the way to it.",
            "short",
            [
                (increase("wsm_redis_connects_total", window="$__rate_interval"), "made"),
                (increase("wsm_redis_connection_failures_total", window="$__rate_interval"), "broken"),
            ],
            scenario=FLEET,
            empty=NO_REDIS,
            calm=True,
        ),
        timeseries(
            "Readers",
            "Readers that wait at the end of a topic; fetches refused a second because too many wait.",
            "none",
            [
                (gauge("wsm_redis_parked_readers"), "waiting"),
                (rate("wsm_redis_fetches_refused_total"), "refused a second"),
            ],
            scenario=FLEET,
            empty=NO_REDIS,
            calm=True,
        ),
    ],
    folded=True,
)

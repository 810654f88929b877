"""From sockets to topics: the publisher, and the backend behind it."""

from source.backends import DAPR_ROW, EMBEDDED, REDIS
from source.model import GREEN, RED, YELLOW, Dashboard, Row, heatmap, stat, states, timeseries
from source.query import buckets, gauge, increase, quantile, quantiles, rate


BOOKS = Row(
    "Publishing",
    [
        stat(
            "Delivered",
            "Messages a second that the bus took.",
            "ops",
            [(rate("wsm_publish_delivered_total"), "delivered")],
        ),
        stat(
            "Slowest of a hundred",
            "99 % of batches are answered faster by the bus. Above a second the backlog grows.",
            "s",
            [(quantile(0.99, "wsm_publish_seconds"), "p99")],
            steps=((0.25, YELLOW), (1, RED)),
        ),
        stat(
            "Waiting in memory",
            "Messages that are not delivered, dropped or spilled yet.",
            "short",
            [(gauge("wsm_publish_pending_messages"), "pending")],
            calm=True,
        ),
        stat(
            "Waiting on disk",
            "Messages on spill logs. Anything but 0: the bus was or is slower than the feeds.",
            "short",
            [(gauge("wsm_publish_spilled_messages"), "spilled")],
            steps=((1, YELLOW),),
            calm=True,
        ),
        stat(
            "Spill logs full",
            "Shards that can keep nothing more. Anything but 0: reads pause, and upstreams are held back.",
            "none",
            [(gauge("wsm_publish_spill_full"), "full")],
            steps=((1, RED),),
            calm=True,
        ),
        stat(
            "Connections that publish",
            "Lanes of the publisher: their messages keep their order.",
            "none",
            [(gauge("wsm_publish_lanes"), "lanes")],
        ),
        timeseries(
            "Where messages go",
            "A second. Each numbered message is published, fed to rooms, or dropped for a reason; "
            "restored ones are of an earlier process.",
            "ops",
            [
                (rate("wsm_messages_numbered_total"), "numbered"),
                (rate("wsm_publish_accepted_total"), "handed to the publisher"),
                (rate("wsm_publish_delivered_total"), "delivered"),
                (rate("wsm_messages_fed_total"), "fed to rooms"),
                (rate("wsm_publish_restored_total"), "restored"),
            ],
            width=12,
        ),
        timeseries(
            "Dropped by reason",
            "A second. not_published: nobody asked for them; overflow_*: the connection's policy, as the "
            "bus was too slow; bus_refused: the bus will never take them.",
            "ops",
            [(rate("wsm_messages_dropped_total", by="reason"), "{{reason}}")],
            width=12,
        ),
    ],
)

BUS = Row(
    "Bus",
    [
        timeseries(
            "Time of a batch",
            "From handing a batch to the bus to its answer at the shard.",
            "s",
            quantiles("wsm_publish_seconds"),
            steps=((1, RED),),
        ),
        heatmap("Spread", "How batches spread over time.", [(buckets("wsm_publish_seconds"), "{{le}}")]),
        timeseries(
            "Wait before the bus",
            "From a batch's first event to its first hand-over: batching, at least --publish-linger when "
            "little comes, and queueing. A rise above that: the bus holds batches up.",
            "s",
            quantiles("wsm_publish_wait_seconds"),
        ),
        timeseries(
            "Batches",
            "A second: taken, sent again after a failure, written to the spill log. The last two should be 0.",
            "ops",
            [(rate("wsm_publish_batches_total", by="outcome"), "{{outcome}}")],
        ),
        timeseries(
            "Backlog",
            "Messages in memory and on disk, by instance. A slope that does not turn: more comes in than the bus takes.",
            "short",
            [
                (gauge("wsm_publish_pending_messages", by="instance"), "{{instance}}, memory"),
                (gauge("wsm_publish_spilled_messages", by="instance"), "{{instance}}, disk"),
            ],
            calm=True,
        ),
        timeseries(
            "Queue in memory",
            "Bytes of events of each shard. At --publish-queue-bytes a shard begins to spill.",
            "bytes",
            [
                (gauge("wsm_publish_queue_bytes", by=("instance", "shard")), "{{instance}} / {{shard}}"),
                (gauge("wsm_publish_queue_max_bytes", how="max"), "bound of a shard"),
            ],
        ),
        timeseries(
            "Batches under way",
            "At the bus and not answered, by instance. Constantly at --publish-in-flight times shards: the "
            "bus is the bound.",
            "none",
            [(gauge("wsm_publish_batches_in_flight", by="instance"), "{{instance}}")],
            calm=True,
        ),
        states(
            "Overflow",
            "Per shard: queue over its bound (events spill or are dropped), and spill log full (reads pause).",
            [
                (gauge("wsm_publish_overflowing", by=("instance", "shard")), "{{instance}} / {{shard}} queue"),
                (gauge("wsm_publish_spill_full", by=("instance", "shard")), "{{instance}} / {{shard}} spill log"),
            ],
            ((0, "fine", GREEN), (1, "full", RED)),
            calm=True,
        ),
        timeseries(
            "Held back",
            "Lanes that hold messages back until the bus keeps up, and batches on spill logs.",
            "none",
            [
                (gauge("wsm_publish_lanes_holding"), "lanes that hold"),
                (gauge("wsm_publish_spilled_batches"), "batches on spill logs"),
            ],
            calm=True,
        ),
        timeseries(
            "Records lost",
            "In this window: gap records, end markers and lifecycle events that the bus refused or a full queue "
            "dropped, and records of the spill log that could not be read. Anything but 0 hides losses from consumers.",
            "short",
            [
                (increase("wsm_publish_records_refused_total", window="$__rate_interval"), "records refused"),
                (increase("wsm_publish_ends_dropped_total", window="$__rate_interval"), "end markers dropped"),
                (increase("wsm_publish_records_unreadable_total", window="$__rate_interval"), "unreadable"),
                (increase("wsm_lifecycle_dropped_total", window="$__rate_interval"), "lifecycle events dropped"),
            ],
            calm=True,
        ),
        timeseries(
            "Gap records",
            "On their way to topics, a second, by cause.",
            "ops",
            [(rate("wsm_publish_gap_records_total", by="cause"), "{{cause}}")],
        ),
        timeseries(
            "Store",
            "From asking the store for a write to its answer. Connect, tags and disconnect wait for it.",
            "s",
            quantiles("wsm_store_seconds"),
            steps=((1, RED),),
        ),
        timeseries(
            "Writes of the store",
            "A second. Errors: what was asked for is not recorded, and lost with a restart.",
            "ops",
            [(rate("wsm_store_writes_total"), "writes"), (rate("wsm_store_errors_total"), "errors")],
        ),
    ],
)

DASHBOARD = Dashboard(
    "publishing",
    "Publishing and Dapr",
    "From sockets to topics: is the bus fast enough, what waits, what is lost, and how the backend behind it does.",
    [BOOKS, BUS, EMBEDDED, DAPR_ROW, REDIS],
)

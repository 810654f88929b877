"""Shards, their loops and queues; the process, its memory, files and threads."""

from source.model import GREEN, RED, YELLOW, Dashboard, Row, heatmap, stat, states, timeseries
from source.query import above_the_others, buckets, gauge, increase, over, quantile, quantiles, rate, select

EACH = ("instance", "shard")
LANE = "{{instance}} / {{shard}}"
BUSY = "wsm_shard_busy_seconds_total"

SHARDS = Row(
    "Shards",
    [
        stat(
            "Busiest shard",
            "Share of its core. At 1 it is full and everything on it waits.",
            "percentunit",
            [(rate(BUSY, how="max"), "busiest")],
            steps=((0.7, YELLOW), (0.9, RED)),
            maximum=1,
        ),
        stat(
            "Skew",
            "By how much of a core the busiest shard is above the mean of its instance's other shards. Above 30 % it has "
            "the hot connections; more shards do not help.",
            "percentunit",
            [(f"max({above_the_others(BUSY)})", "skew")],
            empty="No instance with several shards.",
            steps=((0.3, YELLOW), (0.5, RED)),
        ),
        stat(
            "Loop lag",
            "99 % of turns were less late for their earliest timer. Above 50 ms heartbeats and timeouts are late.",
            "s",
            [(quantile(0.99, "wsm_shard_lag_seconds"), "p99")],
            steps=((0.01, YELLOW), (0.05, RED)),
        ),
        stat(
            "Time in the mailbox",
            "99 % of commands waited less for their shard.",
            "s",
            [(quantile(0.99, "wsm_mailbox_wait_seconds"), "p99")],
            steps=((0.01, YELLOW), (0.05, RED)),
        ),
        stat(
            "Fullest mailbox",
            "Of --mailbox-max. At 1 callers are refused.",
            "percentunit",
            [
                (
                    f"max({select('wsm_mailbox_depth')} / on (job, instance) group_left () {select('wsm_mailbox_max')})",
                    "fullest",
                )
            ],
            steps=((0.5, YELLOW), (0.9, RED)),
            maximum=1,
            calm=True,
        ),
        stat(
            "Fullest shard",
            "Its connections, of --max-connections. At 1 Connect is refused.",
            "percentunit",
            [
                (
                    f"max((sum by (job, instance, shard) ({select('wsm_connections')}) + on (job, instance, shard) "
                    f"{select('wsm_accepted_connections')}) / on (job, instance) group_left () {select('wsm_connections_max')})",
                    "fullest",
                )
            ],
            steps=((0.7, YELLOW), (0.9, RED)),
            maximum=1,
        ),
        timeseries(
            "Busy",
            "Share of a core, of each shard. One line far above the others: a hot shard; all near 1: add shards or machines.",
            "percentunit",
            [(rate(BUSY, by=EACH), LANE)],
            width=12,
            maximum=1,
            steps=((0.9, RED),),
        ),
        timeseries(
            "Messages of each shard",
            "A second, read and written. Tells whether a busy shard has more to do or does it slower.",
            "ops",
            [(rate("wsm_messages_total", by=EACH), LANE)],
            width=12,
        ),
        states(
            "Answering",
            "Whether a shard answered the scrape within a second.",
            [(gauge("wsm_shard_up", by=EACH), LANE)],
            ((0, "hangs", RED), (1, "answers", GREEN)),
        ),
        timeseries(
            "Connections of each shard",
            "Dialled ones. They are spread by a hash of their id, so evenly, unless ids were chosen.",
            "none",
            [(gauge("wsm_connections", by=EACH), LANE)],
        ),
        timeseries(
            "Clients of each shard",
            "Accepted connections.",
            "none",
            [(gauge("wsm_accepted_connections", by=EACH), LANE)],
        ),
    ],
)

LOOPS = Row(
    "Loops and queues",
    [
        timeseries(
            "Turn",
            "What one turn of a loop takes: mail, timers, batches and writes. Every socket of the shard waits that long.",
            "s",
            quantiles("wsm_shard_turn_seconds"),
            steps=((0.05, RED),),
        ),
        heatmap(
            "Turns by time",
            "How turns spread. A second band far up: something blocks a shard now and then.",
            [(buckets("wsm_shard_turn_seconds"), "{{le}}")],
        ),
        timeseries(
            "Loop lag of each shard",
            "p99 of how late turns were for their earliest timer.",
            "s",
            [(quantile(0.99, "wsm_shard_lag_seconds", by=EACH), LANE)],
            steps=((0.05, RED),),
        ),
        timeseries(
            "Time in the mailbox",
            "From another thread's enqueue to the shard taking it; one in sixteen is timed.",
            "s",
            quantiles("wsm_mailbox_wait_seconds"),
            steps=((0.05, RED),),
        ),
        timeseries(
            "Mailbox depth",
            "Commands and answers that a shard has not taken. Growth: it is overloaded or hangs.",
            "none",
            [(gauge("wsm_mailbox_depth", by=EACH), LANE)],
            calm=True,
        ),
        timeseries(
            "Refused by full mailboxes",
            "Commands a second. Anything but 0: callers get RESOURCE_EXHAUSTED.",
            "ops",
            [(rate("wsm_mailbox_refused_total", by=EACH), LANE)],
            calm=True,
        ),
        timeseries(
            "Turns",
            "A second. Very many with little traffic: something wakes the loop for nothing.",
            "ops",
            [(rate("wsm_shard_turn_seconds_count", by=EACH), LANE)],
        ),
        timeseries(
            "Timers",
            "That run, of each shard: heartbeats, timeouts, reconnects.",
            "none",
            [(gauge("wsm_shard_timers", by=EACH), LANE)],
        ),
        timeseries(
            "Callers waiting",
            "Calls that wait for an answer of a shard.",
            "none",
            [(gauge("wsm_shard_callers_waiting", by=EACH), LANE)],
        ),
    ],
)

MEMORY = Row(
    "Memory and files",
    [
        timeseries(
            "Memory",
            "By instance. resident is in RAM; anonymous is what no file backs, which the kernel cannot take back. At "
            "the limit the process is killed.",
            "bytes",
            [
                (gauge("wsm_process_resident_memory_bytes", by="instance"), "{{instance}} resident"),
                (gauge("wsm_process_anonymous_memory_bytes", by="instance"), "{{instance}} anonymous"),
                (f"{select('wsm_process_memory_limit_bytes')} > 0", "{{instance}} limit"),
            ],
            width=12,
        ),
        timeseries(
            "Allocator",
            "Memory it has taken from the system, and address space it reserved. Committed far above resident for "
            "long: fragmented.",
            "bytes",
            [
                (gauge("wsm_allocator_committed_bytes", by="instance"), "{{instance}} committed"),
                (gauge("wsm_allocator_reserved_bytes", by="instance"), "{{instance}} reserved"),
            ],
            width=12,
        ),
        timeseries(
            "Worst case of the settings",
            "What every bound full at once would take, and the address space in use. A promise only "
            "where it is below the machine's memory.",
            "bytes",
            [
                (gauge("wsm_memory_bound_bytes", by="instance"), "{{instance}} worst case"),
                (gauge("wsm_process_virtual_memory_bytes", by="instance"), "{{instance}} address space"),
            ],
        ),
        timeseries(
            "Files",
            "Open descriptors by instance: one each socket and log file.",
            "none",
            [
                (gauge("wsm_process_open_fds", by="instance"), "{{instance}}"),
                (f"{select('wsm_process_max_fds')} > 0", "{{instance}} limit"),
            ],
        ),
        timeseries(
            "Files in use",
            "Of the limit. At 1 no connection is dialled or accepted; raise the limit (`ulimit -n`, LimitNOFILE).",
            "percentunit",
            [(f"{select('wsm_process_open_fds')} / ({select('wsm_process_max_fds')} > 0)", "{{instance}}")],
            maximum=1,
            steps=((0.85, RED),),
        ),
        timeseries(
            "What fills memory",
            "Queues by kind: outboxes, events to publish, rings, histories, what slow members have not taken.",
            "bytes",
            [
                (gauge("wsm_outbox_bytes"), "outboxes"),
                (gauge("wsm_publish_queue_bytes"), "to publish"),
                (gauge("wsm_ring_bytes"), "rings"),
                (gauge("wsm_room_history_bytes"), "histories"),
                (gauge("wsm_room_backlog_bytes"), "slow members"),
            ],
            width=24,
            stacked=True,
        ),
    ],
)

PROCESS = Row(
    "Process",
    [
        timeseries(
            "Processor",
            "Cores in use by instance, all threads.",
            "none",
            [(rate("wsm_process_cpu_seconds_total", by="instance"), "{{instance}}")],
        ),
        timeseries(
            "Processor by work",
            "Share of a core, of threads that are no shards, by what they do. One at 1: that part is the bound.",
            "percentunit",
            [(rate("wsm_thread_busy_seconds_total", by="work"), "{{work}}")],
        ),
        timeseries(
            "Threads",
            "By instance. They are a handful and stay so.",
            "none",
            [(gauge("wsm_process_threads", by="instance"), "{{instance}}")],
        ),
        timeseries(
            "Listeners",
            "What happened at the HTTP and gRPC ports, a second. accept_errors: files are used up; handler_panics: a "
            "fault of ours.",
            "ops",
            [(rate("wsm_edge_total", by="event"), "{{event}}")],
        ),
        timeseries(
            "Scrape",
            "What the scrape before the last took, inside the service.",
            "s",
            [(gauge("wsm_scrape_seconds", by="instance"), "{{instance}}")],
        ),
        timeseries(
            "Traces",
            "Spans for the collector in this window: taken, dropped as the queue was full, refused. All 0 while "
            "tracing is off.",
            "short",
            [(increase("wsm_trace_spans_total", by="outcome", window="$__rate_interval"), "{{outcome}}")],
            calm=True,
        ),
        timeseries(
            "Uptime",
            "A fall to 0 is a restart.",
            "s",
            [(over(select("wsm_uptime_seconds"), "instance", "max"), "{{instance}}")],
            width=24,
            height=6,
        ),
    ],
)

DASHBOARD = Dashboard(
    "shards",
    "Shards and resources",
    "Is a shard hot or late, what waits in queues, and what the process takes of processor, memory and files.",
    [SHARDS, LOOPS, MEMORY, PROCESS],
)

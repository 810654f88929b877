"""Is it healthy, how much, how fast, and what is dropped and why."""

from source.model import GREEN, RED, YELLOW, Dashboard, Row, stat, states, table, timeseries
from source.query import INSTANCES, above_the_others, gauge, increase, over, quantiles, rate, select

# Alerts about a whole job have no instance.
OF_JOBS_TOO = INSTANCES.replace('$instance"', '$instance|"')
LOST = 'outcome=~"dropped_.+"'
BUSY = "wsm_shard_busy_seconds_total"
NOT_LOST = 'reason!~"not_published|ignored|superseded|overflow_keep_latest"'

HEALTH = Row(
    "Is it healthy",
    [
        stat(
            "Instances",
            "Instances that answer scrapes. Fewer than you run: one is down, or Prometheus cannot reach it.",
            "none",
            [(over(select("wsm_build_info"), how="count"), "instances")],
            steps=((0, RED), (1, GREEN)),
        ),
        stat(
            "Not ready",
            "Instances that wait for their store, sidecar or lease, or leave, and so refuse work. Anything "
            "but 0 outside of a restart is bad: `/readyz` of the instance says what it waits for.",
            "none",
            [(over(f"1 - {select('wsm_ready')}"), "not ready")],
            steps=((1, RED),),
            calm=True,
        ),
        stat(
            "Shards that hang",
            "Shards that did not answer the last scrape within a second. Anything but 0 is bad: their "
            "connections stand still.",
            "none",
            [(over(f"1 - {select('wsm_shard_up')}"), "hang")],
            steps=((1, RED),),
            calm=True,
        ),
        stat(
            "Alerts",
            "Alerts of dashboards/prometheus that fire now for the chosen instances, and those about the whole job. "
            "The runbook has an entry for each.",
            "none",
            [(f'count(ALERTS{{{OF_JOBS_TOO}, alertname=~"Wsm.+", alertstate="firing"}}) or vector(0)', "fire")],
            steps=((1, RED),),
            calm=True,
        ),
        stat(
            "Lost in this range",
            "Messages that were accepted and lost: on their way to topics and followers, and to members of rooms that "
            "were too slow. Consumers see each as a gap. What was dropped by choice is not in it.",
            "short",
            [
                (f"{increase('wsm_messages_dropped_total', where=NOT_LOST)}", "to topics, followers"),
                (f"{increase('wsm_room_deliveries_total', where=LOST)}", "to members"),
            ],
            steps=((1, YELLOW), (1000, RED)),
            width=8,
            decimals=0,
            instant=True,
        ),
        states(
            "Ready",
            "Green while an instance takes work. Yellow: it leaves. Red: it has no store, sidecar or lease.",
            [(f"{select('wsm_ready')} + on (job, instance) 2 * {select('wsm_draining')}", "{{instance}}")],
            ((0, "not ready", RED), (1, "ready", GREEN), (2, "leaves", YELLOW), (3, "leaves", YELLOW)),
            width=12,
            height=6,
        ),
        table(
            "Versions",
            "What runs where. Two versions for longer than a rolling restart takes: it got stuck.",
            [(gauge("wsm_build_info", by=("job", "instance", "version", "commit", "backend", "rustc")), "")],
            width=12,
            height=6,
        ),
    ],
)

MUCH = Row(
    "How much",
    [
        timeseries(
            "Messages",
            "Whole messages a second, read from peers and written to them, members of rooms included. A fall to 0 "
            "of what usually flows means silent upstreams or a stuck shard.",
            "ops",
            [(rate("wsm_messages_total", by="direction"), "{{direction}}")],
        ),
        timeseries(
            "Traffic",
            "Bytes a second of messages. Compare with what the network card carries.",
            "Bps",
            [(rate("wsm_traffic_bytes_total", by="direction"), "{{direction}}")],
        ),
        timeseries(
            "Connections",
            "Open now: dialled by status, and those that came to us. Many reconnecting: an upstream is away.",
            "none",
            [
                (gauge("wsm_connections", by="status"), "dialled, {{status}}"),
                (gauge("wsm_accepted_connections"), "accepted"),
            ],
        ),
        timeseries(
            "Sends",
            "Sends accepted a second, and messages sent without waiting for a reply.",
            "ops",
            [
                (rate("wsm_sends_accepted_total"), "with a reply"),
                (rate("wsm_raw_sends_accepted_total"), "without"),
            ],
        ),
        timeseries(
            "Published",
            "Messages a second handed to the publisher, and taken by the bus. The first above the second for "
            "long: the bus is too slow and a backlog grows.",
            "ops",
            [(rate("wsm_publish_accepted_total"), "accepted"), (rate("wsm_publish_delivered_total"), "delivered")],
        ),
        timeseries(
            "Deliveries in rooms",
            "A second, one for each message and member, by what became of it.",
            "ops",
            [(rate("wsm_room_deliveries_total", by="outcome"), "{{outcome}}")],
            stacked=True,
        ),
        timeseries(
            "Calls",
            "Of the API, a second, by all protocols; a stream is one when it is opened. refused: the callers' fault; "
            "failed: ours or an upstream's.",
            "ops",
            [(rate("wsm_calls_total", by="outcome"), "{{outcome}}")],
            width=24,
            height=6,
        ),
    ],
)

FAST = Row(
    "How fast",
    [
        timeseries(
            "Send to reply",
            "From accepting a Send to its reply. This is mostly the peer's own time; a rise at all "
            "upstreams at once is ours or the network's.",
            "s",
            quantiles("wsm_send_seconds"),
            width=6,
        ),
        timeseries(
            "Bus",
            "From handing a batch to the bus to its answer. Above a second the backlog begins to grow.",
            "s",
            quantiles("wsm_publish_seconds"),
            width=6,
            steps=((1, RED),),
        ),
        timeseries(
            "Turn of a shard",
            "What one turn of a shard's loop takes. All sockets of the shard wait that long: above 50 ms "
            "clients notice.",
            "s",
            quantiles("wsm_shard_turn_seconds"),
            width=6,
            steps=((0.05, RED),),
        ),
        timeseries(
            "Busiest and mean shard",
            "Share of a core. The busiest at 1 is full. Skew is how far the hottest shard is above the other shards of "
            "its instance: where that is high, more shards do not help.",
            "percentunit",
            [
                (rate(BUSY, how="max"), "busiest"),
                (rate(BUSY, how="avg"), "mean"),
                (f"max({above_the_others(BUSY)})", "skew"),
            ],
            width=6,
            maximum=1,
            steps=((0.9, RED),),
        ),
    ],
)

DROPPED = Row(
    "What is dropped, and why",
    [
        timeseries(
            "Messages not published",
            "A second, by reason. not_published and ignored are as asked for; overflow_* says that "
            "the bus is slower than the feed; bus_refused and spill_lost are faults.",
            "ops",
            [(rate("wsm_messages_dropped_total", by="reason"), "{{reason}}")],
        ),
        timeseries(
            "Deliveries lost by slow members",
            "A second, by what the room's rule did with members that were too far behind.",
            "ops",
            [(rate("wsm_room_deliveries_total", by="outcome", where=LOST), "{{outcome}}")],
        ),
        timeseries(
            "Sends without a reply",
            "A second, by their end. timed_out: the peer does not answer; lost: its socket broke; "
            "rejected: it was never written.",
            "ops",
            [(rate("wsm_sends_ended_total", by="outcome", where='outcome!="replied"'), "{{outcome}}")],
        ),
        timeseries(
            "Refused at once",
            "A second: nothing was begun. Commands for full mailboxes, Sends over a bound or to a closed "
            "socket, clients that were not let in.",
            "ops",
            [
                (rate("wsm_sends_refused_total"), "Sends"),
                (rate("wsm_mailbox_refused_total"), "mailbox full"),
                (rate("wsm_ws_refused_total"), "clients"),
            ],
            width=12,
        ),
        timeseries(
            "Sockets that ended",
            "A second, by cause. One cause rising at once on all instances is the peers' or the network's "
            "doing; on one instance it is that machine's.",
            "ops",
            [(rate("wsm_closes_total", by="cause"), "{{cause}}")],
            width=12,
        ),
    ],
)

DASHBOARD = Dashboard(
    "overview",
    "Overview",
    "Is it healthy, how much goes through, how fast, and what is dropped and why.",
    [HEALTH, MUCH, FAST, DROPPED],
)

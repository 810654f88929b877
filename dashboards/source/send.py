"""Sends and their replies."""

from source.model import RED, YELLOW, Dashboard, Row, heatmap, stat, timeseries
from source.query import buckets, gauge, quantile, quantiles, rate, share

SENDS = Row(
    "Sends",
    [
        stat(
            "Accepted",
            "Sends a second that wait for a reply.",
            "ops",
            [(rate("wsm_sends_accepted_total"), "accepted")],
        ),
        stat(
            "In flight",
            "Accepted Sends that have not ended.",
            "none",
            [(gauge("wsm_sends_in_flight"), "in flight")],
        ),
        stat(
            "Median",
            "From accepting a Send to its reply.",
            "s",
            [(quantile(0.5, "wsm_send_seconds"), "p50")],
        ),
        stat(
            "Slowest of a hundred",
            "99 % of replies come faster. Mostly the peers' own time.",
            "s",
            [(quantile(0.99, "wsm_send_seconds"), "p99")],
        ),
        stat(
            "Not replied",
            "Of the Sends that ended. A few: callers gave up. Many: a peer does not answer, or its replies are "
            "not told as such: look at the connection's correlation.",
            "percentunit",
            [
                (
                    share(rate("wsm_sends_ended_total", where='outcome!="replied"'), rate("wsm_sends_ended_total")),
                    "not replied",
                ),
            ],
            steps=((0.01, YELLOW), (0.05, RED)),
            maximum=1,
        ),
        stat(
            "Refused",
            "Sends a second that were refused at once: the socket is not open, a bound or rate limit is reached, or an "
            "id is in use.",
            "ops",
            [(rate("wsm_sends_refused_total"), "refused")],
            steps=((1, YELLOW),),
        ),
        timeseries(
            "By their end",
            "Sends a second. replied is what it should be; timed_out and lost leave the caller in doubt; "
            "rejected were surely not written.",
            "ops",
            [(rate("wsm_sends_ended_total", by="outcome"), "{{outcome}}")],
            width=12,
            stacked=True,
        ),
        timeseries(
            "Accepted and refused",
            "A second. Refusals that begin at a rate say where a bound is.",
            "ops",
            [
                (rate("wsm_sends_accepted_total"), "accepted"),
                (rate("wsm_sends_refused_total"), "refused"),
                (rate("wsm_raw_sends_accepted_total"), "without a reply"),
            ],
            width=12,
        ),
    ],
)

TIMES = Row(
    "Time to the reply",
    [
        timeseries(
            "Quantiles",
            "Of the Sends that were replied to. The distance of p99.9 to p50 shows stalls: of the peer, or of a "
            "shard (see its turns).",
            "s",
            quantiles("wsm_send_seconds"),
            width=12,
        ),
        heatmap("Spread", "How replies spread over time.", [(buckets("wsm_send_seconds"), "{{le}}")], width=12),
        timeseries(
            "p99 by instance",
            "One instance above the others: its machine, or its upstreams.",
            "s",
            [(quantile(0.99, "wsm_send_seconds", by="instance"), "{{instance}}")],
            width=12,
        ),
        timeseries(
            "In flight by instance",
            "Sends that wait for their reply. A line that only rises: replies do not come; at "
            "--sends-in-flight-max a connection refuses more.",
            "none",
            [(gauge("wsm_sends_in_flight", by="instance"), "{{instance}}")],
            width=12,
        ),
    ],
)

REPLIES = Row(
    "Replies",
    [
        timeseries(
            "Consumed",
            "Messages a second that answered a Send and were told by an id: they are not published.",
            "ops",
            [(rate("wsm_replies_consumed_total"), "consumed")],
        ),
        timeseries(
            "Late and abandoned",
            "Replies a second whose Send had timed out, or whose caller had gone. Many late ones: raise "
            "timeout_ms, or find out why the peer is slow.",
            "ops",
            [(rate("wsm_replies_late_total"), "late"), (rate("wsm_replies_abandoned_total"), "abandoned")],
        ),
        timeseries(
            "Calls that wait for a shard",
            "Calls of any kind that a shard has not answered. A rise with a full mailbox: the shard is overloaded.",
            "none",
            [(gauge("wsm_shard_callers_waiting", by="instance"), "{{instance}}")],
        ),
    ],
)

CALLS = Row(
    "All calls of the API",
    [
        timeseries(
            "By method",
            "Calls that ended, and streams that were opened, a second, by all protocols.",
            "ops",
            [(rate("wsm_calls_total", by="method"), "{{method}}")],
        ),
        timeseries(
            "Refused and failed",
            "A second, by method. refused: the caller's fault (4xx); failed: ours or an upstream's (5xx, "
            "timeouts); cancelled: the caller went away.",
            "ops",
            [(rate("wsm_calls_total", by=("method", "outcome"), where='outcome!="ok"'), "{{method}} {{outcome}}")],
        ),
        timeseries(
            "Under way",
            "Calls that have not ended; streams count until they are open. A rise: something does not answer.",
            "none",
            [(gauge("wsm_calls_in_flight", by="instance"), "{{instance}}")],
        ),
        timeseries(
            "Open streams",
            "Followers, watchers and streams of Sends. A line that only rises: callers open new ones and leave the old.",
            "none",
            [(gauge("wsm_streams_open", by="method"), "{{method}}")],
            width=12,
        ),
        timeseries(
            "Streams that ended",
            "A second, by method. cancelled: the caller left, as followers do; failed: broken here, as by a drain or an "
            "instance that died; refused: a cursor or a bound.",
            "ops",
            [(rate("wsm_streams_ended_total", by=("method", "outcome")), "{{method}} {{outcome}}")],
            width=12,
        ),
        timeseries(
            "p99 by method",
            "Of unary calls. Send includes the peer's time to reply, Connect a dial and a write to the store.",
            "s",
            [(quantile(0.99, "wsm_call_seconds", by="method"), "{{method}}")],
            width=12,
        ),
        heatmap("Spread", "How unary calls spread over time.", [(buckets("wsm_call_seconds"), "{{le}}")], width=12),
    ],
)

DASHBOARD = Dashboard(
    "send",
    "Send",
    "Sends and their replies: how many, how fast, how they end; and all other calls.",
    [SENDS, TIMES, REPLIES, CALLS],
)

"""Upstreams that were dialled: their state, dials, ends, heartbeats and traffic."""

from source.model import RED, YELLOW, Dashboard, Row, heatmap, stat, timeseries
from source.query import buckets, gauge, increase, quantiles, rate, share

CONNECTED = 'status="connected"'

STATE = Row(
    "State",
    [
        stat(
            "Connected",
            "Dialled connections that are open.",
            "none",
            [(gauge("wsm_connections", where=CONNECTED), "connected")],
        ),
        stat(
            "Reconnecting",
            "Connections that are away and are dialled again. More than a few for minutes: an upstream is down.",
            "none",
            [(gauge("wsm_connections", where='status="reconnecting"'), "reconnecting")],
            steps=((1, YELLOW), (100, RED)),
            calm=True,
        ),
        stat(
            "In error",
            "Connections that were given up: their attempts are used up, or the peer may not be dialled.",
            "none",
            [(gauge("wsm_connections", where='status="error"'), "error")],
            steps=((1, RED),),
            calm=True,
        ),
        stat(
            "Came back in this range",
            "Connections that were away and are back.",
            "short",
            [(increase("wsm_reconnects_total"), "reconnects")],
            decimals=0,
            instant=True,
        ),
        stat(
            "Dials that fail",
            "Of the dials begun lately. Above a half: names, routes, certificates or the upstream itself.",
            "percentunit",
            [(share(rate("wsm_dial_failures_total"), rate("wsm_dials_total")), "fail")],
            steps=((0.1, YELLOW), (0.5, RED)),
            maximum=1,
        ),
        stat(
            "Not read",
            "Connections whose reads are paused because what they bring cannot be kept. Anything but 0 holds "
            "upstreams back: the bus is too slow and the spill log is full.",
            "none",
            [(gauge("wsm_reads_paused"), "paused")],
            steps=((1, RED),),
            calm=True,
        ),
        timeseries(
            "By status",
            "Dialled connections. A step from connected to reconnecting is an upstream that went away.",
            "none",
            [(gauge("wsm_connections", by="status"), "{{status}}")],
            width=12,
            stacked=True,
        ),
        timeseries(
            "By instance",
            "Open dialled connections. Instances that differ much: some were restarted, and what they had stays "
            "where it was taken to.",
            "none",
            [(gauge("wsm_connections", by="instance", where=CONNECTED), "{{instance}}")],
            width=12,
        ),
    ],
)

DIALS = Row(
    "Dials and reconnects",
    [
        timeseries(
            "Dials",
            "A second. Failures that follow the dials closely: nothing answers.",
            "ops",
            [
                (rate("wsm_dials_total"), "begun"),
                (rate("wsm_dial_failures_total"), "failed"),
                (rate("wsm_reconnects_total"), "came back"),
            ],
        ),
        timeseries(
            "Time of a dial",
            "Name, TCP, TLS and handshake together, of dials that succeeded. A rise: slow names, a far or "
            "overloaded upstream.",
            "s",
            quantiles("wsm_dial_seconds"),
        ),
        heatmap(
            "Dials by time",
            "How dials spread over time. Two bands: two kinds of upstreams.",
            [(buckets("wsm_dial_seconds"), "{{le}}")],
        ),
        timeseries(
            "Ends by cause",
            "Sockets that ended and dials that failed, a second. pong_timeout and peer_vanished are the "
            "network's; peer_closed is the upstream's wish; flood and protocol_error its fault.",
            "ops",
            [(rate("wsm_closes_total", by="cause"), "{{cause}}")],
            width=12,
        ),
        timeseries(
            "Peers that broke the protocol",
            "A second, bounds of size and rate included. An upstream that does this again and "
            "again is misconfigured, or max_message_bytes is too low for it.",
            "ops",
            [(rate("wsm_protocol_violations_total", by="instance"), "{{instance}}")],
            width=12,
        ),
    ],
)

VENUES = Row(
    "Venues: the upstreams' hosts",
    [
        timeseries(
            "Dials",
            "Ended ones a second, by host. The first 32 hosts that answered a shard have a name there; the rest "
            "are `other`, so a host counts only where it has its name.",
            "ops",
            [(rate("wsm_venue_dials_total", by="venue"), "{{venue}}")],
        ),
        timeseries(
            "Failed dials",
            "A second, by host. One host alone: that upstream is down or refuses us. All of them: our network or names.",
            "ops",
            [(rate("wsm_venue_dial_failures_total", by="venue"), "{{venue}}")],
        ),
        timeseries(
            "Came back",
            "Reconnects a second, by host. One host again and again: it closes or loses connections.",
            "ops",
            [(rate("wsm_venue_reconnects_total", by="venue"), "{{venue}}")],
        ),
    ],
)

TRAFFIC = Row(
    "Traffic",
    [
        timeseries(
            "Messages",
            "Whole messages a second, read and written.",
            "ops",
            [(rate("wsm_messages_total", by="direction"), "{{direction}}")],
        ),
        timeseries(
            "Bytes",
            "A second; what is written includes frame heads and control frames.",
            "Bps",
            [(rate("wsm_traffic_bytes_total", by="direction"), "{{direction}}")],
        ),
        timeseries(
            "Waiting to be written",
            "Bytes in outboxes, by instance. Growth: peers that read too slowly. A connection at "
            "--outbox-bytes-max refuses Sends.",
            "bytes",
            [(gauge("wsm_outbox_bytes", by="instance"), "{{instance}}")],
            calm=True,
        ),
        timeseries(
            "Heartbeats",
            "A second. Pings of ours without as many pongs: peers are about to be taken for dead.",
            "ops",
            [
                (rate("wsm_pings_total", by="direction"), "pings {{direction}}"),
                (rate("wsm_pongs_received_total"), "pongs in"),
            ],
        ),
        timeseries(
            "Reads paused",
            "Connections that are not read now, and how often reads were paused, a second.",
            "none",
            [(gauge("wsm_reads_paused"), "paused now"), (rate("wsm_read_pauses_total"), "pauses a second")],
            calm=True,
        ),
        timeseries(
            "Gaps in what was received",
            "A second, by cause. Each is a place where a consumer may have missed messages; "
            "reconnect is usual, lost and backpressure are not.",
            "ops",
            [(rate("wsm_gaps_total", by="cause"), "{{cause}}")],
        ),
    ],
)

FOLLOWERS = Row(
    "Followers",
    [
        timeseries(
            "Waiting",
            "Followers of connections, topics and tags that wait for a message.",
            "none",
            [(gauge("wsm_followers"), "waiting")],
        ),
        timeseries(
            "Answered",
            "Waiting followers that got something, a second.",
            "ops",
            [(rate("wsm_followers_answered_total"), "answered")],
        ),
        timeseries(
            "Memory of rings",
            "What is kept for followers that come back. At --ring-bytes a shard the oldest goes.",
            "bytes",
            [(gauge("wsm_ring_bytes", by="instance"), "{{instance}}")],
        ),
    ],
)

DASHBOARD = Dashboard(
    "connections",
    "Connections and upstreams",
    "Upstreams that were dialled: are they there, how do dials go, why do sockets end, what goes through them.",
    [STATE, DIALS, VENUES, TRAFFIC, FOLLOWERS],
)

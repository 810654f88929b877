"""Clients that come in, rooms, deliveries, and what carries rooms between instances."""

from source.model import FLEET, RED, RELAY, YELLOW, Dashboard, Row, stat, timeseries
from source.query import gauge, increase, quantiles, rate, share

LOST = 'outcome=~"dropped_.+"'
NO_REDIS = "Empty as long as no chosen instance has rooms on Redis (--redis-url)."
NO_RELAY = "Empty as long as no chosen instance has the earlier system's channels (--jararaca-channels)."

NOW = Row(
    "Now",
    [
        stat(
            "Clients",
            "Connections that came to us and are open.",
            "none",
            [(gauge("wsm_accepted_connections"), "clients")],
        ),
        stat("Rooms", "Rooms with members, that of everybody included.", "none", [(gauge("wsm_rooms"), "rooms")]),
        stat(
            "Memberships",
            "A client in three rooms is in four: that of everybody is one.",
            "none",
            [(gauge("wsm_room_members"), "members")],
        ),
        stat(
            "Delivered",
            "Messages a second written to members.",
            "ops",
            [(rate("wsm_room_deliveries_total", where='outcome="delivered"'), "delivered")],
        ),
        stat(
            "Lost",
            "Share of deliveries that slow members lost, or lost with their socket for being slow.",
            "percentunit",
            [
                (
                    share(
                        rate("wsm_room_deliveries_total", where=LOST), rate("wsm_room_deliveries_accepted_total")
                    ),
                    "lost",
                ),
            ],
            steps=((0.0001, YELLOW), (0.01, RED)),
            maximum=1,
        ),
        stat(
            "Refused handshakes",
            "Share of the clients that came and were not let in. Much of it: credentials, origins, or bounds.",
            "percentunit",
            [
                (
                    share(
                        rate("wsm_ws_refused_total"),
                        f"{rate('wsm_ws_refused_total')} + {rate('wsm_ws_accepted_total')}",
                    ),
                    "refused",
                ),
            ],
            steps=((0.05, YELLOW), (0.5, RED)),
            maximum=1,
        ),
    ],
)

CLIENTS = Row(
    "Clients",
    [
        timeseries(
            "Open",
            "Accepted connections by instance. A saw: clients that are closed and come back.",
            "none",
            [(gauge("wsm_accepted_connections", by="instance"), "{{instance}}")],
        ),
        timeseries(
            "Coming in",
            "A second. vanished: gone before they had their answer, as after a time-out of their own.",
            "ops",
            [
                (rate("wsm_ws_accepted_total"), "let in"),
                (rate("wsm_accepted_total"), "registered"),
                (rate("wsm_ws_vanished_total"), "vanished"),
            ],
        ),
        timeseries(
            "Not let in",
            "A second, by reason. full and unavailable are ours; authoriser_failed is the authoriser's; the others "
            "are the clients'.",
            "ops",
            [(rate("wsm_ws_refused_total", by="reason"), "{{reason}}")],
        ),
        timeseries(
            "Requests on their sockets",
            "Join, leave, resume and ping, a second.",
            "ops",
            [(rate("wsm_room_requests_total"), "requests")],
        ),
        timeseries(
            "What they missed and got",
            "Messages of histories a second, given to those who came back.",
            "ops",
            [(rate("wsm_room_recovered_total"), "recovered")],
        ),
        timeseries(
            "Memberships",
            "By instance.",
            "none",
            [(gauge("wsm_room_members", by="instance"), "{{instance}}")],
        ),
    ],
)

DELIVERIES = Row(
    "Deliveries",
    [
        timeseries(
            "By outcome",
            "One for each message and member, a second. repeated: had through another room; left: the socket ended "
            "first; dropped_*: the member was too slow.",
            "ops",
            [(rate("wsm_room_deliveries_total", by="outcome"), "{{outcome}}")],
            width=12,
            stacked=True,
        ),
        timeseries(
            "Messages and deliveries",
            "A second. Their quotient is the mean size of the rooms that are written to.",
            "ops",
            [
                (rate("wsm_room_posts_total"), "messages numbered here"),
                (rate("wsm_room_arrived_total"), "messages from elsewhere"),
                (rate("wsm_room_deliveries_accepted_total"), "deliveries"),
            ],
            width=12,
        ),
        timeseries(
            "Slow members",
            "How often a member was too far behind, a second, by what was done with it.",
            "ops",
            [(rate("wsm_slow_readers_total", by="action"), "{{action}}")],
        ),
        timeseries(
            "Members behind",
            "Members whose socket takes no more now, and the deliveries that wait for them.",
            "none",
            [
                (gauge("wsm_room_members_behind"), "members"),
                (gauge("wsm_room_deliveries_in_flight"), "deliveries"),
            ],
        ),
        timeseries(
            "Backlog",
            "Encoded messages that wait for such members, by instance.",
            "bytes",
            [(gauge("wsm_room_backlog_bytes", by="instance"), "{{instance}}")],
        ),
    ],
)

HOMES = Row(
    "Homes and histories",
    [
        timeseries(
            "Rooms",
            "With members, and at home here: in use, or keeping something for who comes back.",
            "none",
            [(gauge("wsm_rooms"), "with members"), (gauge("wsm_room_homes"), "homes")],
        ),
        timeseries(
            "Histories",
            "What is kept, by instance. At --rooms-history-bytes a shard forgets before its time.",
            "bytes",
            [(gauge("wsm_room_history_bytes", by="instance"), "{{instance}}")],
        ),
        timeseries(
            "Gaps, refills, forgotten histories",
            "A second. Gaps: members lost something or a new epoch began. Refills: something "
            "did not come and was asked for.",
            "ops",
            [
                (rate("wsm_room_gaps_total"), "gaps"),
                (rate("wsm_room_refills_total"), "refills"),
                (rate("wsm_room_histories_forgotten_total"), "histories forgotten"),
            ],
            calm=True,
        ),
        timeseries(
            "Feeds refused",
            "Messages a second of connections that feed rooms and that the rooms did not take: a full mailbox.",
            "ops",
            [(rate("wsm_room_feeds_refused_total", by="instance"), "{{instance}}")],
            calm=True,
        ),
        timeseries(
            "Without a line of code",
            "A second: schemas and checked messages, requests of REST routes, events of bound topics.",
            "ops",
            [(rate("wsm_intake_total", by="event"), "{{event}}")],
            width=16,
        ),
    ],
)

REDIS = Row(
    "Rooms on Redis (--redis-url)",
    [
        timeseries(
            "Sent",
            "Messages a second to rooms: numbered and carried; surely not sent; nobody knows; refused as too many wait.",
            "ops",
            [
                (rate("wsm_rooms_redis_sent_total"), "sent"),
                (rate("wsm_rooms_redis_not_sent_total"), "not sent"),
                (rate("wsm_rooms_redis_maybe_sent_total"), "in doubt"),
                (rate("wsm_rooms_redis_refused_total"), "refused"),
            ],
            scenario=FLEET,
            empty=NO_REDIS,
        ),
        timeseries(
            "Time to a number",
            "From a message's hand-over to its numbers. Senders wait for it.",
            "s",
            quantiles("wsm_rooms_redis_send_seconds"),
            scenario=FLEET,
            empty=NO_REDIS,
        ),
        timeseries(
            "Arrived",
            "Messages a second on the channels of subscribed rooms; malformed ones are dropped.",
            "ops",
            [
                (rate("wsm_rooms_redis_arrived_total"), "arrived"),
                (rate("wsm_rooms_redis_malformed_total"), "malformed"),
            ],
            scenario=FLEET,
            empty=NO_REDIS,
        ),
        timeseries(
            "Bytes arrived",
            "A second.",
            "Bps",
            [(rate("wsm_rooms_redis_arrived_bytes_total"), "arrived")],
            scenario=FLEET,
            empty=NO_REDIS,
        ),
        timeseries(
            "Rooms heard",
            "Rooms whose channel is subscribed, by instance.",
            "none",
            [(gauge("wsm_rooms_redis_subscribed", by="instance"), "{{instance}}")],
            scenario=FLEET,
            empty=NO_REDIS,
        ),
        timeseries(
            "Broken and mended",
            "In this window: connections made and broken, subscriptions that stand again, numbers corrected.",
            "short",
            [
                (increase("wsm_rooms_redis_connects_total", window="$__rate_interval"), "connections made"),
                (increase("wsm_rooms_redis_connection_failures_total", window="$__rate_interval"), "broken"),
                (increase("wsm_rooms_redis_resumed_total", window="$__rate_interval"), "rooms resumed"),
                (increase("wsm_rooms_redis_corrected_total", window="$__rate_interval"), "rooms corrected"),
            ],
            scenario=FLEET,
            empty=NO_REDIS,
            calm=True,
        ),
        timeseries(
            "Reads of histories",
            "A second, and those that failed.",
            "ops",
            [(rate("wsm_rooms_redis_reads_total"), "reads"), (rate("wsm_rooms_redis_read_errors_total"), "failed")],
            scenario=FLEET,
            empty=NO_REDIS,
            calm=True,
        ),
    ],
    folded=True,
)

RELAY = Row(
    "The earlier system's channels (--jararaca-channels)",
    [
        timeseries(
            "Published",
            "Messages a second. unheard: nobody listened; refused, not sent, in doubt: the server is slow or away.",
            "ops",
            [
                (rate("wsm_relay_sent_total"), "sent"),
                (rate("wsm_relay_unheard_total"), "unheard"),
                (rate("wsm_relay_refused_total"), "refused"),
                (rate("wsm_relay_not_sent_total"), "not sent"),
                (rate("wsm_relay_maybe_sent_total"), "in doubt"),
            ],
            scenario=RELAY,
            empty=NO_RELAY,
            width=6,
        ),
        timeseries(
            "Receivers of a message",
            "Processes that got it on average, this one included. Fewer than there are: one is away.",
            "none",
            [(f"{rate('wsm_relay_receivers_total')} / ({rate('wsm_relay_sent_total')} > 0)", "receivers")],
            scenario=RELAY,
            empty=NO_RELAY,
            width=6,
        ),
        timeseries(
            "Heard",
            "Messages a second on both channels; what did not come to a room here since too much waited or the "
            "room refused it; and what is no message, by reason: that is left out.",
            "ops",
            [
                (rate("wsm_relay_heard_total"), "messages"),
                (rate("wsm_relay_lost_total"), "lost here"),
                (rate("wsm_relay_poison_total", by="reason"), "{{reason}}"),
            ],
            scenario=RELAY,
            empty=NO_RELAY,
            width=6,
        ),
        timeseries(
            "Bytes heard",
            "A second.",
            "Bps",
            [(rate("wsm_relay_heard_bytes_total"), "heard")],
            scenario=RELAY,
            empty=NO_RELAY,
            width=6,
        ),
        timeseries(
            "Connections",
            "Made and broken in this window.",
            "short",
            [
                (increase("wsm_relay_connects_total", window="$__rate_interval"), "made"),
                (increase("wsm_relay_connection_failures_total", window="$__rate_interval"), "broken"),
            ],
            scenario=RELAY,
            empty=NO_RELAY,
            calm=True,
            width=6,
        ),
    ],
    folded=True,
)

DASHBOARD = Dashboard(
    "rooms",
    "Rooms and clients",
    "Clients that come in, what is sent to their rooms, who is too slow for it, and what carries rooms between instances.",
    [NOW, CLIENTS, DELIVERIES, HOMES, REDIS, RELAY],
)

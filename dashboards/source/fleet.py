"""Leases, ownership and takeover, and the way between instances."""

from source.model import DAPR, FLEET, GREEN, RED, YELLOW, Dashboard, Row, stat, states, timeseries
from source.query import gauge, increase, over, quantile, quantiles, rate, select

WINDOW = "$__rate_interval"
NO_FLEET = "Empty as long as no chosen instance is part of a fleet (backends redis and dapr)."

LEASES = Row(
    "Leases",
    [
        stat(
            "Instances without a lease",
            "They may not write to what they dialled, and are not ready. Anything but 0 outside of a start is bad.",
            "none",
            [(over(f"1 - {select('wsm_lease_held')}"), "without")],
            steps=((1, RED),),
            calm=True,
            scenario=FLEET,
        ),
        stat(
            "Going on alone",
            "Instances whose state store is away and that go on all the same: nothing fences their ownership.",
            "none",
            [(gauge("wsm_lease_advisory"), "advisory")],
            steps=((1, RED),),
            calm=True,
            scenario=FLEET,
        ),
        stat(
            "Leases lost in this range",
            "Each time an instance dropped everything that it had dialled: it or its store paused.",
            "short",
            [(increase("wsm_lease_fences_total"), "lost")],
            steps=((1, RED),),
            calm=True,
            decimals=0,
            instant=True,
            scenario=FLEET,
        ),
        stat(
            "Deaths in this range",
            "Instances that others found dead, and whose leases they ended.",
            "short",
            [(increase("wsm_fleet_tombstones_total"), "dead")],
            steps=((1, YELLOW),),
            calm=True,
            decimals=0,
            instant=True,
            scenario=FLEET,
        ),
        stat(
            "Others seen",
            "The least that an instance sees of the others. Fewer than there are: it is cut off, or they are.",
            "none",
            [(over(select("wsm_fleet_members"), how="min"), "others")],
            scenario=FLEET,
        ),
        stat(
            "Settings in use",
            "Different settings among the chosen instances of a job. More than 1 outside of a roll-out: one was "
            "started otherwise.",
            "none",
            [(f'max(count by (job) (count_values by (job) ("hash", {select("wsm_config_hash")})))', "settings")],
            scenario=FLEET,
        ),
        states(
            "Lease",
            "Per instance: none, held, or going on alone.",
            [
                (
                    f"{select('wsm_lease_held')} + on (job, instance) 2 * {select('wsm_lease_advisory')}",
                    "{{instance}}",
                )
            ],
            ((0, "none", RED), (1, "held", GREEN), (2, "alone, none", RED), (3, "alone", YELLOW)),
            width=12,
            scenario=FLEET,
        ),
        timeseries(
            "Time left",
            "How long an instance may still write without another renewal. Sinking towards 0: the store does not "
            "answer; at 0 everything is dropped.",
            "s",
            [(gauge("wsm_lease_left_seconds", by="instance"), "{{instance}}")],
            width=12,
            scenario=FLEET,
            empty=NO_FLEET,
            steps=((0, RED), (3, GREEN)),
        ),
        timeseries(
            "Renewals",
            "A second, that the store took. A line that ends: that instance has no lease soon.",
            "ops",
            [(rate("wsm_lease_renewals_total", by="instance"), "{{instance}}")],
            scenario=FLEET,
        ),
        timeseries(
            "Time of a renewal",
            "From its begin to the store's answer. A renewal is good for 8 s from its begin: near that, leases are lost.",
            "s",
            quantiles("wsm_lease_renewal_seconds"),
            scenario=FLEET,
            empty=NO_FLEET,
            steps=((1, RED),),
        ),
        timeseries(
            "Lost and ended",
            "In this window: own leases lost (everything dropped), and dead instances' leases ended.",
            "short",
            [
                (increase("wsm_lease_fences_total", by="instance", window=WINDOW), "{{instance}} lost its lease"),
                (
                    increase("wsm_fleet_tombstones_total", by="instance", window=WINDOW),
                    "{{instance}} found one dead",
                ),
            ],
            scenario=FLEET,
            calm=True,
        ),
    ],
)

OWNERSHIP = Row(
    "Ownership",
    [
        timeseries(
            "Owned",
            "Connections whose documents name the instance. The sum stays when an instance dies and others take over.",
            "none",
            [(gauge("wsm_fleet_owned_connections", by="instance"), "{{instance}}")],
            scenario=FLEET,
            stacked=True,
        ),
        timeseries(
            "Taken over and lost",
            "Connections in this window: taken from dead or leaving instances; found to be another's.",
            "short",
            [
                (increase("wsm_fleet_taken_total", by="instance", window=WINDOW), "{{instance}} took"),
                (increase("wsm_fleet_lost_total", by="instance", window=WINDOW), "{{instance}} lost"),
            ],
            scenario=FLEET,
            calm=True,
        ),
        timeseries(
            "Members",
            "Other instances that each one sees. Lines that differ: a split.",
            "none",
            [(gauge("wsm_fleet_members", by="instance"), "{{instance}}")],
            scenario=FLEET,
        ),
        timeseries(
            "Documents",
            "Writes a second to the shared documents, and those refused since another stood there.",
            "ops",
            [
                (rate("wsm_fleet_document_writes_total"), "writes"),
                (rate("wsm_fleet_document_conflicts_total"), "conflicts"),
            ],
            scenario=FLEET,
        ),
        timeseries(
            "Time of documents",
            "99 % of the fleet's reads and writes are faster.",
            "s",
            [(quantile(0.99, "wsm_fleet_document_seconds", by="call"), "{{call}}")],
            scenario=FLEET,
            empty=NO_FLEET,
        ),
        timeseries(
            "Trouble with the store",
            "In this window: outcomes that nobody knows, broken documents, losses of documents, and "
            "callers that were told that the store did not answer. Anything but 0 is bad.",
            "short",
            [
                (increase("wsm_fleet_document_unknowns_total", window=WINDOW), "unknown outcomes"),
                (increase("wsm_fleet_bad_documents_total", window=WINDOW), "broken documents"),
                (increase("wsm_fleet_store_losses_total", window=WINDOW), "losses"),
                (increase("wsm_fleet_given_up_total", window=WINDOW), "callers given up"),
            ],
            scenario=FLEET,
            calm=True,
        ),
    ],
)

PEERS = Row(
    "Between instances",
    [
        timeseries(
            "Calls passed on",
            "A second, by their end. answered is right; not_sent was surely not done; maybe_sent, timed_out and "
            "full: the other instance is slow or broke off.",
            "ops",
            [(rate("wsm_peer_calls_forwarded_total", by="outcome"), "{{outcome}}")],
            scenario=FLEET,
        ),
        timeseries(
            "Time of a call passed on",
            "Of those answered: the other instance, its peer, and the way there and back.",
            "s",
            quantiles("wsm_peer_call_seconds"),
            scenario=FLEET,
        ),
        timeseries(
            "Served for others",
            "Calls a second by instance.",
            "ops",
            [(rate("wsm_peer_calls_served_total", by="instance"), "{{instance}}")],
            scenario=FLEET,
        ),
        timeseries(
            "Looking up owners",
            "A second. A miss asks the store; many of them: callers spread over ids too widely for the cache.",
            "ops",
            [(rate("wsm_peer_cache_total", by="outcome"), "{{outcome}}")],
            scenario=FLEET,
        ),
        timeseries(
            "Streams",
            "Opened and closed in this window. Opened again and again: instances lose one another.",
            "short",
            [(increase("wsm_peer_streams_total", by="event", window=WINDOW), "{{event}}")],
            scenario=FLEET,
            calm=True,
        ),
        timeseries(
            "Greetings refused",
            "In this window: another key, version or incarnation. Anything but 0: they do not work together.",
            "short",
            [(increase("wsm_peer_hellos_refused_total", by="instance", window=WINDOW), "{{instance}}")],
            scenario=FLEET,
            calm=True,
        ),
    ],
)

STORE = Row(
    "State store and bus",
    [
        states(
            "Backend",
            "Whether the store, sidecar or broker is there.",
            [(gauge("wsm_backend_ready", by="instance"), "{{instance}}")],
            ((0, "away", RED), (1, "there", GREEN)),
            width=12,
            scenario=FLEET,
        ),
        timeseries(
            "Sidecars",
            "Errors of Dapr calls, a second by instance. On one instance: its sidecar; on all: the component.",
            "ops",
            [(rate("wsm_dapr_errors_total", by="instance"), "{{instance}}")],
            width=12,
            scenario=DAPR,
            calm=True,
            empty="Empty as long as no chosen instance has the Dapr backend.",
        ),
    ],
)

DASHBOARD = Dashboard(
    "fleet",
    "Fleet and leases",
    "Do instances hold their leases, who owns what, what was taken over, and do instances reach one another.",
    [LEASES, OWNERSHIP, PEERS, STORE],
)

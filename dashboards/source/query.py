"""Queries, with the selectors that every one of them has."""

# What is counted for the process as a whole; everything else is counted by each shard.
OF_THE_PROCESS = (
    "wsm_allocator_",
    "wsm_backend_ready",
    "wsm_build_info",
    "wsm_call",
    "wsm_command",
    "wsm_config_hash",
    "wsm_connections_max",
    "wsm_dapr_",
    "wsm_draining",
    "wsm_edge_",
    "wsm_embedded_",
    "wsm_fleet_",
    "wsm_intake_",
    "wsm_lease_",
    "wsm_mailbox_max",
    "wsm_memory_bound_bytes",
    "wsm_peer_",
    "wsm_process_",
    "wsm_publish_queue_max_bytes",
    "wsm_publish_spill_max_bytes",
    "wsm_ready",
    "wsm_redis_",
    "wsm_relay_",
    "wsm_rooms_redis_",
    "wsm_scrape_seconds",
    "wsm_streams_",
    "wsm_thread_",
    "wsm_trace_",
    "wsm_uptime_seconds",
    "wsm_venue_",
    "wsm_ws_",
)
INSTANCES = 'job=~"$job", instance=~"$instance"'
SHARDS = 'shard=~"$shard"'
RATE = "$__rate_interval"


def select(metric, where=""):
    """The series of a metric that the variables choose, and more conditions."""
    matchers = [INSTANCES]
    if not metric.startswith(OF_THE_PROCESS):
        matchers.append(SHARDS)
    if where:
        matchers.append(where)
    return f"{metric}{{{', '.join(matchers)}}}"


def over(expression, by=(), how="sum"):
    by = (by,) if isinstance(by, str) else by
    return f"{how} by ({', '.join(by)}) ({expression})" if by else f"{how}({expression})"


def gauge(metric, by=(), where="", how="sum"):
    return over(select(metric, where), by, how)


def rate(metric, by=(), where="", how="sum"):
    """A second, of a counter."""
    return over(f"rate({select(metric, where)}[{RATE}])", by, how)


def increase(metric, by=(), where="", window="$__range"):
    """How often within the dashboard's range, or another window."""
    return over(f"increase({select(metric, where)}[{window}])", by)


def quantile(share, histogram, by=()):
    by = (by,) if isinstance(by, str) else by
    inner = rate(f"{histogram}_bucket", by=("le", *by))
    return f"histogram_quantile({share}, {inner})"


def quantiles(histogram, shares=(0.5, 0.99, 0.999)):
    """Targets of a panel: one line each."""
    return [(quantile(share, histogram), f"p{share * 100:g}") for share in shares]


def buckets(histogram):
    """For a heat map."""
    return rate(f"{histogram}_bucket", by="le")


def above_the_others(counter):
    """By how much of a second a second the busiest shard of an instance is above the mean of its other shards, where
    there are others. Shards of different instances are not compared: that is the load balancer's matter."""
    each = rate(counter, by=("job", "instance", "shard"))
    most, mean, count = (f"{how} by (job, instance) ({each})" for how in ("max", "avg", "count"))
    return f"({most} - {mean}) * {count} / ({count} - 1 > 0)"


def share(part, whole):
    """Of the whole; 0 while there is none, as nothing went wrong then."""
    return f"({part}) / ({whole} > 0) or 0 * ({whole})"

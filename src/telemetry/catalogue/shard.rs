//! Shards, their connections, and what goes through them.

use super::{Metric, Read, Set, TURN_BUCKETS_MICROS, WAIT_BUCKETS_MICROS, counter, gauge, histogram};

pub(super) const SHARD: &[Metric] = &[
    gauge(
        "wsm_shard_up",
        "1 when the shard answered this scrape within a second; at 0 its other values are its last ones.",
        Read::Shard(|shard| f64::from(u8::from(shard.up))),
    ),
    counter(
        "wsm_shard_busy_seconds_total",
        "Processor time of the shard's thread: at a rate of 1 its core is full.",
        Read::Shard(|shard| shard.busy_seconds),
    ),
    histogram(
        "wsm_shard_turn_seconds",
        "One turn of the shard's loop: mail, timers, batches and writes; reads of sockets come between.",
        Read::ShardLatency(TURN_BUCKETS_MICROS, |shard| &shard.inner.metrics.turn),
    ),
    histogram(
        "wsm_shard_lag_seconds",
        "How late a turn was for the deadline that the shard's timers had set.",
        Read::ShardLatency(WAIT_BUCKETS_MICROS, |shard| &shard.inner.metrics.lag),
    ),
    gauge("wsm_shard_timers", "Timers that run.", Read::Shard(|shard| shard.inner.gauges.timers as f64)),
    gauge(
        "wsm_shard_callers_waiting",
        "Calls that wait for an answer of the shard.",
        Read::Shard(|shard| shard.inner.waiting as f64),
    ),
    gauge(
        "wsm_mailbox_depth",
        "Commands and answers from other threads that the shard has not taken yet.",
        Read::Shard(|shard| shard.mailbox_depth as f64),
    ),
    counter(
        "wsm_mailbox_refused_total",
        "Commands refused because the mailbox was full.",
        Read::Shard(|shard| shard.mailbox_refused as f64),
    ),
    histogram(
        "wsm_mailbox_wait_seconds",
        "From the posting of mail, by another thread or the shard's own, to the shard's taking it, of one in \
         sixteen, drawn at random.",
        Read::ShardLatency(WAIT_BUCKETS_MICROS, |shard| &shard.inner.metrics.mailbox_wait),
    ),
];

pub(super) const CONNECTIONS: &[Metric] = &[
    gauge(
        "wsm_connections",
        "Connections by status.",
        Read::ShardSet(Set::Status, |shard, n| shard.inner.gauges.connections[n] as f64),
    ),
    counter(
        "wsm_dials_total",
        "Dials begun, repeated ones included.",
        Read::Shard(|shard| shard.inner.core.dials as f64),
    ),
    counter(
        "wsm_dial_failures_total",
        "Dials that failed; why is among the closes.",
        Read::Shard(|shard| shard.inner.core.dials_failed as f64),
    ),
    histogram(
        "wsm_dial_seconds",
        "From the look-up of the name to the end of the handshake, of dials that succeeded.",
        Read::ShardLatency(WAIT_BUCKETS_MICROS, |shard| &shard.inner.metrics.dial),
    ),
    counter(
        "wsm_reconnects_total",
        "Connections that were away and came back.",
        Read::Shard(|shard| shard.inner.core.reconnects as f64),
    ),
    counter(
        "wsm_venue_dials_total",
        "Dials that ended, by the host that was dialled. The first 32 hosts that answered a shard have their \
         own name there while it runs, all others together are other: the series of a host count only the \
         shards on which it has a place.",
        Read::Venue(|venue| venue.dials),
    ),
    counter(
        "wsm_venue_dial_failures_total",
        "Of those, the ones that made no connection, those that were given up among them.",
        Read::Venue(|venue| venue.failures),
    ),
    counter(
        "wsm_venue_reconnects_total",
        "Connections to the host that were away and came back.",
        Read::Venue(|venue| venue.reconnects),
    ),
    counter(
        "wsm_closes_total",
        "Sockets that ended and dials that failed.",
        Read::ShardSet(Set::CloseCause, |shard, n| shard.inner.core.closes[n] as f64),
    ),
    counter(
        "wsm_protocol_violations_total",
        "Peers that broke the WebSocket protocol, bounds of size and rate included.",
        Read::Shard(|shard| shard.inner.core.violations as f64),
    ),
    counter(
        "wsm_messages_total",
        "Messages read from peers and messages written whole to them.",
        Read::ShardSet(Set::Direction, |shard, n| {
            let to_members = shard.inner.deliveries.delivered;
            [shard.inner.core.messages_in, shard.inner.core.messages_out + to_members][n] as f64
        }),
    ),
    counter(
        "wsm_traffic_bytes_total",
        "Bytes of messages read, and bytes written with frame heads and control frames.",
        Read::ShardSet(Set::Direction, |shard, n| {
            [shard.inner.core.bytes_in, shard.inner.core.bytes_out][n] as f64
        }),
    ),
    counter(
        "wsm_pings_total",
        "Pings of peers and pings of ours.",
        Read::ShardSet(Set::Direction, |shard, n| {
            [shard.inner.core.pings_in, shard.inner.core.pings_out][n] as f64
        }),
    ),
    counter(
        "wsm_pongs_received_total",
        "Pongs of peers.",
        Read::Shard(|shard| shard.inner.core.pongs_in as f64),
    ),
    gauge(
        "wsm_outbox_bytes",
        "Bytes that wait to be written to peers.",
        Read::Shard(|shard| shard.inner.gauges.outbox_bytes as f64),
    ),
    gauge(
        "wsm_reads_paused",
        "Connections that are not read because what they bring cannot be kept.",
        Read::Shard(|shard| shard.inner.gauges.reads_paused as f64),
    ),
    counter(
        "wsm_read_pauses_total",
        "How often reads were paused.",
        Read::Shard(|shard| shard.inner.core.reads_paused as f64),
    ),
    counter(
        "wsm_sends_accepted_total",
        "Sends accepted; each ends once or is in flight.",
        Read::Shard(|shard| shard.inner.core.sends_accepted as f64),
    ),
    counter(
        "wsm_sends_refused_total",
        "Sends refused at once: nothing was written.",
        Read::Shard(|shard| shard.inner.core.sends_refused as f64),
    ),
    counter(
        "wsm_sends_ended_total",
        "Accepted Sends by their end.",
        Read::ShardSet(Set::SendOutcome, |shard, n| shard.inner.core.sends_ended[n] as f64),
    ),
    gauge(
        "wsm_sends_in_flight",
        "Accepted Sends that have not ended.",
        Read::Shard(|shard| shard.inner.gauges.sends_in_flight as f64),
    ),
    histogram(
        "wsm_send_seconds",
        "From accepting a Send to its reply, of those replied to.",
        Read::ShardLatency(WAIT_BUCKETS_MICROS, |shard| &shard.inner.metrics.send),
    ),
    counter(
        "wsm_raw_sends_accepted_total",
        "Messages accepted for writing without a reply.",
        Read::Shard(|shard| shard.inner.core.raw_accepted as f64),
    ),
    counter(
        "wsm_replies_consumed_total",
        "Messages that answered a Send and were not numbered: read = numbered + consumed.",
        Read::Shard(|shard| shard.inner.core.replies as f64),
    ),
    counter(
        "wsm_replies_late_total",
        "Replies that came after their Send had timed out; they are numbered.",
        Read::Shard(|shard| shard.inner.core.replies_late as f64),
    ),
    counter(
        "wsm_replies_abandoned_total",
        "Replies whose caller had gone; they are numbered.",
        Read::Shard(|shard| shard.inner.core.replies_abandoned as f64),
    ),
    gauge(
        "wsm_ring_bytes",
        "Memory of the ring that followers read.",
        Read::Shard(|shard| shard.inner.gauges.ring_bytes as f64),
    ),
    gauge(
        "wsm_followers",
        "Followers that wait for a message.",
        Read::Shard(|shard| shard.inner.gauges.followers as f64),
    ),
    counter(
        "wsm_followers_answered_total",
        "Waiting followers that were answered.",
        Read::Shard(|shard| shard.inner.core.followers_answered as f64),
    ),
    counter(
        "wsm_store_writes_total",
        "Documents written or deleted.",
        Read::Shard(|shard| shard.inner.core.store_writes as f64),
    ),
    counter(
        "wsm_store_errors_total",
        "Writes and deletions that failed.",
        Read::Shard(|shard| shard.inner.core.store_errors as f64),
    ),
    histogram(
        "wsm_store_seconds",
        "From asking the store to its answer at the shard.",
        Read::ShardLatency(WAIT_BUCKETS_MICROS, |shard| &shard.inner.metrics.store),
    ),
];

//! Rooms and those who came in. The books of deliveries balance at every scrape: accepted = the sum
//! over outcomes + in flight, where one delivery is one message to one member.

use super::{Metric, Read, Set, counter, gauge};

pub(super) const ROOMS: &[Metric] = &[
    gauge(
        "wsm_accepted_connections",
        "Connections that came to us and are open.",
        Read::Shard(|shard| shard.inner.gauges.accepted as f64),
    ),
    counter(
        "wsm_accepted_total",
        "Connections that were let in, those included whose socket never came.",
        Read::Shard(|shard| shard.inner.core.accepted as f64),
    ),
    gauge(
        "wsm_rooms",
        "Rooms with members on this shard; that of everybody is one.",
        Read::Shard(|shard| shard.inner.gauges.rooms as f64),
    ),
    gauge(
        "wsm_room_members",
        "Memberships on this shard, that in the room of everybody included.",
        Read::Shard(|shard| shard.inner.gauges.room_members as f64),
    ),
    gauge(
        "wsm_room_homes",
        "Rooms whose home is this shard: those in use, and those that keep something for who comes back.",
        Read::Shard(|shard| shard.inner.gauges.homes as f64),
    ),
    gauge(
        "wsm_room_history_bytes",
        "What the homes of this shard keep for those who come back.",
        Read::Shard(|shard| shard.inner.gauges.history_bytes as f64),
    ),
    counter(
        "wsm_room_posts_total",
        "Messages numbered by homes of this shard.",
        Read::Shard(|shard| shard.inner.homes.posted as f64),
    ),
    counter(
        "wsm_room_arrived_total",
        "Messages that came from what numbers rooms outside this instance.",
        Read::Shard(|shard| shard.inner.homes.arrived as f64),
    ),
    counter(
        "wsm_room_refills_total",
        "Times that a home asked for messages that did not come.",
        Read::Shard(|shard| shard.inner.homes.refills as f64),
    ),
    counter(
        "wsm_room_gaps_total",
        "Gaps that homes announced: numbers that nobody has any more, and new epochs.",
        Read::Shard(|shard| shard.inner.homes.gaps as f64),
    ),
    counter(
        "wsm_room_histories_forgotten_total",
        "Histories that went before their time, for the bound on all of them.",
        Read::Shard(|shard| shard.inner.homes.forgotten as f64),
    ),
    counter(
        "wsm_room_deliveries_accepted_total",
        "One for each message and member.",
        Read::Shard(|shard| shard.inner.deliveries.accepted as f64),
    ),
    counter(
        "wsm_room_deliveries_total",
        "Their outcomes: written to the socket; had by the socket in another of the addressed rooms; the \
         socket ended or left first; or lost by a member that was too slow, by what was done with it.",
        Read::ShardSet(Set::DeliveryOutcome, |shard, n| {
            let made = &shard.inner.deliveries;
            [
                made.delivered,
                made.repeated,
                made.left,
                made.dropped_closed,
                made.dropped_oldest,
                made.dropped_latest,
            ][n] as f64
        }),
    ),
    gauge(
        "wsm_room_deliveries_in_flight",
        "Deliveries without an outcome yet: members whose sockets take no more for now.",
        Read::Shard(|shard| shard.inner.gauges.deliveries_in_flight as f64),
    ),
    gauge(
        "wsm_room_members_behind",
        "Memberships whose sockets take no more for now.",
        Read::Shard(|shard| shard.inner.gauges.room_members_behind as f64),
    ),
    gauge(
        "wsm_room_backlog_bytes",
        "Encoded messages that wait for such members.",
        Read::Shard(|shard| shard.inner.gauges.room_backlog_bytes as f64),
    ),
    counter(
        "wsm_room_recovered_total",
        "Messages of histories that were given to who came back.",
        Read::Shard(|shard| shard.inner.deliveries.recovered as f64),
    ),
    counter(
        "wsm_slow_readers_total",
        "Members that were too far behind, by what was done with them.",
        Read::ShardSet(Set::SlowAction, |shard, n| shard.inner.core.slow_readers[n] as f64),
    ),
    counter(
        "wsm_room_requests_total",
        "Requests of clients on their own sockets: join, leave, resume, ping.",
        Read::Shard(|shard| shard.inner.core.room_requests as f64),
    ),
    counter(
        "wsm_room_feeds_refused_total",
        "Messages of connections that feed rooms and that the rooms did not take.",
        Read::Shard(|shard| (shard.inner.core.feeds_refused + shard.feeds_refused) as f64),
    ),
];

//! Rooms on Redis, and the channels of the earlier room system. Without them there are no such series.

use super::{Metric, Read, Set, counter, gauge, histogram};

pub(super) const ROOMS: &[Metric] = &[
    counter(
        "wsm_rooms_redis_connects_total",
        "Connections to the server for rooms that were made.",
        Read::Rooms(|stats| stats.connects as f64),
    ),
    counter(
        "wsm_rooms_redis_connection_failures_total",
        "Connections to the server for rooms that broke or could not be made.",
        Read::Rooms(|stats| stats.connection_failures as f64),
    ),
    counter(
        "wsm_rooms_redis_sent_total",
        "Messages to rooms that were numbered and carried.",
        Read::Rooms(|stats| stats.sent as f64),
    ),
    histogram(
        "wsm_rooms_redis_send_seconds",
        "From a message's turn to be sent to the server's answer with its numbers.",
        Read::Tally(|page| page.rooms_send),
    ),
    counter(
        "wsm_rooms_redis_not_sent_total",
        "Messages to rooms that surely were not sent.",
        Read::Rooms(|stats| stats.not_sent as f64),
    ),
    counter(
        "wsm_rooms_redis_maybe_sent_total",
        "Messages to rooms of which nobody knows whether they were sent.",
        Read::Rooms(|stats| stats.maybe_sent as f64),
    ),
    counter(
        "wsm_rooms_redis_refused_total",
        "Messages to rooms refused because too many wait.",
        Read::Rooms(|stats| stats.refused as f64),
    ),
    counter(
        "wsm_rooms_redis_arrived_total",
        "Messages that came on the channels of subscribed rooms.",
        Read::Rooms(|stats| stats.arrived as f64),
    ),
    counter(
        "wsm_rooms_redis_arrived_bytes_total",
        "Their bytes.",
        Read::Rooms(|stats| stats.arrived_bytes as f64),
    ),
    counter(
        "wsm_rooms_redis_malformed_total",
        "What came on a room's channel, or stood in its history, and is no message of it; dropped.",
        Read::Rooms(|stats| stats.malformed as f64),
    ),
    counter(
        "wsm_rooms_redis_resumed_total",
        "Rooms whose broken subscription stands again.",
        Read::Rooms(|stats| stats.resumed as f64),
    ),
    counter(
        "wsm_rooms_redis_corrected_total",
        "Rooms whose number at the server was another than what had come, without a broken connection.",
        Read::Rooms(|stats| stats.corrected as f64),
    ),
    counter(
        "wsm_rooms_redis_reads_total",
        "Reads of rooms' histories.",
        Read::Rooms(|stats| stats.reads as f64),
    ),
    counter(
        "wsm_rooms_redis_read_errors_total",
        "Of those, the ones that failed.",
        Read::Rooms(|stats| stats.read_errors as f64),
    ),
    gauge(
        "wsm_rooms_redis_subscribed",
        "Rooms that this instance hears.",
        Read::Rooms(|stats| stats.subscribed as f64),
    ),
];

pub(super) const RELAY: &[Metric] = &[
    counter(
        "wsm_relay_connects_total",
        "Connections for the earlier system's channels that were made.",
        Read::Relay(|stats| stats.connects as f64),
    ),
    counter(
        "wsm_relay_connection_failures_total",
        "Connections for the earlier system's channels that broke or could not be made.",
        Read::Relay(|stats| stats.connection_failures as f64),
    ),
    counter(
        "wsm_relay_sent_total",
        "Messages published on the earlier system's channels.",
        Read::Relay(|stats| stats.sent as f64),
    ),
    counter(
        "wsm_relay_receivers_total",
        "Processes that got them, this one included.",
        Read::Relay(|stats| stats.receivers as f64),
    ),
    counter(
        "wsm_relay_unheard_total",
        "Of those, the messages that nobody got.",
        Read::Relay(|stats| stats.unheard as f64),
    ),
    counter(
        "wsm_relay_not_sent_total",
        "Messages that surely were not published.",
        Read::Relay(|stats| stats.not_sent as f64),
    ),
    counter(
        "wsm_relay_maybe_sent_total",
        "Messages of which nobody knows whether they were published.",
        Read::Relay(|stats| stats.maybe_sent as f64),
    ),
    counter(
        "wsm_relay_refused_total",
        "Messages refused because too many wait.",
        Read::Relay(|stats| stats.refused as f64),
    ),
    counter(
        "wsm_relay_heard_total",
        "Messages that came on the two channels.",
        Read::Relay(|stats| stats.heard as f64),
    ),
    counter(
        "wsm_relay_lost_total",
        "Of those, what did not come to a room here, once for each room: no place was left for it, or the \
         room refused it.",
        Read::Relay(|stats| stats.lost as f64),
    ),
    counter("wsm_relay_heard_bytes_total", "Their bytes.", Read::Relay(|stats| stats.heard_bytes as f64)),
    counter(
        "wsm_relay_poison_total",
        "What came on the two channels and is no message, or names a room that cannot be; left out.",
        Read::RelaySet(Set::Poison, |stats, n| stats.poison()[n] as f64),
    ),
];

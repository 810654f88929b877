//! What goes to and comes from other instances, and commands over the bus.

use super::{Metric, Read, Set, counter, gauge, histogram};

pub(super) const PEERS: &[Metric] = &[
    counter(
        "wsm_peer_calls_forwarded_total",
        "Calls passed on to the instance that has the connection, by their end.",
        Read::ProcessSet(Set::ForwardOutcome, |page, n| page.peers.forwarded[n] as f64),
    ),
    histogram(
        "wsm_peer_call_seconds",
        "How long those took that were answered.",
        Read::Tally(|page| Some(page.peers.answered)),
    ),
    counter(
        "wsm_peer_calls_served_total",
        "Calls of other instances that were served here.",
        Read::Process(|page| page.peers.served as f64),
    ),
    counter(
        "wsm_peer_streams_total",
        "Streams to and from other instances.",
        Read::ProcessSet(Set::StreamEvent, |page, n| page.peers.streams[n] as f64),
    ),
    counter(
        "wsm_peer_hellos_refused_total",
        "Greetings between instances that failed: another key, version or incarnation.",
        Read::Process(|page| page.peers.hellos_refused as f64),
    ),
    counter(
        "wsm_peer_cache_total",
        "Look-ups of who holds a connection, in memory.",
        Read::ProcessSet(Set::CacheOutcome, |page, n| page.peers.cache[n] as f64),
    ),
];

pub(super) const COMMANDS: &[Metric] = &[
    counter(
        "wsm_commands_total",
        "Commands delivered by the bus, by what became of them.",
        Read::ProcessSet(Set::CommandOutcome, |page, n| page.commands.ended[n] as f64),
    ),
    counter(
        "wsm_command_replies_total",
        "Replies to commands, by what became of them.",
        Read::ProcessSet(Set::ReplyOutcome, |page, n| page.commands.replies[n] as f64),
    ),
    gauge(
        "wsm_commands_in_flight",
        "Commands taken from the bus and not ended.",
        Read::Process(|page| page.commands.in_flight as f64),
    ),
    gauge(
        "wsm_commands_taking",
        "1 while commands are taken from the bus.",
        Read::Process(|page| f64::from(u8::from(page.commands.taking))),
    ),
];

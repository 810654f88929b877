//! What was promised, each with the scenario that measures it.

/// One promise. The order is that of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Id {
    SendStream,
    RoomSingle,
    RoomCoalesced,
    SingleOfRaw,
    SingleOfPeers,
    SingleOfNats,
    BatchedOfRaw,
    BatchedOfNats,
    BatchedOfNode,
    BatchedOfJararaca,
    TailOfPeers,
    ReceiveOfRaw,
    ReceiveOfNats,
    HalfKneeP99,
    HalfKneeP999,
    TwoShards,
    IdleMemory,
    IdleCpu,
}

pub struct Goal {
    pub id: Id,
    pub what: &'static str,
    pub bound: &'static str,
    /// The scenario that gives its figure.
    pub scenario: &'static str,
}

const fn goal(id: Id, scenario: &'static str, what: &'static str, bound: &'static str) -> Goal {
    Goal { id, what, bound, scenario }
}

pub const GOALS: &[Goal] = &[
    goal(
        Id::SendStream,
        "send-stream",
        "one shard, correlated Sends over SendStream",
        ">= 50000 a second at p99 <= 5 ms",
    ),
    goal(
        Id::RoomSingle,
        "fanout",
        "one shard, room deliveries of 128 B, one publish at a time",
        ">= 200000 a second at p99 <= 50 ms",
    ),
    goal(
        Id::RoomCoalesced,
        "fanout",
        "one shard, room deliveries of 128 B, coalesced",
        ">= 5000000 a second at p99 <= 50 ms",
    ),
    goal(
        Id::SingleOfRaw,
        "peers",
        "deliveries per CPU-second, one publish at a time, beside a raw send(2) loop",
        ">= 0.92x",
    ),
    goal(Id::SingleOfPeers, "peers", "... beside every other peer", "> 1x each"),
    goal(Id::SingleOfNats, "peers", "... beside nats-server over WebSocket", ">= 2x"),
    goal(
        Id::BatchedOfRaw,
        "peers",
        "deliveries per CPU-second, 64 in flight, beside the batched raw loop",
        ">= 0.8x",
    ),
    goal(Id::BatchedOfNats, "peers", "... beside nats-server over WebSocket", ">= 3x"),
    goal(Id::BatchedOfNode, "peers", "... beside Node ws", ">= 25x"),
    goal(Id::BatchedOfJararaca, "peers", "... beside Jararaca", ">= 25x"),
    goal(
        Id::TailOfPeers,
        "peers",
        "p99 at 40 publishes a second to 1000 members, beside the best peer's",
        "<= 1x",
    ),
    goal(
        Id::ReceiveOfRaw,
        "peers",
        "receiving, 100 senders, 32 frames a write, beside the raw loop",
        ">= 0.6x",
    ),
    goal(Id::ReceiveOfNats, "peers", "... beside nats-server over WebSocket", ">= 1.3x"),
    goal(Id::HalfKneeP99, "knee", "p99 at half the own knee", "<= 1 ms"),
    goal(Id::HalfKneeP999, "knee", "p99.9 at half the own knee", "<= 3 ms"),
    goal(
        Id::TwoShards,
        "shards",
        "two shards beside two services of one shard each, work for each CPU-second",
        ">= 0.9x",
    ),
    goal(
        Id::IdleMemory,
        "idle",
        "user memory of an idle connection, as many as the file limit allows, less 500",
        "<= 2.5 KiB",
    ),
    goal(Id::IdleCpu, "idle", "CPU of all of them with pings every 25 s", "<= 1 % of a core"),
];

/// A promise beside what was measured.
#[derive(Clone, Debug)]
pub struct Reached {
    pub id: Id,
    pub figure: String,
    pub met: bool,
}

impl Reached {
    #[must_use]
    pub fn new(id: Id, met: bool, figure: String) -> Self {
        Reached { id, figure, met }
    }
}

#[must_use]
pub fn of(id: Id) -> &'static Goal {
    &GOALS[id as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_goal_stands_at_its_place_and_has_a_scenario() {
        for (place, goal) in GOALS.iter().enumerate() {
            assert_eq!(goal.id as usize, place, "{}", goal.what);
            assert!(crate::scenarios::find(goal.scenario).is_some(), "no scenario {}", goal.scenario);
        }
    }
}

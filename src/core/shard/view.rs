//! What others see of a shard: what waits for a socket, what is counted, and whether it all holds.

use super::ShardCore;
use crate::{
    core::{
        connection::Phase,
        counters::Counters,
        io::SocketKey,
        outbox::Outbox,
        publish::Publisher,
        rooms::{
            here::{Deliveries, Here},
            home::{HomeCounters, Homes},
        },
    },
    limits,
};

#[derive(Clone, Debug, Default)]
pub struct Gauges {
    pub connections: [u64; 5],
    pub outbox_bytes: u64,
    pub reads_paused: u64,
    pub ring_bytes: u64,
    pub followers: u64,
    pub sends_in_flight: u64,
    pub timers: u64,
    pub accepted: u64,
    pub rooms: u64,
    pub room_members: u64,
    pub room_members_behind: u64,
    pub room_backlog_bytes: u64,
    pub deliveries_in_flight: u64,
    pub homes: u64,
    pub history_bytes: u64,
}

impl ShardCore {
    /// What waits to be written on a socket that is still the connection's.
    pub fn outbox(&self, socket: SocketKey) -> Option<&Outbox> {
        let connection = self.connections.get(socket.conn)?;
        (connection.nth == socket.nth && connection.is_open()).then_some(&connection.outbox)
    }

    pub fn message_bytes_max(&self, socket: SocketKey) -> usize {
        let spec = self.connections.get(socket.conn).map(|connection| &connection.spec);
        spec.map_or(limits::MESSAGE_BYTES_DEFAULT, |spec| spec.settings.message_bytes_max)
    }

    /// Rooms with members here, and what became of their messages.
    pub fn rooms_here(&self) -> &Here {
        &self.here
    }

    /// Rooms whose home this shard is.
    pub fn rooms_home(&self) -> &Homes {
        &self.homes
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What became of rooms' messages, member by member.
    pub fn deliveries(&self) -> Deliveries {
        self.here.deliveries
    }

    pub fn home_counters(&self) -> HomeCounters {
        self.homes.counters
    }

    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Connections by status name, in the order of `Status`.
    pub fn gauges(&self) -> Gauges {
        let mut gauges = Gauges { ring_bytes: self.ring.allocated_bytes() as u64, ..Gauges::default() };
        gauges.followers = self.followers.len() as u64;
        gauges.sends_in_flight = self.sends.len() as u64;
        gauges.timers = self.timers.len() as u64;
        gauges.rooms = self.here.len() as u64;
        gauges.room_members = self.here.iter().map(|room| room.members().len() as u64).sum();
        gauges.room_members_behind = self.here.behind();
        gauges.room_backlog_bytes = self.here.held_bytes();
        gauges.deliveries_in_flight = self.here.in_flight();
        gauges.homes = self.homes.len() as u64;
        gauges.history_bytes = self.homes.kept_bytes() as u64;
        for (_, connection) in self.connections.iter() {
            gauges.accepted += u64::from(connection.accepted.is_some() && connection.is_open());
            gauges.connections[connection.status() as usize] += 1;
            gauges.outbox_bytes += connection.outbox.queued_bytes() as u64;
            gauges.reads_paused += u64::from(connection.reads_paused);
        }
        gauges
    }

    /// Of the connection that a socket is for.
    pub fn name_of(&self, socket: SocketKey) -> Option<String> {
        self.connections.get(socket.conn).map(|connection| connection.id.to_string())
    }

    pub fn connections_len(&self) -> usize {
        self.by_id.len()
    }

    /// Every invariant; called after each step in simulation.
    pub fn check(&self) {
        let mut in_flight = 0;
        for (key, connection) in self.connections.iter() {
            connection.outbox.check();
            in_flight += connection.sends_in_flight();
            let found = self.by_id.get(&connection.id);
            assert_eq!(found, Some(&key), "{} is not found by its id", connection.id);
            assert!(
                connection.is_open()
                    || connection.outbox.is_empty()
                    || matches!(connection.phase, Phase::Admitted(_)),
                "{}: frames without a socket",
                connection.id
            );
            assert!(
                connection.is_open() || connection.sends_in_flight() == 0,
                "{}: a Send outlives its socket",
                connection.id
            );
            assert_eq!(
                connection.id.shard(self.setup.shards),
                self.setup.shard,
                "{}: not this shard's",
                connection.id
            );
        }
        assert_eq!(self.by_id.len(), self.connections.len(), "an id without a connection");
        for (_, send) in self.sends.iter() {
            assert!(self.connections.get(send.conn).is_some(), "a Send without a connection");
        }
        assert_eq!(in_flight, self.sends.len(), "a Send was dropped without an outcome");
        self.homes.check();
        self.here.check();
        if let Err(wrong) = self.publisher.check() {
            panic!("{wrong}");
        }
    }
}

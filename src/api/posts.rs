//! Sending to rooms, for what is no RPC.

use crate::{
    core::{
        reason::Fault,
        rooms::{Place, Post, RoomName},
    },
    ports::Pending,
};

pub trait Poster: Send + Sync {
    /// As Rooms.Send does it, to one or more rooms. Answers the message's places, of which there are
    /// none when nobody numbers it before it leaves.
    fn post(&self, rooms: Vec<RoomName>, post: Post) -> Pending<Result<Vec<Place>, Fault>>;
}

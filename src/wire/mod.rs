//! Bytes on the wire, as pure functions.

pub mod close;
pub mod cursor;
pub mod event;
pub mod jararaca;
pub mod members;
pub mod rooms;
pub mod ws;

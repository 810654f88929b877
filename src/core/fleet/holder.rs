//! Who holds a connection, by its record and the members whose leases live.

use super::{
    document::{Read, decode_record},
    io::Member,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holding {
    /// The record names this run.
    Me,
    Member(Member),
    /// It names nobody who lives: it will be taken.
    Orphan,
    /// The record cannot be read, or was written by a newer version: nobody here takes it.
    Unreadable(String),
}

/// For the edges. `me` is this run's incarnation; a record of the earlier product, which names no
/// owner, is an orphan.
pub fn holder_of(me: &str, members: &[Member], record: &[u8]) -> Holding {
    let head = match decode_record(record) {
        Read::Good(head) => head,
        Read::Newer => return Holding::Unreadable("the record was written by a newer version".into()),
        Read::Bad(why) => return Holding::Unreadable(format!("the record is broken: {why}")),
    };
    match head.owner {
        Some(owner) if &*owner == me => Holding::Me,
        Some(owner) => match members.iter().find(|member| member.incarnation == owner) {
            Some(member) => Holding::Member(member.clone()),
            None => Holding::Orphan,
        },
        None => Holding::Orphan,
    }
}

/// Whom a record names as its owner, and under which epoch.
pub fn owner_of(record: &[u8]) -> Option<(std::sync::Arc<str>, u64)> {
    match decode_record(record) {
        Read::Good(head) => head.owner.map(|owner| (owner, head.epoch)),
        Read::Newer | Read::Bad(_) => None,
    }
}

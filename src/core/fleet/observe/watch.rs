//! One of the others, as it was last seen.

use crate::core::fleet::{
    Known,
    adopt::Estate,
    document::LeaseState,
    index::View,
    io::{Boot, Member},
};
use std::time::Duration;

/// Our own former run writes nothing any more, but what it wrote last may still be on its way.
const FORMER: Duration = Duration::from_secs(3);

/// What a lease's document said when it was last read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    Unseen,
    Absent,
    Lease {
        renewals: u64,
        state: LeaseState,
    },
    /// Not readable; the hash tells whether it moves.
    Odd(u64),
    /// A newer version's; its owner is left alone.
    Newer(u64),
}

pub struct Watch {
    pub member: Member,
    pub sight: Sight,
    /// On our boot clock, since when it is seen so.
    pub since: Boot,
    pub(super) known: Known,
    pub(super) tombing: bool,
    /// Stands in the members document.
    pub listed: bool,
    /// It was this process, until then.
    pub(super) former: Option<Boot>,
    pub owned: u64,
    pub(super) epoch: u64,
    pub estate: Option<Box<Estate>>,
    pub view: Option<View>,
    pub viewing: bool,
}

impl Watch {
    pub(super) fn new(member: Member, now: Boot) -> Self {
        Watch {
            member,
            sight: Sight::Unseen,
            since: now,
            known: Known::Read,
            tombing: false,
            listed: false,
            former: None,
            owned: 0,
            epoch: 0,
            estate: None,
            view: None,
            viewing: false,
        }
    }

    #[cfg(test)]
    pub fn describe(&self) -> String {
        let view = self.view.is_some();
        let (sight, listed, owned) = (&self.sight, self.listed, self.owned);
        format!(
            "{} {sight:?} {listed} {owned} {view} {} {:?}",
            self.member.incarnation, self.viewing, self.estate
        )
    }

    pub fn is_dead(&self) -> bool {
        matches!(&self.sight, Sight::Lease { state, .. } if state.is_over())
    }

    pub(super) fn is_silent(&self, now: Boot, silence: Duration) -> bool {
        match self.former {
            Some(at) => now.since(at) >= FORMER,
            None => now.since(self.since) >= silence,
        }
    }

    /// Whether it holds connections still.
    pub(super) fn lives(&self) -> bool {
        self.former.is_none() && matches!(&self.sight, Sight::Lease { state, .. } if !state.is_over())
    }

    /// Whether it takes its share of what is orphaned.
    pub(super) fn takes(&self) -> bool {
        let live = matches!(self.sight, Sight::Lease { state: LeaseState::Live, .. });
        live && self.former.is_none()
    }
}

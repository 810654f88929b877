//! What is known of one connection's record, and what is to be done about it.

use super::{
    Known,
    io::{Asker, Boot, Claim, Version},
};
use bytes::Bytes;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    No,
    /// By a placeholder, while it is being dialled.
    Placeholder,
    /// Listed as ours, and not handed over yet.
    Expected,
    Yes,
}

pub struct Entry {
    pub known: Known,
    /// Of our record; 0 before there is one.
    pub epoch: u64,
    pub held: Held,
    /// In which generation of its bucket it is listed.
    pub listed: u64,
    /// Nobody knows of a write whether it happened: it may be late.
    pub unsure: bool,
    pub work: Option<Box<Work>>,
}

pub struct Work {
    pub run: Job,
    /// Newer wishes, merged.
    pub next: Option<Job>,
    /// Something that will wake it is under way.
    pub busy: bool,
    /// What a take will write, once the record was read.
    pub prepared: Option<Bytes>,
    /// The take found a dead one's claim, which is deleted.
    pub drop_placeholder: bool,
    /// A take has its place in the pace.
    pub paced: bool,
    /// A second look at a deletion, which begins then: whatever is wanted until then goes first.
    pub looks_back: Option<Boot>,
}

pub struct Job {
    pub what: What,
    pub askers: Vec<(Asker, bool)>,
}

#[derive(Clone, Debug)]
pub enum What {
    Put {
        epoch: u64,
        document: Bytes,
    },
    Delete,
    Expect,
    Transfer {
        to: Arc<str>,
        epoch: u64,
        document: Bytes,
    },
    Claim {
        epoch: u64,
    },
    /// From a dead incarnation; None: from whoever the record names, when he is dead.
    Take {
        from: Option<Arc<str>>,
        epoch: u64,
    },
}

/// What became of a job.
#[derive(Debug)]
pub enum End {
    Done,
    /// Another's, by a record with this epoch.
    Lost(u64),
    Claimed(Claim),
    /// Taken over: the record as it stands now.
    Taken(Bytes),
    /// Nothing to take, or not now: then it is looked at again after a while.
    Nothing {
        again: bool,
    },
    Failed(String),
}

impl Entry {
    pub fn is_held(&self) -> bool {
        self.held != Held::No
    }

    pub fn is_ours(&self) -> bool {
        matches!(self.held, Held::Yes | Held::Placeholder)
    }

    /// Something is done about it that what is wanted now has to wait for.
    pub fn is_worked_at(&self) -> bool {
        self.work.as_ref().is_some_and(|work| work.looks_back.is_none())
    }

    /// The version that the store should have, when nothing is under way.
    pub fn settled_at(&self) -> Option<Version> {
        match (&self.known, &self.work) {
            (Known::At(version), None) if self.is_ours() => Some(version.clone()),
            _ => None,
        }
    }
}

impl Work {
    pub fn new(run: Job) -> Box<Work> {
        Box::new(Work {
            run,
            next: None,
            busy: false,
            prepared: None,
            drop_placeholder: false,
            paced: false,
            looks_back: None,
        })
    }

    pub fn jobs(&mut self) -> impl Iterator<Item = &mut Job> {
        [&mut self.run].into_iter().chain(self.next.as_mut())
    }
}

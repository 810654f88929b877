//! What the publisher knows of its spill log.

use super::{batch::BatchId, flight::Closed};
use crate::core::time::Time;
use std::collections::VecDeque;

/// The oldest record of the log.
#[derive(Debug)]
pub(super) enum Head {
    /// There is none.
    Empty,
    /// Not asked for yet.
    Unknown,
    Peeking,
    /// In memory, waiting for its turn.
    Loaded(Closed),
    /// On its way to the bus.
    Flying(BatchId),
    /// Done with; to be forgotten.
    Done,
    Popping,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub id: BatchId,
    pub messages: u64,
}

#[derive(Debug)]
pub(super) struct SpillLog {
    pub enabled: bool,
    /// Records that this process wrote, oldest first.
    pub own: VecDeque<Record>,
    pub own_messages: u64,
    /// A batch that the log is writing.
    pub append: Option<Closed>,
    pub head: Head,
    /// An earlier process may have left records in front of ours.
    pub old_possible: bool,
    /// How many of ours were there when the head was asked for.
    pub peeked_over: usize,
    /// The log said no to the oldest batch that waits in memory.
    pub refused: bool,
    /// When a refused batch is offered again, if nothing was popped before.
    pub offer_at: Time,
    /// When the head is asked for or popped again after a failure.
    pub head_at: Time,
    /// Reads of the lanes that spill are to pause.
    pub full: bool,
}

impl SpillLog {
    pub(super) fn new(enabled: bool) -> Self {
        SpillLog {
            enabled,
            own: VecDeque::new(),
            own_messages: 0,
            append: None,
            head: if enabled { Head::Unknown } else { Head::Empty },
            old_possible: enabled,
            peeked_over: 0,
            refused: false,
            offer_at: Time::ZERO,
            head_at: Time::ZERO,
            full: false,
        }
    }

    /// Whether newer batches have to wait behind it.
    pub(super) fn is_active(&self) -> bool {
        !matches!(self.head, Head::Empty) || !self.own.is_empty() || self.append.is_some()
    }

    /// Whether it surely holds a record. Not so before the first answer: a fresh start does not
    /// write to disk because of one question.
    pub(super) fn holds(&self) -> bool {
        !self.own.is_empty() || !matches!(self.head, Head::Empty | Head::Unknown | Head::Peeking)
    }

    pub(super) fn written(&mut self, record: Record) {
        self.own_messages += record.messages;
        self.own.push_back(record);
        self.refused = false;
        if matches!(self.head, Head::Empty) {
            self.head = Head::Unknown;
        }
    }

    /// Takes the oldest of ours off the books; its messages are accounted for elsewhere from now.
    pub(super) fn forget_first(&mut self) -> u64 {
        let messages = self.own.pop_front().map_or(0, |record| record.messages);
        self.own_messages -= messages;
        messages
    }

    /// So many messages of the oldest of ours are accounted for elsewhere from now.
    pub(super) fn shorten_first(&mut self, messages: u64) {
        if let Some(first) = self.own.front_mut() {
            first.messages -= messages;
            self.own_messages -= messages;
        }
    }

    /// What to expect at the head now that its record is gone.
    pub(super) fn next_head(&mut self) {
        let empty = self.own.is_empty() && !self.old_possible;
        self.head = if empty { Head::Empty } else { Head::Unknown };
    }
}

//! A slow model of the correlator: it keeps one flat list, looks through all of it, and reads no JSON.

use super::*;

/// What the peer would answer with: the model reads no JSON.
#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    Id(u64),
    ArrayId(u64),
    Prefix(Vec<u8>),
    Kind(usize),
    Order,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub kind: Kind,
    pub bytes: Vec<u8>,
    pub id: Option<u64>,
    pub array_id: Option<u64>,
    pub prefix: Option<Vec<u8>>,
    pub kind_mark: Option<usize>,
    pub method: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum State {
    Waiting,
    /// Timed out or cancelled then; an id or predicate is remembered, a place in line abandoned.
    Left(Time),
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub ticket: Ticket,
    pub mark: Mark,
    pub rpc: bool,
    pub state: State,
}

#[derive(Default)]
pub struct Model {
    pub entries: Vec<Entry>,
    pub doubt: Option<Time>,
    /// Whose reply the last late one was.
    pub late: Option<Ticket>,
}

impl Model {
    pub fn expire(&mut self, now: Time) {
        let old = |entry: &Entry| matches!(entry.state, State::Left(at) if now.since(at) >= LATE_IDS_AGE);
        self.entries.retain(|entry| entry.mark == Mark::Order || !old(entry));
        let silent = self.doubt.is_some_and(|since| now.since(since) >= FIFO_RESYNC_DEFAULT);
        if silent && !self.entries.iter().any(|entry| entry.mark == Mark::Order) {
            self.doubt = None;
        }
        if self.entries.iter().filter(|entry| entry.mark == Mark::Order).all(old) {
            self.entries.retain(|entry| entry.mark != Mark::Order);
        }
    }

    pub fn refuses(&self, mark: &Mark, max: usize) -> Option<FaultKind> {
        let counted = |entry: &&Entry| entry.state == State::Waiting || entry.mark == Mark::Order;
        let mut same = self.entries.iter().filter(|entry| entry.mark == *mark);
        if self.entries.iter().filter(counted).count() >= max {
            Some(FaultKind::Full)
        } else {
            match mark {
                Mark::Order => self.doubt.map(|_| FaultKind::FifoResync),
                Mark::Kind(_) => {
                    same.any(|entry| entry.state != State::Waiting).then_some(FaultKind::CorrelationInUse)
                }
                _ => same.next().map(|_| FaultKind::CorrelationInUse),
            }
        }
    }

    pub fn hears(&mut self, now: Time, message: &Message) -> Verdict {
        if self.doubt.is_some() {
            self.doubt = Some(now);
        }
        let by_id = |entry: &Entry| match &entry.mark {
            Mark::Id(id) => message.id == Some(*id) && !(entry.rpc && message.method),
            Mark::ArrayId(id) => message.array_id == Some(*id),
            Mark::Prefix(prefix) => message.prefix.as_ref() == Some(prefix),
            _ => false,
        };
        let waits = |entry: &Entry| entry.state == State::Waiting;
        let claims: [&dyn Fn(&Entry) -> bool; 4] = [
            &|entry| by_id(entry) && waits(entry),
            &|entry| by_id(entry),
            &|entry| matches!(entry.mark, Mark::Kind(kind) if message.kind_mark == Some(kind)),
            &|entry| entry.mark == Mark::Order,
        ];
        let Some(index) = claims.iter().find_map(|claim| self.entries.iter().position(claim)) else {
            return Verdict::Unclaimed;
        };
        let entry = self.entries.remove(index);
        let order = entry.mark == Mark::Order;
        match entry.state {
            State::Waiting => {
                let strip = if matches!(entry.mark, Mark::Prefix(_)) { 16 } else { 0 };
                Verdict::Reply { ticket: entry.ticket, strip, published: order }
            }
            State::Left(_) if order => Verdict::Abandoned,
            State::Left(_) => {
                self.late = Some(entry.ticket);
                Verdict::Late
            }
        }
    }

    pub fn find(&self, ticket: Ticket) -> usize {
        self.entries.iter().position(|entry| entry.ticket == ticket).expect("the script names live tickets")
    }

    pub fn times_out(&mut self, now: Time, ticket: Ticket) -> Vec<Ticket> {
        let index = self.find(ticket);
        if self.entries[index].mark != Mark::Order {
            self.entries[index].state = State::Left(now);
            return Vec::new();
        }
        self.doubt = Some(now);
        let tail = self.entries.split_off(index);
        let mut behind = Vec::new();
        for entry in tail {
            if entry.mark != Mark::Order {
                self.entries.push(entry);
            } else if entry.state == State::Waiting && entry.ticket != ticket {
                behind.push(entry.ticket);
            }
        }
        self.trim();
        behind
    }

    pub fn leaves(&mut self, now: Time, ticket: Ticket, written: bool) {
        let index = self.find(ticket);
        if !written {
            self.entries.remove(index);
        } else {
            self.entries[index].state = State::Left(now);
            if self.doubt.is_some() && self.entries[index].mark == Mark::Order {
                self.doubt = Some(now);
            }
        }
        if self.doubt.is_some() {
            self.trim();
        }
    }

    /// In doubt, abandoned places at the end of the line are void.
    pub fn trim(&mut self) {
        while let Some(last) = self.entries.iter().rposition(|entry| entry.mark == Mark::Order) {
            if self.entries[last].state == State::Waiting {
                return;
            }
            self.entries.remove(last);
        }
    }

    pub fn drains(&mut self) -> Vec<Ticket> {
        let waiting = self.entries.iter().filter(|entry| entry.state == State::Waiting);
        let tickets = waiting.map(|entry| entry.ticket).collect();
        self.doubt = None;
        self.entries.retain(|entry| {
            entry.state != State::Waiting && !matches!(entry.mark, Mark::Order | Mark::Kind(_))
        });
        tickets
    }

    pub fn waiting(&self) -> Vec<Ticket> {
        self.entries.iter().filter(|entry| entry.state == State::Waiting).map(|entry| entry.ticket).collect()
    }
}

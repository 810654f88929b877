//! Accounts for every message: what an upstream sent on each of its sockets, against the events of
//! a topic, read as a careful subscriber reads them. Each message was delivered, or lies inside of
//! a gap that was announced; anything else is a violation. It shares no code with the service.

mod read;

use parking_lot::Mutex;
use read::{Gap, Message, Place, Record};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

/// What upstreams sent, in their own words. Clones write to the same log.
#[derive(Clone, Default)]
pub struct Sent(Arc<Mutex<BTreeMap<String, Connection>>>);

#[derive(Default)]
struct Connection {
    /// Where each message stands: socket, then place on it.
    places: BTreeMap<Vec<u8>, Position>,
    /// Messages on each socket, in the order in which the sockets were opened.
    sockets: Vec<usize>,
}

/// Socket and place on it; in this order, for a connection has one socket after the other.
type Position = (usize, usize);

impl Sent {
    /// The service opened one more socket for this connection; its number.
    pub fn socket(&self, connection: &str) -> usize {
        let mut log = self.0.lock();
        let sockets = &mut log.entry(connection.to_owned()).or_default().sockets;
        sockets.push(0);
        sockets.len() - 1
    }

    /// To be said before it is sent, so that what is lost under way is missed. No two messages of a
    /// connection may be equal, and what the service takes for a reply does not belong here.
    pub fn says(&self, connection: &str, socket: usize, message: impl AsRef<[u8]>) {
        let mut log = self.0.lock();
        let entry = log.get_mut(connection).expect("a socket was opened");
        let position = (socket, entry.sockets[socket]);
        entry.sockets[socket] += 1;
        let before = entry.places.insert(message.as_ref().to_vec(), position);
        assert!(before.is_none(), "{connection} says the same twice: {}", show(message.as_ref()));
    }

    /// `events` are those of a topic, in its order; other connections' are passed over.
    pub fn audit(&self, events: &[Value]) -> Account {
        let mut account = Account::default();
        let mut records: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for event in events {
            match read::event(event) {
                Ok(found) => {
                    for (connection, record) in found {
                        records.entry(connection).or_default().push(record);
                    }
                }
                Err(why) => account.violations.push(format!("an event that cannot be read: {why}: {event}")),
            }
        }
        let log = self.0.lock();
        for (name, connection) in log.iter() {
            let mut reader = Reader::new(name, connection, &mut account);
            for record in records.get(name).into_iter().flatten() {
                reader.take(record);
            }
            reader.close();
        }
        account
    }
}

/// How the messages of all connections fared.
#[derive(Debug, Default)]
pub struct Account {
    pub sent: usize,
    /// Messages that came, each counted once.
    pub delivered: usize,
    /// The same number once more.
    pub again: usize,
    /// The same message under another number, and marked as a possible duplicate.
    pub marked: usize,
    /// Sent, not delivered, and inside of an announced gap.
    pub in_gaps: usize,
    /// Of an epoch below one that had begun: subscribers do not look at them.
    pub discarded: usize,
    pub gaps: usize,
    /// The causes of the gaps, as often as they came.
    pub causes: BTreeMap<String, usize>,
    pub violations: Vec<String>,
}

impl Account {
    pub fn assert_clean(&self) {
        let mut text = String::new();
        for violation in self.violations.iter().take(SHOWN) {
            let _ = writeln!(text, "  {violation}");
        }
        assert!(self.violations.is_empty(), "{} violations:\n{text}{self:?}", self.violations.len());
    }
}

/// More do not say more.
const SHOWN: usize = 20;

/// What a subscriber knows of one epoch.
#[derive(Default)]
struct Epoch {
    /// By seq; the position is None for a message that nobody sent.
    came: BTreeMap<u64, (Vec<u8>, Option<Position>)>,
    /// The highest seq that this epoch is known to have used.
    used: u64,
    furthest: Option<Position>,
}

/// A gap in the upstream's own terms, both ends exclusive; None is open.
struct Span {
    from: Option<Position>,
    /// Decided at the end: the first message that came at or after this place.
    to: Option<Place>,
}

struct Reader<'a> {
    name: &'a str,
    connection: &'a Connection,
    account: &'a mut Account,
    epochs: BTreeMap<u64, Epoch>,
    /// Epochs below are discarded.
    floor: u64,
    gaps: Vec<Gap>,
    spans: Vec<Span>,
    /// Positions that came, and the last one of all.
    came: BTreeSet<Position>,
    last: Option<Position>,
}

impl<'a> Reader<'a> {
    fn new(name: &'a str, connection: &'a Connection, account: &'a mut Account) -> Self {
        Reader {
            name,
            connection,
            account,
            epochs: BTreeMap::new(),
            floor: 0,
            gaps: Vec::new(),
            spans: Vec::new(),
            came: BTreeSet::new(),
            last: None,
        }
    }

    fn take(&mut self, record: &Record) {
        let epoch = match record {
            Record::Message(message) => message.place.0,
            Record::Gap(gap) => gap.to.map_or(gap.from.0, |to| to.0),
            Record::End { epoch, .. } => *epoch,
        };
        if epoch < self.floor {
            if matches!(record, Record::Message(_)) {
                self.account.discarded += 1;
            }
            return;
        }
        match record {
            Record::Message(message) => self.message(message),
            Record::Gap(gap) => self.gap(gap),
            Record::End { epoch, last_seq } => {
                let known = self.epochs.entry(*epoch).or_default();
                known.used = known.used.max(*last_seq);
            }
        }
    }

    fn message(&mut self, message: &Message) {
        let (epoch, seq) = message.place;
        let bytes = &message.bytes;
        let position = self.connection.places.get(bytes).copied();
        if epoch > self.floor {
            if self.floor != 0 {
                self.wrong(format!("epoch {epoch} begins at seq {seq} without a gap record"));
            }
            self.floor = epoch;
        }
        let known = self.epochs.entry(epoch).or_default();
        if let Some((earlier, _)) = known.came.get(&seq) {
            self.account.again += 1;
            if earlier != bytes {
                let (one, other) = (show(earlier), show(bytes));
                self.wrong(format!("({epoch}, {seq}) is {one} and then {other}"));
            }
            return;
        }
        let highest = known.came.last_key_value().map_or(0, |(seq, _)| *seq);
        let furthest = known.furthest;
        known.came.insert(seq, (bytes.clone(), position));
        known.used = known.used.max(seq);
        known.furthest = furthest.max(position);
        if seq < highest {
            self.wrong(format!("({epoch}, {seq}) comes for the first time after ({epoch}, {highest})"));
        }
        if let Some(missing) = (highest + 1..seq).find(|seq| !self.announced((epoch, *seq))) {
            self.wrong(format!(
                "({epoch}, {missing}) is left out before ({epoch}, {seq}), and no gap record came"
            ));
        }
        match position {
            None => self.wrong(format!("({epoch}, {seq}) was never sent: {}", show(bytes))),
            Some(position) => self.came_at(message, position, furthest),
        }
    }

    fn came_at(&mut self, message: &Message, position: Position, furthest: Option<Position>) {
        let (epoch, seq) = message.place;
        let text = show(&message.bytes);
        if !self.came.insert(position) {
            match message.possible_duplicate {
                true => self.account.marked += 1,
                false => self.wrong(format!("({epoch}, {seq}) repeats {text} and is not marked")),
            }
            return;
        }
        self.account.delivered += 1;
        self.last = self.last.max(Some(position));
        if furthest > Some(position) && !message.possible_duplicate {
            self.wrong(format!("({epoch}, {seq}) is {text}, which was sent before what came before it"));
        }
    }

    fn gap(&mut self, gap: &Gap) {
        self.account.gaps += 1;
        *self.account.causes.entry(gap.cause.clone()).or_default() += 1;
        let (epoch, seq) = gap.from;
        let before = self.epochs.entry(epoch).or_default();
        let seen = before.came.last_key_value().map_or(0, |(seq, _)| *seq);
        before.used = before.used.max(seq.unwrap_or(0));
        let from = match seq {
            // As far as it came: what was not delivered before the gap is missed by its number.
            Some(seq) => before.came.range(..=seq).filter_map(|(_, it)| it.1).max().or(self.below(epoch)),
            None => self.last,
        };
        self.gaps.push(Gap { from: (epoch, Some(seq.unwrap_or(seen))), ..gap.clone() });
        self.spans.push(Span { from, to: gap.to });
        self.floor = self.floor.max(gap.to.map_or(epoch, |to| to.0));
    }

    /// The furthest message of the epochs before this one.
    fn below(&self, epoch: u64) -> Option<Position> {
        self.epochs.range(..epoch).filter_map(|(_, known)| known.furthest).max()
    }

    fn announced(&self, place: Place) -> bool {
        let inside = |gap: &Gap| {
            let from = (gap.from.0, gap.from.1.unwrap_or(0));
            place > from && gap.to.is_none_or(|to| place < to)
        };
        self.gaps.iter().any(inside)
    }

    /// Nothing more comes.
    fn close(&mut self) {
        self.unannounced_numbers();
        let spans: Vec<_> = self.spans.iter().map(|span| (span.from, self.landing(span.to))).collect();
        let covered = |position: Position| {
            spans.iter().any(|(from, to)| {
                from.is_none_or(|from| position > from) && to.is_none_or(|to| position < to)
            })
        };
        let connection = self.connection;
        self.account.sent += connection.places.len();
        let mut missing: Vec<_> =
            connection.places.iter().filter(|(_, position)| !self.came.contains(position)).collect();
        missing.sort_by_key(|(_, position)| **position);
        for (bytes, position) in missing {
            if covered(*position) {
                self.account.in_gaps += 1;
            } else {
                let (socket, text) = (position.0, show(bytes));
                self.wrong(format!("{text}, sent on socket {socket}, never came, and no gap record tells"));
            }
        }
    }

    /// Numbers that an epoch is known to have used after the last that came.
    fn unannounced_numbers(&mut self) {
        let mut found = Vec::new();
        for (epoch, known) in &self.epochs {
            let highest = known.came.last_key_value().map_or(0, |(seq, _)| *seq);
            if let Some(missing) = (highest + 1..=known.used).find(|seq| !self.announced((*epoch, *seq))) {
                let used = known.used;
                found.push(format!(
                    "({epoch}, {missing}) never came, of {used} in its epoch, and no gap record tells"
                ));
            }
        }
        found.into_iter().for_each(|what| self.wrong(what));
    }

    /// The first message that came at or after a place: where a gap ends in the upstream's terms.
    fn landing(&self, place: Option<Place>) -> Option<Position> {
        let (epoch, seq) = place?;
        let later = self.epochs.range(epoch..).flat_map(|(number, known)| {
            let first = if *number == epoch { seq } else { 0 };
            known.came.range(first..).filter_map(|(_, it)| it.1)
        });
        later.min()
    }

    fn wrong(&mut self, what: String) {
        self.account.violations.push(format!("{}: {what}", self.name));
    }
}

fn show(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(60)]))
}

#[cfg(test)]
mod tests;

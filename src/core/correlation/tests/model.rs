//! Random scripts against a slow model that keeps one flat list and looks through all of it.

use super::*;
use std::collections::{BTreeMap, VecDeque};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// What the peer would answer with: the model reads no JSON.
#[derive(Clone, Debug, PartialEq)]
enum Mark {
    Id(u64),
    ArrayId(u64),
    Prefix(Vec<u8>),
    Kind(usize),
    Order,
}

#[derive(Clone, Debug)]
struct Message {
    kind: Kind,
    bytes: Vec<u8>,
    id: Option<u64>,
    array_id: Option<u64>,
    prefix: Option<Vec<u8>>,
    kind_mark: Option<usize>,
    method: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Waiting,
    /// Timed out or cancelled then; an id or predicate is remembered, a place in line abandoned.
    Left(Time),
}

#[derive(Clone, Debug)]
struct Entry {
    ticket: Ticket,
    mark: Mark,
    rpc: bool,
    state: State,
}

#[derive(Default)]
struct Model {
    entries: Vec<Entry>,
    doubt: Option<Time>,
    /// Whose reply the last late one was.
    late: Option<Ticket>,
}

impl Model {
    fn expire(&mut self, now: Time) {
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

    fn refuses(&self, mark: &Mark, max: usize) -> Option<FaultKind> {
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

    fn hears(&mut self, now: Time, message: &Message) -> Verdict {
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

    fn find(&self, ticket: Ticket) -> usize {
        self.entries.iter().position(|entry| entry.ticket == ticket).expect("the script names live tickets")
    }

    fn times_out(&mut self, now: Time, ticket: Ticket) -> Vec<Ticket> {
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

    fn leaves(&mut self, now: Time, ticket: Ticket, written: bool) {
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
    fn trim(&mut self) {
        while let Some(last) = self.entries.iter().rposition(|entry| entry.mark == Mark::Order) {
            if self.entries[last].state == State::Waiting {
                return;
            }
            self.entries.remove(last);
        }
    }

    fn drains(&mut self) -> Vec<Ticket> {
        let waiting = self.entries.iter().filter(|entry| entry.state == State::Waiting);
        let tickets = waiting.map(|entry| entry.ticket).collect();
        self.doubt = None;
        self.entries.retain(|entry| {
            entry.state != State::Waiting && !matches!(entry.mark, Mark::Order | Mark::Kind(_))
        });
        tickets
    }

    fn waiting(&self) -> Vec<Ticket> {
        self.entries.iter().filter(|entry| entry.state == State::Waiting).map(|entry| entry.ticket).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Replied,
    LeftUnanswered(Time),
    Settled,
}

/// One script: the correlator, its model, and what became of every ticket.
struct Script {
    random: Random,
    now: Time,
    correlator: Correlator,
    model: Model,
    next_ticket: u64,
    ends: BTreeMap<Ticket, End>,
    /// What the peer got, and may answer at any time, and twice.
    written: Vec<(Ticket, Message)>,
    marks: BTreeMap<Ticket, Mark>,
    replies: usize,
    late: usize,
    refused: usize,
}

const MAX: usize = 10;

impl Script {
    fn new(seed: u64) -> Self {
        Script {
            random: Random(seed),
            now: START,
            correlator: Correlator::new(MAX),
            model: Model::default(),
            next_ticket: 0,
            ends: BTreeMap::new(),
            written: Vec::new(),
            marks: BTreeMap::new(),
            replies: 0,
            late: 0,
            refused: 0,
        }
    }

    fn step(&mut self) {
        let nap = [0, 1, 200, 400, 1000, 7_000][self.random.below(6)];
        self.now += Duration::from_millis(nap);
        self.model.expire(self.now);
        match self.random.below(40) {
            0..=13 => self.reserve(),
            14..=24 => self.answer(),
            25..=27 => self.tick(),
            28..=31 => self.time_out(),
            32..=36 => self.leave(),
            37..=38 => {
                let expected = self.model.waiting().len();
                assert_eq!(self.correlator.in_flight(), expected);
            }
            _ => self.drain(),
        }
        let idle = self.model.entries.is_empty() && self.model.doubt.is_none();
        assert_eq!(self.correlator.is_idle(self.now), idle, "idle at {:?}", self.now);
        assert!(self.correlator.wants_messages() || idle, "an unheard message must change nothing");
    }

    fn reserve(&mut self) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let id = self.random.below(6) as u64;
        let kind = self.random.below(2);
        let by_id = format!("{{\"id\":{id}}}");
        let (rule, message, mark) = match self.random.below(9) {
            0 | 1 => (Rule::Auto, by_id, Mark::Id(id)),
            2 => (Rule::Auto, "{}".to_owned(), Mark::Order),
            3 => (fifo(), by_id, Mark::Order),
            4 => (Rule::JsonRpc, by_id, Mark::Id(id)),
            5 => (Rule::array(1).unwrap(), format!("[2,{id}]"), Mark::ArrayId(id)),
            6 => (Rule::Prefix, by_id, Mark::Prefix(Vec::new())),
            7 => (Rule::json("/n", "/id", Inject::No).unwrap(), format!("{{\"n\":{id}}}"), Mark::Id(id)),
            _ => (Rule::matching("/kind", &kind.to_string()).unwrap(), by_id, Mark::Kind(kind)),
        };
        let expected = self.model.refuses(&mark, MAX);
        let random = &mut self.random;
        let answer =
            self.correlator
                .reserve(self.now, &rule, message.into_bytes().into(), ticket, &mut || random.next());
        let written = match (answer, expected) {
            (Ok(written), None) => written,
            (Err(fault), Some(kind)) => {
                self.refused += 1;
                return assert_eq!(fault.kind, kind, "{rule:?}: {fault}");
            }
            (answer, expected) => panic!("{rule:?}: {answer:?}, the model says {expected:?}"),
        };
        let mark = match mark {
            Mark::Prefix(_) => Mark::Prefix(written[..16].to_vec()),
            other => other,
        };
        self.written.push((ticket, self.random.reply_to(&mark)));
        self.marks.insert(ticket, mark.clone());
        let rpc = rule == Rule::JsonRpc;
        self.model.entries.push(Entry { ticket, mark, rpc, state: State::Waiting });
    }

    /// The peer answers one of the latest frames, in any order, perhaps again.
    fn answer(&mut self) {
        if self.written.is_empty() {
            return;
        }
        let recent = self.written.len().min(12);
        let index = self.written.len() - 1 - self.random.below(recent);
        let (intended, message) = self.written[index].clone();
        let verdict = self.hear(&message);
        let Verdict::Reply { ticket, published: false, .. } = verdict else { return };
        if ticket != intended && !matches!(self.marks[&ticket], Mark::Kind(_)) {
            let remembered = matches!(self.ends.get(&intended),
                Some(End::LeftUnanswered(at)) if self.now.since(*at) < LATE_IDS_AGE);
            assert!(!remembered, "the late reply of {intended:?} answered {ticket:?}");
        }
    }

    fn tick(&mut self) {
        let mut message = self.random.reply_to(&Mark::Order);
        if self.random.below(3) == 0 {
            let id = self.random.below(6);
            message.bytes = format!("{{\"method\":\"own\",\"id\":{id}}}").into_bytes();
            message.id = Some(id as u64);
            message.method = true;
        }
        self.hear(&message);
    }

    fn hear(&mut self, message: &Message) -> Verdict {
        let expected = self.model.hears(self.now, message);
        let verdict = self.correlator.on_message(self.now, message.kind, &message.bytes);
        assert_eq!(verdict, expected, "{message:?}");
        match verdict {
            Verdict::Reply { ticket, .. } => {
                self.replies += 1;
                self.end(ticket, End::Replied);
            }
            Verdict::Late => {
                self.late += 1;
                let whose = self.model.late.take().expect("a late reply is somebody's");
                self.ends.insert(whose, End::Settled);
            }
            Verdict::Abandoned | Verdict::Unclaimed => {}
        }
        verdict
    }

    fn a_waiting_ticket(&mut self) -> Option<Ticket> {
        let waiting = self.model.waiting();
        if waiting.is_empty() { None } else { Some(waiting[self.random.below(waiting.len())]) }
    }

    fn time_out(&mut self) {
        let Some(ticket) = self.a_waiting_ticket() else { return };
        let expected = self.model.times_out(self.now, ticket);
        let behind = self.correlator.timed_out(self.now, ticket);
        assert_eq!(behind, expected);
        self.end(ticket, End::LeftUnanswered(self.now));
        for other in behind {
            self.end(other, End::Settled);
        }
    }

    fn leave(&mut self) {
        let Some(ticket) = self.a_waiting_ticket() else { return };
        let written = self.random.below(3) > 0;
        self.model.leaves(self.now, ticket, written);
        if written || self.random.below(2) == 0 {
            self.correlator.cancelled(self.now, ticket, written);
        } else {
            self.correlator.not_written(ticket);
        }
        if !written {
            self.written.retain(|(other, _)| *other != ticket);
        }
        self.end(ticket, if written { End::LeftUnanswered(self.now) } else { End::Settled });
    }

    fn drain(&mut self) {
        let expected = self.model.drains();
        let tickets = self.correlator.drain();
        assert_eq!(tickets, expected);
        for ticket in tickets {
            self.end(ticket, End::Settled);
        }
        assert_eq!(self.correlator.in_flight(), 0);
    }

    fn end(&mut self, ticket: Ticket, end: End) {
        assert_eq!(self.ends.insert(ticket, end), None, "{ticket:?} ended twice");
    }
}

impl Random {
    fn reply_to(&mut self, mark: &Mark) -> Message {
        let mut message = Message {
            kind: if self.below(4) == 0 { Kind::Binary } else { Kind::Text },
            bytes: b"tick".to_vec(),
            id: None,
            array_id: None,
            prefix: None,
            kind_mark: None,
            method: false,
        };
        match mark {
            Mark::Id(id) => {
                message.id = Some(*id);
                message.kind_mark = Some(self.below(4));
                let kind = message.kind_mark.unwrap_or_default();
                message.bytes =
                    format!("{{\"kind\": {kind}, \"result\":[\"}}\"], \"id\" :{id}.0}}").into_bytes();
            }
            Mark::ArrayId(id) => {
                message.array_id = Some(*id);
                message.bytes = format!("[{}, {id}]", 3 + self.below(2)).into_bytes();
            }
            Mark::Prefix(prefix) => {
                message.kind = Kind::Binary;
                message.prefix = Some(prefix.clone());
                message.bytes = [&prefix[..], b"answer"].concat();
            }
            Mark::Kind(kind) => {
                message.kind_mark = Some(*kind);
                message.bytes = format!("{{\"kind\":{kind}}}").into_bytes();
            }
            Mark::Order => {}
        }
        message
    }
}

#[test]
fn random_scripts_agree_with_the_model_and_every_ticket_ends_once() {
    let (mut replies, mut late, mut refused) = (0, 0, 0);
    for seed in 1..=300u64 {
        let mut script = Script::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for _ in 0..600 {
            script.step();
        }
        script.drain();
        let reserved: usize = script.ends.len() + script.refused;
        assert_eq!(reserved as u64, script.next_ticket, "seed {seed}: each ticket was refused or ended");
        replies += script.replies;
        late += script.late;
        refused += script.refused;
    }
    assert!(replies > 10_000 && late > 1_000 && refused > 1_000, "{replies} {late} {refused}");
}

/// A peer that answers by order alone, sometimes slowly, but never pauses for as long as the
/// resync asks while it owes something: then no reply may ever meet another's Send.
#[test]
fn an_orderly_peer_is_never_mispaired() {
    let mut paired = 0;
    for seed in 1..=200u64 {
        let mut random = Random(seed.wrapping_mul(0xD134_2543_DE82_EF95));
        let mut bench = Bench::new();
        let mut owed: VecDeque<u64> = VecDeque::new();
        let mut waiting: Vec<u64> = Vec::new();
        let mut quiet = 0;
        for ticket in 0..800 {
            let nap = random.below(300) as u64;
            bench.wait(Duration::from_millis(nap));
            quiet = if owed.is_empty() { 0 } else { quiet + nap };
            let forced = quiet > 600;
            match random.below(if forced { 1 } else { 12 }) {
                0..=5 if !owed.is_empty() => {
                    quiet = 0;
                    let answered = owed.pop_front().unwrap();
                    match bench.hear("answer") {
                        Verdict::Reply { ticket, published: true, .. } => {
                            assert_eq!(ticket.0, answered, "seed {seed}");
                            waiting.retain(|waiting| *waiting != answered);
                            paired += 1;
                        }
                        verdict => {
                            assert!(matches!(verdict, Verdict::Unclaimed | Verdict::Abandoned));
                            assert!(!waiting.contains(&answered), "seed {seed}: {answered} got no reply");
                        }
                    }
                }
                0..=8 => {
                    let admitted = bench.try_send(ticket, &fifo(), "x").is_ok();
                    if admitted {
                        owed.push_back(ticket);
                        waiting.push(ticket);
                    }
                }
                action if !waiting.is_empty() => {
                    let gone = waiting.remove(random.below(waiting.len()));
                    if action == 9 {
                        let behind = bench.time_out(gone);
                        waiting.retain(|waiting| !behind.contains(waiting));
                    } else {
                        let written = action == 10;
                        bench.correlator.cancelled(bench.now, Ticket(gone), written);
                        if !written {
                            owed.retain(|owed| *owed != gone);
                        }
                    }
                }
                _ => {}
            }
        }
    }
    assert!(paired > 5_000, "{paired}");
}

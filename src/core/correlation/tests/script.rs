//! Random scripts against the model, and a peer that answers in order.

use super::{
    model::{Entry, Mark, Message, Model, State},
    *,
};
use crate::core::random::Rng;
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Replied,
    LeftUnanswered(Time),
    Settled,
}

/// One script: the correlator, its model, and what became of every ticket.
struct Script {
    random: Rng,
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
            random: Rng(seed),
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
        let nap = [0, 1, 200, 400, 1000, 7_000][self.random.index(6)];
        self.now += Duration::from_millis(nap);
        self.model.expire(self.now);
        match self.random.index(40) {
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
        let id = self.random.index(6) as u64;
        let kind = self.random.index(2);
        let by_id = format!("{{\"id\":{id}}}");
        let (rule, message, mark) = match self.random.index(9) {
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
                .reserve(self.now, &rule, message.into_bytes().into(), ticket, &mut || random.word());
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
        let index = self.written.len() - 1 - self.random.index(recent);
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
        if self.random.index(3) == 0 {
            let id = self.random.index(6);
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
        if waiting.is_empty() { None } else { Some(waiting[self.random.index(waiting.len())]) }
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
        let written = self.random.index(3) > 0;
        self.model.leaves(self.now, ticket, written);
        if written || self.random.index(2) == 0 {
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

impl Rng {
    fn reply_to(&mut self, mark: &Mark) -> Message {
        let mut message = Message {
            kind: if self.index(4) == 0 { Kind::Binary } else { Kind::Text },
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
                message.kind_mark = Some(self.index(4));
                let kind = message.kind_mark.unwrap_or_default();
                message.bytes =
                    format!("{{\"kind\": {kind}, \"result\":[\"}}\"], \"id\" :{id}.0}}").into_bytes();
            }
            Mark::ArrayId(id) => {
                message.array_id = Some(*id);
                message.bytes = format!("[{}, {id}]", 3 + self.index(2)).into_bytes();
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
        let mut random = Rng(seed.wrapping_mul(0xD134_2543_DE82_EF95));
        let mut bench = Bench::new();
        let mut owed: VecDeque<u64> = VecDeque::new();
        let mut waiting: Vec<u64> = Vec::new();
        let mut quiet = 0;
        for ticket in 0..800 {
            let nap = random.index(300) as u64;
            bench.wait(Duration::from_millis(nap));
            quiet = if owed.is_empty() { 0 } else { quiet + nap };
            let forced = quiet > 600;
            match random.index(if forced { 1 } else { 12 }) {
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
                    let gone = waiting.remove(random.index(waiting.len()));
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

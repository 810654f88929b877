//! What must be true: of every answer, of every topic, of every follower.

use super::*;

/// A command that has not been answered.
#[derive(Debug)]
pub enum Pending {
    Send {
        nonce: u64,
        due: Time,
        handle: Option<Handle>,
    },
    Raw {
        nonce: u64,
        handle: Option<Handle>,
    },
    Connect {
        upstream: usize,
        handle: Option<Handle>,
    },
    Fetch(usize),
    Watch(u64),
    Stop,
    Prepare {
        record: Box<Record>,
        last_seq: u64,
    },
    Retire(ConnectionId),
    /// Commit or Resume.
    Commit(ConnectionId),
    Other,
}

/// What was seen of one connection at one place: a topic, or a follower.
#[derive(Debug, Default)]
pub struct Seen {
    pub messages: BTreeSet<(u64, u64)>,
    pub last: Option<(u64, u64)>,
    /// Epoch, and the two numbers between which all is announced as missing.
    pub holes: Vec<(u64, u64, u64)>,
    pub ends: Vec<(u64, u64)>,
    last_feed: Option<u64>,
    /// The last message that the spill log kept over a crash.
    left: Option<(u64, u64)>,
}

impl Seen {
    pub fn gap(&mut self, gap: &crate::core::sequence::Gap) {
        let (epoch, from) = gap.from;
        let last = self.last.filter(|last| last.0 == epoch).map_or(0, |last| last.1);
        let from = from.unwrap_or(last);
        match gap.to {
            Some((to_epoch, to)) if to_epoch == epoch => self.holes.push((epoch, from, to)),
            Some((to_epoch, to)) => {
                self.holes.push((epoch, from, u64::MAX));
                self.holes.push((to_epoch, 0, to));
            }
            None => self.holes.push((epoch, from, u64::MAX)),
        }
    }

    /// The first number that is neither here nor announced as missing.
    pub fn first_silent_loss(&self) -> Option<(u64, u64)> {
        let announced =
            |epoch, seq| self.holes.iter().any(|(e, from, to)| *e == epoch && *from < seq && seq < *to);
        let (mut epoch, mut next) = (0, 1);
        let ends = self.ends.iter().map(|(epoch, last)| (*epoch, last + 1));
        let mut places: Vec<(u64, u64)> = self.messages.iter().copied().chain(ends).collect();
        places.sort_unstable();
        for (at_epoch, seq) in places {
            if at_epoch != epoch {
                (epoch, next) = (at_epoch, 1);
            }
            if let Some(lost) = (next..seq).find(|seq| !announced(epoch, *seq)) {
                return Some((epoch, lost));
            }
            next = next.max(seq + 1);
        }
        None
    }
}

impl World {
    pub fn note(&mut self, what: &'static str, a: u64, b: u64) {
        let at = self.now.mono.as_nanos();
        for word in [at, what.len() as u64 ^ u64::from(what.as_bytes()[0]), a, b] {
            self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
        if self.trace.len() == TRACE_LINES {
            self.trace.pop_front();
        }
        self.trace.push_back((at, what, a, b));
    }

    /// Every message that came in is in exactly one place.
    pub fn check_books(&self) {
        let (counters, published) = (self.core.counters(), self.core.publisher().counters());
        let unpublished = counters.dropped[DropReason::NotPublished.index()];
        assert_eq!(counters.messages_in, counters.replies + counters.numbered, "messages in");
        assert_eq!(counters.numbered, published.accepted + counters.fed + unpublished, "numbered messages");
    }

    pub fn answered(&mut self, ticket: Ticket, outcome: Outcome) {
        let nth = self.stats.answers;
        self.stats.answers += 1;
        match self.canary {
            Canary::LosesAnswer if nth == 150 => return,
            Canary::AnswersTwice if nth == 150 => {
                self.answered_once(ticket, Ok(Answer::Done));
            }
            _ => {}
        }
        self.answered_once(ticket, outcome);
    }

    fn answered_once(&mut self, ticket: Ticket, outcome: Outcome) {
        self.note("answer", ticket.0, u64::from(outcome.is_ok()));
        if self.cancelling == Some(ticket) {
            assert!(outcome.is_err(), "a cancelled Send was answered with success");
            return;
        }
        let Some(pending) = self.pending.remove(&ticket) else {
            panic!("{ticket:?} was answered twice, or after it was cancelled: {outcome:?}");
        };
        match pending {
            Pending::Send { nonce, due, .. } => self.send_ended(ticket, nonce, due, outcome),
            Pending::Raw { nonce, .. } => {
                if let Err(fault) = outcome {
                    self.check_not_sent(ticket, nonce, &fault);
                }
            }
            Pending::Connect { upstream, .. } => self.connect_ended(upstream, outcome),
            Pending::Fetch(follower) => self.fetched(follower, outcome),
            Pending::Watch(after) => self.watched(after, outcome),
            Pending::Stop => {
                assert!(outcome.is_ok(), "{outcome:?}");
                self.stopped = true;
            }
            Pending::Prepare { record, last_seq } => self.prepared(*record, last_seq, outcome),
            Pending::Retire(id) => self.retired(id, outcome),
            Pending::Commit(id) => self.owned(&id, outcome),
            Pending::Other => {}
        }
    }

    fn send_ended(&mut self, ticket: Ticket, nonce: u64, due: Time, outcome: Outcome) {
        let late = self.now.mono.since(due);
        assert!(late <= Duration::from_millis(50), "a Send ended {late:?} after its deadline");
        match outcome {
            Ok(Answer::Replied { payload, .. }) => {
                self.stats.replies += 1;
                let mut got = nonce_of(&payload);
                if self.canary == Canary::CrossesReplies && self.stats.replies == 40 {
                    got += 1;
                }
                assert_eq!(got, nonce, "a reply to another request: {payload:?}");
                assert!(self.peer_saw.contains(&nonce), "a reply to what was never sent");
            }
            Ok(other) => panic!("a Send was answered with {other:?}"),
            Err(fault) => self.check_not_sent(ticket, nonce, &fault),
        }
    }

    /// What was refused at once, or is said not to have been sent, never reaches the peer.
    fn check_not_sent(&mut self, ticket: Ticket, nonce: u64, fault: &Fault) {
        let refused = self.issuing == Some(ticket);
        if self.canary == Canary::LiesOfNotSent && fault.kind == FaultKind::TimedOut {
            self.never.insert(nonce);
        }
        if refused || fault.certainty == Some(Certainty::NotSent) {
            self.stats.not_sent += 1;
            assert!(!self.peer_saw.contains(&nonce), "said not to be sent, but the peer has it: {fault:?}");
            self.never.insert(nonce);
        } else {
            assert_eq!(fault.certainty, Some(Certainty::MaybeSent), "no word about sending: {fault:?}");
        }
    }

    pub fn peer_saw(&mut self, nonce: u64) {
        self.note("peer saw", nonce, 0);
        assert!(!self.never.contains(&nonce), "request {nonce} was said not to be sent, and came");
        assert!(self.peer_saw.insert(nonce), "request {nonce} was sent twice");
    }

    fn connect_ended(&mut self, upstream: usize, outcome: Outcome) {
        if let Ok(Answer::Connected { epoch, created, .. }) = outcome {
            let upstream = &mut self.upstreams[upstream];
            if created {
                assert!(epoch > upstream.epoch, "epoch {epoch} after {}", upstream.epoch);
            } else {
                assert!(epoch >= upstream.epoch, "epoch {epoch} after {}", upstream.epoch);
            }
            upstream.epoch = epoch;
        }
    }

    /// The same number is the same message wherever it is seen.
    pub fn same_everywhere(&mut self, id: &ConnectionId, (epoch, seq): (u64, u64), payload: &[u8]) {
        let digest = payload
            .iter()
            .take(24)
            .fold(payload.len() as u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        let known = *self.digests.entry((id.clone(), epoch, seq)).or_insert(digest);
        assert_eq!(known, digest, "{id} {epoch}/{seq} is two messages");
    }

    /// The first `arrived` events of a batch reach the log of the bus, but for the refused.
    pub fn take_events(&mut self, batch: &Arc<Batch>, arrived: usize, refused: &[u32]) {
        // A batch that the spill log kept over a crash.
        let old = batch.id.0 < self.restarted;
        for (index, event) in batch.events.iter().enumerate().take(arrived) {
            if refused.contains(&(index as u32)) {
                if event.kind == EventKind::Message {
                    self.refused.push((
                        (event.topic.clone(), event.connection.clone()),
                        (event.epoch, event.first_seq - 1, event.last_seq + 1),
                    ));
                } else {
                    self.records_refused.insert(event.connection.clone());
                }
                continue;
            }
            let name = id_of_event(&batch.bytes[event.range.clone()]);
            if !self.taken.insert((batch.id, name)) || event.kind == EventKind::Lifecycle {
                continue;
            }
            for message in parse_event(&batch.bytes[event.range.clone()]) {
                self.published_message((&event.topic, &event.connection), old, message);
            }
        }
    }

    fn published_message(
        &mut self,
        (topic, id): (&Arc<str>, &ConnectionId),
        old: bool,
        message: ParsedMessage,
    ) {
        assert_eq!(message.id, id.as_str());
        let place = (message.epoch, message.seq);
        let payload = match &message.body {
            Body::Text(text) => Some(text.as_bytes()),
            Body::Binary(data) => Some(&data[..]),
            _ => None,
        };
        if let Some(payload) = payload {
            self.stats.published += 1;
            if self.canary == Canary::LosesEvent && self.stats.published == 60 {
                return;
            }
            self.same_everywhere(id, place, payload);
        }
        let seen = self.topics.entry((topic.clone(), id.clone())).or_default();
        match &message.body {
            Body::Gap(gap) => {
                self.stats.gaps += 1;
                if self.canary == Canary::LosesGap && self.stats.gaps >= 5 {
                    return;
                }
                // A stream that was spilled over a crash is told up to where it goes.
                let leaves = gap.to.is_none_or(|to| to.0 != gap.from.0);
                if let Some((epoch, last)) = seen.left
                    && (leaves && epoch == gap.from.0 && gap.cause == GapCause::Crash)
                {
                    assert!(gap.from.1 >= Some(last), "{id}: {gap:?} does not name {last}");
                    self.stats.named += 1;
                }
                seen.gap(gap);
            }
            Body::End { epoch, last_seq } => seen.ends.push((*epoch, *last_seq)),
            Body::Foreign(event) => panic!("not one of ours: {}", String::from_utf8_lossy(event)),
            Body::Text(_) | Body::Binary(_) => {
                if old {
                    seen.left = seen.left.max(Some(place));
                }
                assert!(seen.messages.insert(place), "{id} {place:?} is published twice as two events");
                let stale = seen.last.is_some_and(|last| place.0 < last.0);
                if stale {
                    // Left behind by a crash: consumers discard it, by its epoch.
                    assert!(self.crashes > 0, "{id}: {place:?} came after {:?}", seen.last);
                    return;
                }
                assert!(seen.last < Some(place), "{id}: {place:?} came after {:?}", seen.last);
                seen.last = Some(place);
                let feed = feed_of(payload.unwrap_or_default());
                assert!(feed.is_none() || feed > seen.last_feed, "{id}: the feed's order is lost");
                seen.last_feed = feed.or(seen.last_feed);
            }
        }
    }

    /// At the end: whatever is missing in a topic was announced there.
    pub fn check_topics(&mut self) {
        for (place, hole) in std::mem::take(&mut self.refused) {
            // The gap record of what the bus refused may have died with the process, or come after
            // another owner had gone on.
            if self.crashes > 0 || self.others.contains_key(&place.1) {
                self.topics.entry(place).or_default().holes.push(hole);
            }
        }
        for ((topic, id), seen) in &self.topics {
            let upstream = self.upstreams.iter().find(|upstream| upstream.id == *id).unwrap();
            if upstream.gaps_elsewhere || self.records_refused.contains(id) {
                continue;
            }
            if let Some((epoch, seq)) = seen.first_silent_loss() {
                panic!("{topic}: {id} {epoch}/{seq} is missing without a gap record: {seen:?} {upstream:?}");
            }
        }
    }
}

/// Every reply and every question carries the number of its request.
pub fn nonce_of(payload: &[u8]) -> u64 {
    let text = std::str::from_utf8(payload).unwrap();
    if let Some(nonce) = text.strip_prefix("re ") {
        return nonce.parse().unwrap();
    }
    let value: serde_json::Value = serde_json::from_str(text).expect("peers answer JSON");
    value[2].as_u64().or(value["r"].as_u64()).unwrap_or_else(|| panic!("no answer: {text}"))
}

/// Copies of an event have one id, also where another process sends the second one.
fn id_of_event(json: &[u8]) -> String {
    let json = std::str::from_utf8(json).unwrap();
    json.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned()
}

fn feed_of(payload: &[u8]) -> Option<u64> {
    let digits = payload.strip_prefix(b"{\"n\":")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

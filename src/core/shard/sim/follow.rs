//! Followers and watchers: fast, slow, by id and by tags.

use super::*;
use crate::core::follow::continuity::{Continuity, Numbers};

pub struct Follower {
    follow: Follow,
    from: FetchFrom,
    slow_millis: u64,
    /// One connection's numbers; None until the first answer, and for followers of tags.
    continuity: Option<Continuity>,
    /// Everything up to here was delivered or announced, by connection.
    covered: BTreeMap<ConnectionId, (u64, u64)>,
    settled: bool,
    overrun: bool,
    /// It was overtaken once: the last word of a connection may have been among what went.
    overran: bool,
    pub over: bool,
    /// Its Fetch waits at the core.
    pub parked: bool,
}

impl World {
    pub fn new_follower(&mut self) {
        let upstream = self.rng.below(self.upstreams.len() as u64) as usize;
        let id = self.upstreams[upstream].id.clone();
        let by_tag = self.rng.chance(300);
        let from = if self.rng.chance(500) { FetchFrom::Now } else { FetchFrom::Start };
        let group = self.rng.below(3).to_string();
        self.followers.push(Follower {
            follow: match by_tag {
                true if self.rng.chance(400) => Follow::Topic(format!("topic-{}", self.rng.below(3)).into()),
                true => Follow::Tags(vec![("group".into(), group)]),
                false => Follow::Connection(id),
            },
            continuity: (!by_tag && from == FetchFrom::Start).then(Continuity::from_start),
            from,
            slow_millis: *self.rng.pick(&[1, 1, 50, 3000]),
            covered: BTreeMap::new(),
            settled: false,
            overrun: false,
            overran: false,
            parked: false,
            over: false,
        });
        self.fetch(self.followers.len() - 1);
    }

    pub fn fetch(&mut self, index: usize) {
        let follower = &self.followers[index];
        if follower.over || follower.parked {
            return;
        }
        if self.down {
            return self.after(Duration::from_millis(100), Event::Fetch(index));
        }
        // The first look from now on only asks where now is.
        let wait = follower.from != FetchFrom::Now;
        let bytes_max = 1 + self.rng.below(20_000) as usize;
        let fetch = Fetch { follow: follower.follow.clone(), from: follower.from, bytes_max, wait };
        self.followers[index].parked = true;
        self.command(Pending::Fetch(index), Command::Fetch(Box::new(fetch)));
    }

    pub fn fetched(&mut self, index: usize, outcome: Outcome) {
        let fetched = match outcome {
            Ok(Answer::Fetched(fetched)) => *fetched,
            Ok(other) => panic!("a Fetch was answered with {other:?}"),
            Err(fault) => {
                assert!(matches!(fault.kind, FaultKind::NotFound | FaultKind::Full), "{fault:?}");
                self.followers[index].over = true;
                return;
            }
        };
        let mut follower = std::mem::replace(&mut self.followers[index], Follower::placeholder());
        follower.parked = false;
        self.read_fetched(&mut follower, &fetched);
        follower.from = FetchFrom::At { incarnation: fetched.incarnation, position: fetched.next };
        if fetched.gone {
            assert!(
                follower.settled || follower.overran || follower.covered.values().all(|(_, seq)| *seq == 0),
                "{:?} ended without a word",
                follower.follow
            );
            self.stats.gone += 1;
            // Its successor under the same id may come later.
            follower.over = self.rng.chance(500);
        }
        let wait = Duration::from_millis(1 + self.rng.below(follower.slow_millis));
        let wait = if fetched.gone { wait + Duration::from_secs(1) } else { wait };
        self.followers[index] = follower;
        self.after(wait, Event::Fetch(index));
    }

    fn read_fetched(&mut self, follower: &mut Follower, fetched: &Fetched) {
        if fetched.overrun {
            self.stats.overruns += 1;
            (follower.overrun, follower.overran) = (true, true);
            if let Some(continuity) = &mut follower.continuity {
                continuity.overrun();
            }
        }
        let by_id = matches!(follower.follow, Follow::Connection(_));
        if by_id && follower.continuity.is_none() {
            let Some((epoch, last)) = fetched.numbering else { return };
            follower.continuity = Some(Continuity::resume(epoch, last));
            let Follow::Connection(id) = &follower.follow else { return };
            follower.covered.insert(id.clone(), (epoch, last));
            // It may have ended before.
            follower.settled = true;
        }
        for record in &fetched.records {
            self.followed(follower, record);
        }
        if let (false, Some((epoch, last)), Some(continuity)) =
            (fetched.more, fetched.numbering, &mut follower.continuity)
            && let Some(gap) = continuity.caught_up(epoch, last)
            && let Follow::Connection(id) = &follower.follow
        {
            assert!(
                follower.overrun || self.crashes > 0 || gap.from.0 < epoch,
                "a hole without a loss: {gap:?}"
            );
            follower.cover(id.clone(), &gap);
        }
        if !fetched.more && by_id {
            follower.overrun = false;
        }
    }

    fn followed(&mut self, follower: &mut Follower, record: &Followed) {
        self.stats.followed += 1;
        let id = record.id.clone();
        let numbers = match record.kind {
            RecordKind::Text | RecordKind::Binary => {
                self.same_everywhere(&id, (record.epoch, record.seq), &record.payload);
                Numbers::Message { epoch: record.epoch, seq: record.seq }
            }
            RecordKind::Gap => Numbers::Gap(crate::core::sequence::Gap::decode(&record.payload).unwrap()),
            RecordKind::End => Numbers::End(crate::core::sequence::End::decode(&record.payload).unwrap()),
            RecordKind::Lifecycle => Numbers::Other,
        };
        if let Some(continuity) = &mut follower.continuity {
            let step = continuity.record(numbers);
            if let Some(gap) = step.gap {
                follower.cover(id.clone(), &gap);
            }
            if !step.deliver {
                return;
            }
        }
        match numbers {
            Numbers::Message { epoch, seq } => {
                let covered = follower.covered.get(&id).copied();
                let goes_on = match covered {
                    None => follower.continuity.is_none() || seq == 1,
                    Some((last_epoch, last)) => {
                        (last_epoch, last + 1) == (epoch, seq)
                            || (epoch > last_epoch
                                && (follower.settled && seq == 1 || follower.continuity.is_none()))
                            // A topic lacks what its connection received while it published elsewhere.
                            || (follower.continuity.is_none()
                                && (follower.overrun || matches!(follower.follow, Follow::Topic(_)))
                                && (epoch, seq) > (last_epoch, last))
                    }
                };
                assert!(goes_on, "a follower of {id} got {epoch}/{seq} after {covered:?}");
                follower.covered.insert(id, (epoch, seq));
                follower.settled = false;
            }
            Numbers::Gap(gap) => follower.cover(id, &gap),
            Numbers::End(end) => {
                follower.covered.insert(id, (end.epoch, end.last_seq));
                follower.settled = true;
            }
            Numbers::Other => {}
        }
    }

    pub fn watched(&mut self, after: u64, outcome: Outcome) {
        let Ok(Answer::Watched { events, start, next, .. }) = outcome else { panic!("{outcome:?}") };
        if start > after {
            self.lifecycles.clear();
        }
        assert_eq!(start + events.len() as u64, next);
        for event in &events {
            let before = self.lifecycles.insert(event.connection.clone(), event.state);
            let fits = matches!(
                (before, event.state),
                (None, _)
                    | (Some(S::Disconnected), S::Connecting | S::Reconnecting | S::Connected)
                    | (Some(S::Connecting), S::Connected | S::Error | S::Disconnected)
                    | (Some(S::Connected | S::Reconnecting), S::Reconnecting | S::Disconnected)
                    | (Some(S::Reconnecting), S::Connected)
                    | (Some(S::Error), S::Disconnected)
            );
            assert!(fits, "{}: {:?} after {before:?}", event.connection, event.state);
        }
        self.watch_at = Some(next);
    }
}

impl Follower {
    fn placeholder() -> Self {
        Follower {
            follow: Follow::Tags(Vec::new()),
            from: FetchFrom::Now,
            slow_millis: 1,
            continuity: None,
            covered: BTreeMap::new(),
            settled: false,
            overrun: false,
            overran: false,
            parked: false,
            over: true,
        }
    }

    fn cover(&mut self, id: ConnectionId, gap: &crate::core::sequence::Gap) {
        let reaches = match gap.to {
            Some((epoch, seq)) => (epoch, seq - 1),
            None => (gap.from.0, gap.from.1.unwrap_or(u64::MAX - 1)),
        };
        let covered = self.covered.entry(id).or_insert(reaches);
        *covered = (*covered).max(reaches);
        self.settled = gap.to.is_none();
    }
}

use super::{continuity::Continuity, *};
use crate::core::random::Rng;
use crate::core::{
    reason::GapCause,
    ring::{Head, RecordKind, Ring},
    sequence::{End, Gap, Numbering},
    time::Wall,
};

fn key(index: u32) -> ConnKey {
    ConnKey { index, generation: 1 }
}

fn head(kind: RecordKind, key: ConnKey, epoch: u64, seq: u64) -> Head {
    Head { kind, key, epoch, seq, wall: Wall::default(), reply: false, possible_duplicate: false }
}

/// One ring and who follows it.
struct Shard {
    ring: Ring,
    followers: Followers,
}

impl Shard {
    fn new() -> Self {
        Shard { ring: Ring::new(1 << 20), followers: Followers::default() }
    }

    fn append(&mut self, key: ConnKey) -> Position {
        let at = self.ring.append(&head(RecordKind::Text, key, 1, 1), b"x");
        self.followers.appended(key, at);
        at
    }

    fn park(&mut self, ticket: u64, selector: Selector) {
        self.followers.park(Ticket(ticket), selector, self.ring.end()).unwrap();
    }

    /// Wide selectors want odd connections.
    fn due(&mut self, max: usize) -> (Vec<(u64, Position)>, bool) {
        let ends = Ends { messages: self.ring.end(), lifecycle: Position::ZERO };
        let ring = &self.ring;
        let mut scan = |_: &Selector, from| {
            let mut found = None;
            let end =
                ring.read(from, &mut |k| k.index % 2 == 1, 1, 100, &mut |record| found = Some(record.next));
            found.map_or(Found::NothingBefore(end.next), |_| Found::At(from))
        };
        let mut out = Vec::new();
        let left = self.followers.due(ends, max, &mut scan, &mut |ticket, _, at| out.push((ticket.0, at)));
        (out, left)
    }
}

#[test]
fn a_follower_is_due_once_when_its_connection_got_something() {
    let mut shard = Shard::new();
    shard.append(key(1));
    shard.park(10, Selector::Connection(key(1)));
    shard.append(key(2));
    assert_eq!(shard.due(9), (vec![], false));
    shard.append(key(2));
    let first = shard.append(key(1));
    shard.append(key(1));
    assert_eq!(shard.due(9), (vec![(10, first)], false), "what lies before it is skipped without a look");
    shard.append(key(1));
    assert_eq!(shard.due(9), (vec![], false));
    assert!(shard.followers.is_empty());
}

#[test]
fn one_that_parks_behind_the_end_is_due_at_once() {
    let mut shard = Shard::new();
    let at = shard.ring.end();
    shard.append(key(1));
    assert!(!shard.followers.nothing_since(key(1), at));
    shard.followers.park(Ticket(1), Selector::Connection(key(1)), at).unwrap();
    assert!(shard.followers.nothing_since(key(2), at));
    shard.followers.park(Ticket(2), Selector::Connection(key(2)), at).unwrap();
    assert_eq!(shard.due(9).0, [(1, at)]);
    assert_eq!(shard.followers.len(), 1);
}

#[test]
fn a_cancelled_follower_is_not_due_wherever_it_waited() {
    let mut shard = Shard::new();
    let start = shard.ring.end();
    let tags = || Selector::Tags(vec![("k".into(), "v".into())]);
    for ticket in 0..6 {
        shard.park(ticket, if ticket % 2 == 0 { Selector::Connection(key(1)) } else { tags() });
    }
    assert_eq!(shard.followers.cancel(Ticket(2)), Some(start));
    assert_eq!(shard.followers.cancel(Ticket(3)), Some(start));
    assert_eq!(shard.followers.cancel(Ticket(3)), None);
    shard.append(key(1));
    assert_eq!(shard.due(1), (vec![(0, start)], true));
    assert_eq!(shard.followers.cancel(Ticket(1)), Some(start), "ready, not yet handed out");
    assert_eq!(shard.due(9), (vec![(4, start), (5, start)], false));
    assert!(shard.followers.is_empty());
}

#[test]
fn wide_followers_pass_over_what_is_not_for_them() {
    let mut shard = Shard::new();
    shard.park(1, Selector::Tags(Vec::new()));
    shard.park(2, Selector::Lifecycle { id: None, tags: Vec::new() });
    shard.append(key(2));
    assert_eq!(shard.due(9), (vec![], false));
    let place = shard.append(key(1));
    assert_eq!(shard.due(9), (vec![(1, place)], false), "and the lifecycle ring had nothing");
    assert_eq!(shard.followers.len(), 1);
}

#[test]
fn who_follows_a_connection_that_is_gone_is_told() {
    let mut shard = Shard::new();
    let old = key(1);
    let new = ConnKey { generation: 2, ..old };
    shard.park(1, Selector::Connection(old));
    shard.followers.forget(old);
    assert_eq!(shard.due(9).0.len(), 1);
    shard.park(2, Selector::Connection(old));
    shard.append(new);
    assert_eq!(shard.due(9).0.len(), 1, "the new tenant pushes them out");
    shard.followers.forget(old);
    shard.park(3, Selector::Connection(old));
    assert_eq!(shard.due(9).0.len(), 1, "too late: due at once");
    shard.park(4, Selector::Connection(new));
    assert_eq!(shard.due(9).0.len(), 0);
}

#[test]
fn there_is_a_bound() {
    let mut shard = Shard::new();
    for ticket in 0..FOLLOWERS_PER_SHARD_MAX as u64 {
        shard.park(ticket, Selector::Connection(key((ticket % 7) as u32)));
    }
    let at = shard.ring.end();
    let refused = shard.followers.park(Ticket(u64::MAX), Selector::Connection(key(1)), at);
    assert_eq!(refused.unwrap_err().kind, FaultKind::Full);
    let twice = shard.followers.park(Ticket(0), Selector::Connection(key(1)), at);
    assert_eq!(twice.unwrap_err().kind, FaultKind::Internal);
    assert!(shard.followers.cancel(Ticket(0)).is_some());
    shard.park(u64::MAX, Selector::Connection(key(1)));
}

const CONNECTIONS: u32 = 4;

/// A shard with connections that receive, lose, reconnect, end and begin again, and the truth of it.
struct World {
    random: Rng,
    ring: Ring,
    followers: Followers,
    numbering: Vec<Numbering>,
    /// Every message that was ever in the ring: connection, number, place.
    kept: Vec<(u32, (u64, u64), Position)>,
    wall: u64,
}

impl World {
    fn new(seed: u64, chunks: usize) -> Self {
        let numbering = vec![Numbering::begin(None, Wall::from_unix_millis(1_000)); CONNECTIONS as usize];
        World {
            random: Rng(seed),
            ring: Ring::with_chunks(8, chunks),
            followers: Followers::default(),
            numbering,
            kept: Vec::new(),
            wall: 1_000,
        }
    }

    fn write(&mut self, connection: u32, kind: RecordKind, seq: u64, payload: &[u8]) -> Position {
        let epoch = self.numbering[connection as usize].epoch();
        let at = self.ring.append(&head(kind, key(connection), epoch, seq), payload);
        self.followers.appended(key(connection), at);
        at
    }

    fn write_gap(&mut self, connection: u32, from: (u64, Option<u64>), cause: GapCause, count: Option<u64>) {
        let now = self.numbering[connection as usize];
        let to = Some((now.epoch(), now.next_seq()));
        let mut bytes = Vec::new();
        Gap { from, to, cause, count }.encode(&mut bytes);
        self.write(connection, RecordKind::Gap, now.last_seq(), &bytes);
    }

    fn message(&mut self, connection: u32) {
        let seq = self.numbering[connection as usize].next();
        let epoch = self.numbering[connection as usize].epoch();
        let largest = self.ring.payload_bytes_max() as u64;
        let too_large = self.random.below(40) == 0;
        let len = if too_large { largest + 1 } else { 16 + self.random.below(60) };
        let mut payload = vec![0; len as usize];
        payload[..8].copy_from_slice(&epoch.to_le_bytes());
        payload[8..16].copy_from_slice(&seq.to_le_bytes());
        let at = self.write(connection, RecordKind::Binary, seq, &payload);
        if !too_large {
            self.kept.push((connection, (epoch, seq), at));
        }
    }

    fn something_happens(&mut self) {
        let connection = self.random.below(u64::from(CONNECTIONS)) as u32;
        let now = self.numbering[connection as usize];
        match self.random.below(30) {
            0 => {
                let count = 1 + self.random.below(5);
                for _ in 0..count {
                    self.numbering[connection as usize].next();
                }
                let from = (now.epoch(), Some(now.last_seq()));
                self.write_gap(connection, from, GapCause::OverflowDropOldest, Some(count));
            }
            1 => self.write_gap(connection, (now.epoch(), Some(now.last_seq())), GapCause::Reconnect, None),
            2 | 3 => {
                let orderly = self.random.below(2) == 0;
                if orderly {
                    let mut bytes = Vec::new();
                    End { epoch: now.epoch(), last_seq: now.last_seq() }.encode(&mut bytes);
                    self.write(connection, RecordKind::End, now.last_seq(), &bytes);
                }
                self.wall += self.random.below(3);
                self.numbering[connection as usize] =
                    Numbering::begin(Some(now.epoch()), Wall::from_unix_millis(self.wall));
                let seq = orderly.then_some(now.last_seq());
                self.write_gap(connection, (now.epoch(), seq), GapCause::NewEpoch, None);
            }
            _ => self.message(connection),
        }
    }

    fn retained_between(&self, connection: u32, after: (u64, u64), before: (u64, u64)) -> bool {
        let within = |number| number > after && number < before;
        self.kept
            .iter()
            .any(|(c, number, at)| *c == connection && within(*number) && *at >= self.ring.start())
    }
}

/// What one reader was given, judged without the code under test.
struct Reader {
    connection: u32,
    continuity: Continuity,
    position: Position,
    parked: bool,
    /// The last number seen or announced.
    at: (u64, u64),
    synthetic: u64,
    messages: u64,
}

impl Reader {
    fn judge_message(&mut self, number: (u64, u64), payload: &[u8]) {
        assert_eq!(number, (self.at.0, self.at.1 + 1), "neither consecutive nor announced");
        assert_eq!(payload[..8], number.0.to_le_bytes());
        assert_eq!(payload[8..16], number.1.to_le_bytes());
        self.at = number;
        self.messages += 1;
    }

    fn judge_gap(&mut self, gap: &Gap, synthetic: bool, world: &World) {
        let from = (gap.from.0, gap.from.1.unwrap_or(self.at.1));
        let to = gap.to.expect("in this world something always follows");
        assert!(from <= self.at || gap.from.1.is_none(), "a hole before the announced hole");
        assert!((to.0, to.1 - 1) >= self.at, "announces what was seen");
        if synthetic {
            assert_eq!(from, self.at);
            assert!(to.0 > self.at.0 || to.1 > self.at.1 + 1, "an empty hole");
            assert!(gap.count.is_none_or(|count| to.0 > self.at.0 || count == to.1 - 1 - self.at.1));
            assert!(!world.retained_between(self.connection, self.at, to), "a false gap: it was still there");
            self.synthetic += 1;
        }
        self.at = (to.0, to.1 - 1);
    }

    fn read(&mut self, world: &mut World) {
        let bytes = 1 + world.random.below(600) as usize;
        let records = 1 + world.random.below(12) as usize;
        let mine = key(self.connection);
        let mut taken = Vec::new();
        let end = world.ring.read(self.position, &mut |k| k == mine, bytes, records, &mut |record| {
            taken.push((
                continuity::Numbers::from(&record),
                (record.head.epoch, record.head.seq),
                record.head.kind,
                record.payload.to_vec(),
            ));
        });
        if end.overrun {
            self.continuity.overrun();
        }
        for (numbers, number, kind, payload) in taken {
            let step = self.continuity.record(numbers);
            if let Some(gap) = step.gap {
                self.judge_gap(&gap, true, world);
            }
            match kind {
                _ if !step.deliver => {}
                RecordKind::Gap => self.judge_gap(&Gap::decode(&payload).unwrap(), false, world),
                RecordKind::End => {
                    assert_eq!(End::decode(&payload).map(|e| (e.epoch, e.last_seq)), Some(self.at))
                }
                _ => self.judge_message(number, &payload),
            }
        }
        self.position = end.next;
        if !end.more || world.followers.nothing_since(mine, end.next) {
            let now = world.numbering[self.connection as usize];
            if let Some(gap) = self.continuity.caught_up(now.epoch(), now.last_seq()) {
                self.judge_gap(&gap, true, world);
            }
            assert_eq!(self.at, (now.epoch(), now.last_seq()), "something was lost in silence");
        }
        assert_eq!(self.continuity.last(), Some(self.at));
    }

    /// The client goes away and comes back with its last number, with or without a place.
    fn resume(&mut self, world: &mut World) {
        self.continuity = Continuity::resume(self.at.0, self.at.1);
        let hint = world.random.below(2) == 0;
        self.position = if hint { world.ring.seat(self.position.get()) } else { world.ring.start() };
        self.read(world);
    }
}

/// Returns (messages delivered, synthetic gaps).
fn follow(seed: u64, chunks: usize) -> (u64, u64) {
    let mut world = World::new(seed, chunks);
    let new = |ticket: u64| Reader {
        connection: ticket as u32 % CONNECTIONS,
        continuity: Continuity::resume(1_000, 0),
        position: Position::ZERO,
        parked: false,
        at: (1_000, 0),
        synthetic: 0,
        messages: 0,
    };
    let mut readers: Vec<Reader> = (0..8).map(new).collect();
    for turn in 0..600 {
        for _ in 0..world.random.below(12) {
            world.something_happens();
        }
        for (ticket, reader) in readers.iter_mut().enumerate() {
            // The odd ones are slow to come back, and some come back as another call.
            let comes = ticket % 2 == 0 || world.random.below(10) == 0 || turn == 599;
            if world.random.below(30) == 0 {
                let waited = world.followers.cancel(Ticket(ticket as u64));
                assert_eq!(waited.is_some(), reader.parked);
                reader.parked = false;
                reader.resume(&mut world);
            }
            if !reader.parked && comes {
                let selector = Selector::Connection(key(reader.connection));
                world.followers.park(Ticket(ticket as u64), selector, reader.position).unwrap();
                reader.parked = true;
            }
        }
        let ends = Ends { messages: world.ring.end(), lifecycle: Position::ZERO };
        let mut due = Vec::new();
        let nobody = &mut |_: &Selector, _| panic!("nobody follows by tags");
        world.followers.due(ends, 6, nobody, &mut |ticket, _, at| due.push((ticket, at)));
        for (ticket, at) in due {
            let reader = &mut readers[ticket.0 as usize];
            assert!(reader.parked && at >= reader.position);
            reader.parked = false;
            reader.position = at;
            reader.read(&mut world);
        }
        for reader in readers.iter().filter(|r| r.parked) {
            let now = world.numbering[reader.connection as usize];
            let waits = world.followers.nothing_since(key(reader.connection), reader.position);
            assert!(!waits || reader.at == (now.epoch(), now.last_seq()), "waits without having been told");
        }
    }
    for reader in &mut readers {
        while reader.at != {
            let now = world.numbering[reader.connection as usize];
            (now.epoch(), now.last_seq())
        } {
            reader.read(&mut world);
        }
    }
    (readers.iter().map(|r| r.messages).sum(), readers.iter().map(|r| r.synthetic).sum())
}

#[test]
fn nobody_is_told_of_a_gap_where_nothing_was_lost() {
    for seed in 1..=30 {
        let (messages, synthetic) = follow(seed, 1 << 14);
        assert!(messages > 4_000);
        assert_eq!(synthetic, 0, "seed {seed}");
    }
}

#[test]
fn every_reader_of_a_ring_that_evicts_gets_each_number_or_its_gap() {
    let mut gaps = 0;
    for seed in 1..=60 {
        let (messages, synthetic) = follow(seed, 4 + (seed % 40) as usize);
        assert!(messages > 500);
        gaps += synthetic;
    }
    assert!(gaps > 500, "the rings evicted before somebody's eyes: {gaps}");
}

use super::*;
use crate::core::{
    correlation::Kind,
    id::ConnKey,
    io::SocketKey,
    rooms::{History, Rule, Setup},
    time::Wall,
};

const EPOCH: u64 = 1_700_000_000_000;

/// Homes, the clock, and what they asked for.
struct Bench {
    homes: Homes,
    now: Now,
    fx: Effects,
    tickets: u64,
}

fn name(text: &str) -> RoomName {
    RoomName::parse("room", text).unwrap()
}

fn at(offset: u64) -> Position {
    Position { epoch: EPOCH, offset }
}

fn seat(nth: u32) -> SeatKey {
    let conn = ConnKey { index: 0, generation: 0 };
    SeatKey { socket: SocketKey { conn, nth: 1 }, nth }
}

fn message(room: &str, at: Position) -> Arc<Message> {
    let places = [Place { room: name(room), at }].into();
    let payload = format!("{}/{}", at.epoch, at.offset).into();
    Arc::new(Message { kind: Kind::Text, payload, wall: Wall::default(), places, from: None })
}

fn kept(offsets: impl IntoIterator<Item = u64>, head: u64) -> Result<Kept, String> {
    let messages = offsets.into_iter().map(|offset| message("r", at(offset))).collect();
    Ok(Kept { messages, recovered: true, head: at(head) })
}

impl Bench {
    fn new(outside: bool, change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup { numbered_outside: outside, ..Setup::default() };
        change(&mut setup);
        let now = Now { mono: Time::from_millis(5), wall: Wall::from_unix_millis(EPOCH) };
        Bench { homes: Homes::new(&setup), now, fx: Effects::new(), tickets: 0 }
    }

    /// Heard from `head` on, with a member on shard 0.
    fn heard(head: u64) -> Self {
        let mut bench = Bench::new(true, |_| {});
        bench.enter("r", 0, None);
        assert_eq!(bench.told(), ["subscribe r"]);
        bench.homes.subscribed(bench.now, &name("r"), Ok(at(head)), &mut bench.fx);
        assert_eq!(bench.told(), [format!("0: entered {head} -")]);
        bench
    }

    /// What was asked for since the last look.
    fn told(&mut self) -> Vec<String> {
        self.homes.check();
        let offsets = |kept: &Kept| {
            let all: Vec<String> =
                kept.messages.iter().map(|message| message.places[0].at.offset.to_string()).collect();
            format!("{} [{}] {}", kept.recovered, all.join(" "), kept.head.offset)
        };
        let show = |effect| match effect {
            Effect::Answer { ticket, outcome: Ok(Answer::Room(RoomAnswer::Kept(kept))) } => {
                format!("answer {}: {}", ticket.0, offsets(&kept))
            }
            Effect::Answer { ticket, outcome } => {
                format!("answer {}: {:?}", ticket.0, outcome.unwrap_err().kind)
            }
            Effect::Room(RoomEffect::Tell { shard, word }) => match word {
                Between::Entered { outcome: Ok(entered), .. } => {
                    let missed = entered.missed.as_ref().map_or("-".to_owned(), offsets);
                    format!("{shard}: entered {} {missed}", entered.head.offset)
                }
                Between::Entered { outcome: Err(fault), .. } => format!("{shard}: {:?}", fault.kind),
                Between::Deliver { at, .. } => format!("{shard}: {}", at.offset),
                Between::Gap { gap, .. } => {
                    let RoomGap { from, to, cause } = gap;
                    let epochs = if from.epoch == to.epoch { "" } else { " anew" };
                    format!("{shard}: {} {}..{}{epochs}", cause.name(), from.offset, to.offset)
                }
                other => panic!("{other:?}"),
            },
            Effect::Room(RoomEffect::Subscribe(room)) => format!("subscribe {}", room.as_str()),
            Effect::Room(RoomEffect::Unsubscribe(room)) => format!("unsubscribe {}", room.as_str()),
            Effect::Room(RoomEffect::Since { ticket, after, .. }) => {
                self.tickets = ticket;
                format!("since {}", after.unwrap().offset)
            }
            other => panic!("{other:?}"),
        };
        self.fx.drain(..).map(show).collect()
    }

    fn enter(&mut self, room: &str, shard: u32, after: Option<Position>) {
        self.homes.enter(self.now, shard, &name(room), seat(0), after, &mut self.fx);
    }

    fn post(&mut self, room: &str, bytes: usize) -> Result<Position, Fault> {
        let post = Post { kind: Kind::Text, payload: vec![b'x'; bytes].into() };
        let at = self.homes.post(self.now, &name(room), post, &mut self.fx);
        self.homes.check();
        at
    }

    fn arrive(&mut self, at: Position) {
        self.homes.arrived(self.now, &name("r"), at, message("r", at), &mut self.fx);
    }

    fn answer(&mut self, kept: Result<Kept, String>) {
        self.homes.since(self.now, self.tickets, kept, &mut self.fx);
    }

    fn follow(&mut self, ticket: u64, after: Option<Position>) -> bool {
        self.homes.follow(self.now, Ticket(ticket), &name("r"), after, 2, &mut self.fx)
    }

    /// The clock goes on, and what is due on the way happens.
    fn pass(&mut self, span: Duration) -> Vec<String> {
        let end = self.now.mono + span;
        let mut told = Vec::new();
        while let Some(next) = self.homes.poll_timeout().filter(|next| *next <= end) {
            self.now.mono = self.now.mono.max(next);
            self.homes.expire(self.now, &mut self.fx);
            told.extend(self.told());
        }
        self.now.mono = end;
        told
    }

    fn at(&self, room: &str) -> Option<Position> {
        self.homes.by_name.get(&name(room)).and_then(|key| self.homes.rooms.get(*key)).map(|home| home.at)
    }
}

const SOON: Duration = Duration::from_millis(60);

// ------------------------------------------------------------------ numbered here

#[test]
fn numbers_begin_at_one_and_every_epoch_is_a_new_one() {
    let mut bench = Bench::new(false, |_| {});
    assert_eq!(bench.post("r", 1), Ok(at(1)));
    assert_eq!(bench.post("r", 1), Ok(at(2)));
    let second = bench.post("s", 1).unwrap();
    assert!(second.epoch > EPOCH && second.offset == 1);
    // A room that is forgotten and comes again does not count on.
    bench.pass(limits::ROOM_HISTORY_AGE + limits::ROOM_LINGER);
    assert!(bench.homes.is_empty() && bench.homes.kept_bytes() == 0);
    let again = bench.post("r", 1).unwrap();
    assert!(again.epoch > second.epoch && again.offset == 1);
}

#[test]
fn a_reserved_number_holds_back_what_comes_after_it() {
    let mut bench = Bench::new(false, |_| {});
    bench.enter("r", 3, None);
    assert_eq!(bench.told(), ["3: entered 0 -"]);
    let reserve = |bench: &mut Bench| bench.homes.reserve(bench.now, &name("r"));
    assert_eq!((reserve(&mut bench), reserve(&mut bench)), (Ok(at(1)), Ok(at(2))));
    assert_eq!(bench.post("r", 1), Ok(at(3)));
    assert_eq!(bench.told(), [""; 0]);
    let fill = |bench: &mut Bench, offset| {
        let message = message("r", at(offset));
        bench.homes.fill(bench.now, &name("r"), at(offset), message, &mut bench.fx);
        bench.told()
    };
    for nonsense in [0, 3, 4, u64::MAX] {
        assert_eq!(fill(&mut bench, nonsense), [""; 0]);
    }
    assert_eq!(fill(&mut bench, 2), [""; 0]);
    // One that comes in hears what was numbered before and is not out yet.
    bench.enter("r", 4, Some(at(0)));
    assert_eq!(bench.told(), ["4: entered 0 true [] 0"]);
    let all = ["3: 1", "4: 1", "3: 2", "4: 2", "3: 3", "4: 3"];
    assert_eq!(fill(&mut bench, 1), all);
    assert_eq!(fill(&mut bench, 1), [""; 0], "filled twice");
}

#[test]
fn a_number_that_nobody_fills_is_announced_and_what_waited_goes_on() {
    let mut bench = Bench::new(false, |_| {});
    bench.enter("r", 0, None);
    bench.post("r", 1).unwrap();
    bench.told();
    bench.homes.reserve(bench.now, &name("r")).unwrap();
    bench.post("r", 1).unwrap();
    let almost = limits::ROOM_FILL_PATIENCE - Duration::from_millis(1);
    assert_eq!(bench.pass(almost), [""; 0]);
    assert_eq!(bench.pass(Duration::from_millis(1)), ["0: lost 1..3", "0: 3"]);
    let late = message("r", at(2));
    bench.homes.fill(bench.now, &name("r"), at(2), late, &mut bench.fx);
    assert_eq!(bench.told(), [""; 0]);
    bench.homes.history(bench.now, Ticket(1), &name("r"), Some(at(1)), 9, &mut bench.fx);
    assert_eq!(bench.told(), ["answer 1: false [3] 3"]);
}

#[test]
fn no_more_waits_for_a_reserved_number_than_may() {
    let mut bench = Bench::new(false, |_| {});
    bench.homes.reserve(bench.now, &name("r")).unwrap();
    for _ in 1..limits::ROOM_QUEUE_MAX {
        let post = Post { kind: Kind::Text, payload: Default::default() };
        bench.homes.post(bench.now, &name("r"), post, &mut bench.fx).unwrap();
    }
    let fault = bench.post("r", 1).unwrap_err();
    assert_eq!((fault.kind, fault.certainty), (FaultKind::Full, Some(Certainty::NotSent)));
    assert!(bench.homes.reserve(bench.now, &name("r")).is_err() && bench.post("s", 1).is_ok());
}

#[test]
fn the_least_used_histories_go_when_all_are_too_many() {
    let mut bench = Bench::new(false, |setup| setup.history_bytes_max = 3000);
    // Old, and keeps nothing: it must not be looked at again and again.
    bench.enter("idle", 0, None);
    bench.pass(Duration::from_secs(100));
    bench.post("first", 1000).unwrap();
    bench.pass(SOON);
    bench.post("second", 1000).unwrap();
    bench.pass(SOON);
    bench.post("first", 10).unwrap();
    bench.pass(SOON);
    bench.post("third", 1000).unwrap();
    assert_eq!(bench.homes.counters.forgotten, 1);
    for (room, expected) in [("first", "[1 2] 2"), ("second", "[] 1"), ("third", "[1] 1")] {
        bench.told();
        bench.homes.history(bench.now, Ticket(1), &name(room), None, 9, &mut bench.fx);
        assert_eq!(bench.told(), [format!("answer 1: true {expected}")]);
    }
    assert!(bench.homes.kept_bytes() <= 3000);
}

#[test]
fn what_ages_out_is_not_counted_any_more() {
    let age = Duration::from_millis(100);
    let rule = Rule { pattern: "*".into(), history: Some(History { age, ..History::default() }), slow: None };
    let rules = Rules { rules: vec![rule], ..Rules::default() };
    for look in 0..3 {
        let mut bench = Bench::new(false, |setup| setup.rules = Arc::new(rules.clone()));
        bench.enter("r", 0, None);
        bench.post("r", 100).unwrap();
        bench.now.mono += age;
        match look {
            0 => bench.enter("r", 1, Some(at(0))),
            1 => bench.homes.history(bench.now, Ticket(1), &name("r"), None, 9, &mut bench.fx),
            _ => drop(bench.follow(1, Some(at(0)))),
        }
        bench.homes.check();
        assert_eq!(bench.homes.kept_bytes(), 0);
    }
}

#[test]
fn followers_hear_the_next_message_and_leave_nothing_behind() {
    let mut bench = Bench::new(false, |_| {});
    assert!(bench.follow(1, None));
    bench.post("r", 1).unwrap();
    assert_eq!(bench.told(), ["answer 1: true [1] 1"]);
    bench.post("r", 1).unwrap();
    bench.post("r", 1).unwrap();
    assert!(!bench.follow(2, Some(at(0))));
    assert_eq!(bench.told(), ["answer 2: true [1 2] 3"]);
    assert!(!bench.follow(3, Some(at(77))));
    assert_eq!(bench.told(), ["answer 3: false [1 2] 3"]);
    assert!(bench.follow(4, Some(at(3))) && bench.follow(5, Some(at(3))));
    bench.homes.stop_following(bench.now, Ticket(4));
    // A number that never comes is not passed over in silence.
    bench.homes.reserve(bench.now, &name("r")).unwrap();
    bench.pass(limits::ROOM_FILL_PATIENCE);
    bench.post("r", 1).unwrap();
    assert_eq!(bench.told(), ["answer 5: false [5] 5"]);
    bench.pass(limits::ROOM_HISTORY_AGE + limits::ROOM_LINGER * 2);
    assert!(bench.homes.is_empty());
    assert!(bench.follow(6, None));
    bench.pass(limits::ROOM_LINGER * 2);
    bench.homes.stop_following(bench.now, Ticket(6));
    bench.pass(limits::ROOM_LINGER * 2);
    assert!(bench.homes.is_empty(), "a room that nobody needs");
}

// --------------------------------------------------------------- numbered outside

#[test]
fn what_comes_in_order_is_handed_on_and_what_came_is_not_told_twice() {
    let mut bench = Bench::heard(7);
    for offset in [8, 9, 9, 3] {
        bench.arrive(at(offset));
    }
    assert_eq!(bench.told(), ["0: 8", "0: 9"]);
    assert_eq!(bench.homes.counters.old, 2);
    assert_eq!(bench.post("r", 1).unwrap_err().kind, FaultKind::Internal);
}

#[test]
fn a_hole_is_waited_for_then_asked_for() {
    let mut bench = Bench::heard(7);
    bench.arrive(at(9));
    bench.arrive(at(8));
    assert_eq!((bench.told(), bench.pass(SOON)), (vec!["0: 8".into(), "0: 9".into()], Vec::new()));
    bench.arrive(at(12));
    assert_eq!(bench.pass(SOON), ["since 9"]);
    // What comes meanwhile waits.
    bench.arrive(at(13));
    bench.answer(kept([10, 11, 12], 12));
    assert_eq!(bench.told(), ["0: 10", "0: 11", "0: 12", "0: 13"]);
}

#[test]
fn what_nobody_keeps_is_announced() {
    let mut bench = Bench::heard(7);
    bench.arrive(at(12));
    bench.pass(SOON);
    bench.answer(kept([9, 12], 12));
    assert_eq!(bench.told(), ["0: lost 7..9", "0: 9", "0: lost 9..12", "0: 12"]);
    bench.homes.resumed(bench.now, &name("r"), at(20), &mut bench.fx);
    assert_eq!(bench.told(), ["since 12"]);
    bench.answer(kept([14], 20));
    assert_eq!(bench.told(), ["0: lost 12..14", "0: 14", "0: lost 14..21"]);
    assert_eq!((bench.at("r"), bench.pass(SOON)), (Some(at(20)), Vec::new()));
}

#[test]
fn numbers_that_came_after_the_answer_are_asked_for_again() {
    let mut bench = Bench::heard(7);
    bench.arrive(at(9));
    assert_eq!(bench.pass(SOON), ["since 7"]);
    bench.arrive(at(12));
    bench.answer(kept([8, 9], 9));
    assert_eq!(bench.told(), ["0: 8", "0: 9"], "10 and 11 may be kept");
    assert_eq!(bench.pass(SOON), ["since 9"]);
    bench.answer(kept([10, 12], 12));
    assert_eq!(bench.told(), ["0: 10", "0: lost 10..12", "0: 12"]);
    // One that knows nothing at all does not stop the room.
    bench.arrive(at(14));
    bench.pass(SOON);
    bench.answer(Ok(Kept::default()));
    assert_eq!(bench.told(), ["0: lost 12..14", "0: 14"]);
}

#[test]
fn more_than_one_answer_holds_is_asked_for_page_by_page() {
    let mut bench = Bench::heard(0);
    let (page, head) = (limits::ROOM_HISTORY_LIMIT as u64, 2500);
    bench.homes.resumed(bench.now, &name("r"), at(head), &mut bench.fx);
    assert_eq!(bench.told(), ["since 0"]);
    bench.answer(kept(1..=page, head));
    assert_eq!(bench.told().len() as u64, page);
    assert_eq!(bench.pass(SOON), [format!("since {page}")]);
    bench.answer(kept(page + 1..=2 * page, head));
    bench.told();
    assert_eq!(bench.pass(SOON), [format!("since {}", 2 * page)]);
    bench.answer(kept(2 * page + 1..=head, head));
    assert_eq!(bench.told().len(), 500);
    assert_eq!((bench.homes.counters.gaps, bench.pass(SOON)), (0, Vec::new()));
}

#[test]
fn an_outside_that_cannot_answer_is_asked_until_it_can() {
    let mut bench = Bench::heard(7);
    // Also when nothing came that shows a hole.
    bench.homes.resumed(bench.now, &name("r"), at(9), &mut bench.fx);
    assert_eq!(bench.told(), ["since 7"]);
    for _ in 0..3 {
        bench.answer(Err("away".into()));
        assert_eq!(bench.pass(SOON), [""; 0]);
        assert_eq!(bench.pass(limits::ROOM_REFILL_PAUSE), ["since 7"]);
    }
    // Away once more, while it was asked: the answer is older than that.
    bench.homes.resumed(bench.now, &name("r"), at(10), &mut bench.fx);
    bench.answer(kept([8, 9], 9));
    assert_eq!(bench.told(), ["0: 8", "0: 9"]);
    assert_eq!(bench.pass(SOON), ["since 9"]);
    bench.answer(kept([10], 10));
    assert_eq!(bench.told(), ["0: 10"]);
    bench.homes.resumed(bench.now, &name("r"), at(10), &mut bench.fx);
    assert_eq!((bench.told(), bench.pass(limits::ROOM_REFILL_PAUSE)), (Vec::new(), Vec::new()));
}

#[test]
fn a_new_epoch_is_announced_and_an_old_one_is_over() {
    let mut bench = Bench::heard(7);
    let next = |offset| Position { epoch: EPOCH + 1, offset };
    bench.arrive(next(1));
    bench.arrive(at(8));
    bench.arrive(next(2));
    assert_eq!(bench.told(), ["0: new_epoch 7..1 anew", "0: 1", "0: 2"]);
    bench.arrive(Position { epoch: EPOCH + 2, offset: 3 });
    assert_eq!(bench.pass(SOON), ["since 2"]);
    bench.answer(Err("away".into()));
    bench.pass(limits::ROOM_REFILL_PAUSE);
    bench.answer(Ok(Kept { head: Position { epoch: EPOCH + 2, offset: 4 }, ..Kept::default() }));
    let after = ["0: new_epoch 2..3 anew", "0: 3", "0: lost 3..5"];
    assert_eq!(bench.told(), after);
}

#[test]
fn the_first_message_of_a_room_that_was_empty_is_no_new_epoch() {
    let mut bench = Bench::new(true, |_| {});
    bench.enter("r", 0, None);
    bench.homes.subscribed(bench.now, &name("r"), Ok(Position::default()), &mut bench.fx);
    bench.told();
    bench.arrive(at(1));
    assert_eq!(bench.told(), ["0: 1"]);
}

#[test]
fn no_more_is_held_ahead_than_may_whatever_the_outside_does() {
    let mut bench = Bench::heard(0);
    let max = limits::ROOM_AHEAD_MAX as u64;
    bench.arrive(at(2));
    assert_eq!(bench.pass(SOON), ["since 0"]);
    // It does not answer.
    for offset in 3..=max + 1 {
        bench.arrive(at(offset));
    }
    assert_eq!(bench.told(), [""; 0]);
    bench.arrive(at(max + 2));
    let told = bench.told();
    assert_eq!((told.len() as u64, told[0].as_str()), (max + 2, "0: lost 0..2"));
    bench.arrive(at(max + 3));
    bench.answer(kept([1, 2], 2));
    assert_eq!(bench.told(), [format!("0: {}", max + 3)]);

    let mut asked = Bench::new(true, |_| {});
    asked.enter("r", 0, None);
    for offset in 1..=2 * max {
        asked.arrive(at(offset));
    }
    let home = asked.homes.rooms.iter().next().unwrap().1;
    assert_eq!(home.ahead.len() as u64, max);
}

#[test]
fn who_comes_while_it_is_asked_waits_and_hears_all_that_follows() {
    let mut bench = Bench::new(true, |_| {});
    bench.enter("r", 0, None);
    bench.enter("r", 1, None);
    assert!(bench.follow(9, None));
    assert_eq!(bench.told(), ["subscribe r"]);
    bench.arrive(at(6));
    bench.arrive(at(8));
    bench.homes.subscribed(bench.now, &name("r"), Ok(at(7)), &mut bench.fx);
    assert_eq!(bench.told(), ["0: entered 7 -", "1: entered 7 -", "0: 8", "1: 8", "answer 9: true [8] 8"]);
    // A second answer is none.
    bench.homes.subscribed(bench.now, &name("r"), Ok(at(70)), &mut bench.fx);
    assert_eq!((bench.told(), bench.at("r")), (Vec::new(), Some(at(8))));
}

#[test]
fn a_room_that_cannot_be_heard_lets_nobody_in() {
    let mut bench = Bench::new(true, |_| {});
    bench.enter("r", 0, None);
    assert!(bench.follow(9, None));
    bench.arrive(at(6));
    bench.homes.subscribed(bench.now, &name("r"), Err("away".into()), &mut bench.fx);
    assert_eq!(bench.told(), ["subscribe r", "0: Unavailable", "answer 9: Unavailable"]);
    bench.enter("r", 0, None);
    bench.homes.subscribed(bench.now, &name("r"), Ok(at(9)), &mut bench.fx);
    assert_eq!(bench.told(), ["subscribe r", "0: entered 9 -"]);
}

#[test]
fn who_comes_back_is_told_from_here_or_from_outside() {
    let mut bench = Bench::heard(7);
    bench.arrive(at(8));
    bench.arrive(at(9));
    bench.told();
    bench.enter("r", 1, Some(at(8)));
    assert_eq!(bench.told(), ["1: entered 9 true [9] 9"]);
    bench.enter("r", 2, Some(at(5)));
    assert_eq!(bench.told(), ["since 5"]);
    bench.arrive(at(10));
    bench.told();
    // What it answers may be older or newer than what was handed on.
    bench.answer(kept([6, 7, 8, 9], 9));
    assert_eq!(bench.told(), ["2: entered 10 true [6 7 8 9 10] 10"]);
    bench.enter("r", 2, Some(at(5)));
    assert_eq!(bench.told(), ["since 5"]);
    bench.answer(kept([6, 7, 8, 9, 10, 11], 11));
    assert_eq!(bench.told(), ["2: entered 10 true [6 7 8 9 10] 10"]);
    for answer in [Err("away".into()), Ok(Kept::default())] {
        bench.enter("r", 2, Some(at(5)));
        bench.told();
        bench.answer(answer);
        assert_eq!(bench.told(), ["2: entered 10 false [8 9 10] 10"]);
    }
}

#[test]
fn a_follower_is_told_from_outside_what_is_not_here() {
    let mut bench = Bench::heard(7);
    assert!(bench.follow(1, Some(at(4))));
    assert_eq!(bench.told(), ["since 4"]);
    bench.answer(kept([5, 6, 7], 7));
    assert_eq!(bench.told(), ["answer 1: true [5 6] 7"], "no more than was asked for");
    assert!(bench.follow(2, Some(at(4))));
    bench.told();
    bench.homes.stop_following(bench.now, Ticket(2));
    bench.answer(kept([5], 7));
    assert_eq!(bench.told(), [""; 0], "it went away");
}

#[test]
fn a_room_without_members_is_let_go_and_nothing_late_is_kept_of_it() {
    let mut bench = Bench::heard(7);
    bench.arrive(at(8));
    bench.told();
    bench.homes.exit(bench.now, 0, &name("r"));
    assert_eq!(bench.pass(limits::ROOM_LINGER / 2), [""; 0]);
    assert_eq!(bench.pass(limits::ROOM_LINGER), ["unsubscribe r"]);
    assert!(bench.homes.is_empty());
    // Still being asked when everybody left.
    bench.enter("r", 0, None);
    bench.homes.exit(bench.now, 0, &name("r"));
    assert_eq!((bench.told(), bench.pass(limits::ROOM_LINGER * 3)), (vec!["subscribe r".into()], Vec::new()));
    bench.homes.subscribed(bench.now, &name("r"), Ok(at(9)), &mut bench.fx);
    bench.told();
    assert_eq!(bench.pass(limits::ROOM_LINGER * 2), ["unsubscribe r"]);
    assert!(bench.homes.is_empty());
    // What comes when nobody listens is not kept for those who come next.
    bench.enter("r", 0, None);
    bench.homes.subscribed(bench.now, &name("r"), Err("away".into()), &mut bench.fx);
    bench.arrive(at(11));
    bench.told();
    bench.enter("r", 0, Some(at(10)));
    bench.homes.subscribed(bench.now, &name("r"), Ok(at(15)), &mut bench.fx);
    assert_eq!(bench.told(), ["subscribe r", "since 10"]);
}

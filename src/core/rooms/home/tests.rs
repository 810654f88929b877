mod outside;
mod own;

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

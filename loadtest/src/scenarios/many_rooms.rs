//! Many small rooms, each published to by a call.

use super::rooms::{self, Load};
use crate::{
    clock::SECOND,
    limits,
    peers::voice::{Voice, Way},
    readers::{
        self, Readers,
        stamp::{self, Stamp},
        target::Target,
    },
    report::Outcome,
    stage::Stage,
    trouble::Result,
};

const RATE: f64 = 2000.0;
const MEMBERS: usize = 2000;
const IN_A_ROOM: usize = 10;

struct Rooms {
    names: Vec<String>,
    /// Of each, the number of its next message.
    next: Vec<u64>,
    voice: Voice,
    said: u64,
}

impl Load for Rooms {
    fn say(&mut self, number: u64, due: u64) {
        let room = (number % self.names.len() as u64) as usize;
        self.voice
            .say_in(&self.names[room], Stamp { stream: room as u32, number: self.next[room], nanos: due });
        self.next[room] += 1;
        self.said += 1;
    }

    fn flush(&mut self, readers: &mut Readers) -> Result<()> {
        self.voice.flush(readers)
    }

    fn owed(&self) -> u64 {
        self.said * IN_A_ROOM as u64
    }
}

pub fn run(stage: &Stage) -> Result<Outcome> {
    let options = &stage.options;
    let rooms = (options.connections.unwrap_or(MEMBERS) / IN_A_ROOM).max(1);
    let rate = options.rate.unwrap_or(RATE);
    limits::need_files((rooms * IN_A_ROOM) as u64, &format!("{rooms} rooms of {IN_A_ROOM}"))?;
    let mut outcome = Outcome::new("many-rooms");
    outcome.fact("rooms", rooms);
    outcome.fact("members of each", IN_A_ROOM);
    outcome.fact("publishes a second", rate);
    outcome.fact("shards", stage.shards());
    let mut service = stage.service(&[])?;
    outcome.noise = Some(stage.noise());
    let before = service.scrape()?;
    let mut all = Readers::new(1)?;
    let names: Vec<String> = (0..rooms).map(|room| format!("room-{room}")).collect();
    for name in &names {
        let target = Target::plain(service.at.http, &format!("/ws/{name}"));
        all.join(&target, IN_A_ROOM, readers::POLITE, 10 * SECOND)?;
        stage.progress.tick(|| format!("many-rooms: {} members are in", all.members()));
    }
    let way = Way::Grpc { address: service.at.grpc, room: String::new() };
    let voice = Voice::open(way, options.bytes.unwrap_or(128).max(stamp::BYTES), &mut all)?;
    let watched = service.watched().into_iter().collect();
    let measure = stage.measure(&["delivery"], watched, options.length(3, 20));
    let schedule = measure.schedule(rate);
    let mut load = Rooms { next: vec![0; rooms], names, voice, said: 0 };
    let expected = rate * IN_A_ROOM as f64;
    let operation = rooms::play(stage, "many-rooms", &measure, &schedule, expected, &mut all, &mut load)?;
    measure.into(&mut outcome);
    outcome.operations = vec![operation];
    rooms::books(&service, &before, load.owed(), &all.tally, &mut outcome)?;
    service.end()?;
    Ok(outcome)
}

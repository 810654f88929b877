//! Everything at once: Sends, feeds that are published and followed, rooms that are sent to, connections
//! that come and go. `soak` is the same for hours, with an eye on memory.

use super::{
    churn, ingest,
    lanes::{self, Doors, House},
    sends::{self, Load},
};
use crate::{
    books::Check,
    clock::{self, SECOND},
    payload,
    proto::{ConnectRequest, PublishOptions, ReceivedMessage, RoomSendRequest, rooms_client::RoomsClient},
    record::Recorder,
    report::Outcome,
    schedule::Schedule,
    stage::{Measure, Stage},
    stop,
    trouble::{Result, Trouble},
    ws::{Crowd, Seen},
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};
use tonic::{Streaming, transport::Channel};

/// Places of the operations in the recorder.
const NAMES: &[&str] =
    &["Send", "message to follower", "delivery to member", "Rooms.Send", "Connect", "Disconnect"];
const MESSAGE: usize = 1;
const DELIVERY: usize = 2;
const POST: usize = 3;
const CONNECT: usize = 4;

const ROOM: &str = "mixed";
/// Of the rate of Sends: messages of feeds.
const FEEDS: f64 = 0.5;
const POSTS: f64 = 50.0;
const CONNECTS: f64 = 10.0;
/// For deliveries that are on their way when the last post is answered.
const PATIENCE: u64 = 5 * SECOND;

/// Memory that it may gain in a soak's second half: what the system and the allocator move about.
const GROWTH_MAX: u64 = 32 << 20;

pub fn mixed(stage: &Stage) -> Result<Outcome> {
    run(stage, "mixed", 10_000.0, stage.options.length(6, 60))
}

pub fn soak(stage: &Stage) -> Result<Outcome> {
    let mut outcome = run(stage, "soak", 5_000.0, stage.options.length(60, 4 * 3600))?;
    let Some(service) = outcome.processes.iter().find(|it| it.name == "service") else { return Ok(outcome) };
    let own: Vec<u64> = service.moments.iter().map(|it| it.memory.anonymous).collect();
    let max = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    let (first, second) = own.split_at(own.len() / 2);
    let grown = max(second).saturating_sub(max(first));
    outcome.notes.push(format!(
        "the second half needed {:.1} MiB more than the first",
        grown as f64 / f64::from(1 << 20)
    ));
    if grown > GROWTH_MAX && !outcome.partial {
        outcome.failures.push("memory grows: more than 32 MiB in the second half".to_owned());
    }
    Ok(outcome)
}

fn run(stage: &Stage, name: &str, usual: f64, nanos: u64) -> Result<Outcome> {
    let options = &stage.options;
    let (rate, count) = (options.rate.unwrap_or(usual), options.connections.unwrap_or(100));
    let bytes = options.bytes.unwrap_or(128);
    let mut outcome = Outcome::new(name);
    outcome.fact("Sends a second", rate);
    outcome.fact("messages of feeds a second", rate * FEEDS);
    outcome.fact("posts a second", POSTS);
    outcome.fact("Connects a second", CONNECTS);
    outcome.fact("upstreams, feeds and members", count);
    let doors = Doors { kind: "echo", count, flags: &[] };
    let mut house = House::open(stage, &mut outcome, doors, |_| {})?;
    let feeds: Vec<ConnectRequest> = (0..count)
        .map(|number| ConnectRequest {
            url: house.upstream.url("feed", number),
            publish: Some(PublishOptions { topic: ingest::TOPIC.to_owned(), ..PublishOptions::default() }),
            ..ConnectRequest::default()
        })
        .collect();
    house.runtime.block_on(lanes::connect(&house.channel, feeds))?;
    let mut members = Crowd::new(house.service.at.http)?;
    members.open((0..count).map(|_| format!("/ws/{ROOM}")), None, &mut |_, _, _| {})?;
    let messages = house.runtime.block_on(ingest::subscribe(house.channel.clone()))?;
    let measure = stage.measure(NAMES, house.watched(), nanos);
    let seen = ingest::Followed::default();
    house.upstream.feed(&ingest::feed(&measure, rate * FEEDS, bytes, 1))?;
    let load = Load::new(&measure, &house.ids, bytes);
    let (issued, delivered) = (load.issued.clone(), Arc::new(AtomicU64::new(0)));
    let parts = Parts::new(&measure, &house, messages, load, rate, seen.clone());
    let (count, runtime) = (delivered.clone(), house.runtime.clone());
    stage.watch(name, &measure, move || {
        let over = Arc::new(AtomicBool::new(false));
        let (told, recorder) = (over.clone(), parts.load.recorder.clone());
        let wanted = parts.posted.clone();
        let reader = thread::spawn(move || read(members, &recorder, &wanted, &count, &told));
        let done = runtime.block_on(parts.all());
        over.store(true, Ordering::Relaxed);
        let read = reader.join().unwrap_or_else(|_| Err(Trouble::Failed("a panic among members".into())));
        done.and(read)
    })?;
    house.upstream.hush()?;
    measure.into(&mut outcome);
    sends::against(&house, issued.load(Ordering::Relaxed), &mut outcome)?;
    let followed = outcome.books.len();
    ingest::against(&mut house, &seen, &mut outcome)?;
    // The service's own sums are there already.
    outcome.books.drain(followed..followed + 3);
    let after = house.service.scrape()?;
    let written = after.sum_of("wsm_room_deliveries_total", "outcome", "delivered")
        - house.before.sum_of("wsm_room_deliveries_total", "outcome", "delivered");
    outcome.books.push(Check::new(
        "deliveries, the service's count beside the members'",
        ("written", written),
        &[("read".to_owned(), delivered.load(Ordering::Relaxed) as f64)],
    ));
    house.service.end()?;
    Ok(outcome)
}

/// Reads what members get, until all that was posted has come to each.
fn read(
    mut members: Crowd,
    recorder: &Recorder,
    posted: &AtomicU64,
    delivered: &AtomicU64,
    over: &AtomicBool,
) -> Result<()> {
    let mut give_up = u64::MAX;
    loop {
        members.poll(clock::now() + SECOND / 10, &mut |_, seen, at| {
            if let Seen::Text(payload) = seen
                && let Some(due) = payload::time(payload)
            {
                delivered.fetch_add(1, Ordering::Relaxed);
                recorder.done(DELIVERY, due, at);
            }
        })?;
        if over.load(Ordering::Relaxed) {
            give_up = give_up.min(clock::now() + PATIENCE);
            let all = posted.load(Ordering::Relaxed) * members.open_now() as u64;
            if delivered.load(Ordering::Relaxed) >= all || clock::now() > give_up {
                return Ok(());
            }
        }
    }
}

/// What one thread does at the same time.
struct Parts {
    channel: Channel,
    messages: Streaming<ReceivedMessage>,
    load: Load,
    sends: Schedule,
    feed: Schedule,
    posts: Schedule,
    connects: Schedule,
    end: u64,
    upstream: SocketAddr,
    followed: ingest::Followed,
    posted: Arc<AtomicU64>,
}

impl Parts {
    fn new(
        measure: &Measure,
        house: &House,
        messages: Streaming<ReceivedMessage>,
        load: Load,
        rate: f64,
        followed: ingest::Followed,
    ) -> Self {
        Parts {
            channel: house.channel.clone(),
            messages,
            load,
            sends: measure.schedule(rate),
            feed: measure.schedule(rate * FEEDS),
            posts: measure.schedule(POSTS),
            connects: measure.schedule(CONNECTS),
            end: measure.end,
            upstream: house.upstream.address,
            followed,
            posted: Arc::default(),
        }
    }

    async fn all(self) -> Result<()> {
        let recorder = self.load.recorder.clone();
        let at = self.upstream;
        let url = move |number| format!("ws://{at}/quiet/mixed-{number}");
        let wanted = self.feed.total();
        let follow =
            ingest::follow(self.messages, recorder.clone(), MESSAGE, self.followed.clone(), wanted, self.end);
        let (sent, followed, posted, churned) = tokio::join!(
            sends::over_streams(self.channel.clone(), self.load.clone(), self.sends),
            follow,
            post(self.channel.clone(), &self.load, self.posts, self.posted.clone()),
            churn::dialled(
                self.channel.clone(),
                recorder,
                self.load.behind.clone(),
                CONNECT,
                url,
                self.connects
            ),
        );
        // What Ctrl-C cut short is no failure.
        let all = sent.and(followed).and(posted).and(churned);
        if stop::asked() { Ok(()) } else { all }
    }
}

async fn post(channel: Channel, load: &Load, schedule: Schedule, posted: Arc<AtomicU64>) -> Result<()> {
    let client = RoomsClient::new(channel);
    lanes::dispatch(schedule, |number, due| {
        if due >= load.recorder.start() {
            load.behind.issued(due, clock::now());
        }
        let (mut client, recorder, posted) = (client.clone(), load.recorder.clone(), posted.clone());
        let message = payload::text(number, due, load.bytes);
        async move {
            let request =
                RoomSendRequest { rooms: vec![ROOM.to_owned()], message, ..RoomSendRequest::default() };
            match client.send(request).await {
                Ok(_) => {
                    posted.fetch_add(1, Ordering::Relaxed);
                    recorder.done(POST, due, clock::now());
                }
                Err(status) => recorder.failed(POST, due, clock::now(), status.message()),
            }
        }
    })
    .await
}

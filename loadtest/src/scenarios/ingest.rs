//! Upstreams that talk: what they send goes to a topic, and a follower of the topic tells how long it took.

use super::lanes::{Doors, House};
use crate::{
    books::Check,
    clock::{self, SECOND},
    payload,
    proto::{
        PublishOptions, ReceiveRequest, ReceivedMessage, receive_request::Source, received_message::Body,
        web_socket_manager_client::WebSocketManagerClient,
    },
    record::Recorder,
    report::Outcome,
    stage::{self, Measure, Stage},
    stop,
    trouble::Result,
    upstream::Feed,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tonic::{Streaming, transport::Channel};

pub const TOPIC: &str = "load.ingest";
/// For what is still on its way when the last message has been due.
const PATIENCE: u64 = 10 * SECOND;

/// What a follower of the topic saw.
#[derive(Clone, Default)]
pub struct Followed {
    pub messages: Arc<AtomicU64>,
    /// Messages that a gap record says are lost.
    pub missing: Arc<AtomicU64>,
}

/// Begins to follow the topic: before anything is sent to it, so that nothing is missed.
pub async fn subscribe(channel: Channel) -> Result<Streaming<ReceivedMessage>> {
    let mut client = WebSocketManagerClient::new(channel).max_decoding_message_size(64 << 20);
    let request =
        ReceiveRequest { source: Some(Source::Topic(TOPIC.to_owned())), ..ReceiveRequest::default() };
    Ok(client.receive(request).await?.into_inner())
}

/// Reads the topic until `wanted` messages have come, or nothing more will. Operation `which` is a
/// message that arrived.
pub async fn follow(
    mut messages: Streaming<ReceivedMessage>,
    recorder: Arc<Recorder>,
    which: usize,
    seen: Followed,
    wanted: u64,
    end: u64,
) -> Result<()> {
    let give_up = end + PATIENCE;
    while seen.messages.load(Ordering::Relaxed) + seen.missing.load(Ordering::Relaxed) < wanted {
        let glance = Duration::from_nanos(SECOND / 10);
        let Ok(message) = tokio::time::timeout(glance, messages.message()).await else {
            if stop::asked() || clock::now() > give_up {
                break;
            }
            continue;
        };
        let Some(message) = message? else { break };
        match message.body {
            Some(Body::Text(text)) => {
                seen.messages.fetch_add(1, Ordering::Relaxed);
                if let Some(due) = payload::time(text.as_bytes()) {
                    recorder.done(which, due, clock::now());
                }
            }
            Some(Body::Gap(gap)) => {
                seen.missing.fetch_add(gap.count.unwrap_or(0), Ordering::Relaxed);
            }
            _ => {}
        }
    }
    Ok(())
}

/// The feed of a measured stretch, dealt out to all connections in turn.
#[must_use]
pub fn feed(measure: &Measure, rate: f64, bytes: usize, burst: u64) -> Feed {
    Feed { start: measure.begin, rate, nanos: measure.end - measure.begin, burst, bytes }
}

/// What the upstream sent beside what the service numbered and the follower got.
pub fn against(house: &mut House, seen: &Followed, outcome: &mut Outcome) -> Result<()> {
    let counts = house.upstream.counts()?;
    let (after, books) = stage::settle(&house.service, 5 * SECOND)?;
    outcome.books.extend(books);
    let more = |name: &str| after.sum(name) - house.before.sum(name);
    outcome.books.push(Check::new(
        "messages, the upstream's count beside the service's",
        ("sent", counts.fed as f64),
        &[("numbered".to_owned(), more("wsm_messages_numbered_total"))],
    ));
    if !outcome.partial {
        outcome.books.push(Check::new(
            "messages, published and followed",
            ("published", more("wsm_publish_delivered_total")),
            &[
                ("followed".to_owned(), seen.messages.load(Ordering::Relaxed) as f64),
                ("in gaps".to_owned(), seen.missing.load(Ordering::Relaxed) as f64),
            ],
        ));
    }
    if counts.unsent > 0 {
        outcome.failures.push(format!(
            "{} messages were due and not sent: the service read too slowly for this rate",
            counts.unsent
        ));
    }
    Ok(())
}

pub fn run(stage: &Stage) -> Result<Outcome> {
    let options = &stage.options;
    let (rate, count) = (options.rate.unwrap_or(20_000.0), options.connections.unwrap_or(100));
    let bytes = options.bytes.unwrap_or(128);
    let mut outcome = Outcome::new("ingest");
    outcome.fact("rate of all", rate);
    outcome.fact("upstreams", count);
    outcome.fact("bytes", bytes);
    let doors = Doors { kind: "feed", count, flags: &[] };
    let mut house = House::open(stage, &mut outcome, doors, |request| {
        request.publish = Some(PublishOptions { topic: TOPIC.to_owned(), ..PublishOptions::default() });
    })?;
    let messages = house.runtime.block_on(subscribe(house.channel.clone()))?;
    let measure = stage.measure(&["message to follower"], house.watched(), options.length(5, 30));
    let schedule = measure.schedule(rate);
    house.upstream.feed(&feed(&measure, rate, bytes, 1))?;
    let seen = Followed::default();
    let (runtime, recorder) = (house.runtime.clone(), measure.recorder.clone());
    let (followed, end) = (seen.clone(), measure.end);
    stage.watch("ingest", &measure, move || {
        runtime.block_on(follow(messages, recorder, 0, followed, schedule.total(), end))
    })?;
    house.upstream.hush()?;
    measure.into(&mut outcome);
    // The schedule is the upstream's here: what it could not send is told by its own count.
    outcome.behind = None;
    against(&mut house, &seen, &mut outcome)?;
    house.service.end()?;
    Ok(outcome)
}

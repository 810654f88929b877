//! Sends that wait for their replies, by each of the three ways in.

use super::lanes::{self, House};
use crate::{
    books::Check,
    clock::{self, MICRO, MILLI, SECOND},
    goals::{Id, Reached},
    payload,
    proto::{SendBatchRequest, SendRequest, web_socket_manager_client::WebSocketManagerClient},
    record::{Operation, Recorder},
    report::Outcome,
    schedule::{Behind, Schedule},
    stage::{self, Measure, Stage},
    stop,
    trouble::{Result, Trouble},
};
use futures_core::Stream;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};
use tonic::transport::Channel;

/// Calls of SendStream side by side on one HTTP/2 connection.
const STREAMS: u64 = 4;
/// Streams look at what is due at these times, all at the same, and write it together: a timer and a
/// write for each Send would take half of the load's core. What it adds is in each latency.
const TURN: u64 = 100 * MICRO;

/// What the Sends of one run have in common.
#[derive(Clone)]
pub struct Load {
    pub ids: Arc<[String]>,
    pub bytes: usize,
    pub recorder: Arc<Recorder>,
    pub behind: Arc<Behind>,
    pub issued: Arc<AtomicU64>,
}

impl Load {
    #[must_use]
    pub fn new(measure: &Measure, ids: &[String], bytes: usize) -> Self {
        Load {
            ids: ids.into(),
            bytes,
            recorder: measure.recorder.clone(),
            behind: measure.behind.clone(),
            issued: Arc::default(),
        }
    }

    /// Number `number` of all, due then.
    fn request(&self, number: u64, due: u64) -> SendRequest {
        let now = clock::now();
        if due >= self.recorder.start() {
            self.behind.issued(due, now);
        }
        self.issued.fetch_add(1, Ordering::Relaxed);
        SendRequest {
            id: self.ids[(number % self.ids.len() as u64) as usize].clone(),
            message: payload::text(number, due, self.bytes),
            tag: number,
            ..SendRequest::default()
        }
    }
}

/// Requests as they become due. There is no queue between: what HTTP/2 has no room for is not made,
/// and late when it is.
struct Source {
    load: Load,
    schedule: Schedule,
    part: u64,
    parts: u64,
    next: u64,
    timer: clock::Timer,
}

impl Stream for Source {
    type Item = SendRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SendRequest>> {
        let this = &mut *self;
        if this.next == this.schedule.total() {
            return Poll::Ready(None);
        }
        let due = this.schedule.due(this.next);
        if clock::now() < due {
            ready!(this.timer.poll_until_or_stop(due.next_multiple_of(TURN), cx));
        }
        if stop::asked() {
            return Poll::Ready(None);
        }
        let number = this.part + this.next * this.parts;
        this.next += 1;
        Poll::Ready(Some(this.load.request(number, due)))
    }
}

/// Sends over SendStream until the schedule is over and all are answered; what is not answered in time
/// is a failure of its own, and what was due and had no turn is told by the schedule.
pub async fn over_streams(channel: Channel, load: Load, schedule: Schedule) -> Result<()> {
    let mut calls = tokio::task::JoinSet::new();
    let answered = Arc::new(AtomicU64::new(0));
    for part in 0..STREAMS {
        let share = schedule.share(part, STREAMS);
        let timer = clock::Timer::new()?;
        let source = Source { load: load.clone(), schedule: share, part, parts: STREAMS, next: 0, timer };
        calls.spawn(one_stream(channel.clone(), load.clone(), source, share, answered.clone()));
    }
    let all = async {
        while let Some(ended) = calls.join_next().await {
            ended.map_err(|error| Trouble::Failed(error.to_string()))??;
        }
        Ok(())
    };
    if lanes::in_time(schedule.end(), all).await? {
        return Ok(());
    }
    let (issued, now) = (load.issued.load(Ordering::Relaxed), clock::now());
    let lost = issued.saturating_sub(answered.load(Ordering::Relaxed));
    load.recorder.open().failed_together(0, schedule.end(), now, "not answered in time", lost);
    if !stop::asked() {
        load.behind.gave_up(schedule.total().saturating_sub(issued));
    }
    Ok(())
}

async fn one_stream(
    channel: Channel,
    load: Load,
    source: Source,
    share: Schedule,
    answered: Arc<AtomicU64>,
) -> Result<()> {
    let mut client = WebSocketManagerClient::new(channel).max_decoding_message_size(64 << 20);
    let mut answers = client.send_stream(source).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        let (now, due) = (clock::now(), share.due(answer.tag / STREAMS));
        answered.fetch_add(1, Ordering::Relaxed);
        if answer.code == 0 {
            load.recorder.done(0, due, now);
        } else {
            load.recorder.failed(0, due, now, &answer.message);
        }
    }
    Ok(())
}

/// One call for each Send.
pub async fn unary(channel: Channel, load: Load, schedule: Schedule) -> Result<()> {
    let client = WebSocketManagerClient::new(channel);
    lanes::dispatch(schedule, |number, due| {
        let (mut client, load, request) = (client.clone(), load.clone(), load.request(number, due));
        async move {
            let answer = client.send(request).await;
            let now = clock::now();
            match answer {
                Ok(_) => load.recorder.done(0, due, now),
                Err(status) => load.recorder.failed(0, due, now, status.message()),
            }
        }
    })
    .await
}

/// So many Sends in one call.
pub async fn batches(channel: Channel, load: Load, schedule: Schedule, size: u64) -> Result<()> {
    let client = WebSocketManagerClient::new(channel);
    lanes::dispatch(schedule, |number, due| {
        let (mut client, load) = (client.clone(), load.clone());
        let requests = (0..size).map(|place| load.request(number * size + place, due)).collect();
        async move {
            let answer = client.send_batch(SendBatchRequest { requests }).await;
            let now = clock::now();
            let mut open = load.recorder.open();
            match answer {
                Ok(answer) => {
                    open.done(1, due, now);
                    for result in answer.into_inner().results {
                        match result.code {
                            0 => open.done(0, due, now),
                            _ => open.failed(0, due, now, &result.message),
                        }
                    }
                }
                Err(status) => {
                    open.failed(1, due, now, status.message());
                    (0..size).for_each(|_| open.failed(0, due, now, status.message()));
                }
            }
        }
    })
    .await
}

/// What the service counted beside what we did; operation 0 is a Send.
pub fn against(house: &House, issued: u64, outcome: &mut Outcome) -> Result<()> {
    let answered = outcome.operations.first().map_or(0, answered);
    balance(house, issued, answered, outcome)
}

/// Those that ended, however that was.
#[must_use]
pub fn answered(send: &Operation) -> u64 {
    send.done() + send.failed() + send.warm
}

/// The same for several stretches together.
pub fn balance(house: &House, issued: u64, answered: u64, outcome: &mut Outcome) -> Result<()> {
    let (after, books) = stage::settle(&house.service, 2 * SECOND)?;
    outcome.books.extend(books);
    let more = |name: &str| after.sum(name) - house.before.sum(name);
    outcome.books.push(Check::new(
        "Sends, the generator's count beside the service's",
        ("issued", issued as f64),
        &[
            ("accepted".to_owned(), more("wsm_sends_accepted_total")),
            ("refused".to_owned(), more("wsm_sends_refused_total")),
        ],
    ));
    let answered = [("answered".to_owned(), answered as f64)];
    outcome.books.push(Check::new("Sends, issued and answered", ("issued", issued as f64), &answered));
    Ok(())
}

/// By which way Sends come in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Stream,
    Unary,
    Batch,
}

/// Sends in one call of SendBatch.
const BATCH: u64 = 100;

pub fn stream(stage: &Stage) -> Result<Outcome> {
    let mut outcome = run(stage, "send-stream", Way::Stream, 50_000.0)?;
    let Some(send) = outcome.operations.first() else { return Ok(outcome) };
    let (reached, p99) = (outcome.rate(send), send.at(0.99));
    let met = reached >= 50_000.0 * 0.99 && p99 <= 5 * MILLI;
    // A lower rate was asked for: that says nothing about this one.
    if stage.options.rate.is_none_or(|rate| rate >= 50_000.0) {
        let figure = format!("{reached:.0} a second at p99 {}", clock::human(p99));
        outcome.goals.push(Reached::new(Id::SendStream, met, figure));
    }
    Ok(outcome)
}

pub fn unary_calls(stage: &Stage) -> Result<Outcome> {
    run(stage, "send-unary", Way::Unary, 5_000.0)
}

pub fn batch_calls(stage: &Stage) -> Result<Outcome> {
    run(stage, "send-batch", Way::Batch, 50_000.0)
}

fn run(stage: &Stage, name: &str, way: Way, usual: f64) -> Result<Outcome> {
    let options = &stage.options;
    let (rate, count) = (options.rate.unwrap_or(usual), options.connections.unwrap_or(64));
    let bytes = options.bytes.unwrap_or(128);
    let mut outcome = Outcome::new(name);
    outcome.fact("rate", rate);
    outcome.fact("connections", count);
    outcome.fact("bytes", bytes);
    let mut house =
        House::open(stage, &mut outcome, lanes::Doors { kind: "echo", count, flags: &[] }, |_| {})?;
    let names: &[&str] = if way == Way::Batch { &["Send", "SendBatch"] } else { &["Send"] };
    let measure = stage.measure(names, house.watched(), options.length(5, 30));
    let load = Load::new(&measure, &house.ids, bytes);
    let issued = load.issued.clone();
    let calls = if way == Way::Batch { rate / BATCH as f64 } else { rate };
    let (channel, schedule) = (house.channel.clone(), measure.schedule(calls));
    let runtime = house.runtime.clone();
    stage.watch(name, &measure, move || {
        runtime.block_on(async {
            match way {
                Way::Stream => over_streams(channel, load, schedule).await,
                Way::Unary => unary(channel, load, schedule).await,
                Way::Batch => batches(channel, load, schedule, BATCH).await,
            }
        })
    })?;
    measure.into(&mut outcome);
    against(&house, issued.load(Ordering::Relaxed), &mut outcome)?;
    house.service.end()?;
    Ok(outcome)
}

//! Sends that wait for their replies, by each of the three ways in.

use super::lanes;
use crate::{
    clock::{self, MILLI, SECOND},
    goals::{Id, Reached},
    metrics::{Check, Scrape},
    payload,
    proto::{SendRequest, web_socket_manager_client::WebSocketManagerClient},
    record::Recorder,
    report::Outcome,
    schedule::{Behind, Schedule},
    service::Service,
    stage::{self, Measure, Stage},
    stop,
    trouble::{Result, Trouble},
    upstream::Manner,
};
use futures_core::Stream;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

/// Longer than the service's own patience with a reply.
const PATIENCE: u64 = 15 * SECOND;
/// Calls of SendStream side by side on one HTTP/2 connection.
const STREAMS: u64 = 4;

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
        if this.next == this.schedule.total() || stop::asked() {
            return Poll::Ready(None);
        }
        let due = this.schedule.due(this.next);
        ready!(this.timer.poll_until(due, cx));
        let number = this.part + this.next * this.parts;
        this.next += 1;
        Poll::Ready(Some(this.load.request(number, due)))
    }
}

/// Sends over SendStream until the schedule is over and all are answered.
pub async fn over_streams(channel: tonic::transport::Channel, load: Load, schedule: Schedule) -> Result<()> {
    let mut calls = tokio::task::JoinSet::new();
    for part in 0..STREAMS {
        let share = schedule.share(part, STREAMS);
        let (load, timer) = (load.clone(), clock::Timer::new()?);
        let source = Source { load: load.clone(), schedule: share, part, parts: STREAMS, next: 0, timer };
        let mut client = WebSocketManagerClient::new(channel.clone()).max_decoding_message_size(64 << 20);
        calls.spawn(async move {
            let mut answers = client.send_stream(source).await?.into_inner();
            while let Some(answer) = answers.message().await? {
                let (now, due) = (clock::now(), share.due(answer.tag / STREAMS));
                if answer.code == 0 {
                    load.recorder.done(0, due, now);
                } else {
                    load.recorder.failed(0, due, now, &answer.message);
                }
            }
            Ok::<_, Trouble>(())
        });
    }
    let give_up = Duration::from_nanos(schedule.end().saturating_sub(clock::now()) + PATIENCE);
    let all = async {
        while let Some(ended) = calls.join_next().await {
            ended.map_err(|error| Trouble::Failed(error.to_string()))??;
        }
        Ok(())
    };
    tokio::time::timeout(give_up, all)
        .await
        .unwrap_or_else(|_| Err(Trouble::Failed("Sends were not answered in time".to_owned())))
}

/// What the service counted beside what we did.
pub fn against(before: &Scrape, service: &Service, issued: u64, outcome: &mut Outcome) -> Result<()> {
    let (after, books) = stage::settle(service, 2 * SECOND)?;
    outcome.books.extend(books);
    let more = |name: &str| after.sum(name) - before.sum(name);
    outcome.books.push(Check::new(
        "Sends, the generator's count beside the service's",
        ("issued", issued as f64),
        &[
            ("accepted".to_owned(), more("wsm_sends_accepted_total")),
            ("refused".to_owned(), more("wsm_sends_refused_total")),
        ],
    ));
    let answered: u64 = outcome.operations.first().map_or(0, |it| it.done() + it.failed() + it.warm);
    outcome.books.push(Check::new(
        "Sends, issued and answered",
        ("issued", issued as f64),
        &[("answered".to_owned(), answered as f64)],
    ));
    Ok(())
}

pub fn stream(stage: &Stage) -> Result<Outcome> {
    let options = &stage.options;
    let (rate, count, bytes) =
        (options.rate.unwrap_or(50_000.0), options.connections.unwrap_or(64), options.bytes.unwrap_or(128));
    let mut outcome = Outcome::new("send-stream");
    outcome.fact("rate", rate);
    outcome.fact("connections", count);
    outcome.fact("bytes", bytes);
    outcome.fact("shards", stage.shards());
    let mut service = stage.service(&[])?;
    let upstream = stage.upstream(Manner::default())?;
    outcome.noise = Some(stage.noise());
    let runtime = lanes::runtime()?;
    let channel = runtime.block_on(service.channel())?;
    let ids = runtime.block_on(lanes::connect(&channel, lanes::to(&upstream, "echo", count)))?;
    let before = service.scrape()?;
    let watched = service.watched().into_iter().chain([upstream.watched()]).collect();
    let measure = stage.measure(&["Send"], watched, options.length(5, 30));
    let load = Load::new(&measure, &ids, bytes);
    let (issued, schedule) = (load.issued.clone(), measure.schedule(rate));
    stage.watch("send-stream", &measure, move || runtime.block_on(over_streams(channel, load, schedule)))?;
    measure.into(&mut outcome);
    against(&before, &service, issued.load(Ordering::Relaxed), &mut outcome)?;
    let send = &outcome.operations[0];
    let (reached, p99) = (outcome.rate(send), send.at(0.99));
    let met = reached >= 50_000.0 * 0.99 && p99 <= 5 * MILLI;
    if rate >= 50_000.0 || met {
        let figure = format!("{reached:.0} a second at p99 {}", clock::human(p99));
        outcome.goals.push(Reached::new(Id::SendStream, met, figure));
    }
    service.end()?;
    Ok(outcome)
}

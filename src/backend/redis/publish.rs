//! Publishing: batches in order on one connection, each one call of a script.
//!
//! A connection has a session, a key that counts the batches it took. The script takes a batch only
//! behind the one before it, so nothing is ever taken behind a failed one, whatever still lies in
//! buffers; a new connection ends the session of the old one first, and learns from it which
//! batches were taken although their answers were lost.

use super::{
    documents::script_sha,
    fault::Fault,
    guard::Guard,
    link::{Link, Live, Tools},
    scripts,
    stats::add,
    values,
};
use crate::{
    core::publish::batch::{Batch, PublishError},
    limits::{BUS_BATCHES_MAX, REDIS_BATCHES_IN_FLIGHT, REDIS_TAKEN_KEPT},
    ports::Done,
};
use redis::{Cmd, RedisError, Value};
use std::{
    collections::{BTreeMap, VecDeque},
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

/// An idle session is forgotten by the server after this; then a new one begins.
const SESSION_KEPT: Duration = Duration::from_secs(24 * 3600);
const PART: &str = "publishing";

pub struct Job {
    pub batch: Arc<Batch>,
    pub done: Done<Result<(), PublishError>>,
    /// Without a connection it is waited for until then.
    pub until: Instant,
}

type Answer = Result<Value, RedisError>;

struct Flight {
    job: Job,
    sequence: u64,
    since: Instant,
    answer: Pin<Box<dyn Future<Output = Answer> + Send>>,
    early: Option<Answer>,
}

#[derive(Default)]
struct Session {
    key: String,
    sequence: u64,
}

struct Publisher {
    tools: Arc<Tools>,
    link: Link,
    inbox: mpsc::Receiver<Job>,
    waiting: VecDeque<Job>,
    flights: VecDeque<Flight>,
    session: Session,
    /// Batches of the last session whose answers did not come.
    unknown: Vec<(u64, Arc<Batch>)>,
    /// Of those, the ones that were taken; they will be sent again.
    taken: VecDeque<Arc<Batch>>,
    guard: Guard,
    script: String,
}

pub async fn run(tools: Arc<Tools>, inbox: mpsc::Receiver<Job>) {
    let mut publisher = Publisher {
        link: Link::start(&tools, PART, Duration::ZERO),
        tools,
        inbox,
        waiting: VecDeque::new(),
        flights: VecDeque::new(),
        session: Session::default(),
        unknown: Vec::new(),
        taken: VecDeque::new(),
        guard: Guard::default(),
        script: script_sha(scripts::PUBLISH),
    };
    while let Some(mut live) = publisher.connection().await {
        let fault = match publisher.begin_session(&mut live).await {
            Ok(()) => match publisher.publish_on(&live).await {
                Some(fault) => fault,
                None => return,
            },
            Err(fault) => fault,
        };
        publisher.fail_flights();
        if !fault.of_connection {
            // Said until a batch is taken: the next connection alone does not mend it.
            publisher.tools.health.ill("the event streams", &fault.why);
        }
        publisher.link.report(live.generation, &fault.why);
        publisher.gone(live.generation).await;
    }
}

impl Publisher {
    /// A connection; meanwhile batches wait, each until its deadline. None: closed.
    async fn connection(&mut self) -> Option<Live> {
        loop {
            if let Some(live) = self.link.current() {
                return Some(live);
            }
            if !self.wait_without().await {
                return None;
            }
        }
    }

    /// Until the keeper took a reported connection away.
    async fn gone(&mut self, generation: u64) {
        while self.link.current().is_some_and(|live| live.generation == generation) {
            if !self.wait_without().await {
                return;
            }
        }
    }

    /// One thing that happens while there is no connection. False: closed.
    async fn wait_without(&mut self) -> bool {
        let expiry = self.waiting.front().map(|job| job.until);
        let room = self.waiting.len() < BUS_BATCHES_MAX;
        tokio::select! {
            () = self.link.changed() => {}
            job = self.inbox.recv(), if room => match job {
                Some(job) => self.waiting.push_back(job),
                None => return false,
            },
            () = sleep_until(expiry.unwrap_or_else(Instant::now)), if expiry.is_some() => {
                // Those behind it must not go before it.
                let waiting = std::mem::take(&mut self.waiting);
                waiting.into_iter().for_each(|job| self.again(job));
            }
        }
        true
    }

    async fn begin_session(&mut self, live: &mut Live) -> Result<(), Fault> {
        let settings = &self.tools.settings;
        let key = new_session_key();
        let old = if self.session.key.is_empty() { &key } else { &self.session.key };
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(scripts::PUBLISH);
        let mut begin = redis::cmd("EVAL");
        begin.arg(scripts::SESSION).arg(2).arg(old).arg(&key).arg(millis(SESSION_KEPT));
        let calls = async {
            live.call(&load).await?;
            live.call(&begin).await
        };
        let answer = match timeout(settings.command_timeout, calls).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(Fault::of(settings, &error)),
            Err(_) => return Err(Fault::hangs(settings)),
        };
        let Some([last, refused]) = values::list(Some(&answer)) else {
            return Err(Fault::answer("a script"));
        };
        // Which events of a batch were refused is not known any more: then all go again.
        let last = values::number(Some(last)).filter(|_| values::number(Some(refused)) == Some(0));
        for (sequence, batch) in std::mem::take(&mut self.unknown) {
            if last.is_some_and(|last| sequence <= last) {
                self.taken.push_back(batch);
            }
        }
        while self.taken.len() > REDIS_TAKEN_KEPT {
            self.taken.pop_front();
        }
        self.session = Session { key, sequence: 0 };
        Ok(())
    }

    /// Publishes until the connection is no good any more, and why. None: closed.
    async fn publish_on(&mut self, live: &Live) -> Option<Fault> {
        loop {
            while self.flights.len() < REDIS_BATCHES_IN_FLIGHT
                && let Some(job) = self.waiting.pop_front()
            {
                self.submit(live, job).await;
            }
            let room = self.flights.len() < REDIS_BATCHES_IN_FLIGHT;
            let under_way = !self.flights.is_empty();
            tokio::select! {
                biased;
                answer = oldest(&mut self.flights), if under_way => {
                    if let Err(fault) = self.answered(answer) {
                        return Some(fault);
                    }
                }
                () = self.link.changed() => {
                    if self.link.current().is_none_or(|now| now.generation != live.generation) {
                        return Some(Fault::away(&self.tools));
                    }
                }
                job = self.inbox.recv(), if room => self.waiting.push_back(job?),
            }
        }
    }

    async fn submit(&mut self, live: &Live, job: Job) {
        if let Some(place) = self.taken.iter().position(|batch| Arc::ptr_eq(batch, &job.batch)) {
            self.taken.remove(place);
            // It was the failed one that its lanes waited for.
            self.guard.admits(&job.batch, Instant::now());
            add(&self.tools.counters.publish_recovered, 1);
            return self.took(job);
        }
        if !self.guard.admits(&job.batch, Instant::now()) {
            add(&self.tools.counters.publish_held, 1);
            return self.again(job);
        }
        let command = self.command(&job.batch);
        self.session.sequence += 1;
        let (mut live, since) = (live.clone(), Instant::now());
        let mut answer: Pin<Box<dyn Future<Output = Answer> + Send>> =
            Box::pin(async move { live.call(&command).await });
        // Polled once it is queued; so they are queued in order.
        let early = poll_fn(|context| {
            Poll::Ready(match answer.as_mut().poll(context) {
                Poll::Ready(answer) => Some(answer),
                Poll::Pending => None,
            })
        });
        let early = early.await;
        self.flights.push_back(Flight { job, sequence: self.session.sequence, since, answer, early });
    }

    fn command(&self, batch: &Batch) -> Cmd {
        let mut topics: BTreeMap<&str, usize> = BTreeMap::new();
        let mut keys = Vec::new();
        let mut places = Vec::with_capacity(batch.events.len());
        for event in &batch.events {
            // KEYS counts from 1, and its first one is the session.
            let place = *topics.entry(&event.topic).or_insert_with(|| {
                keys.push(&*event.topic);
                keys.len() + 1
            });
            places.push(place);
        }
        let settings = &self.tools.settings;
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.script).arg(keys.len() + 1).arg(&self.session.key).arg(keys);
        command.arg(self.session.sequence).arg(self.session.sequence + 1).arg(millis(SESSION_KEPT));
        command.arg(settings.stream_events_max).arg(settings.stream_age_max.map_or(0, millis));
        for (event, place) in batch.events.iter().zip(places) {
            command.arg(place).arg(batch.bytes.get(event.range.clone()).unwrap_or_default());
        }
        command
    }

    /// What the server said of the oldest batch. An error ends the session.
    fn answered(&mut self, answer: Answer) -> Result<(), Fault> {
        let answer = answer.map_err(|error| Fault::of(&self.tools.settings, &error))?;
        let parts = values::list(Some(&answer)).unwrap_or_default();
        match values::text(parts.first()) {
            Some("ok") => {}
            Some("behind") => return Err(Fault::forgotten()),
            _ => return Err(Fault::answer("a script")),
        }
        let Some(flight) = self.flights.pop_front() else { return Ok(()) };
        self.tools.health.well("the event streams");
        self.tools.times.publish.record(flight.since.elapsed());
        let refused = values::list(parts.get(1)).unwrap_or_default();
        if refused.is_empty() {
            self.took(flight.job);
            return Ok(());
        }
        for why in values::list(parts.get(2)).unwrap_or_default() {
            let why = String::from_utf8_lossy(values::bytes(Some(why)).unwrap_or_default());
            tracing::error!(topic_and_why = %why, "events can never go to this topic and are dropped");
        }
        add(&self.tools.counters.refused_events, refused.len() as u64);
        add(&self.tools.counters.published_events, (flight.job.batch.events.len() - refused.len()) as u64);
        let refused = refused.iter().filter_map(|place| values::number(Some(place)));
        let refused = refused.filter_map(|place| u32::try_from(place).ok()).collect();
        flight.job.done.complete(Err(PublishError::Refused(refused)));
        Ok(())
    }

    fn took(&self, job: Job) {
        let counters = &self.tools.counters;
        add(&counters.published_batches, 1);
        add(&counters.published_events, job.batch.events.len() as u64);
        add(&counters.published_bytes, job.batch.bytes.len() as u64);
        job.done.complete(Ok(()));
    }

    fn again(&mut self, job: Job) {
        self.guard.failed(&job.batch, Instant::now());
        add(&self.tools.counters.publish_retries, 1);
        job.done.complete(Err(PublishError::Retry));
    }

    /// Everything without an answer; nobody knows which of it was taken.
    fn fail_flights(&mut self) {
        for flight in std::mem::take(&mut self.flights) {
            self.tools.times.publish.record(flight.since.elapsed());
            self.unknown.push((flight.sequence, flight.job.batch.clone()));
            self.again(flight.job);
        }
    }
}

/// The oldest flight's answer; never while nothing is under way.
fn oldest(flights: &mut VecDeque<Flight>) -> impl Future<Output = Answer> {
    poll_fn(|context| {
        let Some(flight) = flights.front_mut() else { return Poll::Pending };
        match flight.early.take() {
            Some(answer) => Poll::Ready(answer),
            None => flight.answer.as_mut().poll(context),
        }
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn new_session_key() -> String {
    let mut random = [0; 16];
    // Two that are alike would refuse each other's batches, which are then tried again.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random);
    format!("wsm:bus:{:032x}", u128::from_le_bytes(random))
}

//! Commands over the bus, for callers that live on Dapr: an event is one RPC.
//!
//! The event's `type` ends in the method's name (`com.virtufin.websocketmanager.command.Send`; see
//! `method_of`), its `data` is the request as proto3 JSON, its `replyto`, if it has one, the topic
//! for the answer: an event of type `com.virtufin.websocketmanager.reply` with the response, or with
//! a `google.rpc.Status` as REST gives it, under the caller's `replyid` or else the command's `id`.
//! `grpccode` is 0 or the status' code.
//!
//! Decisions that callers can rely on:
//! - **At most once** by (`source`, `id`), in the whole fleet: a command is claimed in the shared
//!   documents before it runs, so a redelivery finds it taken. An instance that dies between the
//!   two takes the command with it; whoever must know asks for a reply.
//! - When nobody can say whether a claim stands, what must not run twice (Send, SendRaw, Connect
//!   without an id) is given back to the broker; the rest runs, for a second run changes nothing.
//! - Refused is what is older than `COMMAND_AGE_MAX` by its `time`, or as far in the future. One
//!   without a `time` is refused too when it must not run twice: nobody could tell a replay.
//! - What is left of its age is a command's deadline.
//! - Commands for one connection run one after the other, in the order of their arrival; whoever
//!   wants many Sends in flight on one connection uses gRPC.
//! - What is wrong is counted, answered when it can be, and never tried again.

mod claim;
pub mod counters;
mod event;
mod lanes;
mod method;
mod reply;

use super::{
    observe::Protocol,
    service::{Caller, Service},
};
use crate::{
    core::{
        names::Topic,
        reason::{Certainty, Fault, FaultKind},
        time::Wall,
    },
    limits,
    ports::{Ack, Bus, Delivery, Documents, Done, Inbox},
};
use claim::{Claim, Claims};
use counters::{CommandCounters, CommandOutcome as Outcome, ReplyOutcome};
use event::Time;
use lanes::{Entered, Lanes};
use method::{Effect, Request};
pub use method::{METHODS, method_of};
use reply::Address;
pub use reply::TYPE_REPLY;
use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    task::{self, JoinSet},
    time::Instant,
};

#[cfg(test)]
mod tests;

/// What an answer to a full lane asks for: about a Send's time.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// What the edge works with.
pub struct Parts {
    pub service: Service,
    /// Takes the replies.
    pub bus: Arc<dyn Bus>,
    /// Shared by the fleet; None for an instance that is alone on its topic.
    pub documents: Option<Arc<dyn Documents>>,
    /// Drawn at each start of the process.
    pub run: u64,
    /// No reply goes there.
    pub commands_topic: String,
    pub counters: Arc<CommandCounters>,
}

/// Takes commands until `stop`, finishes those that have begun, and gives the others back.
pub async fn run(parts: Parts, mut inbox: impl Inbox, stop: impl Future<Output = ()>) {
    let mut desk = Desk {
        claims: Arc::new(Claims::new(parts.documents.clone(), parts.run)),
        parts: Arc::new(parts),
        lanes: Lanes::default(),
        running: JoinSet::new(),
        names: HashMap::new(),
        held: 0,
    };
    let mut stop = pin!(stop);
    desk.parts.counters.taking(true);
    loop {
        desk.parts.counters.hold(desk.held);
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(ended) = desk.running.join_next_with_id(), if !desk.running.is_empty() => desk.ended(ended),
            delivery = poll_fn(|context| inbox.poll_delivery(context)),
                if desk.held < limits::COMMANDS_IN_FLIGHT_MAX =>
            {
                match delivery {
                    Some(delivery) => desk.take(delivery),
                    None => break,
                }
            }
        }
    }
    desk.parts.counters.taking(false);
    desk.held -= desk.lanes.clear_waiting();
    while let Some(ended) = desk.running.join_next_with_id().await {
        desk.ended(ended);
        desk.parts.counters.hold(desk.held);
    }
}

/// One command, from its arrival to its ack.
struct Work {
    ack: Done<Ack>,
    terms: Terms,
    what: What,
}

struct Terms {
    key: u128,
    reply: Option<Address>,
    deadline: Instant,
    traceparent: Option<String>,
}

enum What {
    Run(Box<Request>),
    Refuse(Outcome, Fault),
}

struct Desk {
    parts: Arc<Parts>,
    claims: Arc<Claims>,
    lanes: Lanes<Work>,
    running: JoinSet<()>,
    /// The connection whose turn a task has, by task.
    names: HashMap<task::Id, String>,
    /// Taken and not ended, running or not.
    held: usize,
}

impl Desk {
    fn take(&mut self, delivery: Delivery) {
        let Delivery { event, ack } = delivery;
        let event = match event::read(&event) {
            Ok(event) => event,
            Err(why) => {
                note(&self.parts.counters, Outcome::Malformed, why);
                return ack.complete(Ack::Drop);
            }
        };
        let key = claim::key(&event.source, &event.id);
        if !self.claims.first(key) {
            note(&self.parts.counters, Outcome::Duplicate, "delivered again");
            return ack.complete(Ack::Done);
        }
        let work = self.read(event, key, ack);
        self.held += 1;
        let name = match &work.what {
            What::Run(request) => request.connection().to_owned(),
            What::Refuse(..) => String::new(),
        };
        if name.is_empty() {
            return self.start(name, work);
        }
        match self.lanes.enter(&name, work) {
            Entered::Starts(work) => self.start(name, work),
            Entered::Waits => {}
            Entered::Full(mut work) => {
                let fault = Fault::full("too many commands wait for this connection", FULL_RETRY);
                work.what = What::Refuse(Outcome::Full, fault);
                self.start(String::new(), work);
            }
        }
    }

    /// All that can be said of a command before its turn.
    fn read(&self, event: event::Event, key: u128, ack: Done<Ack>) -> Work {
        let now = wall();
        let left = left(event.time, now);
        let method = method_of(&event.kind);
        let topic = event.reply_to.as_deref().map(|text| self.reply_topic(text)).transpose();
        let request = match (method, event.data) {
            (None, _) => Err((Outcome::UnknownMethod, unknown_method())),
            (Some(_), Err(fault)) => Err((Outcome::Invalid, fault)),
            (Some(method), Ok(data)) => {
                Request::read(method, data).map_err(|fault| (Outcome::Invalid, fault))
            }
        };
        let connection = request.as_ref().map_or("", Request::connection).to_owned();
        let undated = event.time == Time::Absent;
        let (topic, what) = match (topic, left, request) {
            (Err(fault), ..) => (None, What::Refuse(Outcome::Invalid, fault)),
            (Ok(topic), Err((outcome, fault)), _) => (topic, What::Refuse(outcome, fault)),
            (Ok(topic), Ok(_), Err((outcome, fault))) => (topic, What::Refuse(outcome, fault)),
            (Ok(topic), Ok(_), Ok(request)) if undated && request.effect() == Effect::Once => {
                let message = "is missing: without it nobody can tell whether this is a replay";
                (topic, What::Refuse(Outcome::Invalid, Fault::invalid("time", message)))
            }
            (Ok(topic), Ok(_), Ok(request)) => (topic, What::Run(Box::new(request))),
        };
        let traceparent = event.traceparent;
        let reply = topic.map(|topic| Address {
            topic,
            correlation: event.reply_id.unwrap_or(event.id),
            key,
            connection,
            method,
            traceparent: traceparent.clone(),
        });
        let deadline = Instant::now() + left_or_none(event.time, now);
        Work { ack, terms: Terms { key, reply, deadline, traceparent }, what }
    }

    fn reply_topic(&self, text: &str) -> Result<Topic, Fault> {
        if text == self.parts.commands_topic {
            return Err(Fault::invalid("replyto", "must not be the topic of commands"));
        }
        Topic::parse("replyto", text)
    }

    fn start(&mut self, name: String, work: Work) {
        let (parts, claims) = (self.parts.clone(), self.claims.clone());
        let task = self.running.spawn(async move { work.carry_out(&parts, &claims).await });
        if !name.is_empty() {
            self.names.insert(task.id(), name);
        }
    }

    fn ended(&mut self, ended: Result<(task::Id, ()), task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!("a command's task failed: {error}");
                error.id()
            }
        };
        self.held -= 1;
        if let Some(name) = self.names.remove(&id)
            && let Some(next) = self.lanes.leave(&name)
        {
            self.start(name, next);
        }
    }
}

impl Work {
    async fn carry_out(self, parts: &Parts, claims: &Claims) {
        let Work { ack, terms, what } = self;
        let (outcome, answer) = match what {
            What::Refuse(outcome, fault) => (outcome, Err(fault)),
            What::Run(request) => terms.run(*request, parts, claims).await,
        };
        match &answer {
            Ok(_) => drop(parts.counters.command(outcome)),
            Err(fault) => note(&parts.counters, outcome, &fault.to_string()),
        }
        let verdict = terms.verdict(outcome);
        if verdict == Ack::Retry {
            claims.forget(terms.key);
        } else if outcome != Outcome::Duplicate
            && let Some(address) = &terms.reply
        {
            tell(parts, address, &answer).await;
        }
        ack.complete(verdict);
    }
}

impl Terms {
    async fn run(
        &self,
        request: Request,
        parts: &Parts,
        claims: &Claims,
    ) -> (Outcome, Result<Vec<u8>, Fault>) {
        if Instant::now() >= self.deadline {
            return (Outcome::Expired, Err(expired()));
        }
        if request.effect() != Effect::Reads {
            match claims.claim(self.key).await {
                Claim::Mine => {}
                Claim::Taken => {
                    let fault = Fault::new(FaultKind::IdInUse, "another instance has this command");
                    return (Outcome::Duplicate, Err(fault));
                }
                Claim::Unknown(why) if request.effect() == Effect::Once => {
                    return (Outcome::Unclaimed, Err(Fault::new(FaultKind::Unavailable, why)));
                }
                Claim::Unknown(why) => {
                    tracing::debug!("a command that may run twice runs without a claim: {why}");
                }
            }
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        let mut caller = Caller {
            principal: "bus".to_owned(),
            deadline: Some(left),
            traceparent: self.traceparent.clone(),
        };
        let call = parts.service.observe(Protocol::Bus, request.method(), &mut caller, request.connection());
        let answer = match tokio::time::timeout_at(self.deadline, request.run(&parts.service, &caller)).await
        {
            Ok(answer) => answer,
            Err(_) => Err(Fault::new(FaultKind::TimedOut, "not answered while the command was young enough")
                .with_certainty(Certainty::MaybeSent)),
        };
        let answer = call.ended(answer);
        let outcome = match &answer {
            Ok(_) => Outcome::Done,
            Err(fault) if fault.kind == FaultKind::Invalid => Outcome::Invalid,
            Err(_) => Outcome::Failed,
        };
        (outcome, answer)
    }

    fn verdict(&self, outcome: Outcome) -> Ack {
        match outcome {
            Outcome::Done | Outcome::Failed | Outcome::Expired | Outcome::Duplicate => Ack::Done,
            Outcome::Invalid | Outcome::UnknownMethod | Outcome::Malformed => Ack::Drop,
            Outcome::Unclaimed => Ack::Retry,
            // Who gets an answer decides for itself.
            Outcome::Full if self.reply.is_some() => Ack::Done,
            Outcome::Full => Ack::Retry,
        }
    }
}

async fn tell(parts: &Parts, address: &Address, answer: &Result<Vec<u8>, Fault>) {
    let mut published = reply::publish(&parts.bus, address, reply::render(address, answer, wall())).await;
    if published == ReplyOutcome::Refused && answer.is_ok() {
        // Too large for the bus: its caller is told so, in few words.
        parts.counters.reply(published);
        let message = "the command was carried out, but its response is refused by the bus";
        let short = Err(Fault::new(FaultKind::Internal, message));
        published = reply::publish(&parts.bus, address, reply::render(address, &short, wall())).await;
    }
    let count = parts.counters.reply(published);
    if published != ReplyOutcome::Published && count.is_power_of_two() {
        let (topic, outcome) = (address.topic.as_str(), published.name());
        tracing::warn!(topic, outcome, count, "a reply to a command did not reach its topic");
    }
}

/// A flood of bad commands must not become a flood of lines: the first of each kind, then the
/// second, the fourth, and so on.
fn note(counters: &CommandCounters, outcome: Outcome, why: &str) {
    let count = counters.command(outcome);
    let why: String = why.chars().take(limits::LOG_TEXT_CHARS_MAX).collect();
    let expected = matches!(outcome, Outcome::Failed | Outcome::Duplicate);
    if count.is_power_of_two() && !expected {
        tracing::warn!(outcome = outcome.name(), count, why, "a command was not carried out");
    } else {
        tracing::debug!(outcome = outcome.name(), count, why, "a command was not carried out");
    }
}

/// How long the command may still take; refused when it is too old, or when its time is none.
fn left(time: Time, now: Wall) -> Result<Duration, (Outcome, Fault)> {
    let at = match time {
        Time::Absent => return Ok(limits::COMMAND_AGE_MAX),
        Time::Unreadable => {
            return Err((Outcome::Invalid, Fault::invalid("time", "is not a time as in RFC 3339")));
        }
        Time::At(at) => at,
    };
    let ahead = Duration::from_nanos(at.unix_nanos().saturating_sub(now.unix_nanos()));
    if ahead > limits::COMMAND_AGE_MAX {
        return Err((Outcome::Invalid, Fault::invalid("time", "lies in the future")));
    }
    let age = Duration::from_nanos(now.unix_nanos().saturating_sub(at.unix_nanos()));
    match limits::COMMAND_AGE_MAX.checked_sub(age) {
        Some(left) if !left.is_zero() => Ok(left),
        _ => Err((Outcome::Expired, expired())),
    }
}

fn left_or_none(time: Time, now: Wall) -> Duration {
    left(time, now).unwrap_or_default()
}

fn expired() -> Fault {
    let bound = limits::COMMAND_AGE_MAX.as_secs();
    Fault::new(
        FaultKind::TimedOut,
        format!("time: the command is older than {bound} s; it was not carried out"),
    )
}

fn unknown_method() -> Fault {
    Fault {
        message: format!("must end in the name of a method: {}", METHODS.join(", ")).into(),
        ..Fault::unimplemented("type")
    }
}

fn wall() -> Wall {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Wall::from_unix_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

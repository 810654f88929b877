//! What is sent once, in order, and never again by itself: messages to rooms.

use super::{
    fault::Fault,
    link::{Link, Live, Tools},
    stats::add,
};
use crate::{
    core::reason::{self, Certainty, FaultKind},
    limits::{REDIS_ROOM_FULL_RETRY, REDIS_ROOM_SEND_BYTES_MAX, REDIS_ROOM_SENDS_IN_FLIGHT},
};
use redis::{Cmd, RedisError, Value};
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

/// The bytes of everything that is not answered yet.
#[derive(Clone, Default)]
pub struct Load(Arc<AtomicUsize>);

/// One message's part of the load, given back when it is dropped.
pub struct Loaded(Load, usize);

impl Load {
    /// None: no more fits. One message of any size always fits in what is empty.
    pub fn take(&self, bytes: usize) -> Option<Loaded> {
        let fits = |held: usize| {
            let then = held.saturating_add(bytes);
            (held == 0 || then <= REDIS_ROOM_SEND_BYTES_MAX).then_some(then)
        };
        self.0.fetch_update(Relaxed, Relaxed, fits).ok()?;
        Some(Loaded(self.clone(), bytes))
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.0.0.fetch_sub(self.1, Relaxed);
    }
}

/// The answer to a caller whose message does not fit.
pub fn full() -> reason::Fault {
    reason::Fault::full("too many messages to rooms wait for Redis: send slower", REDIS_ROOM_FULL_RETRY)
}

/// How it ended without an answer that says yes.
#[derive(Debug)]
pub struct Unsent {
    why: String,
    certainty: Certainty,
    /// The server does not know the script.
    pub no_script: bool,
}

impl Unsent {
    pub fn surely(why: impl Into<String>) -> Unsent {
        Unsent { why: why.into(), certainty: Certainty::NotSent, no_script: false }
    }

    pub fn perhaps(why: impl Into<String>) -> Unsent {
        Unsent { certainty: Certainty::MaybeSent, ..Unsent::surely(why) }
    }

    /// Counts it, and says it to the caller.
    pub fn fault(self, tools: &Tools, not_sent: &AtomicU64, maybe_sent: &AtomicU64) -> reason::Fault {
        let (kind, counter) = match self.certainty {
            Certainty::NotSent => (FaultKind::NotSent, not_sent),
            Certainty::MaybeSent => (FaultKind::MaybeSent, maybe_sent),
        };
        add(counter, 1);
        let message = format!("Redis at {}: {}", tools.settings.address, self.why);
        reason::Fault::new(kind, message).with_certainty(self.certainty)
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Value, RedisError>> + Send>>;

pub struct Sender {
    tools: Arc<Tools>,
    link: Link,
    places: Arc<Semaphore>,
}

impl Sender {
    pub fn start(tools: &Arc<Tools>, name: &'static str) -> Sender {
        let link = Link::start(tools, name, Duration::ZERO);
        Sender { tools: tools.clone(), link, places: Arc::new(Semaphore::new(REDIS_ROOM_SENDS_IN_FLIGHT)) }
    }

    /// Waits until one more may be under way; each of them ends by its own deadline.
    pub async fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().acquire_owned().await.ok()
    }

    /// The connection now. Without one nothing is sent, which is said at once.
    pub fn live(&mut self, until: Instant) -> Result<Live, Unsent> {
        match self.link.current() {
            Some(_) if until <= Instant::now() => Err(Unsent::surely("too much waited before it")),
            Some(live) => Ok(live),
            None => Err(Unsent::surely(Fault::away(&self.tools).why)),
        }
    }

    /// What each new connection must do before the first message; once, in order.
    pub async fn prepare(&self, live: &mut Live, command: &Cmd, until: Instant) -> Result<(), Unsent> {
        let settings = &self.tools.settings;
        let fault = match timeout_at(until, live.call(command)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => Fault::of(settings, &error),
            Err(_) => Fault::hangs(settings),
        };
        if fault.of_connection {
            self.link.report(live.generation, &fault.why);
        }
        Err(Unsent::surely(fault.why))
    }

    /// Hands it over, so that it is before whatever is handed over next, and goes on without its answer.
    pub async fn send(
        &self,
        live: Live,
        until: Instant,
        place: OwnedSemaphorePermit,
        mut answer: Answer,
        done: impl FnOnce(Result<Value, Unsent>) + Send + 'static,
    ) {
        // Polled once it is queued; so they are queued in order.
        let early = poll_fn(|context| {
            Poll::Ready(match answer.as_mut().poll(context) {
                Poll::Ready(answer) => Some(answer),
                Poll::Pending => None,
            })
        });
        let early = early.await;
        let (tools, link, generation) = (self.tools.clone(), self.link.clone(), live.generation);
        tokio::spawn(async move {
            // An error at once is that of a connection that had ended before.
            let handed_over = early.is_none();
            let answer = match early {
                Some(answer) => Ok(answer),
                None => timeout_at(until, answer).await,
            };
            let answer = match answer {
                Ok(answer) => answer.map_err(|error| Fault::of(&tools.settings, &error)),
                Err(_) => Err(Fault::hangs(&tools.settings)),
            };
            if let Err(fault) = &answer
                && fault.of_connection
            {
                link.report(generation, &fault.why);
            }
            drop(place);
            done(answer.map_err(|fault| match handed_over && !fault.refused {
                true => Unsent::perhaps(fault.why),
                false => Unsent { no_script: fault.no_script, ..Unsent::surely(fault.why) },
            }));
        });
    }
}

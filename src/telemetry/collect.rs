//! One scrape: every shard is asked for a copy of its numbers, and the catalogue is filled in.
//! What is counted is counted where it happens, with no lock and no shared word; all the cost is here.

mod series;

pub use super::snapshot::{Fixed, Standing};
use super::{
    process::{self, Allocator, Process},
    snapshot::{CommandsView, FleetPace, FleetView, IngressView, Page, PeersView, ShardSnapshot},
};
use crate::{
    api::{
        commands::counters::CommandCounters,
        counters::{
            Counters as EdgeCounters, IntakeCounters, PeerCounters, WsCounters,
            calls::{CallCounters, CallsView},
        },
    },
    backend::{
        Backend,
        redis::{RedisRelay, RedisRooms},
    },
    fleet::Handle,
    limits,
    ports::spans::Spans,
    shard::{Local, mailbox::Hub},
};
use prometheus::{Registry, TextEncoder};
use series::Shelf;
use std::{collections::HashMap, sync::Arc};
use tokio::{
    sync::{Mutex, oneshot},
    time::{Instant, timeout_at},
};

/// Whose numbers are on the page.
pub struct Sources {
    pub hub: Hub,
    pub backend: Arc<Backend>,
    pub edge: Arc<EdgeCounters>,
    pub peers: Arc<PeerCounters>,
    pub ingress: Arc<WsCounters>,
    pub commands: Arc<CommandCounters>,
    pub intake: Arc<IntakeCounters>,
    pub fleet: Option<Handle>,
    /// Rooms on Redis, and the channels of the earlier room system.
    pub rooms: Option<Arc<RedisRooms>>,
    pub relay: Option<Arc<RedisRelay>>,
    /// By shard.
    pub calls: Vec<Arc<CallCounters>>,
    pub spans: Spans,
    pub fixed: Fixed,
    pub standing: Box<dyn Fn() -> Standing + Send + Sync>,
}

pub struct Collector {
    sources: Sources,
    started: Instant,
    registry: Registry,
    page: Arc<parking_lot::Mutex<Page>>,
    /// By shard, what it was asked and has not answered. Held for the whole of a scrape: two at once would
    /// ask twice, and write into each other's page.
    asked: Mutex<Vec<Option<Asked>>>,
}

type Asked = oneshot::Receiver<ShardSnapshot>;

impl Collector {
    pub fn new(sources: Sources) -> Self {
        let shards = sources.hub.shards();
        let page = Arc::new(parking_lot::Mutex::new(Page::new(shards)));
        let registry = Registry::new();
        registry
            .register(Box::new(Shelf::new(page.clone())))
            .expect("the catalogue is in order: it is tested");
        let asked = Mutex::new((0..shards).map(|_| None).collect());
        Collector { sources, started: Instant::now(), registry, page, asked }
    }

    /// The page in the Prometheus text format.
    pub async fn scrape(&self) -> String {
        let begun = Instant::now();
        let mut asked = self.asked.lock().await;
        let answers = self.ask_shards(&mut asked).await;
        let threads = process::threads();
        let shards = threads.iter().filter(|thread| thread.name.starts_with("shard-"));
        let busy: HashMap<_, _> = shards.map(|thread| (&*thread.name, thread.seconds)).collect();
        let process = Process::read(self.started.elapsed());
        {
            let mut page = self.page.lock();
            for (shard, (view, answer)) in page.shards.iter_mut().zip(answers).enumerate() {
                let mailbox = self.sources.hub.mailbox(shard as u32);
                view.update(answer, mailbox, busy.get(&*format!("shard-{shard}")).copied());
            }
            page.process = process;
            page.threads = page.by_work.update(&threads);
            page.sum_venues();
            self.read(&mut page);
        }
        let text = TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_else(|error| {
            tracing::error!(%error, "the metrics cannot be written");
            String::new()
        });
        self.page.lock().scraped = begun.elapsed();
        text
    }

    /// What is not a shard's.
    fn read(&self, page: &mut Page) {
        let Sources { backend, edge, peers, ingress, commands, intake, fleet, rooms, relay, .. } =
            &self.sources;
        page.allocator = Allocator::read();
        page.fixed = self.sources.fixed;
        page.standing = (self.sources.standing)();
        page.calls = CallsView::read(self.sources.calls.iter().map(|calls| &**calls));
        page.spans = self.sources.spans.outcomes();
        page.backend_ready = backend.trouble().is_none();
        page.embedded = backend.local().stats();
        match &**backend {
            Backend::Embedded(_) => {}
            Backend::Dapr(dapr, _) => page.dapr = Some(dapr.stats()),
            Backend::Redis(redis, _) => {
                page.redis = Some(redis.stats());
                page.redis_times = Some(redis.times());
            }
        }
        page.rooms = rooms.as_ref().map(|rooms| rooms.stats());
        page.rooms_send = rooms.as_ref().map(|rooms| rooms.send_times());
        page.relay = relay.as_ref().map(|relay| relay.stats());
        page.edge = edge.all();
        page.intake = intake.all();
        page.peers = PeersView::read(peers);
        page.ingress = IngressView::read(ingress);
        page.commands = CommandsView::read(commands);
        page.fleet = FleetView::read(fleet.as_ref());
        page.pace = fleet.as_ref().map(FleetPace::read);
    }

    /// All at once; a shard that is silent for too long is left out.
    async fn ask_shards(&self, asked: &mut [Option<Asked>]) -> Vec<Option<ShardSnapshot>> {
        for (shard, pending) in asked.iter_mut().enumerate() {
            // One question at a time: a shard that hangs must not be buried under them.
            let silent = pending
                .as_mut()
                .is_some_and(|answer| matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
            if !silent {
                *pending = ask(&self.sources.hub, shard as u32);
            }
        }
        let deadline = Instant::now() + limits::SCRAPE_SHARD_WAIT;
        let mut answers = Vec::new();
        for pending in asked.iter_mut() {
            let answer = match pending {
                Some(answer) => timeout_at(deadline, answer).await,
                None => {
                    answers.push(None);
                    continue;
                }
            };
            if answer.is_ok() {
                *pending = None;
            }
            answers.push(answer.ok().and_then(Result::ok));
        }
        answers
    }
}

/// None: the shard has ended.
fn ask(hub: &Hub, shard: u32) -> Option<Asked> {
    let (sender, answer) = oneshot::channel();
    let look = move |local: &Local| {
        // Nobody waits any more: the scrape was given up.
        let _ = sender.send(ShardSnapshot::take(local));
    };
    hub.inspect(shard, Box::new(look)).is_ok().then_some(answer)
}

#[cfg(test)]
mod tests;

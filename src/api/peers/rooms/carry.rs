//! The thread that carries: it follows the members, asks for rooms where they are numbered, and
//! hands over what is another's.

use super::{
    Job, Shared,
    flow::{Flow, Item},
    subs::{Said, Source},
    upstream::Upstream,
    wire,
};
use crate::{
    core::{
        names::RoomName,
        rooms::sequencer::{Move, Subscriber},
    },
    limits,
    proto::fleet::call::Rpc,
};
use std::{collections::BTreeMap, future::poll_fn, sync::Arc};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

/// What only this thread has.
struct Carrier {
    shared: Arc<Shared>,
    upstreams: BTreeMap<Arc<str>, Upstream>,
    /// This instance as its own subscriber.
    here: Option<(Subscriber, AbortHandle)>,
    me: Arc<str>,
}

pub async fn run(shared: Arc<Shared>, mut jobs: mpsc::Receiver<Job>) {
    let me = shared.fleet.directory.me();
    let mut carrier = Carrier { shared: shared.clone(), upstreams: BTreeMap::new(), here: None, me };
    let mut tick = interval(limits::ROOM_TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            job = jobs.recv() => match job {
                None | Some(Job::Stop) => return,
                Some(job) => carrier.work(job),
            },
            () = shared.wake.notified() => carrier.drive(),
            _ = tick.tick() => carrier.tick(),
        }
        if shared.subs.lock().is_stopped() {
            return;
        }
    }
}

impl Carrier {
    fn work(&mut self, job: Job) {
        let shared = self.shared.clone();
        match job {
            Job::Publish(rooms, post, done) => {
                tokio::spawn(async move { done.complete(shared.publish(rooms, post).await) });
            }
            Job::Answer(done, answer) => done.complete(answer),
            Job::Since(room, after, limit, done) => {
                tokio::spawn(async move { done.complete(shared.read_since(room, after, limit).await) });
            }
            Job::Leave(done) => {
                let moves = shared.numbering.leave();
                shared.subs.lock().look_at_all();
                self.drive();
                tokio::spawn(async move {
                    if timeout(limits::ROOM_LEAVE_PATIENCE, hand_over(shared, moves)).await.is_err() {
                        tracing::warn!("not every room could be handed over in time");
                    }
                    // Whoever asked may have gone on meanwhile.
                    let _ = done.send(());
                });
            }
            Job::CarryOn(moves) => {
                tokio::spawn(hand_over(shared, moves));
            }
            Job::Stop => {}
        }
    }

    fn tick(&mut self) {
        let shared = self.shared.clone();
        shared.numbering.tick();
        let directory = &shared.fleet.directory;
        let members = directory.members();
        let me = directory.me();
        if me != self.me {
            // Greetings name this run: what was opened as another one is opened anew.
            self.me = me.clone();
            shared.links.close();
            for (incarnation, _) in std::mem::take(&mut self.upstreams) {
                shared.broken(&Some(incarnation));
            }
        }
        let (changed, moves) = shared.numbering.look(&me, &members);
        if changed {
            self.upstreams
                .retain(|incarnation, _| members.iter().any(|member| member.incarnation == *incarnation));
            shared.subs.lock().look_at_all();
            tokio::spawn(hand_over(shared.clone(), moves));
        }
        self.clear_away();
        let said = shared.subs.lock().tick(shared.numbering.now().mono);
        shared.say(said);
        self.drive();
    }

    /// Streams that ended. What was asked of them while they did is asked again.
    fn clear_away(&mut self) {
        if self.here.as_ref().is_some_and(|(.., task)| task.is_finished()) {
            self.here = None;
            self.shared.broken(&None);
        }
        let over = self.upstreams.extract_if(.., |_, upstream| upstream.is_over());
        for (incarnation, _) in over {
            self.shared.broken(&Some(incarnation));
        }
    }

    /// Asks for what is to be asked for, where it is now.
    fn drive(&mut self) {
        let shared = self.shared.clone();
        let dirty = shared.subs.lock().take_dirty();
        let rooms: Vec<(RoomName, Vec<Source>)> = dirty
            .into_iter()
            .map(|room| {
                let sources = shared.numbering.sources(&room);
                (room, sources)
            })
            .collect();
        for source in rooms.iter().flat_map(|(_, sources)| sources) {
            self.reach(source);
        }
        let asks = shared.subs.lock().drive(&rooms, |source| match source {
            None => self.here.is_some(),
            Some(incarnation) => self.upstreams.contains_key(incarnation),
        });
        for (source, asks) in asks {
            match &source {
                None => {
                    if let Some((subscriber, _)) = &self.here {
                        shared.numbering.interest(*subscriber, &asks.join, &asks.leave);
                    }
                }
                Some(incarnation) => {
                    let asked = match self.upstreams.get(incarnation) {
                        Some(upstream) => upstream.ask(asks),
                        None => Err(asks),
                    };
                    if let Err(asks) = asked {
                        shared.subs.lock().unasked(&source, asks);
                    }
                }
            }
        }
        if shared.subs.lock().has_work() {
            shared.wake.notify_one();
        }
    }

    fn reach(&mut self, source: &Source) {
        match source {
            None if self.here.is_none() => {
                let Some((subscriber, flow)) = self.shared.numbering.register() else { return };
                let task = tokio::spawn(hear(self.shared.clone(), subscriber, flow));
                self.here = Some((subscriber, task.abort_handle()));
            }
            Some(incarnation) if !self.upstreams.contains_key(incarnation) => {
                if let Some(member) = self.shared.fleet.member(incarnation) {
                    let upstream = Upstream::open(&self.shared, member);
                    self.upstreams.insert(incarnation.clone(), upstream);
                }
            }
            _ => {}
        }
    }
}

/// What this instance numbers comes to its own homes as from any other.
async fn hear(shared: Arc<Shared>, subscriber: Subscriber, flow: Arc<Flow>) {
    while let Ok(item) = poll_fn(|cx| flow.poll(cx)).await {
        shared.told(&None, item);
        // A busy room does not keep the thread from everything else.
        tokio::task::coop::consume_budget().await;
    }
    shared.numbering.unregister(subscriber);
    shared.broken(&None);
}

impl Shared {
    pub(super) fn told(&self, source: &Source, item: Item) {
        let said = self.subs.lock().told(source, item);
        self.say(said);
    }

    pub(super) fn broken(&self, source: &Source) {
        let said = self.subs.lock().broken(source);
        self.say(said);
    }

    fn say(&self, said: Vec<Said>) {
        for word in said {
            match word {
                Said::Answered(done, answer) => done.complete(answer),
                Said::Arrived(room, at, message) => self.listener.arrived(room, at, message),
                Said::Resumed(room, head) => self.listener.resumed(room, head),
            }
        }
    }
}

/// To each member what is its own, until it has it or is gone. After a lease nobody waits for it.
async fn hand_over(shared: Arc<Shared>, moves: Vec<Move>) {
    let mut handing = JoinSet::new();
    for handed in moves {
        handing.spawn(hand_one_over(shared.clone(), handed));
    }
    while handing.join_next().await.is_some() {}
}

async fn hand_one_over(shared: Arc<Shared>, handed: Move) {
    let until = Instant::now() + limits::LEASE;
    for part in wire::to_parts(&handed) {
        loop {
            if shared.fleet.member(&handed.to).is_none() || Instant::now() >= until {
                return;
            }
            let answer = match shared.call(&handed.to, Rpc::RoomMove(part.clone())) {
                Ok(call) => {
                    let deadline = Instant::now() + limits::ROOM_CALL_DEADLINE;
                    shared.answer(call, &handed.to, deadline).await.map(drop)
                }
                Err(fault) => Err(fault),
            };
            match answer {
                Ok(()) => break,
                Err(fault) => {
                    tracing::debug!(to = %handed.to, %fault, "rooms are handed over once more");
                    sleep(limits::ROOM_RETRY).await;
                }
            }
        }
    }
}

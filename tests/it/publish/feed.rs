//! Upstreams that speak at a rate and note every word of theirs before it leaves; what is sent to
//! them they send back.

use crate::harness::{Client, Peer, Upstream, grpc, ledger::Sent, wait_for, within};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tokio_tungstenite::tungstenite::Message;
use websocket_manager::proto::{SendRawRequest, SendRequest};

/// Much longer than a feed pauses by itself.
const LOOKS: usize = 30;
const TICK: Duration = Duration::from_millis(20);

/// How a feed speaks.
#[derive(Clone, Copy)]
pub struct Pace {
    pub per_tick: usize,
    /// It stops by itself after so many.
    pub at_most: usize,
    /// Added to each message.
    pub padding: usize,
}

impl Pace {
    pub const fn per_second(rate: usize) -> Self {
        Pace { per_tick: rate / 50, at_most: usize::MAX, padding: 0 }
    }

    pub const fn at_most(self, count: usize) -> Self {
        Pace { at_most: count, ..self }
    }

    pub const fn padded(self, padding: usize) -> Self {
        Pace { padding, ..self }
    }
}

/// What all feeds of a test share.
#[derive(Clone, Default)]
pub struct Shared {
    pub sent: Sent,
    said: Arc<AtomicUsize>,
    pings: Arc<AtomicUsize>,
}

#[derive(Default)]
pub struct Feeds {
    pub shared: Shared,
    feeds: Vec<Feed>,
    /// Sockets of connections that are not known yet.
    strangers: Vec<Peer>,
}

struct Feed {
    stop: Arc<AtomicBool>,
    /// It has stopped, or the service has left it.
    silent: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Feeds {
    /// Dials a connection of this name and begins to speak on it.
    pub async fn open(
        &mut self,
        client: &mut Client,
        upstream: &mut Upstream,
        name: &str,
        more: Value,
        pace: Pace,
    ) {
        let mut value = json!({"url": upstream.url(), "connectionId": name});
        value.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        grpc::dial(client, super::request(value)).await;
        let peer = upstream.peer().await;
        self.speak(peer, name, pace);
    }

    /// On one more socket of this connection.
    pub fn speak(&mut self, peer: Peer, name: &str, pace: Pace) {
        let (stop, silent): (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
        let socket = self.shared.sent.socket(name);
        let voice = Voice { name: name.to_owned(), socket, pace, shared: self.shared.clone() };
        let (told, ended) = (stop.clone(), silent.clone());
        let task = tokio::spawn(async move {
            voice.run(peer, &told, &ended).await;
            ended.store(true, SeqCst);
        });
        self.feeds.push(Feed { stop, silent, task });
    }

    pub fn keep(&mut self, peer: Peer) {
        self.strangers.push(peer);
    }

    /// Which connection each kept socket belongs to, a raw Send to that connection tells; then it speaks.
    pub async fn speak_as_told(&mut self, client: &mut Client, names: Vec<String>, pace: Pace) {
        for name in &names {
            let hello = SendRawRequest { id: name.clone(), message: name.clone(), ..Default::default() };
            client.send_raw(hello).await.expect("it is connected");
        }
        for mut peer in std::mem::take(&mut self.strangers) {
            let name = peer.text().await;
            self.speak(peer, &name, pace);
        }
    }

    /// Messages so far, of all of them.
    pub fn said(&self) -> usize {
        self.shared.said.load(SeqCst)
    }

    /// Pings of the service that came.
    pub fn pings(&self) -> usize {
        self.shared.pings.load(SeqCst)
    }

    /// They speak no more; they still listen, so that the service does not miss their pongs.
    pub async fn stop(&mut self) {
        for feed in &self.feeds {
            feed.stop.store(true, SeqCst);
        }
        wait_for("the feeds to stop", async || {
            self.feeds.iter().all(|feed| feed.silent.load(SeqCst)).then_some(())
        })
        .await;
    }

    /// Until the service takes nothing more from them: they say nothing new for many looks.
    pub async fn held_up(&self) {
        let (mut said, mut looks) = (self.said(), 0);
        wait_for("the feeds to be held up", async || {
            looks = if self.said() == said { looks + 1 } else { 0 };
            said = self.said();
            (looks >= LOOKS).then_some(())
        })
        .await;
    }

    /// At once, wherever they are in a message: their sockets are cut.
    pub async fn cut(&mut self) {
        for feed in std::mem::take(&mut self.feeds) {
            feed.task.abort();
            let _ = feed.task.await;
        }
    }
}

struct Voice {
    name: String,
    socket: usize,
    pace: Pace,
    shared: Shared,
}

impl Voice {
    /// None: the service has left it.
    async fn run(self, mut peer: Peer, stop: &AtomicBool, silent: &AtomicBool) -> Option<()> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut count = 0;
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    if stop.load(SeqCst) {
                        silent.store(true, SeqCst);
                        continue;
                    }
                    for _ in 0..self.pace.per_tick.min(self.pace.at_most - count) {
                        count += 1;
                        let text = format!("{} {} {count:07} {}", self.name, self.socket, "x".repeat(self.pace.padding));
                        self.shared.sent.says(&self.name, self.socket, &text);
                        self.shared.said.fetch_add(1, SeqCst);
                        if !peer.try_send(Message::text(text)).await {
                            return None;
                        }
                    }
                }
                heard = peer.next() => match heard? {
                    Message::Ping(_) => drop(self.shared.pings.fetch_add(1, SeqCst)),
                    Message::Close(_) => return None,
                    question @ (Message::Text(_) | Message::Binary(_)) => {
                        let answered = peer.try_send(question).await;
                        answered.then_some(())?;
                    }
                    _ => {}
                },
            }
        }
    }
}

/// A Send on this connection, whose feed answers.
pub async fn ask(client: &mut Client, id: &str, number: usize) {
    let message = json!({"id": number}).to_string();
    let send =
        SendRequest { id: id.to_owned(), message: message.clone(), timeout_ms: 10_000, ..Default::default() };
    let answer = within("the reply", client.send(send)).await;
    let answer = answer.unwrap_or_else(|status| panic!("Send {number} on {id}: {status:?}"));
    assert_eq!(answer.into_inner().response, message);
}

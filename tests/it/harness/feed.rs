//! An upstream that talks by itself. Every connection is named by its path and hears one numbered
//! message after the other until the test says enough; every socket, and what came over it, is
//! written down, and JSON is sent back as its own reply.

use super::{Peer, Upstream, ledger::Sent};
use http::HeaderMap;
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_tungstenite::tungstenite::Message;

/// Between two messages of one connection.
const BEAT: Duration = Duration::from_millis(20);

/// One socket of a connection, as the upstream saw it.
#[derive(Clone, Debug)]
pub struct Socket {
    pub path: String,
    pub headers: HeaderMap,
    pub open: bool,
    /// Texts that came, in their order.
    pub got: Vec<String>,
    /// What came besides: pings, a close frame.
    pub frames: usize,
    /// Another socket of this connection was open when this one opened.
    pub overlaps: bool,
}

#[derive(Clone)]
struct Log {
    sockets: Arc<Mutex<BTreeMap<String, Vec<Socket>>>>,
    sent: Sent,
    talks: watch::Receiver<bool>,
}

pub struct Feed {
    upstream: Upstream,
    log: Log,
    talk: watch::Sender<bool>,
}

impl Feed {
    pub async fn start() -> Self {
        let (talk, talks) = watch::channel(true);
        let log = Log { sockets: Arc::default(), sent: Sent::default(), talks };
        let own = log.clone();
        let upstream = Upstream::handled(move |peer| own.clone().serve(peer)).await;
        Feed { upstream, log, talk }
    }

    /// As above, and says nothing.
    pub async fn silent() -> Self {
        let feed = Feed::start().await;
        feed.hush();
        feed
    }

    pub fn url(&self, name: &str) -> String {
        format!("ws://{}/{name}", self.upstream.address)
    }

    /// From now on nothing is said.
    pub fn hush(&self) {
        self.talk.send_replace(false);
    }

    pub fn sent(&self) -> &Sent {
        &self.log.sent
    }

    /// All sockets of a connection, in the order in which they were opened.
    pub fn sockets(&self, name: &str) -> Vec<Socket> {
        self.log.sockets.lock().get(name).cloned().unwrap_or_default()
    }

    /// Sockets of all connections that are open now.
    pub fn open(&self) -> usize {
        self.log.sockets.lock().values().flatten().filter(|socket| socket.open).count()
    }

    /// Connections that have exactly one open socket.
    pub fn alive(&self) -> Vec<String> {
        let sockets = self.log.sockets.lock();
        let alone = |list: &Vec<Socket>| list.iter().filter(|socket| socket.open).count() == 1;
        sockets.iter().filter(|(_, list)| alone(list)).map(|(name, _)| name.clone()).collect()
    }

    /// Sockets that were opened while another one of their connection still stood.
    pub fn overlaps(&self) -> usize {
        self.log.sockets.lock().values().flatten().filter(|socket| socket.overlaps).count()
    }

    /// Nobody ever had two sockets at once.
    pub fn assert_no_overlap(&self) {
        for (name, sockets) in &*self.log.sockets.lock() {
            let twice = sockets.iter().position(|socket| socket.overlaps);
            assert_eq!(twice, None, "{name} had two open sockets at once");
        }
    }
}

impl Log {
    async fn serve(mut self, mut peer: Peer) {
        let name = peer.path.trim_start_matches('/').split('?').next().unwrap_or_default().to_owned();
        let socket = self.opened(&name, &peer);
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = 0;
        loop {
            let talks = *self.talks.borrow_and_update();
            tokio::select! {
                message = peer.next() => match message {
                    Some(Message::Text(text)) => {
                        self.entry(&name, socket, |it| it.got.push(text.to_string()));
                        // A request by its id: the reply is no message of the feed.
                        if text.starts_with('{') && !peer.try_send(Message::Text(text)).await {
                            break;
                        }
                    }
                    Some(_) => self.entry(&name, socket, |it| it.frames += 1),
                    None => break,
                },
                _ = beat.tick(), if talks => {
                    let text = format!("{name} {socket} {number}");
                    number += 1;
                    self.sent.says(&name, socket, &text);
                    if !peer.try_send(Message::text(text)).await {
                        break;
                    }
                }
                Ok(()) = self.talks.changed() => {}
            }
        }
        self.entry(&name, socket, |socket| socket.open = false);
    }

    fn opened(&self, name: &str, peer: &Peer) -> usize {
        let mut sockets = self.sockets.lock();
        let list = sockets.entry(name.to_owned()).or_default();
        let overlaps = list.iter().any(|socket| socket.open);
        let (path, headers) = (peer.path.clone(), peer.headers.clone());
        list.push(Socket { path, headers, open: true, got: Vec::new(), frames: 0, overlaps });
        self.sent.socket(name)
    }

    fn entry(&self, name: &str, socket: usize, change: impl FnOnce(&mut Socket)) {
        let mut sockets = self.sockets.lock();
        if let Some(socket) = sockets.get_mut(name).and_then(|list| list.get_mut(socket)) {
            change(socket);
        }
    }
}

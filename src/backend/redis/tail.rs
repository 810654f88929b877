//! Waits for news of all topics at whose end somebody is parked, with one blocking read.

use super::{
    fault::Fault,
    link::{Link, Live, Tools},
    values,
};
use redis::{Cmd, Value};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};

/// Topics, and the id behind which there would be news.
pub type Watched = BTreeMap<Arc<str>, String>;

/// One blocking read. It is also how late a newly parked topic is seen where the server does not
/// let us unblock the read.
const BLOCK: Duration = Duration::from_millis(250);
/// After an error, before the next read.
const PAUSE: Duration = Duration::from_millis(100);

struct Tail {
    tools: Arc<Tools>,
    link: Link,
    /// Another connection, to unblock this one.
    other: Link,
    watched: watch::Receiver<Watched>,
    news: mpsc::Sender<Vec<Arc<str>>>,
}

pub async fn run(
    tools: Arc<Tools>,
    other: Link,
    watched: watch::Receiver<Watched>,
    news: mpsc::Sender<Vec<Arc<str>>>,
) {
    let link = Link::start(&tools, "waiting for events", BLOCK);
    let mut tail = Tail { tools, link, other, watched, news };
    let mut known = 0;
    let mut id = None;
    loop {
        let mut live = tail.link.ready().await;
        if live.generation != known {
            known = live.generation;
            id = tail.connection_id(&mut live).await;
            // Whatever happened meanwhile.
            let all = tail.watched.borrow().keys().cloned().collect();
            if tail.news.send(all).await.is_err() {
                return;
            }
        }
        let watched = tail.watched.borrow_and_update().clone();
        if watched.is_empty() {
            tokio::select! {
                changed = tail.watched.changed() => if changed.is_err() { return },
                () = tail.link.changed() => {}
            }
            continue;
        }
        let topics = match tail.read(&mut live, &watched, id).await {
            Ok(topics) => topics,
            Err(fault) => {
                if fault.of_connection {
                    tail.link.report(live.generation, &fault.why);
                }
                sleep(PAUSE).await;
                // One of them may be no stream: each reader hears what is wrong with its own.
                watched.into_keys().collect()
            }
        };
        if !topics.is_empty() && tail.news.send(topics).await.is_err() {
            return;
        }
    }
}

impl Tail {
    async fn connection_id(&self, live: &mut Live) -> Option<u64> {
        let mut ask = redis::cmd("CLIENT");
        ask.arg("ID");
        let asked = timeout(self.tools.settings.command_timeout, live.call(&ask));
        // Not everywhere allowed, and not needed.
        values::number(asked.await.ok()?.ok().as_ref())
    }

    /// Topics with news; none when the time is over or others are to be watched.
    async fn read(
        &mut self,
        live: &mut Live,
        watched: &Watched,
        id: Option<u64>,
    ) -> Result<Vec<Arc<str>>, Fault> {
        let settings = &self.tools.settings;
        let command = command(watched);
        let reading = timeout(settings.command_timeout + BLOCK, live.call(&command));
        tokio::pin!(reading);
        let answer = tokio::select! {
            answer = &mut reading => answer,
            _ = self.watched.changed() => {
                if let Some(id) = id {
                    let mut unblock = redis::cmd("CLIENT");
                    unblock.arg("UNBLOCK").arg(id);
                    // Where it is not allowed, the read ends a little later by itself.
                    let until = Instant::now() + settings.command_timeout;
                    let _ = self.other.command(&unblock, until).await;
                }
                reading.await
            }
        };
        let answer = answer.map_err(|_| Fault::hangs(settings))?;
        let answer = answer.map_err(|error| Fault::of(settings, &error))?;
        Ok(topics(&answer, watched))
    }
}

fn command(watched: &Watched) -> Cmd {
    let mut command = redis::cmd("XREAD");
    // The events themselves are read by who wants them.
    command.arg("COUNT").arg(1).arg("BLOCK").arg(BLOCK.as_millis() as u64).arg("STREAMS");
    for topic in watched.keys() {
        command.arg(&**topic);
    }
    for id in watched.values() {
        command.arg(id);
    }
    command
}

fn topics(answer: &Value, watched: &Watched) -> Vec<Arc<str>> {
    let streams = values::list(Some(answer)).unwrap_or_default();
    let names = streams.iter().filter_map(|stream| values::text(values::list(Some(stream))?.first()));
    names.filter_map(|name| watched.get_key_value(name).map(|(topic, _)| topic.clone())).collect()
}

//! Following all instances as one: a filter, a topic, or the lifecycle events. Each has a task that
//! reads it, and tries again when that breaks; instances join and leave meanwhile.

use super::{
    Peers,
    follow::{Followable, is_passing},
    places::{At, Places, key_of},
};
use crate::{
    api::{
        follow::{self, Opened},
        service::{Caller, Flow},
    },
    core::reason::{Fault, FaultKind},
    limits,
    ports::Member,
    wire::cursor::CursorKind,
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::sleep,
};

/// An item of one instance, or why nothing more can come.
type Event<T> = (u64, Result<T, Fault>);

impl Peers {
    /// Fails when one of the instances cannot be followed now: what begins is complete.
    pub(super) async fn fan_in<T>(
        self: &Arc<Self>,
        caller: &Caller,
        request: T::Request,
        of: CursorKind,
    ) -> Result<Flow<T>, Fault>
    where
        T: Followable,
        T::Request: Begins,
    {
        let mut places = match request.begins() {
            (_, cursor) if !cursor.is_empty() => {
                if request.begins().0 {
                    return Err(Fault::invalid("cursor", "must be empty when from_start is set"));
                }
                Places::resume(of, cursor)?
            }
            (true, _) => Places::begin(of, At::Start),
            (false, _) => Places::begin(of, At::Now),
        };
        let here = key_of(&self.fleet().directory.me());
        let at = places.join(here);
        let opened = T::here(self.local(), caller, T::at(&request, &at)).await?;
        if let Some(cursor) = &opened.cursor {
            places.set(here, cursor);
        }
        let mut sources = vec![Source { key: here, member: None, at, opened: Some(opened) }];
        sources.extend(self.open_members(caller, &request, &mut places).await?);
        let misses = places.misses();
        places.begun();
        let fan = Fan { peers: self.clone(), caller: caller.clone(), request, places };
        let readiness = self.local().readiness().clone();
        Ok(follow::run(readiness, move |sender| Box::pin(fan.run(sources, misses, sender))))
    }

    async fn open_members<T: Followable>(
        self: &Arc<Self>,
        caller: &Caller,
        request: &T::Request,
        places: &mut Places,
    ) -> Result<Vec<Source<T>>, Fault> {
        let mut opening = JoinSet::new();
        for member in self.fleet().directory.members().iter().cloned() {
            let key = key_of(&member.incarnation);
            let at = places.join(key);
            let asked = T::at(request, &at);
            let (peers, caller) = (self.clone(), caller.clone());
            opening.spawn(async move {
                let opened = peers.open_at::<T>(&member, &caller, asked).await;
                (key, member, at, opened)
            });
        }
        let mut sources = Vec::new();
        while let Some(opened) = opening.join_next().await {
            let (key, member, at, opened) =
                opened.map_err(|_| Fault::new(FaultKind::Internal, "following failed"))?;
            match opened {
                Ok(opened) => {
                    if let Some(cursor) = &opened.cursor {
                        places.set(key, cursor);
                    }
                    sources.push(Source { key, member: Some(member), at, opened: Some(opened) });
                }
                // Its lease ended meanwhile.
                Err(_) if self.fleet().member(&member.incarnation).is_none() => places.leave(key),
                Err(fault) if fault.kind == FaultKind::NotSent => {
                    return Err(Fault::new(FaultKind::Unavailable, fault.message));
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(sources)
    }
}

/// Where a request says to begin: (from the start, cursor).
pub trait Begins {
    fn begins(&self) -> (bool, &str);
}

impl Begins for crate::proto::ReceiveRequest {
    fn begins(&self) -> (bool, &str) {
        (self.from_start, &self.cursor)
    }
}

impl Begins for crate::proto::WatchRequest {
    fn begins(&self) -> (bool, &str) {
        (false, &self.cursor)
    }
}

/// One instance that is followed; without a member it is this one.
struct Source<T> {
    key: u64,
    member: Option<Member>,
    at: At,
    opened: Option<Opened<T>>,
}

impl<T: Followable> Source<T> {
    async fn read(
        mut self,
        peers: Arc<Peers>,
        caller: Caller,
        request: T::Request,
        events: mpsc::Sender<Event<T>>,
    ) {
        let mut pause = limits::PEER_FOLLOW_RETRY_BASE;
        loop {
            let opened = match self.opened.take() {
                Some(opened) => Ok(opened),
                None => open(&peers, &caller, self.member.as_ref(), T::at(&request, &self.at)).await,
            };
            let ended = match opened {
                Ok(opened) => self.relay(opened, &events, &mut pause).await,
                Err(fault) => Some(fault),
            };
            if let Some(fault) = ended
                && (self.member.is_none() || !is_passing(&fault))
            {
                // Nobody listens: then nobody needs it.
                let _ = events.send((self.key, Err(fault))).await;
                return;
            }
            if events.is_closed() {
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(limits::PEER_FOLLOW_RETRY_MAX);
        }
    }

    /// Why it ended; None: without a word.
    async fn relay(
        &mut self,
        opened: Opened<T>,
        events: &mpsc::Sender<Event<T>>,
        pause: &mut std::time::Duration,
    ) -> Option<Fault> {
        if let Some(cursor) = opened.cursor {
            self.at = At::After(cursor);
        }
        let mut flow = opened.flow;
        while let Some(item) = std::future::poll_fn(|cx| flow.as_mut().poll_next(cx)).await {
            let mut item = match item {
                Ok(item) => item,
                Err(fault) => return Some(fault),
            };
            self.at = At::After(item.cursor().clone());
            *pause = limits::PEER_FOLLOW_RETRY_BASE;
            if events.send((self.key, Ok(item))).await.is_err() {
                return None;
            }
        }
        None
    }
}

async fn open<T: Followable>(
    peers: &Arc<Peers>,
    caller: &Caller,
    member: Option<&Member>,
    request: T::Request,
) -> Result<Opened<T>, Fault> {
    match member {
        Some(member) => peers.open_at(member, caller, request).await,
        None => T::here(peers.local(), caller, request).await,
    }
}

struct Fan<T: Followable> {
    peers: Arc<Peers>,
    caller: Caller,
    request: T::Request,
    places: Places,
}

impl<T: Followable> Fan<T> {
    async fn run(
        mut self,
        sources: Vec<Source<T>>,
        misses: bool,
        sender: follow::Sender<T>,
    ) -> Result<(), Fault> {
        let (events, mut coming) = mpsc::channel(follow::AHEAD);
        let mut tasks = JoinSet::new();
        let mut readers = BTreeMap::new();
        if misses {
            self.tell_gap(&sender).await?;
        }
        for source in sources {
            self.start(source, &mut tasks, &mut readers, &events);
        }
        let mut look = tokio::time::interval(limits::PEER_MEMBERS_INTERVAL);
        loop {
            tokio::select! {
                Some((key, item)) = coming.recv() => {
                    let mut item = item?;
                    self.places.set(key, item.cursor());
                    *item.cursor() = self.places.cursor();
                    follow::push(&sender, item).await?;
                }
                _ = look.tick() => {
                    if self.look_around(&mut tasks, &mut readers, &events) {
                        self.tell_gap(&sender).await?;
                    }
                }
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            }
        }
    }

    fn start(
        &self,
        source: Source<T>,
        tasks: &mut JoinSet<()>,
        readers: &mut BTreeMap<u64, (AbortHandle, bool)>,
        events: &mpsc::Sender<Event<T>>,
    ) {
        let (key, here) = (source.key, source.member.is_none());
        let (peers, caller, request) = (self.peers.clone(), self.caller.clone(), self.request.clone());
        let handle = tasks.spawn(source.read(peers, caller, request, events.clone()));
        readers.insert(key, (handle, here));
    }

    /// True when somebody left: what it had not told yet is lost to this follower.
    fn look_around(
        &mut self,
        tasks: &mut JoinSet<()>,
        readers: &mut BTreeMap<u64, (AbortHandle, bool)>,
        events: &mpsc::Sender<Event<T>>,
    ) -> bool {
        let members = self.peers.fleet().directory.members();
        let there: BTreeMap<u64, &Member> =
            members.iter().map(|member| (key_of(&member.incarnation), member)).collect();
        let gone: Vec<u64> = readers
            .iter()
            .filter(|(key, (_, here))| !here && !there.contains_key(key))
            .map(|(key, _)| *key)
            .collect();
        for key in &gone {
            if let Some((handle, _)) = readers.remove(key) {
                handle.abort();
            }
            self.places.leave(*key);
        }
        for (key, member) in there {
            if !readers.contains_key(&key) {
                let at = self.places.join(key);
                let source = Source { key, member: Some(member.clone()), at, opened: None };
                self.start(source, tasks, readers, events);
            }
        }
        !gone.is_empty()
    }

    async fn tell_gap(&self, sender: &follow::Sender<T>) -> Result<(), Fault> {
        match T::gap(self.places.cursor()) {
            Some(gap) => follow::push(sender, gap).await,
            None => Ok(()),
        }
    }
}

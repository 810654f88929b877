//! One thread's stream of calls to one member. What is known of each call decides what its caller
//! is told when the stream breaks: one that was never handed to it provably did nothing.

use super::{
    Fleet, channel,
    fault::{from_proto, not_sent},
    hello::{self, Side},
};
use crate::{
    core::reason::{Fault, FaultKind},
    limits,
    ports::Member,
    proto::fleet::{Call, Cancel, Hello, Reply, call::Rpc, peers_client::PeersClient, reply::Outcome},
};
use futures_core::Stream;
use parking_lot::Mutex;
use prost::Message;
use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

/// How a call ended.
#[derive(Debug)]
pub enum Ended {
    Answered(Box<Outcome>),
    /// In the owner's own words.
    Refused(Fault),
    /// It was surely never handed to the stream.
    NotSent(String),
    /// The stream broke, and nobody knows.
    Broken(String),
}

#[derive(Debug, PartialEq)]
enum Phase {
    /// The greeting is to be sent, or under way: no call is handed over.
    Opening,
    Open,
    Closed,
}

struct Waiting {
    answer: oneshot::Sender<Ended>,
    handed: bool,
    bytes: usize,
}

struct State {
    phase: Phase,
    hello: Option<Hello>,
    /// Why it closed, and when if it never opened.
    why: String,
    failed: Option<Instant>,
    next: u64,
    queue: VecDeque<Call>,
    waiting: BTreeMap<u64, Waiting>,
    bytes: usize,
    waker: Option<Waker>,
}

/// One for each member that was called by this thread.
pub struct Links {
    fleet: Arc<Fleet>,
    links: Mutex<BTreeMap<Arc<str>, Arc<Link>>>,
}

impl Links {
    pub fn new(fleet: Arc<Fleet>) -> Self {
        Links { fleet, links: Mutex::default() }
    }

    /// Each is opened anew when it is needed.
    pub fn close(&self) {
        self.links.lock().clear();
    }

    pub fn to(&self, member: &Member) -> Arc<Link> {
        let mut links = self.links.lock();
        if let Some(link) = links.get(&member.incarnation)
            && !link.is_over()
        {
            return link.clone();
        }
        // A rare moment, and the right one to let go of those that left.
        let members = self.fleet.directory.members();
        links.retain(|known, _| members.iter().any(|member| member.incarnation == *known));
        let link = Arc::new(Link::open(self.fleet.clone(), member.clone()));
        links.insert(member.incarnation.clone(), link.clone());
        link
    }
}

pub struct Link(Arc<Mutex<State>>);

impl Link {
    /// Opens in the background; calls wait meanwhile.
    pub fn open(fleet: Arc<Fleet>, member: Member) -> Self {
        let me = fleet.directory.me();
        let hello = hello::greet(&fleet.key, Side::Caller, &me, &member.incarnation, None);
        let state = Arc::new(Mutex::new(State {
            phase: Phase::Opening,
            hello: Some(hello.clone()),
            why: String::new(),
            failed: None,
            next: 0,
            queue: VecDeque::new(),
            waiting: BTreeMap::new(),
            bytes: 0,
            waker: None,
        }));
        tokio::spawn(drive(state.clone(), fleet, member, hello));
        Link(state)
    }

    /// Of no more use; a new one may be opened.
    pub fn is_over(&self) -> bool {
        let state = self.0.lock();
        state.phase == Phase::Closed && state.failed.is_none_or(|at| at.elapsed() > limits::PEER_RETRY_PAUSE)
    }

    /// Hands a call over as soon as the stream takes it. Dropping it cancels it.
    pub fn start(&self, mut call: Call) -> Result<Calling, Fault> {
        let bytes = call.encoded_len();
        if bytes > limits::PEER_CALL_BYTES_MAX {
            return Err(Fault::full("the request is too large to be passed on", Duration::ZERO));
        }
        let (answer, receiver) = oneshot::channel();
        let mut state = self.0.lock();
        if state.phase == Phase::Closed {
            return Err(not_sent(state.why.clone()));
        }
        if state.waiting.len() >= limits::PEER_CALLS_MAX || state.bytes + bytes > limits::PEER_BYTES_MAX {
            return Err(Fault::full("too many calls are under way to the owner", Duration::from_millis(50)));
        }
        state.next += 1;
        let number = state.next;
        call.number = number;
        state.bytes += bytes;
        state.waiting.insert(number, Waiting { answer, handed: false, bytes });
        state.queue.push_back(call);
        let waker = state.waker.take();
        drop(state);
        wake(waker);
        Ok(Calling { number, answer: receiver, link: self.0.clone(), over: false })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        close(&self.0, "the member has left the fleet", false);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn close(state: &Mutex<State>, why: &str, failed: bool) {
    let (waiting, waker) = {
        let mut state = state.lock();
        if state.phase == Phase::Closed {
            return;
        }
        state.phase = Phase::Closed;
        state.why = why.to_owned();
        state.failed = failed.then(Instant::now);
        state.queue.clear();
        state.bytes = 0;
        (std::mem::take(&mut state.waiting), state.waker.take())
    };
    wake(waker);
    for (_, call) in waiting {
        let ended = if call.handed { Ended::Broken(why.to_owned()) } else { Ended::NotSent(why.to_owned()) };
        // A caller that went away has nothing to hear.
        let _ = call.answer.send(ended);
    }
}

/// A call under way.
pub struct Calling {
    number: u64,
    answer: oneshot::Receiver<Ended>,
    link: Arc<Mutex<State>>,
    over: bool,
}

impl Future for Calling {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let ended = std::task::ready!(Pin::new(&mut self.answer).poll(cx));
        self.over = true;
        Poll::Ready(ended.unwrap_or_else(|_| Ended::Broken("the stream to the owner ended".to_owned())))
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut state = self.link.lock();
        let Some(call) = state.waiting.remove(&self.number) else { return };
        state.bytes -= call.bytes;
        if call.handed {
            let cancel =
                Call { number: self.number, rpc: Some(Rpc::Cancel(Cancel {})), ..Default::default() };
            state.queue.push_back(cancel);
        } else {
            state.queue.retain(|waits| waits.number != self.number);
        }
        let waker = state.waker.take();
        drop(state);
        wake(waker);
    }
}

/// What the transport takes from the queue is handed over; nothing else is.
struct Outgoing(Arc<Mutex<State>>);

impl Stream for Outgoing {
    type Item = Call;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Call>> {
        let mut state = self.0.lock();
        if state.phase == Phase::Closed {
            return Poll::Ready(None);
        }
        if let Some(hello) = state.hello.take() {
            return Poll::Ready(Some(Call { rpc: Some(Rpc::Hello(hello)), ..Default::default() }));
        }
        if state.phase == Phase::Open
            && let Some(call) = state.queue.pop_front()
        {
            if let Some(waiting) = state.waiting.get_mut(&call.number) {
                waiting.handed = true;
            }
            return Poll::Ready(Some(call));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

async fn drive(state: Arc<Mutex<State>>, fleet: Arc<Fleet>, member: Member, hello: Hello) {
    let opening = open(&state, &fleet, &member, &hello);
    let replies = match timeout(limits::PEER_OPEN_TIMEOUT, opening).await {
        Ok(Ok(replies)) => replies,
        Ok(Err(why)) => return close(&state, &why, true),
        Err(_) => {
            let why = format!("instance {} at {} does not answer", member.instance, member.address);
            return close(&state, &why, true);
        }
    };
    fleet.counters.streams_opened.add();
    let why = read(&state, &fleet, &member, replies).await;
    fleet.counters.streams_closed.add();
    close(&state, &why, false);
}

type Replies = tonic::Streaming<Reply>;

async fn open(
    state: &Arc<Mutex<State>>,
    fleet: &Fleet,
    member: &Member,
    hello: &Hello,
) -> Result<Replies, String> {
    let channel = channel::connect(member, &fleet.tls).await?;
    let mut client = PeersClient::new(channel).max_decoding_message_size(limits::ANSWER_BYTES_MAX);
    let refused = |why: &str| {
        fleet.counters.hellos_refused.add();
        format!("instance {} at {} is not who it should be: {why}", member.instance, member.address)
    };
    let mut replies = match client.calls(Outgoing(state.clone())).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return Err(refused(status.message())),
    };
    match replies.message().await {
        Ok(Some(Reply { outcome: Some(Outcome::Hello(answer)), .. })) => {
            greeted(fleet, hello, &answer, member).map_err(|why| refused(&why))?;
        }
        Ok(_) => return Err(refused("it did not greet")),
        Err(status) => return Err(refused(status.message())),
    }
    let waker = {
        let mut state = state.lock();
        if state.phase == Phase::Closed {
            return Err(state.why.clone());
        }
        state.phase = Phase::Open;
        state.waker.take()
    };
    wake(waker);
    Ok(replies)
}

/// The answer must come from the very run that was meant, and answer our greeting.
pub fn greeted(fleet: &Fleet, ours: &Hello, answer: &Hello, member: &Member) -> Result<(), String> {
    if *answer.from != *member.incarnation {
        return Err(format!("it is '{}'", answer.from));
    }
    if answer.nonce != ours.nonce {
        return Err("it answers another greeting".to_owned());
    }
    match hello::check(&fleet.key, Side::Called, answer, &ours.from)? {
        hello::Trust::Full => Ok(()),
        hello::Trust::Client => Err("it does not prove that it belongs to the fleet".to_owned()),
    }
}

/// Until the stream breaks, or the member has left and nothing is under way.
async fn read(state: &Arc<Mutex<State>>, fleet: &Fleet, member: &Member, mut replies: Replies) -> String {
    let mut look = tokio::time::interval(limits::PEER_MEMBERS_INTERVAL);
    loop {
        tokio::select! {
            reply = replies.message() => match reply {
                Ok(Some(reply)) => answered(state, reply),
                Ok(None) => return format!("instance {} ended the stream", member.instance),
                Err(status) => {
                    return format!("the stream to instance {} broke: {}", member.instance, status.message());
                }
            },
            _ = look.tick() => {
                let idle = { let state = state.lock(); state.waiting.is_empty() || state.phase == Phase::Closed };
                if idle && fleet.member(&member.incarnation).is_none() {
                    return format!("instance {} has left the fleet", member.instance);
                }
            }
        }
    }
}

fn answered(state: &Mutex<State>, reply: Reply) {
    let waiting = {
        let mut state = state.lock();
        let Some(waiting) = state.waiting.remove(&reply.number) else { return };
        state.bytes -= waiting.bytes;
        waiting
    };
    let ended = match reply.outcome {
        Some(Outcome::Fault(fault)) => Ended::Refused(from_proto(fault)),
        Some(outcome) => Ended::Answered(Box::new(outcome)),
        None => Ended::Refused(Fault::new(FaultKind::Internal, "the owner gave no answer that we know")),
    };
    // A caller that went away has nothing to hear.
    let _ = waiting.answer.send(ended);
}

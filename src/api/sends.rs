//! Many Sends on one call: each is handed to its shard as it comes, and answered as its reply
//! comes, in any order.

use super::{
    peers::Peers,
    service::{Caller, send_command},
    status,
    validate::Defaults,
};
use crate::{
    core::{
        correlation::Kind,
        counters::SendEnd,
        id::ConnectionId,
        io::{Answer, Command, Context, Outcome},
        reason::{Certainty, Fault, FaultKind},
    },
    limits,
    proto::{SendCertainty, SendOutcome, SendRequest, SendResponse, SendResult},
    shard::mailbox::{Calls, Hub},
    wire::event,
};
use futures_core::Stream;
use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};
use tokio::task::JoinSet;

type Requests = Pin<Box<dyn Stream<Item = SendRequest> + Send>>;

pub struct Sends {
    hub: Hub,
    context: Context,
    defaults: Defaults,
    /// None when they ended.
    requests: Option<Requests>,
    calls: Calls,
    /// Answered without a shard: refused before.
    refused: VecDeque<(u64, u64, Fault)>,
    /// Tags of what is under way, by number; a tag need not be unique.
    tags: VecDeque<u64>,
    first: u64,
    next: u64,
    /// In a fleet.
    among: Option<Among>,
}

/// Sends that go to other instances.
struct Among {
    peers: Arc<Peers>,
    caller: Caller,
    /// Given to a shard here, which may say that it is elsewhere.
    kept: BTreeMap<u64, SendRequest>,
    routed: JoinSet<(u64, Result<SendResponse, Fault>)>,
}

impl Among {
    /// True when it went to the member that had it the last time.
    fn went(&mut self, number: u64, request: &SendRequest) -> bool {
        let known = ConnectionId::parse(&request.id).is_ok_and(|id| self.peers.remembered(&id).is_some());
        if known {
            self.route(number, request.clone(), false);
        } else {
            self.kept.insert(number, request.clone());
        }
        known
    }

    fn route(&mut self, number: u64, request: SendRequest, absent: bool) {
        let (peers, caller) = (self.peers.clone(), self.caller.clone());
        self.routed.spawn(async move {
            let routing =
                if absent { peers.route_absent(&caller, request) } else { peers.route(&caller, request) };
            (number, routing.await)
        });
    }
}

impl Sends {
    pub fn of_stream(hub: Hub, context: Context, defaults: Defaults, requests: Requests) -> Self {
        let calls = hub.calls(limits::SENDS_PER_STREAM);
        Sends {
            hub,
            context,
            defaults,
            requests: Some(requests),
            calls,
            refused: VecDeque::new(),
            tags: VecDeque::new(),
            first: 0,
            next: 0,
            among: None,
        }
    }

    /// Each goes to where its connection lives.
    pub fn among(&mut self, peers: Arc<Peers>, caller: Caller) {
        self.among = Some(Among { peers, caller, kept: BTreeMap::new(), routed: JoinSet::new() });
    }

    fn routed(&self) -> usize {
        self.among.as_ref().map_or(0, |among| among.routed.len())
    }

    pub fn of_list(hub: Hub, context: Context, defaults: Defaults, requests: Vec<SendRequest>) -> Self {
        Self::of_stream(hub, context, defaults, Box::pin(Listed(requests.into_iter())))
    }

    /// All results, in the order of the requests.
    pub async fn in_order(mut self) -> Vec<SendResult> {
        let mut results: Vec<(u64, SendResult)> = Vec::new();
        while let Some(result) = std::future::poll_fn(|cx| self.poll_result(cx)).await {
            results.push(result);
        }
        results.sort_unstable_by_key(|(number, _)| *number);
        results.into_iter().map(|(_, result)| result).collect()
    }

    fn accept(&mut self, request: SendRequest) {
        let (number, tag) = (self.next, request.tag);
        self.next += 1;
        if let Some(among) = &mut self.among
            && among.went(number, &request)
        {
            self.tags.push_back(tag);
            return;
        }
        let started = send_command(request, &self.defaults).and_then(|send| {
            let shard = self.hub.owner(&send.id);
            self.calls.start(shard, self.context.clone(), Command::Send(send), number)
        });
        self.tags.push_back(tag);
        if let Err(fault) = started {
            if let Some(among) = &mut self.among {
                among.kept.remove(&number);
            }
            self.refused.push_back((number, tag, fault));
        }
    }

    /// Takes what has come, as far as there is room, before it looks for answers.
    fn poll_requests(&mut self, cx: &mut TaskContext<'_>) {
        while self.calls.has_room()
            && self.routed() < limits::SENDS_PER_STREAM
            && self.refused.len() < limits::SENDS_PER_STREAM
        {
            let Some(requests) = &mut self.requests else { return };
            match requests.as_mut().poll_next(cx) {
                Poll::Ready(Some(request)) => self.accept(request),
                Poll::Ready(None) => self.requests = None,
                Poll::Pending => return,
            }
        }
    }

    fn poll_result(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<(u64, SendResult)>> {
        self.poll_requests(cx);
        if let Some((number, tag, fault)) = self.refused.pop_front() {
            self.forget_tags();
            return Poll::Ready(Some((number, result(tag, Err(fault)))));
        }
        while let Poll::Ready((number, outcome)) = self.calls.poll_answer(cx) {
            if self.is_elsewhere(number, &outcome) {
                continue;
            }
            let tag = self.tag(number);
            self.forget_tags();
            return Poll::Ready(Some((number, result(tag, outcome.and_then(response)))));
        }
        if let Some((number, answer)) = self.poll_routed(cx) {
            let tag = self.tag(number);
            self.forget_tags();
            return Poll::Ready(Some((number, result(tag, answer))));
        }
        let idle = self.calls.in_flight() == 0 && self.routed() == 0;
        if self.requests.is_none() && idle { Poll::Ready(None) } else { Poll::Pending }
    }

    /// The shard does not have it: the fleet is asked.
    fn is_elsewhere(&mut self, number: u64, outcome: &Outcome) -> bool {
        let Some(among) = &mut self.among else { return false };
        let request = among.kept.remove(&number);
        let absent = matches!(outcome, Err(fault) if fault.kind == FaultKind::NotFound);
        match request.filter(|_| absent) {
            Some(request) => {
                among.route(number, request, true);
                true
            }
            None => false,
        }
    }

    fn poll_routed(&mut self, cx: &mut TaskContext<'_>) -> Option<(u64, Result<SendResponse, Fault>)> {
        let among = self.among.as_mut()?;
        while let Poll::Ready(Some(ended)) = among.routed.poll_join_next(cx) {
            match ended {
                Ok(answer) => return Some(answer),
                Err(error) => tracing::error!(%error, "a forwarded Send failed"),
            }
        }
        None
    }

    fn tag(&self, number: u64) -> u64 {
        self.tags.get((number - self.first) as usize).copied().unwrap_or(0)
    }

    /// When nothing is under way no tag is needed any more.
    fn forget_tags(&mut self) {
        if self.calls.in_flight() == 0 && self.refused.is_empty() && self.routed() == 0 {
            self.first = self.next;
            self.tags.clear();
        }
    }
}

impl Stream for Sends {
    type Item = SendResult;

    fn poll_next(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<SendResult>> {
        self.get_mut().poll_result(cx).map(|result| result.map(|(_, result)| result))
    }
}

struct Listed(std::vec::IntoIter<SendRequest>);

impl Stream for Listed {
    type Item = SendRequest;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Option<SendRequest>> {
        Poll::Ready(self.0.next())
    }
}

pub fn response(answer: Answer) -> Result<SendResponse, Fault> {
    let Answer::Replied { payload, kind } = answer else {
        return Err(Fault::new(FaultKind::Internal, "an answer of another kind"));
    };
    Ok(match kind {
        Kind::Text => SendResponse {
            // A text frame was checked when it was read; the bytes are moved, not copied.
            response: String::from_utf8(payload.into()).unwrap_or_default(),
            content_type: event::CONTENT_TEXT.to_owned(),
            ..Default::default()
        },
        Kind::Binary => SendResponse {
            data: payload,
            content_type: event::CONTENT_BINARY.to_owned(),
            ..Default::default()
        },
    })
}

fn result(tag: u64, answer: Result<SendResponse, Fault>) -> SendResult {
    match answer {
        Ok(response) => SendResult {
            tag,
            response: Some(response),
            outcome: SendOutcome::Replied.into(),
            certainty: SendCertainty::MaybeSent.into(),
            ..Default::default()
        },
        Err(fault) => SendResult {
            tag,
            code: status::row(fault.kind).grpc as i32,
            message: status::message(&fault),
            response: None,
            outcome: match SendEnd::of(fault.kind) {
                SendEnd::Replied => SendOutcome::Replied,
                SendEnd::TimedOut => SendOutcome::TimedOut,
                SendEnd::Lost => SendOutcome::Lost,
                SendEnd::Rejected => SendOutcome::Rejected,
                SendEnd::Cancelled => SendOutcome::Cancelled,
            }
            .into(),
            certainty: match fault.certainty {
                Some(Certainty::MaybeSent) => SendCertainty::MaybeSent,
                // What was refused was not sent.
                Some(Certainty::NotSent) | None => SendCertainty::NotSent,
            }
            .into(),
        },
    }
}

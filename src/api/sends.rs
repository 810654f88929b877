//! Many Sends on one call: each is handed to its shard as it comes, and answered as its reply
//! comes, in any order.

use super::{service::send_command, status, validate::Defaults};
use crate::{
    core::{
        correlation::Kind,
        counters::SendEnd,
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
    collections::VecDeque,
    pin::Pin,
    task::{Context as TaskContext, Poll},
};

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
        }
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
        let started = send_command(request, &self.defaults).and_then(|send| {
            let shard = self.hub.owner(&send.id);
            self.calls.start(shard, self.context.clone(), Command::Send(send), number)
        });
        self.tags.push_back(tag);
        if let Err(fault) = started {
            self.refused.push_back((number, tag, fault));
        }
    }

    /// Takes what has come, as far as there is room, before it looks for answers.
    fn poll_requests(&mut self, cx: &mut TaskContext<'_>) {
        while self.calls.has_room() && self.refused.len() < limits::SENDS_PER_STREAM {
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
        if let Poll::Ready((number, outcome)) = self.calls.poll_answer(cx) {
            let tag = self.tag(number);
            self.forget_tags();
            return Poll::Ready(Some((number, result(tag, outcome))));
        }
        if self.requests.is_none() && self.calls.in_flight() == 0 { Poll::Ready(None) } else { Poll::Pending }
    }

    fn tag(&self, number: u64) -> u64 {
        self.tags.get((number - self.first) as usize).copied().unwrap_or(0)
    }

    /// When nothing is under way no tag is needed any more.
    fn forget_tags(&mut self) {
        if self.calls.in_flight() == 0 && self.refused.is_empty() {
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

fn result(tag: u64, outcome: Outcome) -> SendResult {
    match outcome.and_then(response) {
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

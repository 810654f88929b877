//! Spans to an OpenTelemetry collector: OTLP over gRPC, in batches, from a thread of its own. Nobody waits
//! for it. A batch that the collector does not take is counted and forgotten: traces are no messages.

mod wire;

use crate::{
    limits,
    ports::spans::{Span, SpanOutcome, Spans},
};
use std::{
    io,
    thread::{self, JoinHandle},
};
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};
use tonic::{
    Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use wire::{ExportRequest, ExportResponse, PartialSuccess, Resource, ResourceSpans, Scope, ScopeSpans};

#[cfg(test)]
mod tests;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const NAME: &str = "websocket-manager";

pub struct OtlpConfig {
    /// `http://host:port`.
    pub endpoint: String,
    /// Of traces that begin here, one in this many is kept.
    pub one_in: u64,
    pub instance: String,
}

/// The running thread.
pub struct Exporter {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// The collector need not be there.
pub fn start(config: OtlpConfig) -> io::Result<(Spans, Exporter)> {
    let (spans, queue) = Spans::open(limits::SPANS_WAITING_MAX, config.one_in);
    let endpoint = Endpoint::from_shared(config.endpoint.clone()).map_err(io::Error::other)?;
    let (stop, stopped) = oneshot::channel();
    let counted = spans.clone();
    let thread = thread::Builder::new().name("otlp".into()).spawn(move || {
        let Ok(runtime) = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
        else {
            return tracing::error!("traces are off: their thread cannot run");
        };
        runtime.block_on(async move {
            let channel = endpoint.connect_timeout(limits::SPANS_EXPORT_TIMEOUT).connect_lazy();
            let resource = resource(&config.instance);
            let collector =
                Collector { channel, endpoint: config.endpoint, resource, away: false, rejects: false };
            collector.run(queue, Close { told: stopped, by: None }, &counted).await;
        });
    })?;
    Ok((spans, Exporter { stop, thread }))
}

impl Exporter {
    /// What still waits is sent, if the collector takes it at once: it has `SPANS_CLOSE_TIMEOUT` for all.
    pub fn close(self) {
        // The thread has ended: then nothing waits.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the thread of traces failed");
        }
    }
}

fn resource(instance: &str) -> Resource {
    Resource {
        attributes: vec![
            wire::text("service.name", NAME),
            wire::text("service.instance.id", instance),
            wire::text("service.version", env!("CARGO_PKG_VERSION")),
        ],
    }
}

struct Collector {
    channel: Channel,
    endpoint: String,
    resource: Resource,
    /// The last batch was not taken: said once.
    away: bool,
    /// Of the last batch that was taken something was not: said once.
    rejects: bool,
}

/// The end, once it was told.
struct Close {
    told: oneshot::Receiver<()>,
    /// By then all is over.
    by: Option<Instant>,
}

impl Close {
    /// Returns when it was told, and at once from then on.
    async fn told(&mut self) -> Instant {
        if let Some(by) = self.by {
            return by;
        }
        // Whoever would tell is gone: that is an end as well.
        let _ = (&mut self.told).await;
        *self.by.insert(Instant::now() + limits::SPANS_CLOSE_TIMEOUT)
    }

    /// Returns when nothing is waited for any more.
    async fn over(&mut self) {
        let by = self.told().await;
        sleep_until(by).await;
    }
}

impl Collector {
    async fn run(mut self, mut queue: mpsc::Receiver<Span>, mut close: Close, counted: &Spans) {
        loop {
            let mut batch = Vec::new();
            let on = gather(&mut queue, &mut close, &mut batch).await;
            if !batch.is_empty() {
                self.export(batch, &mut close, counted).await;
            }
            if !on {
                return self.export_rest(queue, &mut close, counted).await;
            }
        }
    }

    /// What still waits, in batches like any other, until the first that is not taken.
    async fn export_rest(&mut self, mut queue: mpsc::Receiver<Span>, close: &mut Close, counted: &Spans) {
        let mut in_vain = false;
        loop {
            let rest = std::iter::from_fn(|| queue.try_recv().ok());
            let batch: Vec<_> = rest.take(limits::SPANS_PER_EXPORT).collect();
            match batch.len() {
                0 => return,
                count if in_vain => counted.count(SpanOutcome::Failed, count as u64),
                _ => {
                    self.export(batch, close, counted).await;
                    in_vain = self.away;
                }
            }
        }
    }

    async fn export(&mut self, batch: Vec<Span>, close: &mut Close, counted: &Spans) {
        let count = batch.len() as u64;
        let answer = tokio::select! {
            biased;
            answer = timeout(limits::SPANS_EXPORT_TIMEOUT, self.call(batch)) => answer.ok(),
            () = close.over() => None,
        };
        match answer {
            Some(Ok(partial)) => {
                let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0).min(count);
                counted.count(SpanOutcome::Sent, count - rejected);
                counted.count(SpanOutcome::Failed, rejected);
                if let Some(why) = self.complaint(&partial) {
                    tracing::warn!(endpoint = %self.endpoint, rejected, %why, "the collector does not take all spans as they are");
                }
                if std::mem::take(&mut self.away) {
                    tracing::info!(endpoint = %self.endpoint, "the collector takes traces again");
                }
            }
            failed => {
                counted.count(SpanOutcome::Failed, count);
                if !std::mem::replace(&mut self.away, true) {
                    let why = match failed {
                        Some(Err(status)) => status.message().to_owned(),
                        _ => "no answer in time".to_owned(),
                    };
                    tracing::warn!(endpoint = %self.endpoint, %why, "the collector takes no traces: they are dropped until it does");
                }
            }
        }
    }

    /// What the collector says of what it took, when it did not say so of the batch before.
    fn complaint(&mut self, partial: &PartialSuccess) -> Option<String> {
        let complains = partial.rejected_spans > 0 || !partial.error_message.is_empty();
        let before = std::mem::replace(&mut self.rejects, complains);
        (complains && !before).then(|| partial.error_message.chars().take(limits::FAULT_CHARS_MAX).collect())
    }

    async fn call(&mut self, batch: Vec<Span>) -> Result<PartialSuccess, tonic::Status> {
        let scope = Scope { name: NAME.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        let spans = batch.into_iter().map(Into::into).collect();
        let request = ExportRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans { scope: Some(scope), spans }],
            }],
        };
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::<ExportRequest, ExportResponse>::default();
        let answer = grpc.unary(Request::new(request), PathAndQuery::from_static(EXPORT), codec).await?;
        Ok(answer.into_inner().partial_success.unwrap_or_default())
    }
}

/// A batch: so many, or what came within a moment of the first. False: it is the last one.
async fn gather(queue: &mut mpsc::Receiver<Span>, close: &mut Close, batch: &mut Vec<Span>) -> bool {
    let mut until = None;
    while batch.len() < limits::SPANS_PER_EXPORT {
        let deadline = until.unwrap_or_else(Instant::now);
        tokio::select! {
            biased;
            _ = close.told() => return false,
            span = queue.recv() => match span {
                Some(span) => {
                    batch.push(span);
                    until.get_or_insert_with(|| Instant::now() + limits::SPANS_LINGER);
                }
                None => return false,
            },
            () = sleep_until(deadline), if until.is_some() => return true,
        }
    }
    true
}

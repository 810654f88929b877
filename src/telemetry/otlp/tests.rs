//! Against a collector of the same transport; that the bytes are OTLP is shown by others' code, in Python.

use super::*;
use crate::ports::spans::SpanKind;
use std::{convert::Infallible, net::SocketAddr, time::Duration};
use tonic::{
    codegen::{BoxFuture, Service, http},
    server::{Grpc as Serving, NamedService, UnaryService},
    transport::{Server, server::TcpIncoming},
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-0000000000000007-01";

/// Notes what it is given, and rejects as many spans of each call.
#[derive(Clone)]
struct Fake {
    got: mpsc::Sender<ExportRequest>,
    rejects: i64,
}

impl NamedService for Fake {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl UnaryService<ExportRequest> for Fake {
    type Response = ExportResponse;
    type Future = BoxFuture<tonic::Response<ExportResponse>, tonic::Status>;
    fn call(&mut self, request: Request<ExportRequest>) -> Self::Future {
        self.got.try_send(request.into_inner()).unwrap();
        let partial_success =
            wire::PartialSuccess { rejected_spans: self.rejects, error_message: String::new() };
        Box::pin(async move {
            Ok(tonic::Response::new(ExportResponse { partial_success: Some(partial_success) }))
        })
    }
}

impl Service<http::Request<tonic::body::Body>> for Fake {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;
    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let fake = self.clone();
        assert_eq!(request.uri().path(), EXPORT);
        Box::pin(async move {
            let codec = ProstCodec::<ExportResponse, ExportRequest>::default();
            Ok(Serving::new(codec).unary(fake, request).await)
        })
    }
}

async fn collector(rejects: i64) -> (SocketAddr, mpsc::Receiver<ExportRequest>) {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let (got, spans) = mpsc::channel(64);
    tokio::spawn(Server::builder().add_service(Fake { got, rejects }).serve_with_incoming(incoming));
    (address, spans)
}

fn config(address: SocketAddr) -> OtlpConfig {
    OtlpConfig { endpoint: format!("http://{address}"), one_in: 1, instance: "it".into() }
}

fn record(spans: &Spans, fault: Option<&str>) -> Span {
    let open = spans.begin(Some(PARENT), || 5).kept().unwrap();
    let attributes = vec![("wsm.connection.id", "c-1".into()), ("wsm.shard", 3.into())];
    let (at, fault) = (open.at, fault.map(str::to_owned));
    open.end(Duration::from_nanos(4), "Send", SpanKind::Server, attributes.clone(), fault.clone());
    Span {
        at,
        parent: Some(7),
        name: "Send",
        kind: SpanKind::Server,
        begun_unix_nanos: 5,
        ended_unix_nanos: 9,
        attributes,
        fault,
    }
}

async fn until(mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < deadline, "it did not come to that in time");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn spans_arrive_with_all_that_was_said() {
    let (address, mut got) = collector(1).await;
    let (spans, exporter) = start(config(address)).unwrap();
    let (good, bad) = (record(&spans, None), record(&spans, Some("it broke")));
    let request = got.recv().await.unwrap();
    let of = &request.resource_spans[0];
    let names: Vec<_> = of.resource.iter().flat_map(|it| &it.attributes).map(|it| it.key.as_str()).collect();
    assert_eq!(names, ["service.name", "service.instance.id", "service.version"]);
    let mut wired = of.scope_spans[0].spans.clone();
    // The first may have left alone.
    if wired.len() == 1 {
        wired.extend(got.recv().await.unwrap().resource_spans[0].scope_spans[0].spans.clone());
    }
    assert_eq!(wired[0], good.clone().into());
    assert_eq!(wired[0].trace_id, good.at.trace.to_be_bytes());
    assert_eq!((wired[0].parent_span_id.as_slice(), wired[0].kind), (&7u64.to_be_bytes()[..], 2));
    assert_eq!(wired[1], bad.into());
    assert_eq!(wired[1].status.as_ref().map(|it| (it.code, it.message.as_str())), Some((2, "it broke")));
    until(|| spans.outcomes().iter().sum::<u64>() == 2).await;
    // One of each call was rejected.
    assert!(spans.outcomes()[2] >= 1);
    tokio::task::spawn_blocking(|| exporter.close()).await.unwrap();
}

#[tokio::test]
async fn a_collector_that_is_away_costs_a_count() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (spans, exporter) = start(config(nobody)).unwrap();
    record(&spans, None);
    until(|| spans.outcomes() == [0, 0, 1]).await;
    record(&spans, None);
    tokio::task::spawn_blocking(|| exporter.close()).await.unwrap();
    assert_eq!(spans.outcomes(), [0, 0, 2]);
}

#[tokio::test]
async fn what_waits_at_the_end_is_sent() {
    let (address, mut got) = collector(0).await;
    let (spans, exporter) = start(config(address)).unwrap();
    (0..3).for_each(|_| drop(record(&spans, None)));
    tokio::task::spawn_blocking(|| exporter.close()).await.unwrap();
    assert_eq!(spans.outcomes(), [3, 0, 0]);
    let mut count = 0;
    while let Ok(request) = got.try_recv() {
        count += request.resource_spans[0].scope_spans[0].spans.len();
    }
    assert_eq!(count, 3);
}

/// A collector bounds its messages: what is too large for it would all be lost.
#[tokio::test]
async fn what_waits_at_the_end_goes_in_batches_like_any_other() {
    let (address, mut got) = collector(0).await;
    let (spans, exporter) = start(config(address)).unwrap();
    (0..limits::SPANS_WAITING_MAX).for_each(|_| drop(record(&spans, None)));
    tokio::task::spawn_blocking(|| exporter.close()).await.unwrap();
    assert_eq!(spans.outcomes().iter().sum::<u64>(), limits::SPANS_WAITING_MAX as u64);
    let mut sizes = Vec::new();
    while let Ok(request) = got.try_recv() {
        sizes.push(request.resource_spans[0].scope_spans[0].spans.len());
    }
    assert!(!sizes.is_empty() && sizes.iter().all(|size| *size <= limits::SPANS_PER_EXPORT), "{sizes:?}");
}

#[tokio::test]
async fn a_collector_that_rejects_spans_is_quoted_once() {
    let mut collector = Collector {
        channel: Endpoint::from_static("http://127.0.0.1:1").connect_lazy(),
        endpoint: String::new(),
        resource: resource("it"),
        away: false,
        rejects: false,
    };
    let says =
        |rejected_spans, message: &str| PartialSuccess { rejected_spans, error_message: message.into() };
    let quoted = [
        says(0, ""),
        says(5, "no such tenant"),
        says(5, "no such tenant"),
        says(0, ""),
        says(0, "deprecated"),
        says(1, &"x".repeat(1 << 20)),
    ]
    .map(|partial| collector.complaint(&partial));
    let wanted = [None, Some("no such tenant"), None, None, Some("deprecated"), None];
    assert_eq!(quoted.each_ref().map(Option::as_deref), wanted);
    collector.complaint(&says(0, ""));
    assert!(collector.complaint(&says(1, &"x".repeat(1 << 20))).unwrap().len() <= limits::FAULT_CHARS_MAX);
}

/// It takes connections and says nothing. The clock is the test's: it goes on when nobody has to do anything.
#[tokio::test(start_paused = true)]
async fn a_collector_that_says_nothing_is_left_behind_at_the_end() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = config(silent.local_addr().unwrap()).endpoint;
    let channel = Endpoint::from_shared(endpoint.clone()).unwrap().connect_lazy();
    let collector = Collector { channel, endpoint, resource: resource("it"), away: false, rejects: false };
    let (spans, queue) = Spans::open(8, 1);
    let (stop, told) = oneshot::channel();
    let counted = spans.clone();
    let running = tokio::spawn(async move { collector.run(queue, Close { told, by: None }, &counted).await });
    record(&spans, None);
    // The first is on its way when the end comes; the second still waits.
    sleep_until(Instant::now() + limits::SPANS_LINGER * 2).await;
    record(&spans, None);
    let since = Instant::now();
    stop.send(()).unwrap();
    running.await.unwrap();
    assert_eq!(spans.outcomes(), [0, 0, 2]);
    assert!(since.elapsed() < limits::SPANS_CLOSE_TIMEOUT * 2, "{:?}", since.elapsed());
}

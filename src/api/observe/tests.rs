use super::*;
use crate::api::{
    counters::calls::CallsView,
    http::{self, HttpSettings},
    testing::{ask, on_a_shard, start},
};
use tokio_stream::StreamExt;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn service(observer: Observer) -> Service {
    Service::new(crate::api::service::Inner { observer, ..crate::api::service::Inner::unstarted() })
}

fn ends(observer: &Observer, method: Method) -> [u64; 4] {
    CallsView::read([&*observer.calls]).ended[method as usize]
}

#[test]
fn each_end_is_counted_once_and_within_its_trace() {
    let (spans, mut queue) = Spans::open(8, 1);
    let observer = Observer { calls: Arc::default(), spans };
    let service = service(observer.clone());
    let mut caller = Caller { traceparent: Some(PARENT.to_owned()), ..Caller::default() };
    let call = service.observe(Protocol::Grpc, Method::Send, &mut caller, "c-1");
    let lost = Fault::new(FaultKind::MaybeSent, "the socket broke");
    assert_eq!(call.ended::<()>(Err(lost.clone())), Err(lost));
    let span = queue.try_recv().unwrap();
    assert_eq!((span.name, span.kind, span.parent), ("Send", SpanKind::Server, Some(0xb7ad_6b71_6920_3331)));
    assert_eq!(caller.traceparent, Some(span.at.header()));
    assert!(span.attributes.contains(&("wsm.connection.id", "c-1".into())));
    assert!(span.attributes.contains(&("rpc.grpc.status_code", 10.into())));
    assert!(span.attributes.contains(&("error.type", "maybe_sent".into())));
    assert!(span.fault.unwrap().contains("the socket broke"));
    assert_eq!(ends(&observer, Method::Send), [0, 0, 1, 0]);

    // Its connection was ended by somebody else: not its caller's doing.
    let call = service.observe(Protocol::Grpc, Method::Send, &mut Caller::default(), "c-1");
    assert!(call.ended::<()>(Err(Fault::new(FaultKind::Cancelled, "disconnected"))).is_err());
    assert!(queue.try_recv().unwrap().fault.unwrap().contains("disconnected"));
    assert_eq!(ends(&observer, Method::Send), [0, 0, 2, 0]);

    let refused = Fault::invalid("id", "is wrong");
    let call = service.observe(Protocol::Rest, Method::Get, &mut Caller::default(), "");
    assert!(call.ended::<()>(Err(refused)).is_err());
    assert_eq!(queue.try_recv().unwrap().fault, None);
    drop(service.observe(Protocol::Connect, Method::Get, &mut Caller::default(), ""));
    assert_eq!(queue.try_recv().unwrap().fault.as_deref(), Some("the caller went away"));
    assert_eq!(ends(&observer, Method::Get), [0, 1, 0, 1]);
    assert_eq!(CallsView::read([&*observer.calls]).in_flight, 0);
}

#[test]
fn a_call_that_was_passed_on_is_a_span_and_no_second_call() {
    let (spans, mut queue) = Spans::open(8, 1);
    let observer = Observer { calls: Arc::default(), spans };
    let service = service(observer.clone());
    for given_up in [false, true] {
        let call = service.observe(Protocol::Peer, Method::Send, &mut Caller::default(), "c-1");
        if given_up {
            drop(call)
        } else {
            assert_eq!(call.ended(Ok(3)), Ok(3))
        }
        assert_eq!(queue.try_recv().unwrap().fault.is_some(), given_up);
        assert!(queue.try_recv().is_err());
    }
    assert_eq!(ends(&observer, Method::Send), [0; 4]);
}

/// Nobody has checked what the caller calls a connection, and the queue holds thousands of spans.
#[test]
fn what_waits_for_the_collector_is_small_whatever_the_caller_wrote() {
    let (spans, mut queue) = Spans::open(8, 1);
    let service = service(Observer { calls: Arc::default(), spans });
    let long = "a".repeat(1 << 20);
    for (id, told) in [(&*long, None), ("no id", None), ("~i1.c-1", Some("~i1.c-1"))] {
        let call = service.observe(Protocol::Grpc, Method::Get, &mut Caller::default(), id);
        let fault = Fault::new(FaultKind::Internal, "\u{202e}".repeat(1 << 20));
        assert!(call.ended::<()>(Err(fault)).is_err());
        let span = queue.try_recv().unwrap();
        let named = span.attributes.iter().find(|(name, _)| *name == "wsm.connection.id");
        assert_eq!(named.map(|(_, id)| id.clone()), told.map(Value::from));
        assert!(span.fault.unwrap().len() <= 8 * crate::limits::FAULT_CHARS_MAX);
    }
}

#[test]
fn a_call_that_is_not_drawn_is_drawn_nowhere_else() {
    let (spans, mut queue) = Spans::open(8, u64::MAX);
    let first = service(Observer { calls: Arc::default(), spans });
    let (spans, mut passed_on) = Spans::open(8, 1);
    let second = service(Observer { calls: Arc::default(), spans });
    let mut caller = Caller::default();
    let call = first.observe(Protocol::Grpc, Method::Send, &mut caller, "c-1");
    let peer = second.observe(Protocol::Peer, Method::Send, &mut caller, "c-1");
    assert_eq!(peer.ended(call.ended(Ok(1))), Ok(1));
    assert!(caller.traceparent.unwrap().ends_with("-00"));
    assert!(queue.try_recv().is_err() && passed_on.try_recv().is_err());
}

#[test]
fn without_spans_a_caller_keeps_its_trace() {
    let service = service(Observer::default());
    let mut caller = Caller { traceparent: Some(PARENT.to_owned()), ..Caller::default() };
    let call = service.observe(Protocol::Grpc, Method::Send, &mut caller, "");
    assert_eq!((call.ended(Ok(())), caller.traceparent.as_deref()), (Ok(()), Some(PARENT)));
}

#[test]
fn a_stream_is_open_until_it_ends_and_says_how() {
    on_a_shard(async {
        let observer = Observer::default();
        let service = service(observer.clone());
        let flow = |items: Vec<Result<u8, Fault>>| -> Flow<u8> {
            service.counted(Method::Receive, Box::pin(tokio_stream::iter(items)))
        };
        let seen = || {
            let view = CallsView::read([&*observer.calls]);
            (view.open[Method::Receive as usize], view.closed[Method::Receive as usize])
        };
        let lost = Fault::new(FaultKind::Unavailable, "the other instance is gone");
        let (left, mut whole) = (flow(vec![Ok(1)]), flow(vec![Ok(1), Ok(2)]));
        let mut broken = flow(vec![Ok(1), Err(lost)]);
        assert_eq!(seen(), (3, [0; 4]));
        drop(left);
        while whole.next().await.is_some() {}
        // It is over when its reader has done with it.
        assert_eq!(seen(), (2, [0, 0, 0, 1]));
        drop(whole);
        while broken.next().await.is_some() {}
        drop(broken);
        assert_eq!(seen(), (0, [1, 0, 1, 1]));
    });
}

#[test]
fn what_is_refused_before_it_is_read_counts_as_well() {
    on_a_shard(async {
        let observer = Observer::default();
        let running = start(http::router(&service(observer.clone()), HttpSettings::default()));
        let text = "content-type: text/xml\r\n";
        for (method, path, head, body, status) in [
            ("GET", "/v1/connections?colour=red", "", "", 400),
            ("GET", "/v1/connections", "", "{}", 400),
            ("POST", "/v1/connections/a/send", text, "<a/>", 415),
            ("POST", "/virtufin.WebSocketManager/Send", text, "<a/>", 415),
            ("POST", "/virtufin.WebSocketManager/Send", "content-type: application/json\r\n", "{", 400),
            ("POST", "/virtufin.WebSocketManager/Nothing", "content-type: application/json\r\n", "{}", 404),
            (
                "POST",
                "/virtufin.WebSocketManager/Rooms.Send",
                "content-type: application/json\r\n",
                "{}",
                404,
            ),
            ("POST", "/virtufin.Rooms/Send", text, "<a/>", 415),
        ] {
            assert_eq!(
                ask(running.address, method, path, head, body).await.status,
                status,
                "{method} {path}"
            );
        }
        assert_eq!(ends(&observer, Method::List), [0, 2, 0, 0]);
        assert_eq!(ends(&observer, Method::Send), [0, 3, 0, 0]);
        assert_eq!(ends(&observer, Method::RoomSend), [0, 1, 0, 0]);
        assert_eq!(CallsView::read([&*observer.calls]).in_flight, 0);
    });
}

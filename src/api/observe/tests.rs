use super::*;
use crate::api::counters::calls::CallsView;

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
fn without_spans_a_caller_keeps_its_trace() {
    let service = service(Observer::default());
    let mut caller = Caller { traceparent: Some(PARENT.to_owned()), ..Caller::default() };
    let call = service.observe(Protocol::Grpc, Method::Send, &mut caller, "");
    assert_eq!((call.ended(Ok(())), caller.traceparent.as_deref()), (Ok(()), Some(PARENT)));
}

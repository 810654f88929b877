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

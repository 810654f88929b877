mod sidecar;

use super::*;
use prost_types::{Struct, value::Kind};
use serde_json::{Value, json};
use sidecar::{Sidecar, Stream};
use std::{future::poll_fn, time::Duration};
use tonic::Status;

fn settings() -> SubscribeSettings {
    SubscribeSettings {
        pubsub: "pubsub".into(),
        topic: "commands".into(),
        metadata: [("rawPayload".to_owned(), "false".to_owned())].into(),
        dead_letter_topic: Some("dead".into()),
        in_flight_max: 2,
        token: Some("secret".into()),
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .unwrap_or_else(|_| panic!("{what} does not come"))
}

async fn next(subscription: &mut Subscription) -> Delivery {
    within("a delivery", poll_fn(|context| subscription.poll_delivery(context))).await.expect("open")
}

fn id_of(delivery: &Delivery) -> String {
    let event: Value = serde_json::from_slice(&delivery.event).unwrap();
    event["id"].as_str().unwrap().to_owned()
}

async fn begin(sidecar: &mut Sidecar) -> (Subscription, Stream) {
    let channel = sidecar.channel();
    let subscription = Subscription::start(&Handle::current(), channel, settings(), 1);
    let stream = accepted(sidecar).await;
    (subscription, stream)
}

async fn accepted(sidecar: &mut Sidecar) -> Stream {
    let mut stream = within("a stream", sidecar.streams.recv()).await.unwrap();
    let Some(Says::InitialRequest(initial)) = stream.hear().await else { panic!("not an initial request") };
    assert_eq!((initial.pubsub_name.as_str(), initial.topic.as_str()), ("pubsub", "commands"));
    assert_eq!(initial.metadata["rawPayload"], "false");
    assert_eq!(initial.dead_letter_topic.as_deref(), Some("dead"));
    assert_eq!(stream.token.as_deref(), Some("secret"));
    stream.accept().await;
    stream
}

#[tokio::test]
async fn each_event_is_acked_once_as_it_was_told() {
    let mut sidecar = Sidecar::start().await;
    let (mut subscription, mut stream) = begin(&mut sidecar).await;
    let stats = subscription.stats();
    for (id, ack, status) in [
        ("a", Some(Ack::Done), TopicEventResponseStatus::Success),
        ("b", Some(Ack::Retry), TopicEventResponseStatus::Retry),
        ("c", Some(Ack::Drop), TopicEventResponseStatus::Drop),
        ("d", None, TopicEventResponseStatus::Retry),
    ] {
        stream.event(id).await;
        let delivery = next(&mut subscription).await;
        assert_eq!(id_of(&delivery), id);
        match ack {
            Some(ack) => delivery.ack.complete(ack),
            None => drop(delivery),
        }
        assert_eq!(stream.processed().await, (id.to_owned(), status));
    }
    assert!(stats.standing.load(Relaxed));
    let counted = [&stats.events, &stats.acked_done, &stats.acked_retry, &stats.acked_drop, &stats.acks_late];
    assert_eq!(counted.map(|count| count.load(Relaxed)), [4, 1, 2, 1, 0]);
    stream.event("e").await;
    let last = next(&mut subscription).await;
    drop(subscription);
    last.ack.complete(Ack::Done);
    assert_eq!(stream.processed().await.0, "e", "what was delivered is still acked");
    assert!(stream.hear().await.is_none(), "no second ack, and the stream ends");
}

#[tokio::test]
async fn an_id_that_is_in_flight_is_one_event() {
    let mut sidecar = Sidecar::start().await;
    let (mut subscription, mut stream) = begin(&mut sidecar).await;
    stream.event("a").await;
    stream.event("a").await;
    stream.event("b").await;
    let (first, other) = (next(&mut subscription).await, next(&mut subscription).await);
    assert_eq!((id_of(&first), id_of(&other)), ("a".into(), "b".into()));
    other.ack.complete(Ack::Done);
    first.ack.complete(Ack::Done);
    let acked = [stream.processed().await.0, stream.processed().await.0];
    assert_eq!(acked, ["b", "a"]);
    // Afterwards it is a redelivery, and has an ack of its own.
    stream.event("a").await;
    next(&mut subscription).await.ack.complete(Ack::Done);
    assert_eq!(stream.processed().await.0, "a");
    assert_eq!(subscription.stats().doubles.load(Relaxed), 1);
}

#[tokio::test]
async fn a_stream_that_ends_is_followed_by_another() {
    let mut sidecar = Sidecar::start().await;
    let (mut subscription, stream) = begin(&mut sidecar).await;
    stream.event("a").await;
    let open = next(&mut subscription).await;
    stream.end(Some(Status::unavailable("stream closed")));
    let mut stream = accepted(&mut sidecar).await;
    open.ack.complete(Ack::Done);
    stream.event("a").await;
    next(&mut subscription).await.ack.complete(Ack::Done);
    assert_eq!(stream.processed().await.0, "a", "the redelivery's own ack");
    stream.end(None);
    let mut stream = accepted(&mut sidecar).await;
    stream.event("b").await;
    next(&mut subscription).await.ack.complete(Ack::Done);
    assert_eq!(stream.processed().await.0, "b");
    let stats = subscription.stats();
    let counted = [&stats.opened, &stats.acks_late, &stats.acked_done, &stats.refused];
    assert_eq!(counted.map(|count| count.load(Relaxed)), [3, 1, 2, 0]);
}

#[tokio::test]
async fn a_sidecar_that_refuses_is_asked_again() {
    let mut sidecar = Sidecar::start().await;
    sidecar.refuse([
        Status::invalid_argument("subscriber is closed"),
        Status::unknown("failed to proxy request"),
        Status::unauthenticated("token"),
    ]);
    let (mut subscription, mut stream) = begin(&mut sidecar).await;
    stream.event("a").await;
    next(&mut subscription).await.ack.complete(Ack::Done);
    assert_eq!(stream.processed().await.0, "a");
    // An end before the initial response, and an event instead of it.
    stream.end(None);
    within("a stream", sidecar.streams.recv()).await.unwrap().end(None);
    within("a stream", sidecar.streams.recv()).await.unwrap().event("early").await;
    let stream = accepted(&mut sidecar).await;
    stream.event("b").await;
    assert_eq!(id_of(&next(&mut subscription).await), "b");
    assert_eq!(subscription.stats().refused.load(Relaxed), 5);
}

#[tokio::test]
async fn no_more_are_read_than_may_wait_for_their_ack() {
    let mut sidecar = Sidecar::start().await;
    let (mut subscription, mut stream) = begin(&mut sidecar).await;
    for id in ["a", "b", "c", "d"] {
        stream.event(id).await;
    }
    let (a, b) = (next(&mut subscription).await, next(&mut subscription).await);
    let third = poll_fn(|context| Poll::Ready(subscription.poll_delivery(context).is_ready())).await;
    assert!(!third && subscription.stats().events.load(Relaxed) == 2);
    b.ack.complete(Ack::Done);
    let c = next(&mut subscription).await;
    a.ack.complete(Ack::Done);
    let d = next(&mut subscription).await;
    assert_eq!((id_of(&c), id_of(&d)), ("c".into(), "d".into()));
    assert_eq!([stream.processed().await.0, stream.processed().await.0], ["b", "a"]);
}

#[test]
fn an_event_is_one_cloud_event_again() {
    let text = |text: &str| prost_types::Value { kind: Some(Kind::StringValue(text.into())) };
    let extensions = Struct { fields: [("time".into(), text("t")), ("replyto".into(), text("r"))].into() };
    let event = |content_type: &str, data: &[u8]| TopicEventRequest {
        id: "1".into(),
        source: "app".into(),
        r#type: "Send".into(),
        spec_version: "1.0".into(),
        data_content_type: content_type.into(),
        data: data.to_vec(),
        topic: "t".into(),
        pubsub_name: "p".into(),
        path: String::new(),
        extensions: Some(extensions.clone()),
    };
    let rendered = |content_type: &str, data: &[u8]| -> Value {
        serde_json::from_slice(&event::render(event(content_type, data))).unwrap()
    };
    let whole = rendered("application/json; charset=utf-8", br#"{"a":1}"#);
    let expected = json!({
        "specversion": "1.0", "id": "1", "source": "app", "type": "Send", "topic": "t", "pubsubname": "p",
        "datacontenttype": "application/json; charset=utf-8", "time": "t", "replyto": "r", "data": {"a": 1},
    });
    assert_eq!(whole, expected);
    assert_eq!(rendered("text/plain", b"{}")["data"], "{}");
    assert_eq!(rendered("application/json", b"{")["data"], "{");
    assert_eq!(rendered("application/octet-stream", &[0xff])["data_base64"], "/w==");
    assert_eq!(rendered("", b"").get("data"), None);
    let mut deep = text("x");
    for _ in 0..1000 {
        deep =
            prost_types::Value { kind: Some(Kind::ListValue(prost_types::ListValue { values: vec![deep] })) };
    }
    let mut nested = event("", b"");
    nested.extensions.as_mut().unwrap().fields.insert("deep".into(), deep);
    assert!(serde_json::from_slice::<Value>(&event::render(nested)).is_ok());
}

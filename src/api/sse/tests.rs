use super::*;
use crate::proto::{End, Gap};
use futures_core::Stream;
use http_body_util::BodyExt;
use std::{collections::VecDeque, time::Duration};

/// What it was given, then the end or nothing more.
struct Given<T> {
    items: VecDeque<Result<T, Fault>>,
    ends: bool,
}

impl<T: Unpin> Stream for Given<T> {
    type Item = Result<T, Fault>;
    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.items.pop_front() {
            None if !self.ends => Poll::Pending,
            item => Poll::Ready(item),
        }
    }
}

fn given<T: Send + Unpin + 'static>(items: Vec<Result<T, Fault>>, ends: bool) -> Flow<T> {
    Box::pin(Given { items: items.into(), ends })
}

async fn whole(response: Response<Body>) -> String {
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn messages_gaps_ends_and_errors() {
    let message = |cursor: &str, body| ReceivedMessage {
        cursor: cursor.into(),
        body: Some(body),
        ..Default::default()
    };
    let flow = given(
        vec![
            Ok(message("c1", Kind::Text("a\r\nb".into()))),
            Ok(message("c2\nid: forged", Kind::Gap(Gap { cause: "reconnect".into(), ..Default::default() }))),
            Ok(message("c3", Kind::End(End { epoch: 7, last_seq: 9 }))),
            Err(Fault::new(FaultKind::Unavailable, "draining")),
            Ok(message("never", Kind::Text("after the end".into()))),
        ],
        true,
    );
    let text = whole(respond(flow, message_event)).await;
    let expected = concat!(
        "event: message\nid: c1\ndata: {\"cursor\":\"c1\",\"text\":\"a\\r\\nb\"}\n\n",
        "event: gap\nid: c2id: forged\ndata: {\"cursor\":\"c2\\nid: forged\",\"gap\":{\"cause\":\"reconnect\"}}\n\n",
        "event: end\nid: c3\ndata: {\"cursor\":\"c3\",\"end\":{\"epoch\":\"7\",\"lastSeq\":\"9\"}}\n\n",
        "event: error\ndata: ",
    );
    assert!(text.starts_with(expected), "{text}");
    let error: serde_json::Value = serde_json::from_str(text[expected.len()..].trim_end()).unwrap();
    assert_eq!(error["code"], 14);
    assert!(!text.contains("never"));
}

#[tokio::test]
async fn lifecycle_events_are_named_by_their_last_word() {
    let event = LifecycleEvent {
        r#type: "com.virtufin.websocketmanager.lifecycle.connected".into(),
        connection_id: "a".into(),
        ..Default::default()
    };
    let text = whole(respond(given(vec![Ok(event)], true), lifecycle_event)).await;
    assert!(text.starts_with("event: connected\ndata: {\"type\":"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn silence_is_filled_with_comments() {
    let begun = tokio::time::Instant::now();
    let mut body = respond(given::<ReceivedMessage>(vec![], false), message_event).into_body();
    for round in 1..=3u32 {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(&frame[..], b": keep-alive\n\n");
        assert!(begun.elapsed() >= Duration::from_secs(15) * round);
    }
}

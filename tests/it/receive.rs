//! Receive: following a connection, a tag filter, a topic; cursors; what is lost is said.

use crate::harness::{Client, Peer, Service, Upstream, grpc, wait_for, within};
use serde_json::json;
use std::collections::BTreeMap;
use tokio_stream::StreamExt;
use tonic::{Code, Streaming};
use websocket_manager::proto::{
    ConnectRequest, DisconnectRequest, PublishOptions, ReceiveRequest, ReceivedMessage, StartPublishRequest,
    StopPublishRequest, TagFilter, TagFilters, receive_request::Source, received_message::Body,
};

struct Feed {
    service: Service,
    client: Client,
    upstream: Upstream,
    peer: Peer,
    id: String,
}

impl Feed {
    async fn new(settings: ConnectRequest) -> Self {
        let service = Service::start().await;
        let mut upstream = Upstream::start().await;
        let mut client = service.grpc().await;
        let id = grpc::dial(&mut client, ConnectRequest { url: upstream.url(), ..settings }).await;
        let peer = upstream.peer().await;
        Feed { service, client, upstream, peer, id }
    }

    async fn say(&mut self, texts: &[&str]) {
        for text in texts {
            self.peer.say(*text).await;
        }
    }

    fn source(&self) -> Source {
        Source::Id(self.id.clone())
    }

    async fn follow(&mut self, source: Source, cursor: &str, from_start: bool) -> Streaming<ReceivedMessage> {
        let request = ReceiveRequest { source: Some(source), cursor: cursor.into(), from_start };
        self.client.receive(request).await.expect("a stream").into_inner()
    }
}

fn topic(name: &str) -> ConnectRequest {
    ConnectRequest {
        publish: Some(PublishOptions { topic: name.into(), ..Default::default() }),
        ..Default::default()
    }
}

async fn next(stream: &mut Streaming<ReceivedMessage>) -> ReceivedMessage {
    within("the next message", stream.next()).await.expect("the stream goes on").expect("a message")
}

fn text(message: &ReceivedMessage) -> &str {
    match &message.body {
        Some(Body::Text(text)) => text,
        other => panic!("a text was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn a_follower_sees_what_comes_from_now_on_in_order_with_numbers() {
    let mut feed = Feed::new(ConnectRequest::default()).await;
    let source = feed.source();
    let mut stream = feed.follow(source, "", false).await;
    feed.say(&["a", "b"]).await;
    feed.peer.say_bytes(vec![1, 2]).await;
    let (first, second, third) = (next(&mut stream).await, next(&mut stream).await, next(&mut stream).await);
    assert_eq!((text(&first), text(&second)), ("a", "b"));
    assert_eq!(third.body, Some(Body::Data(vec![1, 2].into())));
    assert_eq!((first.seq, second.seq, third.seq), (1, 2, 3), "seq starts at 1 in each epoch");
    assert!(
        first.epoch > 0 && first.epoch == third.epoch && first.id == feed.id && first.timestamp.is_some()
    );
}

#[tokio::test]
async fn a_cursor_goes_on_where_it_was_taken() {
    let mut feed = Feed::new(ConnectRequest::default()).await;
    let source = feed.source();
    let mut stream = feed.follow(source.clone(), "", false).await;
    feed.say(&["a", "b", "c"]).await;
    let first = next(&mut stream).await;
    assert!(!first.cursor.is_empty() && first.cursor.len() <= 1024, "of bounded size");
    drop(stream);
    let mut stream = feed.follow(source.clone(), &first.cursor, false).await;
    assert_eq!(text(&next(&mut stream).await), "b");
    assert_eq!(text(&next(&mut stream).await), "c");
    let mut stream = feed.follow(source, "", true).await;
    assert_eq!(text(&next(&mut stream).await), "a", "from the oldest that is retained");
}

#[tokio::test]
async fn tags_choose_among_connections() {
    let tags = |value: &str| BTreeMap::from([("venue".to_owned(), value.to_owned())]);
    let mut feed = Feed::new(ConnectRequest { tags: tags("x"), ..Default::default() }).await;
    let mut others = Vec::new();
    for value in ["x", "y"] {
        let request = ConnectRequest { tags: tags(value), ..grpc::to(&feed.upstream.url()) };
        let id = grpc::dial(&mut feed.client, request).await;
        others.push((id, feed.upstream.peer().await));
    }
    let filter = TagFilter { key: "venue".into(), value: "x".into() };
    let mut stream = feed.follow(Source::Filter(TagFilters { filters: vec![filter] }), "", false).await;
    others[1].1.say("not wanted").await;
    others[0].1.say("from the second").await;
    feed.say(&["from the first"]).await;
    let mut seen = BTreeMap::new();
    for _ in 0..2 {
        let message = next(&mut stream).await;
        seen.insert(message.id.clone(), text(&message).to_owned());
    }
    let expected =
        [(feed.id.clone(), "from the first".to_owned()), (others[0].0.clone(), "from the second".to_owned())];
    assert_eq!(seen, BTreeMap::from(expected));
}

#[tokio::test]
async fn a_topic_keeps_what_was_published_across_a_restart() {
    let mut feed = Feed::new(topic("ticks")).await;
    feed.say(&["a", "b", "c"]).await;
    let mut stream = feed.follow(Source::Topic("ticks".into()), "", true).await;
    let (first, _, third) = (next(&mut stream).await, next(&mut stream).await, next(&mut stream).await);
    assert_eq!((text(&first), text(&third), first.topic.as_str()), ("a", "c", "ticks"));
    assert!(third.offset > first.offset, "offsets rise");

    assert_eq!(feed.service.terminate().await, 0);
    feed.service = feed.service.start_again().await;
    feed.client = feed.service.grpc().await;
    let mut stream = feed.follow(Source::Topic("ticks".into()), &first.cursor, false).await;
    assert_eq!(text(&next(&mut stream).await), "b");
    assert_eq!(text(&next(&mut stream).await), "c");
    let end = next(&mut stream).await;
    assert!(matches!(end.body, Some(Body::End(_))), "an orderly end is told: {:?}", end.body);
}

#[tokio::test]
async fn a_reconnect_is_a_gap_and_numbers_go_on() {
    let settings =
        json!({"autoReconnect": true, "reconnect": {"baseMs": 1, "maxMs": 5}, "publish": {"topic": "t"}});
    let mut feed = Feed::new(serde_json::from_value(settings).expect("settings")).await;
    let mut stream = feed.follow(Source::Topic("t".into()), "", true).await;
    feed.say(&["before"]).await;
    let before = next(&mut stream).await;
    feed.peer.end().await;
    feed.peer = feed.upstream.peer().await;
    feed.say(&["after"]).await;
    let gap = next(&mut stream).await;
    let Some(Body::Gap(gap)) = gap.body else { panic!("a gap record was expected, not {gap:?}") };
    assert_eq!(gap.cause, "reconnect");
    assert_eq!((gap.from_epoch, gap.to_epoch, gap.to_seq), (before.epoch, before.epoch, 2));
    let after = next(&mut stream).await;
    assert_eq!((text(&after), after.epoch, after.seq), ("after", before.epoch, 2));
}

#[tokio::test]
async fn start_publish_says_what_was_missed_before() {
    let mut feed = Feed::new(ConnectRequest::default()).await;
    feed.say(&["unheard 1", "unheard 2"]).await;
    wait_for("both to be counted", async || {
        let connection = grpc::get(&mut feed.client, &feed.id).await.ok()?;
        (connection.seq == 2).then_some(())
    })
    .await;
    let request = StartPublishRequest { id: feed.id.clone(), topic: "late".into(), ..Default::default() };
    let answer = feed.client.start_publish(request).await.expect("it publishes").into_inner();
    assert_eq!(answer.next_seq, 3);
    feed.say(&["heard"]).await;
    let mut stream = feed.follow(Source::Topic("late".into()), "", true).await;
    let gap = next(&mut stream).await;
    assert!(matches!(&gap.body, Some(Body::Gap(gap)) if gap.cause == "not_published"), "{gap:?}");
    let heard = next(&mut stream).await;
    assert_eq!((text(&heard), heard.seq, heard.epoch), ("heard", 3, answer.epoch));
    assert_eq!(grpc::get(&mut feed.client, &feed.id).await.expect("it is there").topic, "late");
    feed.client.stop_publish(StopPublishRequest { id: feed.id.clone() }).await.expect("it stops");
    assert_eq!(grpc::get(&mut feed.client, &feed.id).await.expect("it is there").topic, "");
}

#[tokio::test]
async fn disconnect_ends_the_stream_of_a_connection_with_a_marker() {
    let mut feed = Feed::new(topic("ended")).await;
    let mut stream = feed.follow(Source::Topic("ended".into()), "", true).await;
    feed.say(&["a"]).await;
    let first = next(&mut stream).await;
    let request = DisconnectRequest { id: feed.id.clone(), ..Default::default() };
    feed.client.disconnect(request).await.expect("it is disconnected");
    let end = next(&mut stream).await;
    let Some(Body::End(end)) = end.body else { panic!("an end marker was expected, not {end:?}") };
    assert_eq!((end.epoch, end.last_seq), (first.epoch, 1));
}

#[tokio::test]
async fn a_fifo_reply_is_published_and_marked_while_matched_ones_are_not() {
    let mut feed = Feed::new(topic("replies")).await;
    let mut stream = feed.follow(Source::Topic("replies".into()), "", true).await;
    for message in [r#"{"id": 1}"#, "fifo"] {
        let mut client = feed.client.clone();
        let request = websocket_manager::proto::SendRequest {
            id: feed.id.clone(),
            message: message.into(),
            ..Default::default()
        };
        let send = tokio::spawn(async move { client.send(request).await });
        let asked = feed.peer.text().await;
        feed.peer.say(asked).await;
        send.await.expect("the task ends").expect("a reply");
    }
    let message = next(&mut stream).await;
    assert_eq!((text(&message), message.reply, message.seq), ("fifo", true, 1));
}

#[tokio::test]
async fn a_browser_follows_by_server_sent_events() {
    let mut feed = Feed::new(topic("sse")).await;
    let http = feed.service.http();
    let mut events = http.events(&format!("/v1/connections/{}/messages", feed.id), None).await;
    feed.say(&["a", "b"]).await;
    let first = events.next().await;
    assert_eq!((first.name.as_str(), &first.data["text"]), ("message", &json!("a")));
    assert_eq!(first.data["cursor"], json!(first.id), "the event's id is the cursor");
    assert_eq!(events.next().await.data["text"], "b");
    let mut events = http.events(&format!("/v1/connections/{}/messages", feed.id), Some(&first.id)).await;
    assert_eq!(events.next().await.data["text"], "b", "Last-Event-ID goes on where it was");
    let mut events = http.events("/v1/messages?topic=sse&fromStart=true", None).await;
    assert_eq!(events.next().await.data["text"], "a");
}

#[tokio::test]
async fn sources_and_cursors_that_make_no_sense_are_refused() {
    let mut feed = Feed::new(ConnectRequest::default()).await;
    let cases = [
        (None, "", false, Code::InvalidArgument),
        (Some(Source::Id("nobody".into())), "", false, Code::NotFound),
        (Some(Source::Id(feed.id.clone())), "garbage", false, Code::InvalidArgument),
        (Some(Source::Topic("../up".into())), "", false, Code::InvalidArgument),
        (Some(Source::Filter(TagFilters::default())), "", false, Code::InvalidArgument),
    ];
    for (source, cursor, from_start, code) in cases {
        let shown = format!("{source:?} {cursor}");
        let request = ReceiveRequest { source, cursor: cursor.into(), from_start };
        let status = match feed.client.receive(request).await {
            Err(status) => status,
            Ok(stream) => within(&shown, stream.into_inner().message()).await.expect_err(&shown),
        };
        assert_eq!(status.code(), code, "{shown}: {status:?}");
    }
}

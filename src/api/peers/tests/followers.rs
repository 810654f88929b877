use super::rig::{Client, Rig};
use crate::{
    api::{service::Life, testing::on_a_shard},
    core::id::ConnectionId,
    proto::{receive_request::Source, received_message::Body, *},
};
use tonic::{Code, Streaming};

/// The upstream echoes it, and nobody waits for that: a message.
async fn tick(client: &mut Client, id: &str, text: &str) {
    let request = SendRawRequest { id: id.into(), message: text.into(), ..Default::default() };
    client.send_raw(request).await.unwrap();
}

async fn text(messages: &mut Streaming<ReceivedMessage>) -> (String, ReceivedMessage) {
    let message = messages.message().await.unwrap().expect("it goes on");
    let text = match &message.body {
        Some(Body::Text(text)) => text.clone(),
        Some(Body::Gap(gap)) => format!("gap {}", gap.cause),
        Some(Body::End(_)) => "end".to_owned(),
        other => panic!("{other:?}"),
    };
    (text, message)
}

fn by_id(id: &str) -> ReceiveRequest {
    ReceiveRequest { source: Some(Source::Id(id.into())), ..Default::default() }
}

#[test]
fn one_connection_is_followed_from_owner_to_owner() {
    on_a_shard(async {
        let mut rig = Rig::start(&["one", "two", "three"]).await;
        rig.connect(0, "feed").await;
        let mut client = rig.client(2).await;
        let mut messages = client.receive(by_id("feed")).await.unwrap().into_inner();
        tick(&mut client, "feed", "a").await;
        let (first, at) = text(&mut messages).await;
        assert_eq!((first.as_str(), at.seq), ("a", 1));
        // Its owner dies, and another one takes it.
        rig.instances[0].kill();
        rig.shared.lock().members.remove("one#1");
        rig.shared.lock().owners.remove(&ConnectionId::parse("feed").unwrap());
        rig.connect(1, "feed").await;
        tick(&mut client, "feed", "b").await;
        let (mut next, mut message) = text(&mut messages).await;
        let mut gaps = 0;
        while next.starts_with("gap") {
            gaps += 1;
            (next, message) = text(&mut messages).await;
        }
        assert!(gaps > 0, "what may be missing is told");
        assert_eq!((next.as_str(), message.seq), ("b", 1));
        assert!(message.epoch > at.epoch);
        // The cursor of the first owner is good at any instance.
        let again = ReceiveRequest { cursor: at.cursor, ..by_id("feed") };
        let mut resumed = rig.client(1).await.receive(again).await.unwrap().into_inner();
        while text(&mut resumed).await.0 != "b" {}
        // It ends for good.
        let end = DisconnectRequest { id: "feed".into(), ..Default::default() };
        client.disconnect(end).await.unwrap();
        while messages.message().await.unwrap().is_some() {}
        let missing = client.receive(by_id("feed")).await;
        assert!(missing.is_err() || missing.unwrap().into_inner().message().await.is_ok());
        assert_eq!(client.receive(by_id("never")).await.unwrap_err().code(), Code::NotFound);
        let bad = ReceiveRequest { cursor: "bad".into(), ..by_id("never") };
        assert!(client.receive(bad).await.is_err());
    });
}

/// Waits until this instance was asked so many more times.
async fn asked_again(rig: &Rig, instance: usize, times: u64) {
    let served = || rig.instances[instance].counters.served.get();
    let before = served();
    while served() < before + times {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_follower_waits_for_what_its_owner_lets_go_of() {
    on_a_shard(async {
        let mut rig = Rig::start(&["one", "two", "three"]).await;
        rig.connect_for_good(0, "feed").await;
        let mut client = rig.client(2).await;
        let mut messages = client.receive(by_id("feed")).await.unwrap().into_inner();
        tick(&mut client, "feed", "a").await;
        assert_eq!(text(&mut messages).await.0, "a");
        rig.instances[0].let_go().await;
        // It comes back in vain for as long as the owner that has nothing more is a member.
        asked_again(&rig, 0, 4).await;
        rig.instances[0].kill();
        rig.shared.lock().members.remove("one#1");
        rig.shared.lock().owners.remove(&ConnectionId::parse("feed").unwrap());
        rig.connect_for_good(1, "feed").await;
        tick(&mut client, "feed", "b").await;
        loop {
            match text(&mut messages).await.0.as_str() {
                "b" => break,
                record => assert!(record == "end" || record.starts_with("gap"), "{record}"),
            }
        }
    });
}

#[test]
fn who_follows_through_an_instance_that_leaves_is_told_so_at_its_end() {
    on_a_shard(async {
        let rig = Rig::start(&["one", "two"]).await;
        rig.connect_for_good(0, "here").await;
        rig.connect_for_good(1, "there").await;
        let mut client = rig.client(0).await;
        let topic = ReceiveRequest { source: Some(Source::Topic("t".into())), ..Default::default() };
        let mut streams = Vec::new();
        for request in [by_id("here"), by_id("there"), topic] {
            streams.push(client.receive(request).await.unwrap().into_inner());
        }
        let mut events = client.watch(WatchRequest::default()).await.unwrap().into_inner();
        rig.instances[0].let_go().await;
        rig.instances[0].readiness.set(Life::Over);
        let mut ends = Vec::new();
        for mut stream in streams {
            ends.push(loop {
                match stream.message().await {
                    Ok(Some(_)) => {}
                    other => break other.map(|_| ()),
                }
            });
        }
        ends.push(loop {
            match events.message().await {
                Ok(Some(_)) => {}
                other => break other.map(|_| ()),
            }
        });
        for end in ends {
            let status = end.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
            assert!(status.message().contains("this instance is leaving"), "{status:?}");
        }
    });
}

#[test]
fn a_filter_is_followed_at_all_instances_with_one_cursor() {
    on_a_shard(async {
        let rig = Rig::start(&["one", "two"]).await;
        for (instance, id) in [(0, "left"), (1, "right")] {
            rig.connect(instance, id).await;
            let tag = SetTagRequest { id: id.into(), key: "venue".into(), value: "x".into() };
            rig.client(0).await.set_tag(tag).await.unwrap();
        }
        let filters = vec![TagFilter { key: "venue".into(), value: "x".into() }];
        let request =
            ReceiveRequest { source: Some(Source::Filter(TagFilters { filters })), ..Default::default() };
        let mut client = rig.client(0).await;
        let mut messages = client.receive(request.clone()).await.unwrap().into_inner();
        tick(&mut client, "left", "l1").await;
        assert_eq!(text(&mut messages).await.0, "l1");
        tick(&mut client, "right", "r1").await;
        let (right, at) = text(&mut messages).await;
        assert_eq!(right, "r1");
        tick(&mut client, "left", "l2").await;
        assert_eq!(text(&mut messages).await.0, "l2");
        tick(&mut client, "right", "r2").await;
        assert_eq!(text(&mut messages).await.0, "r2");
        drop(messages);
        // Both go on where the cursor stood, whoever is asked.
        let again = ReceiveRequest { cursor: at.cursor.clone(), ..request.clone() };
        let mut resumed = rig.client(1).await.receive(again).await.unwrap().into_inner();
        let mut found = [text(&mut resumed).await.0, text(&mut resumed).await.0];
        found.sort();
        assert_eq!(found, ["l2", "r2"]);
        let other = WatchRequest { cursor: at.cursor, ..Default::default() };
        assert_eq!(client.watch(other).await.unwrap_err().code(), Code::InvalidArgument);
        let empty = ReceiveRequest { source: Some(Source::Filter(TagFilters::default())), ..request };
        assert_eq!(client.receive(empty).await.unwrap_err().code(), Code::InvalidArgument);
    });
}

#[test]
fn events_of_all_instances_are_watched_and_who_leaves_is_told() {
    on_a_shard(async {
        let mut rig = Rig::start(&["one", "two"]).await;
        let mut client = rig.client(0).await;
        let mut events = client.watch(WatchRequest::default()).await.unwrap().into_inner();
        let filters = vec![TagFilter { key: "a".into(), value: "b".into() }];
        let source = Some(Source::Filter(TagFilters { filters }));
        let request = ReceiveRequest { source, ..Default::default() };
        let mut messages = client.receive(request).await.unwrap().into_inner();
        for (instance, id) in [(0, "here"), (1, "there")] {
            rig.connect(instance, id).await;
            loop {
                let event = events.message().await.unwrap().unwrap();
                assert!(!event.cursor.is_empty());
                if event.connection_id == id && event.r#type.ends_with(".connected") {
                    assert_eq!(event.instance_id, ["one", "two"][instance]);
                    break;
                }
            }
        }
        rig.instances[1].kill();
        rig.shared.lock().members.remove("two#1");
        assert_eq!(text(&mut messages).await.0, "gap not_retained");
    });
}

/// Each member gives what its own connections publish to the topic, so that each event comes once.
#[test]
fn a_topic_is_followed_through_the_rings_of_all_members() {
    on_a_shard(async {
        let rig = Rig::start(&["one", "two"]).await;
        let mut clients = Vec::new();
        for (at, feed) in ["left", "right"].into_iter().enumerate() {
            rig.connect(at, feed).await;
            let mut client = rig.client(at).await;
            let publish =
                StartPublishRequest { id: feed.into(), topic: "ticks".into(), ..Default::default() };
            client.start_publish(publish).await.unwrap();
            clients.push(client);
        }
        let topic = ReceiveRequest {
            source: Some(Source::Topic("ticks".into())),
            from_start: true,
            ..Default::default()
        };
        let mut messages = clients[0].receive(topic.clone()).await.unwrap().into_inner();
        tick(&mut clients[0], "left", "a").await;
        assert_eq!(text(&mut messages).await.0, "a");
        tick(&mut clients[1], "right", "b").await;
        let (second, at) = text(&mut messages).await;
        assert_eq!((second.as_str(), at.topic.as_str()), ("b", "ticks"));
        tick(&mut clients[0], "left", "c").await;
        let again = ReceiveRequest { cursor: at.cursor, from_start: false, ..topic };
        let mut resumed = clients[1].receive(again).await.unwrap().into_inner();
        assert_eq!(text(&mut resumed).await.0, "c");
    });
}

//! Sending to rooms: what members get, once each, in order.

use super::{number, place, send};
use crate::harness::{Service, Upstream, Visitor, grpc, wait_for};
use serde_json::json;
use websocket_manager::proto::ConnectRequest;

#[tokio::test]
async fn members_of_a_room_get_what_is_sent_to_it_and_others_do_not() {
    let service = Service::start().await;
    let mut here = Visitor::new(&service, "/ws/lobby").await;
    let mut also = Visitor::new(&service, "/ws?room=news&room=lobby").await;
    let mut other = Visitor::new(&service, "/ws/other").await;
    let (epoch, first) = send(&service, "lobby", "one").await;
    assert_eq!(first, 1);
    assert_eq!(send(&service, "lobby", "two").await, (epoch, 2));
    send(&service, "other", "for the other").await;
    for visitor in [&mut here, &mut also] {
        assert_eq!((visitor.text().await, visitor.text().await), ("one".into(), "two".into()));
    }
    assert_eq!(other.text().await, "for the other");
}

#[tokio::test]
async fn text_stays_text_and_bytes_stay_bytes_of_any_size() {
    let service = Service::start().await;
    let mut visitor = Visitor::new(&service, "/ws/a").await;
    let http = service.http();
    let big = "x".repeat(200_000);
    send(&service, "a", &big).await;
    assert_eq!(visitor.text().await, big);
    http.post("/v1/rooms/a/messages", &json!({ "data": "AAEC/w==" })).await;
    assert_eq!(visitor.binary().await, [0, 1, 2, 255]);
}

#[tokio::test]
async fn a_member_of_several_rooms_gets_a_message_to_them_once() {
    let service = Service::start().await;
    // On two shards the homes of these names differ.
    let rooms: Vec<String> = (0..6).map(|nth| format!("room-{nth}")).collect();
    let path =
        format!("/ws?{}", rooms.iter().map(|room| format!("room={room}")).collect::<Vec<_>>().join("&"));
    let mut all = Visitor::numbered(&service, &path).await;
    let mut one = Visitor::numbered(&service, "/ws/room-3").await;
    for nth in 0..20 {
        let message = json!({ "rooms": rooms, "message": format!("m{nth}") });
        let answer = service.http().post("/v1/rooms:send", &message).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["positions"].as_array().map(Vec::len), Some(6));
    }
    for nth in 0..20 {
        let frame = all.json().await;
        assert_eq!(frame["data"], format!("m{nth}"));
        assert_eq!(frame["also"].as_array().map(Vec::len), Some(5), "{frame}");
        let frame = one.json().await;
        assert_eq!((frame["room"].as_str(), &frame["data"]), (Some("room-3"), &json!(format!("m{nth}"))));
        assert_eq!(frame["offset"], nth + 1);
    }
    send(&service, "room-0", "last").await;
    assert_eq!(all.json().await["data"], "last");
}

#[tokio::test]
async fn numbered_frames_carry_the_payload_as_it_is() {
    let service = Service::start().await;
    let mut visitor = Visitor::numbered(&service, "/ws/a").await;
    assert_eq!(visitor.response.headers()["sec-websocket-protocol"], "wsm.rooms.v1");
    let cases = [
        (json!({"message": "plain"}), json!({"data": "plain"})),
        (json!({"message": "{\"a\": [1, 2]}"}), json!({"data": {"a": [1, 2]}})),
        (json!({"message": "[1]"}), json!({"data": [1]})),
        (json!({"message": "{broken"}), json!({"data": "{broken"})),
        (json!({"message": "7"}), json!({"data": "7"})),
        (json!({"data": "AAE="}), json!({"dataBase64": "AAE="})),
        (
            json!({"message": "{\"text\": \"h\u{e9}\"}", "messageId": "chat.message"}),
            json!({"data": {"MESSAGE_ID": "chat.message", "message": {"text": "h\u{e9}"}}}),
        ),
    ];
    for (nth, (sent, expected)) in cases.into_iter().enumerate() {
        let (epoch, offset) = place(&service.http().post("/v1/rooms/a/messages", &sent).await);
        let mut expected = expected;
        expected["room"] = json!("a");
        expected["epoch"] = json!(epoch);
        expected["offset"] = json!(offset);
        assert_eq!(offset, nth as u64 + 1);
        assert_eq!(visitor.json().await, expected);
    }
}

#[tokio::test]
async fn a_broadcast_reaches_everybody_who_came_in_and_is_numbered() {
    let service = Service::start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    grpc::dial(&mut client, ConnectRequest { url: upstream.url(), ..Default::default() }).await;
    let mut peer = upstream.peer().await;
    let mut plain = Visitor::new(&service, "/ws/a").await;
    let mut numbered = Visitor::numbered(&service, "/ws/b").await;
    let answer = service.http().post("/v1/broadcast", &json!({ "message": "to all" })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(plain.text().await, "to all");
    let frame = numbered.json().await;
    assert_eq!((frame["room"].as_str(), frame["data"].as_str()), (Some(""), Some("to all")));
    assert_eq!(frame["offset"], 1);
    // What was dialled is no member.
    peer.say("still here").await;
    assert!(crate::harness::wait::stays_pending(std::time::Duration::from_millis(200), peer.text()).await);
}

#[tokio::test]
async fn a_dialled_connection_feeds_rooms() {
    let service = Service::start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    let rooms = vec!["ticks".to_owned()];
    grpc::dial(&mut client, ConnectRequest { url: upstream.url(), rooms, ..Default::default() }).await;
    let mut peer = upstream.peer().await;
    let mut readers = Vec::new();
    for _ in 0..5 {
        readers.push(Visitor::numbered(&service, "/ws/ticks").await);
    }
    for nth in 0..50 {
        peer.say(format!("{{\"n\":{nth}}}")).await;
    }
    for reader in &mut readers {
        for nth in 0..50 {
            let frame = reader.json().await;
            assert_eq!((&frame["data"]["n"], &frame["offset"]), (&json!(nth), &json!(nth + 1)));
        }
    }
    wait_for("the books", async || {
        let metrics = service.metrics().await;
        (metrics.sum("wsm_messages_fed_total", &[]) == 50.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_by_name() {
    let service = Service::start().await;
    let http = service.http();
    let long = "r".repeat(257);
    for (path, body, field) in [
        ("/v1/rooms/a%00b/messages", json!({"message": "x"}), "room"),
        ("/v1/rooms/a%2Cb/messages", json!({"message": "x"}), "room"),
        (&*format!("/v1/rooms/{long}/messages"), json!({"message": "x"}), "room"),
        ("/v1/rooms/a/messages", json!({}), "message"),
        ("/v1/rooms/a/messages", json!({"message": "x", "data": "AAE="}), "message"),
        ("/v1/rooms/a/messages", json!({"message": "no json", "messageId": "m"}), "message"),
        ("/v1/rooms:send", json!({"message": "x"}), "rooms"),
        ("/v1/rooms:send", json!({"rooms": ["a", "b\u{7}"], "message": "x"}), "rooms"),
        ("/v1/broadcast", json!({}), "message"),
    ] {
        let answer = http.post(path, &body).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        assert!(answer.text().contains(field), "{path}: {}", answer.text());
    }
    assert_eq!(http.get("/v1/rooms/%FF/members").await.status, 400);
    // A room without members is no error.
    assert_eq!(
        number(
            &http.post("/v1/rooms/nobody/messages", &json!({"message": "x"})).await.json()["positions"][0]["offset"]
        ),
        1
    );
}

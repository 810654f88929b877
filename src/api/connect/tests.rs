use super::*;
use crate::api::{
    counters::calls::{CallEnd, CallsView},
    http::{self, HttpSettings},
    status::ErrorInfo,
    testing::{Answer, ask, edge, on_a_shard, rooms::House, start},
};
use prost::Message;
use std::net::SocketAddr;

const JSON: &str = "content-type: application/json\r\n";

async fn call(address: SocketAddr, method: &str, headers: &str, body: &str) -> Answer {
    ask(address, "POST", &format!("/virtufin.WebSocketManager/{method}"), headers, body).await
}

#[test]
fn unary_errors_in_connects_form() {
    on_a_shard(async {
        let running = start(edge());
        let methods =
            ["Connect", "List", "Get", "Update", "Disconnect", "StartPublish", "StopPublish", "Send"];
        for method in
            methods.into_iter().chain(["SendBatch", "SendRaw", "SetTag", "GetTag", "SetTags", "GetTags"])
        {
            for (headers, body) in
                [(JSON, "{}"), ("content-type: application/proto\r\nconnect-protocol-version: 1\r\n", "")]
            {
                let answer = call(running.address, method, headers, body).await;
                assert_eq!(answer.status, 503, "{method}: {}", answer.body);
                let error = answer.json();
                assert_eq!(
                    (&error["code"], &error["message"]),
                    (&"unavailable".into(), &"not started".into())
                );
                assert_eq!(error["details"][0]["type"], "google.rpc.ErrorInfo");
                let value = error["details"][0]["value"].as_str().unwrap();
                let value = BASE64_STANDARD_NO_PAD.decode(value).unwrap();
                assert_eq!(ErrorInfo::decode(&value[..]).unwrap().reason, "unavailable");
            }
        }
    });
}

#[test]
fn what_is_not_unary_connect_is_told_so() {
    on_a_shard(async {
        let running = start(edge());
        let unknown = call(running.address, "Nothing", JSON, "{}").await;
        assert_eq!((unknown.status, &unknown.json()["code"]), (404, &"unimplemented".into()));
        let stream = call(running.address, "Receive", JSON, "{}").await;
        assert_eq!((stream.status, &stream.json()["code"]), (501, &"unimplemented".into()));
        let enveloped =
            call(running.address, "Watch", "content-type: application/connect+json\r\n", "xxxxx").await;
        assert_eq!((enveloped.status, enveloped.body.as_bytes()[0]), (200, END_OF_STREAM));
        assert!(enveloped.body.contains("{\"error\":{\"code\":\"unimplemented\""));
        let media = call(running.address, "Get", "content-type: text/xml\r\n", "<a/>").await;
        assert_eq!((media.status, media.header("accept-post").is_some()), (415, true));
        let version =
            call(running.address, "Get", &format!("{JSON}connect-protocol-version: 2\r\n"), "{}").await;
        assert_eq!((version.status, &version.json()["code"]), (400, &"invalid_argument".into()));
        let packed = call(running.address, "Get", &format!("{JSON}content-encoding: gzip\r\n"), "{}").await;
        assert_eq!((packed.status, &packed.json()["code"]), (501, &"unimplemented".into()));
        assert_eq!(packed.header("accept-encoding"), Some("identity"));
        let get = ask(
            running.address,
            "GET",
            "/virtufin.WebSocketManager/Get?encoding=json&message=%7B%7D",
            "",
            "",
        )
        .await;
        assert_eq!(get.status, 405);
        let field = call(running.address, "Send", JSON, r#"{"timeoutMs":"x"}"#).await;
        assert_eq!((field.status, &field.json()["code"]), (400, &"invalid_argument".into()));
        assert!(field.json()["message"].as_str().unwrap().starts_with("timeoutMs: "));
        let mask =
            call(running.address, "Update", JSON, r#"{"id":"a","updateMask":"autoReconnect,idle.pongMs"}"#)
                .await;
        assert_eq!(mask.status, 503, "{}", mask.body);
        let broken = call(running.address, "Get", "content-type: application/proto\r\n", "\x0a\x7f").await;
        assert_eq!((broken.status, &broken.json()["code"]), (400, &"invalid_argument".into()));
    });
}

#[test]
fn rooms_are_a_service_of_their_own() {
    on_a_shard(async {
        let house = House::start();
        house.connect("one", &["a"], Some("u"));
        let running = start(http::router(&house.service, HttpSettings::default()));
        let rooms = async |method: &str, body: &str| {
            ask(running.address, "POST", &format!("/virtufin.Rooms/{method}"), JSON, body).await
        };
        let sent = rooms("Send", r#"{"rooms":["a"],"message":"x"}"#).await;
        assert_eq!((sent.status, &sent.json()["positions"][0]["offset"]), (200, &"1".into()));
        for (method, body) in [
            ("Broadcast", r#"{"message":"x"}"#),
            ("SendToUser", r#"{"user":"u","message":"x"}"#),
            ("Join", r#"{"room":"b","id":"one"}"#),
            ("Leave", r#"{"room":"b","id":"one"}"#),
            ("ListRooms", "{}"),
            ("ListMembers", r#"{"room":"a"}"#),
            ("History", r#"{"room":"a"}"#),
            ("KickUser", r#"{"user":"u"}"#),
        ] {
            let answer = rooms(method, body).await;
            assert_eq!(answer.status, 200, "{method}: {}", answer.body);
        }
        let bad = rooms("Join", r#"{"room":"a,b","id":"one"}"#).await;
        assert_eq!((bad.status, &bad.json()["code"]), (400, &"invalid_argument".into()));
        assert!(bad.json()["message"].as_str().unwrap().starts_with("room: "));
        // The other service's methods are none of this one's.
        assert_eq!(rooms("SendRaw", "{}").await.status, 404);
    });
}

#[test]
fn what_does_not_decode_is_counted_as_a_call() {
    on_a_shard(async {
        let service = crate::api::service::Service::unstarted();
        let running = start(http::router(&service, HttpSettings::default()));
        for (method, headers, body) in [
            ("Get", JSON, "{"),
            ("Update", JSON, "{\"updateMask\": 7}"),
            ("Get", "content-type: application/proto\r\n", "\u{1}"),
        ] {
            assert_eq!(call(running.address, method, headers, body).await.status, 400);
        }
        let ended = |method: Method| {
            CallsView::read([&*service.observer().calls]).ended[method as usize][CallEnd::Refused as usize]
        };
        assert_eq!((ended(Method::Get), ended(Method::Update)), (2, 1));
    });
}

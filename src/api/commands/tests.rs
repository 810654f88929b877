mod world;

use super::*;
use crate::{api::testing::on_a_shard, core::publish::batch::PublishError};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use world::{Trouble, World, aged, command};

fn send(id: &str, number: u32) -> Value {
    command("Send", json!({"id": id, "message": format!(r#"{{"id":{number},"op":"ask"}}"#)}))
}

#[test]
fn a_send_is_answered_once_wherever_it_is_delivered_again() {
    on_a_shard(async {
        let mut world = World::start().await;
        let (first, second) = (world.instance(1), world.instance(2));
        world.connect(&first, "c1").await;

        let mut event = send("c1", 7);
        event["replyid"] = "mine".into();
        event["traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into();
        let (ack, reply) = world.ask(&first, event.clone()).await;
        assert_eq!(ack, Ack::Done);
        let expected = json!({
            "specversion": "1.0", "source": "urn:com.virtufin.websocketmanager", "type": TYPE_REPLY,
            "datacontenttype": "application/json", "replyid": "mine", "grpccode": 0, "method": "Send",
            "subject": "c1", "traceparent": event["traceparent"],
            "id": reply["id"], "time": reply["time"], "data": reply["data"],
        });
        assert_eq!(reply, expected);
        assert_eq!(reply["data"]["response"], r#"{"id":7,"op":"ask"}"#, "{reply}");

        event["replyto"] = "replies".into();
        let replies = world.bus.events.lock().len();
        for instance in [&first, &second, &first, &second] {
            assert_eq!(instance.deliver(&event).await, Ok(Ack::Done));
        }
        assert_eq!([first.count(Outcome::Duplicate), second.count(Outcome::Duplicate)], [2, 2]);
        // The same id of another source is another command.
        event["source"] = "others".into();
        event["replyid"].take();
        let (_, reply) = world.ask(&second, event.clone()).await;
        assert_eq!(reply["replyid"], event["id"]);
        assert_eq!(world.bus.events.lock().len(), replies + 1);
        let asked = r#"{"id":7,"op":"ask"}"#;
        assert_eq!(world.heard(&first, "c1", "quiet end").await, [asked, asked]);
        assert_eq!(first.counters.replies(ReplyOutcome::Published), 2);
    });
}

#[test]
fn every_shape_of_an_event_is_read() {
    on_a_shard(async {
        let mut world = World::start().await;
        let instance = world.instance(1);
        world.connect(&instance, "c1").await;
        let data = |text: &str| json!({"id": "c1", "message": text});
        let mut shapes = vec![command("SendRaw", data("quiet 0"))];
        let mut text = command("send_raw", Value::Null);
        text["data"] = data("quiet 1").to_string().into();
        shapes.push(text);
        let mut encoded = command("SENDRAW", Value::Null);
        encoded["data_base64"] = STANDARD.encode(data("quiet 2").to_string()).into();
        shapes.push(encoded);
        let mut short = command("", data("quiet 3"));
        short["type"] = "SendRaw".into();
        shapes.push(short);
        let wrapped = |data: Value, id: &str| {
            json!({
                "specversion": "1.0", "id": id, "source": "app", "type": "com.dapr.event.sent",
                "datacontenttype": "application/json", "data": data, "topic": world::TOPIC,
            })
        };
        // Dapr took a whole event for plain JSON, for text, or for bytes.
        shapes.push(wrapped(command("SendRaw", data("quiet 4")), "outer-1"));
        shapes.push(wrapped(command("SendRaw", data("quiet 5")).to_string().into(), "outer-2"));
        let mut bytes = wrapped(Value::Null, "outer-3");
        bytes["data_base64"] = STANDARD.encode(command("SendRaw", data("quiet 6")).to_string()).into();
        shapes.push(bytes);
        for shape in &shapes {
            assert_eq!(instance.deliver(shape).await, Ok(Ack::Done), "{shape}");
        }
        let heard = world.heard(&instance, "c1", "quiet end").await;
        assert_eq!(heard, (0..7).map(|n| format!("quiet {n}")).collect::<Vec<_>>());

        // Both spellings of fields, and a mask as REST takes it.
        let snake = json!({"connection_id": "c2", "url": world.url, "auto_reconnect": null});
        assert_eq!(instance.deliver(&command("Connect", snake)).await, Ok(Ack::Done));
        let update = json!({"id": "c2", "settings": {"tags": {"a": "b"}}, "updateMask": "tags"});
        world.ask(&instance, command("Update", update)).await;
        let (_, listed) = world.ask(&instance, command("List", Value::Null)).await;
        assert_eq!(listed["data"]["connections"].as_array().map(Vec::len), Some(2), "{listed}");
    });
}

#[test]
fn what_is_wrong_is_answered_and_never_tried_again() {
    on_a_shard(async {
        let world = World::start().await;
        let instance = world.instance(1);
        let ask = async |event: Value| world.ask(&instance, event).await;
        let bad = |method: &str, data: Value| command(method, data);
        let mut both = bad("Get", json!({"id": "c1"}));
        both["data_base64"] = "e30=".into();
        let mut never = bad("Get", json!({"id": "c1"}));
        never["time"] = "yesterday".into();
        let mut ahead = bad("Get", json!({"id": "c1"}));
        ahead["time"] = "2999-01-01T00:00:00Z".into();
        let mut undated = send("c1", 1);
        undated["time"].take();
        let cases = [
            (bad("Get", json!({"id": "c1", "colour": 1})), 3, "colour", Ack::Drop),
            (bad("Get", json!({"id": "no spaces"})), 3, "id", Ack::Drop),
            (bad("Get", json!([1])), 3, "data", Ack::Drop),
            (bad("Get", "{".into()), 3, "data", Ack::Drop),
            (both, 3, "data", Ack::Drop),
            (never, 3, "time", Ack::Drop),
            (ahead, 3, "time", Ack::Drop),
            (undated, 3, "time", Ack::Drop),
            (bad("Explode", json!({})), 12, "type", Ack::Drop),
            (bad("Get", json!({"id": "nobody"})), 5, "", Ack::Done),
            (aged(send("c1", 1), limits::COMMAND_AGE_MAX), 4, "", Ack::Done),
            (aged(bad("Get", json!({"id": "c1"})), Duration::from_secs(3600)), 4, "", Ack::Done),
        ];
        for (event, code, field, expected) in cases {
            let (ack, reply) = ask(event.clone()).await;
            assert_eq!(
                (ack, &reply["grpccode"], &reply["data"]["code"]),
                (expected, &json!(code), &json!(code))
            );
            assert_eq!(reply["data"]["details"][0]["domain"], "websocketmanager", "{reply}");
            let violation = &reply["data"]["details"][1]["fieldViolations"][0]["field"];
            assert_eq!(violation.as_str().unwrap_or_default(), field, "{event} {reply}");
        }
        let counts = [Outcome::Invalid, Outcome::UnknownMethod, Outcome::Failed, Outcome::Expired];
        assert_eq!(counts.map(|outcome| instance.count(outcome)), [8, 1, 1, 2]);

        // Nobody to answer to.
        let replies = world.bus.events.lock().len();
        for topic in ["../etc", "a b", world::TOPIC] {
            let mut event = command("Get", json!({"id": "c1"}));
            event["replyto"] = topic.into();
            assert_eq!(instance.deliver(&event).await, Ok(Ack::Drop));
        }
        let nameless = json!({"specversion": "1.0", "source": "a", "type": "Get", "id": ""});
        let endless = json!({"id": "x".repeat(limits::COMMAND_NAME_BYTES_MAX + 1), "type": "Get"});
        let huge = vec![b' '; limits::REQUEST_BYTES_MAX + 1];
        let deep = "[".repeat(100_000);
        for event in [nameless.to_string().into(), endless.to_string().into(), huge, deep.into_bytes()] {
            assert_eq!(instance.deliver_bytes(event).await, Ok(Ack::Drop));
        }
        for text in ["", "null", "[]", "{}", "{", "\u{0}", r#"{"id":1,"type":2}"#] {
            assert_eq!(instance.deliver_bytes(text).await, Ok(Ack::Drop), "{text}");
        }
        assert_eq!([instance.count(Outcome::Invalid), instance.count(Outcome::Malformed)], [11, 11]);
        assert_eq!(world.bus.events.lock().len(), replies);
        assert!(world.documents.stored.lock().is_empty(), "nothing of it was claimed");
    });
}

/// An answer that does not come in the command's time is the end of it.
#[test]
fn the_rest_of_its_age_is_the_deadline() {
    on_a_shard(async {
        let world = World::start().await;
        let instance = world.instance(1);
        world.connect(&instance, "c1").await;
        let quiet = json!({"id": "c1", "message": "quiet", "timeoutMs": 600_000});
        let almost = limits::COMMAND_AGE_MAX - Duration::from_millis(300);
        let (ack, reply) = world.ask(&instance, aged(command("Send", quiet), almost)).await;
        assert_eq!((ack, &reply["grpccode"]), (Ack::Done, &json!(4)), "{reply}");
    });
}

#[test]
fn with_the_store_away_only_what_may_run_twice_runs() {
    on_a_shard(async {
        let mut world = World::start().await;
        let (first, second) = (world.instance(1), world.instance(2));
        world.connect(&first, "c1").await;
        for trouble in [Trouble::Down, Trouble::Deaf] {
            let (once, again) =
                (send("c1", 1), command("SetTag", json!({"id": "c1", "key": "a", "value": "b"})));
            let anonymous = command("Connect", json!({"url": world.url}));
            *world.documents.trouble.lock() = trouble;
            for _ in 0..3 {
                for event in [&once, &anonymous] {
                    assert_eq!(first.deliver(event).await, Ok(Ack::Retry), "{trouble:?}");
                }
            }
            assert_eq!(first.deliver(&again).await, Ok(Ack::Done));
            *world.documents.trouble.lock() = Trouble::None;
            // What was left open is recognised, and runs here once.
            assert_eq!(first.deliver(&once).await, Ok(Ack::Done));
            for instance in [&second, &first] {
                assert_eq!(instance.deliver(&once).await, Ok(Ack::Done));
            }
            let heard = world.heard(&first, "c1", "quiet end").await;
            assert_eq!(heard, [r#"{"id":1,"op":"ask"}"#], "{trouble:?}");
        }
        assert_eq!(first.count(Outcome::Unclaimed), 12);
        assert_eq!([first.count(Outcome::Duplicate), second.count(Outcome::Duplicate)], [2, 2]);
    });
}

/// A claim whose answer was lost and which another instance meets: nobody runs it twice.
#[test]
fn an_open_claim_keeps_others_away() {
    on_a_shard(async {
        let mut world = World::start().await;
        let (first, second) = (world.instance(1), world.instance(2));
        world.connect(&first, "c1").await;
        let event = send("c1", 1);
        *world.documents.trouble.lock() = Trouble::Deaf;
        assert_eq!(first.deliver(&event).await, Ok(Ack::Retry));
        *world.documents.trouble.lock() = Trouble::None;
        assert_eq!(second.deliver(&event).await, Ok(Ack::Done));
        assert_eq!(second.count(Outcome::Duplicate), 1);
        assert!(world.heard(&first, "c1", "quiet end").await.is_empty());
    });
}

#[test]
fn commands_for_one_connection_keep_their_order() {
    on_a_shard(async {
        let mut world = World::start().await;
        let instance = world.instance(1);
        world.connect(&instance, "c1").await;
        world.connect(&instance, "c2").await;
        let mut acks = Vec::new();
        for number in 0..60 {
            for id in ["c1", "c2"] {
                let data = json!({"id": id, "message": format!("quiet {id} {number}")});
                acks.push(instance.deliver(&command("SendRaw", data)));
            }
        }
        for ack in acks {
            assert_eq!(ack.await, Ok(Ack::Done));
        }
        let heard = world.heard(&instance, "c1", "quiet end").await;
        for id in ["c1", "c2"] {
            let of: Vec<_> = heard.iter().filter(|said| said.contains(id)).cloned().collect();
            // The other connection's last words may still be on their way.
            let expected: Vec<_> = (0..60).map(|number| format!("quiet {id} {number}")).collect();
            assert!(expected.starts_with(&of) && (id == "c2" || of.len() == 60), "{of:?}");
        }
    });
}

#[test]
fn a_flood_is_bounded_and_one_slow_connection_does_not_stop_the_others() {
    on_a_shard(async {
        let world = World::start().await;
        let instance = world.instance(1);
        world.connect(&instance, "slow").await;
        world.documents.gate.forget_permits(usize::MAX);
        let sends = |id: &str, number: usize| {
            let mut event = command("SendRaw", json!({"id": id, "message": format!("quiet {number}")}));
            event["replyto"] = "replies".into();
            instance.deliver(&event)
        };
        let (slow, per) = (limits::COMMANDS_IN_FLIGHT_MAX, limits::COMMANDS_PER_CONNECTION_MAX);
        let mut acks: Vec<_> = (0..slow).map(|number| sends("slow", number)).collect();
        // Reads need no claim: they pass by all that waits.
        assert_eq!(instance.deliver(&command("Get", json!({"id": "nobody"}))).await, Ok(Ack::Done));
        for refused in acks.drain(per..) {
            assert_eq!(refused.await, Ok(Ack::Done));
        }
        assert_eq!(instance.count(Outcome::Full), (slow - per) as u64);
        let told = world.bus.events.lock().last().cloned().expect("a reply").1;
        assert_eq!(told["grpccode"], 8, "{told}");

        // Others, until no more are taken.
        let others: Vec<_> = (0..1000).map(|number| sends(&format!("other-{number}"), number)).collect();
        while instance.counters.in_flight() < limits::COMMANDS_IN_FLIGHT_MAX as u64 {
            task::yield_now().await;
        }
        for _ in 0..1000 {
            task::yield_now().await;
            assert_eq!(instance.counters.in_flight(), limits::COMMANDS_IN_FLIGHT_MAX as u64);
        }
        world.documents.gate.add_permits(10_000);
        for ack in acks.into_iter().chain(others) {
            assert_eq!(ack.await, Ok(Ack::Done));
        }
        assert_eq!([instance.count(Outcome::Done), instance.count(Outcome::Failed)], [1 + per as u64, 1001]);
    });
}

#[test]
fn stopping_finishes_what_has_begun_and_gives_the_rest_back() {
    on_a_shard(async {
        let world = World::start().await;
        let instance = world.instance(1);
        world.connect(&instance, "c1").await;
        world.documents.gate.forget_permits(usize::MAX);
        let data = json!({"id": "c1", "message": "quiet"});
        let (begun, waits) = (
            instance.deliver(&command("SendRaw", data.clone())),
            instance.deliver(&command("SendRaw", data)),
        );
        while instance.counters.in_flight() < 2 {
            task::yield_now().await;
        }
        let counters = instance.counters.clone();
        let stopped = task::spawn_local(instance.stop());
        assert!(waits.await.is_err(), "dropped, which its inbox tells as Retry");
        world.documents.gate.add_permits(10);
        assert_eq!(begun.await, Ok(Ack::Done));
        stopped.await.expect("ended");
        assert_eq!((counters.in_flight(), counters.is_taking()), (0, false));
    });
}

#[test]
fn a_reply_is_tried_again_under_its_own_id() {
    on_a_shard(async {
        let world = World::start().await;
        let instance = world.instance(1);
        world.connect(&instance, "c1").await;
        world.bus.events.lock().clear();
        world.bus.script.lock().extend([PublishError::Retry, PublishError::Retry]);
        let mut event = command("Get", json!({"id": "c1"}));
        event["replyto"] = "replies".into();
        assert_eq!(instance.deliver(&event).await, Ok(Ack::Done));
        let ids: Vec<_> = world.bus.events.lock().iter().map(|(_, reply)| reply["id"].clone()).collect();
        assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");

        // Refused for good: the caller is told in few words instead.
        world.bus.script.lock().push_back(PublishError::Refused(vec![0]));
        let (ack, reply) = world.ask(&instance, command("Get", json!({"id": "c1"}))).await;
        assert_eq!((ack, &reply["grpccode"]), (Ack::Done, &json!(13)));
        let counts = [ReplyOutcome::Published, ReplyOutcome::Refused, ReplyOutcome::Lost];
        assert_eq!(counts.map(|outcome| instance.counters.replies(outcome)), [3, 1, 0]);
    });
}

#[test]
fn a_type_ends_in_the_name_of_a_method() {
    for method in METHODS {
        for kind in [
            format!("com.virtufin.websocketmanager.command.{method}"),
            format!("/virtufin.WebSocketManager/{method}"),
            method.to_lowercase(),
            format!("acme:{}", method.to_uppercase()),
        ] {
            assert_eq!(method_of(&kind), Some(*method), "{kind}");
        }
    }
    assert_eq!(method_of("x.send-raw"), Some("SendRaw"));
    for kind in ["", ".", "com.dapr.event.sent", TYPE_REPLY, "sendx", "command.Send.", "SendBatch"] {
        assert_eq!(method_of(kind), None, "{kind}");
    }
}

//! The seven correlation rules, each with a reply that is not the first message to come.

use super::{Pair, correlation};
use crate::harness::within;
use serde_json::{Value, json};
use websocket_manager::proto::{
    ArrayRule, FifoRule, JsonRpcRule, JsonRule, MatchRule, PrefixRule, SendRequest, SendResponse,
    correlation::Rule,
};

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}"))
}

async fn reply(send: tokio::task::JoinHandle<Result<SendResponse, tonic::Status>>) -> SendResponse {
    within("the reply", send).await.expect("the task ends").expect("a reply")
}

#[tokio::test]
async fn auto_takes_the_first_message_with_an_equal_id_of_the_same_type() {
    let mut pair = Pair::new().await;
    let send = pair.begin(pair.text(r#"{"id": 7, "ask": "x"}"#));
    assert_eq!(json_of(&pair.peer.text().await), json!({"id": 7, "ask": "x"}));
    pair.peer.say(r#"{"tick": 1}"#).await;
    pair.peer.say(r#"{"id": "7", "answer": "another type"}"#).await;
    pair.peer.say(r#"{"inner": {"id": 7}}"#).await;
    pair.peer.say(r#"{"answer": "mine", "id": 7}"#).await;
    let answer = reply(send).await;
    assert_eq!(answer.response, r#"{"answer": "mine", "id": 7}"#);
    assert!(answer.data.is_empty(), "a text reply sets no data");
}

#[tokio::test]
async fn auto_without_an_id_takes_the_next_message() {
    let mut pair = Pair::new().await;
    let send = pair.begin(pair.text("hello"));
    assert_eq!(pair.peer.text().await, "hello");
    pair.peer.say("world").await;
    assert_eq!(reply(send).await.response, "world");
}

#[tokio::test]
async fn json_pointers_name_the_id_of_request_and_response() {
    let rule = JsonRule {
        request_path: "/header/correlationId".into(),
        response_path: "/meta/re".into(),
        ..Default::default()
    };
    let mut pair = Pair::with_rule(Rule::Json(rule)).await;
    let send = pair.begin(pair.text(r#"{"header": {"correlationId": "a-1"}}"#));
    pair.peer.text().await;
    pair.peer.say(r#"{"header": {"correlationId": "a-1"}}"#).await;
    pair.peer.say(r#"{"meta": {"re": "a-1"}, "ok": true}"#).await;
    assert_eq!(json_of(&reply(send).await.response)["ok"], true);
}

#[tokio::test]
async fn json_injects_an_id_where_there_is_none() {
    for integer in [false, true] {
        let path = "/req_id".to_owned();
        let rule = JsonRule {
            request_path: path.clone(),
            response_path: path,
            inject: true,
            inject_integer: integer,
        };
        let mut pair = Pair::with_rule(Rule::Json(rule)).await;
        let sends = [pair.begin(pair.text(r#"{"ask": 1}"#)), pair.begin(pair.text(r#"{"ask": 2}"#))];
        let mut seen: Vec<Value> = Vec::new();
        for _ in 0..2 {
            seen.push(json_of(&pair.peer.text().await));
        }
        assert_ne!(seen[0]["req_id"], seen[1]["req_id"], "injected ids differ");
        assert!(
            seen.iter().all(|it| it["req_id"].is_number() == integer && it["req_id"].is_string() != integer)
        );
        // Answered the other way round: only the id can tell them apart.
        for request in seen.iter().rev() {
            pair.peer.say(json!({"req_id": request["req_id"], "echo": request["ask"]}).to_string()).await;
        }
        for (send, ask) in sends.into_iter().zip(1..) {
            assert_eq!(json_of(&reply(send).await.response)["echo"], ask);
        }
    }
}

#[tokio::test]
async fn json_rpc_gives_errors_back_as_replies() {
    let mut pair = Pair::with_rule(Rule::JsonRpc(JsonRpcRule {})).await;
    let send = pair.begin(pair.text(r#"{"jsonrpc": "2.0", "id": 3, "method": "m"}"#));
    pair.peer.text().await;
    pair.peer.say(r#"{"jsonrpc": "2.0", "method": "notice", "params": {"id": 3}}"#).await;
    pair.peer.say(r#"{"jsonrpc": "2.0", "id": 3, "error": {"code": -32601, "message": "no"}}"#).await;
    assert_eq!(json_of(&reply(send).await.response)["error"]["code"], -32601);
}

#[tokio::test]
async fn array_matches_results_and_errors_of_ocpp() {
    let mut pair = Pair::with_rule(Rule::Array(ArrayRule { position: 1 })).await;
    for (kind, id) in [(3, "call-1"), (4, "call-2")] {
        let send = pair.begin(pair.text(&json!([2, id, "Heartbeat", {}]).to_string()));
        pair.peer.text().await;
        // The station's own call with the same id is no answer.
        pair.peer.say(json!([2, id, "StatusNotification", {}]).to_string()).await;
        pair.peer.say(json!([kind, "other", {}]).to_string()).await;
        pair.peer.say(json!([kind, id, {"at": 1}]).to_string()).await;
        assert_eq!(json_of(&reply(send).await.response), json!([kind, id, {"at": 1}]));
    }
}

#[tokio::test]
async fn prefix_puts_sixteen_bytes_before_and_strips_them_from_the_reply() {
    let mut pair = Pair::with_rule(Rule::Prefix(PrefixRule {})).await;
    let ask =
        |bytes: &[u8]| SendRequest { id: pair.id.clone(), data: bytes.to_vec().into(), ..Default::default() };
    let sends = [pair.begin(ask(b"one")), pair.begin(ask(b"two"))];
    let mut frames = vec![pair.peer.binary().await, pair.peer.binary().await];
    assert!(frames.iter().all(|frame| frame.len() == 16 + 3), "{frames:?}");
    assert_ne!(frames[0][..16], frames[1][..16]);
    // A frame that is too short to carry a prefix answers nobody.
    pair.peer.say_bytes(b"short".to_vec()).await;
    frames.reverse();
    for frame in frames {
        let mut answer = frame[..16].to_vec();
        answer.extend_from_slice(b"re:");
        answer.extend_from_slice(&frame[16..]);
        pair.peer.say_bytes(answer).await;
    }
    for (send, expected) in sends.into_iter().zip([&b"re:one"[..], b"re:two"]) {
        let answer = reply(send).await;
        assert_eq!(&answer.data[..], expected);
        assert!(answer.response.is_empty(), "a binary reply sets no text");
    }
}

#[tokio::test]
async fn fifo_answers_in_the_order_of_sending() {
    let mut pair = Pair::with_rule(Rule::Fifo(FifoRule::default())).await;
    let mut sends = Vec::new();
    for text in ["a", "b", "c"] {
        sends.push(pair.begin(pair.text(text)));
        assert_eq!(pair.peer.text().await, text);
    }
    for text in ["1", "2", "3"] {
        pair.peer.say(text).await;
    }
    for (send, expected) in sends.into_iter().zip(["1", "2", "3"]) {
        assert_eq!(reply(send).await.response, expected);
    }
}

#[tokio::test]
async fn match_takes_the_first_message_whose_value_equals() {
    let rule = MatchRule { path: "/type".into(), equals: "snapshot".into() };
    let mut pair = Pair::with_rule(Rule::Match(rule)).await;
    let send = pair.begin(pair.text("give me the book"));
    pair.peer.text().await;
    pair.peer.say(r#"{"type": "update", "n": 1}"#).await;
    pair.peer.say(r#"{"type": "snapshot", "n": 2}"#).await;
    assert_eq!(json_of(&reply(send).await.response)["n"], 2);
}

#[tokio::test]
async fn one_send_can_bring_a_rule_of_its_own() {
    let mut pair = Pair::with_rule(Rule::Fifo(FifoRule::default())).await;
    let rule = MatchRule { path: "/type".into(), equals: "pong".into() };
    let request = SendRequest { correlation: Some(correlation(Rule::Match(rule))), ..pair.text("ping") };
    let send = pair.begin(request);
    pair.peer.text().await;
    pair.peer.say(r#"{"type": "tick"}"#).await;
    pair.peer.say(r#"{"type": "pong"}"#).await;
    assert_eq!(json_of(&reply(send).await.response)["type"], "pong");
}

#[tokio::test]
async fn a_binary_message_gets_a_binary_reply() {
    let mut pair = Pair::new().await;
    let request =
        SendRequest { id: pair.id.clone(), data: vec![0, 159, 146, 150].into(), ..Default::default() };
    let send = pair.begin(request);
    assert_eq!(pair.peer.binary().await, [0, 159, 146, 150]);
    pair.peer.say_bytes(vec![1, 2, 3]).await;
    assert_eq!(&reply(send).await.data[..], [1, 2, 3]);
}

//! Many Sends at once, streams and batches, time running out, replies that come late.

use super::Pair;
use crate::harness::{Service, Upstream, fault, grpc, peers, service::Plan, within};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tokio_stream::StreamExt;
use tonic::Code;
use websocket_manager::proto::{
    ConnectRequest, FifoRule, ReceiveRequest, SendBatchRequest, SendLimits, SendOutcome, SendRequest,
    correlation::Rule, receive_request::Source, received_message::Body,
};

const MANY: u64 = 200;

#[tokio::test]
async fn two_sends_with_one_id_cannot_be_told_apart() {
    let mut pair = Pair::new().await;
    let first = pair.begin(pair.text(r#"{"id": 1}"#));
    pair.peer.text().await;
    let second = pair.client.send(pair.text(r#"{"id": 1}"#)).await.expect_err("the id is in flight");
    assert_eq!((second.code(), fault(&second).reason.as_str()), (Code::AlreadyExists, "correlation_in_use"));
    pair.peer.say(r#"{"id": 1, "for": "first"}"#).await;
    assert!(first.await.expect("the task ends").expect("a reply").response.contains("first"));
    // Answered, so the id is free again.
    let third = pair.begin(pair.text(r#"{"id": 1}"#));
    pair.peer.text().await;
    pair.peer.say(r#"{"id": 1, "for": "third"}"#).await;
    assert!(third.await.expect("the task ends").expect("a reply").response.contains("third"));
}

#[tokio::test]
async fn no_reply_in_time_is_said_and_the_late_one_flows_on() {
    let mut pair = Pair::new().await;
    let request = ReceiveRequest { source: Some(Source::Id(pair.id.clone())), ..Default::default() };
    let mut received = pair.client.receive(request).await.expect("a stream").into_inner();
    let late = SendRequest { timeout_ms: 50, ..pair.text(r#"{"id": 1}"#) };
    let status = pair.client.send(late).await.expect_err("nobody answers");
    assert_eq!((status.code(), fault(&status).reason.as_str()), (Code::DeadlineExceeded, "timed_out"));
    assert!(status.message().contains("maybe_sent"), "{}", status.message());
    pair.peer.text().await;
    // The id again: the old reply, which may still come, must not answer it.
    let status = pair.client.send(pair.text(r#"{"id": 1}"#)).await.expect_err("the id is remembered");
    assert_eq!(status.code(), Code::AlreadyExists, "{status:?}");
    pair.peer.say(r#"{"id": 1, "is": "late"}"#).await;
    let message =
        within("the late reply", received.next()).await.expect("the stream goes on").expect("a message");
    assert_eq!(message.body, Some(Body::Text(r#"{"id": 1, "is": "late"}"#.into())));
    assert!(!message.reply, "nobody got it as a reply");
    assert!(pair.service.metric("wsm_replies_late_total", &[]).await >= 1.0);
    let again = pair.begin(pair.text(r#"{"id": 1}"#));
    pair.peer.text().await;
    pair.peer.say(r#"{"id": 1, "is": "new"}"#).await;
    let answer = within("the reply", again).await.expect("the task ends").expect("a reply");
    assert!(answer.response.contains("new"), "{}", answer.response);
}

#[tokio::test]
async fn after_a_fifo_timeout_pairing_is_in_doubt_until_silence() {
    let mut pair = Pair::with_rule(Rule::Fifo(FifoRule { resync_ms: 200 })).await;
    let status =
        pair.client.send(SendRequest { timeout_ms: 50, ..pair.text("a") }).await.expect_err("silence");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let status = pair.client.send(pair.text("b")).await.expect_err("the pairing is in doubt");
    assert_eq!((status.code(), fault(&status).reason.as_str()), (Code::FailedPrecondition, "fifo_resync"));
    assert!(status.message().contains("fifo_resync"), "{}", status.message());
    assert_eq!(pair.peer.text().await, "a");
    crate::harness::wait_for("the pairing to be trusted again", async || {
        let mut client = pair.client.clone();
        let request = SendRequest { timeout_ms: 50, ..pair.text("c") };
        let status = client.send(request).await.expect_err("nobody answers");
        (status.code() == Code::DeadlineExceeded).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_bound_on_sends_in_flight_is_told_with_when_to_come_back() {
    let limits = SendLimits { max_in_flight: 1, ..Default::default() };
    let mut pair = Pair::with(ConnectRequest { limits: Some(limits), ..Default::default() }).await;
    let first = pair.begin(pair.text(r#"{"id": 1}"#));
    pair.peer.text().await;
    let status = pair.client.send(pair.text(r#"{"id": 2}"#)).await.expect_err("one is in flight");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(fault(&status).retry, "with RetryInfo");
    pair.peer.say(r#"{"id": 1}"#).await;
    first.await.expect("the task ends").expect("a reply");
}

async fn many(service: &Service, upstream: &Upstream) -> (grpc::Client, Vec<SendRequest>) {
    let mut client = service.grpc().await;
    let id = grpc::dial(&mut client, grpc::to(&upstream.url())).await;
    let request = |tag: u64| SendRequest {
        id: id.clone(),
        message: json!({"id": tag, "text": "x".repeat(tag as usize % 50)}).to_string(),
        tag,
        ..Default::default()
    };
    (client, (0..MANY).map(request).collect())
}

fn id_of(text: &str) -> u64 {
    serde_json::from_str::<Value>(text).expect("JSON")["id"].as_u64().expect("an id")
}

#[tokio::test]
async fn a_stream_answers_each_send_once() {
    let (service, upstream) = (Service::start().await, Upstream::echo().await);
    let (mut client, mut requests) = many(&service, &upstream).await;
    requests.push(SendRequest { id: "nobody".into(), message: "x".into(), tag: MANY, ..Default::default() });
    let mut results = client.send_stream(tokio_stream::iter(requests)).await.expect("a stream").into_inner();
    let mut tags = BTreeSet::new();
    while let Some(result) = within("the next result", results.next()).await {
        let result = result.expect("results, not a status");
        assert!(tags.insert(result.tag), "tag {} came twice", result.tag);
        if result.tag == MANY {
            assert_eq!((result.code, result.outcome()), (Code::NotFound as i32, SendOutcome::Rejected));
            continue;
        }
        assert_eq!((result.code, result.outcome()), (0, SendOutcome::Replied), "{}", result.message);
        assert_eq!(id_of(&result.response.expect("a reply").response), result.tag);
    }
    assert_eq!(tags.len() as u64, MANY + 1, "every Send has its outcome");
}

#[tokio::test]
async fn a_batch_answers_in_the_order_of_its_requests() {
    let (service, upstream) = (Service::start().await, Upstream::echo().await);
    let (mut client, requests) = many(&service, &upstream).await;
    let results =
        client.send_batch(SendBatchRequest { requests }).await.expect("results").into_inner().results;
    assert_eq!(results.iter().map(|result| result.tag).collect::<Vec<_>>(), (0..MANY).collect::<Vec<_>>());
    for result in results {
        assert_eq!((result.code, result.outcome()), (0, SendOutcome::Replied), "{}", result.message);
        assert_eq!(id_of(&result.response.expect("a reply").response), result.tag);
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_behind() {
    let mut pair = Pair::new().await;
    let send = pair.begin(pair.text(r#"{"id": "gone"}"#));
    pair.peer.text().await;
    assert_eq!(grpc::get(&mut pair.client, &pair.id).await.expect("it is there").sends_in_flight, 1);
    send.abort();
    let mut client = pair.client.clone();
    crate::harness::wait_for("the Send to be forgotten", async || {
        let connection = grpc::get(&mut client, &pair.id).await.expect("it is there");
        (connection.sends_in_flight == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn servers_of_other_makes_answer() {
    let service = Service::start().await;
    let mut client = service.grpc().await;
    for foreign in [peers::python().await, peers::node().await].into_iter().flatten() {
        let request = ConnectRequest { subprotocols: vec!["echo.v1".into()], ..grpc::to(&foreign.url) };
        let answer = client.connect(request).await.expect("it connects").into_inner();
        assert_eq!(answer.subprotocol, "echo.v1");
        for size in [1, 125, 126, 65_535, 65_536, 300_000] {
            let message = json!({"id": size, "text": "é".repeat(size / 2)}).to_string();
            let request =
                SendRequest { id: answer.id.clone(), message: message.clone(), ..Default::default() };
            assert_eq!(client.send(request).await.expect("a reply").into_inner().response, message);
            let request =
                SendRequest { id: answer.id.clone(), data: vec![255; size].into(), ..Default::default() };
            assert_eq!(client.send(request).await.expect("a reply").into_inner().data.len(), size);
        }
    }
}

#[tokio::test]
async fn a_loop_that_polls_on_serves_like_one_that_sleeps() {
    let service = Plan::new().args(&["--busy-poll-us", "200"]).start().await;
    let upstream = Upstream::echo().await;
    let mut client = service.grpc().await;
    let id = grpc::dial(&mut client, grpc::to(&upstream.url())).await;
    for n in 0..MANY {
        let message = format!(r#"{{"id": {n}}}"#);
        let request = SendRequest { id: id.clone(), message: message.clone(), ..Default::default() };
        assert_eq!(client.send(request).await.expect("a reply").into_inner().response, message);
    }
}

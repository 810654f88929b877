//! When the socket breaks: what was not sent is said to be so, and only that.

use super::Pair;
use crate::harness::{Upstream, fault, grpc, service::Plan, within};
use tokio::io::AsyncReadExt;
use tokio_stream::StreamExt;
use tonic::Code;
use websocket_manager::proto::{
    DisconnectRequest, SendCertainty, SendOutcome, SendRawRequest, SendRequest, SendResult,
};

const FRAME: usize = 64 * 1024;
/// Together more than any socket buffer takes, and less than the outbox holds.
const FRAMES: u64 = 256;
/// What the upstream reads before it cuts.
const READ: usize = 300_000;

/// Each message says which it is in every eight bytes, so a part of a frame tells its sender.
fn marked(tag: u64) -> Vec<u8> {
    tag.to_be_bytes().repeat(FRAME / 8)
}

/// The tags of the frames of which at least the head and the mask were read.
fn begun(mut bytes: &[u8]) -> Vec<u64> {
    let mut tags = Vec::new();
    while bytes.len() >= 2 {
        let (length, head) = match bytes[1] & 0x7f {
            127 if bytes.len() >= 10 => {
                (u64::from_be_bytes(bytes[2..10].try_into().expect("eight bytes")), 10)
            }
            126 if bytes.len() >= 4 => (u64::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
            short @ 0..126 => (u64::from(short), 2),
            _ => break,
        };
        let Some(mask) = bytes.get(head..head + 4) else { break };
        let opcode = bytes[0] & 0x0f;
        let body = &bytes[head + 4..];
        if opcode == 2 && body.len() >= 8 {
            let plain: Vec<u8> =
                body[..8].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            tags.push(u64::from_be_bytes(plain.try_into().expect("eight bytes")));
        }
        bytes = body.get(length as usize..).unwrap_or(&[]);
    }
    tags
}

#[tokio::test]
async fn what_is_told_not_sent_never_reached_the_upstream() {
    let service = Plan::new().args(&["--outbox-bytes-max", "64MiB"]).start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    let id = grpc::dial(&mut client, grpc::to(&upstream.url())).await;
    let mut stream = upstream.peer().await.into_stream();

    let request = |tag| SendRequest {
        id: id.clone(),
        data: marked(tag).into(),
        tag,
        timeout_ms: 60_000,
        ..Default::default()
    };
    let requests: Vec<_> = (0..FRAMES).map(request).collect();
    let results = client.send_stream(tokio_stream::iter(requests)).await.expect("a stream").into_inner();
    // All are accepted before the upstream reads a byte more than the kernel takes by itself.
    let mut looker = client.clone();
    crate::harness::wait_for("all Sends to be in flight", async || {
        let connection = grpc::get(&mut looker, &id).await.expect("it is there");
        (u64::from(connection.sends_in_flight) == FRAMES).then_some(())
    })
    .await;
    let mut bytes = vec![0; READ];
    within("bytes at the upstream", stream.read_exact(&mut bytes)).await.expect("bytes");
    drop(stream);

    let results: Vec<SendResult> =
        within("the outcomes", results.map(|result| result.expect("a result")).collect()).await;
    assert_eq!(results.len() as u64, FRAMES, "one outcome each");
    let certainty =
        |tag: u64| results.iter().find(|result| result.tag == tag).expect("an outcome").certainty();
    let seen = begun(&bytes);
    assert!(seen.len() > 1, "the upstream saw frames");
    for tag in seen {
        assert_eq!(certainty(tag), SendCertainty::MaybeSent, "{tag} was seen by the upstream");
    }
    for result in &results {
        let expected = match result.certainty() {
            SendCertainty::NotSent => (Code::Unavailable as i32, SendOutcome::Lost),
            _ => (Code::Aborted as i32, SendOutcome::Lost),
        };
        assert_eq!((result.code, result.outcome()), expected, "{}", result.message);
    }
    assert_eq!(certainty(FRAMES - 1), SendCertainty::NotSent, "the last never left the outbox");
}

#[tokio::test]
async fn a_socket_that_breaks_after_writing_aborts() {
    let mut pair = Pair::new().await;
    let send = pair.begin(pair.text(r#"{"id": 1}"#));
    pair.peer.text().await;
    pair.peer.end().await;
    let status = within("the outcome", send).await.expect("the task ends").expect_err("the socket broke");
    assert_eq!((status.code(), fault(&status).reason.as_str()), (Code::Aborted, "maybe_sent"));
    assert!(status.message().contains("maybe_sent"), "{}", status.message());
    assert_eq!(pair.upstream.taken(), 1, "and nothing is sent again");
}

#[tokio::test]
async fn a_close_frame_of_the_peer_ends_pending_sends_too() {
    let mut pair = Pair::new().await;
    let send = pair.begin(pair.text(r#"{"id": 1}"#));
    pair.peer.text().await;
    pair.peer.close(1011, "over").await;
    let status = within("the outcome", send).await.expect("the task ends").expect_err("the socket closed");
    assert_eq!((status.code(), fault(&status).reason.as_str()), (Code::Aborted, "maybe_sent"));
}

#[tokio::test]
async fn a_reply_that_came_before_the_close_is_delivered() {
    let mut pair = Pair::new().await;
    let send = pair.begin(pair.text(r#"{"id": 1}"#));
    pair.peer.text().await;
    pair.peer.say(r#"{"id": 1, "last": true}"#).await;
    pair.peer.end().await;
    let answer = within("the reply", send).await.expect("the task ends").expect("a reply");
    assert!(answer.response.contains("last"));
}

#[tokio::test]
async fn disconnect_cancels_what_waits() {
    let mut pair = Pair::new().await;
    // Open-ended: the call must not end before its outcome is there.
    let (queue, stream) = tokio::sync::mpsc::channel(1);
    queue.send(SendRequest { tag: 9, ..pair.text(r#"{"id": 1}"#) }).await.expect("room");
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut results = pair.client.send_stream(stream).await.expect("a stream").into_inner();
    pair.peer.text().await;
    let request = DisconnectRequest { id: pair.id.clone(), code: 3001, reason: "enough".into() };
    pair.client.disconnect(request).await.expect("it is disconnected");
    let result = within("the outcome", results.next()).await.expect("an outcome").expect("a result");
    assert_eq!((result.tag, result.code), (9, Code::Aborted as i32));
    assert_eq!((result.outcome(), result.certainty()), (SendOutcome::Cancelled, SendCertainty::MaybeSent));
    assert_eq!(pair.peer.closed().await, Some(3001), "the upstream hears the caller's code");
    drop(queue);
    let status = grpc::get(&mut pair.client, &pair.id).await.expect_err("it is gone");
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn a_closed_socket_takes_no_send() {
    let mut pair = Pair::new().await;
    pair.peer.end().await;
    grpc::once(&mut pair.client, &pair.id, websocket_manager::proto::ConnectionStatus::Disconnected).await;
    let status = pair.client.send(pair.text("x")).await.expect_err("it is closed");
    assert_eq!((status.code(), fault(&status).reason.as_str()), (Code::FailedPrecondition, "not_open"));
    assert!(status.message().contains("not_sent"), "{}", status.message());
    let raw = SendRawRequest { id: pair.id.clone(), message: "x".into(), ..Default::default() };
    let status = pair.client.send_raw(raw).await.expect_err("it is closed");
    assert_eq!(status.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn raw_ok_means_written() {
    let mut pair = Pair::new().await;
    let raw = SendRawRequest { id: pair.id.clone(), message: "text".into(), ..Default::default() };
    pair.client.send_raw(raw).await.expect("it is written");
    let raw = SendRawRequest { id: pair.id.clone(), data: vec![1, 2].into(), ..Default::default() };
    pair.client.send_raw(raw).await.expect("it is written");
    assert_eq!(pair.peer.text().await, "text");
    assert_eq!(pair.peer.binary().await, [1, 2]);
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_is_cut_with_the_right_code() {
    // An unmasked frame is right from a server, a reserved opcode is not.
    let cases: [(&str, &[u8], u16); 4] = [
        ("a reserved opcode", &[0x83, 0x00], 1002),
        ("a masked frame", &[0x81, 0x81, 0, 0, 0, 0, b'x'], 1002),
        ("RSV1 without an extension", &[0xc1, 0x01, b'x'], 1002),
        ("text that is not UTF-8", &[0x81, 0x02, 0xc3, 0x28], 1007),
    ];
    for (what, bytes, code) in cases {
        let mut pair = Pair::new().await;
        let send = pair.begin(pair.text(r#"{"id": 1}"#));
        pair.peer.text().await;
        pair.peer.garbage(bytes).await;
        assert_eq!(pair.peer.closed().await, Some(code), "{what}");
        let status =
            within("the outcome", send).await.expect("the task ends").expect_err("the socket is cut");
        assert_eq!(
            (status.code(), fault(&status).reason.as_str()),
            (Code::Internal, "peer_protocol"),
            "{what}"
        );
        assert!(status.message().contains("maybe_sent"), "{}", status.message());
    }
}

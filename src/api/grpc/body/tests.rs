use super::*;
use crate::{
    api::testing::on_a_shard,
    proto::{DESCRIPTOR, fleet},
};
use http_body_util::{BodyExt, StreamBody};
use std::{convert::Infallible, time::Duration};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

const MOST: usize = 1000;
const UNARY: &str = "/virtufin.WebSocketManager/Send";
const STREAM: &str = CALLER_STREAMS[0];

type Sender = mpsc::Sender<Result<Frame<Bytes>, Infallible>>;
type Tested = Bounded<StreamBody<ReceiverStream<Result<Frame<Bytes>, Infallible>>>>;

fn open(path: &str) -> (Sender, Tested) {
    let (sender, frames) = mpsc::channel(2 * MOST);
    let inner = StreamBody::new(ReceiverStream::new(frames));
    (sender, Bounded::of(path, inner, MOST))
}

fn push(sender: &Sender, bytes: impl Into<Vec<u8>>) {
    sender.try_send(Ok(Frame::data(bytes.into().into()))).unwrap();
}

fn message(length: usize) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend(vec![b'x'; length]);
    bytes
}

/// The next bytes, or what the body was refused with.
async fn next(body: &mut Tested) -> Option<Result<Vec<u8>, Status>> {
    Some(match body.frame().await? {
        Ok(frame) => Ok(frame.into_data().unwrap().to_vec()),
        Err(error) => Err(*error.downcast().unwrap()),
    })
}

/// Nothing comes, whatever time passes until then.
async fn is_silent(body: &mut Tested, time: Duration) {
    assert!(tokio::time::timeout(time, next(body)).await.is_err());
}

async fn refused(body: &mut Tested, code: Code, says: &str) {
    let status = next(body).await.unwrap().unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().starts_with("body: ") && status.message().contains(says), "{status:?}");
    assert!(next(body).await.is_none());
    assert!(body.is_end_stream());
}

#[test]
fn methods_whose_callers_stream_are_known() {
    let mut streams = Vec::new();
    for descriptor in [
        DESCRIPTOR,
        fleet::DESCRIPTOR,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ] {
        let files = prost_reflect::DescriptorPool::decode(descriptor).unwrap();
        let methods = files.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        let streaming = methods.filter(|method| method.is_client_streaming());
        streams.extend(
            streaming.map(|method| format!("/{}/{}", method.parent_service().full_name(), method.name())),
        );
    }
    // The file of the peers names those of the public contract as well.
    streams.dedup();
    assert_eq!(streams, CALLER_STREAMS);
}

#[test]
fn messages_pass_unchanged_however_they_are_cut() {
    on_a_shard(async {
        let whole: Vec<u8> = [3, 0, MOST, 0, 1].into_iter().flat_map(message).collect();
        for step in [1, 2, 4, 5, 6, 7, 100, MOST, whole.len()] {
            let (sender, mut body) = open(STREAM);
            let mut passed = Vec::new();
            for part in whole.chunks(step) {
                push(&sender, part);
                passed.extend(next(&mut body).await.unwrap().unwrap());
            }
            drop(sender);
            assert!(next(&mut body).await.is_none());
            assert!(passed == whole, "by {step}");
        }
    });
}

#[test]
fn a_message_that_is_too_large_is_read_and_then_refused() {
    on_a_shard(async {
        for step in [1, 3, 64, 5000] {
            let (sender, mut body) = open(STREAM);
            let mut whole = message(7);
            whole.extend(message(MOST + 1));
            whole.chunks(step).for_each(|part| push(&sender, part));
            push(&sender, "what comes behind it is not read");
            let mut passed = Vec::new();
            let status = loop {
                match next(&mut body).await.unwrap() {
                    Ok(bytes) => passed.extend(bytes),
                    Err(status) => break status,
                }
            };
            // Of its head as much as was there before its length was known.
            assert!(passed.starts_with(&message(7)) && passed.len() < 12 + HEAD, "by {step}");
            let wanted = status::to_tonic(&json::body_too_large(Some(MOST + 1), MOST));
            assert_eq!((status.code(), status.message()), (Code::InvalidArgument, wanted.message()));
            assert_eq!(status.details(), wanted.details());
            assert!(next(&mut body).await.is_none());
        }
        let (sender, mut body) = open(UNARY);
        push(&sender, &message(MOST + 1)[..100]);
        drop(sender);
        refused(&mut body, Code::InvalidArgument, "has 1001 bytes").await;
    });
}

#[test]
fn no_more_is_read_than_is_bearable() {
    on_a_shard(async {
        let (sender, mut body) = open(UNARY);
        push(&sender, [0, 255, 255, 255, 255]);
        let part = Bytes::from(vec![0; 1 << 20]);
        for _ in 0..limits::OVERSIZE_READ_BYTES / part.len() {
            sender.try_send(Ok(Frame::data(part.clone()))).unwrap();
        }
        refused(&mut body, Code::InvalidArgument, "has 4294967295 bytes").await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_pauses_in_what_is_too_large_is_told_so_soon() {
    let (sender, mut body) = open(STREAM);
    push(&sender, &message(MOST + 1)[..100]);
    is_silent(&mut body, limits::OVERSIZE_PAUSE_MAX / 2).await;
    push(&sender, [0; 10]);
    is_silent(&mut body, limits::OVERSIZE_PAUSE_MAX * 3 / 4).await;
    refused(&mut body, Code::InvalidArgument, "has 1001 bytes").await;

    // It cannot go on for ever by drops either.
    let (sender, mut body) = open(UNARY);
    push(&sender, &message(MOST + 1)[..100]);
    let pauses = limits::BODY_DEADLINE.as_secs() / limits::OVERSIZE_PAUSE_MAX.as_secs() * 2;
    for _ in 1..pauses {
        is_silent(&mut body, limits::OVERSIZE_PAUSE_MAX / 2).await;
        push(&sender, [0]);
    }
    let rest = tokio::time::timeout(limits::OVERSIZE_PAUSE_MAX / 2, next(&mut body)).await;
    assert_eq!(rest.unwrap().unwrap().unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn a_body_of_one_message_has_one_deadline() {
    // Nothing at all, a part of a message by drops, and a message without an end.
    for (first, drop) in [(0, ""), (9, "x"), (message(20).len(), "")] {
        let (sender, mut body) = open(UNARY);
        if first > 0 {
            push(&sender, &message(20)[..first]);
            assert_eq!(next(&mut body).await.unwrap().unwrap().len(), first);
        }
        for _ in 0..2 {
            is_silent(&mut body, limits::BODY_DEADLINE * 2 / 5).await;
            if !drop.is_empty() {
                push(&sender, drop);
                assert!(next(&mut body).await.unwrap().is_ok());
            }
        }
        let rest = limits::BODY_DEADLINE / 5 + Duration::from_millis(5);
        let late = refused(&mut body, Code::DeadlineExceeded, "not complete after 30 s");
        tokio::time::timeout(rest, late).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_pause_between_messages_but_not_within_one() {
    let (sender, mut body) = open(STREAM);
    for _ in 0..3 {
        is_silent(&mut body, limits::BODY_DEADLINE * 10).await;
        // The end of one message and the beginning of the next come together: each has its own time.
        push(&sender, &message(20)[..9]);
        assert!(next(&mut body).await.unwrap().is_ok());
        is_silent(&mut body, limits::BODY_DEADLINE * 2 / 3).await;
        push(&sender, [&message(20)[9..], &message(20)[..3]].concat());
        assert!(next(&mut body).await.unwrap().is_ok());
        is_silent(&mut body, limits::BODY_DEADLINE * 2 / 3).await;
        push(&sender, &message(20)[3..]);
        assert!(next(&mut body).await.unwrap().is_ok());
    }
    push(&sender, &message(20)[..9]);
    assert!(next(&mut body).await.unwrap().is_ok());
    is_silent(&mut body, limits::BODY_DEADLINE - Duration::from_millis(5)).await;
    refused(&mut body, Code::DeadlineExceeded, "not complete after 30 s").await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_read_is_not_late() {
    let (sender, mut body) = open(STREAM);
    push(&sender, &message(20)[..9]);
    assert!(next(&mut body).await.unwrap().is_ok());
    is_silent(&mut body, Duration::from_millis(5)).await;
    push(&sender, &message(20)[9..12]);
    tokio::time::advance(limits::BODY_DEADLINE * 2).await;
    assert!(next(&mut body).await.unwrap().is_ok());
    is_silent(&mut body, limits::BODY_DEADLINE / 2).await;
    push(&sender, &message(20)[12..]);
    assert!(next(&mut body).await.unwrap().is_ok());
}

//! What an upstream may do to us once the handshake is over.

use super::{Neighbour, reaches, request};
use crate::harness::{Peer, Service, Upstream, fault, grpc, wait_for, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;
use websocket_manager::{
    limits::{CONTROL_BURST, FRAGMENTS_MAX, MESSAGE_BYTES_DEFAULT},
    proto::{ConnectionStatus, DisconnectRequest, SendRequest},
};

/// A connection of its own to an upstream of its own.
async fn victim(service: &Service, id: &str, more: Value) -> (Upstream, Peer) {
    let mut upstream = Upstream::start().await;
    let mut value = json!({"url": upstream.url(), "connectionId": id});
    value.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    grpc::dial(&mut service.grpc().await, request(value)).await;
    let peer = upstream.peer().await;
    (upstream, peer)
}

struct Attack {
    what: &'static str,
    bytes: Vec<u8>,
    code: u16,
    cause: &'static str,
}

fn long(first: u8, length: u64) -> Vec<u8> {
    [&[first, 127][..], &length.to_be_bytes()].concat()
}

fn fragments(payload: &[u8], count: u32) -> Vec<u8> {
    let frame = [&[0x00, payload.len() as u8], payload].concat();
    [[&[0x01, payload.len() as u8], payload].concat(), frame.repeat(count as usize)].concat()
}

fn close(payload: &[u8]) -> Vec<u8> {
    [&[0x88, payload.len() as u8], payload].concat()
}

fn attacks() -> Vec<Attack> {
    let attack = |what, bytes, code, cause| Attack { what, bytes, code, cause };
    let broken = |what, bytes| attack(what, bytes, 1002, "protocol_error");
    let mut list = vec![
        attack(
            "one byte more than the limit, by its length field alone",
            long(0x82, MESSAGE_BYTES_DEFAULT as u64 + 1),
            1009,
            "message_too_big",
        ),
        attack("2^63 - 1 bytes", long(0x82, i64::MAX as u64), 1009, "message_too_big"),
        broken("2^63 bytes", long(0x82, 1 << 63)),
        broken("all bits of the length", long(0x81, u64::MAX)),
        broken("a length that is longer than needed", long(0x82, 5)),
        attack("endless empty continuations", fragments(b"", FRAGMENTS_MAX * 2), 1008, "flood"),
        attack("more fragments than the cap", fragments(b"x", FRAGMENTS_MAX + 1), 1008, "flood"),
        broken("a masked frame", vec![0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2]),
        broken("a masked ping", vec![0x89, 0x80, 1, 2, 3, 4]),
        broken("RSV1: compression that was not negotiated", vec![0xc1, 0x01, 0x00]),
        broken("RSV2", vec![0xa1, 0x00]),
        broken("RSV3", vec![0x91, 0x00]),
        broken("an unknown data opcode", vec![0x83, 0x00]),
        broken("an unknown control opcode", vec![0x8b, 0x00]),
        broken("a fragmented ping", vec![0x09, 0x00]),
        broken("a ping of 126 bytes", [&[0x89, 126, 0, 126][..], &[0; 126]].concat()),
        broken("a continuation of nothing", vec![0x80, 0x00]),
        broken("a message inside a message", vec![0x01, 0x00, 0x81, 0x00]),
        broken("garbage", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        attack("text that is not UTF-8", vec![0x81, 0x02, 0xc3, 0x28], 1007, "invalid_utf8"),
        attack("half a character at the end", vec![0x81, 0x02, b'a', 0xe2], 1007, "invalid_utf8"),
        attack(
            "a surrogate, over two frames",
            vec![0x01, 1, 0xed, 0x80, 2, 0xa0, 0x80],
            1007,
            "invalid_utf8",
        ),
        attack("a flood of pings", [0x89, 0x00].repeat(CONTROL_BURST as usize * 20), 1008, "flood"),
        attack("a flood of pongs", [0x8a, 0x00].repeat(CONTROL_BURST as usize * 20), 1008, "flood"),
        broken("half a close code", close(&[3])),
        attack("a close reason that is not UTF-8", close(&[3, 232, 0xff]), 1007, "invalid_utf8"),
    ];
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        list.push(broken("a close code that may not be sent", close(&code.to_be_bytes())));
    }
    list
}

#[tokio::test]
async fn every_broken_frame_ends_its_own_connection_and_no_other() {
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let mut client = service.grpc().await;
    let attacks = attacks();
    let floods_of_controls = 2.0;
    for (n, attack) in attacks.iter().enumerate() {
        let (what, id) = (attack.what, format!("victim-{n}"));
        let (_upstream, mut peer) = victim(&service, &id, json!({})).await;
        let before = service.metric("wsm_closes_total", &[("cause", attack.cause)]).await;
        // A Send that waits learns why its reply does not come.
        let send = SendRequest { id: id.clone(), message: r#"{"id":7}"#.into(), ..Default::default() };
        let mut sender = client.clone();
        let send = tokio::spawn(async move { sender.send(send).await });
        peer.text().await;
        peer.garbage(&attack.bytes).await;
        assert_eq!(peer.closed().await, Some(attack.code), "{what}: the close code");
        let status = within(what, send).await.expect("the task ends").expect_err(what);
        let told = fault(&status).reason;
        let expected = [(Code::Aborted, "maybe_sent"), (Code::Internal, "peer_protocol")];
        assert!(expected.contains(&(status.code(), &told)), "{what}: {status:?}");
        let connection = grpc::once(&mut client, &id, ConnectionStatus::Disconnected).await;
        assert!(connection.last_error.starts_with(attack.cause), "{what}: {}", connection.last_error);
        let after = service.metric("wsm_closes_total", &[("cause", attack.cause)]).await;
        assert_eq!(after - before, 1.0, "{what}: counted once under {}", attack.cause);
        client.disconnect(DisconnectRequest { id, ..Default::default() }).await.expect("it is forgotten");
    }
    let violations = service.metric("wsm_protocol_violations_total", &[]).await;
    assert_eq!(violations, attacks.len() as f64 - floods_of_controls, "each violation counted");
    assert_eq!(service.metric("wsm_sends_in_flight", &[]).await, 0.0);
    neighbour.is_well().await;
}

#[tokio::test]
async fn fragments_are_added_up_before_they_are_kept() {
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let (_upstream, mut peer) = victim(&service, "victim", json!({"maxMessageBytes": 1000})).await;
    peer.garbage(&fragments(&[b'x'; 100], 9)).await;
    peer.garbage(&[0x00, 1]).await;
    assert_eq!(peer.closed().await, Some(1009));
    reaches(&service, "wsm_closes_total", &[("cause", "message_too_big")], 1.0).await;
    neighbour.is_well().await;
}

#[tokio::test]
async fn a_message_of_exactly_the_limit_is_no_attack() {
    let service = Service::start().await;
    let (_upstream, mut peer) = victim(&service, "one", json!({"maxMessageBytes": 1000})).await;
    let mut frame = vec![0x82, 126];
    frame.extend_from_slice(&1000_u16.to_be_bytes());
    frame.extend_from_slice(&[0; 1000]);
    peer.garbage(&frame).await;
    let whole = fragments(&[b'x'; 100], 9);
    peer.garbage(&[&whole[..], &[0x80, 0]].concat()).await;
    reaches(&service, "wsm_messages_total", &[("direction", "in")], 2.0).await;
    reaches(&service, "wsm_protocol_violations_total", &[], 0.0).await;
}

/// The upstream never reads, so pongs cannot leave; what waits to be written must not grow.
#[tokio::test]
async fn pings_of_a_peer_that_does_not_read_pile_up_nothing() {
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let (_upstream, peer) = victim(&service, "victim", json!({})).await;
    let mut stream = peer.into_stream();
    let pings = [&[0x89, 125][..], &[b'p'; 125]].concat().repeat(4096);
    // Writing may fail: that is the service hanging up.
    let _ = within("the pings", stream.write_all(&pings)).await;
    reaches(&service, "wsm_closes_total", &[("cause", "flood")], 1.0).await;
    reaches(&service, "wsm_outbox_bytes", &[], 0.0).await;
    neighbour.is_well().await;
}

#[tokio::test]
async fn a_close_that_is_never_answered_ends_all_the_same() {
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let (_upstream, peer) = victim(&service, "victim", json!({})).await;
    let mut stream = peer.into_stream();
    let mut client = service.grpc().await;
    let gone = DisconnectRequest { id: "victim".into(), code: 3001, reason: "enough".into() };
    within("Disconnect", client.disconnect(gone)).await.expect("it does not wait for the peer");
    let mut bytes = Vec::new();
    // Never answered, only read: the service ends the stream by itself.
    within("the end of the stream", stream.read_to_end(&mut bytes)).await.expect("an orderly end");
    let mask = &bytes[2..6];
    let plain: Vec<u8> = bytes[6..].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    assert_eq!((bytes[0], &plain[..]), (0x88, &[&3001_u16.to_be_bytes()[..], b"enough"].concat()[..]));
    neighbour.is_well().await;
}

/// Not even read: the write buffer is full and stays full.
#[tokio::test]
async fn a_peer_that_reads_nothing_cannot_hold_on_to_a_disconnect() {
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let mut client = service.grpc().await;
    // Once in good order, so that whatever is opened but once is open.
    let (_upstream, mut peer) = victim(&service, "first", json!({})).await;
    let descriptors = async || service.metric("wsm_process_open_fds", &[]).await;
    let with_first = descriptors().await;
    let gone = |id: &str| DisconnectRequest { id: id.into(), ..Default::default() };
    client.disconnect(gone("first")).await.expect("it goes");
    peer.closed().await;
    drop(peer);
    wait_for("the first to be gone", async || (descriptors().await < with_first).then_some(())).await;
    let (_upstream, peer) = victim(&service, "victim", json!({})).await;
    let held = peer.into_stream();
    let open = descriptors().await;
    for _ in 0..40 {
        let send = websocket_manager::proto::SendRawRequest {
            id: "victim".into(),
            data: vec![0; 256 * 1024].into(),
            ..Default::default()
        };
        // Written or waiting or refused: whatever it is, it is bounded.
        let mut sender = client.clone();
        tokio::spawn(async move { sender.send_raw(send).await });
    }
    wait_for("bytes to wait", async || (service.metric("wsm_outbox_bytes", &[]).await > 0.0).then_some(()))
        .await;
    let waiting = service.metric("wsm_outbox_bytes", &[]).await;
    assert!(waiting <= 4.0 * 1024.0 * 1024.0, "the outbox is bounded: {waiting}");
    within("Disconnect", client.disconnect(gone("victim"))).await.expect("it does not wait for the peer");
    reaches(&service, "wsm_outbox_bytes", &[], 0.0).await;
    wait_for("its descriptor to be given back", async || (descriptors().await < open).then_some(())).await;
    drop(held);
    neighbour.is_well().await;
}

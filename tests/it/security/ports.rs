//! Clients that do not keep to the protocol of a port.

use super::{Neighbour, reaches};
use crate::harness::{Service, within};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What the port says to these bytes before it hangs up, or up to the end of a first answer.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut tcp = TcpStream::connect(address).await.expect("the port answers");
    let _ = tcp.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut block = [0; 4096];
    within("an answer", async {
        while let Ok(read @ 1..) = tcp.read(&mut block).await {
            answer.extend_from_slice(&block[..read]);
            if answer.windows(4).any(|four| four == b"\r\n\r\n") {
                break;
            }
        }
    })
    .await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn http_1_on_the_grpc_port_is_told_so() {
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let answer =
        exchange(service.ready.grpc, b"GET /v1/connections HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    reaches(&service, "wsm_edge_total", &[("event", "wrong_protocol")], 1.0).await;
    neighbour.is_well().await;
}

#[tokio::test]
async fn broken_requests_are_refused_and_counted_nowhere_else() {
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(1000));
    let requests: [&[u8]; 8] = [
        b"garbage\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST /v1/connections HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\na\0b: c\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        long.as_bytes(),
        many.as_bytes(),
    ];
    for request in requests {
        let answer = exchange(service.ready.http, request).await;
        let shown = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 505"),
            "{shown}: {answer}"
        );
    }
    assert_eq!(service.metric("wsm_edge_total", &[("event", "handler_panics")]).await, 0.0);
    neighbour.is_well().await;
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM_AND_HEADERS: u8 = 0x05;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// POST / with an authority, in the static table's terms.
fn head() -> Vec<u8> {
    [&[0x83, 0x86, 0x84, 0x01, 9][..], b"localhost"].concat()
}

/// The error code of the GOAWAY that ends such a connection; None when it is simply cut.
async fn goaway(address: SocketAddr, attack: &[u8]) -> Option<u32> {
    let tcp = TcpStream::connect(address).await.expect("the port answers");
    let (mut reader, mut writer) = tcp.into_split();
    let opening = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let attack = attack.to_vec();
    let write = tokio::spawn(async move {
        // Written again and again until the service hangs up.
        let _ = writer.write_all(&opening).await;
        while writer.write_all(&attack).await.is_ok() {}
    });
    let mut code = None;
    within("the end of the connection", async {
        let mut head = [0; 9];
        while reader.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            if reader.read_exact(&mut payload).await.is_err() {
                break;
            }
            if head[3] == GOAWAY && length >= 8 {
                code = payload[4..8].try_into().ok().map(u32::from_be_bytes);
            }
        }
    })
    .await;
    within("the writer to notice", write).await.expect("the task ends");
    code
}

#[tokio::test]
async fn floods_over_http_2_end_their_connection_and_no_other() {
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let resets: Vec<u8> = (0..2000)
        .flat_map(|n| {
            let stream = 2 * n + 1;
            let cancel = 8_u32.to_be_bytes();
            [frame(HEADERS, END_STREAM_AND_HEADERS, stream, &head()), frame(RST_STREAM, 0, stream, &cancel)]
                .concat()
        })
        .collect();
    let continuations = [
        frame(HEADERS, 0x01, 1, &head()),
        frame(CONTINUATION, 0, 1, &[&[0x00, 1, b'a', 127, 129, 126][..], &[b'v'; 256]].concat()).repeat(2000),
    ]
    .concat();
    let attacks = [
        ("rapid reset", resets),
        ("endless continuations", continuations),
        (
            "a frame of another stream inside a head",
            [frame(HEADERS, 0x01, 1, &head()), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        ("a frame over the limit", frame(0, 0, 1, &vec![0; 1 << 20])),
        ("a broken head", frame(HEADERS, END_STREAM_AND_HEADERS, 1, &[0xff; 64])),
        ("garbage", vec![0xa5; 4096]),
    ];
    for (what, attack) in attacks {
        for address in [service.ready.grpc, service.ready.http] {
            let code = goaway(address, &attack).await;
            assert_ne!(code, Some(0), "{what}: no orderly end");
        }
        neighbour.is_well().await;
    }
    assert_eq!(service.metric("wsm_edge_total", &[("event", "handler_panics")]).await, 0.0);
}

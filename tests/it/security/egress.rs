//! Who may not be dialled. Only refusals are tried: the policy speaks before any packet leaves.

use super::{Neighbour, reaches, request};
use crate::harness::{Upstream, fault, grpc, service::Plan, wait::stays_pending};
use serde_json::json;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::Code;
use websocket_manager::proto::ListRequest;

/// Inner addresses in every spelling that means one; `{port}` is where somebody would answer.
const DENIED: &[&str] = &[
    "127.0.0.1",
    "127.255.255.254",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0x7f.0.0.0x1",
    "017700000001",
    "%31%32%37.0.0.1",
    "127.0.0.1.",
    "0.0.0.0",
    "0",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[::ffff:10.0.0.1]",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]",
    "[2001:0:7f00:1::]",
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "169.254.169.254",
    "169.254.0.1",
    "0xa9fea9fe",
    "2852039166",
    "[fd00:ec2::254]",
    "[fc00::1]",
    "[fe80::1]",
    "[fec0::1]",
    "100.64.0.1",
    "100.127.255.254",
    "192.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "[ff02::1]",
    "[2001:db8::1]",
    "\u{ff11}27.0.0.1",
    "\u{2460}27.0.0.1",
    "127\u{3002}0\u{3002}0\u{3002}1",
    "loc\u{ad}alhost",
];

#[tokio::test]
async fn inner_addresses_are_refused_and_nothing_is_dialled() {
    let service = Plan::without_egress().start().await;
    let mut client = service.grpc().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let (mut wrong, mut denied) = (Vec::new(), 0);
    for host in DENIED {
        for scheme in ["ws", "wss"] {
            let connect =
                request(json!({"url": format!("{scheme}://{host}:{port}/"), "connectTimeoutMs": 500}));
            let Err(status) = client.connect(connect).await else {
                wrong.push(format!("{scheme} {host}: it was dialled"));
                continue;
            };
            let told = fault(&status);
            denied += i32::from(status.code() == Code::PermissionDenied);
            let refused = (status.code(), told.reason.as_str()) == (Code::PermissionDenied, "egress_denied");
            // Some spellings are no address at all.
            let unread = status.code() == Code::InvalidArgument && told.fields == ["url"];
            // A name that the system's resolver does not know is dialled by nobody.
            let unknown = host.ends_with('.') && status.message().starts_with("cannot resolve");
            if !refused && !unread && !unknown {
                wrong.push(format!("{scheme} {host}: {status:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(stays_pending(Duration::from_millis(50), listener.accept()).await, "nobody was dialled");
    reaches(&service, "wsm_closes_total", &[("cause", "egress_denied")], f64::from(denied)).await;
    assert_eq!(client.list(ListRequest::default()).await.expect("a list").into_inner().total, 0);
}

#[tokio::test]
async fn our_own_ports_are_refused_under_every_name() {
    let service =
        Plan::new().args(&["--egress-allow", "::1/128", "--egress-allow", "localhost"]).start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let mut client = service.grpc().await;
    for address in [service.ready.http, service.ready.grpc, service.ready.admin] {
        for host in ["127.0.0.1", "127.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"] {
            let url = format!("ws://{host}:{}/", address.port());
            let status = client.connect(grpc::to(&url)).await.expect_err(&url);
            assert_eq!(status.code(), Code::PermissionDenied, "{url}: {status:?}");
        }
    }
    neighbour.is_well().await;
}

#[tokio::test]
async fn deny_wins_over_allow_and_a_port_is_part_of_a_pattern() {
    let upstream = Upstream::echo().await;
    let other = Upstream::echo().await;
    let denied = format!("127.0.0.1:{}", other.address.port());
    let service = Plan::new().args(&["--egress-deny", &denied]).start().await;
    let mut client = service.grpc().await;
    let status = client.connect(grpc::to(&other.url())).await.expect_err("it is denied");
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    grpc::dial(&mut client, grpc::to(&upstream.url())).await;
    assert_eq!((upstream.taken(), other.taken()), (1, 0));
}

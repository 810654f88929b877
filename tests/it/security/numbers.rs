//! Numbers that no field can mean.

use super::{
    Neighbour,
    caller::{not_refused, post},
};
use crate::harness::{Service, fault, grpc};
use serde_json::{Value, json};
use websocket_manager::proto::{ConnectRequest, ListRequest, SendRequest};

/// Requests with `n` in each field of numbers.
fn numbers(n: Value) -> Vec<(&'static str, Value)> {
    vec![
        ("connect_timeout_ms", json!({"connectTimeoutMs": n})),
        ("heartbeat.interval_ms", json!({"heartbeat": {"wsPing": true, "intervalMs": n}})),
        ("idle.data_ms", json!({"idle": {"dataMs": n}})),
        ("idle.pong_ms", json!({"idle": {"pongMs": n}})),
        ("reconnect.max_attempts", json!({"autoReconnect": true, "reconnect": {"maxAttempts": n}})),
        ("reconnect.base_ms", json!({"autoReconnect": true, "reconnect": {"baseMs": n}})),
        ("reconnect.max_ms", json!({"autoReconnect": true, "reconnect": {"maxMs": n}})),
        ("limits.burst", json!({"limits": {"perSecond": 1, "burst": n}})),
        ("limits.max_message_bytes", json!({"limits": {"maxMessageBytes": n}})),
        ("limits.max_in_flight", json!({"limits": {"maxInFlight": n}})),
        ("correlation.array.position", json!({"correlation": {"array": {"position": n}}})),
        ("correlation.fifo.resync_ms", json!({"correlation": {"fifo": {"resyncMs": n}}})),
        ("max_message_bytes", json!({"maxMessageBytes": n})),
    ]
}

#[tokio::test]
async fn numbers_out_of_range_are_refused_by_name() {
    let service = Service::start().await;
    let mut neighbour = Neighbour::of(&service).await;
    let mut client = service.grpc().await;
    let mut wrong = Vec::new();
    for n in [i32::MIN, -1, i32::MAX] {
        for (field, mut connect) in numbers(json!(n)) {
            connect["url"] = json!("ws://127.0.0.1:9/");
            wrong.extend(not_refused(&mut client, &format!("{field} = {n}"), connect, field).await);
        }
    }
    for rate in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, f64::MAX] {
        let limits = websocket_manager::proto::SendLimits { per_second: rate, ..Default::default() };
        let connect = ConnectRequest { limits: Some(limits), ..grpc::to("ws://127.0.0.1:9/") };
        let status = client.connect(connect).await.expect_err("no rate");
        assert_eq!(fault(&status).fields, ["limits.per_second"], "{rate}: {status:?}");
    }
    for n in [i32::MIN, -1, i32::MAX] {
        let send =
            SendRequest { id: "neighbour".into(), message: "x".into(), timeout_ms: n, ..Default::default() };
        wrong.extend(client.send(send).await.ok().map(|_| format!("timeout_ms = {n}")));
    }
    for n in [i32::MIN, -1] {
        let list = ListRequest { page_size: n, ..Default::default() };
        wrong.extend(client.list(list).await.ok().map(|_| format!("page_size = {n}")));
    }
    // Over REST a number may be still larger, or none.
    let http = service.http();
    for n in
        ["1e400", "9223372036854775808", "-9223372036854775809", "1.5", "NaN", "\"x\"", "[]", "{}", "true"]
    {
        let body = format!(r#"{{"url":"ws://127.0.0.1:9/","connectTimeoutMs":{n}}}"#);
        let answer = http.send(post("/v1/connections", body)).await;
        if answer.status != 400 {
            wrong.push(format!("REST {n}: {} {}", answer.status, answer.text()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(service.metric("wsm_dials_total", &[]).await, 1.0, "only the neighbour was dialled");
    neighbour.is_well().await;
}

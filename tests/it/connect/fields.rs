//! Every field of ConnectRequest, one at a time: it works, or it is refused by its name. A field
//! that is taken and forgotten would be a lie.

use crate::harness::{Service, Upstream, fault, pki::Pki, service::Plan};
use prost_reflect::{DescriptorPool, Kind, MessageDescriptor};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tonic::Code;
use websocket_manager::proto::{ConnectRequest, DESCRIPTOR};

/// A request that sets little more than the field: (path, request without the URL).
#[allow(clippy::too_many_lines, reason = "a table")]
fn samples(pki: &Pki) -> Vec<(&'static str, Value)> {
    let client = pki.client("caller");
    let pair = json!({"tls": {"clientCert": client.cert, "clientKey": client.key}});
    let rule = json!({"path": "/type", "equals": "x"});
    let publish = |more: Value| {
        let mut value = json!({"topic": "t"});
        value.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!({"publish": value})
    };
    let sequence = |more: Value| json!({"sequence": more});
    vec![
        ("auto_reconnect", json!({"autoReconnect": true})),
        ("tags", json!({"tags": {"a": "b"}})),
        ("connection_id", json!({"connectionId": "mine"})),
        ("headers", json!({"headers": {"x-key": "v"}})),
        ("subprotocols", json!({"subprotocols": ["v1"]})),
        ("tls.ca", json!({"tls": {"ca": pki.ca()}})),
        ("tls.client_cert", pair.clone()),
        ("tls.client_key", pair),
        ("tls.server_name", json!({"tls": {"serverName": "localhost"}})),
        ("proxy.url", json!({"proxy": {"url": "http://127.0.0.1:1"}})),
        ("source_ip", json!({"sourceIp": "127.0.0.1"})),
        ("fallback_urls", json!({"fallbackUrls": ["ws://127.0.0.1:1/"]})),
        ("connect_timeout_ms", json!({"connectTimeoutMs": 5000})),
        ("open_messages.text", json!({"openMessages": [{"text": "hello"}]})),
        ("open_messages.data", json!({"openMessages": [{"data": "AAE="}]})),
        ("open_messages.ack.path", json!({"openMessages": [{"text": "{}", "ack": {"path": "/a"}}]})),
        ("open_messages.ack.equals", json!({"openMessages": [{"text": "x", "ack": {"equals": "x"}}]})),
        ("open_messages.ack_timeout_ms", json!({"openMessages": [{"text": "x", "ackTimeoutMs": 1000}]})),
        ("open_messages.pace_ms", json!({"openMessages": [{"text": "x", "paceMs": 1}]})),
        ("heartbeat.ws_ping", json!({"heartbeat": {"wsPing": true, "intervalMs": 1000}})),
        ("heartbeat.text", json!({"heartbeat": {"text": "ping", "intervalMs": 1000}})),
        ("heartbeat.json", json!({"heartbeat": {"json": "{}", "intervalMs": 1000}})),
        ("heartbeat.interval_ms", json!({"heartbeat": {"wsPing": true, "intervalMs": 1000}})),
        (
            "heartbeat.answers.when.path",
            json!({"heartbeat": {"answers": [{"when": {"path": "/a"}, "send": "x"}]}}),
        ),
        (
            "heartbeat.answers.when.equals",
            json!({"heartbeat": {"answers": [{"when": {"equals": "a"}, "send": "x"}]}}),
        ),
        (
            "heartbeat.answers.send",
            json!({"heartbeat": {"answers": [{"when": {"equals": "a"}, "send": "x"}]}}),
        ),
        ("ignore.path", json!({"ignore": [rule]})),
        ("ignore.equals", json!({"ignore": [rule]})),
        ("idle.data_ms", json!({"idle": {"dataMs": 60_000}})),
        ("idle.pong_ms", json!({"idle": {"pongMs": 60_000}})),
        ("idle.heartbeat_ms", json!({"idle": {"heartbeatMs": 60_000}})),
        ("reconnect.max_attempts", json!({"autoReconnect": true, "reconnect": {"maxAttempts": 3}})),
        ("reconnect.base_ms", json!({"autoReconnect": true, "reconnect": {"baseMs": 10}})),
        ("reconnect.max_ms", json!({"autoReconnect": true, "reconnect": {"maxMs": 5000}})),
        ("rotate.max_age_ms", json!({"rotate": {"maxAgeMs": 60_000}})),
        ("rotate.triggers.path", json!({"rotate": {"triggers": [rule]}})),
        ("rotate.triggers.equals", json!({"rotate": {"triggers": [rule]}})),
        ("rotate.no_overlap", json!({"rotate": {"maxAgeMs": 60_000, "noOverlap": true}})),
        ("limits.per_second", json!({"limits": {"perSecond": 10.0}})),
        ("limits.burst", json!({"limits": {"perSecond": 10.0, "burst": 5}})),
        ("limits.max_message_bytes", json!({"limits": {"maxMessageBytes": 1000}})),
        ("limits.budget", json!({"limits": {"budget": "venue"}})),
        ("limits.max_in_flight", json!({"limits": {"maxInFlight": 10}})),
        ("correlation.auto", json!({"correlation": {"auto": {}}})),
        (
            "correlation.json.request_path",
            json!({"correlation": {"json": {"requestPath": "/a", "responsePath": "/a"}}}),
        ),
        (
            "correlation.json.response_path",
            json!({"correlation": {"json": {"requestPath": "/a", "responsePath": "/b"}}}),
        ),
        (
            "correlation.json.inject",
            json!({"correlation": {"json": {"requestPath": "/a", "responsePath": "/a", "inject": true}}}),
        ),
        (
            "correlation.json.inject_integer",
            json!({"correlation": {"json": {"requestPath": "/a", "responsePath": "/a", "inject": true, "injectInteger": true}}}),
        ),
        ("correlation.json_rpc", json!({"correlation": {"jsonRpc": {}}})),
        ("correlation.array.position", json!({"correlation": {"array": {"position": 1}}})),
        ("correlation.prefix", json!({"correlation": {"prefix": {}}})),
        ("correlation.fifo.resync_ms", json!({"correlation": {"fifo": {"resyncMs": 500}}})),
        ("correlation.match.path", json!({"correlation": {"match": rule}})),
        ("correlation.match.equals", json!({"correlation": {"match": rule}})),
        ("publish.topic", publish(json!({}))),
        ("publish.format", publish(json!({"format": "PUBLISH_FORMAT_PAYLOAD"}))),
        ("publish.ordering", publish(json!({"ordering": "PUBLISH_ORDERING_RELAXED"}))),
        ("publish.overflow", publish(json!({"overflow": "PUBLISH_OVERFLOW_PAUSE"}))),
        ("publish.gaps", publish(json!({"gaps": "PUBLISH_GAPS_LIFECYCLE"}))),
        (
            "publish.overflow_key",
            publish(json!({"overflow": "PUBLISH_OVERFLOW_KEEP_LATEST", "overflowKey": "/k"})),
        ),
        ("rooms", json!({"rooms": ["lobby"]})),
        ("sequence.path", sequence(json!({"path": "/n"}))),
        ("sequence.previous_path", sequence(json!({"path": "/n", "previousPath": "/p"}))),
        ("sequence.key_path", sequence(json!({"path": "/n", "keyPath": "/k"}))),
        ("max_message_bytes", json!({"maxMessageBytes": 100_000})),
        ("profile", json!({"profile": "some"})),
        ("variables", json!({"variables": {"a": "b"}})),
    ]
}

/// Every path to a field without fields of its own, through the descriptor.
fn leaves(message: &MessageDescriptor, prefix: &str, found: &mut BTreeSet<String>) {
    for field in message.fields() {
        let path = format!("{prefix}{}", field.name());
        match field.kind() {
            Kind::Message(inner) if !field.is_map() && inner.fields().len() > 0 => {
                leaves(&inner, &format!("{path}."), found);
            }
            _ => {
                found.insert(path);
            }
        }
    }
}

#[tokio::test]
async fn every_field_works_or_is_refused_by_name() {
    let pool = DescriptorPool::decode(DESCRIPTOR).expect("the descriptor decodes");
    let request = pool.get_message_by_name("virtufin.ConnectRequest").expect("the message");
    let mut paths = BTreeSet::new();
    leaves(&request, "", &mut paths);
    paths.remove("url");
    let pki = Pki::new();
    let samples = samples(&pki);
    let sampled: BTreeSet<_> = samples.iter().map(|sample| sample.0.to_owned()).collect();
    assert_eq!(paths, sampled, "every field of the proto has one sample here");

    // `localhost`, the name in the certificate, may resolve to both families.
    let service = Plan::new().args(&["--egress-allow", "::1/128"]).start().await;
    let upstream = Upstream::echo().await;
    let tls = Upstream::start_tls(pki.acceptor(&pki.server("localhost"), false)).await;
    let mut client = service.grpc().await;
    let mut wrong = Vec::new();
    for (path, mut sample) in samples {
        let secure = path.starts_with("tls.");
        sample["url"] = if secure { tls.url() } else { upstream.url() }.into();
        if secure {
            sample["tls"]["ca"] = pki.ca().into();
        }
        let request: ConnectRequest =
            serde_json::from_value(sample).unwrap_or_else(|error| panic!("{path}: {error}"));
        match client.connect(request).await {
            Ok(answer) => {
                // The next sample may use the same settings.
                let id = answer.into_inner().id;
                let request = websocket_manager::proto::DisconnectRequest { id, ..Default::default() };
                client.disconnect(request).await.unwrap_or_else(|status| panic!("{path}: {status:?}"));
            }
            Err(status) => {
                let told = fault(&status).fields;
                let named = told.iter().any(|field| names(field, path));
                if status.code() != Code::Unimplemented || !named {
                    wrong.push(format!("{path}: {:?} '{}' {told:?}", status.code(), status.message()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "neither accepted nor refused by name:\n{}", wrong.join("\n"));
}

/// `field` is `path` or what holds it; an index of a list does not matter.
fn names(field: &str, path: &str) -> bool {
    let field: String =
        field.split('.').map(|part| part.split('[').next().unwrap_or(part)).collect::<Vec<_>>().join(".");
    path == field || path.strip_prefix(&field).is_some_and(|rest| rest.starts_with('.'))
}

#[tokio::test]
async fn what_is_asked_of_the_handshake_reaches_the_upstream() {
    let service = Service::start().await;
    let mut upstream = Upstream::start().await;
    let mut client = service.grpc().await;
    let request = json!({
        "url": upstream.url(), "headers": {"X-Key": "v 1", "user-agent": "mine"}, "subprotocols": ["v2", "v1"],
    });
    let request: ConnectRequest = serde_json::from_value(request).expect("a request");
    let answer = client.connect(request).await.expect("it connects").into_inner();
    let peer = upstream.peer().await;
    assert_eq!(peer.headers["x-key"], "v 1");
    assert_eq!(peer.headers["user-agent"], "mine");
    assert_eq!(peer.headers["sec-websocket-protocol"], "v2, v1");
    assert_eq!(answer.subprotocol, "v2");
    assert!(!peer.headers.contains_key("sec-websocket-extensions"), "no compression is offered");
}

#[tokio::test]
async fn arguments_are_refused_by_their_field() {
    let service = Service::start().await;
    let mut client = service.grpc().await;
    let many: serde_json::Map<_, _> = (0..51).map(|n| (format!("k{n}"), "v".into())).collect();
    let url = "ws://127.0.0.1:1/";
    let cases = [
        ("url", json!({})),
        ("url", json!({"url": "http://127.0.0.1/"})),
        ("url", json!({"url": "ws://"})),
        ("url", json!({"url": "not a url"})),
        ("url", json!({"url": "ws://127.0.0.1:1/#fragment"})),
        ("connection_id", json!({"url": url, "connectionId": "has space"})),
        ("connection_id", json!({"url": url, "connectionId": "~mine"})),
        ("connection_id", json!({"url": url, "connectionId": "index"})),
        ("connection_id", json!({"url": url, "connectionId": "x".repeat(129)})),
        ("tags", json!({"url": url, "tags": many})),
        ("tags", json!({"url": url, "tags": {"k": "x".repeat(1025)}})),
        ("headers", json!({"url": url, "headers": {"host": "other"}})),
        ("headers", json!({"url": url, "headers": {"sec-websocket-key": "x"}})),
        ("headers", json!({"url": url, "headers": {"x": "a\r\nb: c"}})),
        ("subprotocols", json!({"url": url, "subprotocols": ["a b"]})),
        ("source_ip", json!({"url": url, "sourceIp": "nonsense"})),
        ("connect_timeout_ms", json!({"url": url, "connectTimeoutMs": -1})),
        ("publish.topic", json!({"url": url, "publish": {"topic": "../up"}})),
        ("rooms", json!({"url": url, "rooms": ["fine", "not,fine"]})),
        ("rooms", json!({"url": url, "rooms": [""]})),
        ("rooms", json!({"url": url, "rooms": (0..65).map(|n| format!("r{n}")).collect::<Vec<_>>()})),
        (
            "correlation.json.request_path",
            json!({"url": url, "correlation": {"json": {"requestPath": "no-slash"}}}),
        ),
        ("tls.ca", json!({"url": url, "tls": {"ca": "no pem"}})),
        ("tls.client_key", json!({"url": url, "tls": {"clientCert": "x"}})),
    ];
    for (field, request) in cases {
        let shown = request.to_string();
        let status =
            client.connect(serde_json::from_value::<ConnectRequest>(request).expect("a request")).await;
        let status = status.expect_err(&shown);
        assert_eq!(status.code(), Code::InvalidArgument, "{shown}: {status:?}");
        let told = fault(&status).fields;
        let named = told.iter().any(|it| names(it, field) || names(field, it) || it.starts_with(field));
        assert!(named, "{shown}: names {told:?} instead of {field}");
    }
    assert_eq!(super::listed(&mut client).await, 0, "nothing is left behind");
}

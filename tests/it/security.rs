//! Hostile upstreams and hostile callers against the real service. Each attack meets the right
//! answer and the right counter, and a neighbour in the same service notices nothing.

mod caller;
mod canary;
mod egress;
mod files;
mod frames;
mod handshake;
mod load;
mod numbers;
mod ports;

use crate::harness::{Client, Service, Upstream, grpc, wait_for, within};
use serde_json::{Value, json};
use websocket_manager::proto::{ConnectRequest, SendRequest};

fn request(value: Value) -> ConnectRequest {
    serde_json::from_value(value).expect("a request")
}

/// A connection that did nothing wrong, in the service that is attacked.
struct Neighbour {
    client: Client,
    id: String,
    _upstream: Upstream,
}

impl Neighbour {
    async fn of(service: &Service) -> Self {
        let upstream = Upstream::echo().await;
        let mut client = service.grpc().await;
        let neighbour = request(json!({"url": upstream.url(), "connectionId": "neighbour"}));
        let id = grpc::dial(&mut client, neighbour).await;
        Neighbour { client, id, _upstream: upstream }
    }

    /// Still sends, and still receives.
    async fn is_well(&mut self) {
        let message = r#"{"id":1,"hello":"neighbour"}"#;
        let send = SendRequest { id: self.id.clone(), message: message.into(), ..Default::default() };
        let answer = within("the neighbour's reply", self.client.send(send)).await;
        assert_eq!(answer.expect("the neighbour sends").into_inner().response, message);
    }
}

/// Waits until the sum of these series is `value`.
async fn reaches(service: &Service, name: &str, labels: &[(&str, &str)], value: f64) {
    let what = format!("{name}{labels:?} to be {value}");
    wait_for(&what, async || (service.metric(name, labels).await == value).then_some(())).await;
}

//! Send: a request and its reply over a WebSocket, exactly one outcome each.

mod fate;
mod flow;
mod rules;

use crate::harness::{Client, Peer, Service, Upstream, grpc};
use tonic::{Response, Status};
use websocket_manager::proto::{ConnectRequest, Correlation, SendRequest, SendResponse, correlation::Rule};

/// A service with one connection, both ends of it in the test's hand.
pub struct Pair {
    pub service: Service,
    pub client: Client,
    pub upstream: Upstream,
    pub peer: Peer,
    pub id: String,
}

impl Pair {
    pub async fn new() -> Self {
        Self::with(ConnectRequest::default()).await
    }

    pub async fn with_rule(rule: Rule) -> Self {
        Self::with(ConnectRequest { correlation: Some(correlation(rule)), ..Default::default() }).await
    }

    /// `settings` without the URL.
    pub async fn with(settings: ConnectRequest) -> Self {
        let service = Service::start().await;
        let mut upstream = Upstream::start().await;
        let mut client = service.grpc().await;
        let request = ConnectRequest { url: upstream.url(), ..settings };
        let id = grpc::dial(&mut client, request).await;
        let peer = upstream.peer().await;
        Pair { service, client, upstream, peer, id }
    }

    pub fn text(&self, message: &str) -> SendRequest {
        SendRequest { id: self.id.clone(), message: message.to_owned(), ..Default::default() }
    }

    /// Begins a Send; it runs while the test plays the upstream.
    pub fn begin(&self, request: SendRequest) -> tokio::task::JoinHandle<Result<SendResponse, Status>> {
        let mut client = self.client.clone();
        tokio::spawn(async move { client.send(request).await.map(Response::into_inner) })
    }
}

pub fn correlation(rule: Rule) -> Correlation {
    Correlation { rule: Some(rule) }
}

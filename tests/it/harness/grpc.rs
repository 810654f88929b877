//! A gRPC client of the service, and what its errors say.

use super::pki::Pki;
use hyper_util::rt::TokioIo;
use prost::Message;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use websocket_manager::proto::{
    ConnectRequest, ConnectionStatus, GetRequest, WebSocketConnection,
    web_socket_manager_client::WebSocketManagerClient,
};

pub type Client = WebSocketManagerClient<Channel>;

pub async fn connect_to(address: SocketAddr, tls: Option<&Pki>) -> Client {
    WebSocketManagerClient::new(channel(address, tls).await.expect("the gRPC port answers"))
}

pub async fn channel(address: SocketAddr, tls: Option<&Pki>) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://localhost:{}", address.port())).expect("a URL");
    match tls.map(Pki::client_config) {
        None => {
            let connect = tower::service_fn(move |_: http::Uri| async move {
                TcpStream::connect(address).await.map(TokioIo::new)
            });
            endpoint.connect_with_connector(connect).await
        }
        Some(config) => {
            let connect = tower::service_fn(move |_: http::Uri| {
                let connector = super::pki::connector(&config, true);
                async move {
                    let tcp = TcpStream::connect(address).await?;
                    connector.connect(super::pki::localhost(), tcp).await.map(TokioIo::new)
                }
            });
            endpoint.connect_with_connector(connect).await
        }
    }
}

/// A Connect with nothing but the URL.
pub fn to(url: &str) -> ConnectRequest {
    ConnectRequest { url: url.to_owned(), ..Default::default() }
}

/// Dials with this request and gives the id.
pub async fn dial(client: &mut Client, request: ConnectRequest) -> String {
    let url = request.url.clone();
    let answer = client.connect(request).await;
    answer.unwrap_or_else(|status| panic!("Connect to {url}: {status:?}")).into_inner().id
}

pub async fn get(client: &mut Client, id: &str) -> Result<WebSocketConnection, Status> {
    let answer = client.get(GetRequest { id: id.to_owned() }).await?;
    Ok(answer.into_inner().connection.expect("Get answers with a connection"))
}

/// The connection once it has this status.
pub async fn once(client: &mut Client, id: &str, status: ConnectionStatus) -> WebSocketConnection {
    super::wait_for(&format!("{id} to be {status:?}"), async || {
        get(client, id).await.ok().filter(|connection| connection.status() == status)
    })
    .await
}

/// What a status says to a program.
#[derive(Debug, Default, PartialEq)]
pub struct Told {
    /// Of google.rpc.ErrorInfo.
    pub reason: String,
    /// Of google.rpc.BadRequest.
    pub fields: Vec<String>,
    /// Of google.rpc.RetryInfo.
    pub retry: bool,
}

pub fn fault(status: &Status) -> Told {
    let mut told = Told::default();
    let Ok(rpc) = RpcStatus::decode(status.details()) else { return told };
    assert_eq!(rpc.code, status.code() as i32, "the details repeat the code");
    assert_eq!(rpc.message, status.message(), "the details repeat the message");
    for any in rpc.details {
        match any.type_url.rsplit('/').next() {
            Some("google.rpc.ErrorInfo") => {
                told.reason = ErrorInfo::decode(&any.value[..]).expect("ErrorInfo").reason
            }
            Some("google.rpc.BadRequest") => {
                let bad = BadRequest::decode(&any.value[..]).expect("BadRequest");
                told.fields = bad.field_violations.into_iter().map(|violation| violation.field).collect();
            }
            Some("google.rpc.RetryInfo") => told.retry = true,
            other => panic!("an unknown detail: {other:?}"),
        }
    }
    told
}

#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
}

#[derive(Clone, PartialEq, Message)]
struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    field_violations: Vec<FieldViolation>,
}

#[derive(Clone, PartialEq, Message)]
struct FieldViolation {
    #[prost(string, tag = "1")]
    field: String,
}

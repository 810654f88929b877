//! Connections that the service dials for a scenario.

use crate::{
    proto::{ConnectRequest, web_socket_manager_client::WebSocketManagerClient},
    stop,
    trouble::{Result, Trouble},
};
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// Connects under way at once.
const AT_ONCE: usize = 128;

/// Opens all of them and tells their ids, in order.
pub async fn connect(channel: &Channel, requests: Vec<ConnectRequest>) -> Result<Vec<String>> {
    let mut ids = vec![String::new(); requests.len()];
    let mut under_way = JoinSet::new();
    let mut requests = requests.into_iter().enumerate();
    loop {
        while under_way.len() < AT_ONCE
            && let Some((number, request)) = requests.next()
        {
            let mut client = WebSocketManagerClient::new(channel.clone());
            under_way.spawn(async move { (number, client.connect(request).await) });
        }
        let Some(ended) = under_way.join_next().await else { return Ok(ids) };
        let (number, answer) = ended.map_err(|error| Trouble::Failed(format!("a Connect: {error}")))?;
        ids[number] = answer?.into_inner().id;
        if stop::asked() {
            return Err(Trouble::Interrupted);
        }
    }
}

/// Connections to one kind of upstream.
#[must_use]
pub fn to(upstream: &crate::upstream::Upstream, kind: &str, count: usize) -> Vec<ConnectRequest> {
    (0..count)
        .map(|number| ConnectRequest { url: upstream.url(kind, number), ..ConnectRequest::default() })
        .collect()
}

/// One thread, no stealing: what the generator takes stays small and on its core.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

//! Pages of a list that goes over all instances.

use crate::{
    api::{convert, service},
    core::reason::Fault,
    limits,
    proto::{ListRequest, ListResponse, WebSocketConnection},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use std::collections::BTreeMap;

pub fn page_size(request: &ListRequest) -> usize {
    match usize::try_from(request.page_size) {
        Ok(size) if size > 0 => size,
        _ => limits::PAGE_SIZE_DEFAULT,
    }
}

/// Each page begins after the same id, so the first ones of all are among the first ones of each.
/// A page of documents. The request was checked when this instance listed its own.
pub fn recorded(records: &[Bytes], request: &ListRequest) -> Result<ListResponse, Fault> {
    let after = service::page_token(&request.page_token)?;
    let statuses: Vec<_> = request.status.iter().filter(|status| **status != 0).collect();
    let wanted = |connection: &WebSocketConnection| {
        let tagged =
            request.filters.iter().all(|filter| connection.tags.get(&filter.key) == Some(&filter.value));
        let status = statuses.is_empty() || statuses.contains(&&connection.status);
        tagged && status && [0, connection.direction].contains(&request.direction)
    };
    let found = records.iter().filter_map(|record| convert::recorded(record)).filter(wanted);
    let mut connections: Vec<_> = found.collect();
    let total = connections.len() as u64;
    connections.retain(|connection| after.as_ref().is_none_or(|after| *connection.id > *after.as_str()));
    connections.sort_by(|a, b| a.id.cmp(&b.id));
    let size = page_size(request);
    let more = connections.len() > size;
    connections.truncate(size);
    let last = connections.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(&last.id));
    Ok(ListResponse { connections, next_page_token: last.unwrap_or_default(), total })
}

pub fn merged(pages: Vec<ListResponse>, size: usize) -> ListResponse {
    let mut more = pages.iter().any(|page| !page.next_page_token.is_empty());
    let mut total = pages.iter().map(|page| page.total).sum::<u64>();
    let mut by_id: BTreeMap<String, WebSocketConnection> = BTreeMap::new();
    for connection in pages.into_iter().flat_map(|page| page.connections) {
        // During a hand-over two may name it: the newer owner's word counts.
        match by_id.get(&connection.id) {
            Some(known) => {
                total = total.saturating_sub(1);
                if known.epoch < connection.epoch {
                    by_id.insert(connection.id.clone(), connection);
                }
            }
            None => drop(by_id.insert(connection.id.clone(), connection)),
        }
    }
    more |= by_id.len() > size;
    let connections: Vec<_> = by_id.into_values().take(size).collect();
    let last = connections.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(&last.id));
    ListResponse { connections, next_page_token: last.unwrap_or_default(), total }
}

//! Rooms, and how WebSockets come in, from the configuration.

use super::{Failure, Instance, rooms::Outside};
use crate::{
    api::{
        service::Service,
        ws::{AuthoriserSettings, Ingress, IngressSettings, TokenSettings},
    },
    config::Config,
    core::rooms::Setup,
};
use rustls::ClientConfig;
use std::sync::Arc;

/// What each shard is told of rooms.
pub fn rooms(config: &Config, outside: &Outside) -> Setup {
    Setup {
        numbered_outside: outside.ports.bus.is_some(),
        relayed: outside.ports.relay.as_ref().map(|_| config.instance_id.as_str().into()),
        rules: config.rooms.rules.clone(),
        reader_bytes_max: config.rooms.reader_bytes_max,
        history_bytes_max: config.rooms.history_bytes_max,
    }
}

/// The way in over one shard's thread.
pub fn start(instance: &Instance, service: &Service, tls: Arc<ClientConfig>) -> Result<Ingress, Failure> {
    let config = &instance.config.ingress;
    let token = config.token.as_ref().map(|token| TokenSettings {
        keys: token.keys.clone(),
        audience: token.audience.clone(),
        issuer: token.issuer.clone(),
    });
    let authoriser = config.authoriser.as_ref().map(|url| AuthoriserSettings {
        url: url.reveal().to_owned(),
        timeout: config.authoriser_timeout,
        tls,
    });
    let settings = IngressSettings {
        routes: config.routes.clone(),
        auth: config.auth,
        origins: config.origins.clone(),
        token,
        token_in_query: config.token_in_query,
        authoriser,
        counters: instance.ingress.clone(),
    };
    Ok(Ingress::new(service, settings)?)
}

//! What shards are handed of the world: stores, the bus, and how they dial.

use super::{Failure, Instance, fleet};
use crate::{
    config::Config,
    core::egress::{Pattern, Policy},
    pki,
    ports::Store,
    shard::{
        World,
        dial::{Dialler, SystemResolver},
        rooms::RoomWorld,
    },
};
use std::{net::SocketAddr, sync::Arc};

pub(super) fn world(instance: &Instance, shard: u32, dialler: Arc<Dialler>) -> Result<World, Failure> {
    let backend = &instance.backend;
    Ok(World {
        store: store_of(instance)?,
        bus: backend.bus(),
        spill: fleet::spill(instance, shard)?,
        seal: backend.local().sealer(),
        dialler,
        instance: instance.config.instance_id.as_str().into(),
        busy_poll: instance.config.busy_poll,
        gate: instance.gate.clone(),
        rooms: RoomWorld {
            neighbours: instance.hub.clone(),
            bus: instance.outside.ports.bus.clone(),
            relay: instance.outside.ports.relay.clone(),
        },
        spans: instance.spans.clone(),
    })
}

pub(super) fn dialler(config: &Config, own: &[SocketAddr]) -> Result<Dialler, Failure> {
    let parse = |setting: &str, patterns: &[String]| -> Result<Vec<Pattern>, Failure> {
        let parsed = patterns
            .iter()
            .map(|text| Pattern::parse(text).map_err(|bad| format!("--{setting}: {bad}").into()));
        parsed.collect()
    };
    let policy = Policy {
        allow: parse("egress-allow", &config.egress_allow)?,
        deny: parse("egress-deny", &config.egress_deny)?,
        own: own.to_vec(),
    };
    let roots = config.tls_roots.as_ref().map(std::fs::read_to_string).transpose()?;
    let tls = pki::client_config(roots.as_deref().unwrap_or_default(), "", "")
        .map_err(|fault| fault.to_string())?;
    let user_agent = concat!("websocket-manager/", env!("CARGO_PKG_VERSION")).to_owned();
    Ok(Dialler { policy, resolver: Arc::new(SystemResolver), tls, user_agent })
}

fn store_of(instance: &Instance) -> Result<Arc<dyn Store>, Failure> {
    match &instance.fleet {
        Some(fleet) => Ok(Arc::new(fleet.clone())),
        None => instance.backend.store().ok_or_else(|| "the backend keeps no documents".into()),
    }
}

//! One shard's thread: its world, its listeners and the edges on them.

use super::{Failure, Instance, commands, defaults, fleet, ingress, intake, rooms::Outside};
use crate::{
    api::{
        certs::Certificates,
        grpc,
        http::{self, HttpSettings},
        listen::{self, ListenSettings, Stop},
        service::{Inner, Service},
    },
    config::{self, Config, Secret},
    core::{publish::Bounds, shard::Setup},
    limits,
    shard::{self, Local, World, mailbox::Mailbox},
};
use std::sync::Arc;
use tokio::runtime::{Builder, LocalOptions};

/// What one shard's thread takes with it.
pub(super) struct Part {
    pub shard: u32,
    pub mailbox: Arc<Mailbox>,
    pub seed: u64,
    pub world: World,
    pub instance: Arc<Instance>,
    pub http: std::net::TcpListener,
    pub grpc: std::net::TcpListener,
    pub stop: Stop,
}

impl Part {
    pub fn run(self) -> Result<(), Failure> {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> Result<(), Failure> {
        let config = &self.instance.config;
        let setup = setup(config, &self.instance.outside, self.shard, self.seed);
        let tls = self.world.dialler.tls.clone();
        let local = Local::start(self.shard, setup, self.mailbox, self.world);
        let service = Service::new(Inner {
            hub: self.instance.hub.clone(),
            defaults: defaults(config),
            instance: config.instance_id.clone(),
            // A shared bus is not read back: each member follows what it holds, and they ask one another.
            bus: self.instance.fleet.is_none().then(|| self.instance.backend.bus()),
            readiness: self.instance.readiness.clone(),
            fleet: fleet::peers(&self.instance)?,
            rooms: self.instance.outside.ports.clone(),
            check: self.instance.check.clone(),
            observer: self.instance.observers[self.shard as usize].clone(),
        });
        let counters = self.instance.edge.clone();
        let settings = || -> Result<ListenSettings, Failure> {
            let tls = config.tls.as_ref();
            let certificates = tls
                .map(|files| Certificates::open(&files.cert, &files.key, counters.clone()))
                .transpose()
                .map_err(|error| error.to_string())?;
            let stop = self.stop.clone();
            Ok(ListenSettings {
                certificates,
                counters: counters.clone(),
                stop,
                drain: limits::CLOSE_TIMEOUT,
            })
        };
        let poster = intake::poster(&service);
        let http_settings = HttpSettings {
            cors_origins: config.cors_origins.clone(),
            counters: counters.clone(),
            ingress: Some(ingress::start(&self.instance, &service, tls)?),
            entries: intake::entries(&self.instance, &poster),
            ..HttpSettings::default()
        };
        let http = listen::run(self.http, http::router(&service, http_settings), settings()?);
        let mut routes = grpc::routes(&service, counters.clone());
        if config.backend == config::Backend::Dapr {
            routes = routes.with_dapr_callbacks(config.dapr.app_api_token.as_ref().map(Secret::reveal));
        }
        let grpc = listen::run(self.grpc, routes, settings()?);
        let commands = (self.shard == 0).then(|| commands::start(&self.instance, &service, &self.stop));
        let bound = match self.shard {
            0 => intake::bind(&self.instance, &poster, &self.stop)?,
            _ => Vec::new(),
        };
        let http = tokio::task::spawn_local(http);
        let grpc = tokio::task::spawn_local(grpc);
        shard::run(local).await;
        if let Some(Some(commands)) = commands.transpose()? {
            commands.abort();
        }
        for binding in bound {
            // It writes down how far it came.
            let _ = tokio::time::timeout(limits::CLOSE_TIMEOUT, binding).await;
        }
        http.await??;
        grpc.await??;
        Ok(())
    }
}

fn setup(config: &Config, outside: &Outside, shard: u32, seed: u64) -> Setup {
    Setup {
        shard,
        shards: config.shards,
        instance: config.instance_id.as_str().into(),
        connections_max: config.max_connections,
        outbox_bytes_max: config.outbox_bytes_max,
        ring_bytes: config.ring_bytes,
        dials_per_second: limits::DIALS_PER_SECOND,
        publish: Bounds {
            // One that is being filled cannot spill: several must fit below the queue's bound.
            batch_bytes: config.publish.batch_bytes.min(config.publish.queue_bytes / 4),
            batch_count: config.publish.batch_count,
            linger: config.publish.linger,
            in_flight: config.publish.in_flight,
            queue_bytes: config.publish.queue_bytes,
            ..Bounds::default()
        },
        lifecycle_topic: config.lifecycle_topic.as_str().into(),
        rooms: ingress::rooms(config, outside),
        seed,
    }
}

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
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::mpsc,
};

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
    /// To whoever waits for the shards to run.
    pub failed: mpsc::Sender<String>,
}

/// Whatever becomes of a shard's thread, nobody waits for its answers in vain, and the main thread hears
/// of an end that is none in order.
struct Watched {
    shard: u32,
    mailbox: Arc<Mailbox>,
    failed: mpsc::Sender<String>,
    /// Why it ended; what a panic leaves here.
    why: Option<String>,
}

impl Watched {
    fn ended(mut self, result: &Result<(), Failure>) {
        self.why = result.as_ref().err().map(ToString::to_string);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(why) = self.why.take() {
            // Full: it knows of another one already.
            let _ = self.failed.try_send(format!("shard {} does not run: {why}", self.shard));
        }
        // After that: those who are refused now would be the first to say that something is wrong.
        self.mailbox.close();
    }
}

impl Part {
    pub fn run(self) -> Result<(), Failure> {
        let watched = Watched {
            shard: self.shard,
            mailbox: self.mailbox.clone(),
            failed: self.failed.clone(),
            why: Some("its thread failed".to_owned()),
        };
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let result = match runtime {
            Ok(runtime) => runtime.block_on(self.serve()),
            Err(error) => Err(error.into()),
        };
        watched.ended(&result);
        result
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
        let commands = match self.shard {
            0 => commands::start(&self.instance, &service, &self.stop)?,
            _ => None,
        };
        let bound = match self.shard {
            0 => intake::bind(&self.instance, &poster, &self.stop)?,
            _ => Vec::new(),
        };
        let http = tokio::task::spawn_local(http);
        let grpc = tokio::task::spawn_local(grpc);
        shard::run(local).await;
        if let Some(commands) = commands {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::io::{Command, Context},
        shard::mailbox::Hub,
    };

    fn watched(why: Option<&str>) -> (Watched, Hub, mpsc::Receiver<String>) {
        let mailbox = Mailbox::new(8);
        let (failed, told) = mpsc::channel(1);
        let hub = Hub::new(vec![mailbox.clone()], 7);
        (Watched { shard: 3, mailbox, failed, why: why.map(str::to_owned) }, hub, told)
    }

    #[tokio::test]
    async fn whoever_waits_for_a_shard_that_does_not_start_is_answered_and_the_main_thread_is_told() {
        let (watched, hub, mut told) = watched(Some("its thread failed"));
        let posted = hub.call(0, Context::default(), Command::Refuse);
        let (looked, seen) = tokio::sync::oneshot::channel::<()>();
        hub.inspect(0, Box::new(move |_| looked.send(()).unwrap())).unwrap();
        watched.ended(&Err("--tls-key: no key".into()));
        assert_eq!(told.recv().await.unwrap(), "shard 3 does not run: --tls-key: no key");
        assert!(posted.await.is_err() && seen.await.is_err(), "nothing waits for ever");
        assert!(hub.call(0, Context::default(), Command::Refuse).await.is_err());
        assert!(hub.inspect(0, Box::new(|_| {})).is_err());
        assert_eq!(hub.mailbox(0).len(), 0);
    }

    #[tokio::test]
    async fn a_thread_that_fails_is_told_of_and_one_that_ends_in_order_is_not() {
        let (broken, hub, mut told) = watched(Some("its thread failed"));
        drop(broken);
        assert!(told.recv().await.unwrap().contains("its thread failed"));
        assert!(hub.call(0, Context::default(), Command::Stop).await.is_err());
        let (well, _hub, mut told) = watched(Some("its thread failed"));
        well.ended(&Ok(()));
        assert_eq!(told.recv().await, None);
    }
}

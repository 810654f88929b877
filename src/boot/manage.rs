//! The main thread once all others run: the admin port, what was stored before, signals, the drain.

use super::{Failure, Instance, Started, drain, restore, traces};
use crate::{
    api::{
        admin::{self, AdminHooks},
        listen::{self, ListenSettings, Stop, StopTrigger},
        service::Life,
    },
    config::Config,
    limits,
    telemetry::collect::{Collector, Fixed, Sources},
};
use std::sync::Arc;
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

/// Answers the exit code. An error when a shard does not run: without it nothing here is whole.
pub(super) async fn manage(
    instance: &Arc<Instance>,
    admin: std::net::TcpListener,
    stop: Stop,
    trigger: StopTrigger,
    mut failures: mpsc::Receiver<String>,
    started: impl FnOnce(&Started),
) -> Result<u8, Failure> {
    let (drain_now, mut drain_asked) = mpsc::channel(1);
    let mut signals = drain::Signals::new()?;
    instance.outside.start(&instance.hub, &instance.config.instance_id);
    let hooks = Arc::new(Hooks {
        collector: Collector::new(Sources {
            hub: instance.hub.clone(),
            backend: instance.backend.clone(),
            edge: instance.edge.clone(),
            peers: instance.peers.clone(),
            ingress: instance.ingress.clone(),
            commands: instance.commands.clone(),
            intake: instance.intake.clone(),
            fleet: instance.fleet.clone(),
            rooms: instance.outside.redis.clone(),
            relay: instance.outside.relay.clone(),
            calls: instance.observers.iter().map(|observer| observer.calls.clone()).collect(),
            spans: instance.spans.clone(),
            fixed: Fixed::of(&instance.config),
            standing: traces::standing(instance.readiness.clone()),
        }),
        config: instance.config.clone(),
        drain: drain_now,
    });
    let settings = ListenSettings {
        certificates: None,
        counters: instance.edge.clone(),
        stop,
        drain: instance.config.drain_timeout,
    };
    let admin = tokio::task::spawn_local(listen::run(admin, admin::router(hooks), settings));
    let mut told = tokio::select! {
        biased;
        Some(why) = failures.recv() => return Err(why.into()),
        interrupted = signals.next() => Some(interrupted),
        _ = drain_asked.recv() => Some(false),
        ready = get_ready(instance) => ready.map(|()| None)?,
    };
    if told.is_none() {
        instance.readiness.set(Life::Ready);
        started(&instance.started);
    }
    let hurry = loop {
        told = match told {
            Some(hurry) => break hurry,
            None => tokio::select! {
                biased;
                Some(why) = failures.recv() => return Err(why.into()),
                interrupted = signals.next() => Some(interrupted),
                _ = drain_asked.recv() => Some(false),
            },
        };
    };
    let code = drain::drain(instance, hurry, &mut signals).await;
    // Followers end before the listeners would cut them.
    instance.readiness.set(Life::Over);
    trigger.stop();
    if code == 0 {
        let _ = tokio::time::timeout(limits::CLOSE_TIMEOUT, admin).await;
    }
    drain::stop_shards(instance);
    tracing::info!(code, "drained");
    Ok(code)
}

/// What must be done before work is taken: shards that run, a lease in a fleet, and what an earlier run
/// left.
async fn get_ready(instance: &Instance) -> Result<(), Failure> {
    for shard in 0..instance.hub.shards() {
        let (sender, running) = oneshot::channel();
        let look = move |_: &crate::shard::Local| {
            // Nobody waits any more: the process ends.
            let _ = sender.send(());
        };
        instance.hub.inspect(shard, Box::new(look)).map_err(|fault| fault.to_string())?;
        running.await.map_err(|_| format!("shard {shard} ended before it began"))?;
    }
    if let Some(fleet) = &instance.fleet {
        tokio::select! {
            biased;
            () = fleet.held() => {}
            () = sleep(limits::START_PATIENCE) => {
                let why = instance.readiness.not_ready().unwrap_or_default();
                tracing::warn!(%why, "not ready yet: waiting");
                fleet.held().await;
            }
        }
    }
    restore::stored(instance).await
}

struct Hooks {
    collector: Collector,
    config: Arc<Config>,
    drain: mpsc::Sender<()>,
}

impl AdminHooks for Hooks {
    fn metrics(&self) -> std::pin::Pin<Box<dyn Future<Output = String> + Send + '_>> {
        Box::pin(self.collector.scrape())
    }

    fn config(&self) -> String {
        self.config.effective()
    }

    fn drain(&self) {
        // Full means that it was asked for already.
        let _ = self.drain.try_send(());
    }
}

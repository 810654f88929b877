//! Leaving in order: lame duck, refuse, let Sends finish, close, flush; by force when time is up.

use super::{Failure, Instance, handover};
use crate::{
    api::service::Life,
    core::io::{Answer, Command, Context},
    limits,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    time::{Instant, sleep, sleep_until, timeout_at},
};

/// What remained was counted, but did not leave in order.
const EXIT_FORCED: u8 = 2;

pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn new() -> Result<Self, Failure> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// True for an interrupt from the keyboard: somebody waits for the end.
    pub async fn next(&mut self) -> bool {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => true,
            _ = self.terminate.recv() => false,
        }
    }
}

/// Answers the exit code. A second signal ends it at once.
pub(super) async fn drain(instance: &Arc<Instance>, hurry: bool, signals: &mut Signals) -> u8 {
    instance.readiness.set(Life::Draining);
    tracing::info!(budget = ?instance.config.drain_timeout, "draining");
    let deadline = Instant::now() + instance.config.drain_timeout;
    if let Some(fleet) = &instance.fleet {
        fleet.leave().await;
    }
    let code = tokio::select! {
        biased;
        _ = signals.next() => {
            tracing::warn!("told again: leaving at once");
            abandon(instance).await
        }
        drained = in_order(instance, hurry, deadline) => {
            if drained { 0 } else { abandon(instance).await }
        }
    };
    if let Some(fleet) = &instance.fleet {
        // What is left of ours can be taken by others at once.
        fleet.left().await;
    }
    code
}

async fn in_order(instance: &Arc<Instance>, hurry: bool, deadline: Instant) -> bool {
    // A shard that does not answer is waited for no longer than that.
    if timeout_at(deadline, fall_idle(instance, hurry, deadline)).await.is_err() {
        tracing::warn!("not everything has come to rest in time");
    }
    // Before the first connection is let go of: who does not find it any more must not take it for gone.
    instance.readiness.set(Life::Stopping);
    timeout_at(deadline, ask_all(instance, || Command::Stop)).await.is_ok()
}

/// Hands over, refuses, and waits for Sends in flight.
async fn fall_idle(instance: &Arc<Instance>, hurry: bool, deadline: Instant) {
    let lame_duck = Instant::now() + instance.config.drain_lame_duck;
    // Half of the time is kept for what nobody takes.
    let patience = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
    if timeout_at(patience, handover::all(instance)).await.is_err() {
        tracing::warn!("not everything could be handed over in time");
    }
    if !hurry {
        // Balancers look at /readyz; until they have, requests still come here and are served.
        sleep_until(lame_duck).await;
    }
    instance.outside.leave().await;
    ask_all(instance, || Command::Refuse).await;
    let patience = deadline.min(Instant::now() + limits::DRAIN_SENDS);
    let over = async {
        while sends_in_flight(instance).await > 0 {
            sleep(POLL).await;
        }
    };
    // Those that are left hear of the end of their sockets.
    let _ = timeout_at(patience, over).await;
}

/// How often Sends in flight are counted.
const POLL: Duration = Duration::from_millis(10);

async fn ask_all(instance: &Instance, command: impl Fn() -> Command) {
    let shards = 0..instance.hub.shards();
    let calls: Vec<_> = shards.map(|shard| instance.hub.call(shard, Context::default(), command())).collect();
    for call in calls {
        if let Err(fault) = call.await {
            tracing::error!(%fault, "a shard refused to drain");
        }
    }
}

async fn sends_in_flight(instance: &Instance) -> usize {
    let mut sum = 0;
    for shard in 0..instance.hub.shards() {
        let (sender, receiver) = oneshot::channel();
        let look = Box::new(move |local: &crate::shard::Local| {
            // Nobody waits any more: the drain ran out of time.
            let _ = sender.send(local.core().sends_in_flight());
        });
        if instance.hub.inspect(shard, look).is_ok() {
            sum += receiver.await.unwrap_or(0);
        }
    }
    sum
}

async fn abandon(instance: &Instance) -> u8 {
    instance.readiness.set(Life::Stopping);
    let deadline = Instant::now() + limits::DRAIN_ABANDON;
    for shard in 0..instance.hub.shards() {
        let call = instance.hub.call(shard, Context::default(), Command::Abandon);
        match timeout_at(deadline, call).await {
            Ok(Ok(Answer::Abandoned { sockets, events })) => {
                tracing::warn!(shard, sockets, events, "drain_forced: this was left");
            }
            _ => tracing::error!(shard, "drain_forced: the shard does not answer"),
        }
    }
    EXIT_FORCED
}

/// Ends the loops of the shards; their listeners were told before.
pub(super) fn stop_shards(instance: &Instance) {
    for shard in 0..instance.hub.shards() {
        // A shard that takes no mail has ended already.
        let _ = instance.hub.inspect(shard, Box::new(|local| local.stop()));
    }
}

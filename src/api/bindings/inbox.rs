//! A bound topic through a sidecar's subscription: the broker's consumer group gives each event to one
//! instance, and again when it was not acked.

use super::{Carried, Lane};
use crate::ports::{Ack, Delivery, Inbox};
use std::{
    future::{Future, poll_fn},
    pin::pin,
};

/// Until `stop`, or until the subscription ends. What is under way then is given back.
pub async fn receive(mut lane: Lane, mut inbox: impl Inbox, stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    let work = async {
        while let Some(Delivery { event, ack }) = poll_fn(|context| inbox.poll_delivery(context)).await {
            let carried = lane.carry(&event).await;
            ack.complete(match carried {
                Carried::Posted | Carried::Passed => Ack::Done,
                Carried::Useless => Ack::Drop,
            });
        }
    };
    tokio::select! {
        biased;
        () = &mut stop => {}
        () = work => {}
    }
}

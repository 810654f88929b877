//! What leaves for the bus: lanes, batches, and what happens when the bus is slow.
//!
//! A message is rendered straight into the open batch of its class. There are two classes, each
//! with its own batches in strict order: lanes that spill, and all others; so a batch that goes to
//! disk never holds an event of a lane that goes on in memory.
//!
//! Order on the bus: batches are handed over in order, several at a time. A bus that takes the
//! batches of one caller in order, and none behind a failed one, keeps every lane in order; for
//! any other, `in_flight` = 1 gives the same. After a Retry nothing newer is sent until what
//! failed was taken; events keep their ids, so a reader can tell the copies. A lane that is closed
//! and opened again goes on behind itself, unless its new policy puts it into the other class.

pub mod batch;
mod bounds;
mod counters;
mod flight;
mod gaps;
mod lane;
mod open;
mod overflow;
mod publisher;
mod record;
mod spill;

pub use bounds::{Bounds, Gaps, Ordering, Overflow, Spec};
pub use counters::{Counters, Gauges};
pub use lane::LaneKey;
pub use publisher::{Action, KeyOf, Publisher, Settled, Taken};

pub use crate::{
    core::{correlation::Kind, sequence::Gap},
    wire::event::{Format, LifecycleEvent, LifecycleState, Stamp},
};

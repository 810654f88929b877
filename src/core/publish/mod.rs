//! What leaves for the bus: lanes, batches, and what happens when the bus is slow.

pub mod batch;

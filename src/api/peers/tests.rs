//! Several instances in one process, each with its own threads, shards and ports, and a directory
//! that a test scripts.

mod calls;
mod followers;
mod golden;
mod members;
mod rig;
mod rooms;
mod trouble;

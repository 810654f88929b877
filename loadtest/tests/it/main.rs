//! The generator against a service whose delays are known, and the program as people use it.

mod arguments;
mod delays;
mod ended;
mod fake;
mod quiet;
mod rooms;
mod running;
mod sockets;

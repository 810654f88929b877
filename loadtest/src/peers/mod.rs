//! Other people's servers, and the floors under all of them, beside the service: the same machine,
//! the same run, the same readers.
//!
//! - [`kind`]: which there are, where their programs stand, how they are installed.
//! - [`server`]: one of them, started. [`voice`]: how it is told what to publish.
//! - [`measure`]: what is measured of each. [`compare`]: all of them in turns. [`table`]: what came out.
//! - [`raw`], [`tungstenite`]: the floors, which run as this very program.

pub mod compare;
pub mod kind;
pub mod measure;
pub mod raw;
pub mod server;
pub mod table;
pub mod tungstenite;
pub mod voice;

use crate::trouble::{Result, Trouble};
use kind::Kind;

/// `loadtest peer NAME`: serves for ever, as a child of a run.
pub fn serve(name: &str) -> Result<()> {
    match Kind::parse(name)? {
        Kind::Raw => raw::serve(raw::Sends::One),
        Kind::RawBatched => raw::serve(raw::Sends::Batch),
        Kind::Tungstenite => tungstenite::serve(),
        _ => Err(Trouble::Usage(format!(
            "peer: '{name}' is a program of its own; here are raw, raw-batched, tungstenite"
        ))),
    }
}

//! What the process tells about itself.

mod catalogue;
pub mod collect;
pub mod logs;
pub mod otlp;
mod process;
mod snapshot;

pub use catalogue::markdown_table;

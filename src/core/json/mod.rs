//! One field out of an untrusted JSON message, without parsing the message.
//!
//! Nothing here validates a document: text that is not JSON simply lacks the member, or yields
//! bytes that are no scalar. Every function is linear in the text, follows at most
//! `limits::JSON_DEPTH_MAX` levels of nesting, and never fails otherwise than by `None`.
//! Of a member that occurs twice the first counts.

mod block;
mod edit;
mod pointer;
mod scalar;
mod scan;
#[cfg(test)]
mod tests;

pub use edit::{insert_member, replace_value};
pub use pointer::{BadPointer, Pointer, locate, pointer};
pub use scalar::{Decimal, Scalar};
pub use scan::{array_item, is_array, is_object, top_level};

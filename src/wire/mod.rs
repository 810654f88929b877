//! Bytes on the wire, as pure functions.

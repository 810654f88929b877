//! Other people's servers, under the same load from the same generator on the same machine.

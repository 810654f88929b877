//! The shell of the fleet machine: carries its reads and writes to the shared documents, its
//! decisions to the shards, and what the edges ask of it.

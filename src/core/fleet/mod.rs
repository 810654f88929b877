//! Who owns what in a fleet: leases, claims, the observation of others, adoption. Pure: values and
//! boot-clock times go in, reads and writes of shared documents come out.

pub mod io;

//! The promises of a limiter to the service that links it in, in real time, over the embedded
//! store and over stores that fail.
//!
//! Nothing here sleeps and then asserts: what takes time is polled for until it is so, and the
//! test fails if it is not so long after it should have been. Times are bounded from above only
//! where the bound is the promise.

mod advances;
mod all_or_none;
mod bounded;
mod build;
mod central;
mod counted;
mod ended;
mod exact;
mod fault_store;
mod first;
mod handle;
mod keys;
mod log;
mod outage;
mod panics;
mod partitions;
mod peek;
mod refused;
mod reset;
mod shut_down;
mod time;
mod tokens;
mod told;
mod waiting;
mod world;

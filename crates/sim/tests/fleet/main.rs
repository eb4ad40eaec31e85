//! Promises of the background half, kept by whole fleets in virtual time.
//!
//! Every step is checked against books kept beside the limiter. `FLEET_SEED=7 cargo test …` tries
//! other arrivals and delays.

mod advances;
mod faults;
mod fleet;
mod slow;
mod steady;

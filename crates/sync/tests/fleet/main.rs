//! A fleet of real caches and syncers over real ledgers, in virtual time.
//!
//! `cargo test --release -p leasehold-sync --test fleet -- --nocapture --test-threads 1` prints a
//! line of figures per scenario; `FLEET_SEED=7` draws other arrivals.

mod demand;
mod judge;
mod network;
mod random;
mod report;
mod store;
mod world;

mod faults;
mod slow;
mod steady;

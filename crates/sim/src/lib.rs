//! The limiter under virtual time: which setting is exact, and what it costs the store.
//!
//! # Invariant
//!
//! A run is a function of its scenario and its seed, byte for byte: one thread, integer
//! nanoseconds, events in order of (time, number), one random stream per component.
//!
//! Nothing here decides, leases or reconciles. Replicas are the real [`Requests`] and
//! [`Syncer`], the store is the real [`Ledger`]; this crate drives them, as the tokio driver does.
//! What other limiters do is modelled in [`rivals`], and serves for comparison only.
//!
//! [`Requests`]: leasehold_cache::Requests
//! [`Syncer`]: leasehold_sync::Syncer
//! [`Ledger`]: leasehold_core::Ledger

mod agenda;
pub mod arrival;
pub mod balance;
pub mod clients;
pub mod faults;
pub mod fleet;
pub mod keys;
pub mod leased;
pub mod load;
pub mod metrics;
pub mod model;
pub mod network;
pub mod numbers;
pub mod record;
pub mod report;
pub mod rivals;
pub mod run;
pub mod scenario;
mod sequence;
pub mod server;
pub mod stream;
pub mod swarm;
pub mod trace;
pub mod tune;
pub mod units;
mod world;

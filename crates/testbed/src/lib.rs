//! Real servers on loopback, and bad networks in front of them, for tests and measurements.
//!
//! Nothing that people link in depends on this crate.
//!
//! - [`LocalServer`]: one Redis or Valkey.
//! - [`ReplicaSet`]: a primary with a replica, and sentinels that watch it.
//! - [`LocalCluster`]: a cluster.
//! - [`Proxy`]: a way to a server that a test makes slow, silent, or cut again and again.

mod cluster;
mod exchanged;
mod proxy;
mod replica_set;
mod server;

pub use cluster::LocalCluster;
pub use exchanged::Words;
pub use proxy::{Proxy, Way};
pub use replica_set::ReplicaSet;
pub use server::{Binary, Kind, LocalServer, ServerError, ServerOptions};

/// Slots of a cluster.
const SLOTS: u16 = 16_384;

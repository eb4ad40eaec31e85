//! A rate limiter for services that outgrew one store call per request.
//!
//! Each process decides from tokens that it has leased, in nanoseconds and without I/O; a shared
//! [`Store`](store::Store) keeps one ledger per key and hands the leases out; a background task
//! keeps the two in step. For every key and every window, however many replicas there are and
//! whatever is lost, delayed or crashed: `admitted <= burst + overshoot + rate * window`.
//!
//! This crate is for services that limit requests by user, tenant or address, in more than one
//! process. With the built-in [`MemoryStore`] it serves one process and needs nothing installed;
//! the crate `leasehold-redis` has the store that many processes share.
//!
//! # Trade-offs
//!
//! - The first request for a key, and requests for keys too slow to lease, wait for one exchange
//!   with the store ([`Limiter::acquire`]) or are denied ([`Limiter::try_acquire`]).
//! - Tokens leased to one replica cannot be spent by another until they are given back. Shares
//!   follow demand, and what lies idle is returned; what a dead replica held is lost for one
//!   lease time.
//! - A store that lost its memory grants nothing until the longest lease it may have forgotten
//!   has ended: an exact bound costs a few seconds then.
//!
//! # Example
//!
//! ```
//! use leasehold::Limiter;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limiter = Limiter::builder().limit("api", "1000/s burst 2000").build()?;
//!
//! assert!(limiter.acquire("user:42", 1).await.is_allowed());
//! limiter.shutdown().await?;
//! # Ok(())
//! # }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod caught;
mod clock;
mod health;
mod key;
mod key_handle;
mod limiter;
mod memory_store;
mod names;
mod shared;
mod state_log;
mod stats;
pub mod store;
mod sync_task;
mod verdict_counts;

/// Tools for the tests of a service.
#[cfg(feature = "test-util")]
pub mod test {
    pub use crate::clock::TestClock;
}

pub use builder::{BuildError, Builder};
// For the tools of this project, which share the time with the limiters that they measure.
#[doc(hidden)]
pub use clock::{Clock, machine_nanos};
pub use health::{Health, TaskState};
pub use key::{AsKey, AsLimit, Key, LimitRef};
pub use key_handle::KeyHandle;
pub use leasehold_cache::{KeyRef, LimitId};
pub use leasehold_core::{
    Admitted, Decided, Denial, Estimate, Limit, LimitBuilder, LimitError, Micros, Rate, Reason,
    Retry, Verdict,
};
pub use leasehold_sync::{FailurePolicy, Tokens, Tuning, TuningError};
pub use limiter::{Limiter, Mode, NotReleased, Peek};
pub use memory_store::MemoryStore;
pub use stats::Stats;
pub use store::StoreError;
pub use verdict_counts::LimitStats;

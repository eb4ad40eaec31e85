//! The interface between a limiter and its store, for those who write a store.
//!
//! A service needs none of this: [`MemoryStore`](crate::MemoryStore) is built in, and
//! `leasehold_redis::RedisStore` serves many processes. A store of one's own keeps a [`Ledger`] per
//! key, or does what a ledger does, or hands batches on to another store.
//!
//! # Examples
//!
//! A store that counts what passes through it:
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicUsize, Ordering};
//!
//! use leasehold::store::{Batch, Store, StoreFuture};
//! use leasehold::{Limiter, MemoryStore};
//!
//! #[derive(Default)]
//! struct Counting {
//!     store: MemoryStore,
//!     calls: AtomicUsize,
//! }
//!
//! impl Store for Counting {
//!     fn exchange<'a>(&'a self, batch: &'a Batch) -> StoreFuture<'a> {
//!         self.calls.fetch_add(batch.calls.len(), Ordering::Relaxed);
//!         self.store.exchange(batch)
//!     }
//!
//!     fn round_trips(&self) -> u64 {
//!         self.store.round_trips()
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(Counting::default());
//! let limiter = Limiter::builder().limit("api", "1000/s").store(Arc::clone(&store)).build()?;
//! assert!(limiter.acquire("user:42", 1).await.is_allowed());
//! assert_eq!(store.calls.load(Ordering::Relaxed), 1);
//! # Ok(())
//! # }
//! ```

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use leasehold_core::{
    Birth, Demand, Instant, LeaseRequest, Ledger, RecordId, Reply, Request, Status, StoreTime, Wait,
};
pub use leasehold_sync::{Answer, Batch, Call, NamedLimit, key_hash, partition_of};

/// A future that a [`Store`] answers by.
pub type StoreFuture<'a> = Pin<Box<dyn Future<Output = Result<Answer, StoreError>> + Send + 'a>>;

/// Keeps one ledger per key and answers batches of calls about them.
///
/// A store answers each call as [`Ledger::exchange`] does, on
/// a clock of its own, atomically per call, and keeps one [`Birth`] for
/// all keys of a [partition](Self::partitions). It must not queue: a batch that cannot be sent now
/// fails now. The limiter gives up on an exchange after a time of its own.
pub trait Store: Send + Sync + 'static {
    /// Sends a batch and returns one reply per call, in order.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if there is no answer. It is not known then whether the batch was executed,
    /// and it does not matter: the next request carries the whole state again.
    fn exchange<'a>(&'a self, batch: &'a Batch) -> StoreFuture<'a>;

    /// In how many parts the keys lie that can forget, fail and be reached apart, such as the
    /// shards of a cluster. All keys of a batch lie in one. The same for all replicas, and for as
    /// long as the store lives.
    fn partitions(&self) -> u32 {
        1
    }

    /// Network exchanges so far, repeats included. For a store without a network, batches.
    fn round_trips(&self) -> u64;
}

/// Why a store has no answer.
#[derive(Clone)]
pub struct StoreError {
    message: Arc<str>,
}

impl StoreError {
    /// An error that says `message`: what failed, and at which store.
    pub fn new(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string().into(),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for StoreError {}

leasehold_core::debug_by_display!(StoreError);

impl<S: Store + ?Sized> Store for Arc<S> {
    fn exchange<'a>(&'a self, batch: &'a Batch) -> StoreFuture<'a> {
        (**self).exchange(batch)
    }

    fn partitions(&self) -> u32 {
        (**self).partitions()
    }

    fn round_trips(&self) -> u64 {
        (**self).round_trips()
    }
}

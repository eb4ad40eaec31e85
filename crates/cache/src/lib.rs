//! The quota cache of one replica: what it holds on lease, per key, read without a lock.
//!
//! This crate is for those who work on `leasehold` itself, or drive its parts with a runtime of
//! their own. A service uses the crate `leasehold`.
//!
//! A cache has two sides. Request threads share the [`Requests`]: they look a key up and touch its
//! atomics ([`Requests::try_acquire`]). The sync task has the [`Owner`], of which there is one: it
//! inserts and removes keys, and moves tokens in and out of their leases through the [`OwnedEntry`]
//! of each. Neither waits for the other.
//!
//! Nothing here reads a clock, draws a random number or starts a thread: `now` is the last
//! argument of whatever depends on time, and the seed of the hash comes in as a value. Nothing
//! here knows the store either: tokens that leave a cell are returned, and the caller keeps the
//! books.

mod advances;
mod atomic;
mod denial_cell;
mod denied;
mod entry;
#[cfg(not(leasehold_loom))]
mod entry_table;
mod held;
mod holds;
mod key;
#[cfg(not(leasehold_loom))]
mod keyed_hash;
mod lease;
mod lease_cell;
#[cfg(not(leasehold_loom))]
mod local_decision;
mod owned_entry;
#[cfg(not(leasehold_loom))]
mod owner;
mod queue;
#[cfg(not(leasehold_loom))]
mod requests;
mod signal_flag;
mod signals;
mod stripes;
mod subject;
#[cfg(not(leasehold_loom))]
mod table;
#[cfg(not(leasehold_loom))]
mod thread_cache;

pub use denial_cell::DenialCell;

pub use entry::Entry;
pub use held::Held;
pub use key::{KeyRef, LimitId};
pub use lease::{Account, Lease, Spent};
pub use lease_cell::{Generation, LeaseView, Shortfall, Withdrawn};
#[cfg(not(leasehold_loom))]
pub use local_decision::{LocalDecision, LocalDenial};
pub use owned_entry::OwnedEntry;
#[cfg(not(leasehold_loom))]
pub use owner::{Full, Owner};
#[cfg(not(leasehold_loom))]
pub use requests::{AllLocal, Config, Requests};
pub use signals::Signals;

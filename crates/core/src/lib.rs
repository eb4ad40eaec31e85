//! The definitions of a decision, in exact integers: time, limits, the messages between a replica
//! and its store, and the store's ledger as a pure function.
//!
//! This crate is for those who write a store in another language or check one, and for tools that
//! read limits. A service uses the crate `leasehold`, which shows what it needs of this one.
//!
//! Nothing here reads a clock, draws a random number, starts a thread or opens a socket, and
//! nothing can: the crate is `no_std`.
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;

mod birth;
mod bucket;
mod debug_by_display;
mod estimate;
mod ledger;
mod ledgers;
mod limit;
mod limit_error;
mod limit_id;
#[cfg(feature = "serde")]
mod limit_serde;
mod marker;
mod message;
mod meter;
mod parse;
mod roster;
mod scale;
mod split_mix;
mod time;
mod verdict;

pub use birth::Birth;
pub use estimate::Estimate;
pub use ledger::{Ledger, Past, Record};
pub use ledgers::{Kept, Ledgers};
pub use limit::{Limit, LimitBuilder, Rate};
pub use limit_error::LimitError;
pub use limit_id::LimitId;
pub use marker::Marker;
pub use message::{Demand, LeaseRequest, RecordId, Reply, Request, Status, Wait};
pub use meter::Meter;
pub use roster::{Enroll, PARTS, REPLICAS_MAX, Retired, Roster, Seat};
pub use scale::Scale;
pub use split_mix::{SplitMix64, backoff};
pub use time::{Instant, Micros, StoreTime};
pub use verdict::{Admitted, Decided, Denial, Reason, Retry, Verdict};

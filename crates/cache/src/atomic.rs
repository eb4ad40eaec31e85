//! The atomics of this crate: `core`'s, or loom's where `tests/loom.rs` checks interleavings.
//!
//! The switch is a cfg of our own because a global `--cfg loom` changes other crates too.

#[cfg(not(leasehold_loom))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
#[cfg(leasehold_loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

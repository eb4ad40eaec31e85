//! Targets of fuzzing: hostile input, and the promises that must hold for it, a module for each.
//!
//! | target | what is said | by |
//! |---|---|---|
//! | [`limits`] | `1000/s burst 2000`, as text and as JSON | an operator |
//! | [`config`] | scenarios with their units, tuning and sweeps | an operator |
//! | [`urls`] | where the store is, with a password in it | an operator |
//! | [`replies`] | what a script answers to a batch or a greeting | a server, or what pretends to be one |
//! | [`keys`] | names of limits and subjects: any bytes | whoever sends requests |
//!
//! # Invariant
//!
//! A check panics if, and only if, a promise is broken; nothing that is said is a reason. What is
//! good is more than silence: what was read is written and read again as the same, and what was
//! garbled is an error or within the limit.
//!
//! # How to run one
//!
//! `cargo run -p leasehold-fuzz --bin limits -- --seconds 60` mutates the corpus on stable Rust,
//! and names what it drew from, so that it can be had again. `cargo fuzz run limits` is guided by
//! coverage and finds more; it needs cargo-fuzz, a nightly toolchain and a C++ compiler. Both say
//! how an input that failed is run again; add it to `corpus/`, which `cargo test` runs.

pub mod config;
pub mod keys;
pub mod limits;
mod mutation;
pub mod program;
mod reader;
pub mod replies;
pub mod urls;

/// A check of one input: it panics if a promise is broken.
pub type Check = fn(&[u8]);

/// All targets, by name.
pub const TARGETS: [(&str, Check); 5] = [
    ("limits", limits::check),
    ("config", config::check),
    ("urls", urls::check),
    ("replies", replies::check),
    ("keys", keys::check),
];

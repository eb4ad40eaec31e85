//! Memory per key: `cargo run --profile measured -p leasehold-benches --bin memory`.
//!
//! A program of its own, because its allocator counts: that would slow those rows of `rivals` that
//! allocate.

use std::alloc::System;
use std::process::ExitCode;

use clap::Parser;
use leasehold_benches::memory::{self, Arguments, Heap};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    match memory::run(&Arguments::parse(), heap) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("memory: {error}");
            ExitCode::FAILURE
        }
    }
}

fn heap() -> Heap {
    let stats = ALLOCATOR.stats();
    Heap {
        bytes: stats.bytes_allocated - stats.bytes_deallocated,
        allocations: stats.allocations + stats.reallocations,
    }
}

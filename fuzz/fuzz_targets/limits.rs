//! The target `limits`, for cargo-fuzz and without it: see the crate's documentation.
#![cfg_attr(fuzzing, no_main)]

use leasehold_fuzz::limits::check;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| check(input));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    leasehold_fuzz::program::main("limits", check)
}

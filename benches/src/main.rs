//! The command line of the measurements:
//! `cargo run --profile measured -p leasehold-benches -- --help`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use leasehold_benches::{end_to_end, rivals};

/// Measures leasehold beside other limiters, and beside what the machine can do.
#[derive(Parser)]
#[command(name = "leasehold-benches")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Rivals(rivals::Arguments),
    /// Leases beside a script call per decision and beside other hybrids, on a real server.
    EndToEnd(end_to_end::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Rivals(arguments) => rivals::run(&arguments),
        Command::EndToEnd(arguments) => return end_to_end::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leasehold-benches: {error}");
            ExitCode::FAILURE
        }
    }
}

//! The command line of the measurements: `cargo run --release -p leasehold-benches -- --help`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use leasehold_benches::rivals;

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
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Rivals(arguments) => rivals::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leasehold-benches: {error}");
            ExitCode::FAILURE
        }
    }
}

//! The `leasehold` command line.

mod args;
mod demo;
mod faults;
mod judge_command;
mod replay_command;
mod simulate;
mod swarm_command;
mod tune_command;
mod validate;

use std::fmt::Display;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::args::{Arguments, Command};
use crate::demo::DemoError;
use crate::faults::FaultsError;
use crate::judge_command::JudgeError;
use crate::replay_command::ReplayError;
use crate::simulate::SimulateError;
use crate::swarm_command::SwarmError;
use crate::tune_command::TuneError;
use crate::validate::ValidateError;

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    start_log(matches!(command, Command::DemoReplica));
    match command {
        Command::Demo(arguments) => end(demo::run(&arguments), DemoError::exit_code),
        Command::Judge(arguments) => end(judge_command::run(&arguments), JudgeError::exit_code),
        Command::Simulate(arguments) => end(simulate::run(&arguments), SimulateError::exit_code),
        Command::Sweep(arguments) => {
            end(simulate::sweep::run(&arguments), SimulateError::exit_code)
        }
        Command::Validate(arguments) => end(validate::run(&arguments), ValidateError::exit_code),
        Command::Faults(arguments) => end(faults::run(&arguments), FaultsError::exit_code),
        Command::Tune(arguments) => end(tune_command::run(&arguments), TuneError::exit_code),
        Command::Replay(arguments) => end(replay_command::run(&arguments), ReplayError::exit_code),
        Command::Swarm(arguments) => end(swarm_command::run(&arguments), SwarmError::exit_code),
        Command::DemoReplica => end(demo::replica_process::run(), DemoError::exit_code),
    }
}

/// 0 if all went well, 1 if a bound was exceeded, and what `exit_code` says of an error.
fn end<E: Display>(outcome: Result<bool, E>, exit_code: impl Fn(&E) -> ExitCode) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            anstream::eprintln!("{}: {error}", args::paint_error("error"));
            exit_code(&error)
        }
    }
}

/// Events of the limiter and its store go to the standard error stream; `LEASEHOLD_LOG` says
/// which. A replica also counts what it would say by default.
fn start_log(counts: bool) {
    let filter = EnvFilter::try_from_env("LEASEHOLD_LOG");
    let shown = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let shown = shown.with_filter(filter.unwrap_or_else(|_| "error".into()));
    let counter = counts.then(demo::log_lines::counter);
    tracing_subscriber::registry()
        .with(shown)
        .with(counter)
        .init();
}

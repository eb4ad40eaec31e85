//! The `leasehold` command line.

mod args;
mod demo;
mod ending;
mod faults;
mod interrupt;
mod judge_command;
mod limit_arguments;
mod machine;
mod output;
mod progress;
mod replay_command;
mod reset_command;
mod shell;
mod simulate;
mod swarm_command;
mod tune_command;
mod validate;
mod values;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::{Arguments, Command};
use crate::ending::exit_code;

fn main() -> ExitCode {
    output::apply_color_of(std::env::args_os());
    let program = Arguments::command();
    let arguments = Arguments::from_arg_matches(&program.clone().get_matches());
    let arguments = arguments.unwrap_or_else(|error| error.exit());
    arguments.output.apply();
    let command = arguments.command;
    let is_replica = matches!(command, Command::DemoReplica);
    start_log(is_replica);
    if !is_replica {
        interrupt::listen();
    }
    match command {
        Command::Demo(arguments) => exit_code(demo::run(&arguments)),
        Command::Judge(arguments) => exit_code(judge_command::run(&arguments)),
        Command::Simulate(arguments) => exit_code(simulate::run(&arguments)),
        Command::Sweep(arguments) => exit_code(simulate::sweep::run(&arguments)),
        Command::Validate(arguments) => exit_code(validate::run(&arguments)),
        Command::Faults(arguments) => exit_code(faults::run(&arguments)),
        Command::Tune(arguments) => exit_code(tune_command::run(&arguments)),
        Command::Replay(arguments) => exit_code(replay_command::run(&arguments)),
        Command::Reset(arguments) => exit_code(reset_command::run(&arguments)),
        Command::Swarm(arguments) => exit_code(swarm_command::run(&arguments)),
        Command::Completions(arguments) => exit_code(shell::completions(&arguments, program)),
        Command::Man => exit_code(shell::manual(program)),
        Command::DemoReplica => exit_code(demo::replica_process::run()),
    }
}

/// Events of the limiter and its store go to the standard error stream; `LEASEHOLD_LOG` says
/// which, as in `warn,leasehold_redis=debug`. A replica also counts what it would say by default.
fn start_log(counts: bool) {
    let filter = std::env::var("LEASEHOLD_LOG").ok();
    let filter = filter.filter(|text| !text.trim().is_empty());
    let filter = filter.and_then(|text| text.parse().ok());
    let filter = filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::ERROR));
    let shown = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let shown = shown.with_ansi(output::error_stream_has_colors());
    let shown = shown.with_filter(filter);
    let counter = counts.then(demo::log_lines::counter);
    tracing_subscriber::registry()
        .with(shown)
        .with(counter)
        .init();
}

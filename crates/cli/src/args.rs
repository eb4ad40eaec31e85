//! The command line as clap reads it: the commands, and the options that all of them share.

use clap::{Parser, Subcommand};

use crate::demo::arguments::DemoArguments;
use crate::ending::EXIT_CODES;
use crate::faults::FaultsArguments;
use crate::judge_command::JudgeArguments;
use crate::output::OutputArguments;
use crate::replay_command::ReplayArguments;
use crate::reset_command::ResetArguments;
use crate::shell::CompletionsArguments;
use crate::simulate::SimulateArguments;
use crate::simulate::sweep::SweepArguments;
use crate::swarm_command::SwarmArguments;
use crate::tune_command::TuneArguments;
use crate::validate::ValidateArguments;

/// A two-tier rate limiter: exact token leases from Redis, decisions in nanoseconds.
#[derive(Debug, Parser)]
#[command(name = "leasehold", version, about, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) output: OutputArguments,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run real limiters on real load and judge what they admit.
    Demo(Box<DemoArguments>),
    /// Judge admitted requests from a file.
    Judge(JudgeArguments),
    /// Run scenarios under virtual time and hold the results against what they expect.
    Simulate(SimulateArguments),
    /// Run one scenario over several settings: accuracy against load of the store.
    Sweep(SweepArguments),
    /// Run random worlds with random faults and hold the limiter to its promises.
    Swarm(SwarmArguments),
    /// Hold what the simulator predicts against real processes on a real server.
    Validate(ValidateArguments),
    /// Let faults happen to real processes and servers, and hold what is admitted against the
    /// bound.
    Faults(FaultsArguments),
    /// Find the setting that meets objectives at the fewest store calls.
    Tune(Box<TuneArguments>),
    /// Replay a recorded trace: what a limit would have admitted, and at what cost.
    Replay(Box<ReplayArguments>),
    /// Forgive what is charged on a key, so that its burst can be had again.
    Reset(ResetArguments),
    /// Print a script that completes this program's words in a shell.
    Completions(CompletionsArguments),
    /// Print the manual page, with all commands, for `man -l -`.
    Man,
    /// One replica of a demo, in a process of its own.
    #[command(hide = true)]
    DemoReplica,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}

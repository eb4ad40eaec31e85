//! `leasehold simulate`: runs scenarios under virtual time and tells whether all came as expected.
//!
//! # Invariant
//!
//! The standard output is a function of scenarios and seeds, byte for byte, whatever runs them and
//! however fast; what depends on this machine goes to the standard error stream.

mod catalogue;
mod columns;
mod csv;
pub(crate) mod error;
mod events;
pub(crate) mod files;
mod how;
mod job;
pub(crate) mod number;
pub(crate) mod page;
mod pareto;
pub(crate) mod results;
#[cfg(test)]
mod samples;
pub(crate) mod sweep;
pub(crate) mod table;

use std::path::PathBuf;

use clap::Args;

use self::error::SimulateError;
use self::how::{How, Varied, parse_varied};
use self::job::Job;
use self::results::{json, print_outcome, write_files};
use crate::ending::Ending;
use crate::output::print;

/// Runs scenarios under virtual time, beside the rivals that they name, and holds the results
/// against what the scenarios expect. Exits 1 if an expectation failed, 2 if a scenario cannot be
/// run.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SimulateArguments {
    /// Scenario files; of a folder, all *.toml in it and below it. What is no file is the name of a
    /// scenario that is built in, such as behaviour/rivals, or the folder of some.
    #[arg(required_unless_present = "list", value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Say which scenarios are built in, and run none.
    #[arg(long)]
    pub(crate) list: bool,
    /// Let a field of the scenarios take these values, as in replicas=1,2,5. Given more than once,
    /// every combination is run.
    #[arg(long, value_name = "FIELD=A,B,C", value_parser = parse_varied)]
    pub(crate) vary: Vec<Varied>,
    /// Run only the points that are labelled so, or else those whose label contains it.
    #[arg(long, value_name = "LABEL")]
    pub(crate) point: Option<String>,
    #[command(flatten)]
    pub(crate) how: How,
    /// Write what happens to our limiter in every run, one JSON object a line; checks the books.
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
}

/// Runs the scenarios; all is well if all came as expected.
pub(crate) fn run(arguments: &SimulateArguments) -> Result<Ending, SimulateError> {
    if arguments.list {
        print(&catalogue::listed());
        return Ok(Ending::Kept);
    }
    arguments.how.check_files()?;
    let mut job = Job::read(&arguments.paths, &arguments.vary, &arguments.how)?;
    if let Some(label) = &arguments.point {
        job.keep(label)?;
    }
    if let Some(file) = &arguments.events {
        events::write(file, &job)?;
    }
    let report = job.run()?;
    let how = &arguments.how;
    write_files(how, &report, None)?;
    if how.json {
        print(&json(&report));
    } else {
        for scenario in &report.scenarios {
            print(&(table::scenario(scenario) + "\n"));
        }
        print_outcome(&report, &job);
    }
    Ok(Ending::of(report.all_met()))
}

const EXAMPLES: &str = "\
Examples:
  leasehold simulate behaviour/rivals
      One of the scenarios that are built in.
  leasehold simulate simulations/ --html report.html
      All scenarios, and a page with plots.
  leasehold simulate seeds/gateway-50k --vary latency=1ms,5ms
      Two points instead of one.
  leasehold simulate behaviour/steps --seeds 2 --events events.jsonl
      What happened in each run, step by step.";

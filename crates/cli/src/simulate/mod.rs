//! `leasehold simulate`: runs scenarios under virtual time and tells whether all came as expected.
//!
//! # Invariant
//!
//! The standard output is a function of scenarios and seeds, byte for byte, whatever runs them and
//! however fast; what depends on this machine goes to the standard error stream.

mod columns;
mod csv;
pub(crate) mod error;
mod events;
pub(crate) mod files;
mod job;
pub(crate) mod number;
pub(crate) mod page;
mod pareto;
pub(crate) mod progress;
#[cfg(test)]
mod samples;
pub(crate) mod sweep;
pub(crate) mod table;

use std::path::PathBuf;

use clap::Args;
use leasehold_sim::report::Report;
use leasehold_sim::scenario::Vary;
use serde::Serialize;

pub(crate) use self::error::SimulateError;
use self::job::Job;
use crate::args::print;

/// Runs scenarios under virtual time, beside the rivals that they name, and holds the results
/// against what the scenarios expect. Exits 1 if an expectation failed, 2 if a scenario cannot be
/// run.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SimulateArguments {
    /// Scenario files; of a folder, all *.toml in it and below it.
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
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

// How to run, and what to write. (No doc comment: clap would print it as the command's.)
#[derive(Args, Clone, Debug)]
pub(crate) struct How {
    /// The first seed; the same seed gives the same results.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(..=SEED_MAX))]
    pub(crate) seed: u64,
    /// Run each point with so many seeds [default: what the scenario says].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) seeds: Option<u32>,
    /// Leave out the rivals.
    #[arg(long)]
    pub(crate) no_rivals: bool,
    /// Check the limiter's books at every step; takes longer.
    #[arg(long)]
    pub(crate) checked: bool,
    /// Threads that share the runs [default: one per core].
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Print JSON instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write every measure of every run as CSV.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Write a page with plots, complete in one file.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// A field that varies, as it was written and as it was understood.
#[derive(Clone, Debug)]
pub(crate) struct Varied {
    pub(crate) text: String,
    pub(crate) vary: Vary,
}

/// Runs the scenarios; true if all came as expected.
pub(crate) fn run(arguments: &SimulateArguments) -> Result<bool, SimulateError> {
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
    how.write_files(&report, None)?;
    if how.json {
        print(&json(&report));
    } else {
        for scenario in &report.scenarios {
            print(&(table::scenario(scenario) + "\n"));
        }
        print_outcome(&report, &job);
    }
    Ok(report.all_met())
}

impl How {
    /// Refuses files that cannot be written.
    fn check_files(&self) -> Result<(), SimulateError> {
        let mut files = self.csv.iter().chain(&self.html);
        files.try_for_each(|file| error::check_place(file))
    }

    /// Writes the files that were asked for. `lead` is the field that plots run over.
    fn write_files(&self, report: &Report, lead: Option<&str>) -> Result<(), SimulateError> {
        if let Some(file) = &self.csv {
            error::write(file, csv::csv(report).as_bytes())?;
        }
        if let Some(file) = &self.html {
            error::write(file, page::page(report, lead).as_bytes())?;
        }
        Ok(())
    }
}

pub(crate) fn json(report: &Report) -> String {
    #[derive(Serialize)]
    struct Whole<'r> {
        expectations_met: bool,
        #[serde(flatten)]
        report: &'r Report,
    }
    let expectations_met = report.all_met();
    let whole = Whole {
        expectations_met,
        report,
    };
    serde_json::to_string_pretty(&whole).expect("a report is plain data")
}

fn print_outcome(report: &Report, job: &Job) {
    let failures = table::failures(report, job);
    if !failures.is_empty() {
        print(&failures);
    }
    print(&table::verdict(report));
}

fn parse_varied(text: &str) -> Result<Varied, String> {
    let vary = text.parse()?;
    let text = text.to_owned();
    Ok(Varied { text, vary })
}

/// Leaves room for the seeds that follow the first.
const SEED_MAX: u64 = u64::MAX / 2;

const EXAMPLES: &str = "\
Examples:
  leasehold simulate simulations/ --html report.html
      All scenarios, and a page with plots.
  leasehold simulate simulations/seeds/gateway-50k.toml --vary latency=1ms,5ms
      Two points instead of one.
  leasehold simulate simulations/behaviour/steps.toml --seeds 2 --events events.jsonl
      What happened in each run, step by step.";

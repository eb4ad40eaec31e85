//! `leasehold sweep`: one scenario over several settings, accuracy against load of the store.

use std::path::PathBuf;

use clap::Args;

use super::error::SimulateError;
use super::how::{How, Varied, parse_varied};
use super::job::Job;
use super::results::{json, print_outcome, write_files};
use super::table;
use crate::ending::Ending;
use crate::output::print;

/// Runs one scenario with every combination of some settings, and shows what each costs the store
/// and how exact it is. What the scenario expects was written for its own settings, and is not
/// checked. Exits 2 if the scenario cannot be run.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SweepArguments {
    /// A scenario file.
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Let a field take these values, as in replicas=1,2,5. Given more than once, every combination
    /// is run; plots run over the first.
    #[arg(long, value_name = "FIELD=A,B,C", required = true, value_parser = parse_varied)]
    pub(crate) vary: Vec<Varied>,
    /// Run only the points whose label contains this, such as the name of a variant.
    #[arg(long, value_name = "LABEL")]
    pub(crate) point: Option<String>,
    #[command(flatten)]
    pub(crate) how: How,
}

/// Runs the sweep.
pub(crate) fn run(arguments: &SweepArguments) -> Result<Ending, SimulateError> {
    let path = &arguments.path;
    arguments.how.check_files()?;
    let mut job = Job::read(std::slice::from_ref(path), &arguments.vary, &arguments.how)?;
    if job.scenarios.len() > 1 {
        return Err(SimulateError::Narrow(format!(
            "{}: a sweep is of one scenario; name a file",
            path.display()
        )));
    }
    if let Some(label) = &arguments.point {
        job.keep(label)?;
    }
    job.expect_nothing();
    let report = job.run()?;
    let lead = arguments.vary[0].text.split_once('=');
    let lead = lead.map(|(field, _)| field.trim());
    let how = &arguments.how;
    write_files(how, &report, lead)?;
    if how.json {
        print(&json(&report));
    } else {
        print(&(table::trade(&report.scenarios[0]) + "\n"));
        print_outcome(&report, &job);
    }
    Ok(Ending::Kept)
}

const EXAMPLES: &str = "\
Examples:
  leasehold sweep behaviour/rivals --vary replicas=1,2,5,10,50,100 --html sweep.html
      How accuracy and load of the store change with the number of replicas.
  leasehold sweep behaviour/under-limit --vary interval=50ms,100ms,250ms --seeds 5
      Which settings are worth choosing.";

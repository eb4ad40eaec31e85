//! `leasehold faults`: each fault in turn, on real processes and real servers that are started for
//! it, and what it costs.
//!
//! # Invariant
//!
//! Nothing is touched that was not started here. A row that cannot be tried counts as broken. A row
//! that misses a target of time, and nothing else, is tried once more, because other work on the
//! machine may have been the cause. A number that is counted exactly never gets a second chance.

mod bound;
mod error;
mod findings;
mod pace;
mod page;
mod phases;
mod report;
mod rows;
mod setting;
mod tail;
mod trial;
mod world;

use std::path::PathBuf;

use clap::Args;
use leasehold_testbed::{Binary, Kind, LocalServer};
use tokio::runtime::Runtime;

use self::error::FaultsError;
use self::findings::Findings;
use self::pace::Pace;
use self::report::{Report, Tried};
use self::rows::{ROWS, Row};
use crate::ending::Ending;
use crate::interrupt::{self, Graceful};
use crate::machine::Machine;
use crate::output::{note, print};
use crate::simulate::error::{check_place, write};

/// Starts servers and limiters in processes of their own, lets one fault after the other happen to
/// them under load, and holds what they admit against the bound. Exits 1 if a row exceeds its
/// bound or misses a target, 2 if it cannot begin.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FaultsArguments {
    /// Only this fault; may be given more than once.
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Shorter phases; without --only, a few faults.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Say what faults there are, and try none.
    #[arg(long)]
    pub(crate) list: bool,
    /// The kind of server to start [default: the first that is found].
    #[arg(long, value_name = "KIND")]
    pub(crate) server: Option<ServerKind>,
    /// Fixes the requests that are planned.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write a page with plots, complete in one file.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// A kind of server.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum ServerKind {
    Redis,
    Valkey,
}

/// Tries the faults; all is well if every row kept its bound and its targets.
pub(crate) fn run(arguments: &FaultsArguments) -> Result<Ending, FaultsError> {
    let rows = chosen(arguments)?;
    if arguments.list {
        print(&list(&rows));
        return Ok(Ending::Kept);
    }
    if let Some(file) = &arguments.html {
        check_place(file)?;
    }
    // The servers and processes of a row are to be gone before we are.
    let _graceful = Graceful::begin();
    let binary = find(arguments.server)?;
    let machine = Machine::now();
    let runtime = Runtime::new().map_err(FaultsError::Runtime)?;
    let pace = Pace::new(arguments.quick);
    let mut tried = Vec::new();
    let planned = rows.len();
    for row in rows {
        let attempt = || {
            let trial = runtime.block_on(async {
                tokio::select! {
                    _ = interrupt::asked_to_end() => Err(FaultsError::Interrupted),
                    trial = trial::run(row, pace, &binary, arguments.seed) => trial,
                }
            });
            let findings = match trial {
                Ok(trial) => Ok(Findings::of(row, &trial)),
                Err(FaultsError::Interrupted) => return Err(FaultsError::Interrupted),
                Err(error) => Err(error.to_string()),
            };
            Ok(Tried::new(row, findings))
        };
        let outcome = attempt().and_then(|outcome| {
            if !outcome.misses_only_times() {
                return Ok(outcome);
            }
            note(&format!("{}; once more", outcome.line()));
            Ok(attempt()?.after(&outcome))
        });
        let outcome = match outcome {
            Ok(outcome) => outcome,
            // What was tried before is whole.
            Err(FaultsError::Interrupted) if !tried.is_empty() => break,
            Err(error) => return Err(error),
        };
        note(&outcome.line());
        tried.push(outcome);
    }
    let report = Report::new(binary.to_string(), machine, arguments.quick, tried, planned);
    if let Some(file) = &arguments.html {
        write(file, page::page(&report).as_bytes())?;
    }
    let text = if arguments.json {
        report.json()
    } else {
        report.text()
    };
    print(&text);
    Ok(Ending::of(report.kept))
}

/// The rows that are asked for, in the order of the matrix.
fn chosen(arguments: &FaultsArguments) -> Result<Vec<&'static Row>, FaultsError> {
    let FaultsArguments { only, quick, .. } = arguments;
    let unknown = |name: &&String| ROWS.iter().all(|row| row.name != **name);
    if let Some(name) = only.iter().find(unknown) {
        return Err(FaultsError::Unknown(name.clone(), names()));
    }
    let rows = ROWS.iter().filter(|row| {
        if only.is_empty() {
            row.quick || !quick
        } else {
            only.iter().any(|name| name == row.name)
        }
    });
    Ok(rows.collect())
}

fn names() -> String {
    let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    names.join(", ")
}

fn list(rows: &[&Row]) -> String {
    let line = |row: &&Row| {
        let (policy, bound) = (row.policy.name(), row.bound.formula());
        let quick = if row.quick { "; quick" } else { "" };
        format!(
            "{:17} {}; policy {policy}; adds at most {bound}{quick}",
            row.name, row.title
        )
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn find(kind: Option<ServerKind>) -> Result<Binary, FaultsError> {
    let found = LocalServer::all_kinds()?;
    let wanted = |binary: &Binary| match kind {
        None => true,
        Some(ServerKind::Redis) => binary.kind == Kind::Redis,
        Some(ServerKind::Valkey) => binary.kind == Kind::Valkey,
    };
    found
        .into_iter()
        .find(wanted)
        .ok_or(FaultsError::NoSuchServer)
}

const EXAMPLES: &str = "\
Examples:
  leasehold faults
      All faults, about five minutes.
  leasehold faults --quick
      A few, in half a minute.
  leasehold faults --only flushall --only black-hole --json
      Two of them, for machines.";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn arguments(only: &[&str], quick: bool) -> FaultsArguments {
        FaultsArguments {
            only: only.iter().map(ToString::to_string).collect(),
            quick,
            list: false,
            server: None,
            seed: 1,
            json: false,
            html: None,
        }
    }

    #[test]
    fn names_of_faults_are_their_own() {
        let names: BTreeSet<_> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
    }

    #[test]
    fn the_rows_asked_for_are_tried_in_the_order_of_the_matrix() {
        let names = |only: &[&str], quick| {
            let rows = chosen(&arguments(only, quick)).expect("they are there");
            rows.iter().map(|row| row.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&[], false).len(), ROWS.len());
        let few = names(&[], true).len();
        assert!((1..ROWS.len()).contains(&few), "{few}");
        for quick in [false, true] {
            assert_eq!(
                names(&["slow", "server-paused"], quick),
                ["server-paused", "slow"]
            );
        }
    }

    #[test]
    fn an_unknown_fault_is_answered_with_those_there_are() {
        let error = chosen(&arguments(&["slow", "meteor"], false)).expect_err("none such");
        let said = error.to_string();
        assert!(
            said.contains("`meteor`") && said.contains("black-hole"),
            "{said}"
        );
    }
}

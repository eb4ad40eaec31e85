//! `end-to-end`: leases beside a script call per decision and beside other hybrids, on a real
//! server, with accuracy in the same line as speed.
//!
//! Rounds are interleaved: in each, every contender has its turn in every row, so that what
//! disturbs the machine disturbs all alike. All instances of a contender live in one process, each
//! with its own connection and cache; the server, the load and the contenders share the machine,
//! which makes throughput pessimistic and leaves processor time per decision as it is.
//!
//! # Invariant
//!
//! No contender judges itself: accuracy is from what callers saw (`accuracy`), cost is from what
//! the server says (`server_cost`).

mod accuracy;
mod cell;
mod closed_loop;
mod cold_keys;
pub mod contenders;
pub mod failure;
mod figures;
mod open_loop;
mod results;
mod rows;
mod server_cost;
mod targets;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use self::contenders::Contender;
use self::results::RowResults;
use self::rows::{Effort, ROWS, Row};
use self::server_cost::Host;
use crate::machine::Machine;

/// The choice of rows and contenders, and how to show the results.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Print JSON in place of tables.
    #[arg(long)]
    json: bool,
    /// One short round: to see that everything works, not to be quoted.
    #[arg(long)]
    quick: bool,
    /// Only rows whose names begin so: one-key, many-keys, flood, cold-keys, latency, shared-even,
    /// shared-skewed, flash-crowd. May be given more than once.
    #[arg(long, value_name = "ROW")]
    only: Vec<String>,
    /// Only contenders whose names contain this, as `leased` or `trypema`. May be given more than
    /// once.
    #[arg(long, value_name = "NAME")]
    contender: Vec<String>,
    /// Rounds, in place of three (one with `--quick`).
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Measure against this server, which should have nothing else to do, in place of one that is
    /// started and ended here.
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Where JSON, CSV and a picture of each row go.
    #[arg(long, value_name = "DIR", default_value = "target/benchmarks")]
    out: PathBuf,
}

/// Measures what was asked for. Success if anything was measured, whatever it came to: a benchmark
/// on a busy machine is no test.
pub fn run(arguments: &Arguments) -> ExitCode {
    let rows = selected(&arguments.only);
    if rows.is_empty() {
        let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        eprintln!("There is no such row; there are: {}.", names.join(", "));
        return ExitCode::from(2);
    }
    let host = match Host::new(arguments.redis.as_deref()) {
        Ok(host) => host,
        Err(failure) => {
            eprintln!("There is no server to measure against: {failure}");
            return ExitCode::FAILURE;
        }
    };
    let machine = Machine::now(PACKAGES);
    let results = measure(&host, &rows, &arguments.contender, effort(arguments));
    if results.iter().all(RowResults::is_empty) {
        return ExitCode::FAILURE;
    }
    if arguments.json {
        println!("{:#}", to_json(&machine, &host, &results));
    } else {
        println!("{machine}\nServer:   {}\n", host.describe());
        for row in &results {
            println!("{}", row.table());
        }
        println!("{HOW_TO_READ}");
    }
    write(&arguments.out, &machine, &results);
    ExitCode::SUCCESS
}

fn selected(only: &[String]) -> Vec<&'static Row> {
    let is_asked = |row: &&Row| only.is_empty() || only.iter().any(|it| row.name.starts_with(it));
    ROWS.iter().filter(is_asked).collect()
}

fn effort(arguments: &Arguments) -> Effort {
    let effort = if arguments.quick {
        Effort::QUICK
    } else {
        Effort::FULL
    };
    effort.with_rounds(arguments.rounds)
}

/// All rounds of all rows. What fails is said and left out.
fn measure(
    host: &Host,
    rows: &[&'static Row],
    named: &[String],
    effort: Effort,
) -> Vec<RowResults> {
    let is_asked = |contender: &&Contender| {
        let is_named = |name: &String| contender.name().contains(name.as_str());
        contender.is_built() && (named.is_empty() || named.iter().any(is_named))
    };
    let mut results: Vec<_> = rows.iter().map(|row| RowResults::new(row)).collect();
    for round in 1..=effort.rounds {
        for results in &mut results {
            let row = results.row;
            for &contender in row.contenders.iter().filter(is_asked) {
                eprintln!(
                    "round {round}/{}: {}, {}",
                    effort.rounds,
                    row.name,
                    contender.name()
                );
                match cell::measure(host, row, contender, effort) {
                    Ok(figures) => results.add(contender, figures),
                    Err(failure) => eprintln!("  not measured: {failure}"),
                }
            }
        }
    }
    results
}

fn to_json(machine: &Machine, host: &Host, results: &[RowResults]) -> Value {
    json!({
        "machine": machine,
        "server": host.describe(),
        "rows": results.iter().map(RowResults::json).collect::<Vec<_>>(),
    })
}

/// Writes each row's files. What cannot be written is said; the figures are on the screen all the
/// same.
fn write(folder: &Path, machine: &Machine, results: &[RowResults]) {
    for row in results.iter().filter(|row| !row.is_empty()) {
        let command = format!("{COMMAND} --only {}", row.row.name);
        if let Err(error) = row.report(machine, &command).write(folder) {
            return eprintln!("The files are not written: {error}");
        }
    }
}

/// Whose versions a reader wants to know.
const PACKAGES: &[&str] = &[
    "leasehold",
    "redis",
    "tokio",
    "governor",
    "trypema",
    "limitador",
];

const COMMAND: &str = "cargo run --profile measured -p leasehold-benches -- end-to-end";

const HOW_TO_READ: &str = "\
Overshoot: whole tokens beyond burst + rate x window in the worst window, as callers saw it.
Used: admitted, of what an ideal limiter of the same kind admits of the same requests.
Server CPU: of the whole server process, over all decisions. Commands count those inside scripts.
Medians of the rounds, and half the width of their middle half.";

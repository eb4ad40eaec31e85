//! Runs the command line as a user would, and checks what it promises.
//!
//! Each row is one command of the README or its like. A promise of the limiter (overshoot 0, errors
//! in time) must hold in every run. A figure that a busy machine may spoil (utilisation, shares,
//! round trips) may be tried three times.
//!
//! The program `leasehold` must lie beside this one, as a build of both packages puts it.

mod demo;
mod faults;
mod program;
mod runner;
mod simulator;

use std::process::ExitCode;

use leasehold_testbed::{LocalServer, ServerOptions};

use crate::program::Program;
use crate::runner::{Row, Setup, run_all};

const USAGE: &str = "\
Runs the command line as a user would, and checks what it promises.

Usage: leasehold-acceptance [--quick] [--only-faults]

  --quick        leaves out the rows that take a minute
  --only-faults  runs the fault matrix instead, six minutes, or a few of its faults with --quick";

/// All rows but the fault matrix, in the order in which they run.
const ROWS: &[Row] = &[
    Row::new("demo --compare", demo::compare),
    Row::new("demo --redis --processes --compare", demo::processes),
    Row::new("demo --redis --processes --skew 0.8", demo::skewed),
    Row::new("demo below the limit", demo::below_the_limit),
    Row::new("demo with 100 000 keys", demo::many_keys),
    Row::new("kill -9 of one of four", demo::kill_one),
    Row::new("bad input", demo::bad_input),
    Row::new("simulate simulations/", simulator::scenarios).with_idle_rows(),
    Row::new("simulate with the same seed", simulator::same_bytes),
    Row::new("sweep --html", simulator::page),
    Row::new("swarm", simulator::swarm),
    Row::new("planted bugs", simulator::planted),
    Row::new("tune", simulator::tuned),
    Row::new("demo of 5/min for a minute", demo::slow)
        .takes_a_minute()
        .idle(),
    Row::new("demo for a minute", demo::a_minute).takes_a_minute(),
];

const FAULTS: &[Row] = &[Row::new("faults", faults::matrix)];

fn main() -> ExitCode {
    let (mut quick, mut only_faults) = (false, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => quick = true,
            "--only-faults" => only_faults = true,
            "--help" | "-h" => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            _ => {
                eprintln!("unknown argument {argument:?}\n\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let rows = if only_faults { FAULTS } else { ROWS };
    let setup = Program::beside_this_one().and_then(|program| {
        let server = LocalServer::start(&ServerOptions::default());
        Ok(Setup {
            program,
            server: server.map_err(|error| error.to_string())?,
            quick,
        })
    });
    match setup {
        Ok(setup) if run_all(rows, &setup) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(what) => {
            println!("  BROKEN   {what}");
            ExitCode::FAILURE
        }
    }
}

//! `leasehold validate`: runs real processes on a real server, lets the simulator predict the
//! same, and holds the one against the other.
//!
//! # Invariant
//!
//! Each prediction is made from the requests that really came and the times that exchanges with
//! the store really took, by the simulator as everybody else uses it.

mod comparison;
mod error;
mod figures;
mod observed;
mod predicted;
mod report;
mod setting;

use std::fs;
use std::path::PathBuf;

use clap::Args;
use leasehold_sim::numbers::seconds;
use leasehold_testbed::{LocalServer, ServerOptions};
use tokio::runtime::Runtime;

use self::comparison::Comparison;
use self::error::ValidateError;
use self::figures::Figures;
use self::observed::Observed;
use self::predicted::Prediction;
use self::report::Report;
use self::setting::Setting;
use crate::demo;
use crate::ending::Ending;
use crate::interrupt::{self, Graceful};
use crate::machine::Machine;
use crate::output::print;

/// Runs limiters in processes of their own on a real server, lets the simulator predict the same
/// from the requests that came and the times that exchanges took, and compares. Exits 1 if a
/// prediction is off by more than is allowed, 2 if nothing could be compared.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ValidateArguments {
    /// The Redis or Valkey to run against [default: one that is started for the purpose].
    #[arg(long, value_name = "URL")]
    pub(crate) redis: Option<String>,
    /// Settings to run, instead of the three that are built in.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) settings: Vec<PathBuf>,
    /// Real runs of each setting, of which medians are taken [default: 3, or 1 if quick].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
    pub(crate) runs: Option<u64>,
    /// One short run of each setting: shows that all works, and little of how well.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Fixes the requests that are planned; they come when the machine gets round to it.
    #[arg(long, default_value_t = 1, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(..=SEED_MAX))]
    pub(crate) seed: u64,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Compares; all is well if every prediction was close enough.
pub(crate) fn run(arguments: &ValidateArguments) -> Result<Ending, ValidateError> {
    // A server of our own, replicas and keys are to be gone before we are.
    let _graceful = Graceful::begin();
    let settings = settings(arguments)?;
    let server = Server::new(arguments.redis.as_deref())?;
    let runtime = Runtime::new().map_err(ValidateError::Runtime)?;
    let machine = Machine::now();
    let runs = arguments
        .runs
        .unwrap_or(if arguments.quick { 1 } else { RUNS });
    let seeds = arguments.seed..arguments.seed + runs;
    let mut comparisons = Vec::new();
    for setting in &settings {
        let (url, seeds) = (&server.url, seeds.clone());
        match compare(&runtime, setting, url, seeds, arguments.quick) {
            Ok(comparison) => comparisons.push(comparison),
            // What was compared before is whole.
            Err(ValidateError::Interrupted) if !comparisons.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    let report = Report::new(server.name, machine, comparisons, settings.len());
    let text = if arguments.json {
        report.json()
    } else {
        report.text()
    };
    print(&text);
    Ok(Ending::of(report.predictions_met))
}

fn settings(arguments: &ValidateArguments) -> Result<Vec<Setting>, ValidateError> {
    let mut settings = Vec::new();
    for file in &arguments.settings {
        let text = fs::read_to_string(file).map_err(|error| ValidateError::Read {
            file: file.clone(),
            error,
        })?;
        settings.push(Setting::parse(file, &text)?);
    }
    if settings.is_empty() {
        settings = Setting::built_in();
    }
    if arguments.quick {
        settings = settings.into_iter().map(Setting::shortened).collect();
    }
    Ok(settings)
}

/// Runs a setting for real with each seed, and each of these runs in the simulator.
fn compare(
    runtime: &Runtime,
    setting: &Setting,
    url: &str,
    seeds: std::ops::Range<u64>,
    quick: bool,
) -> Result<Comparison, ValidateError> {
    let mut measured: Vec<Figures> = Vec::new();
    let mut predicted: Vec<Figures> = Vec::new();
    let mut lateness_ns = 0;
    for seed in seeds {
        let observed = observe(runtime, setting, url, seed)?;
        let prediction = Prediction::new(setting, &observed)?;
        for simulated in 0..SIMULATED_PER_RUN {
            if interrupt::asked().is_some() {
                return Err(ValidateError::Interrupted);
            }
            predicted.push(prediction.figures(seed * SIMULATED_PER_RUN + simulated)?);
        }
        lateness_ns = lateness_ns.max(observed.lateness_p99_ns);
        measured.push(observed.figures);
    }
    let lateness = seconds(lateness_ns);
    Ok(Comparison::new(
        setting, &measured, &predicted, lateness, quick,
    ))
}

/// One real run.
fn observe(
    runtime: &Runtime,
    setting: &Setting,
    url: &str,
    seed: u64,
) -> Result<Observed, ValidateError> {
    let plan = setting.plan(url, seed);
    let run = runtime.block_on(demo::drive::run(&plan))?;
    if run.interrupted {
        return Err(ValidateError::Interrupted);
    }
    if let Some((replica, how)) = run.lost.first() {
        return Err(ValidateError::Lost {
            replica: *replica,
            how: how.clone(),
        });
    }
    Ok(Observed::new(&plan, &run))
}

/// The store that all processes share.
struct Server {
    url: String,
    name: String,
    /// Ends with us.
    _own: Option<LocalServer>,
}

impl Server {
    fn new(url: Option<&str>) -> Result<Self, ValidateError> {
        if let Some(url) = url {
            return Ok(Self {
                url: url.to_owned(),
                // An address may hold a password.
                name: "the server of --redis".to_owned(),
                _own: None,
            });
        }
        let own = LocalServer::start(&ServerOptions::default())?;
        Ok(Self {
            url: own.url(),
            name: own.binary().to_string(),
            _own: Some(own),
        })
    }
}

/// The median of three is of a run that is neither the luckiest nor the unluckiest.
const RUNS: u64 = 3;

/// Simulated runs of each real one, so that chance in the simulator matters less than in reality.
const SIMULATED_PER_RUN: u64 = 5;

/// Leaves room for the seeds that follow the first.
const SEED_MAX: u64 = u32::MAX as u64;

const EXAMPLES: &str = "\
Examples:
  leasehold validate
      Three settings on a server of its own, about two minutes.
  leasehold validate --redis redis://127.0.0.1 --settings mine.toml --json
      A setting of your own, on your server, for machines. In mine.toml:
          title = \"what it is\"
          limit = \"1000/s burst 1000\"
          replicas = 4
          offered = \"3000/s\"
          keys = 10
          duration = \"10s\"";

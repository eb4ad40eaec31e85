//! `leasehold swarm`: random worlds with random faults, and what was found in them.
//!
//! # Invariant
//!
//! The standard output is a function of the seeds, byte for byte; what depends on this machine goes
//! to the standard error stream.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::Args;
use leasehold_sim::swarm::{self, Finding, Least, Options, SwarmReport};
use thiserror::Error;

use crate::ending::Ending;
use crate::output::print;
use crate::progress::Progress;
use crate::simulate::number::{self, plural_of};

/// Runs random worlds with random faults under virtual time, a world for each seed, and holds the
/// limiter to its promises: no overshoot beyond what the faults excuse, books that agree, and all
/// of the limit used once all is well again. Exits 1 if a promise was broken.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SwarmArguments {
    /// How many worlds.
    #[arg(long, default_value_t = 1000, value_name = "K")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) seeds: u64,
    /// The first seed; the same seed is always the same world.
    #[arg(long, default_value_t = 1, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(..=SEED_MAX))]
    pub(crate) seed: u64,
    /// Threads to run on [default: one for each processor].
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write what is found as scenarios into this folder, to be run by `leasehold simulate`.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) write: Option<PathBuf>,
    /// Print the world of the first seed as a scenario, and run nothing.
    #[arg(long, conflicts_with_all = ["json", "write"])]
    pub(crate) show: bool,
}

/// Runs the worlds; all is well if nothing was found.
pub(crate) fn run(arguments: &SwarmArguments) -> Result<Ending, SwarmError> {
    if arguments.show {
        print(swarm::scenario_of(arguments.seed).trim_end());
        return Ok(Ending::Kept);
    }
    let threads = arguments.threads.map_or(0, usize::from);
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()?;
    let progress = Progress::start("worlds", Some(arguments.seeds));
    let seeds = arguments.seed..arguments.seed + arguments.seeds;
    let report = threads.install(|| swarm::run(seeds, &Options::default(), &|_| progress.count(0)));
    progress.finish(true, threads.current_num_threads());
    if let Some(folder) = &arguments.write {
        write(folder, &report.findings)?;
    }
    if arguments.json {
        let json = serde_json::to_string_pretty(&report).expect("a report is plain data");
        print(&json);
    } else {
        print(text(&report).trim_end());
    }
    Ok(Ending::of(report.findings.is_empty()))
}

fn write(folder: &Path, findings: &[Finding]) -> Result<(), SwarmError> {
    let failed = |file: &Path, error| SwarmError::Write {
        file: file.to_owned(),
        error,
    };
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    for finding in findings {
        let file = folder.join(format!("seed-{}.toml", finding.seed));
        fs::write(&file, &finding.scenario).map_err(|error| failed(&file, error))?;
    }
    Ok(())
}

fn text(report: &SwarmReport) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let Finding {
            seed,
            promise,
            what,
            replay,
            world,
            scenario,
        } = finding;
        let _ = writeln!(text, "found: seed {seed}, {promise:?}: {what}");
        let _ = writeln!(text, "       {world}\n       {replay}");
        let _ = writeln!(text, "\n{scenario}");
    }
    let _ = writeln!(
        text,
        "{} from seed {}, {}, {}: {} found",
        plural_of(report.worlds, "world"),
        report.seed,
        plural_of(report.requests, "request"),
        plural_of(report.events, "event"),
        number::count(report.findings.len() as u64)
    );
    if let Some(closest) = &report.closest {
        let _ = writeln!(
            text,
            "closest to its bound      {:.2} of {} tokens beyond the burst (seed {})",
            closest.overshoot, closest.allowed, closest.seed
        );
    }
    let mut least = |name: &str, least: Option<Least>| {
        if let Some(Least { seed, part }) = least {
            let _ = writeln!(text, "{name:25} {:.2} % (seed {seed})", part * 100.0);
        }
    };
    least("least used in overload", report.busy);
    least("least used below", report.calm);
    least("most that waited", report.waits);
    let _ = writeln!(text, "\nworlds with");
    for (sight, worlds) in &report.sights {
        let _ = writeln!(text, "  {sight:35} {worlds:>7}");
    }
    if !report.unseen.is_empty() {
        let _ = writeln!(text, "never seen: {}", report.unseen.join(", "));
    }
    text
}

/// Why nothing was run, or nothing could be written.
#[derive(Debug, Error)]
pub(crate) enum SwarmError {
    #[error("cannot start the threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    #[error("cannot write {}: {error}", file.display())]
    Write { file: PathBuf, error: io::Error },
}

/// Leaves room for the seeds that follow the first.
const SEED_MAX: u64 = u64::MAX >> 1;

const EXAMPLES: &str = "\
Examples:
  leasehold swarm --seeds 1000
      What a build should pass.
  leasehold swarm --seed 397 --seeds 1 --write found
      Runs one world again; if it breaks a promise, writes it down as small as it can be made.
  leasehold swarm --seed 397 --show > world.toml &&
      leasehold simulate world.toml --seed 397 --seeds 1
      The same world as a scenario, as it was drawn.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_how_to_see_it_again() {
        let finding = Finding {
            seed: 7,
            promise: swarm::Promise::Safety,
            what: "overshoot of 3 tokens, 0 are allowed".to_owned(),
            replay: "leasehold swarm --seed 7 --seeds 1".to_owned(),
            world: "1 replicas".to_owned(),
            scenario: "schema = 1".to_owned(),
        };
        let report = SwarmReport {
            findings: vec![finding],
            ..SwarmReport::default()
        };
        let text = text(&report);
        assert!(text.starts_with("found: seed 7, Safety: overshoot of 3 tokens"));
        assert!(text.contains("leasehold swarm --seed 7 --seeds 1"));
    }
}

//! Looks for the first broken promise among some seeds: `swarm [first seed] [seeds]`.
//!
//! The small program that `scripts/planted` builds around each bug it plants. Exits 1 with one line
//! if something was found, 0 if nothing was.

use std::process::ExitCode;

use leasehold_sim::swarm::{self, Options};

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|it| it.parse());
    let mut number = |else_take| match numbers.next() {
        Some(Ok(number)) => number,
        Some(Err(_)) => panic!("usage: swarm [first seed] [seeds]"),
        None => else_take,
    };
    let (first, seeds): (u64, u64) = (number(1), number(200));
    let options = Options {
        shrunk: 0,
        first: true,
        ..Options::default()
    };
    let report = swarm::run(first..first.saturating_add(seeds), &options, &|_| ());
    if let Some(finding) = report.findings.first() {
        let what = finding.what.lines().next().unwrap_or_default();
        println!("{}\t{:?}\t{what}", finding.seed, finding.promise);
        return ExitCode::FAILURE;
    }
    println!(
        "{} worlds, {} requests: nothing",
        report.worlds, report.requests
    );
    ExitCode::SUCCESS
}

//! `leasehold judge`: judges the admissions of any limiter, from a file.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;

use clap::Args;
use leasehold::{LimitError, Rate};
use leasehold_sim::metrics::Shown;
use leasehold_sim::numbers::seconds;
use thiserror::Error;

use crate::ending::Ending;
use crate::limit_arguments::{BeyondRate, judged_limit};
use crate::output::print;
use crate::simulate::number;
use leasehold_judge::overshoot::worst_overshoot;
use leasehold_judge::record::{CsvError, read_csv};
use leasehold_judge::{self as judge, Arrivals};

/// Judges admitted requests by the limit they were to keep: how many tokens beyond burst and rate
/// were admitted in the worst of all windows. A request counts in a window only if it lies wholly
/// inside. Exits 1 if the bound was exceeded.
#[derive(Args, Clone, Debug)]
pub(crate) struct JudgeArguments {
    /// Admitted requests, as `leasehold demo --admissions` writes them.
    pub(crate) file: PathBuf,
    /// Tokens per period: 1000/s, 5/min, 1000000/day.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) rate: Rate,
    #[command(flatten)]
    pub(crate) beyond: BeyondRate,
}

/// Judges; all is well if the bound was kept.
pub(crate) fn run(arguments: &JudgeArguments) -> Result<Ending, JudgeError> {
    let limit = arguments.beyond.limit(arguments.rate)?;
    let judged = judged_limit(&limit)?;
    let file = &arguments.file;
    let opened = File::open(file).map_err(|error| JudgeError::Open {
        file: file.clone(),
        error,
    })?;
    let records = read_csv(BufReader::new(opened)).map_err(|error| JudgeError::Read {
        file: file.clone(),
        error,
    })?;
    let worst = worst_overshoot(&Arrivals::new(&records), judged);
    let admissions = number::plural(records.len(), "admission");
    let Some((key, worst)) = worst.filter(|(_, worst)| !worst.tokens.is_zero()) else {
        print(&format!("{admissions} under {limit}: no overshoot"));
        return Ok(Ending::Kept);
    };
    let tokens = worst.tokens.as_f64();
    print(&format!(
        "{admissions} under {limit}: overshoot {tokens:.3} tokens"
    ));
    if let Some(window) = worst.window {
        let first_ns = records.iter().map(|record| record.start_ns).min();
        let time = |from_ns: u64, to_ns: u64| {
            number::shown(Shown::Time, seconds(to_ns.saturating_sub(from_ns)))
        };
        print(&format!(
            "worst on key {key}: {} within {}, {} after the first admission",
            number::plural_of(window.admitted, "token"),
            time(window.start_ns, window.end_ns),
            time(first_ns.unwrap_or_default(), window.start_ns),
        ));
    }
    Ok(Ending::of(worst.tokens.rounded_up() <= limit.overshoot()))
}

/// Why nothing can be judged.
#[derive(Debug, Error)]
pub(crate) enum JudgeError {
    #[error("this limit cannot be: {0}")]
    Limit(#[from] LimitError),
    #[error("this limit cannot be judged: {0}; use a shorter period")]
    Judged(#[from] judge::LimitError),
    #[error("cannot open {}: {error}", file.display())]
    Open { file: PathBuf, error: io::Error },
    #[error("{}: {error}", file.display())]
    Read { file: PathBuf, error: CsvError },
}

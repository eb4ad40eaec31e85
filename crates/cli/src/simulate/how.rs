//! How scenarios are run, and what is written of the results, as the command line says it.

use std::path::PathBuf;

use clap::Args;
use leasehold_sim::scenario::Vary;

use super::error::{self, SimulateError};

// How to run, and what to write. (No doc comment: clap would print it as the command's.)
#[derive(Args, Clone, Debug)]
pub(crate) struct How {
    /// The first seed; the same seed gives the same results.
    #[arg(long, default_value_t = 1, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(..=SEED_MAX))]
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
    /// Write the picture of accuracy against load of the store alone.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

/// A field that varies, as it was written and as it was understood.
#[derive(Clone, Debug)]
pub(crate) struct Varied {
    pub(crate) text: String,
    pub(crate) vary: Vary,
}

impl How {
    /// Refuses files that cannot be written.
    pub(crate) fn check_files(&self) -> Result<(), SimulateError> {
        let mut files = self.csv.iter().chain(&self.html).chain(&self.svg);
        files.try_for_each(|file| error::check_place(file))
    }
}

/// Reads a field and its values.
pub(crate) fn parse_varied(text: &str) -> Result<Varied, String> {
    let vary = text.parse()?;
    let text = text.to_owned();
    Ok(Varied { text, vary })
}

/// Leaves room for the seeds that follow the first.
const SEED_MAX: u64 = u64::MAX / 2;

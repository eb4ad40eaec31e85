//! A target as a program: for so many seconds, or for the inputs that are named.
//!
//! # Invariant
//!
//! An input that fails is kept in a file before anything else is tried, and the way to run it again
//! is the last thing that is said.

use std::env;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Check;
use crate::mutation::{Random, mutated};

/// Runs the target `name` as the command line says.
#[expect(
    clippy::disallowed_methods,
    reason = "a program of its own, that runs for so many seconds"
)]
pub fn main(name: &str, check: Check) -> ExitCode {
    let arguments = match Arguments::parse(env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if !arguments.files.is_empty() {
        for file in &arguments.files {
            let input = fs::read(file);
            check(&input.unwrap_or_else(|error| panic!("{}: {error}", file.display())));
        }
        println!("{name}: {} inputs hold", arguments.files.len());
        return ExitCode::SUCCESS;
    }
    let corpus = corpus(name);
    let seed = arguments.seed.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| u64::from(since.subsec_nanos()))
    });
    println!("{name}: seed {seed}");
    if let Err(failed) = try_all(check, &corpus) {
        return failed.report(name);
    }
    let end = Instant::now() + arguments.time;
    let mut tried = 0_u64;
    // The clock is looked at seldom enough to cost nothing.
    while tried == 0 || Instant::now() < end {
        if let Err(failed) = try_made(check, &corpus, seed.wrapping_add(tried), BATCH) {
            return failed.report(name);
        }
        tried += BATCH;
    }
    println!(
        "{name}: {} inputs of the corpus and {tried} made of them hold",
        corpus.len()
    );
    ExitCode::SUCCESS
}

/// An input that breaks a promise.
#[derive(Debug)]
pub struct Failed {
    input: Vec<u8>,
}

impl Failed {
    fn report(&self, name: &str) -> ExitCode {
        let kept = env::temp_dir().join(format!("leasehold-{name}-{}", self.input.len()));
        let kept = match fs::write(&kept, &self.input) {
            Ok(()) => kept.display().to_string(),
            Err(error) => format!("FILE ({}: {error})", kept.display()),
        };
        eprintln!("{name}: this input fails: {}", self.input.escape_ascii());
        eprintln!("run it again with: cargo run -p leasehold-fuzz --bin {name} -- {kept}");
        ExitCode::FAILURE
    }
}

/// Tries the corpus itself.
///
/// # Errors
///
/// The first input that fails.
pub fn try_all(check: Check, corpus: &[Vec<u8>]) -> Result<(), Failed> {
    corpus.iter().try_for_each(|input| try_one(check, input))
}

/// Tries so many inputs made of the corpus, each from a seed of its own, counted from `seed` on.
///
/// # Errors
///
/// The first input that fails.
pub fn try_made(check: Check, corpus: &[Vec<u8>], seed: u64, count: u64) -> Result<(), Failed> {
    (0..count).try_for_each(|number| {
        let mut random = Random::seeded(seed.wrapping_add(number));
        try_one(check, &mutated(corpus, &mut random))
    })
}

fn try_one(check: Check, input: &[u8]) -> Result<(), Failed> {
    panic::catch_unwind(|| check(input)).map_err(|_| Failed {
        input: input.to_vec(),
    })
}

/// The inputs that are kept for a target, in order.
///
/// # Panics
///
/// If there is none: a check of nothing would pass for ever.
pub fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let entries = fs::read_dir(&directory);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    let inputs: Vec<_> = files
        .iter()
        .map(|file| fs::read(file).expect("a file"))
        .collect();
    assert!(!inputs.is_empty(), "no inputs in {}", directory.display());
    inputs
}

struct Arguments {
    time: Duration,
    seed: Option<u64>,
    files: Vec<PathBuf>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self {
            time: TIME,
            seed: None,
            files: Vec::new(),
        };
        while let Some(word) = words.next() {
            let mut number = || {
                let value = words.next().and_then(|value| value.parse().ok());
                value.ok_or(format!("{word} needs a whole number"))
            };
            match word.as_str() {
                "--seconds" => arguments.time = Duration::from_secs(number()?),
                "--seed" => arguments.seed = Some(number()?),
                option if option.starts_with("--") => return Err(format!("unknown: {option}")),
                file => arguments.files.push(file.into()),
            }
        }
        Ok(arguments)
    }
}

const USAGE: &str = "usage: TARGET [--seconds 5] [--seed N] | TARGET FILE...";
const TIME: Duration = Duration::from_secs(5);
const BATCH: u64 = 100;

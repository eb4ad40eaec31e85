//! What can be said on the command line.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::{Args, Parser, Subcommand};
use leasehold::{Limit, LimitError, Rate};

use crate::faults::FaultsArguments;
use crate::judge_command::JudgeArguments;
use crate::replay_command::ReplayArguments;
use crate::simulate::SimulateArguments;
use crate::simulate::sweep::SweepArguments;
use crate::swarm_command::SwarmArguments;
use crate::tune_command::TuneArguments;
use crate::validate::ValidateArguments;
use leasehold_judge::{self as judge, JudgedLimit};

/// A two-tier rate limiter: exact token leases from Redis, decisions in nanoseconds.
#[derive(Debug, Parser)]
#[command(name = "leasehold", version, about, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run real limiters on real load and judge what they admit.
    Demo(Box<DemoArguments>),
    /// Judge admitted requests from a file.
    Judge(JudgeArguments),
    /// Run scenarios under virtual time and hold the results against what they expect.
    Simulate(SimulateArguments),
    /// Run one scenario over several settings: accuracy against load of the store.
    Sweep(SweepArguments),
    /// Run random worlds with random faults and hold the limiter to its promises.
    Swarm(SwarmArguments),
    /// Hold what the simulator predicts against real processes on a real server.
    Validate(ValidateArguments),
    /// Let faults happen to real processes and servers, and hold what is admitted against the bound.
    Faults(FaultsArguments),
    /// Find the setting that meets objectives at the fewest store calls.
    Tune(Box<TuneArguments>),
    /// Replay a recorded trace: what a limit would have admitted, and at what cost.
    Replay(Box<ReplayArguments>),
    /// One replica of a demo, in a process of its own.
    #[command(hide = true)]
    DemoReplica,
}

/// Runs N limiters on one limit, offers them open-loop load, and judges what they admitted with
/// code that shares nothing with them. Exits 1 if the bound was exceeded.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArguments {
    /// Limiters that share the limit.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) replicas: u32,
    /// Give each replica a process of its own; needs --redis.
    #[arg(long, requires = "redis")]
    pub(crate) processes: bool,
    /// Share the limit through this Redis or Valkey instead of the embedded store.
    #[arg(long, value_name = "URL")]
    pub(crate) redis: Option<String>,
    /// Tokens per period: 1000/s, 5/min, 1000000/day.
    #[arg(long, default_value = "1000/s", allow_hyphen_values = true)]
    pub(crate) rate: Rate,
    #[command(flatten)]
    pub(crate) beyond: BeyondRate,
    /// Requests offered to all replicas together.
    #[arg(
        long,
        default_value = "3000/s",
        allow_hyphen_values = true,
        value_name = "RATE"
    )]
    pub(crate) offered: Rate,
    /// Part of the load that goes to replica 0; the rest is spread evenly [default: 1/N].
    #[arg(long, value_name = "PART", value_parser = parse_part, allow_hyphen_values = true)]
    pub(crate) skew: Option<f64>,
    /// Keys that requests choose from, each under the limit.
    #[arg(long, default_value_t = 1, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keys: u32,
    /// How unevenly keys are chosen: the exponent of a Zipf distribution.
    #[arg(long, default_value_t = 0.99, value_name = "S", value_parser = parse_exponent, allow_hyphen_values = true)]
    pub(crate) zipf: f64,
    /// How long load is offered.
    #[arg(long, default_value = "10s", value_parser = parse_duration, allow_hyphen_values = true)]
    pub(crate) duration: Duration,
    /// Time an exchange with the embedded store takes.
    #[arg(long, default_value = "0.5ms", value_parser = parse_duration, conflicts_with = "redis", allow_hyphen_values = true)]
    pub(crate) store_latency: Duration,
    /// Fixes the arrivals: the same seed offers the same load.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// Run the centralised limiter, one store call per decision, on the same arrivals first.
    #[arg(long)]
    pub(crate) compare: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write every admitted request of the leased run as CSV.
    #[arg(long, value_name = "FILE")]
    pub(crate) admissions: Option<PathBuf>,
}

// What a limit says beside its rate. (No doc comment: clap would print it as the command's.)
#[derive(Args, Clone, Debug)]
pub(crate) struct BeyondRate {
    /// Tokens that may be spent at once [default: those of one period].
    #[arg(long, allow_hyphen_values = true, value_name = "TOKENS")]
    pub(crate) burst: Option<String>,
    /// Tokens that may be admitted beyond burst and rate: 50, or 1% of the burst.
    #[arg(
        long,
        default_value = "0",
        allow_hyphen_values = true,
        value_name = "TOKENS"
    )]
    pub(crate) overshoot: String,
}

impl BeyondRate {
    /// The limit that this makes of `rate`.
    pub(crate) fn limit(&self, rate: Rate) -> Result<Limit, LimitError> {
        let tokens = rate.tokens.to_string();
        let burst = self.burst.as_deref().unwrap_or(&tokens);
        format!("{rate} burst {burst} overshoot {}", self.overshoot).parse()
    }
}

/// A limit in the judge's own terms.
///
/// # Errors
///
/// If its numbers are too large for the judge, who counts in nanoseconds: a period of decades.
pub(crate) fn judged_limit(limit: &Limit) -> Result<JudgedLimit, judge::LimitError> {
    let rate = limit.rate();
    JudgedLimit::new(
        rate.tokens,
        rate.period.0.saturating_mul(1000),
        limit.burst(),
    )
}

/// Prints a line; whoever stopped reading has seen enough.
pub(crate) fn print(text: &str) {
    let _ = writeln!(anstream::stdout(), "{text}");
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let hint = "write a number and a unit, as in `10s`, `0.5ms` or `1m 30s`";
    let duration: jiff::SignedDuration = text.parse().map_err(|_| hint.to_owned())?;
    Duration::try_from(duration).map_err(|_| "a duration cannot be negative".to_owned())
}

fn parse_part(text: &str) -> Result<f64, String> {
    parse_within(text, 1.0).ok_or_else(|| "write a number between 0 and 1, as in `0.8`".to_owned())
}

pub(crate) fn parse_exponent(text: &str) -> Result<f64, String> {
    parse_within(text, 10.0)
        .ok_or_else(|| "write a number between 0 and 10, as in `0.99`".to_owned())
}

fn parse_within(text: &str, most: f64) -> Option<f64> {
    let number = text.parse().ok()?;
    (0.0..=most).contains(&number).then_some(number)
}

/// `text` as errors are marked by clap.
pub(crate) fn paint_error(text: &str) -> String {
    let style = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    format!("{style}{text}{style:#}")
}

const EXAMPLES: &str = "\
Examples:
  leasehold demo --compare
      Four replicas, 1000/s, three times as much offered; beside the centralised limiter.
  leasehold demo --redis redis://127.0.0.1 --processes --skew 0.8
      Four processes share the limit through Redis; one gets 80 % of the load.
  leasehold demo --rate 5/min --burst 5 --offered 20/s --duration 60s --json
      A limit too slow to lease, for machines.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn durations_read_as_people_write_them() {
        assert_eq!(parse_duration("0.5ms"), Ok(Duration::from_micros(500)));
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(parse_duration("10").is_err());
        assert!(parse_duration("-1s").is_err());
    }

    #[test]
    fn parts_lie_between_nothing_and_all() {
        assert_eq!(parse_part("0.8"), Ok(0.8));
        for text in ["1.1", "-0.1", "NaN", "half"] {
            assert!(parse_part(text).is_err(), "{text}");
        }
    }
}

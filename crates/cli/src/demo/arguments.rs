//! Arguments of `leasehold demo`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use leasehold::Rate;

use crate::demo::terms::Policy;
use crate::limit_arguments::BeyondRate;
use crate::values::{parse_duration, parse_exponent, parse_part};

/// Runs N limiters on one limit, offers them open-loop load, and judges what they admitted with
/// code that shares nothing with them. Exits 1 if the bound was exceeded.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArguments {
    /// Limiters that share the limit.
    #[arg(long, default_value_t = 4, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=256))]
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
    #[arg(long, default_value = "3000/s", allow_hyphen_values = true)]
    #[arg(value_name = "RATE")]
    pub(crate) offered: Rate,
    /// Part of the load that goes to replica 0; the rest is spread evenly [default: 1/N].
    #[arg(long, value_name = "PART", value_parser = parse_part, allow_hyphen_values = true)]
    pub(crate) skew: Option<f64>,
    /// Keys that requests choose from, each under the limit.
    #[arg(long, default_value_t = 1, value_name = "K")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keys: u32,
    /// How unevenly keys are chosen: the exponent of a Zipf distribution.
    #[arg(long, default_value_t = 0.99, value_name = "S")]
    #[arg(allow_hyphen_values = true)]
    #[arg(value_parser = parse_exponent)]
    pub(crate) zipf: f64,
    /// How long load is offered.
    #[arg(long, default_value = "10s", value_parser = parse_duration, allow_hyphen_values = true)]
    pub(crate) duration: Duration,
    /// How to decide once leases have ended and the store does not answer, or cannot read what is
    /// stored under a key. The centralised limiter of --compare denies then, whatever this says.
    #[arg(long, value_enum, default_value_t = Policy::Closed)]
    pub(crate) policy: Policy,
    /// Time an exchange with the embedded store takes.
    #[arg(long, default_value = "0.5ms", conflicts_with = "redis")]
    #[arg(allow_hyphen_values = true)]
    #[arg(value_parser = parse_duration)]
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

const EXAMPLES: &str = "\
Examples:
  leasehold demo --compare
      Four replicas, 1000/s, three times as much offered; beside the centralised limiter.
  leasehold demo --redis redis://127.0.0.1 --processes --skew 0.8
      Four processes share the limit through Redis; one gets 80 % of the load.
  leasehold demo --rate 5/min --burst 5 --offered 20/s --duration 60s --json
      A limit too slow to lease, for machines.";

//! `leasehold replay`: a recorded trace as the arrivals of a limiter.
//!
//! # Invariant
//!
//! Every request of the trace is replayed, in its order and at its distance from the first, divided
//! by the speed.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use leasehold::{Limit, LimitError, Rate};
use leasehold_sim::load::{ArrivalsConfig, LoadConfig, Traces};
use leasehold_sim::network::Latency;
use leasehold_sim::numbers::whole;
use leasehold_sim::rivals::RivalConfig;
use leasehold_sim::run::{self, Options};
use leasehold_sim::scenario::{Points, Scenario, ScenarioError};
use leasehold_sim::trace::{Origin, Spread, Trace, TraceConfig};
use leasehold_sim::units::{Count, Span};
use thiserror::Error;

use crate::ending::Ending;
use crate::limit_arguments::BeyondRate;
use crate::output::print;
use crate::progress::Progress;
use crate::simulate::error::{self, SimulateError};
use crate::simulate::number;
use crate::simulate::results::json;
use crate::simulate::{files, page, table};

/// Replays a recorded trace under virtual time: what a limit would have admitted, and what it would
/// have cost the store.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReplayArguments {
    /// The trace: CSV with the headings time, key and cost; key and cost may be absent. Times are
    /// in seconds; `time_ms`, `time_us` and `time_ns` are in their units, and `-` skips a column.
    #[arg(value_name = "TRACE.csv")]
    pub(crate) trace: PathBuf,
    /// Tokens per period for each key: 1000/s, 5/min, 1000000/day.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) rate: Rate,
    #[command(flatten)]
    pub(crate) beyond: BeyondRate,
    /// Replicas that share the limit; requests are spread over them at random.
    #[arg(long, default_value_t = 4, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) replicas: u32,
    /// Keep so many keys at most: later ones are renumbered onto the first, so that no request is
    /// lost.
    #[arg(long, value_name = "K", allow_hyphen_values = true)]
    pub(crate) keys_max: Option<Count>,
    /// Where the requests of one stamp fall if stamps are whole units [default: all at the stamp].
    #[arg(long)]
    pub(crate) spread: Option<SpreadOver>,
    /// How much faster than recorded.
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    #[arg(allow_hyphen_values = true)]
    #[arg(value_parser = parse_speed)]
    pub(crate) speed: f64,
    /// Time of a round trip to the store.
    #[arg(long, default_value = "1ms", value_name = "TIME")]
    #[arg(allow_hyphen_values = true)]
    pub(crate) latency: Span,
    /// Other limiters that meet the same requests.
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) rivals: Vec<Rival>,
    /// The first seed: it spreads requests over replicas.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// Replay with so many seeds.
    #[arg(long, default_value_t = 1, value_name = "K")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) seeds: u32,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write a page with plots, complete in one file.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// Where requests of one stamp fall within its unit.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SpreadOver {
    /// At equal distances.
    Even,
    /// Anywhere.
    Uniform,
}

/// A limiter to compare with.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Rival {
    /// Asks the store about every request.
    Central,
    /// Each replica applies the whole limit.
    Local,
    /// Each replica applies its part.
    Split,
    /// Replicas count and add up now and then.
    DelayedCounter,
    /// Replicas take blocks of tokens, with no account of them.
    BlockLease,
    /// Replicas are assigned parts by what they report.
    Share,
}

/// Replays; nothing is expected, so nothing can be broken.
pub(crate) fn run(arguments: &ReplayArguments) -> Result<Ending, ReplayError> {
    let limit = arguments.beyond.limit(arguments.rate)?;
    let trace = Arc::new(files::trace(&arguments.trace)?);
    let points = arguments.points(&limit, &trace)?;
    let path = arguments.trace.to_string_lossy().into_owned();
    let traces = Traces::from([(path, trace)]);
    let options = Options {
        seed: arguments.seed,
        ..Options::default()
    };
    let scenarios = [points];
    let runs = run::runs(&scenarios, &options);
    let progress = Progress::start("runs", Some(runs as u64));
    let report = run::run_all(&scenarios, &traces, &options, &|run| {
        progress.count(run.summary.requests);
    });
    progress.finish(report.is_ok(), rayon::current_num_threads());
    let report = report.map_err(SimulateError::Run)?;
    if let Some(file) = &arguments.html {
        error::write(file, page::page(&report, None).as_bytes())?;
    }
    if arguments.json {
        print(&json(&report));
    } else {
        print(&table::scenario(&report.scenarios[0]));
    }
    Ok(Ending::Kept)
}

impl ReplayArguments {
    /// The scenario of the replay.
    fn points(&self, limit: &Limit, trace: &Trace) -> Result<Points, ReplayError> {
        if let (Some(_), Some(line)) = (self.spread, trace.fraction()) {
            return Err(ReplayError::Fraction {
                file: self.trace.clone(),
                line,
            });
        }
        let duration = self.duration(trace)?;
        // About as many as a plot has room for.
        let slice = Span(duration.0 / SLICES).max(Span::from_millis(100));
        let title = format!(
            "{} on {}, {limit}",
            number::plural(trace.requests().len(), "request"),
            number::plural_of(trace.keys().into(), "key"),
        );
        let mut scenario = Scenario::new(title, *limit, duration);
        scenario.slice = slice;
        scenario.seeds = self.seeds;
        scenario.loads.push(LoadConfig {
            arrivals: ArrivalsConfig::Trace(TraceConfig {
                path: self.trace.to_string_lossy().into_owned(),
                spread: self.spread.map(|spread| match spread {
                    SpreadOver::Even => Spread::Even,
                    SpreadOver::Uniform => Spread::Uniform,
                }),
                origin: Origin::First,
                speed: self.speed,
                keys_max: self.keys_max,
            }),
            ..LoadConfig::default()
        });
        scenario.fleet.replicas = self.replicas;
        scenario.network.latency = Latency::Constant(self.latency);
        let rival = |rival: &Rival| {
            let value = rival.to_possible_value().expect("no rival is hidden");
            let name = value.get_name().to_owned();
            let config = RivalConfig::of_kind(&name).expect("a rival is named by its kind");
            (name, config)
        };
        scenario.rivals = self.rivals.iter().map(rival).collect();
        Ok(Points::of(&self.trace.to_string_lossy(), scenario)?)
    }

    /// From the first request until the last one is decided.
    fn duration(&self, trace: &Trace) -> Result<Span, ReplayError> {
        let requests = trace.requests();
        let first = requests.first().map_or(0, |request| request.time_ns);
        let last = requests.last().map_or(0, |request| request.time_ns);
        let unit = self.spread.map_or(0, |_| trace.unit_ns());
        let recorded = Span((last - first).saturating_add(unit));
        let seconds = recorded.as_secs_f64() / self.speed;
        if seconds > DURATION_MAX_S {
            return Err(ReplayError::TooLong {
                file: self.trace.clone(),
                days: recorded.as_secs_f64() / 86400.0,
                speed: (recorded.as_secs_f64() / DURATION_MAX_S).ceil(),
            });
        }
        let millis = whole((seconds * 1e3).ceil());
        Ok(Span(Span::from_millis(millis).0 + AFTERWARDS.0))
    }
}

fn parse_speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok();
    speed
        .filter(|speed: &f64| speed.is_finite() && (1e-6..=1e6).contains(speed))
        .ok_or_else(|| "write a factor above 0, such as `2` for twice as fast".to_owned())
}

/// Why nothing is replayed.
#[derive(Debug, Error)]
pub(crate) enum ReplayError {
    #[error("this limit cannot be: {0}")]
    Limit(#[from] LimitError),
    #[error(
        "{}: {days:.0} days are too long to simulate; replay it with --speed {speed:.0}, or cut it",
        file.display()
    )]
    TooLong {
        file: PathBuf,
        days: f64,
        speed: f64,
    },
    #[error(
        "{}: line {line}: the stamp has a fraction, so requests of one stamp cannot be spread over \
         a unit; leave out --spread",
        file.display()
    )]
    Fraction { file: PathBuf, line: usize },
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    #[error(transparent)]
    Simulate(#[from] SimulateError),
}

/// Time after the last request, so that it is within the run.
const AFTERWARDS: Span = Span::from_millis(100);

/// A simulated run may be 104 days long.
const DURATION_MAX_S: f64 = 100.0 * 86400.0;

const SLICES: u64 = 600;

const EXAMPLES: &str = "\
Examples:
  leasehold replay requests.csv --rate 100/min --replicas 10 --rivals central,delayed-counter
      What a limit of 100 a minute for each key would have done, and what others would have.
  leasehold replay requests.csv --rate 1000/s --spread even --speed 2 --html replay.html
      Stamps of whole seconds, spread over their seconds, at twice the speed.";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Arguments, Command};

    fn parse(more: &str) -> Result<ReplayArguments, clap::Error> {
        let line = format!("leasehold replay a.csv --rate 10/s {more}");
        match Arguments::try_parse_from(line.split_whitespace())?.command {
            Command::Replay(arguments) => Ok(*arguments),
            _ => unreachable!("it is `replay`"),
        }
    }

    fn points(more: &str, trace: &str) -> Result<Points, ReplayError> {
        let trace = Trace::parse(trace.as_bytes()).unwrap();
        let limit = "10/s burst 10".parse().unwrap();
        parse(more).unwrap().points(&limit, &trace)
    }

    fn replayed(more: &str, trace: &str) -> u64 {
        let points = points(more, trace).unwrap();
        let trace = Arc::new(Trace::parse(trace.as_bytes()).unwrap());
        let traces = Traces::from([("a.csv".to_owned(), trace)]);
        let report = run::run_all(&[points], &traces, &Options::default(), &|_| {}).unwrap();
        report.scenarios[0].points[0].limiters[0].runs[0]
            .summary
            .requests
    }

    const DATED: &str = "time,key,cost\n1700000000,a,1\n1700000000,b,2\n1700000003,a,1\n";

    #[test]
    fn every_request_is_replayed_whatever_the_speed_and_the_spread() {
        for more in [
            "",
            "--speed 7",
            "--speed 0.3",
            "--spread even",
            "--spread uniform --speed 3",
        ] {
            assert_eq!(replayed(more, DATED), 3, "{more}");
        }
        assert_eq!(replayed("", "time\n0\n"), 1);
        assert_eq!(replayed("--keys-max 1", DATED), 3);
    }

    #[test]
    fn a_run_is_as_long_as_the_trace_over_the_speed() {
        let duration = |more| points(more, DATED).unwrap().points[0].scenario.duration;
        assert_eq!(duration(""), Span::from_millis(3100));
        assert_eq!(duration("--speed 2"), Span::from_millis(1600));
        assert_eq!(duration("--spread even"), Span::from_millis(4100));
    }

    #[test]
    fn every_rival_can_be_named() {
        let all = "--rivals central,local,split,delayed-counter,block-lease,share,central";
        let points = points(all, DATED).unwrap();
        assert_eq!(points.points[0].scenario.rivals.len(), 6);
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_mend() {
        let error = |more: &str| parse(more).unwrap_err().to_string();
        assert!(error("--speed 0").contains("twice as fast"));
        assert!(error("--spread odd").contains("even"));
        assert!(error("--rivals centrl").contains("central"));
        assert!(error("--keys-max x").contains("100k"));
        let long = "time\n0\n31536000\n";
        let long = points("", long).unwrap_err().to_string();
        assert!(
            long.contains("365 days") && long.contains("--speed 4"),
            "{long}"
        );
        let fraction = points("--spread even", "time\n0\n1.5\n").unwrap_err();
        assert!(fraction.to_string().contains("line 3"), "{fraction}");
        let missing = parse("").unwrap();
        let missing = super::run(&missing).unwrap_err().to_string();
        assert!(missing.starts_with("a.csv: "), "{missing}");
    }
}

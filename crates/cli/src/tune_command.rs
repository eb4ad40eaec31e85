//! `leasehold tune`: objectives in, setting out.
//!
//! # Invariant
//!
//! The standard output is a function of the question, byte for byte, whatever answers it and
//! however fast; what depends on this machine goes to the standard error stream.

mod paste;
mod text;

use clap::Args;
use leasehold::{LimitError, Rate};
use leasehold_sim::tune::{self, Advice, Objectives, Question};
use leasehold_sim::units::{Count, PerSecond, Share, Span};
use serde_json::json;
use thiserror::Error;

use crate::ending::Ending;
use crate::limit_arguments::BeyondRate;
use crate::output::print;
use crate::progress::Progress;
use crate::values::parse_exponent;

/// Finds the setting that meets objectives at the fewest store calls, by simulation: many settings
/// on the same arrivals, the best of them again and again. Recommends a change only where it gains
/// more than chance. Exits 1 if the objectives cannot all be met, and says which are in conflict.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TuneArguments {
    /// Tokens per period: 1000/s, 5/min, 1000000/day.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) rate: Rate,
    /// Tokens that may be spent at once [default: those of one period].
    #[arg(long, allow_hyphen_values = true, value_name = "TOKENS")]
    pub(crate) burst: Option<String>,
    /// Replicas that share the limit.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) replicas: u32,
    /// Requests offered to all replicas together: 3000/s, 50k/s, 100/min.
    #[arg(long, allow_hyphen_values = true, value_name = "RATE")]
    pub(crate) offered: PerSecond,
    /// Keys that requests choose from, each under the limit.
    #[arg(long, default_value = "1", value_name = "K")]
    #[arg(allow_hyphen_values = true)]
    pub(crate) keys: Count,
    /// How unevenly keys are chosen: the exponent of a Zipf distribution.
    #[arg(long, default_value_t = 0.99, value_name = "S")]
    #[arg(allow_hyphen_values = true)]
    #[arg(value_parser = parse_exponent)]
    pub(crate) zipf: f64,
    /// Time of a round trip to the store.
    #[arg(long, default_value = "1ms", value_name = "TIME")]
    #[arg(allow_hyphen_values = true)]
    pub(crate) latency: Span,
    /// Most tokens beyond burst and rate: 50, or 1% of the burst.
    #[arg(long, default_value = "0", value_name = "TOKENS")]
    #[arg(allow_hyphen_values = true)]
    pub(crate) max_overshoot: String,
    /// Most requests denied although nothing is scarce, as a share of all.
    #[arg(long, default_value = "0.1%", value_name = "SHARE", value_parser = part)]
    #[arg(allow_hyphen_values = true)]
    pub(crate) max_false_denials: Share,
    /// Most that may be missing of what one ideal bucket admits, as a share of it.
    #[arg(long, default_value = "1%", value_name = "SHARE", value_parser = part)]
    #[arg(allow_hyphen_values = true)]
    pub(crate) max_deficit: Share,
    /// Most that may be missing if the load has a lull: it drops to a tenth until the bucket has
    /// filled twice, and comes back [default: twice --max-deficit].
    #[arg(long, value_name = "SHARE", value_parser = part, allow_hyphen_values = true)]
    pub(crate) max_lull_deficit: Option<Share>,
    /// Most store calls: 200/s. The fewest are looked for in any case.
    #[arg(long, value_name = "RATE", allow_hyphen_values = true)]
    pub(crate) max_store_calls: Option<PerSecond>,
    /// The first seed; the same seed gives the same answer.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// Threads that share the runs [default: one per core].
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Answers; all is well if all objectives can be met.
pub(crate) fn run(arguments: &TuneArguments) -> Result<Ending, TuneError> {
    let question = arguments.question()?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(arguments.threads.unwrap_or(0).into())
        .build()?;
    let progress = Progress::start("runs", None);
    let answer = pool.install(|| tune::tune(&question, &|requests| progress.count(requests)));
    progress.finish(answer.is_ok(), pool.current_num_threads());
    let answer = answer.map_err(TuneError::Question)?;
    if arguments.json {
        let whole = json!({
            "schema": 1,
            "question": arguments.echo(&question),
            "answer": answer,
            "rust": paste::rust(&answer.setup),
        });
        print(&serde_json::to_string_pretty(&whole).expect("an answer is plain data"));
    } else {
        print(&text::answer(&question, &answer));
    }
    Ok(Ending::of(answer.advice != Advice::Conflict))
}

impl TuneArguments {
    fn question(&self) -> Result<Question, TuneError> {
        let limit = |overshoot: &str| {
            let beyond = BeyondRate {
                burst: self.burst.clone(),
                overshoot: overshoot.to_owned(),
                advance: "0".to_owned(),
            };
            beyond.limit(self.rate)
        };
        let budget = limit(&self.max_overshoot).map_err(TuneError::Overshoot);
        Ok(Question {
            limit: limit("0")?,
            replicas: self.replicas,
            offered: self.offered,
            keys: self.keys,
            zipf: self.zipf,
            latency: self.latency,
            objectives: Objectives {
                overshoot: budget?.overshoot(),
                false_denials: self.max_false_denials.get(),
                deficit: self.max_deficit.get(),
                lull_deficit: self
                    .max_lull_deficit
                    .map_or_else(|| (2.0 * self.max_deficit.get()).min(1.0), Share::get),
                store_calls: self.max_store_calls.map(|calls| calls.0),
            },
            seed: self.seed,
        })
    }

    fn echo(&self, question: &Question) -> serde_json::Value {
        json!({
            "limit": question.limit.to_string(),
            "replicas": question.replicas,
            "offered": question.offered.0,
            "keys": question.keys.0,
            "zipf": question.zipf,
            "latency": question.latency.as_secs_f64(),
            "seed": self.seed,
        })
    }
}

/// A share of which a bare `1` would be all, where one per cent is more likely meant.
fn part(text: &str) -> Result<Share, String> {
    if text == "1" {
        return Err("`1` would be all of it: write `1%` or `100%`".into());
    }
    text.parse().map_err(|error| format!("{error}"))
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum TuneError {
    #[error("this limit cannot be: {0}")]
    Limit(#[from] LimitError),
    #[error("--max-overshoot cannot be so: {0}")]
    Overshoot(LimitError),
    #[error("this cannot be simulated: {0}")]
    Question(String),
    #[error("cannot start the threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

const EXAMPLES: &str = "\
Examples:
  leasehold tune --rate 1000/s --burst 1000 --replicas 10 --offered 3000/s
      The fewest store calls without overshoot, with 0.1 % false denials and 1 % deficit at most.
  leasehold tune --rate 100/min --replicas 20 --offered 200/s --keys 1000 --latency 20ms
      A slow limit on many keys, and a store in another region.
  leasehold tune --rate 1000/s --replicas 50 --offered 900/s \\
      --max-overshoot 1% --max-store-calls 100/s
      What a budget for overshoot is worth; and whether 100 calls a second are enough.";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: TuneArguments,
    }

    fn parse(more: &str) -> Result<TuneArguments, clap::Error> {
        let line = format!("tune --rate 100/s --replicas 4 --offered 50/s {more}");
        Line::try_parse_from(line.split_whitespace()).map(|line| line.arguments)
    }

    #[test]
    fn a_question_is_read_from_the_command_line() {
        let question = parse("--burst 200 --max-overshoot 1% --max-deficit 2% --latency 5ms")
            .unwrap()
            .question()
            .unwrap();
        assert_eq!(question.limit.to_string(), "100/s burst 200");
        assert_eq!(question.objectives.overshoot, 2);
        assert!((question.objectives.deficit - 0.02).abs() < 1e-12);
        assert!((question.objectives.lull_deficit - 0.04).abs() < 1e-12);
        assert!((question.objectives.false_denials - 0.001).abs() < 1e-12);
        assert_eq!(question.latency, Span::from_millis(5));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_mend() {
        let error = |more: &str| parse(more).unwrap_err().to_string();
        assert!(error("--max-deficit 3").contains("such as `0.05` or `5%`"));
        assert!(error("--max-deficit 1").contains("write `1%` or `100%`"));
        assert!(parse("--max-deficit 100%").is_ok());
        assert!(error("--latency 5").contains("such as `1.5ms`"));
        assert!(error("--max-store-calls 100").contains("such as `2000/s`"));
        assert!(error("--replica 3").contains("--replicas"));
        assert!(error("--zipf -1").contains("between 0 and 10"));
        let overshoot = parse("--max-overshoot x").unwrap().question().unwrap_err();
        assert!(
            overshoot.to_string().starts_with("--max-overshoot"),
            "{overshoot}"
        );
    }
}

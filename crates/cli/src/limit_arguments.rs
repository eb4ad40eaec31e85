//! A limit as command lines write it, and as the judge reads it.

use clap::Args;
use leasehold::{Limit, LimitError, Rate};

use leasehold_judge::{self as judge, JudgedLimit};

// What a limit says beside its rate. (No doc comment: clap would print it as the command's.)
#[derive(Args, Clone, Debug)]
pub(crate) struct BeyondRate {
    /// Tokens that may be spent at once [default: those of one period].
    #[arg(long, allow_hyphen_values = true, value_name = "TOKENS")]
    pub(crate) burst: Option<String>,
    /// Tokens that may be admitted beyond burst and rate: 50, or 1% of the burst.
    #[arg(long, default_value = "0", allow_hyphen_values = true)]
    #[arg(value_name = "TOKENS")]
    pub(crate) overshoot: String,
    /// Tokens set aside for replicas to spend before they have asked: 10, or 10% of the burst. Keys
    /// that a replica has not asked about are answered at once then.
    #[arg(long, default_value = "0", allow_hyphen_values = true)]
    #[arg(value_name = "TOKENS")]
    pub(crate) advance: String,
}

impl BeyondRate {
    /// The limit that this makes of `rate`.
    pub(crate) fn limit(&self, rate: Rate) -> Result<Limit, LimitError> {
        let tokens = rate.tokens.to_string();
        let burst = self.burst.as_deref().unwrap_or(&tokens);
        let Self {
            overshoot, advance, ..
        } = self;
        format!("{rate} burst {burst} overshoot {overshoot} advance {advance}").parse()
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

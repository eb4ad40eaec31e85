//! The most that a fault may add to a limit.
//!
//! The formulas are those of docs/PROTOCOL.md and of the simulator's `faults::excess`. Most faults
//! add nothing.

use std::time::Duration;

use leasehold::Limit;

/// The tokens that may be admitted beyond burst + overshoot + rate x window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Bound {
    /// Nothing.
    Nothing,
    /// A clock that went ahead by this much: buckets drain for so long at once, and leases that
    /// then end at the store and are still spent from are charged as much too early.
    ClockAhead(Duration),
    /// One of so many replicas was cut off and went on with its part of the limit.
    LocalPart { of: u32 },
    /// All of so many replicas were, and came back one after the other.
    LocalAll { of: u32 },
    /// Replicas that were cut off admitted all that was asked for.
    Open,
}

/// The measurements of a run that a bound depends on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Circumstances {
    /// From the beginning of the fault until the last replica that it struck heard the store again.
    pub(crate) away: Duration,
    /// From its end until then.
    pub(crate) return_lag: Duration,
    /// Tokens asked for meanwhile, for the key with most.
    pub(crate) asked: u64,
}

impl Bound {
    /// In tokens of one key, rounded up.
    pub(crate) fn tokens(self, limit: &Limit, seen: Circumstances) -> u64 {
        let burst = limit.burst();
        match self {
            Self::Nothing => 0,
            Self::ClockAhead(step) => 2 * yielded(limit, step),
            Self::LocalPart { of } => {
                (burst + yielded(limit, seen.away)).div_ceil(u64::from(of.max(1)))
            }
            Self::LocalAll { of } => {
                let others = u64::from(of.saturating_sub(1));
                let alone = yielded(limit, seen.return_lag) * others;
                burst + alone.div_ceil(u64::from(of.max(1)))
            }
            Self::Open => seen.asked,
        }
    }

    /// The formula, r for the rate, d for the time without the store.
    pub(crate) fn formula(self) -> String {
        match self {
            Self::Nothing => "0".to_owned(),
            Self::ClockAhead(step) => format!("2 r {} s", step.as_secs_f64()),
            Self::LocalPart { of } => format!("(burst + r d) / {of}"),
            Self::LocalAll { of } => format!("burst + {} r (lag of return) / {of}", of - 1),
            Self::Open => "all that is asked for".to_owned(),
        }
    }
}

/// Tokens that the rate yields in a time, rounded up.
fn yielded(limit: &Limit, time: Duration) -> u64 {
    let rate = limit.rate();
    let tokens = time.as_micros() * u128::from(rate.tokens);
    u64::try_from(tokens.div_ceil(u128::from(rate.period.0))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_formula_comes_to_what_it_says() {
        let limit: Limit = "100/s burst 30".parse().unwrap();
        let seen = Circumstances {
            away: Duration::from_millis(1005),
            return_lag: Duration::from_millis(200),
            asked: 77,
        };
        let tokens = |bound: Bound| bound.tokens(&limit, seen);
        assert_eq!(tokens(Bound::Nothing), 0);
        assert_eq!(tokens(Bound::ClockAhead(Duration::from_secs(1))), 200);
        assert_eq!(
            tokens(Bound::LocalPart { of: 4 }),
            (30 + 101_u64).div_ceil(4)
        );
        assert_eq!(tokens(Bound::LocalAll { of: 4 }), 30 + 15);
        assert_eq!(tokens(Bound::Open), 77);
    }
}

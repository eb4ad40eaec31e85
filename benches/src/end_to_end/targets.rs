//! The targets of this project, and whether a row reaches them.
//!
//! A fast wrong limiter must look wrong: the verdict on accuracy comes first, for every contender.
//! What concerns speed and load is said of ours alone, beside the rivals of the same run.

use super::contenders::Contender;
use super::figures::measure;
use super::results::{Measured, RowResults};
use crate::spread::number;

/// The verdict on one contender in one row, sentence by sentence.
pub(super) fn verdict(row: &RowResults, contender: Contender) -> Vec<String> {
    let Some(measured) = row.of(contender) else {
        return Vec::new();
    };
    let mut said = vec![accuracy(measured, row.row.limit.burst)];
    if contender == Contender::Leased {
        let targets = TARGETS.iter().filter(|target| target.row == row.row.name);
        said.extend(targets.filter_map(|target| target.judge(row)));
    }
    said
}

/// Whether a limiter kept to its limit and let it be used.
fn accuracy(measured: &Measured, burst: u32) -> String {
    // The worst round counts: a bound that holds in the median is none.
    let over = measured.greatest(measure("overshoot_tokens"));
    let used = measured.spread(measure("used_percent")).median;
    if over > 0.0 && over <= f64::from(burst) * TRIFLE {
        return format!("{over:.0} tokens over the limit");
    }
    if over > 0.0 {
        let too_many = if used > 100.5 {
            format!(", {:.0} % too many in all", used - 100.0)
        } else {
            String::new()
        };
        return format!("WRONG: {} tokens over the limit{too_many}", number(over));
    }
    if used < 100.0 - LOSS_SHOWN {
        return format!("exact, but {:.1} % of the limit is lost", 100.0 - used);
    }
    "exact".to_owned()
}

/// Something to reach in a row.
#[derive(Clone, Copy, Debug)]
struct Target {
    row: &'static str,
    measure: &'static str,
    goal: Goal,
}

#[derive(Clone, Copy, Debug)]
enum Goal {
    /// At least so many times what the best of these has.
    TimesAtLeast(f64, &'static [Contender]),
    /// Less than the other by at least this factor.
    LessByAtLeast(f64, Contender),
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    /// The verdict on this target, if the contender that it compares with was measured.
    fn judge(&self, row: &RowResults) -> Option<String> {
        let measure = measure(self.measure);
        let of = |contender: Contender| Some(row.of(contender)?.spread(measure).median);
        let ours = of(Contender::Leased)?;
        let (is_met, found) = match self.goal {
            Goal::TimesAtLeast(times, rivals) => {
                let rivals = rivals.iter().filter_map(|&rival| Some((of(rival)?, rival)));
                let (theirs, rival) = rivals.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
                let ratio = ours / theirs;
                let goal = format!("{} x {} (goal {times})", number(ratio), rival.word());
                (ratio >= times, goal)
            }
            Goal::LessByAtLeast(factor, rival) => {
                let ratio = of(rival)? / ours;
                let (ratio_shown, rival) = (number(ratio), rival.word());
                let goal = format!("1/{ratio_shown} of {rival} (goal 1/{factor})");
                (ratio >= factor, goal)
            }
            Goal::AtLeast(least) => (ours >= least, format!("{ours:.2} (goal {least})")),
            Goal::AtMost(most) => (ours <= most, format!("{ours:.2} (goal {most})")),
        };
        let word = if is_met { "met" } else { "MISSED" };
        Some(format!("{word}: {} {found}", measure.head))
    }
}

const fn target(row: &'static str, measure: &'static str, goal: Goal) -> Target {
    Target { row, measure, goal }
}

const HYBRIDS: &[Contender] = &[Contender::TrypemaSecond, Contender::TrypemaMinute];
const BASELINE: &[Contender] = &[Contender::Centralised];

/// All of them.
const TARGETS: &[Target] = &[
    target(
        "one-key",
        "decisions_per_s",
        Goal::TimesAtLeast(150.0, BASELINE),
    ),
    target(
        "one-key",
        "decisions_per_s",
        Goal::TimesAtLeast(1.3, HYBRIDS),
    ),
    target(
        "one-key",
        "server_cpu_us_per_decision",
        Goal::LessByAtLeast(500.0, Contender::Centralised),
    ),
    target(
        "many-keys",
        "decisions_per_s",
        Goal::TimesAtLeast(100.0, BASELINE),
    ),
    target(
        "many-keys",
        "decisions_per_s",
        Goal::TimesAtLeast(4.0, HYBRIDS),
    ),
    target(
        "cold-keys",
        "decisions_per_s",
        Goal::TimesAtLeast(1.5, BASELINE),
    ),
    target(
        "cold-keys",
        "server_cpu_us_per_decision",
        Goal::LessByAtLeast(1.25, Contender::Centralised),
    ),
    target(
        "latency",
        "p999_us",
        Goal::LessByAtLeast(50.0, Contender::Centralised),
    ),
    target(
        "latency",
        "service_p999_us",
        Goal::LessByAtLeast(50.0, Contender::Centralised),
    ),
    target("shared-even", "overshoot_tokens", Goal::AtMost(0.0)),
    target("shared-even", "used_percent", Goal::AtLeast(99.5)),
    target(
        "shared-even",
        "commands_per_s",
        Goal::LessByAtLeast(10.0, Contender::TrypemaSecond),
    ),
    target("shared-skewed", "overshoot_tokens", Goal::AtMost(0.0)),
    target("shared-skewed", "used_percent", Goal::AtLeast(99.5)),
    target(
        "shared-skewed",
        "commands_per_s",
        Goal::LessByAtLeast(10.0, Contender::TrypemaSecond),
    ),
    target("flash-crowd", "overshoot_tokens", Goal::AtMost(0.0)),
    target("flash-crowd", "used_percent", Goal::AtLeast(99.0)),
];

/// Percent of a limit that may be lost without a word.
const LOSS_SHOWN: f64 = 1.0;

/// Part of a burst by which a limiter may be off, as by rounding, before it is called wrong. Ours
/// may not.
const TRIFLE: f64 = 0.001;

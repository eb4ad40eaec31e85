//! The conclusion of a report, in a few sentences made of its own numbers.

use leasehold_sim::metrics::{self, Shown};
use leasehold_sim::report::{LimiterReport, Report, ScenarioReport, Spread};
use leasehold_sim::scenario::LEASED;

use crate::simulate::number;

/// The sentences for one scenario, in paragraphs: ours, the others, what was expected.
pub(super) fn of_scenario(scenario: &ScenarioReport) -> Vec<String> {
    let mut rivals: Vec<&str> = Vec::new();
    for limiter in scenario.points.iter().flat_map(|point| &point.limiters) {
        if limiter.limiter != LEASED && !rivals.contains(&&*limiter.limiter) {
            rivals.push(&limiter.limiter);
        }
    }
    let rivals = rivals
        .into_iter()
        .filter_map(|name| Found::of(scenario, name));
    let ours = Found::of(scenario, LEASED);
    let checks = scenario.points.iter().flat_map(|it| &it.checks);
    let all = [
        ours.as_ref().map_or_else(String::new, Found::ours),
        beside(ours.as_ref(), &rivals.collect::<Vec<_>>()),
        expectations(checks.map(|it| it.met)),
    ];
    all.into_iter().filter(|says| !says.is_empty()).collect()
}

/// The sentences for many scenarios.
pub(super) fn of_all(report: &Report) -> Vec<String> {
    let exceeds = |scenario: &&ScenarioReport| {
        Found::of(scenario, LEASED).is_some_and(|found| found.excess > EXACT)
    };
    let exceeding = report.scenarios.iter().filter(exceeds);
    let exceeding: Vec<&str> = exceeding.map(|scenario| scenario.name.as_str()).collect();
    let kept = match exceeding.as_slice() {
        [] => "In none of them leased admitted more than rate, burst and the granted overshoot."
            .to_owned(),
        some => format!(
            "Leased admitted more than rate, burst and the granted overshoot in {}.",
            joined(some)
        ),
    };
    let count = number::plural(report.scenarios.len(), "scenario");
    let met = expectations(report.checks().map(|check| check.met));
    vec![format!("{count} ran. {kept}"), met]
}

/// How many expectations were met; empty if there were none.
fn expectations(met: impl Iterator<Item = bool>) -> String {
    let (mut all, mut failed) = (0, 0);
    for met in met {
        all += 1;
        failed += usize::from(!met);
    }
    match (all, failed) {
        (0, _) => String::new(),
        (1, 0) => "The one expectation was met.".to_owned(),
        (_, 0) => format!("All {} were met.", number::plural(all, "expectation")),
        _ => format!("{failed} of {} failed.", number::plural(all, "expectation")),
    }
}

/// A limiter's results over all points of a scenario.
struct Found {
    name: String,
    /// The least part of the ideal that it admitted.
    utilisation: f64,
    overshoot: f64,
    excess: f64,
    /// Over the burst.
    overshoot_share: f64,
    /// The least and the most store calls per second.
    calls: (f64, f64),
    /// The least and the largest part that it decided without waiting.
    local: (f64, f64),
}

impl Found {
    fn of(scenario: &ScenarioReport, name: &str) -> Option<Self> {
        let limiters = || {
            let all = scenario.points.iter().flat_map(|point| &point.limiters);
            all.filter(|limiter| limiter.limiter == name)
        };
        limiters().next()?;
        let least = |metric: &str| {
            let means = limiters().filter_map(|it| Some(spread(it, metric)?.mean));
            means.fold(f64::INFINITY, f64::min)
        };
        let most = |metric: &str| {
            let worst = limiters().filter_map(|it| Some(spread(it, metric)?.max));
            worst.fold(0.0, f64::max)
        };
        let range = |metric: &str| {
            let means = limiters().filter_map(|it| Some(spread(it, metric)?.mean));
            (least(metric), means.fold(0.0, f64::max))
        };
        Some(Self {
            name: name.to_owned(),
            utilisation: least("utilisation"),
            overshoot: most("overshoot"),
            excess: most("excess"),
            overshoot_share: most("overshoot-share"),
            calls: range("store-calls"),
            local: range("local"),
        })
    }

    fn ours(&self) -> String {
        let over = if self.overshoot <= EXACT {
            "and never more than the limit allows".to_owned()
        } else if self.excess <= EXACT {
            let over = number::shown(Shown::Number, self.overshoot);
            format!("and goes at most {over} tokens over, within the overshoot that it was granted")
        } else {
            let over = number::shown(Shown::Number, self.excess);
            format!("and goes up to {over} tokens beyond what the limit allows")
        };
        let admits = if self.utilisation.is_finite() {
            let part = percent(self.utilisation);
            let least = if self.utilisation < 1.0 {
                "at least "
            } else {
                ""
            };
            format!("admits {least}{part} of what one exact bucket would, {over}")
        } else {
            format!("admits {over}")
        };
        format!(
            "Leased {admits}. It decides {} of the requests without waiting, and asks the store \
             {} times a second.",
            said(Shown::Percent, self.local),
            self.asks()
        )
    }

    fn asks(&self) -> String {
        said(Shown::Number, self.calls)
    }
}

/// A range, or a number if its ends read alike.
fn said(how: Shown, (least, most): (f64, f64)) -> String {
    let read = |value| match how {
        Shown::Percent => rough(value),
        how => number::shown(how, value),
    };
    let [least, most] = [least, most].map(read);
    if least == most {
        return most;
    }
    let least = least.strip_suffix(" %").unwrap_or(&least);
    format!("{least} to {most}")
}

/// How the others compare, each by what is worst about it.
fn beside(ours: Option<&Found>, rivals: &[Found]) -> String {
    let (mut over, mut short, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    let missing = |found: &Found| (1.0 - found.utilisation).max(0.0);
    let tolerated = ours.map_or(0.0, missing) + NOTABLE;
    for rival in rivals {
        let (found, amount) = if rival.overshoot_share > NOTABLE {
            (&mut over, format!("by {}", bursts(rival.overshoot_share)))
        } else if missing(rival) > tolerated {
            (&mut short, format!("by {}", rough(missing(rival))))
        } else {
            (&mut kept, format!("{} store calls a second", rival.asks()))
        };
        found.push(format!("{} ({amount})", rival.name));
    }
    let parts = [
        (over, ["exceeds the limit", "exceed the limit"]),
        (short, ["admits too little", "admit too little"]),
        (kept, ["keeps the limit", "keep the limit"]),
    ];
    let parts = parts.iter().filter(|(names, _)| !names.is_empty());
    let parts = parts.map(|(names, [one, many])| {
        let verb = if names.len() == 1 { one } else { many };
        format!("{} {verb}", joined(names))
    });
    match parts.collect::<Vec<_>>().as_slice() {
        [] => String::new(),
        parts => format!("On the same requests, {}.", parts.join("; ")),
    }
}

/// `a, b and c`.
fn joined<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match names.as_slice() {
        [all @ .., last] if !all.is_empty() => format!("{} and {last}", all.join(", ")),
        names => names.concat(),
    }
}

fn spread(limiter: &LimiterReport, metric: &str) -> Option<Spread> {
    limiter.spread(metrics::find(metric).expect("a measure of ours"))
}

/// A part of the burst, or how many bursts.
fn bursts(share: f64) -> String {
    if share < 2.0 {
        return format!("{} of the burst", rough(share));
    }
    format!("{} times the burst", number::ticks(Shown::Number)(share))
}

fn rough(share: f64) -> String {
    number::ticks(Shown::Percent)(share)
}

fn percent(share: f64) -> String {
    number::shown(Shown::Percent, share)
}

/// Less than this part of a token is rounding.
const EXACT: f64 = 1e-6;

/// Errors below a hundredth are not worth a sentence.
const NOTABLE: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::samples::{self, limiter, point, scenario};

    #[test]
    fn a_conclusion_says_what_each_limiter_does_wrong_and_what_failed() {
        let says = of_scenario(&samples::report().scenarios[0]).join(" ");
        let expected = "Leased admits at least 99.93 % of what one exact bucket would, and never \
            more than the limit allows. It decides 0 % of the requests without waiting, and asks \
            the store 10 times a second. On the same requests, central (300 store calls a second) \
            keeps the limit. 1 of 4 expectations failed.";
        assert_eq!(says, expected);
    }

    #[test]
    fn whoever_exceeds_the_limit_or_admits_too_little_is_named_with_the_amount() {
        let mut short = limiter("split", 0.0, 0.0);
        short.runs[0].summary.utilisation = Some(0.75);
        let over = [
            limiter("local-only", 0.0, 39.0),
            limiter("counter", 4.0, 0.5),
        ];
        let mut limiters = vec![limiter("leased", 10.0, 0.0), short];
        limiters.extend(over);
        let says = of_scenario(&scenario(vec![point(&[], limiters)])).join(" ");
        let expected = "local-only (by 39 times the burst) and counter (by 50 % of the burst) \
            exceed the limit; split (by 25 %) admits too little.";
        assert!(says.contains(expected), "{says}");
        assert!(!says.contains("expectation"), "{says}");
    }

    #[test]
    fn what_we_exceed_is_said_first_and_within_the_grant_it_is_said_so() {
        let mut ours = limiter("leased", 10.0, 0.5);
        ours.runs[0].summary.overshoot = 50.0;
        let says = |ours: &LimiterReport| {
            of_scenario(&scenario(vec![point(&[], vec![ours.clone()])])).concat()
        };
        assert!(
            says(&ours).contains("50 tokens over, within the overshoot"),
            "{}",
            says(&ours)
        );
        ours.runs[0].summary.excess = 30.0;
        assert!(
            says(&ours).contains("up to 30 tokens beyond"),
            "{}",
            says(&ours)
        );
    }

    #[test]
    fn of_many_scenarios_those_that_exceed_are_named() {
        let mut report = samples::report();
        assert!(
            of_all(&report).concat().contains("In none of them"),
            "{}",
            of_all(&report).concat()
        );
        report.scenarios[0].points[0].limiters[0].runs[0]
            .summary
            .excess = 3.0;
        assert!(
            of_all(&report).concat().contains("overshoot in sample."),
            "{}",
            of_all(&report).concat()
        );
    }
}

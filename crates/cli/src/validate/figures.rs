//! Figures of a run, real or simulated, by which the two are compared.

use leasehold_sim::numbers::{float, whole};

/// One run in numbers. Rates are per second of the time in which requests came.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// Requests that came.
    pub(crate) requests: f64,
    /// Tokens admitted.
    pub(crate) admitted: f64,
    /// Tokens admitted beyond burst and rate, in the worst window of the worst key.
    pub(crate) overshoot: f64,
    /// Part of the requests that was decided without waiting for the store.
    pub(crate) local: f64,
    /// Keys exchanged with the store, per second.
    pub(crate) store_calls: f64,
    /// Exchanges with the store, per second.
    pub(crate) round_trips: f64,
    /// Exchanges that were not answered.
    pub(crate) unanswered: f64,
    /// Time of an exchange, in seconds.
    pub(crate) exchange_p50: f64,
    pub(crate) exchange_p99: f64,
    /// Time of a request that waited for the store, in seconds.
    pub(crate) wait_p50: f64,
    pub(crate) wait_p99: f64,
}

/// A figure by name.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) shown: Shown,
    pub(crate) read: fn(&Figures) -> f64,
    /// By how much a prediction may differ; `None` if it is only shown.
    pub(crate) allowed: Option<Allowed>,
}

/// How a figure is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shown {
    Count,
    Rate,
    Percent,
    Time,
}

/// By how much a prediction may differ from what was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Allowed {
    /// Not at all.
    Nothing,
    /// By a part of what was measured.
    Part(f64),
    /// By so much, whatever was measured.
    Absolute(f64),
    /// By the larger of so much and a part of what was measured.
    Either(f64, f64),
}

impl Allowed {
    /// The most that a prediction may differ by.
    pub(crate) fn most(self, measured: f64) -> f64 {
        match self {
            Self::Nothing => 0.0,
            Self::Part(part) => part * measured.abs(),
            Self::Absolute(most) => most,
            Self::Either(most, part) => most.max(part * measured.abs()),
        }
    }

    /// The tolerance for a single run of some seconds; none where such a run shows nothing.
    pub(crate) fn in_a_hurry(self) -> Option<Self> {
        match self {
            Self::Nothing => Some(self),
            Self::Part(part) => Some(Self::Part(part * HURRY)),
            Self::Absolute(most) => Some(Self::Absolute(most * HURRY)),
            // The worst of a few windows is chance.
            Self::Either(..) => None,
        }
    }

    pub(crate) fn text(self) -> String {
        let hundred = |part: f64| (part * 1e6).round() / 1e4;
        let percent = |part: f64| format!("{} %", hundred(part));
        match self {
            Self::Nothing => "equal".to_owned(),
            Self::Part(part) => percent(part),
            Self::Absolute(most) => format!("{} points", hundred(most)),
            Self::Either(most, part) => format!("{most} or {}", percent(part)),
        }
    }
}

/// The middle of some values; between the two middle ones of an even number.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// The value that a share of the sorted values does not exceed; 0 if there are none.
pub(crate) fn quantile(sorted: &[u64], share: f64) -> u64 {
    let place = whole((share * float(sorted.len() as u64)).ceil()).saturating_sub(1);
    let place = usize::try_from(place).unwrap_or(usize::MAX);
    sorted.get(place).copied().unwrap_or(0)
}

/// How many times as much a quick run may differ: it has a thirtieth of the store calls.
const HURRY: f64 = 5.0;

/// All that is compared, in the order in which it is shown.
pub(crate) const FIGURES: &[Figure] = &[
    Figure {
        name: "requests",
        shown: Shown::Count,
        read: |it| it.requests,
        allowed: Some(Allowed::Nothing),
    },
    Figure {
        name: "tokens admitted",
        shown: Shown::Count,
        read: |it| it.admitted,
        allowed: Some(Allowed::Part(0.01)),
    },
    Figure {
        name: "overshoot, tokens",
        shown: Shown::Count,
        read: |it| it.overshoot,
        allowed: Some(Allowed::Either(5.0, 0.1)),
    },
    Figure {
        name: "decided locally",
        shown: Shown::Percent,
        read: |it| it.local,
        allowed: Some(Allowed::Absolute(0.005)),
    },
    Figure {
        name: "store calls",
        shown: Shown::Rate,
        read: |it| it.store_calls,
        allowed: Some(Allowed::Part(0.05)),
    },
    Figure {
        name: "round trips",
        shown: Shown::Rate,
        read: |it| it.round_trips,
        allowed: Some(Allowed::Part(0.05)),
    },
    Figure {
        name: "exchanges unanswered",
        shown: Shown::Count,
        read: |it| it.unanswered,
        allowed: Some(Allowed::Nothing),
    },
    Figure {
        name: "exchange, median",
        shown: Shown::Time,
        read: |it| it.exchange_p50,
        allowed: None,
    },
    Figure {
        name: "exchange, p99",
        shown: Shown::Time,
        read: |it| it.exchange_p99,
        allowed: None,
    },
    Figure {
        name: "wait, median",
        shown: Shown::Time,
        read: |it| it.wait_p50,
        allowed: None,
    },
    Figure {
        name: "wait, p99",
        shown: Shown::Time,
        read: |it| it.wait_p99,
        allowed: None,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "these are exact")]
    fn medians_and_quantiles_are_those_of_textbooks() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!(quantile(&values, 0.5), 50);
        assert_eq!(quantile(&values, 0.99), 99);
        assert_eq!(quantile(&values, 1.0), 100);
        assert_eq!(quantile(&[], 0.5), 0);
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "these are exact")]
    fn what_is_allowed_grows_with_what_was_measured_unless_it_is_fixed() {
        assert_eq!(Allowed::Part(0.25).most(8.0), 2.0);
        assert_eq!(Allowed::Either(5.0, 0.25).most(8.0), 5.0);
        assert_eq!(Allowed::Either(5.0, 0.25).most(40.0), 10.0);
        assert_eq!(Allowed::Absolute(0.5).most(8.0), 0.5);
        assert_eq!(Allowed::Nothing.most(8.0), 0.0);
        assert_eq!(Allowed::Either(5.0, 0.1).text(), "5 or 10 %");
        assert_eq!(Allowed::Absolute(0.005).text(), "0.5 points");
    }
}

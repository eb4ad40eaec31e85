//! Predicted beside measured, figure by figure.
//!
//! # Invariant
//!
//! Medians are compared: of the real runs, and of all simulated ones. Replicas draw their own
//! chance in both worlds, so single runs differ without anybody being wrong.

use serde::Serialize;

use super::figures::{Allowed, FIGURES, Figure, Figures, Shown, median};
use super::setting::Setting;

/// One setting's real runs, beside what the simulator predicted of them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) limit: String,
    pub(crate) replicas: u32,
    pub(crate) keys: u32,
    /// Planned requests per second.
    pub(crate) offered: f64,
    pub(crate) seconds: f64,
    /// Real runs.
    pub(crate) runs: usize,
    /// Simulated ones.
    pub(crate) simulated: usize,
    /// How late requests came, 99 % of them at most; the worst run.
    pub(crate) lateness_p99: f64,
    pub(crate) rows: Vec<Row>,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) measured: Spread,
    pub(crate) predicted: Spread,
    /// Predicted less measured.
    pub(crate) difference: f64,
    /// The most that it may be; nothing if it is only shown.
    pub(crate) allowed: Option<f64>,
    /// Whether it is no more.
    pub(crate) met: bool,
    #[serde(skip)]
    pub(crate) shown: Shown,
    #[serde(skip)]
    pub(crate) allowed_text: String,
}

/// A figure over runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Comparison {
    pub(crate) fn new(
        setting: &Setting,
        measured: &[Figures],
        predicted: &[Figures],
        lateness_p99: f64,
        quick: bool,
    ) -> Self {
        let rows = FIGURES.iter();
        let rows = rows.map(|figure| Row::new(figure, measured, predicted, quick));
        Self {
            name: setting.name.clone(),
            title: setting.title.clone(),
            limit: setting.limit.to_string(),
            replicas: setting.replicas,
            keys: setting.keys,
            offered: setting.offered.0,
            seconds: setting.duration.as_secs_f64(),
            runs: measured.len(),
            simulated: predicted.len(),
            lateness_p99,
            rows: rows.collect(),
        }
    }

    /// Whether every prediction was close enough.
    pub(crate) fn is_met(&self) -> bool {
        self.rows.iter().all(|row| row.met)
    }
}

impl Row {
    fn new(figure: &Figure, measured: &[Figures], predicted: &[Figures], quick: bool) -> Self {
        let figure_allowed = figure.allowed.and_then(|allowed| {
            if quick {
                allowed.in_a_hurry()
            } else {
                Some(allowed)
            }
        });
        let measured = Spread::of(measured, figure.read);
        let predicted = Spread::of(predicted, figure.read);
        let difference = predicted.median - measured.median;
        let allowed =
            figure_allowed.map(|allowed| allowed.most(measured.median) * (1.0 + ROUNDING));
        Self {
            name: figure.name,
            measured,
            predicted,
            difference,
            allowed,
            met: allowed.is_none_or(|most| difference.abs() <= most),
            shown: figure.shown,
            allowed_text: figure_allowed.map_or_else(String::new, Allowed::text),
        }
    }
}

impl Spread {
    fn of(figures: &[Figures], read: fn(&Figures) -> f64) -> Self {
        let values: Vec<f64> = figures.iter().map(read).collect();
        Self {
            median: median(&values),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// Rounding errors of floats, as a part of a number.
const ROUNDING: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;

    type Add = fn(&mut Figures, f64);

    fn compared(measured: Figures, predicted: Figures) -> Comparison {
        let setting = Setting::built_in().swap_remove(0);
        Comparison::new(&setting, &[measured], &[predicted], 0.0, false)
    }

    #[test]
    fn each_figure_has_a_deviation_that_is_too_much() {
        let measured = Figures {
            requests: 1000.0,
            admitted: 500.0,
            overshoot: 20.0,
            local: 0.99,
            store_calls: 40.0,
            round_trips: 40.0,
            ..Figures::default()
        };
        assert!(compared(measured, measured).is_met());
        let tries: [(&str, Add, f64); 7] = [
            ("requests", |it, by| it.requests += by, 0.5),
            ("tokens admitted", |it, by| it.admitted += by, 5.0),
            ("overshoot, tokens", |it, by| it.overshoot += by, 5.0),
            ("decided locally", |it, by| it.local += by, 0.005),
            ("store calls", |it, by| it.store_calls += by, 2.0),
            ("round trips", |it, by| it.round_trips += by, 2.0),
            ("exchanges unanswered", |it, by| it.unanswered += by, 0.5),
        ];
        for (name, add, most) in tries {
            for by in [1.1 * most, -1.1 * most] {
                let mut predicted = measured;
                add(&mut predicted, by);
                let compared = compared(measured, predicted);
                let missed = compared.rows.iter().filter(|row| !row.met);
                let missed: Vec<&str> = missed.map(|row| row.name).collect();
                assert_eq!(missed, [name], "by {by}");
            }
            if most >= 1.0 || name == "decided locally" {
                let mut predicted = measured;
                add(&mut predicted, 0.9 * most);
                assert!(compared(measured, predicted).is_met(), "{name}");
            }
        }
    }

    /// One run of three seconds differs by chance from the median of others: 120 store calls by a
    /// fifth, and the overshoot by anything from 0 to 29 tokens, on a machine that has time.
    #[test]
    fn a_quick_run_is_held_to_what_its_length_can_show() {
        let measured = Figures {
            requests: 9000.0,
            admitted: 4000.0,
            local: 0.985,
            store_calls: 40.0,
            round_trips: 40.0,
            ..Figures::default()
        };
        let by_chance = Figures {
            admitted: 4080.0,
            overshoot: 29.0,
            local: 0.975,
            store_calls: 48.0,
            round_trips: 48.0,
            ..measured
        };
        let wrong = Figures {
            store_calls: 60.0,
            ..measured
        };
        let setting = Setting::built_in().swap_remove(0);
        let met = |predicted, quick| {
            Comparison::new(&setting, &[measured], &[predicted], 0.0, quick).is_met()
        };
        assert!(met(by_chance, true) && !met(by_chance, false));
        assert!(!met(wrong, true), "a wrong model is off by more");
    }

    #[test]
    fn a_figure_that_is_no_number_is_a_miss() {
        let setting = Setting::built_in().swap_remove(0);
        let nothing = Comparison::new(&setting, &[], &[], 0.0, false);
        assert!(!nothing.is_met());
    }
}

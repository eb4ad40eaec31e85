//! The settings that set the points of a scenario apart.

use leasehold_sim::numbers::float;
use leasehold_sim::report::{PointReport, ScenarioReport};
use leasehold_sim::units::{Count, PerSecond, Share, Span};

/// The field that plots run over: `lead` if it varies, else the first that varies and has numbers,
/// else the first that varies.
pub(super) fn leading<'s>(scenario: &'s ScenarioReport, lead: Option<&str>) -> Option<&'s str> {
    let settings = &scenario.points.first()?.settings;
    let varies = |field: &str| values(scenario, field).len() > 1;
    let varying: Vec<&str> = settings
        .iter()
        .map(|(field, _)| field.as_str())
        .filter(|field| varies(field))
        .collect();
    let is_lead = |field: &&&str| Some(**field) == lead;
    let has_numbers = |field: &&&str| {
        let values = values(scenario, field);
        values.into_iter().all(|value| size(value).is_some())
    };
    let found = varying.iter().find(is_lead);
    let found = found.or_else(|| varying.iter().find(has_numbers));
    found.or(varying.first()).copied()
}

/// The size of a setting, if it is a number of any kind.
pub(super) fn size(value: &str) -> Option<f64> {
    let plain: Option<f64> = value.parse().ok().filter(|it: &f64| it.is_finite());
    let count = || value.parse().ok().map(|Count(count)| float(count));
    let span = || value.parse().ok().map(Span::as_secs_f64);
    let rate = || value.parse().ok().map(|PerSecond(rate)| rate);
    let share = || value.parse().ok().map(Share::get);
    plain
        .or_else(span)
        .or_else(rate)
        .or_else(share)
        .or_else(count)
}

/// The values of a field, each once, in order of appearance.
fn values<'s>(scenario: &'s ScenarioReport, field: &str) -> Vec<&'s str> {
    let mut values = Vec::new();
    for point in &scenario.points {
        let value = setting(point, field);
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

/// The value of a field at a point.
pub(super) fn setting<'p>(point: &'p PointReport, field: &str) -> &'p str {
    let found = point.settings.iter().find(|(name, _)| name == field);
    found.map_or("", |(_, value)| value)
}

/// All settings but one, in words.
pub(super) fn others(point: &PointReport, field: &str) -> String {
    let others = point.settings.iter().filter(|(name, _)| name != field);
    let others = others.map(|(name, value)| format!("{name}={value}"));
    others.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::samples::{limiter, point, scenario};

    #[test]
    fn settings_of_all_kinds_have_a_size() {
        let sizes = ["10", "2.5", "50ms", "100/min", "5%", "100k"].map(size);
        let expected = [10.0, 2.5, 0.05, 100.0 / 60.0, 0.05, 1e5];
        for (size, expected) in sizes.into_iter().zip(expected) {
            assert!(
                (size.unwrap() - expected).abs() < 1e-6,
                "{size:?} {expected}"
            );
        }
        for text in ["sticky", "", "nan", "1000/s burst 5"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn plots_run_over_what_was_asked_for_else_over_numbers() {
        let at = |balance: &str, replicas: &str| {
            let settings = [("balance", balance), ("keys", "1"), ("replicas", replicas)];
            point(&settings, vec![limiter("leased", 1.0, 0.0)])
        };
        let sweep = scenario(vec![at("random", "1"), at("sticky", "9")]);
        assert_eq!(leading(&sweep, None), Some("replicas"));
        assert_eq!(leading(&sweep, Some("balance")), Some("balance"));
        assert_eq!(leading(&sweep, Some("keys")), Some("replicas"));
        assert_eq!(leading(&scenario(vec![at("random", "1")]), None), None);
    }
}

//! Reports made by hand, for tests.

use leasehold_sim::metrics::Summary;
use leasehold_sim::report::{
    Check, LimiterReport, PointReport, Report, Run, ScenarioReport, Slice,
};

pub(crate) fn limiter(name: &str, calls: f64, error: f64) -> LimiterReport {
    let summary = Summary {
        requests: 1000,
        store_calls: calls,
        overshoot_share: error,
        deficit: Some(0.0),
        utilisation: Some(0.9993),
        ..Summary::default()
    };
    let slice = |at| Slice {
        at,
        offered: 300.0,
        admitted: 100.0,
        ideal: 101.0,
        calls,
        held: 7,
    };
    LimiterReport {
        limiter: name.to_owned(),
        runs: vec![Run {
            seed: 1,
            summary,
            series: [0.1, 0.2, 0.3].map(slice).into(),
            events: 5,
        }],
    }
}

pub(crate) fn point(settings: &[(&str, &str)], limiters: Vec<LimiterReport>) -> PointReport {
    let owned = |(field, value): &(&str, &str)| ((*field).to_owned(), (*value).to_owned());
    let said: Vec<String> = settings
        .iter()
        .map(|(field, value)| format!("{field}={value}"))
        .collect();
    PointReport {
        settings: settings.iter().map(owned).collect(),
        label: said.join(" "),
        limiters,
        checks: Vec::new(),
    }
}

pub(crate) fn scenario(points: Vec<PointReport>) -> ScenarioReport {
    ScenarioReport {
        name: "sample".to_owned(),
        title: "a <sample> & more".to_owned(),
        source: None,
        beats: None,
        points,
    }
}

pub(crate) fn check(met: bool) -> Check {
    Check {
        expected: "store-calls <= 5".to_owned(),
        bound: 5.0,
        measured: Some(if met { 4.0 } else { 6.5 }),
        seed: 3,
        met,
    }
}

/// Two replica counts, two limiters, and an expectation that failed.
pub(crate) fn report() -> Report {
    let at = |replicas| {
        let limiters = vec![limiter("leased", 10.0, 0.0), limiter("central", 300.0, 0.0)];
        let mut point = point(&[("replicas", replicas)], limiters);
        point.checks = vec![check(true), check(replicas == "1")];
        point
    };
    Report {
        schema: 1,
        scenarios: vec![scenario(vec![at("1"), at("10")])],
    }
}

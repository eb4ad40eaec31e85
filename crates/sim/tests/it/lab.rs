//! Small scenarios for the other tests, and what happened in them.

use leasehold_sim::load::Traces;
use leasehold_sim::record::{Happening, Recorder};
use leasehold_sim::report::Run;
use leasehold_sim::run::{Options, run_all, run_one};
use leasehold_sim::scenario::{LEASED, Points, Scenario};

/// A scenario in which nothing goes wrong and a message costs the network's time only, so that
/// formulas need no small print. `more` is its limits, loads and fleet.
pub(crate) fn scenario(duration: &str, more: &str) -> Scenario {
    let text = format!(
        "schema = 1\ntitle = \"test\"\nduration = \"{duration}\"\n{more}\n\
         [store]\nservice = \"0s\"\nservice-per-call = \"0s\"\n"
    );
    let points = Points::parse("test.toml", &text, &[]).unwrap_or_else(|error| panic!("{error}"));
    let mut points = points.points.into_iter();
    points.next().expect("a scenario has a point").scenario
}

/// One run of our limiter, with every step checked.
pub(crate) fn leased(scenario: &Scenario, seed: u64) -> Run {
    run_one(scenario, LEASED, seed, &Traces::new(), true, None).unwrap()
}

/// One run of a rival.
pub(crate) fn rival(scenario: &Scenario, name: &str, seed: u64) -> Run {
    run_one(scenario, name, seed, &Traces::new(), true, None).unwrap()
}

/// All points and limiters of a text, with so many seeds.
pub(crate) fn report(text: &str, seeds: u32) -> leasehold_sim::report::Report {
    let points = Points::parse("test.toml", text, &[]).unwrap_or_else(|error| panic!("{error}"));
    let options = Options {
        seeds: Some(seeds),
        ..Options::default()
    };
    run_all(&[points], &Traces::new(), &options, &|_| ()).unwrap()
}

/// A request and its verdict.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Decided {
    pub(crate) arrived_ns: u64,
    pub(crate) replica: u32,
    pub(crate) key: u32,
    pub(crate) cost: u32,
    pub(crate) allowed: bool,
}

#[derive(Debug, Default)]
struct Decisions(Vec<Decided>);

impl Recorder for Decisions {
    fn record(&mut self, happening: &Happening<'_>) {
        if let Happening::Decision {
            arrived_ns,
            replica,
            demands,
            allowed,
            ..
        } = happening
        {
            self.0.push(Decided {
                arrived_ns: *arrived_ns,
                replica: *replica,
                key: demands[0].key,
                cost: demands[0].cost,
                allowed: *allowed,
            });
        }
    }
}

/// Every decision of a run, in order of arrival.
pub(crate) fn decisions(scenario: &Scenario, limiter: &str, seed: u64) -> Vec<Decided> {
    let mut decisions = Decisions::default();
    let recorder: &mut dyn Recorder = &mut decisions;
    run_one(
        scenario,
        limiter,
        seed,
        &Traces::new(),
        true,
        Some(recorder),
    )
    .unwrap();
    decisions.0.sort();
    decisions.0
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "counts of a test are small")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// Holds `measured` to be within `share` of `expected`. Prints both, for the table in the docs.
#[track_caller]
pub(crate) fn near(what: &str, measured: f64, expected: f64, share: f64) {
    let off = (measured - expected).abs() / expected;
    println!("{what}: {measured:.5}, formula {expected:.5}");
    assert!(
        off <= share,
        "{what}: {measured} is {:.2} % off {expected}, more than {:.2} %",
        off * 100.0,
        share * 100.0
    );
}

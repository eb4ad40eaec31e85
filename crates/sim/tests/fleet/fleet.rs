//! Runs one fleet under one limit.

use std::env;

use leasehold_sim::load::Traces;
use leasehold_sim::metrics::Summary;
use leasehold_sim::record::{Happening, Recorder};
use leasehold_sim::report::Run;
use leasehold_sim::run::run_one;
use leasehold_sim::scenario::{LEASED, Points, Scenario};

/// A fleet of so many replicas under `limit` for some seconds, offered one load; `more` goes on in
/// the words of a scenario.
pub(crate) fn scenario(
    limit: &str,
    replicas: u32,
    offered: &str,
    seconds: u32,
    more: &str,
) -> Scenario {
    let text = format!(
        "schema = 1\ntitle = \"fleet\"\nduration = \"{seconds}s\"\n\
         [[limit]]\nlimit = \"{limit}\"\n\
         [fleet]\nreplicas = {replicas}\n\
         [[load]]\noffered = \"{offered}\"\n{more}"
    );
    let points = Points::parse("fleet", &text, &[]);
    points.expect("it can be read").points.remove(0).scenario
}

/// All replicas are asked alike, and nothing fails.
pub(crate) fn even(limit: &str, replicas: u32, offered: &str, seconds: u32) -> Summary {
    run(&scenario(limit, replicas, offered, seconds, "")).summary
}

/// Nothing was admitted beyond the limit, and of the limit at least so much was used.
#[track_caller]
pub(crate) fn is_exact_and_used(summary: &Summary, utilisation: f64) {
    assert!(summary.overshoot <= 0.0, "overshoot {}", summary.overshoot);
    let used = summary.utilisation.expect("something was offered");
    assert!(used >= utilisation, "utilisation {used}");
}

/// Runs it, with every step checked.
pub(crate) fn run(scenario: &Scenario) -> Run {
    let seed = env::var("FLEET_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let run = run_one(scenario, LEASED, seed, &Traces::new(), true, None).expect("it can be run");
    show(&run.summary);
    run
}

/// A run and all its decisions.
pub(crate) fn run_and_watch(scenario: &Scenario) -> (Run, Vec<Decided>) {
    let seed = env::var("FLEET_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let mut watch = Watch(Vec::new());
    let run = run_one(
        scenario,
        LEASED,
        seed,
        &Traces::new(),
        true,
        Some(&mut watch),
    );
    let run = run.expect("it can be run");
    show(&run.summary);
    (run, watch.0)
}

/// One decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decided {
    pub(crate) arrived_ns: u64,
    pub(crate) at_ns: u64,
    pub(crate) allowed: bool,
}

struct Watch(Vec<Decided>);

impl Recorder for Watch {
    fn record(&mut self, happening: &Happening<'_>) {
        if let Happening::Decision {
            at_ns,
            arrived_ns,
            allowed,
            ..
        } = *happening
        {
            self.0.push(Decided {
                arrived_ns,
                at_ns,
                allowed,
            });
        }
    }
}

/// Printed with `--nocapture`.
fn show(it: &Summary) {
    println!(
        "utilisation {:.4} overshoot {} false {} local {:.4} calls {:.1}/s trips {:.1}/s held \
         {:.1}",
        it.utilisation.unwrap_or(1.0),
        it.overshoot,
        it.false_denials,
        it.local,
        it.store_calls,
        it.round_trips,
        it.stranded,
    );
}

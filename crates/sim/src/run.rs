//! Runs scenarios: every point, limiter and seed, on as many threads as there are.
//!
//! # Invariant
//!
//! A run is one thread's work from beginning to end, and results are put together in the order in
//! which runs were asked for: the report does not depend on the number of threads.

use rayon::prelude::*;

use crate::leased::Leased;
use crate::load::Traces;
use crate::metrics::{self, Summary};
use crate::model::LimiterModel;
use crate::record::Recorder;
use crate::report::{Check, LimiterReport, PointReport, Report, Run, ScenarioReport};
use crate::rivals::ModelVisitor;
use crate::scenario::expect::{Expectation, Relation};
use crate::scenario::{LEASED, Point, Points, Scenario};
use crate::world::World;

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The first seed; a scenario with three seeds takes this one and the two after it.
    pub seed: u64,
    /// How many seeds, whatever the scenarios say.
    pub seeds: Option<u32>,
    /// Whether every step is checked against books kept beside the limiter. Takes longer.
    pub checked: bool,
    /// Whether rivals run too.
    pub rivals: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            seeds: None,
            checked: false,
            rivals: true,
        }
    }
}

/// One run that is to be done.
struct Task<'p> {
    /// The scenario's.
    name: &'p str,
    point: &'p Point,
    limiter: &'p str,
    seed: u64,
}

/// Runs all points of all scenarios. `done` hears of each run that is finished, from any thread.
///
/// # Errors
///
/// What is wrong with a scenario, where only a run tells.
pub fn run_all(
    scenarios: &[Points],
    traces: &Traces,
    options: &Options,
    done: &(dyn Fn(&Run) + Sync),
) -> Result<Report, String> {
    let tasks = tasks(scenarios, options);
    let runs = tasks.par_iter().map(|task| {
        let scenario = &task.point.scenario;
        let run = run_one(
            scenario,
            task.limiter,
            task.seed,
            traces,
            options.checked,
            None,
        );
        let mut run = run.map_err(|error| format!("{}: {error}", task.name))?;
        if task.seed != options.seed {
            run.series = Vec::new();
        }
        done(&run);
        Ok(run)
    });
    let runs: Vec<Run> = runs.collect::<Result<_, String>>()?;
    let mut runs = runs.into_iter();
    let reports = scenarios.iter().map(|points| ScenarioReport {
        name: points.name.clone(),
        title: points.title.clone(),
        source: points.points[0].scenario.source.clone(),
        beats: points.points[0].scenario.beats.clone(),
        points: points
            .points
            .iter()
            .map(|point| report(point, options, &mut runs))
            .collect(),
    });
    Ok(Report {
        schema: 1,
        scenarios: reports.collect(),
    })
}

/// How many runs [`run_all`] will do.
pub fn runs(scenarios: &[Points], options: &Options) -> usize {
    tasks(scenarios, options).len()
}

fn tasks<'p>(scenarios: &'p [Points], options: &Options) -> Vec<Task<'p>> {
    let points = scenarios.iter().flat_map(|scenario| {
        let named = scenario.points.iter();
        named.map(|point| (scenario.name.as_str(), point))
    });
    let mut tasks = Vec::new();
    for (name, point) in points {
        for limiter in limiters(&point.scenario, options) {
            for seed in seeds(&point.scenario, options) {
                tasks.push(Task {
                    name,
                    point,
                    limiter,
                    seed,
                });
            }
        }
    }
    tasks
}

fn limiters<'s>(scenario: &'s Scenario, options: &Options) -> Vec<&'s str> {
    let rivals = scenario.rivals.keys().filter(|_| options.rivals);
    [LEASED]
        .into_iter()
        .chain(rivals.map(String::as_str))
        .collect()
}

/// The seeds of a scenario, in order.
pub fn seeds(scenario: &Scenario, options: &Options) -> std::ops::Range<u64> {
    let count = options.seeds.unwrap_or(scenario.seeds);
    options.seed..options.seed + u64::from(count)
}

fn report(point: &Point, options: &Options, runs: &mut impl Iterator<Item = Run>) -> PointReport {
    let count = seeds(&point.scenario, options).count();
    let limiters: Vec<LimiterReport> = limiters(&point.scenario, options)
        .into_iter()
        .map(|limiter| LimiterReport {
            limiter: limiter.to_owned(),
            runs: runs.by_ref().take(count).collect(),
        })
        .collect();
    let expected = point.scenario.expect.0.iter();
    let measured = |label: &str| limiters.iter().any(|it| it.limiter == label);
    // What compares with a rival that did not run says nothing.
    let rivals = |it: &Expectation| {
        it.bound
            .names()
            .into_iter()
            .filter_map(rival_of)
            .all(measured)
    };
    let checks = expected
        .filter(|it| measured(&it.of) && rivals(it))
        .map(|expectation| check(expectation, &point.scenario, &limiters));
    PointReport {
        settings: point.settings.clone(),
        label: point.label(),
        checks: checks.collect(),
        limiters,
    }
}

/// Runs one scenario once.
///
/// # Errors
///
/// What is wrong with the scenario, where only a run tells.
///
/// # Panics
///
/// If the limiter breaks a promise that is checked at every step. That is a finding.
pub fn run_one<'a>(
    scenario: &'a Scenario,
    limiter: &str,
    seed: u64,
    traces: &'a Traces,
    checked: bool,
    recorder: Option<&'a mut dyn Recorder>,
) -> Result<Run, String> {
    let how = How {
        scenario,
        seed,
        traces,
        recorder,
    };
    if limiter == LEASED {
        how.visit(Leased::of(scenario, checked))
    } else {
        let rival = scenario.rivals.get(limiter);
        let rival = rival.ok_or_else(|| format!("there is no [rivals.{limiter}]"))?;
        rival.visit(scenario.fleet.replicas, how)
    }
}

struct How<'a> {
    scenario: &'a Scenario,
    seed: u64,
    traces: &'a Traces,
    recorder: Option<&'a mut dyn Recorder>,
}

impl ModelVisitor for How<'_> {
    type Output = Result<Run, String>;

    fn visit<S: LimiterModel>(self, model: S) -> Result<Run, String> {
        let world = World::new(model, self.scenario, self.traces, self.seed, self.recorder)?;
        Ok(world.run().into_run(self.scenario, self.seed))
    }
}

/// Holds an expectation against all seeds; the worst seed speaks.
fn check(expectation: &Expectation, scenario: &Scenario, limiters: &[LimiterReport]) -> Check {
    let metric = metrics::find(&expectation.metric).expect("checked when it was read");
    let of = |label: &str| limiters.iter().find(|it| it.limiter == label);
    let runs = &of(&expectation.of).expect("only of those that ran").runs;
    let mut worst: Option<Check> = None;
    for (index, run) in runs.iter().enumerate() {
        let name = |name: &str| match name.split_once('.') {
            Some((label, metric)) => {
                let rival = of(label)?.runs.get(index)?;
                (metrics::find(metric)?.read)(&rival.summary)
            }
            None => value_of(name, scenario, &run.summary),
        };
        let bound = expectation.bound.value(&name).unwrap_or(f64::NAN);
        let measured = (metric.read)(&run.summary);
        let met = measured.is_some_and(|measured| expectation.relation.holds(measured, bound));
        let check = Check {
            expected: expectation.to_string(),
            bound,
            measured,
            seed: run.seed,
            met,
        };
        let is_worse = worst.as_ref().is_none_or(|worst| {
            let distance = |check: &Check| distance(expectation.relation, check);
            distance(&check) > distance(worst)
        });
        if is_worse {
            worst = Some(check);
        }
    }
    worst.expect("at least one seed ran")
}

/// The rival that a name in a formula speaks of, if it does.
fn rival_of(name: &str) -> Option<&str> {
    name.split_once('.').map(|(label, _)| label)
}

/// How far a measure is on the wrong side of its bound; negative on the right side.
fn distance(relation: Relation, check: &Check) -> f64 {
    let Some(measured) = check
        .measured
        .filter(|it| !it.is_nan() && !check.bound.is_nan())
    else {
        return f64::INFINITY;
    };
    match relation {
        Relation::AtMost | Relation::Below => measured - check.bound,
        Relation::AtLeast | Relation::Above => check.bound - measured,
        Relation::Equal => (measured - check.bound).abs(),
    }
}

/// The value of a name in a formula: a value of the scenario, or another measure of the run.
fn value_of(name: &str, scenario: &Scenario, summary: &Summary) -> Option<f64> {
    scenario
        .value(name)
        .or_else(|| metrics::find(name).and_then(|metric| (metric.read)(summary)))
}

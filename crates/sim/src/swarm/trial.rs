//! Runs one world and holds against it what was promised.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use serde::Serialize;

use super::bound::{Troubles, bounds};
use super::draft::{Draft, SLICE};
use super::witness::Witness;
use crate::faults::{self, Circumstances, FaultEvent};
use crate::fleet;
use crate::leased::Leased;
use crate::load::Traces;
use crate::numbers::float;
use crate::report::Run;
use crate::scenario::Scenario;
use crate::server::{Memory, StoreChange, Traffic};
use crate::world::{Outcome, World};
use leasehold_judge::{Findings, Volumes};

/// A promise that may be broken.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Promise {
    /// No more is admitted than burst, overshoot, rate and faults together allow.
    Safety,
    /// No assertion fails: books agree, nothing is spent past a deadline, and whatever else the
    /// code says of itself.
    Soundness,
    /// Once all is well, what there is to give is given.
    Liveness,
    /// Whoever waits hears an answer.
    Answers,
    /// A lease is renewed before it runs out.
    Foresight,
    /// One seed is one world, event by event.
    Determinism,
}

/// A promise that was broken.
#[derive(Clone, Debug)]
pub(super) struct Breach {
    pub(super) promise: Promise,
    pub(super) what: String,
}

/// The result of one world.
#[derive(Clone, Debug, Default)]
pub(super) struct Trial {
    pub(super) breach: Option<Breach>,
    pub(super) requests: u64,
    pub(super) events: u64,
    /// The overshoot beyond the burst, and its bound, of the limit that came closest to it.
    pub(super) overshoot: (f64, f64),
    pub(super) busy: Option<f64>,
    pub(super) calm: Option<f64>,
    pub(super) waits: Option<f64>,
    pub(super) sights: BTreeMap<&'static str, u64>,
    /// Stands for all that happened.
    hash: u64,
    run: Option<Run>,
}

impl Trial {
    /// Runs a world.
    pub(super) fn of(draft: &Draft) -> Self {
        match caught(|| Self::tried(draft)) {
            Ok(trial) => trial,
            Err(what) => Self {
                breach: Some(Breach {
                    promise: Promise::Soundness,
                    what,
                }),
                ..Self::default()
            },
        }
    }

    /// Runs a world twice.
    pub(super) fn twice(draft: &Draft) -> Self {
        let (one, other) = (Self::of(draft), Self::of(draft));
        let same = one.hash == other.hash && one.run == other.run;
        if one.breach.is_some() || same {
            return one;
        }
        let what = "two runs of one seed differ".to_owned();
        Self {
            breach: Some(Breach {
                promise: Promise::Determinism,
                what,
            }),
            ..one
        }
    }

    fn tried(draft: &Draft) -> Self {
        let scenario = draft
            .scenario()
            .unwrap_or_else(|problem| panic!("the swarm drew what cannot be: {problem}"));
        let course = Course::of(&scenario, draft.seed);
        let calm_ns = draft.phases.calm_ms * MS..draft.phases.end_ms * MS;
        let mut witness = Witness::new(calm_ns, course.lost_ns());
        let leased = Leased::of(&scenario, true);
        let traces = Traces::new();
        let world = World::new(leased, &scenario, &traces, draft.seed, Some(&mut witness));
        let outcome = world.unwrap_or_else(|problem| panic!("{problem}")).run();
        let troubles = Troubles {
            timeline: &course.timeline,
            circumstances: Circumstances {
                servers_look_alike: false,
                replicas_start: witness.newcomer,
            },
            starts_ns: &course.starts_ns,
            drift_ppm: scenario.store.clock_drift_ppm,
            first_call_ns: witness.first_call_ns,
        };
        let bounds = bounds(draft, &troubles);
        Self::judged(draft, &scenario, outcome, &witness, &bounds)
    }

    fn judged(
        draft: &Draft,
        scenario: &Scenario,
        outcome: Outcome,
        witness: &Witness,
        bounds: &[f64],
    ) -> Self {
        let phases = draft.phases;
        let findings = &outcome.findings;
        let part = |from_ms, until_ms| utilisation(findings, from_ms, until_ms, draft.mean_cost);
        let waits = draft.asks.waits.filter(|_| witness.calm_requests > 0);
        let mut trial = Self {
            breach: None,
            requests: findings.total.offered.requests,
            events: outcome.events,
            overshoot: closest(findings, bounds),
            busy: part(phases.busy_ms, phases.lull_ms),
            calm: part(phases.calm_ms, phases.end_ms),
            waits: waits.map(|_| float(witness.calm_waits) / float(witness.calm_requests)),
            sights: witness.sights.clone(),
            hash: witness.hash(),
            run: None,
        };
        trial.see(&outcome.readings.store);
        trial.breach = trial.broken(draft, findings);
        trial.run = Some(outcome.into_run(scenario, draft.seed));
        trial
    }

    fn see(&mut self, traffic: &Traffic) {
        for (sight, times) in [
            ("messages refused", traffic.refused),
            ("messages to a machine that is gone", traffic.swallowed),
            ("messages lost with a server", traffic.lost),
            ("scripts missing", traffic.scripts_missing),
        ] {
            if times > 0 {
                self.sights.insert(sight, times);
            }
        }
    }

    fn broken(&self, draft: &Draft, findings: &Findings) -> Option<Breach> {
        let breach = |promise, what| Some(Breach { promise, what });
        let (overshoot, bound) = self.overshoot;
        if overshoot > bound + ROUNDING {
            let what = format!("overshoot of {overshoot:.3} tokens, {bound} are allowed");
            return breach(Promise::Safety, what);
        }
        let Volumes {
            offered,
            admitted,
            denied,
            ..
        } = findings.total;
        let open = offered.requests - admitted.requests - denied.requests;
        if open > 0 {
            let what = format!(
                "{open} of {} requests never had an answer",
                offered.requests
            );
            return breach(Promise::Answers, what);
        }
        for (when, measured, least) in [
            ("busy", self.busy, draft.asks.busy),
            ("calm", self.calm, draft.asks.calm),
        ] {
            if let Some(measured) = measured.filter(|measured| *measured < least) {
                let what = format!(
                    "{:.2} % of the ideal admitted while {when}, {} % are to be",
                    measured * 100.0,
                    least * 100.0
                );
                return breach(Promise::Liveness, what);
            }
        }
        if let (Some(waits), Some(most)) = (self.waits, draft.asks.waits)
            && waits > most
        {
            let what = format!(
                "{:.3} % of the requests waited below the limit, {} % may",
                waits * 100.0,
                most * 100.0
            );
            return breach(Promise::Foresight, what);
        }
        None
    }
}

/// The course of a world, as far as it is known before it runs.
struct Course {
    timeline: Vec<(u64, FaultEvent)>,
    starts_ns: Vec<u64>,
}

impl Course {
    fn of(scenario: &Scenario, seed: u64) -> Self {
        let plan = fleet::plan(&scenario.fleet, scenario.duration, seed);
        let instances = fleet::instances(&plan);
        let timeline = faults::timeline(&scenario.faults, scenario.duration, instances, seed);
        let starts = plan
            .iter()
            .filter_map(|(at_ns, event)| event.starts().then_some(*at_ns));
        Self {
            timeline: timeline.expect("checked when it was read"),
            starts_ns: starts.collect(),
        }
    }

    /// When the store first loses all its memory.
    fn lost_ns(&self) -> u64 {
        let loses = |event: &FaultEvent| {
            let FaultEvent::Store(change) = event else {
                return false;
            };
            matches!(
                change,
                StoreChange::Flush
                    | StoreChange::Start {
                        memory: Memory::Empty,
                        ..
                    }
            )
        };
        let lost = self.timeline.iter().find(|(_, event)| loses(event));
        lost.map_or(u64::MAX, |(at_ns, _)| *at_ns)
    }
}

/// The overshoot and the bound of the limit that came closest to it.
fn closest(findings: &Findings, bounds: &[f64]) -> (f64, f64) {
    let overshoots = findings.limits.iter().map(|it| it.overshoot.as_f64());
    let both = overshoots.zip(bounds.iter().copied());
    let left = |(overshoot, bound): (f64, f64)| bound - overshoot;
    let closer = |one: (f64, f64), other| if left(other) < left(one) { other } else { one };
    both.reduce(closer).unwrap_or_default()
}

/// Tokens admitted over tokens that the ideal admits, between two times; `None` if there are too
/// few to say anything.
fn utilisation(findings: &Findings, from_ms: u64, until_ms: u64, mean_cost: f64) -> Option<f64> {
    let slice = |at_ms: u64| usize::try_from(at_ms * MS / SLICE.0).unwrap_or(usize::MAX);
    let slices = findings
        .series
        .slices
        .get(slice(from_ms)..slice(until_ms))?;
    let sum = slices
        .iter()
        .fold(Volumes::default(), |sum, one| sum + *one);
    let ideal = float(sum.ideal_admitted.tokens);
    let limits = float(findings.limits.len() as u64);
    // A request more or less at either end is chance.
    let chance = CHANCE * mean_cost * limits;
    (ideal >= 8.0 * chance).then(|| (float(sum.admitted.tokens) + chance).min(ideal) / ideal)
}

/// Runs `world`; what it panics with, and where, is the error.
fn caught<T>(world: impl FnOnce() -> T) -> Result<T, String> {
    static LISTEN: Once = Once::new();
    LISTEN.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CATCHING.get() {
                return before(info);
            }
            let place = info
                .location()
                .map_or_else(String::new, |it| format!("{}:{}: ", it.file(), it.line()));
            PANICKED.set(place + &said(info.payload()));
        }));
    });
    CATCHING.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(world));
    CATCHING.set(false);
    outcome.map_err(|_| PANICKED.take())
}

fn said(payload: &dyn Any) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    text.or(owned).unwrap_or("a panic without words").to_owned()
}

thread_local! {
    /// Whether a panic on this thread is a finding, of which nobody else needs to hear.
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static PANICKED: RefCell<String> = const { RefCell::new(String::new()) };
}

const MS: u64 = 1_000_000;

/// Bounds are sums of floats.
const ROUNDING: f64 = 1e-6;

/// Requests that may fall to either side of the end of a measurement.
const CHANCE: f64 = 2.0;

//! The tuner: objectives in, setting out.
//!
//! # Invariant
//!
//! An answer is a function of its question: the runs, their seeds and what is concluded from them
//! do not depend on the number of threads. A change of the default is recommended only if it
//! meets what the default does not, or saves store calls beyond chance, and so is each of its
//! parts.
//!
//! The settings are those of `tune/space.rs`, the search is that of `tune/search.rs`, and every
//! figure comes from runs of the real limiter: one with the load that was asked for, and one in
//! which it drops to a tenth and comes back. On steady load alone the rarest reports would seem to
//! be the best.

mod answer;
mod bench;
mod figures;
mod question;
mod search;
mod space;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use leasehold_core::Limit;
use rayon::prelude::*;

use crate::load::Traces;
use crate::run::run_one;
use crate::scenario::{LEASED, Scenario};
use crate::tune::bench::{Bench, FRESH, Lab};
use crate::tune::question::{CENTRAL, Times};
use crate::tune::search::{SEEDS, pays, search};
use crate::tune::space::{Setting, Space};

pub use answer::{
    Advice, Answer, Binding, Change, Cheaper, Circumstance, Conflict, Measured, Setup,
};
pub use figures::{Bound, Figures, Measure};
pub use question::{Objectives, Question};
pub use space::Tunable;

/// Answers a question. `done` hears of each run that is finished, with the number of its requests,
/// from any thread.
///
/// # Errors
///
/// What of the question cannot be, and the mend.
pub fn tune(question: &Question, done: &(dyn Fn(u64) + Sync)) -> Result<Answer, String> {
    let world = World::new(question, Times::ONE, done)?;
    let space = Space::new(&question.limit, question.objectives.overshoot);
    let aim = question.objectives.aim(&question.limit);
    let trial = |setting: &Setting, seed| world.run(&space, setting, seed);
    let mut lab = Lab::new(&trial, question.seed);
    let default = space.default();
    let mut found = search(&space, &aim, &mut lab)?;
    let met = aim.score(lab.fresh.of(&found), 0.0, true).violation <= 0.0;
    let mut conflicts = Vec::new();
    if !met {
        conflicts = answer::conflicts(&space, &aim, &found, &mut lab)?;
    }
    if !pays(&aim, lab.fresh.of(&found), lab.fresh.of(&default)) {
        found = default;
    }
    let mut answer = answer::answer(&space, &aim, &found, &mut lab)?;
    answer.conflicts = conflicts;
    answer.central = world.central(question.seed.wrapping_add(FRESH))?;
    answer.circumstances = circumstances(question, &space, &aim, &found, done)?;
    answer.runs = world.runs.into_inner();
    Ok(answer)
}

/// How the default and the setting that was found bear what was not asked for.
fn circumstances(
    question: &Question,
    space: &Space,
    aim: &figures::Aim,
    found: &Setting,
    done: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Circumstance>, String> {
    let mut all = Vec::new();
    for (name, times) in CIRCUMSTANCES {
        let world = World::new(question, times, done)?;
        let trial = |setting: &Setting, seed| world.run(space, setting, seed);
        let mut bench = Bench::new(&trial, question.seed.wrapping_add(FRESH));
        let default = space.default();
        bench.run(&[found.clone(), default.clone()], FEWER_SEEDS)?;
        all.push(Circumstance {
            name,
            found: Measured::roughly(bench.of(found), aim),
            default: Measured::roughly(bench.of(&default), aim),
        });
    }
    Ok(all)
}

/// A question in some circumstances, to be run with any setting.
struct World<'a> {
    /// With the load that was asked for, and with a lull in it.
    scenarios: [Scenario; 2],
    traces: Traces,
    done: &'a (dyn Fn(u64) + Sync),
    runs: AtomicU64,
}

impl<'a> World<'a> {
    fn new(
        question: &Question,
        times: Times,
        done: &'a (dyn Fn(u64) + Sync),
    ) -> Result<Self, String> {
        Ok(Self {
            scenarios: [
                question.scenario(times, false)?,
                question.scenario(times, true)?,
            ],
            traces: Traces::new(),
            done,
            runs: AtomicU64::new(0),
        })
    }

    fn run(&self, space: &Space, setting: &Setting, seed: u64) -> Result<Figures, String> {
        let set = |scenario: &mut Scenario| {
            scenario.tuning = space.tuning(setting);
            let limit = &mut scenario.limits[0].limit;
            let overshoot = space.overshoot(setting);
            let overshoot = overshoot.unwrap_or_else(|| limit.overshoot());
            *limit = Limit::new(limit.rate(), limit.burst(), overshoot)
                .map_err(|error| error.to_string())?;
            Ok(())
        };
        self.figures(&set, LEASED, seed)
    }

    fn central(&self, seed: u64) -> Result<Vec<Figures>, String> {
        let seeds = (0..FEWER_SEEDS as u64).into_par_iter();
        let run = |index| self.figures(&|_| Ok(()), CENTRAL, seed.wrapping_add(index));
        seeds.map(run).collect()
    }

    /// The figures of the load that was asked for; but a lull must do no harm.
    fn figures(
        &self,
        set: &dyn Fn(&mut Scenario) -> Result<(), String>,
        limiter: &str,
        seed: u64,
    ) -> Result<Figures, String> {
        let mut both = [Figures::default(); 2];
        for (scenario, figures) in self.scenarios.iter().zip(&mut both) {
            let mut scenario = scenario.clone();
            set(&mut scenario)?;
            let run = run_one(&scenario, limiter, seed, &self.traces, false, None)?;
            self.runs.fetch_add(1, Relaxed);
            (self.done)(run.summary.requests);
            *figures = Figures::from(&run.summary);
        }
        let [steady, lull] = both;
        Ok(Figures {
            overshoot: steady.overshoot.max(lull.overshoot),
            false_denials: steady.false_denials.max(lull.false_denials),
            lull_deficit: lull.deficit,
            ..steady
        })
    }
}

/// Warnings that an operator should know before they come true.
const CIRCUMSTANCES: [(&str, Times); 3] = [
    (
        "2x load",
        Times {
            load: 2,
            ..Times::ONE
        },
    ),
    (
        "2x replicas",
        Times {
            replicas: 2,
            ..Times::ONE
        },
    ),
    (
        "4x latency",
        Times {
            latency: 4,
            ..Times::ONE
        },
    ),
];

/// Seeds for what is only shown.
const FEWER_SEEDS: usize = SEEDS / 3;

#[cfg(test)]
mod tests;

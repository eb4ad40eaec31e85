//! The tuner's answer: what to set, why, and what to expect.

use serde::Serialize;

use crate::report::Spread;
use crate::scenario::TuningConfig;
use crate::tune::bench::{Bench, Lab};
use crate::tune::figures::{Aim, Bound, Figures, Measure, paired, spread};
use crate::tune::search::{SEEDS, search};
use crate::tune::space::{Setting, Space, Tunable};

/// The tuner's answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// The advice.
    pub advice: Advice,
    /// The setting to use: the default if that is the advice, what comes closest if not all can be
    /// met.
    pub setup: Setup,
    /// The objectives.
    pub bounds: Vec<Bound>,
    /// With the setting.
    pub found: Measured,
    /// With the default.
    pub default: Measured,
    /// The figures of a limiter that asks the store about every request.
    #[serde(serialize_with = "as_measured")]
    pub central: Vec<Figures>,
    /// Store calls that the setting saves, seed by seed.
    pub saved: Spread,
    /// The reason for each change.
    pub changes: Vec<Change>,
    /// Which objective keeps the store calls from being fewer.
    pub binding: Option<Binding>,
    /// If not all objectives can be met: how far each of those in conflict can be.
    pub conflicts: Vec<Conflict>,
    /// In other circumstances than were asked for.
    pub circumstances: Vec<Circumstance>,
    /// Settings that were tried.
    pub tried: usize,
    /// Runs in the circumstances that were asked for.
    pub runs: u64,
}

/// The advice.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Advice {
    /// Another setting than the default is better.
    Change,
    /// Nothing is better than the default beyond chance.
    Default,
    /// Nothing meets all objectives.
    Conflict,
}

/// A setting as it is pasted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setup {
    /// The differences from the default tuning.
    #[serde(skip)]
    pub tuning: TuningConfig,
    /// The differences as the table of a scenario; empty if nothing differs.
    pub table: String,
    /// The limit's budget for overshoot, in tokens.
    pub overshoot: u64,
}

/// The measures of a setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Calls per second that the store executed.
    pub store_calls: Spread,
    /// Tokens beyond burst and rate.
    pub overshoot: Spread,
    /// Share of requests.
    pub false_denials: Spread,
    /// Share of the ideal.
    pub deficit: Spread,
    /// The utilisation with a lull in the load.
    pub lull_deficit: Spread,
    /// Share of requests decided without waiting.
    pub local: Spread,
    /// In seconds, of those that waited.
    pub wait_p99: Spread,
    /// Objectives that it misses, or that chance may have met.
    pub missed: Vec<Measure>,
}

/// A tunable that differs from its default, and what it would be like if it did not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Which.
    pub tunable: Tunable,
    /// Its default.
    pub from: String,
    /// The recommended value.
    pub to: String,
    /// By how much store calls a second would be more without it.
    pub store_calls: Spread,
    /// By how much false denials would be more without it.
    pub false_denials: Spread,
    /// By how much the deficit would be more without it.
    pub deficit: Spread,
    /// By how much the deficit with a lull in the load would be more without it.
    pub lull_deficit: Spread,
    /// Objectives that would be missed without it.
    pub missed: Vec<Measure>,
}

/// An objective that binds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Binding {
    /// The objective.
    pub measure: Measure,
    /// The most that it allows.
    pub most: f64,
    /// The cheaper settings that miss it.
    pub cheaper: Cheaper,
}

/// A setting that is cheaper than the one recommended, and misses an objective.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cheaper {
    /// The setting.
    pub setup: Setup,
    /// The figures of the setting.
    pub measured: Measured,
}

/// One of several objectives that cannot be met together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Conflict {
    /// The objective that is given up.
    pub measure: Measure,
    /// The most that it would have allowed.
    pub most: f64,
    /// Whether all others can be met then.
    pub others_met: bool,
    /// The setting that brings it lowest while it meets the others.
    pub setup: Setup,
    /// The figures of the setting.
    pub measured: Measured,
}

/// Something that was not asked for, and may happen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Circumstance {
    /// The name of what may happen.
    pub name: &'static str,
    /// With the setting.
    pub found: Measured,
    /// With the default.
    pub default: Measured,
}

impl Setup {
    fn new(space: &Space, setting: &Setting) -> Self {
        let tuning = space.tuning(setting);
        let table = if tuning == TuningConfig::default() {
            String::new()
        } else {
            tuning.to_string()
        };
        let overshoot = space.overshoot(setting).unwrap_or(0);
        Self {
            tuning,
            table,
            overshoot,
        }
    }

    /// Whether it is the default.
    pub fn is_default(&self) -> bool {
        self.table.is_empty() && self.overshoot == 0
    }
}

impl Measured {
    /// The figures of some runs, without an objective.
    pub fn of(runs: &[Figures]) -> Self {
        let spread = |measure| spread(runs, measure);
        Self {
            store_calls: spread(Measure::StoreCalls),
            overshoot: spread(Measure::Overshoot),
            false_denials: spread(Measure::FalseDenials),
            deficit: spread(Measure::Deficit),
            lull_deficit: spread(Measure::LullDeficit),
            local: spread(Measure::Local),
            wait_p99: spread(Measure::WaitP99),
            missed: Vec::new(),
        }
    }

    pub(crate) fn new(runs: &[Figures], aim: &Aim) -> Self {
        Self {
            missed: missed(runs, aim, true),
            ..Self::of(runs)
        }
    }

    /// As [`new`](Self::new), but what the mean meets counts as met.
    pub(crate) fn roughly(runs: &[Figures], aim: &Aim) -> Self {
        Self {
            missed: missed(runs, aim, false),
            ..Self::of(runs)
        }
    }

    /// One of the measures.
    pub fn spread(&self, measure: Measure) -> Spread {
        match measure {
            Measure::StoreCalls => self.store_calls,
            Measure::Overshoot => self.overshoot,
            Measure::FalseDenials => self.false_denials,
            Measure::Deficit => self.deficit,
            Measure::LullDeficit => self.lull_deficit,
            Measure::Local => self.local,
            Measure::WaitP99 => self.wait_p99,
        }
    }
}

/// The answer, but for conflicts, the central limiter and other circumstances.
pub(crate) fn answer(
    space: &Space,
    aim: &Aim,
    found: &Setting,
    lab: &mut Lab<'_>,
) -> Result<Answer, String> {
    let default = space.default();
    let changes = changes(space, aim, found, &mut lab.fresh)?;
    let binding = binding(space, aim, found, lab)?;
    let (runs, base) = (lab.fresh.of(found), lab.fresh.of(&default));
    let measured = Measured::new(runs, aim);
    let advice = match (measured.missed.is_empty(), *found == default) {
        (false, _) => Advice::Conflict,
        (true, true) => Advice::Default,
        (true, false) => Advice::Change,
    };
    Ok(Answer {
        advice,
        setup: Setup::new(space, found),
        bounds: aim.bounds.clone(),
        found: measured,
        default: Measured::new(base, aim),
        central: Vec::new(),
        saved: paired(base, runs, Measure::StoreCalls),
        changes,
        binding,
        conflicts: Vec::new(),
        circumstances: Vec::new(),
        tried: lab.explored.tried().count(),
        runs: 0,
    })
}

/// For each objective that `found` misses, and for the store calls if they are bounded: how low
/// it can be while the others are met.
pub(crate) fn conflicts(
    space: &Space,
    aim: &Aim,
    found: &Setting,
    lab: &mut Lab<'_>,
) -> Result<Vec<Conflict>, String> {
    let missed = missed(lab.fresh.of(found), aim, true);
    let given_up = aim
        .bounds
        .iter()
        .filter(|bound| missed.contains(&bound.measure) || bound.measure == Measure::StoreCalls);
    let mut conflicts = Vec::new();
    for bound in given_up {
        let others = aim.bounds.iter().filter(|other| *other != bound);
        let without = Aim {
            minimise: bound.measure,
            bounds: others.copied().collect(),
        };
        let best = search(space, &without, lab)?;
        let runs = lab.fresh.of(&best);
        conflicts.push(Conflict {
            measure: bound.measure,
            most: bound.most,
            others_met: without.score(runs, 0.0, true).violation <= 0.0,
            setup: Setup::new(space, &best),
            measured: Measured::new(runs, aim),
        });
    }
    Ok(conflicts)
}

fn changes(
    space: &Space,
    aim: &Aim,
    found: &Setting,
    bench: &mut Bench<'_>,
) -> Result<Vec<Change>, String> {
    let mut changes = Vec::new();
    for index in space.changed(found) {
        let without = space.without(found, index);
        bench.run(std::slice::from_ref(&without), SEEDS)?;
        let (runs, other) = (bench.of(found), bench.of(&without));
        let axis = &space.axes[index];
        let text = |value| axis.tunable.text(value);
        changes.push(Change {
            tunable: axis.tunable,
            from: text(axis.default_value()),
            to: text(axis.values[found.0[index]]),
            store_calls: paired(other, runs, Measure::StoreCalls),
            false_denials: paired(other, runs, Measure::FalseDenials),
            deficit: paired(other, runs, Measure::Deficit),
            lull_deficit: paired(other, runs, Measure::LullDeficit),
            missed: missed(other, aim, true),
        });
    }
    Ok(changes)
}

/// The objective that is missed by what is cheaper and comes closest to meeting it.
fn binding(
    space: &Space,
    aim: &Aim,
    found: &Setting,
    lab: &mut Lab<'_>,
) -> Result<Option<Binding>, String> {
    let calls = |runs: &[Figures]| spread(runs, Measure::StoreCalls).mean;
    let violation = |runs: &[Figures]| aim.score(runs, 0.0, true).violation;
    let cheap = calls(lab.fresh.of(found)) * CHEAPER;
    let mut cheaper: Vec<(f64, Setting)> = lab
        .explored
        .tried()
        .filter(|(_, runs)| calls(runs) < cheap)
        .map(|(setting, runs)| (aim.score(runs, 0.0, false).violation, setting.clone()))
        .collect();
    cheaper.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
    for (_, setting) in cheaper.into_iter().take(CANDIDATES) {
        lab.fresh
            .run(std::slice::from_ref(&setting), CANDIDATE_SEEDS)?;
        let runs = lab.fresh.of(&setting);
        if calls(runs) >= cheap || violation(runs) <= 0.0 {
            continue;
        }
        let worst = aim
            .bounds
            .iter()
            .max_by(|a, b| a.violation(runs, true).total_cmp(&b.violation(runs, true)));
        return Ok(worst.map(|bound| Binding {
            measure: bound.measure,
            most: bound.most,
            cheaper: Cheaper {
                setup: Setup::new(space, &setting),
                measured: Measured::new(runs, aim),
            },
        }));
    }
    Ok(None)
}

fn missed(runs: &[Figures], aim: &Aim, sure: bool) -> Vec<Measure> {
    let missed = aim
        .bounds
        .iter()
        .filter(|bound| bound.violation(runs, sure) > 0.0);
    missed.map(|bound| bound.measure).collect()
}

fn as_measured<S: serde::Serializer>(runs: &[Figures], serializer: S) -> Result<S::Ok, S::Error> {
    Measured::of(runs).serialize(serializer)
}

/// The saving that is worth telling of.
const CHEAPER: f64 = 0.95;

/// As many are looked at more closely, with so many seeds.
const CANDIDATES: usize = 4;
const CANDIDATE_SEEDS: usize = 9;

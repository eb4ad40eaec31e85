//! The search: many settings with few seeds, few settings with many.
//!
//! # Invariant
//!
//! What is chosen differs from the default only where that pays: each of its changes, taken back
//! alone, makes it worse by more than chance and [`WORTHWHILE`]. The search is a function of the
//! space, the aim and the runs.
//!
//! # How
//!
//! 1. Each tunable is turned alone. Those that do nothing here stay as they are.
//! 2. The others are turned together, and successive halving finds the best: a third is kept,
//!    with three times the seeds, and so on. All meet the same arrivals, so few seeds tell much;
//!    early on a bound may be missed by a little, so that chance drops nobody who would keep it.
//! 3. From the best, steps are taken along each tunable until none makes it better.
//! 4. The best of many is best by luck as well. So it is run again with seeds that the search has
//!    not seen; these alone decide whether it is better than the default, and by how much.
//! 5. Changes that do not pay are taken back.

use crate::tune::bench::{Bench, Lab};
use crate::tune::figures::{Aim, Bound, Figures, Score, paired};
use crate::tune::space::{Setting, Space};

/// The setting that is best for an aim, or comes closest to it. Its runs, and those of the default,
/// are in `lab.fresh`.
pub(crate) fn search(space: &Space, aim: &Aim, lab: &mut Lab<'_>) -> Result<Setting, String> {
    let search = Search { space, aim };
    let candidates = search.explore(&mut lab.explored)?;
    let best = search.confirm(&candidates, &mut lab.fresh)?;
    search.take_back(best, &mut lab.fresh)
}

struct Search<'a> {
    space: &'a Space,
    aim: &'a Aim,
}

impl Search<'_> {
    /// The best settings by the seeds of the search, best first.
    fn explore(&self, bench: &mut Bench<'_>) -> Result<Vec<Setting>, String> {
        let star = self.space.star();
        bench.run(&star, 1)?;
        let active = self.active(bench);
        let more = FIELD.saturating_sub(star.len());
        let more = self.space.sample(&active, more, 0);
        let mut field: Vec<Setting> = star.into_iter().chain(more).collect();
        field.sort();
        field.dedup();
        bench.run(&field, 1)?;
        self.drop_twins(&mut field, bench);
        let mut seeds = 1;
        for forgiven in FORGIVEN {
            self.sort(&mut field, bench, forgiven);
            field.truncate(field.len().div_ceil(3).max(CANDIDATES));
            seeds *= 3;
            bench.run(&field, seeds)?;
        }
        let best = self.ranked(bench).into_iter().next();
        let best = best.unwrap_or_else(|| self.space.default());
        self.climb(best, &active, bench)?;
        let mut ranked = self.ranked(bench);
        ranked.truncate(CANDIDATES);
        Ok(ranked)
    }

    /// The first of the candidates that keeps all bounds with seeds that the search has not seen,
    /// or else the one that comes closest. Who is chosen for luck is found out here.
    fn confirm(&self, candidates: &[Setting], fresh: &mut Bench<'_>) -> Result<Setting, String> {
        let default = self.space.default();
        fresh.run(std::slice::from_ref(&default), SEEDS)?;
        let mut closest: Option<(f64, Setting)> = None;
        for candidate in candidates {
            fresh.run(std::slice::from_ref(candidate), SEEDS)?;
            let violation = self.sure(fresh.of(candidate)).violation;
            if closest.as_ref().is_none_or(|(least, _)| violation < *least) {
                closest = Some((violation, candidate.clone()));
            }
            if violation <= 0.0 {
                break;
            }
        }
        Ok(closest.map_or(default, |(_, setting)| setting))
    }

    /// The axes that do something: alone, or in that a bound is kept or missed by them.
    fn active(&self, bench: &Bench<'_>) -> Vec<usize> {
        let default = self.space.default();
        let base = bench.of(&default);
        let mut active: Vec<usize> = Vec::new();
        for (setting, runs) in bench.tried() {
            let [axis] = self.space.changed(setting)[..] else {
                continue;
            };
            if self.differs(base, runs) && !active.contains(&axis) {
                active.push(axis);
            }
        }
        active.sort_unstable();
        active
    }

    fn differs(&self, base: &[Figures], runs: &[Figures]) -> bool {
        let target = self.aim.minimise;
        let (old, new) = (target.of(&base[0]), target.of(&runs[0]));
        let moved = |bound: &Bound| {
            let (old, new) = (bound.measure.of(&base[0]), bound.measure.of(&runs[0]));
            (new - old).abs() > bound.scale * NOTICEABLE
        };
        (new - old).abs() > old.abs() * NOTICEABLE || self.aim.bounds.iter().any(moved)
    }

    /// Of settings whose runs are the same to the last digit, only the one with the fewest changes
    /// stays: what it lacks does nothing here.
    fn drop_twins(&self, field: &mut Vec<Setting>, bench: &Bench<'_>) {
        field.sort_by_key(|setting| self.space.changed(setting).len());
        let mut seen: Vec<&[Figures]> = Vec::new();
        field.retain(|setting| {
            let runs = bench.of(setting);
            let new = !seen.iter().any(|other| other[0] == runs[0]);
            if new {
                seen.push(runs);
            }
            new
        });
    }

    /// Best first.
    fn sort(&self, field: &mut [Setting], bench: &Bench<'_>, forgiven: f64) {
        let score = |setting: &Setting| self.aim.score(bench.of(setting), forgiven, false);
        field.sort_by(|a, b| {
            let changes = |it| self.space.changed(it).len();
            score(a)
                .order(&score(b))
                .then_with(|| changes(a).cmp(&changes(b)))
                .then_with(|| a.cmp(b))
        });
    }

    /// All that were run with as many seeds as a choice takes, best first.
    fn ranked(&self, bench: &Bench<'_>) -> Vec<Setting> {
        let tried = bench.tried();
        let tried = tried.filter(|(_, runs)| runs.len() >= CHOICE_SEEDS);
        let mut ranked: Vec<(Score, &Setting)> = tried
            .map(|(setting, runs)| (self.sure(&runs[..CHOICE_SEEDS]), setting))
            .collect();
        ranked.sort_by(|a, b| a.0.order(&b.0).then_with(|| a.1.cmp(b.1)));
        ranked
            .into_iter()
            .map(|(_, setting)| setting.clone())
            .collect()
    }

    fn sure(&self, runs: &[Figures]) -> Score {
        self.aim.score(runs, 0.0, true)
    }

    /// Goes to the best neighbour as long as that is better.
    fn climb(
        &self,
        mut here: Setting,
        active: &[usize],
        bench: &mut Bench<'_>,
    ) -> Result<(), String> {
        for _ in 0..STEPS_MAX {
            let mut near = self.space.neighbours(&here, active);
            bench.run(&near, SCOUT_SEEDS)?;
            // With few seeds only what is far off is told from what is near.
            self.sort(&mut near, bench, FORGIVEN[1]);
            near.truncate(CANDIDATES);
            bench.run(&near, CHOICE_SEEDS)?;
            let best = self.ranked(bench).into_iter().next();
            match best {
                Some(best) if best != here => here = best,
                _ => break,
            }
        }
        Ok(())
    }

    /// Takes back each change that does not pay, the least first.
    fn take_back(&self, mut here: Setting, bench: &mut Bench<'_>) -> Result<Setting, String> {
        loop {
            let changed = self.space.changed(&here);
            let without: Vec<Setting> = changed
                .iter()
                .map(|axis| self.space.without(&here, *axis))
                .collect();
            bench.run(&without, SEEDS)?;
            let runs = bench.of(&here);
            let idle = without
                .iter()
                .filter(|other| !pays(self.aim, runs, bench.of(other)));
            let loss = |other: &Setting| paired(bench.of(other), runs, self.aim.minimise).mean;
            let Some(next) = idle.min_by(|a, b| loss(a).total_cmp(&loss(b))) else {
                return Ok(here);
            };
            here = next.clone();
        }
    }
}

/// Whether `runs` are better for an aim than `base`, by more than chance and by what is worth a
/// change.
pub(crate) fn pays(aim: &Aim, runs: &[Figures], base: &[Figures]) -> bool {
    let both = runs.len().min(base.len());
    let (runs, base) = (&runs[..both], &base[..both]);
    let violation = |runs| aim.score(runs, 0.0, true).violation;
    let (new, old) = (violation(runs), violation(base));
    if new > 0.0 || old > 0.0 {
        // While a bound is missed, it alone counts.
        let (new, old) = (aim.score(runs, 0.0, false), aim.score(base, 0.0, false));
        if (old.violation - new.violation).abs() > WORTHWHILE {
            return new.violation < old.violation;
        }
    }
    if (new > 0.0) != (old > 0.0) {
        return old > 0.0;
    }
    let gain = paired(base, runs, aim.minimise);
    let all = aim.score(base, 0.0, true).target;
    gain.mean > gain.margin && gain.mean > all * WORTHWHILE
}

/// Settings that are tried at first.
const FIELD: usize = 81;

/// By how much a bound may be missed, in its scale, and count as kept: with 1 seed, and with 3.
const FORGIVEN: [f64; 2] = [0.5, 0.25];

/// As many may be tried with fresh seeds.
const CANDIDATES: usize = 4;

/// Fresh seeds for what the answer says.
pub(crate) const SEEDS: usize = 27;

/// Seeds for a step: to look around, and to choose.
const SCOUT_SEEDS: usize = 2;
const CHOICE_SEEDS: usize = 9;

/// No axis is longer, and more than two are rarely climbed.
const STEPS_MAX: usize = 10;

/// A difference that one run shows, and that chance alone rarely makes.
const NOTICEABLE: f64 = 0.02;

/// The least gain of a change: nobody should have to think about a setting for less.
pub(crate) const WORTHWHILE: f64 = 0.03;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::stream;
    use crate::tune::figures::Measure;
    use rand::RngExt;

    /// A world in closed form: calls fall with the interval and rise a little with a short hold,
    /// the deficit grows with the square of the interval. `noise` is what seeds differ by, and
    /// `own` what settings differ by beyond that.
    struct Known {
        space: Space,
        noise: f64,
        own: f64,
    }

    impl Known {
        fn new(noise: f64, own: f64) -> Self {
            let space = Space::new(&"1000/s".parse().unwrap(), 0);
            Self { space, noise, own }
        }

        fn trial(&self, setting: &Setting, seed: u64) -> Figures {
            let level = |axis: usize| {
                let axis_of = &self.space.axes[axis];
                let value = axis_of.values[setting.0[axis]];
                #[expect(clippy::cast_precision_loss, reason = "small")]
                let times = value as f64 / axis_of.default_value() as f64;
                times
            };
            let common: f64 = stream(seed, "common", 0).random();
            let name = setting
                .0
                .iter()
                .fold(seed, |name, level| name * 7 + *level as u64);
            let own: f64 = stream(name, "own", 0).random();
            let factor = 1.0 + self.noise * (common - 0.5) + self.own * (own - 0.5);
            let (interval, hold) = (level(0), level(2));
            Figures {
                store_calls: factor * 100.0 / interval * (1.0 + 0.2 / hold),
                deficit: 0.001 * interval.powi(2) * (0.5 + 0.5 * hold),
                ..Figures::default()
            }
        }

        fn find(&self, aim: &Aim) -> (Setting, Setting) {
            let trial = |setting: &Setting, seed| Ok(self.trial(setting, seed));
            let found = search(&self.space, aim, &mut Lab::new(&trial, 1)).unwrap();
            // The same space, all of it.
            let all = self.space.product(&[0, 2]);
            let score = |it: &Setting| {
                let quiet = Self::new(0.0, 0.0);
                aim.score(&[quiet.trial(it, 1)], 0.0, true)
            };
            let best = all.into_iter().min_by(|a, b| score(a).order(&score(b)));
            (found, best.unwrap())
        }
    }

    fn deficit_at_most(most: f64) -> Aim {
        Aim {
            minimise: Measure::StoreCalls,
            bounds: vec![Bound {
                measure: Measure::Deficit,
                most,
                scale: most,
            }],
        }
    }

    #[test]
    fn a_known_world_is_found_as_well_as_by_trying_everything() {
        for most in [0.002, 0.005, 0.01, 0.02, 0.05, 0.2] {
            for (noise, own) in [(0.0, 0.0), (0.5, 0.0), (0.5, 0.05)] {
                let known = Known::new(noise, own);
                let aim = deficit_at_most(most);
                let (found, best) = known.find(&aim);
                let quiet = Known::new(0.0, 0.0);
                let (found, best) = (quiet.trial(&found, 1), quiet.trial(&best, 1));
                assert!(found.deficit <= most, "{most}: {found:?}");
                assert!(
                    found.store_calls <= best.store_calls * (1.0 + WORTHWHILE * 2.0),
                    "{most}: {found:?}, but {best:?}"
                );
            }
        }
    }

    #[test]
    fn what_does_nothing_is_left_alone() {
        let known = Known::new(0.5, 0.02);
        let (found, _) = known.find(&deficit_at_most(0.05));
        let changed = known.space.changed(&found);
        assert!(
            changed.iter().all(|axis| [0, 2].contains(axis)),
            "{found:?}"
        );
    }

    #[test]
    fn what_is_within_chance_of_the_default_is_not_chosen() {
        // Settings differ by chance alone.
        let space = Space::new(&"1000/s".parse().unwrap(), 0);
        let trial = |setting: &Setting, seed: u64| {
            let name = setting
                .0
                .iter()
                .fold(seed, |name, level| name * 7 + *level as u64);
            Ok(Figures {
                store_calls: stream(name, "chance", 0).random_range(80.0..120.0),
                ..Figures::default()
            })
        };
        let mut chosen = 0;
        for seed in 0..20 {
            let mut lab = Lab::new(&trial, seed * 1_000_000);
            let found = search(&space, &deficit_at_most(0.01), &mut lab).unwrap();
            chosen += usize::from(found != space.default());
        }
        assert!(chosen <= 2, "{chosen} of 20");
    }

    #[test]
    fn what_cannot_be_met_is_approached() {
        let known = Known::new(0.0, 0.0);
        let (found, best) = known.find(&deficit_at_most(0.000_01));
        assert_eq!(found.0[0], best.0[0], "the shortest interval");
        assert_eq!(found.0[0], 0);
    }
}

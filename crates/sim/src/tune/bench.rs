//! Runs settings, each seed of each once.
//!
//! # Invariant
//!
//! All settings meet the same arrivals: the run with a seed has the same requests whatever the
//! setting. What is known of a setting are its runs with the first so many seeds, in order,
//! whatever the number of threads.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::tune::figures::Figures;
use crate::tune::space::Setting;

/// Tries one setting with one seed.
pub(crate) type Trial<'a> = &'a (dyn Fn(&Setting, u64) -> Result<Figures, String> + Sync);

/// Findings about settings.
pub(crate) struct Bench<'a> {
    trial: Trial<'a>,
    seed: u64,
    known: BTreeMap<Setting, Vec<Figures>>,
}

/// Two benches for the same settings.
pub(crate) struct Lab<'a> {
    /// Where many settings are tried.
    pub(crate) explored: Bench<'a>,
    /// Where those that seem good are tried again, with other seeds.
    pub(crate) fresh: Bench<'a>,
}

impl<'a> Lab<'a> {
    /// Nothing is known yet. `seed` is the first.
    pub(crate) fn new(trial: Trial<'a>, seed: u64) -> Self {
        Self {
            explored: Bench::new(trial, seed),
            fresh: Bench::new(trial, seed.wrapping_add(FRESH)),
        }
    }
}

impl<'a> Bench<'a> {
    /// Nothing is known yet. `seed` is the first.
    pub(crate) fn new(trial: Trial<'a>, seed: u64) -> Self {
        let known = BTreeMap::new();
        Self { trial, seed, known }
    }

    /// Runs each setting with as many seeds as it takes for the first `seeds` to be known.
    pub(crate) fn run(&mut self, settings: &[Setting], seeds: usize) -> Result<(), String> {
        let mut tasks = Vec::new();
        for setting in settings {
            let known = self.known.get(setting).map_or(0, Vec::len);
            tasks.extend((known..seeds).map(|index| (setting, index)));
        }
        tasks.sort();
        tasks.dedup();
        let run = |(setting, index): &(&Setting, usize)| {
            (self.trial)(setting, self.seed.wrapping_add(*index as u64))
        };
        let figures: Vec<_> = tasks.par_iter().map(run).collect::<Result<_, _>>()?;
        for ((setting, _), figures) in tasks.iter().zip(figures) {
            self.known
                .entry((*setting).clone())
                .or_default()
                .push(figures);
        }
        Ok(())
    }

    /// The runs of a setting; empty if it was never tried.
    pub(crate) fn of(&self, setting: &Setting) -> &[Figures] {
        self.known.get(setting).map_or(&[], Vec::as_slice)
    }

    /// All settings that were tried.
    pub(crate) fn tried(&self) -> impl Iterator<Item = (&Setting, &[Figures])> {
        self.known
            .iter()
            .map(|(setting, runs)| (setting, runs.as_slice()))
    }
}

/// How far fresh seeds are from the others: more than a search takes.
pub(crate) const FRESH: u64 = 1000;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "small whole numbers")]
    fn each_seed_of_a_setting_is_run_once_and_in_order() {
        let count = AtomicUsize::new(0);
        let trial = |_: &Setting, seed: u64| {
            count.fetch_add(1, Relaxed);
            Ok(Figures {
                store_calls: seed as f64,
                ..Figures::default()
            })
        };
        let mut bench = Bench::new(&trial, 5);
        let setting = Setting(vec![1]);
        bench.run(&[setting.clone(), setting.clone()], 2).unwrap();
        bench.run(std::slice::from_ref(&setting), 9).unwrap();
        assert_eq!(count.load(Relaxed), 9);
        let seeds: Vec<f64> = bench.of(&setting).iter().map(|it| it.store_calls).collect();
        assert_eq!(seeds, [5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0]);
        assert!(bench.of(&Setting(vec![2])).is_empty());
    }
}

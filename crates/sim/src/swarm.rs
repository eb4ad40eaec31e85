//! The swarm: random worlds with random faults around the real limiter, and what was promised of
//! it.
//!
//! # Invariant
//!
//! A world is a function of its seed. A finding names the seed, and comes with a scenario file that
//! shows the same by itself.
//!
//! # A world
//!
//! First things go wrong: replicas crash, pause, come and go, messages are lost, late, doubled and
//! overtaken, the store forgets, hangs, splits, and sets its clock; limits change. Then all heals,
//! more is asked for than there is, and the limit is to be used; then less is asked for, and nobody
//! is to be denied. All the time books are kept beside the limiter and held against it at every
//! step.
//!
//! What is asked for after the end:
//!
//! - **safety**: each limit admitted at most burst, overshoot budget and rate, and what
//!   [`Excess`](crate::faults::Excess) grants for the faults that came;
//! - **soundness**: no assertion failed;
//! - **answers**: no request was left without one;
//! - **liveness**: once all had settled, nine tenths of what the ideal bucket admits were admitted,
//!   under overload and below the limit;
//! - **foresight**: in worlds where demand is smooth and nothing short, nobody waits;
//! - **determinism**: of every sixteenth seed, a second run is the same, event by event.

mod bound;
mod draft;
mod draw;
mod shrink;
mod trial;
mod troubles;
mod witness;

use std::collections::BTreeMap;
use std::ops::Range;

use rayon::prelude::*;
use serde::Serialize;

use self::draft::Draft;
use self::trial::{Breach, Trial};

pub use self::trial::Promise;

/// How to look.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Findings that are made small, each of which takes a while.
    pub shrunk: usize,
    /// Worlds that may be tried to make one finding small.
    pub shrink_trials: usize,
    /// Whether to stop soon after the first finding.
    pub first: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shrunk: 3,
            shrink_trials: 400,
            first: false,
        }
    }
}

/// The result of many worlds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SwarmReport {
    /// Version of this form.
    pub schema: u32,
    /// The first seed.
    pub seed: u64,
    /// Worlds that were run, one for each seed.
    pub worlds: u64,
    /// Requests in them.
    pub requests: u64,
    /// Events in them.
    pub events: u64,
    /// Promises that were broken, in order of seeds.
    pub findings: Vec<Finding>,
    /// In how many worlds each kind of fault happened, and each thing worth reaching was reached.
    pub sights: BTreeMap<String, u64>,
    /// Faults and things that no world had: what passed says nothing of them.
    pub unseen: Vec<String>,
    /// The world whose overshoot came closest to what was allowed.
    pub closest: Option<Closest>,
    /// The least part of the ideal admitted while more was asked for than there was.
    pub busy: Option<Least>,
    /// The share that waited while less was asked for.
    pub calm: Option<Least>,
    /// The largest part of requests that waited where nobody should.
    pub waits: Option<Least>,
}

/// A promise that a world broke.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Which world.
    pub seed: u64,
    /// Which promise.
    pub promise: Promise,
    /// How.
    pub what: String,
    /// The command that shows it again.
    pub replay: String,
    /// The world at a glance: as it was drawn, or as small as it could be made.
    pub world: String,
    /// The world as a scenario file, to be run with the same seed.
    pub scenario: String,
}

/// How close an overshoot came to what was allowed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Closest {
    /// Which world.
    pub seed: u64,
    /// Tokens beyond the burst.
    pub overshoot: f64,
    /// Tokens beyond the burst that were allowed.
    pub allowed: f64,
}

/// An extreme, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Least {
    /// Which world.
    pub seed: u64,
    /// A part of 1.
    pub part: f64,
}

/// Runs the worlds of `seeds`. `progress` hears of each seed that is done, from any thread.
pub fn run(seeds: Range<u64>, options: &Options, progress: &(dyn Fn(u64) + Sync)) -> SwarmReport {
    let mut report = SwarmReport {
        schema: 1,
        seed: seeds.start,
        ..SwarmReport::default()
    };
    // In pieces, so that whoever wants the first finding need not wait for the last seed.
    let piece = if options.first { PIECE } else { u64::MAX };
    let mut next = seeds.start;
    while next < seeds.end && (report.findings.is_empty() || !options.first) {
        let end = next.saturating_add(piece).min(seeds.end);
        let tried: Vec<(Draft, Trial)> = (next..end)
            .into_par_iter()
            .map(|seed| {
                let tried = tried(seed);
                progress(seed);
                tried
            })
            .collect();
        for (draft, trial) in &tried {
            report.count(draft, trial, options);
        }
        next = end;
    }
    report.unseen = report.unseen();
    report
}

/// The scenario file of the world of a seed, as it was drawn.
pub fn scenario_of(seed: u64) -> String {
    draw::draw(seed).text(&format!("The world of seed {seed} of the swarm"), &[])
}

fn tried(seed: u64) -> (Draft, Trial) {
    let draft = draw::draw(seed);
    let trial = if seed.is_multiple_of(TWICE) {
        Trial::twice(&draft)
    } else {
        Trial::of(&draft)
    };
    (draft, trial)
}

impl SwarmReport {
    fn count(&mut self, draft: &Draft, trial: &Trial, options: &Options) {
        let seed = draft.seed;
        self.worlds += 1;
        self.requests += trial.requests;
        self.events += trial.events;
        let mut faults: Vec<&str> = draft.faults_in_time().map(|fault| fault.kind).collect();
        faults.sort_unstable();
        faults.dedup();
        let sights = trial.sights.keys().copied();
        for sight in faults.into_iter().chain(sights) {
            *self.sights.entry(sight.to_owned()).or_default() += 1;
        }
        if let Some(breach) = &trial.breach {
            let finding = self.finding(draft, breach, options);
            self.findings.push(finding);
            // What a world that stopped short was measured to be says nothing.
            return;
        }
        let (overshoot, allowed) = trial.overshoot;
        let is_closer = |found: Closest| allowed - overshoot < found.allowed - found.overshoot;
        if overshoot > 0.0 && self.closest.is_none_or(is_closer) {
            self.closest = Some(Closest {
                seed,
                overshoot,
                allowed,
            });
        }
        keep(&mut self.busy, seed, trial.busy, |new, old| new < old);
        keep(&mut self.calm, seed, trial.calm, |new, old| new < old);
        keep(&mut self.waits, seed, trial.waits, |new, old| new > old);
    }

    fn finding(&self, draft: &Draft, breach: &Breach, options: &Options) -> Finding {
        let shrinks =
            self.findings.len() < options.shrunk && breach.promise != Promise::Determinism;
        let (draft, breach) = if shrinks {
            shrink::shrink(draft.clone(), breach.clone(), options.shrink_trials)
        } else {
            (draft.clone(), breach.clone())
        };
        let seed = draft.seed;
        let title = format!("Found by the swarm, seed {seed}");
        Finding {
            seed,
            promise: breach.promise,
            what: breach.what,
            replay: format!("leasehold swarm --seed {seed} --seeds 1"),
            world: draft.summary(),
            scenario: draft.text(&title, &[]),
        }
    }

    fn unseen(&self) -> Vec<String> {
        let wanted = troubles::KINDS.iter().chain(&SIGHTS);
        let unseen = wanted.filter(|sight| !self.sights.contains_key(**sight));
        unseen.map(|sight| (*sight).to_owned()).collect()
    }
}

fn keep(
    kept: &mut Option<Least>,
    seed: u64,
    part: Option<f64>,
    is_worse: impl Fn(f64, f64) -> bool,
) {
    if let Some(part) = part
        && kept.is_none_or(|kept| is_worse(part, kept.part))
    {
        *kept = Some(Least { seed, part });
    }
}

/// Sights that a batch of worlds should reach, besides every kind of fault.
const SIGHTS: [&str; 10] = [
    "calls that failed",
    "denied by the store",
    "messages lost with a server",
    "messages refused",
    "messages to a machine that is gone",
    "scripts missing",
    "served from a reply",
    "spent by the store",
    "tokens given back",
    "waited in vain",
];

/// Every so many seeds one is run twice.
const TWICE: u64 = 16;

/// Seeds between two looks at whether something was found.
const PIECE: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// The seeds of every build. `leasehold swarm` and continuous integration take more.
    #[test]
    fn nothing_is_found_in_a_few_worlds() {
        let report = run(0..24, &Options::default(), &|_| ());
        assert!(report.findings.is_empty(), "{:#?}", report.findings);
        assert_eq!(report.worlds, 24);
    }

    #[test]
    fn every_seed_draws_a_world_that_can_be() {
        for seed in 0..2000 {
            let drawn = draw::draw(seed);
            let scenario = drawn.scenario();
            assert!(
                scenario.is_ok(),
                "seed {seed}: {scenario:?}\n{}",
                scenario_of(seed)
            );
        }
    }

    #[test]
    fn a_seed_is_always_the_same_world() {
        assert_eq!(scenario_of(7), scenario_of(7));
        assert_ne!(scenario_of(7), scenario_of(8));
    }

    /// Once everything breaks a promise, what is left is next to nothing.
    #[test]
    fn a_finding_shrinks_to_what_it_needs() {
        let mut draft = (0..1000)
            .map(draw::draw)
            .find(|draft| draft.faults.len() > 4 && draft.keys > 10)
            .expect("many worlds are such");
        draft.asks.busy = 2.0;
        let breach = Trial::of(&draft)
            .breach
            .expect("twice the ideal cannot be had");
        assert_eq!(breach.promise, Promise::Liveness);
        let (small, breach) = shrink::shrink(draft, breach, 60);
        assert_eq!(breach.promise, Promise::Liveness);
        assert!(small.faults.is_empty());
        assert_eq!((small.replicas, small.keys), (1, 1));
    }
}

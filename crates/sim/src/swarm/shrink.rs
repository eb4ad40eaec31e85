//! Takes away from a world whatever its finding can do without.
//!
//! # Invariant
//!
//! A world that comes out breaks the same promise as the one that went in.

use super::draft::{Draft, Policy};
use super::trial::{Breach, Trial};

/// The smallest world that is found within `trials` to break the same promise, and how it does.
pub(super) fn shrink(draft: Draft, breach: Breach, trials: usize) -> (Draft, Breach) {
    let (mut draft, mut breach) = (draft, breach);
    let mut left = trials;
    loop {
        let before = draft.clone();
        for step in STEPS {
            // The same step again while it helps; `at` counts what it has tried in vain.
            let mut at = 0;
            while let Some(smaller) = step(&draft, at) {
                if left == 0 {
                    return (draft, breach);
                }
                left -= 1;
                let trial = Trial::of(&smaller);
                match trial.breach.filter(|it| it.promise == breach.promise) {
                    // A scenario that is refused is another finding, and none of ours.
                    Some(found) if !found.what.contains(REFUSED) => {
                        draft = smaller;
                        breach = found;
                    }
                    _ => at += 1,
                }
            }
        }
        if draft == before {
            return (draft, breach);
        }
    }
}

/// A smaller world, the `at`th of its kind; `None` if there is no more.
type Step = fn(&Draft, usize) -> Option<Draft>;

const STEPS: [Step; 11] = [
    shorter, fault, replicas, fleet, keys, limits, policy, load, tuning, network, costs,
];

/// Ends earlier: first at half, then at ever later times. What is asked for at the end then goes
/// unasked, which is why that does not help against all findings.
fn shorter(draft: &Draft, at: usize) -> Option<Draft> {
    let end_ms = draft.phases.end_ms;
    let cut = end_ms >> (at + 1);
    (cut > end_ms / 50).then(|| with(draft, |it| it.phases.end_ms = (end_ms - cut) / 250 * 250))
}

fn fault(draft: &Draft, at: usize) -> Option<Draft> {
    (at < draft.faults.len()).then(|| {
        with(draft, |it| {
            it.faults.remove(at);
        })
    })
}

fn policy(draft: &Draft, at: usize) -> Option<Draft> {
    (at == 0 && draft.policy != Policy::Closed)
        .then(|| with(draft, |it| it.policy = Policy::Closed))
}

fn replicas(draft: &Draft, at: usize) -> Option<Draft> {
    let fewer = [1, draft.replicas / 2, draft.replicas - 1];
    let replicas = fewer
        .get(at)
        .copied()
        .filter(|it| *it >= 1 && *it < draft.replicas)?;
    Some(with(draft, |it| it.replicas = replicas))
}

fn fleet(draft: &Draft, at: usize) -> Option<Draft> {
    let own = draft.fleet.len();
    if at < own {
        return Some(with(draft, |it| {
            it.fleet.remove(at);
        }));
    }
    (at == own && draft.balance.is_some()).then(|| with(draft, |it| it.balance = None))
}

fn keys(draft: &Draft, at: usize) -> Option<Draft> {
    if draft.keys == 1 {
        return None;
    }
    let keys = [1, draft.keys / 2, draft.keys - 1].get(at).copied()?;
    Some(with(draft, |it| {
        it.keys = keys.max(1);
        if it.keys == 1 {
            it.zipf = 0.0;
        }
    }))
}

fn limits(draft: &Draft, at: usize) -> Option<Draft> {
    let last = draft
        .limits
        .len()
        .checked_sub(1)
        .filter(|last| *last >= 1)?;
    (at == 0).then(|| {
        with(draft, |it| {
            it.limits.remove(last);
        })
    })
}

fn load(draft: &Draft, at: usize) -> Option<Draft> {
    let loads = draft.loads.len();
    if at < loads {
        let load = &draft.loads[at];
        let some = load.per_second * 1e-3 * crate::numbers::float(load.until_ms - load.from_ms);
        return Some(with(draft, |it| {
            let load = &mut it.loads[at];
            // Not below a request: there is nothing in a world without.
            load.per_second *= if some > 2.0 { 0.5 } else { 1.0 };
        }))
        .filter(|it| it != draft);
    }
    let place = at - loads;
    let lines = draft.loads.iter().enumerate();
    let (index, line) = lines
        .flat_map(|(index, load)| (0..load.lines.len()).map(move |line| (index, line)))
        .nth(place)?;
    Some(with(draft, |it| {
        it.loads[index].lines.remove(line);
    }))
}

fn tuning(draft: &Draft, at: usize) -> Option<Draft> {
    let (store, tuning) = (draft.store.len(), draft.tuning.len());
    if at < store {
        return Some(with(draft, |it| {
            it.store.remove(at);
        }));
    }
    (at < store + tuning).then(|| {
        with(draft, |it| {
            it.tuning.remove(at - store);
        })
    })
}

fn network(draft: &Draft, at: usize) -> Option<Draft> {
    let plain = "\"1ms\"";
    if at == 0 && draft.latency != plain {
        return Some(with(draft, |it| plain.clone_into(&mut it.latency)));
    }
    let at = if draft.latency == plain { at } else { at - 1 };
    (at < draft.network.len()).then(|| {
        with(draft, |it| {
            it.network.remove(at);
        })
    })
}

fn costs(draft: &Draft, at: usize) -> Option<Draft> {
    (at == 0 && draft.cost != "1").then(|| {
        with(draft, |it| {
            "1".clone_into(&mut it.cost);
            it.mean_cost = 1.0;
        })
    })
}

fn with(draft: &Draft, change: impl FnOnce(&mut Draft)) -> Draft {
    let mut smaller = draft.clone();
    change(&mut smaller);
    smaller
}

/// How a trial says that a scenario could not be read.
const REFUSED: &str = "the swarm drew what cannot be";

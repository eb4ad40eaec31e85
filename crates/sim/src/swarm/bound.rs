//! How much overshoot the faults of a world excuse.

use leasehold_core::Limit;

use super::draft::{Draft, Policy, limit_name};
use crate::faults::{Circumstances, Excess, FaultEvent};
use crate::numbers::{float, per_second};
use crate::server::StoreChange;

/// The changes of a world that bear on its limits.
pub(super) struct Troubles<'t> {
    pub(super) timeline: &'t [(u64, FaultEvent)],
    pub(super) circumstances: Circumstances,
    /// When each replica starts.
    pub(super) starts_ns: &'t [u64],
    /// By how much the store's clock is too fast.
    pub(super) drift_ppm: i32,
    /// When the store first executed anything.
    pub(super) first_call_ns: u64,
}

/// The most tokens beyond the burst that each limit may have admitted, in order.
///
/// That is its overshoot budget, and what [`Excess`] says of the timeline; a store's clock that
/// runs fast adds its drift to the rate. While limits change, a replica may go by any that was in
/// force: each is held against the largest of them. What failure policies add is bounded loosely:
/// there the books and what follows the faults are the test.
pub(super) fn bounds(draft: &Draft, troubles: &Troubles<'_>) -> Vec<f64> {
    let excess = Excess::of(troubles.timeline, troubles.circumstances);
    // What a server had saved before anybody asked it anything is no memory.
    let blank = troubles.timeline.iter().filter(|(at_ns, event)| {
        let is_saved = matches!(event, FaultEvent::Store(StoreChange::Snapshot(_)));
        is_saved && *at_ns <= troubles.first_call_ns
    });
    let capacities = float(excess.capacities) + float(blank.count() as u64);
    let seconds = float(draft.phases.end_ms) / 1000.0;
    let limits = draft.limits.iter().enumerate();
    limits
        .map(|(index, (first, _))| {
            let changes = changes_of(index, troubles);
            let heard_of = changes.iter().map(|(limit, _)| *limit);
            let in_force = changes
                .iter()
                .filter(|(_, all)| *all)
                .map(|(limit, _)| *limit);
            let all: Vec<Limit> = heard_of.chain([*first]).collect();
            let epochs: Vec<Limit> = in_force.chain([*first]).collect();
            let capacity = most(&all, |it| float(it.capacity()));
            let rate = most(&all, |it| per_second(it.rate()));
            let mixed = mixed_seconds(index, troubles);
            let of_epoch = |judged: &Limit| {
                let faster = (rate - per_second(judged.rate())).max(0.0) * mixed;
                capacity - float(judged.burst()) + faster.ceil()
            };
            let too_fast = rate * seconds * f64::from(troubles.drift_ppm.max(0)) / 1e6;
            let faults = capacities * capacity + rate * float(excess.rate_ns) / 1e9;
            let alone = admitted_alone(draft, troubles, capacity + rate * seconds);
            most(&epochs, of_epoch) + faults.ceil() + too_fast.ceil() + alone.ceil()
        })
        .collect()
}

/// The most that failure policies may add, if a replica that is alone all the time admits so much.
///
/// Who knows too few others takes too much for its part: each is taken to know of none. It gets its
/// burst anew when the store was back for a while.
fn admitted_alone(draft: &Draft, troubles: &Troubles<'_>, each: f64) -> f64 {
    let replicas = float(troubles.starts_ns.len() as u64);
    let outages = float(draft.faults.len() as u64 + 1);
    match draft.policy {
        Policy::Closed => 0.0,
        Policy::Local => replicas * outages * each,
        Policy::Open => f64::INFINITY,
    }
}

/// For how long some may go by another limit than others.
fn mixed_seconds(index: usize, troubles: &Troubles<'_>) -> f64 {
    let own = Some(limit_name(index));
    let times = troubles.timeline.iter().filter_map(|(at_ns, event)| {
        let is_own = matches!(event, FaultEvent::Limit { name, .. } if *name == own);
        is_own.then_some(*at_ns)
    });
    let (first, last) = (times.clone().min(), times.max());
    let between = last
        .zip(first)
        .map(|(last, first)| last - first + UNDER_WAY_NS);
    float(between.unwrap_or(0)) / 1e9
}

/// The limits that it is changed to, and whether all that have started hear of it.
fn changes_of(index: usize, troubles: &Troubles<'_>) -> Vec<(Limit, bool)> {
    let own = limit_name(index);
    let changes = troubles.timeline.iter().filter_map(|(at_ns, event)| {
        let FaultEvent::Limit {
            replicas,
            name,
            limit,
        } = event
        else {
            return None;
        };
        let started = troubles.starts_ns.iter().filter(|start| *start <= at_ns);
        let is_own = name.as_ref() == Some(&own);
        is_own.then_some((*limit, replicas.len() >= started.count()))
    });
    changes.collect()
}

fn most(limits: &[Limit], of: impl Fn(&Limit) -> f64) -> f64 {
    limits.iter().map(of).fold(0.0, f64::max)
}

/// A call that was sent under an old limit is executed within this, be the store hung meanwhile.
const UNDER_WAY_NS: u64 = 10_000_000_000;

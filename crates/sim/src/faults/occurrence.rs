//! One fault that happens once: its events.
//!
//! # Invariant
//!
//! Events of one occurrence are added in the order in which they happen. A snapshot precedes the
//! event that uses it, and each snapshot is used once. Faults of the store that last have numbers
//! of their own, so that whatever overlaps, each end finds what it ends.

use std::sync::Arc;

use rand::RngExt;

use crate::faults::config::{FaultKind, Mishap, Restart};
use crate::faults::event::{FaultEvent, ReplicaChange};
use crate::faults::values::Lasting;
use crate::network::{Degradation, Direction, NetworkChange};
use crate::server::{FaultId, Memory, Silence, StoreChange};
use crate::stream::Stream;
use crate::units::Share;

/// The order of changes at one instant.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Rank {
    /// Memory that will be lost must not be remembered.
    Snapshot,
    /// One fault ends before the next begins.
    End,
    Begin,
}

/// Collects events.
#[derive(Debug)]
pub(crate) struct Events {
    pub(crate) planned: Vec<(u64, Rank, FaultEvent)>,
    pub(crate) snapshots: u32,
    /// Faults of the store that last.
    pub(crate) numbered: u32,
    pub(crate) replicas: u32,
}

/// When one begins and how long it lasts; `None`: to the end of the run.
#[derive(Clone, Copy)]
struct Lasts {
    at_ns: u64,
    for_ns: Option<u64>,
}

impl Events {
    /// Adds one occurrence.
    pub(crate) fn add(
        &mut self,
        kind: &FaultKind,
        lasting: Option<Lasting>,
        at_ns: u64,
        random: &mut Stream,
    ) {
        if let FaultKind::Mishaps { pick } = kind {
            let mishap = picked(pick, random);
            return self.add(&mishap.kind, mishap.lasting, at_ns, random);
        }
        let for_ns = lasting.map(|lasting| lasting.draw_ns(random));
        let lasts = Lasts { at_ns, for_ns };
        match kind {
            FaultKind::Partition { .. }
            | FaultKind::Loss { .. }
            | FaultKind::SlowNetwork { .. } => {
                self.add_network(kind, lasts, random);
            }
            FaultKind::Crash { .. } | FaultKind::Pause { .. } | FaultKind::Limit { .. } => {
                self.add_replicas(kind, lasts, random);
            }
            FaultKind::SplitBrain { replicas, lost } => {
                let stay = replicas.draw(self.replicas, random);
                let snapshot = self.snapshot(at_ns.saturating_sub(lost.0));
                let split = StoreChange::Split { snapshot, stay };
                self.pair(
                    lasts,
                    FaultEvent::Store(split),
                    FaultEvent::Store(StoreChange::Join),
                );
            }
            FaultKind::Mishaps { .. } | FaultKind::Nothing {} => {}
            _ => self.add_store(kind, lasts),
        }
    }

    fn add_network(&mut self, kind: &FaultKind, lasts: Lasts, random: &mut Stream) {
        let degrade = |direction: Direction, times, loss| {
            let by = Degradation { times, loss };
            (
                NetworkChange::Degrade(direction, by),
                NetworkChange::Restore(direction, by),
            )
        };
        let (targets, (begin, end)) = match kind {
            FaultKind::Partition {
                replicas,
                direction,
            } => (
                replicas,
                (
                    NetworkChange::Cut(*direction),
                    NetworkChange::Heal(*direction),
                ),
            ),
            FaultKind::Loss {
                share,
                replicas,
                direction,
            } => (replicas, degrade(*direction, 1.0, *share)),
            FaultKind::SlowNetwork {
                times,
                replicas,
                direction,
            } => (replicas, degrade(*direction, *times, Share::NONE)),
            _ => unreachable!("no fault of the network"),
        };
        let replicas = targets.draw(self.replicas, random);
        let event = |change| FaultEvent::Network {
            replicas: Arc::clone(&replicas),
            change,
        };
        self.pair(lasts, event(begin), event(end));
    }

    fn add_replicas(&mut self, kind: &FaultKind, lasts: Lasts, random: &mut Stream) {
        let at_ns = lasts.at_ns;
        let (targets, begin, end, for_ns) = match kind {
            FaultKind::Crash {
                replicas,
                restart_after,
            } => {
                let after_ns = restart_after.map(|after| after.0);
                (
                    replicas,
                    ReplicaChange::Crash,
                    ReplicaChange::Restart,
                    after_ns,
                )
            }
            FaultKind::Pause { replicas } => (
                replicas,
                ReplicaChange::Pause,
                ReplicaChange::Resume,
                lasts.for_ns,
            ),
            FaultKind::Limit {
                limit,
                name,
                replicas,
            } => {
                let replicas = replicas.draw(self.replicas, random);
                let (name, limit) = (name.clone(), *limit);
                return self.begin(
                    at_ns,
                    FaultEvent::Limit {
                        replicas,
                        name,
                        limit,
                    },
                );
            }
            _ => unreachable!("no fault of replicas"),
        };
        let replicas = targets.draw(self.replicas, random);
        let event = |change| FaultEvent::Replicas {
            replicas: Arc::clone(&replicas),
            change,
        };
        self.pair(Lasts { at_ns, for_ns }, event(begin), event(end));
    }

    fn add_store(&mut self, kind: &FaultKind, lasts: Lasts) {
        let Lasts { at_ns, for_ns } = lasts;
        let (begin, end) = match kind {
            FaultKind::StoreDown {
                then,
                loading,
                silent,
            } => {
                let down_ns = for_ns.expect("checked");
                return self.restart(at_ns, *then, silence(*silent), down_ns, loading.0);
            }
            FaultKind::FailOver {
                lost,
                empty: _,
                down,
                silent,
            } => {
                let then = lost.map_or(Restart::Empty, Restart::Lost);
                return self.restart(at_ns, then, silence(*silent), down.0, 0);
            }
            FaultKind::Flush {} => (StoreChange::Flush, None),
            FaultKind::ScriptFlush {} => (StoreChange::FlushScripts, None),
            FaultKind::StoreClock { step } => (StoreChange::StepClock(step.micros), None),
            FaultKind::Hang {} => {
                let fault = self.number();
                (StoreChange::Hang(fault), Some(StoreChange::Resume(fault)))
            }
            FaultKind::SlowStore { times } => {
                let (fault, times) = (self.number(), *times);
                let begin = StoreChange::SlowDown { fault, times };
                (begin, Some(StoreChange::SpeedUp(fault)))
            }
            _ => unreachable!("no fault of the store"),
        };
        match end {
            None => self.begin(at_ns, FaultEvent::Store(begin)),
            Some(end) => self.pair(lasts, FaultEvent::Store(begin), FaultEvent::Store(end)),
        }
    }

    /// The server goes down and comes up with what `then` says. What is lost was written before
    /// it went down.
    fn restart(&mut self, at_ns: u64, then: Restart, down: Silence, down_ns: u64, loading_ns: u64) {
        let memory = match then {
            Restart::Kept => Memory::Kept,
            Restart::Empty => Memory::Empty,
            Restart::Lost(span) => Memory::Snapshot(self.snapshot(at_ns.saturating_sub(span.0))),
        };
        let (fault, silence) = (self.number(), down);
        let stop = StoreChange::Stop { fault, silence };
        self.begin(at_ns, FaultEvent::Store(stop));
        let loads_ns = at_ns.saturating_add(down_ns);
        if loading_ns > 0 {
            let load = StoreChange::Load { fault };
            self.end(at_ns, loads_ns, FaultEvent::Store(load));
        }
        let start = StoreChange::Start { fault, memory };
        self.end(
            at_ns,
            loads_ns.saturating_add(loading_ns),
            FaultEvent::Store(start),
        );
    }

    fn snapshot(&mut self, at_ns: u64) -> u32 {
        let number = self.snapshots;
        self.snapshots += 1;
        let event = FaultEvent::Store(StoreChange::Snapshot(number));
        self.planned.push((at_ns, Rank::Snapshot, event));
        number
    }

    fn number(&mut self) -> FaultId {
        let number = FaultId(self.numbered);
        self.numbered += 1;
        number
    }

    fn begin(&mut self, at_ns: u64, event: FaultEvent) {
        self.planned.push((at_ns, Rank::Begin, event));
    }

    /// A fault that lasts for no time at all ends after it began.
    fn end(&mut self, began_ns: u64, at_ns: u64, event: FaultEvent) {
        let rank = if began_ns == at_ns {
            Rank::Begin
        } else {
            Rank::End
        };
        self.planned.push((at_ns, rank, event));
    }

    fn pair(&mut self, lasts: Lasts, begin: FaultEvent, end: FaultEvent) {
        self.begin(lasts.at_ns, begin);
        if let Some(for_ns) = lasts.for_ns {
            self.end(lasts.at_ns, lasts.at_ns.saturating_add(for_ns), end);
        }
    }
}

const fn silence(silent: bool) -> Silence {
    if silent {
        Silence::Silent
    } else {
        Silence::Refuses
    }
}

fn picked<'a>(pick: &'a [Mishap], random: &mut Stream) -> &'a Mishap {
    let all: u64 = pick.iter().map(|mishap| u64::from(mishap.weight)).sum();
    let mut left = random.random_range(0..all);
    let chosen = pick.iter().find(|mishap| {
        let weight = u64::from(mishap.weight);
        let here = left < weight;
        left = left.saturating_sub(weight);
        here
    });
    chosen.expect("the weights add up")
}

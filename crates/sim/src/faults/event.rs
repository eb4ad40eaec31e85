//! Changes that a fault comes to, each at one instant.

use std::fmt;
use std::sync::Arc;

use leasehold_core::Limit;

use crate::network::NetworkChange;
use crate::server::StoreChange;

/// One change. What begins in one event ends in another.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultEvent {
    /// Something happens to the links of some replicas.
    Network {
        /// Whose links. Sorted.
        replicas: Arc<[u32]>,
        /// The change.
        change: NetworkChange,
    },
    /// Something happens to the store.
    Store(StoreChange),
    /// Something happens to replicas.
    Replicas {
        /// Which. Sorted. Some may be gone already, or not yet there.
        replicas: Arc<[u32]>,
        /// The change.
        change: ReplicaChange,
    },
    /// Some replicas hear of a new limit.
    Limit {
        /// Which. Sorted.
        replicas: Arc<[u32]>,
        /// Which limit; the only one if it has no name.
        name: Option<String>,
        /// The new one.
        limit: Limit,
    },
}

/// Changes of a replica by a fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReplicaChange {
    /// The replica is killed: what it held and had not reported is lost with it.
    Crash,
    /// The replica starts again, as another that remembers nothing. A replica that lives goes on.
    Restart,
    /// The replica stands still: it neither decides nor hears. Its clock goes on. Pauses may
    /// overlap.
    Pause,
    /// A pause ends: what has come meanwhile is handled now.
    Resume,
}

impl FaultEvent {
    /// Whether from here on all should become well again: something ends, or is over as soon as
    /// it has happened.
    pub const fn ends(&self) -> bool {
        match self {
            Self::Network { change, .. } => {
                matches!(change, NetworkChange::Heal(_) | NetworkChange::Restore(..))
            }
            Self::Store(change) => !matches!(
                change,
                StoreChange::Snapshot(_)
                    | StoreChange::Stop { .. }
                    | StoreChange::Load { .. }
                    | StoreChange::Hang(_)
                    | StoreChange::SlowDown { .. }
                    | StoreChange::Split { .. }
            ),
            Self::Replicas { change, .. } => !matches!(change, ReplicaChange::Pause),
            Self::Limit { .. } => true,
        }
    }
}

impl fmt::Display for FaultEvent {
    /// A few words, for a report.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network { replicas, change } => {
                let what = match change {
                    NetworkChange::Cut(_) => "cut off",
                    NetworkChange::Heal(_) => "reconnected",
                    NetworkChange::Degrade(..) => "network worse",
                    NetworkChange::Restore(..) => "network better",
                };
                write!(f, "{}: {what}", Replicas(replicas))
            }
            Self::Store(change) => f.write_str(match change {
                StoreChange::Snapshot(_) => "store: last write that will survive",
                StoreChange::Stop { .. } => "store: down",
                StoreChange::Load { .. } => "store: loading",
                StoreChange::Start { .. } => "store: up",
                StoreChange::Flush => "store: flushed",
                StoreChange::FlushScripts => "store: scripts flushed",
                StoreChange::Hang(_) => "store: stands still",
                StoreChange::Resume(_) => "store: goes on",
                StoreChange::SlowDown { times, .. } => {
                    return write!(f, "store: {times} times as slow");
                }
                StoreChange::SpeedUp(_) => "store: fast again",
                StoreChange::StepClock(micros) => {
                    return write!(f, "store: clock {micros:+} microseconds");
                }
                StoreChange::Split { .. } => "store: split",
                StoreChange::Join => "store: one again",
            }),
            Self::Replicas { replicas, change } => {
                let what = match change {
                    ReplicaChange::Crash => "killed",
                    ReplicaChange::Restart => "started again",
                    ReplicaChange::Pause => "stopped",
                    ReplicaChange::Resume => "resumed",
                };
                write!(f, "{}: {what}", Replicas(replicas))
            }
            Self::Limit {
                replicas, limit, ..
            } => {
                write!(f, "{}: limit {limit}", Replicas(replicas))
            }
        }
    }
}

struct Replicas<'a>(&'a [u32]);

impl fmt::Display for Replicas<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [one] => write!(f, "replica {one}"),
            some => write!(f, "{} replicas", some.len()),
        }
    }
}

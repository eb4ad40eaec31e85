//! The store: one server thread in front of the limiter's store model, and what may happen to it.
//!
//! # Invariant
//!
//! One message is executed at a time, each server's in the order of their arrival, and none
//! that arrived before the server went down is executed after. What was executed is forgotten only
//! by a fault.
//!
//! # What is modelled
//!
//! A message waits for those before it, then the server is busy with it for a time that depends on
//! the number of its keys; at the end of that time it takes effect, at one instant, and its answer
//! leaves. The server hears of messages, tells when it wants to hear of the time, and names the
//! messages whose turn has come; it keeps no events of its own.
//!
//! # How the world drives it
//!
//! ```text
//! a message arrives    store.receive(flight, replica, &message, reloads, now)
//!                        Queued: its turn will come.  Refused: tell the sender, over its link.
//!                        Swallowed: nobody ever hears of it.
//! after every call     if store.poll_timeout() is another time than is planned: plan a turn then
//! a turn               while let Some(turn) = store.handle_timeout(now):
//!                        Execute: store.execute(...), and send the answer over the link.
//!                        ScriptMissing: send that over the link instead; the replica sends the
//!                        message again at once, over its link, and says that it reloads.
//! a fault              store.change(&change, now), and tell those whose connection broke, over
//!                        their links
//! ```
//!
//! A turn that is planned and no longer due does no harm: nothing is handed out then.

mod account;
mod clock;
mod machine;
mod queue;
mod store;

use std::sync::Arc;

use serde::Deserialize;

use crate::units::{Count, Span};

pub use self::account::{Account, Traffic};
pub use self::store::{Side, Store, Turn};

/// `[store]`: the server, and what it costs it to answer.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct StoreConfig {
    /// Time for which the server is busy with a message, whatever is in it.
    pub service: Span,
    /// Time for which the server is busy with each key in a message, on top.
    pub service_per_call: Span,
    /// Messages that may wait; more are refused.
    pub queue_max: Count,
    /// By how much the server's clock is too fast, in microseconds a second. A fast clock drains
    /// buckets fast: it adds as much to the rate.
    pub clock_drift_ppm: i32,
}

impl Default for StoreConfig {
    /// A Redis on one core as it was measured: 13 microseconds for a script on one key.
    fn default() -> Self {
        Self {
            service: Span::from_micros(10),
            service_per_call: Span::from_micros(3),
            queue_max: Count(100_000),
            clock_drift_ppm: 0,
        }
    }
}

impl StoreConfig {
    /// Whether there can be such a store.
    ///
    /// # Errors
    ///
    /// What cannot be, and the mend.
    pub fn check(&self) -> Result<(), String> {
        if self.queue_max.0 == 0 {
            return Err(
                "`queue-max` is 0, so that nothing is ever executed: say at least 1".to_owned(),
            );
        }
        if self.clock_drift_ppm.unsigned_abs() > DRIFT_MAX_PPM {
            return Err(format!(
                "`clock-drift-ppm` is {}: from -{DRIFT_MAX_PPM} to {DRIFT_MAX_PPM} is possible",
                self.clock_drift_ppm
            ));
        }
        Ok(())
    }
}

/// Changes of the store by a fault.
///
/// While the store is split, what begins begins at the new primary. What ends ends wherever it
/// has begun: a server that was down or stood still when another took over is the old primary, and
/// comes back as that. What befell a server that is gone is over, and its end changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreChange {
    /// Remember the state under this number, for a restart or a fail-over to come.
    Snapshot(u32),
    /// The server goes down, and with it every message that waits.
    Stop {
        /// Which fault keeps it down.
        fault: FaultId,
        /// The sign that senders to it get.
        silence: Silence,
    },
    /// The server process is back and loads its data: it refuses everything.
    Load {
        /// Which fault kept it down.
        fault: FaultId,
    },
    /// The server works again, unless another fault keeps it down.
    Start {
        /// Which fault kept it down.
        fault: FaultId,
        /// The memory it starts with.
        memory: Memory,
    },
    /// Everything is forgotten while the server runs: `FLUSHALL`.
    Flush,
    /// Scripts are forgotten: `SCRIPT FLUSH`.
    FlushScripts,
    /// The process stands still, `SIGSTOP`: messages queue up.
    Hang(FaultId),
    /// That hang ends. After the last, what has queued up is executed, though its senders have
    /// given up.
    Resume(FaultId),
    /// The server takes so many times as long.
    SlowDown {
        /// Which fault slows it down.
        fault: FaultId,
        /// How many times.
        times: f64,
    },
    /// That slow-down ends.
    SpeedUp(FaultId),
    /// The clock goes forward or back by so many microseconds.
    StepClock(i64),
    /// Another server takes over with the state of a snapshot. These replicas go on talking to
    /// the old one, which knows nothing of it.
    Split {
        /// The memory of the new primary.
        snapshot: u32,
        /// The replicas that stay with the old one. Sorted.
        stay: Arc<[u32]>,
    },
    /// The old primary is found out: what it alone knows is lost, and all talk to the new one.
    Join,
}

/// A fault of the store that lasts: what begins under this number ends under it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FaultId(pub u32);

/// The fate of a message that arrives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admission {
    /// Its turn will come, unless the server goes down.
    Queued,
    /// The server is down, loading or full, and says so: the sender hears of it over its link.
    Refused,
    /// The machine is gone: the sender hears nothing.
    Swallowed,
}

/// The sign that senders get from a server that is down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Silence {
    /// Connections are refused or closed, as by a machine whose server process died.
    Refuses,
    /// Nothing, as from a machine that is gone.
    Silent,
}

/// The memory of a server that comes up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Memory {
    /// The memory that it had when it went down.
    Kept,
    /// Nothing.
    Empty,
    /// The memory that was saved under this number.
    Snapshot(u32),
}

/// A tenth: no clock is that wrong, and a replica's lease ends by no more than that before the
/// store's.
const DRIFT_MAX_PPM: u32 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_without_settings_is_a_redis_on_one_core() {
        let config: StoreConfig = toml::from_str("").unwrap();
        assert_eq!(config, StoreConfig::default());
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_mend() {
        let error = |text: &str| {
            let config: StoreConfig = toml::from_str(text).unwrap();
            config.check().unwrap_err()
        };
        assert!(error("queue-max = 0").contains("at least 1"));
        assert!(error("clock-drift-ppm = -100001").contains("-100000 to"));
        assert!(toml::from_str::<StoreConfig>("servise = \"1us\"").is_err());
    }
}

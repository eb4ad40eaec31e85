//! The most that faults may add to the overshoot.

use leasehold_core::{Limit, Micros};

use crate::faults::event::{FaultEvent, ReplicaChange};
use crate::server::{Memory, StoreChange};

/// Tokens of one key that leased limits may admit beyond their overshoot, because of faults.
///
/// C is the capacity of the limit (burst and overshoot), r its rate.
///
/// | fault | adds at most | why |
/// |---|---|---|
/// | `partition`, `loss`, `slow-network` | 0 | state travels, not changes; a lease ends at its deadline |
/// | `hang`, `slow-store`, `script-flush` | 0 | a message that is executed late says what was true when it was sent: less |
/// | `pause` | 0 | the replica's clock goes on, so its leases are over when it wakes |
/// | `crash` | 0 | what it held is charged when its lease expires, spent or not |
/// | `flush`, `store-down` then `empty`, `fail-over` to an `empty` server | 0 | whoever remembers the store's birth finds another one: buckets count as spent until all leases have ended |
/// | the same, if a replica without memory gets there first | C | it takes the store for a new one, and buckets for full, until the others come |
/// | `store-down` then `kept` | 0 | nothing is lost |
/// | `store-down` or `fail-over` with `lost`, found out | 0 | the new server counts buckets as spent, as above |
/// | the same, not found out | C | what was granted or charged in the lost time is granted again; and x + o <= C of what the server knows |
/// | `split-brain` for a time s | C + r s | two servers grant, each within its own bound, until one is gone |
/// | `store-clock` forward by s | 2 r s | buckets drain for s at once; leases that then end at the store, and are still spent from, are charged up to s too early |
/// | `store-clock` back | 0 | nothing drains until the clock catches up |
/// | `limit` | 0, held against the larger limit | each call is decided under the limit that its sender knows |
///
/// Faults add up. What the failure policies `open` and `local` admit on purpose is not in here,
/// nor is a store's clock that drifts: that adds its drift to the rate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Excess {
    /// The number of capacities.
    pub capacities: u64,
    /// The nanoseconds for which what the rate yields comes on top.
    pub rate_ns: u64,
}

/// Circumstances under which replicas notice that a store lost its memory.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Circumstances {
    /// Replicas do not notice that a server is another than it was, or was started anew. (A replica
    /// that connects to Redis asks for its run id, and notices.)
    pub servers_look_alike: bool,
    /// Replicas start while the run goes on, besides those that faults start again.
    pub replicas_start: bool,
}

impl Excess {
    /// The sum of what the faults of a [`timeline`](crate::faults::timeline) add.
    pub fn of(timeline: &[(u64, FaultEvent)], circumstances: Circumstances) -> Self {
        let newcomers = circumstances.replicas_start || timeline.iter().any(starts_replicas);
        let mut excess = Self::default();
        let mut split_at_ns = 0;
        for (at_ns, event) in timeline {
            let FaultEvent::Store(change) = event else {
                continue;
            };
            match change {
                StoreChange::Flush => excess.capacities += u64::from(newcomers),
                StoreChange::Start { memory, .. } => {
                    excess.capacities += u64::from(match memory {
                        Memory::Kept => false,
                        Memory::Empty => newcomers,
                        Memory::Snapshot(_) => circumstances.servers_look_alike,
                    });
                }
                StoreChange::StepClock(micros) => {
                    let forward_us = u64::try_from(*micros).unwrap_or(0);
                    excess.rate_ns += forward_us.saturating_mul(2 * 1000);
                }
                StoreChange::Split { .. } => {
                    excess.capacities += 1;
                    split_at_ns = *at_ns;
                }
                StoreChange::Join => excess.rate_ns += at_ns - split_at_ns,
                _ => {}
            }
        }
        excess
    }

    /// Whether faults add nothing: the overshoot stays within what the limit was given.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// In tokens of a key under `limit`, rounded up.
    pub fn tokens(self, limit: &Limit) -> u64 {
        let rate = limit.rate();
        let Micros(period_us) = rate.period;
        let yielded = (u128::from(self.rate_ns) * u128::from(rate.tokens))
            .div_ceil(u128::from(period_us) * 1000);
        let yielded = u64::try_from(yielded).unwrap_or(u64::MAX);
        (self.capacities.saturating_mul(limit.capacity())).saturating_add(yielded)
    }
}

fn starts_replicas((_, event): &(u64, FaultEvent)) -> bool {
    matches!(
        event,
        FaultEvent::Replicas {
            change: ReplicaChange::Restart,
            ..
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::timeline;
    use crate::units::Span;

    #[derive(serde::Deserialize)]
    struct Scenario {
        fault: Vec<crate::faults::FaultConfig>,
    }

    fn excess(faults: &[&str], circumstances: Circumstances) -> Excess {
        let mut text = String::new();
        for fault in faults {
            text += "[[fault]]\nat = \"10s\"\n";
            text += fault;
            text.push('\n');
        }
        let scenario: Scenario = toml::from_str(&text).unwrap();
        let events = timeline(&scenario.fault, Span::from_secs(60), 10, 1).unwrap();
        Excess::of(&events, circumstances)
    }

    fn alone(fault: &str) -> Excess {
        excess(&[fault], Circumstances::default())
    }

    const fn of(capacities: u64, millis: u64) -> Excess {
        let rate_ns = millis * 1_000_000;
        Excess {
            capacities,
            rate_ns,
        }
    }

    #[test]
    fn what_the_protocol_survives_adds_nothing() {
        for fault in [
            "kind = \"partition\"\nfor = \"9s\"",
            "kind = \"loss\"\nshare = 0.5",
            "kind = \"slow-network\"\ntimes = 100",
            "kind = \"hang\"\nfor = \"5s\"",
            "kind = \"slow-store\"\ntimes = 100",
            "kind = \"script-flush\"",
            "kind = \"pause\"\nreplicas = 3\nfor = \"5s\"",
            "kind = \"crash\"\nreplicas = 3\nrestart-after = \"1s\"",
            "kind = \"flush\"",
            "kind = \"store-down\"\nfor = \"5s\"",
            "kind = \"store-down\"\nfor = \"5s\"\nthen = \"empty\"",
            "kind = \"fail-over\"\nlost = \"1s\"",
            "kind = \"fail-over\"\nempty = true",
            "kind = \"store-clock\"\nstep = \"-5s\"",
            "kind = \"limit\"\nlimit = \"10/s\"",
        ] {
            assert!(alone(fault).is_none(), "{fault}");
        }
    }

    #[test]
    fn what_nobody_finds_out_adds_what_it_may() {
        let alike = Circumstances {
            servers_look_alike: true,
            ..Circumstances::default()
        };
        let lost = "kind = \"fail-over\"\nlost = \"1s\"\nevery = \"20s\"";
        assert_eq!(excess(&[lost], alike), of(3, 0), "at 10, 30 and 50 s");
        let kept = "kind = \"store-down\"\nfor = \"5s\"";
        assert_eq!(excess(&[kept], alike), of(0, 0));
        let split = "kind = \"split-brain\"\nreplicas = 5\nfor = \"4s\"";
        assert_eq!(alone(split), of(1, 4000));
        let step = "kind = \"store-clock\"\nstep = \"+5s\"";
        assert_eq!(alone(step), of(0, 10_000));
        assert_eq!(
            excess(&[split, step, lost], alike),
            of(4, 14_000),
            "they add up"
        );
    }

    #[test]
    fn a_newcomer_may_take_an_emptied_store_for_a_new_one() {
        let flush = "kind = \"flush\"";
        let crash = "kind = \"crash\"\nreplicas = 1\nrestart-after = \"1s\"";
        assert_eq!(excess(&[flush, crash], Circumstances::default()), of(1, 0));
        let starts = Circumstances {
            replicas_start: true,
            ..Circumstances::default()
        };
        assert_eq!(excess(&[flush], starts), of(1, 0));
    }

    #[test]
    fn tokens_are_counted_by_the_limit() {
        let limit: Limit = "100/min burst 10 overshoot 5".parse().unwrap();
        assert_eq!(of(2, 1000).tokens(&limit), 30 + 2, "1.67 tokens a second");
        assert_eq!(of(0, 0).tokens(&limit), 0);
    }
}

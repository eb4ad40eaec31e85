//! Sees all that happens in a world: for the hash of its course, for who knew of the store when
//! that lost its memory, and for what was reached at all.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{Asked, Cover, Happening, Recorder};

/// Takes note.
#[derive(Debug)]
pub(super) struct Witness {
    hash: u64,
    /// While it is calm: requests, and those of them that were not decided at once.
    calm_ns: std::ops::Range<u64>,
    pub(super) calm_requests: u64,
    pub(super) calm_waits: u64,
    /// When the store first loses its memory.
    lost_ns: u64,
    /// Replicas that have had an answer.
    heard: BTreeSet<u32>,
    /// A replica that knew nothing of the store has asked it about the time of the loss, or later.
    pub(super) newcomer: bool,
    /// When the store first executed anything.
    pub(super) first_call_ns: u64,
    pub(super) sights: BTreeMap<&'static str, u64>,
}

impl Witness {
    pub(super) fn new(calm_ns: std::ops::Range<u64>, lost_ns: u64) -> Self {
        Self {
            hash: 0,
            calm_ns,
            calm_requests: 0,
            calm_waits: 0,
            lost_ns,
            heard: BTreeSet::new(),
            newcomer: false,
            first_call_ns: u64::MAX,
            sights: BTreeMap::new(),
        }
    }

    /// Stands for the whole course of the world.
    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    fn see(&mut self, sight: &'static str) {
        *self.sights.entry(sight).or_default() += 1;
    }

    #[inline]
    fn mix(&mut self, kind: u64, at_ns: u64, who: u64, what: u64) {
        for word in [kind, at_ns, who, what] {
            self.hash = (self.hash ^ word).wrapping_mul(ODD).rotate_left(29);
        }
    }
}

impl Recorder for Witness {
    fn record(&mut self, happening: &Happening<'_>) {
        match happening {
            Happening::Decision {
                at_ns,
                arrived_ns,
                replica,
                allowed,
                decided,
                cover,
                ..
            } => {
                self.mix(
                    1 + u64::from(*allowed),
                    *at_ns,
                    (*replica).into(),
                    *arrived_ns,
                );
                if self.calm_ns.contains(arrived_ns) {
                    self.calm_requests += 1;
                    self.calm_waits += u64::from(*decided != "local");
                }
                match (*decided, allowed) {
                    ("budget", _) => self.see("waited in vain"),
                    ("store", true) if *cover == Some(Cover::Store) => {
                        self.see("spent by the store");
                    }
                    ("store", true) => self.see("served from a reply"),
                    ("store", false) => self.see("denied by the store"),
                    _ => {}
                }
            }
            Happening::Sent {
                at_ns,
                call,
                replica,
                keys,
                ..
            } => {
                let asked = keys.iter().map(Asked::tokens);
                self.mix(
                    3,
                    *at_ns,
                    (*replica).into(),
                    call ^ asked.sum::<u64>() << 20,
                );
                let returns = keys.iter().any(|key| key.released() > 0);
                if returns {
                    self.see("tokens given back");
                }
                let late = at_ns.saturating_add(UNDER_WAY_NS) >= self.lost_ns;
                self.newcomer |= late && !self.heard.contains(replica);
            }
            Happening::Executed {
                at_ns, call, keys, ..
            } => {
                let granted: u64 = keys.iter().map(|key| key.granted ^ key.outstanding).sum();
                self.mix(4, *at_ns, *call, granted);
                self.first_call_ns = self.first_call_ns.min(*at_ns);
            }
            Happening::Heard {
                at_ns,
                call,
                replica,
                ..
            } => {
                self.mix(5, *at_ns, (*replica).into(), *call);
                self.heard.insert(*replica);
            }
            Happening::Failed {
                at_ns,
                call,
                replica,
            } => {
                self.mix(6, *at_ns, (*replica).into(), *call);
                self.see("calls that failed");
            }
            Happening::Doubled { at_ns, call, copy } => self.mix(8, *at_ns, *call, *copy),
            Happening::Lost {
                at_ns, call, why, ..
            } => self.mix(9, *at_ns, *call, *why as u64),
            Happening::Fault { at_ns, what } => self.mix(7, *at_ns, what.len() as u64, 0),
        }
    }
}

/// Any odd number with its bits well spread.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

/// No message takes longer to be executed, except one that a hung server keeps.
const UNDER_WAY_NS: u64 = 15_000_000_000;

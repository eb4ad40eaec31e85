//! The rows, as data: a limit, a load, and the contenders that are tried on it.

use super::contenders::Contender::{Centralised, Leased, Limitador, Split, TrypemaSecond};
use super::contenders::{Contender, Nominal};

/// One question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// To select it by, and its name in the JSON.
    pub(super) name: &'static str,
    /// The heading of its table.
    pub(super) question: &'static str,
    pub(super) limit: Nominal,
    pub(super) instances: u32,
    pub(super) load: Load,
    pub(super) contenders: &'static [Contender],
}

/// How requests come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// So many tasks an instance ask again and again, for one of so many keys.
    Closed {
        tasks: u32,
        keys: u32,
        is_ample: bool,
        /// So many tasks of each instance put the same load before anything is counted.
        warmers: u32,
    },
    /// So many tasks ask for a new key each time.
    Cold { tasks: u32 },
    /// So many requests a second, whatever becomes of them.
    Open {
        per_second: u32,
        first_percent: Option<u32>,
        length: Length,
    },
}

/// Which of the lengths of an [`Effort`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    Latency,
    Shared,
    Flash,
}

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    pub(super) rounds: u32,
    closed_ms: u64,
    warm_up_ms: u64,
    latency_ms: u64,
    shared_ms: u64,
    flash_ms: u64,
}

impl Effort {
    /// A plan whose figures can be quoted: about ten minutes.
    pub(super) const FULL: Self = Self {
        rounds: 3,
        closed_ms: 3_000,
        warm_up_ms: 2_000,
        latency_ms: 5_000,
        shared_ms: 20_000,
        flash_ms: 10_000,
    };

    /// One short round: to see that everything works.
    pub(super) const QUICK: Self = Self {
        rounds: 1,
        closed_ms: 500,
        warm_up_ms: 1_000,
        latency_ms: 1_000,
        shared_ms: 3_000,
        flash_ms: 2_000,
    };

    /// For tests of this command itself.
    #[cfg(test)]
    pub(super) const GLANCE: Self = Self {
        rounds: 1,
        closed_ms: 50,
        warm_up_ms: 20,
        latency_ms: 50,
        shared_ms: 100,
        flash_ms: 50,
    };

    /// This plan with so many rounds, if a number is given.
    pub(super) fn with_rounds(self, rounds: Option<u32>) -> Self {
        Self {
            rounds: rounds.unwrap_or(self.rounds),
            ..self
        }
    }

    /// How long a load that needs it is put before anything is counted.
    pub(super) fn warm_up_ns(self) -> u64 {
        self.warm_up_ms * 1_000_000
    }

    /// How long a load lasts.
    pub(super) fn length_ns(self, load: Load) -> u64 {
        let length_ms = match load {
            Load::Closed { .. } | Load::Cold { .. } => self.closed_ms,
            Load::Open { length, .. } => match length {
                Length::Latency => self.latency_ms,
                Length::Shared => self.shared_ms,
                Length::Flash => self.flash_ms,
            },
        };
        length_ms * 1_000_000
    }
}

impl Load {
    /// Whether times are counted from when requests were due.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

/// All rows, in order.
pub(super) const ROWS: &[Row] = &[
    Row {
        name: "one-key",
        question: "closed loop: one key with a limit that is never reached; 2 instances, 2 tasks \
        each",
        limit: AMPLE,
        instances: 2,
        load: Load::Closed {
            tasks: 2,
            keys: 1,
            is_ample: true,
            warmers: 0,
        },
        contenders: &Contender::ALL,
    },
    Row {
        name: "many-keys",
        question: "closed loop: 5000 keys, uniform, limits never reached; 2 instances, 2 tasks \
        each, warm",
        limit: AMPLE,
        instances: 2,
        load: Load::Closed {
            tasks: 2,
            keys: 5000,
            is_ample: true,
            warmers: 256,
        },
        contenders: &Contender::ALL,
    },
    Row {
        name: "flood",
        question: "closed loop: one key of 10 000/s, as fast as it goes; 2 instances, 2 tasks each",
        limit: TEN_THOUSAND,
        instances: 2,
        load: Load::Closed {
            tasks: 2,
            keys: 1,
            is_ample: false,
            warmers: 0,
        },
        contenders: &Contender::ALL,
    },
    Row {
        name: "cold-keys",
        question: "closed loop: keys that are asked for once, of 10/s burst 20; 1 instance, 512 \
        tasks",
        limit: Nominal {
            per_second: 10,
            burst: 20,
        },
        instances: 1,
        load: Load::Cold { tasks: 512 },
        // Not limitador: with a key that is new to its cache in each request, its tasks come to
        // wait for each other in that cache (DashMap::get within `CountersCache::get`) and never
        // end.
        contenders: &[Leased, Centralised, TrypemaSecond],
    },
    Row {
        name: "latency",
        question: "open loop: 20 000/s on one key of 100 000/s; 2 instances",
        limit: Nominal {
            per_second: 100_000,
            burst: 100_000,
        },
        instances: 2,
        load: Load::Open {
            per_second: 20_000,
            first_percent: None,
            length: Length::Latency,
        },
        contenders: &[Leased, Centralised, TrypemaSecond, Limitador, Split],
    },
    Row {
        name: "shared-even",
        question: "open loop: 30 000/s on one key of 10 000/s burst 10 000; 10 instances, even",
        limit: TEN_THOUSAND,
        instances: 10,
        load: Load::Open {
            per_second: 30_000,
            first_percent: None,
            length: Length::Shared,
        },
        contenders: &[Leased, Centralised, TrypemaSecond, Limitador, Split],
    },
    Row {
        name: "shared-skewed",
        question: "open loop: the same with 80 % of the load on one instance",
        limit: TEN_THOUSAND,
        instances: 10,
        load: Load::Open {
            per_second: 30_000,
            first_percent: Some(80),
            length: Length::Shared,
        },
        contenders: &[Leased, Centralised, TrypemaSecond, Limitador, Split],
    },
    Row {
        name: "flash-crowd",
        question: "open loop: 100 000/s on one key of 1000/s burst 1000; 10 instances, even",
        limit: Nominal {
            per_second: 1_000,
            burst: 1_000,
        },
        instances: 10,
        load: Load::Open {
            per_second: 100_000,
            first_percent: None,
            length: Length::Flash,
        },
        contenders: &[Leased, Centralised, TrypemaSecond, Limitador, Split],
    },
];

/// More than this machine can ask for.
const AMPLE: Nominal = Nominal {
    per_second: 100_000_000,
    burst: 100_000_000,
};

const TEN_THOUSAND: Nominal = Nominal {
    per_second: 10_000,
    burst: 10_000,
};

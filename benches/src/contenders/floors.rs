//! The cost of a decision's parts alone: the loop, an atomic, a map, a clock. No limiter needs
//! less.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use ahash::RandomState;
use papaya::HashMap;
#[cfg(target_os = "linux")]
use rustix::time::{ClockId, clock_gettime};

use crate::contender::{Asked, Contender, Reach, Rule, Setup, Subject};
use crate::report::Kind;

/// The loop alone, which every other row pays too.
pub const EMPTY: Contender = Contender {
    reach: Reach::Nothing,
    ..part("floor: empty loop", |_| Box::new(Empty))
};

/// A row of its own to hold handles against.
pub const BARE_ATOMIC: Contender = Contender {
    reach: Reach::Unkeyed,
    ..part("floor: atomic CAS, if positive", |setup| {
        Box::new(Bucket::full(setup.rule))
    })
};

/// The least that a keyed decision between threads takes: look the key up, take a token.
pub const BARE_MAP: Contender = Contender {
    reach: Reach::Keyed,
    ..part("floor: papaya + ahash, CAS, cached clock", |setup| {
        Box::new(Map::new(setup))
    })
};

pub(super) fn all() -> Vec<Contender> {
    vec![
        EMPTY,
        part("floor: atomic fetch_sub", |_| {
            Box::new(Counter(AtomicU64::new(0)))
        }),
        BARE_ATOMIC,
        part("floor: block of 64 in a thread-local", |_| {
            Box::new(Block(Bucket::full(Rule::AMPLE)))
        }),
        BARE_MAP,
        part("clock: Instant::now", |_| Box::new(StdClock)),
        #[cfg(target_os = "linux")]
        part("clock: CLOCK_BOOTTIME", |_| {
            Box::new(SystemClock(ClockId::Boottime))
        }),
        #[cfg(target_os = "linux")]
        part("clock: CLOCK_MONOTONIC_COARSE", |_| {
            Box::new(SystemClock(ClockId::MonotonicCoarse))
        }),
        part("clock: quanta now", |_| {
            Box::new(QuantaNow(quanta::Clock::new()))
        }),
        part("clock: quanta raw", |_| {
            Box::new(QuantaRaw(quanta::Clock::new()))
        }),
    ]
}

const fn part(name: &'static str, build: fn(&Setup<'_>) -> Box<dyn Asked>) -> Contender {
    Contender {
        name,
        kind: Kind::Floor,
        reach: Reach::Part,
        build,
        note: None,
    }
}

struct Empty;

impl Subject for Empty {
    #[inline]
    fn decide(&self, _: &String) -> bool {
        true
    }
}

struct Counter(AtomicU64);

impl Subject for Counter {
    #[inline]
    fn decide(&self, _: &String) -> bool {
        self.0.fetch_sub(1, Relaxed);
        true
    }
}

/// Tokens, of which one is taken if there is one. Never refilled.
struct Bucket(AtomicU64);

impl Bucket {
    /// So full that an ample rule is never used up.
    fn full(rule: Rule) -> Self {
        let tokens = if rule == Rule::AMPLE {
            u64::MAX
        } else {
            rule.requests.into()
        };
        Self(AtomicU64::new(tokens))
    }

    #[inline]
    fn take(&self, tokens: u64) -> bool {
        let less = |left: u64| left.checked_sub(tokens);
        self.0.fetch_update(Relaxed, Relaxed, less).is_ok()
    }
}

impl Subject for Bucket {
    #[inline]
    fn decide(&self, _: &String) -> bool {
        self.take(1)
    }
}

/// Takes 64 tokens at a time and spends them where no other thread looks.
struct Block(Bucket);

thread_local! {
    static POCKET: Cell<u64> = const { Cell::new(0) };
}

impl Subject for Block {
    #[inline]
    fn decide(&self, _: &String) -> bool {
        POCKET.with(|pocket| {
            let held = match pocket.get() {
                0 if self.0.take(64) => 64,
                held => held,
            };
            pocket.set(held.saturating_sub(1));
            held > 0
        })
    }
}

struct Map {
    buckets: HashMap<String, Bucket, RandomState>,
    /// The time that a thread of this process would keep up to date.
    time: AtomicU64,
}

impl Map {
    fn new(setup: &Setup<'_>) -> Self {
        let buckets = HashMap::with_capacity_and_hasher(setup.keys.len(), RandomState::new());
        for key in setup.keys {
            buckets.pin().insert(key.clone(), Bucket::full(setup.rule));
        }
        Self {
            buckets,
            time: AtomicU64::new(1),
        }
    }
}

impl Subject for Map {
    #[inline]
    fn decide(&self, key: &String) -> bool {
        black_box(self.time.load(Relaxed));
        let buckets = self.buckets.pin();
        buckets.get(key).is_some_and(|bucket| bucket.take(1))
    }
}

struct StdClock;

impl Subject for StdClock {
    #[inline]
    #[expect(clippy::disallowed_methods, reason = "the clock is what is measured")]
    fn decide(&self, _: &String) -> bool {
        black_box(std::time::Instant::now());
        true
    }
}

#[cfg(target_os = "linux")]
/// A clock of the system, read as the limiter reads its own.
struct SystemClock(ClockId);

#[cfg(target_os = "linux")]
impl Subject for SystemClock {
    #[inline]
    fn decide(&self, _: &String) -> bool {
        black_box(clock_gettime(self.0));
        true
    }
}

struct QuantaNow(quanta::Clock);

impl Subject for QuantaNow {
    #[inline]
    #[expect(clippy::disallowed_methods, reason = "the clock is what is measured")]
    fn decide(&self, _: &String) -> bool {
        black_box(self.0.now());
        true
    }
}

struct QuantaRaw(quanta::Clock);

impl Subject for QuantaRaw {
    #[inline]
    #[expect(clippy::disallowed_methods, reason = "the clock is what is measured")]
    fn decide(&self, _: &String) -> bool {
        black_box(self.0.raw());
        true
    }
}

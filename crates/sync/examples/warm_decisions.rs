//! Makes so many decisions on warm keys and nothing else: `scripts/instructions` counts the
//! instructions of one.
//!
//! `cargo run --release -p leasehold-sync --example warm_decisions -- hot 1000000`
//!
//! Two runs that differ only in the number of decisions differ by those decisions alone. The time
//! is an argument and the seed is fixed, so a run takes the same instructions every time; the
//! reading of a clock, which a limiter adds, is not among them.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;

use leasehold_cache::{Config, KeyRef, OwnedEntry, Owner, Requests};
use leasehold_core::Instant;
use leasehold_sync::{
    FailurePolicy, NamedLimit, RequestPath, SlowRequest, Step, StoreStatus, Syncer, Then, Tuning,
    Waiter,
};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let case = arguments.next().unwrap_or_default();
    let count = arguments.next().and_then(|count| count.parse().ok());
    let Some(((_, run), count)) = CASES.iter().find(|(name, _)| *name == case).zip(count) else {
        eprintln!(
            "usage: warm_decisions CASE COUNT; cases: {}",
            CASES.map(|it| it.0).join(", ")
        );
        return ExitCode::from(2);
    };
    let allowed = run(&Warm::new(), count);
    println!("{allowed} of {count} allowed");
    ExitCode::SUCCESS
}

type Run = fn(&Warm, u64) -> u64;

/// The cases that are counted, by their names in `benches/instructions.toml`.
const CASES: [(&str, Run); 4] = [
    ("hot", Warm::hot),
    ("denied", Warm::denied),
    ("thousand", Warm::thousand),
    ("two_keys", Warm::two_keys),
];

/// A replica whose keys are leased, but for one, which is used up.
struct Warm {
    cache: Arc<Requests>,
    limits: Arc<[NamedLimit]>,
    /// The store is there, as far as anybody heard.
    status: Arc<StoreStatus>,
    keys: Vec<String>,
}

impl Warm {
    fn new() -> Self {
        let keys: Vec<_> = (0..KEYS)
            .map(|number| format!("user:{number:011}"))
            .collect();
        let mut owner = Owner::new(Config {
            keys_max: KEYS + 1,
            seed: 1,
            signals: 1,
        });
        // Inserted first, because the hot key is among its like: a key that comes late lies far
        // from where it is looked for, and that would be counted.
        owned(&mut owner, DENIED.into()).deny(1, LATER);
        for key in &keys {
            owned(&mut owner, key.into()).deposit(TOKENS, LATER, NOW);
        }
        let limits: Arc<[NamedLimit]> = Arc::new([NamedLimit {
            name: "api".into(),
            limit: "1000000/s burst 10000000".parse().expect("a limit"),
            policy: FailurePolicy::Closed,
        }]);
        let cache = Arc::clone(owner.requests());
        let (named, tuning) = (Arc::clone(&limits), Tuning::default());
        Self {
            cache,
            limits,
            status: Syncer::<Nobody>::new(owner, named, tuning, 1, 1).store_status(),
            keys,
        }
    }

    fn hot(&self, count: u64) -> u64 {
        (0..count).map(|_| self.decide(&self.keys[0])).sum()
    }

    fn denied(&self, count: u64) -> u64 {
        (0..count).map(|_| self.decide(DENIED)).sum()
    }

    fn thousand(&self, count: u64) -> u64 {
        let keys = (0..count).zip(self.keys.iter().cycle());
        keys.map(|(_, key)| self.decide(key)).sum()
    }

    fn two_keys(&self, count: u64) -> u64 {
        let both = [0, 1].map(|at| (KeyRef::from(&self.keys[at]), 1));
        let decide = |_| {
            let step = self
                .path()
                .acquire_all(black_box(&both), None, black_box(NOW));
            tally(step).unwrap_or(0)
        };
        (0..count).map(decide).sum()
    }

    /// By the fast path or else by the slow one, as a limiter decides.
    fn decide(&self, key: &str) -> u64 {
        let key: KeyRef<'_> = black_box(key).into();
        let step = self.path().acquire_fast(key, 1, black_box(NOW));
        tally(step).unwrap_or_else(|slow| self.decide_slow(slow, key))
    }

    #[cold]
    fn decide_slow(&self, slow: SlowRequest, key: KeyRef<'_>) -> u64 {
        let step = self.path().acquire_slow(slow, key.limit, key.subject, None);
        tally(step).unwrap_or(0)
    }

    fn path(&self) -> RequestPath<'_> {
        RequestPath {
            cache: &self.cache,
            limits: &self.limits,
            status: &self.status,
        }
    }
}

/// The entry of a key that is inserted, as its owner has it.
fn owned(owner: &mut Owner, key: KeyRef<'_>) -> OwnedEntry {
    let entry = owner.insert(key).expect("there is room");
    owner.claim(&entry).expect("nobody has claimed it")
}

/// 1 if it is allowed, 0 if it is denied; what lacks if it is not decided.
fn tally<Lacking>(step: Step<Lacking>) -> Result<u64, Lacking> {
    match step {
        Step::Decided { verdict, then } => {
            if then != Then::Nothing {
                handle_rest(then);
            }
            Ok(black_box(&verdict).is_allowed().into())
        }
        Step::Undecided(lacking) => Err(lacking),
    }
}

/// The rest of the work, which is seldom any.
#[cold]
#[inline(never)]
fn handle_rest(then: Then) {
    black_box(then);
}

/// Waits for the background half, which has nothing to do here.
struct Nobody;

impl Waiter for Nobody {
    fn is_gone(&self) -> bool {
        true
    }
}

const KEYS: usize = 1000;

const DENIED: &str = "user:denied";

/// Of each key: what a lease holds.
const TOKENS: u32 = 8_000_000;

const NOW: Instant = Instant::from_millis(1000);
const LATER: Instant = Instant::from_millis(10_000);

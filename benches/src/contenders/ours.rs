//! This limiter, through what a service uses: a `Limiter` with its background task and a store.
//!
//! # Invariant
//!
//! The store is the embedded one, so no other process takes part; the task is there and does what
//! it does in a service. What is measured is decided here, from a lease or a denial that is known:
//! whoever measures sees to it that every verdict is the one expected, which a key without tokens
//! would not give.

use std::hint::black_box;
use std::pin::pin;
use std::sync::atomic::{Ordering, fence};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use leasehold::{
    Builder, Decided, KeyRef, Limit, LimitId, Limiter, Micros, Rate, Reason, Tuning, Verdict,
};
use tokio::runtime::Runtime;

use crate::contender::{Asked, Contender, Reach, Rule, Setup, Subject};
use crate::report::Kind;

/// The name of the row that others are held against.
pub const LIMITER: &str = "leasehold, try_acquire";

pub(super) fn all() -> Vec<Contender> {
    let limiter = Contender {
        name: LIMITER,
        kind: Kind::Ours,
        reach: Reach::Keyed,
        build: |setup| Box::new(Ours::new(setup)),
        note: Some(
            "leasehold decides from leases of an embedded store. Its sync task runs on a thread of \
             its own, at intervals so long that leases outlast the measurement: rows take turns, \
             and a key that is asked for in bursts of milliseconds would be given back in between.",
        ),
    };
    let handle = Contender {
        name: HANDLE,
        kind: Kind::Ours,
        reach: Reach::Unkeyed,
        build: |setup| Box::new(Handled(Ours::new(setup))),
        note: Some("A handle is of one key, which its caller keeps: a connection's, a tenant's."),
    };
    let at_once = Contender {
        name: AT_ONCE,
        kind: Kind::Ours,
        reach: Reach::Unkeyed,
        build: |setup| Box::new(Three::new(setup, Three::at_once)),
        note: Some(
            "Three keys are under three limits, as of a user, a tenant and all: one `acquire_all` \
             spends a token of each or of none, and three calls of `acquire` spend them one after \
             the other.",
        ),
    };
    let one_by_one = Contender {
        name: ONE_BY_ONE,
        kind: Kind::Ours,
        reach: Reach::Unkeyed,
        build: |setup| Box::new(Three::new(setup, Three::one_by_one)),
        note: None,
    };
    vec![limiter, handle, at_once, one_by_one]
}

const HANDLE: &str = "leasehold, handle";
const AT_ONCE: &str = "leasehold, acquire_all of three keys";
const ONE_BY_ONE: &str = "leasehold, three calls of acquire";

/// A limiter with three limits, and a key of each.
struct Three {
    ours: Ours,
    keys: [KeyRef<'static>; 3],
    decide: fn(&Self) -> bool,
}

impl Three {
    fn new(setup: &Setup<'_>, decide: fn(&Self) -> bool) -> Self {
        let builder = Ours::builder(setup)
            .limit("tenant", limit(setup.rule))
            .limit("all", limit(setup.rule));
        let subjects = ["user:0000000000", "tenant:00000000", "all"];
        let keys = [0, 1, 2].map(|number| KeyRef {
            limit: LimitId(number),
            subject: subjects[number as usize].as_bytes(),
        });
        let three = Self {
            ours: Ours::build(builder, setup.rule),
            keys,
            decide,
        };
        three.prepare(&[]);
        three
    }

    fn at_once(&self) -> bool {
        let requests = self.keys.map(|key| (black_box(key), 1));
        at_once(self.ours.limiter.acquire_all(&requests))
    }

    fn one_by_one(&self) -> bool {
        let allows = |key| at_once(self.ours.limiter.acquire(black_box(key), 1));
        self.keys.into_iter().all(allows)
    }
}

impl Asked for Three {
    fn ask(&self, keys: &[String], fenced: bool) -> u64 {
        let mut allowed = 0;
        for _ in keys {
            allowed += u64::from(black_box((self.decide)(self)));
            if fenced {
                fence(Ordering::SeqCst);
            }
        }
        allowed
    }

    fn prepare(&self, _: &[String]) {
        self.ours.prepare_keys(&self.keys);
    }
}

/// The verdict of a future that need not wait.
fn at_once(decision: impl Future<Output = Verdict>) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(decision).poll(&mut context) {
        Poll::Ready(verdict) => verdict.is_allowed(),
        Poll::Pending => panic!("the key is warm"),
    }
}

/// This limiter through a handle, which each batch finds once.
struct Handled(Ours);

impl Asked for Handled {
    fn ask(&self, keys: &[String], fenced: bool) -> u64 {
        let Some(first) = keys.first() else {
            return 0;
        };
        let mut handle = self.0.limiter.handle(first);
        let mut allowed = 0;
        for key in keys {
            black_box(key);
            allowed += u64::from(black_box(handle.try_acquire(1).is_allowed()));
            if fenced {
                fence(Ordering::SeqCst);
            }
        }
        allowed
    }

    fn prepare(&self, keys: &[String]) {
        Subject::prepare(&self.0, keys);
    }
}

/// A limiter and the runtime on which its task lives.
#[derive(Debug)]
pub struct Ours {
    limiter: Limiter,
    rule: Rule,
    runtime: Runtime,
}

impl Ours {
    /// A limiter that has leased each key, or, if the rule is tight, found it used up.
    ///
    /// # Panics
    ///
    /// If the store, which is in this process, does not grant what the rule allows.
    pub fn new(setup: &Setup<'_>) -> Self {
        let ours = Self::build(Self::builder(setup), setup.rule);
        if setup.rule == Rule::AMPLE {
            ours.lease(&setup.keys.iter().map(KeyRef::from).collect::<Vec<_>>());
        } else {
            Subject::prepare(&ours, setup.keys);
        }
        ours
    }

    /// A limiter with one limit, which has room for the keys.
    fn builder(setup: &Setup<'_>) -> Builder {
        let builder = Limiter::builder()
            .limit("bench", limit(setup.rule))
            .keys_max(setup.keys.len().max(1000));
        match setup.rule {
            Rule::AMPLE => builder.tuning(patient()),
            _ => builder,
        }
    }

    /// The limiter that the builder makes, on a runtime of one thread.
    ///
    /// # Panics
    ///
    /// If there is no thread for it, or the settings contradict each other.
    pub fn build(builder: Builder, rule: Rule) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_time().build();
        let runtime = runtime.expect("a thread can be started");
        let limiter = {
            let _entered = runtime.enter();
            builder.build().expect("its settings are sound")
        };
        Self {
            limiter,
            rule,
            runtime,
        }
    }

    /// The limiter itself.
    pub const fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Leases so many tokens of each key that no measurement uses them up.
    ///
    /// # Panics
    ///
    /// If that takes too long: something is broken then.
    pub fn lease(&self, keys: &[KeyRef<'_>]) {
        for some in keys.chunks(COMMANDS) {
            let mut missing = some.to_vec();
            for attempt in 0.. {
                assert!(
                    attempt < TRIES,
                    "{} keys could not be leased",
                    missing.len()
                );
                if attempt % ASK_AGAIN == 0 {
                    // What is denied for want of a lease is sent for.
                    for &key in &missing {
                        let _ = self.limiter.try_acquire(key, STOCK);
                    }
                }
                self.pause();
                missing.retain(|&key| !self.has_enough(key));
                if missing.is_empty() {
                    break;
                }
            }
        }
    }

    /// Leases what the keys lack, or uses them up, as the rule says.
    fn prepare_keys(&self, keys: &[KeyRef<'_>]) {
        if self.rule == Rule::AMPLE {
            let lacks = |key: &&KeyRef<'_>| !self.has_enough(**key);
            self.lease(&keys.iter().filter(lacks).copied().collect::<Vec<_>>());
        } else {
            for &key in keys {
                self.drain(key);
            }
        }
    }

    /// Whether a key has tokens for a measurement.
    fn has_enough(&self, key: KeyRef<'_>) -> bool {
        let verdict = self.limiter.try_acquire(key, 1);
        verdict.is_allowed() && verdict.held() >= u64::from(ENOUGH)
    }

    fn pause(&self) {
        self.runtime
            .block_on(async { tokio::time::sleep(PAUSE).await });
    }

    /// Takes what there is of a key, and leaves it denied here; says how much it was.
    pub fn drain<'a>(&self, key: impl Into<KeyRef<'a>>) -> u64 {
        let key = key.into();
        self.runtime.block_on(async {
            let mut tokens = 0;
            loop {
                let verdict = self.limiter.acquire(key, 1).await;
                match verdict.denial() {
                    None => tokens += 1,
                    Some(it) if it.reason == Reason::Exhausted && self.denies(key) => {
                        return tokens;
                    }
                    Some(_) => {}
                }
            }
        })
    }

    /// Whether a request is denied in place, as one over the limit.
    fn denies(&self, key: KeyRef<'_>) -> bool {
        let verdict = self.limiter.try_acquire(key, 1);
        verdict.decided() == Decided::Local
            && verdict
                .denial()
                .is_some_and(|denial| denial.reason == Reason::Exhausted)
    }
}

impl Subject for Ours {
    #[inline]
    fn decide(&self, key: &String) -> bool {
        self.limiter.try_acquire(key, 1).is_allowed()
    }

    fn prepare(&self, keys: &[String]) {
        self.prepare_keys(&keys.iter().map(KeyRef::from).collect::<Vec<_>>());
    }
}

/// The rule as a limit of ours.
pub fn limit(rule: Rule) -> Limit {
    let tokens = u64::from(rule.requests);
    let period = Micros::from_duration(rule.period);
    Limit::new(Rate { tokens, period }, tokens, 0).expect("the rule is one")
}

/// Leases that outlast every measurement, and no calls meanwhile but for keys that run low.
pub fn patient() -> Tuning {
    let mut tuning = Tuning::default();
    let hour = Duration::from_secs(3600);
    tuning.interval_min = hour;
    tuning.interval_small = hour;
    tuning.interval_max = hour;
    tuning.hold_max = hour;
    tuning.lease_min = hour * 2;
    tuning.lease_max = hour * 2;
    tuning.idle_after = hour;
    // Or a million keys would take minutes to lease.
    tuning.call_gap = Duration::from_micros(10);
    tuning
}

/// Tokens to lease for a key: the store decides itself about a request for more than 4.19 million.
const STOCK: u32 = 4_190_000;

/// Tokens with which a key enters a measurement: more than two threads spend in its 25 ms and in
/// the 2.5 ms of warm-up before, as long as each takes 15 ns for a decision.
const ENOUGH: u32 = STOCK / 10 * 9;

/// A limiter hears of so many keys at a time.
const COMMANDS: usize = 8192;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// Looks after which keys are sent for anew: some may have been spent while they were asked for.
const ASK_AGAIN: u32 = 100;

/// Ten seconds for a few thousand keys.
const TRIES: u32 = 10_000;

//! A quota cache, driven by one thread at random, agrees with a model without atomics.
#![cfg(not(leasehold_loom))]

use std::collections::BTreeMap;
use std::sync::Arc;

use leasehold_cache::{
    AllLocal, Config, Full, KeyRef, LimitId, LocalDecision, LocalDenial, OwnedEntry, Owner,
};
use leasehold_core::Instant;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

proptest! {
    #[test]
    fn a_cache_agrees_with_its_model(steps in vec(step(), 1..60)) {
        let mut owner = Owner::new(Config { keys_max: KEYS_MAX, seed: 7, signals: 64 });
        let mut model = Model::default();
        for step in steps {
            let expected = model.apply(&step);
            let answer = apply(&mut owner, &step, model.now());
            prop_assert_eq!(answer, expected, "after {:?}", step);
            prop_assert_eq!(owner.requests().len(), model.keys.len());
        }
    }
}

/// A step: something done to a cache. Keys are the numbers 0 to 3; times are in lease ticks, so
/// that the model need not round.
#[derive(Clone, Debug)]
enum Step {
    Pass { ticks: u64 },
    Insert { key: u8 },
    Remove { key: u8 },
    Deposit { key: u8, tokens: u32, ticks: u64 },
    Withdraw { key: u8, keep: u32 },
    Renew { key: u8 },
    Deny { key: u8, cost: u32, ticks: u64 },
    Acquire { key: u8, cost: u32 },
    AcquireAll { requests: Vec<(u8, u32)> },
    Look { key: u8 },
}

/// The outcome of a step.
#[derive(Debug, Eq, PartialEq)]
enum Answer {
    Nothing,
    Inserted(Result<(), Full>),
    Tokens { live: u32, dead: u32, denied: u32 },
    Said(LocalDecision),
    SaidAll(AllLocal),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0_u8..4;
    let tokens = || 0_u32..8;
    let ticks = || 0_u64..6;
    prop_oneof![
        ticks().prop_map(|ticks| Step::Pass { ticks }),
        key().prop_map(|key| Step::Insert { key }),
        key().prop_map(|key| Step::Insert { key }),
        key().prop_map(|key| Step::Remove { key }),
        (key(), tokens(), ticks()).prop_map(|(key, tokens, ticks)| Step::Deposit {
            key,
            tokens,
            ticks
        }),
        (key(), tokens(), ticks()).prop_map(|(key, tokens, ticks)| Step::Deposit {
            key,
            tokens,
            ticks
        }),
        (key(), tokens()).prop_map(|(key, keep)| Step::Withdraw { key, keep }),
        key().prop_map(|key| Step::Renew { key }),
        (key(), tokens(), ticks()).prop_map(|(key, cost, ticks)| Step::Deny { key, cost, ticks }),
        (key(), costs()).prop_map(|(key, cost)| Step::Acquire { key, cost }),
        (key(), costs()).prop_map(|(key, cost)| Step::Acquire { key, cost }),
        vec((key(), costs()), 0..4).prop_map(|requests| Step::AcquireAll { requests }),
        vec((key(), costs()), 0..4).prop_map(|requests| Step::AcquireAll { requests }),
        key().prop_map(|key| Step::Look { key }),
    ]
}

fn costs() -> impl Strategy<Value = u32> {
    prop_oneof![9 => 0_u32..6, 1 => select(vec![(1 << 24) - 1, 1 << 24, u32::MAX])]
}

/// Does `step` to the cache itself.
fn apply(owner: &mut Owner, step: &Step, now: Instant) -> Answer {
    let cache = Arc::clone(owner.requests());
    let mut with_entry = |key: u8, change: &dyn Fn(&mut OwnedEntry) -> Answer| {
        let Some(entry) = cache.get(key_ref(&[key])) else {
            return Answer::Nothing;
        };
        let mut entry = owner.claim(&entry).expect("each is dropped after its step");
        change(&mut entry)
    };
    match *step {
        Step::Pass { .. } => Answer::Nothing,
        Step::Insert { key } => Answer::Inserted(owner.insert(key_ref(&[key])).map(drop)),
        Step::Remove { key } => {
            if let Some(entry) = cache.get(key_ref(&[key])) {
                assert!(owner.remove(&entry));
            }
            Answer::Nothing
        }
        Step::Deposit { key, tokens, ticks } => with_entry(key, &|entry| {
            let dead = entry.deposit(tokens, later(now, ticks), now);
            tokens_only(0, dead)
        }),
        Step::Withdraw { key, keep } => with_entry(key, &|entry| {
            let withdrawn = entry.withdraw(keep, now);
            tokens_only(withdrawn.live, withdrawn.dead)
        }),
        Step::Renew { key } => with_entry(key, &|entry| tokens_only(0, entry.renew_generation())),
        Step::Deny { key, cost, ticks } => with_entry(key, &|entry| {
            entry.deny(cost, later(now, ticks));
            entry.set_full_at(later(now, 2 * ticks));
            Answer::Nothing
        }),
        Step::Acquire { key, cost } => Answer::Said(cache.try_acquire(key_ref(&[key]), cost, now)),
        Step::AcquireAll { ref requests } => {
            let keys: Vec<[u8; 1]> = requests.iter().map(|&(key, _)| [key]).collect();
            let requests: Vec<_> = keys
                .iter()
                .zip(requests)
                .map(|(key, &(_, cost))| (key_ref(key), cost))
                .collect();
            Answer::SaidAll(cache.try_acquire_all(&requests, |_, left, _| left.into(), now))
        }
        Step::Look { key } => with_entry(key, &|entry| {
            let account = entry.take_account(now);
            assert_eq!(account.pending, 0, "nothing stays held between calls");
            Answer::Tokens {
                live: account.lease.live,
                dead: account.lease.dead,
                denied: entry.take_denied(),
            }
        }),
    }
}

/// The cache in plain values.
#[derive(Default)]
struct Model {
    now_ticks: u64,
    keys: BTreeMap<u8, ModelKey>,
}

#[derive(Default)]
struct ModelKey {
    tokens: u32,
    deadline_ticks: u64,
    denial: Option<(u32, u64)>,
    full_at_ticks: u64,
    denied: u32,
}

impl Model {
    fn now(&self) -> Instant {
        instant(self.now_ticks)
    }

    fn apply(&mut self, step: &Step) -> Answer {
        let now = self.now_ticks;
        let full = self.keys.len() == KEYS_MAX;
        match *step {
            Step::Pass { ticks } => {
                self.now_ticks += ticks;
                Answer::Nothing
            }
            Step::Insert { key } if full && !self.keys.contains_key(&key) => {
                Answer::Inserted(Err(Full))
            }
            Step::Insert { key } => {
                self.keys.entry(key).or_default();
                Answer::Inserted(Ok(()))
            }
            Step::Remove { key } => {
                self.keys.remove(&key);
                Answer::Nothing
            }
            Step::Acquire { key, cost } => Answer::Said(self.acquire(key, cost)),
            Step::AcquireAll { ref requests } => Answer::SaidAll(self.acquire_all(requests)),
            Step::Deposit { key, .. }
            | Step::Withdraw { key, .. }
            | Step::Renew { key }
            | Step::Deny { key, .. }
            | Step::Look { key } => match self.keys.get_mut(&key) {
                Some(found) => found.apply(step, now),
                None => Answer::Nothing,
            },
        }
    }

    fn acquire(&mut self, key: u8, cost: u32) -> LocalDecision {
        let now = self.now_ticks;
        let Some(key) = self.keys.get_mut(&key) else {
            return LocalDecision::Unknown;
        };
        let live = key.live(now);
        if cost <= live {
            key.tokens -= cost;
            return LocalDecision::Allow {
                left: live - cost,
                full_at: key.full_at(),
                wake: false,
            };
        }
        match key.denies(cost, now) {
            Some(until) => {
                key.denied = key.denied.saturating_add(cost);
                LocalDecision::Deny(key.local_denial(until))
            }
            None => LocalDecision::Short { tokens: live },
        }
    }

    /// Denials of single requests first; then one after the other, undone as a whole if one is not
    /// allowed. Told is of the first that has the fewest tokens left.
    fn acquire_all(&mut self, requests: &[(u8, u32)]) -> AllLocal {
        let now = self.now_ticks;
        for (index, (key, cost)) in requests.iter().enumerate() {
            let Some(key) = self.keys.get_mut(key) else {
                continue;
            };
            if key.live(now) < *cost
                && let Some(until) = key.denies(*cost, now)
            {
                key.denied = key.denied.saturating_add(*cost);
                let denial = key.local_denial(until);
                return AllLocal::Deny { index, denial };
            }
        }
        let before: Vec<_> = self.keys.values().map(|key| key.tokens).collect();
        let mut told = Vec::new();
        for (index, &(key, cost)) in requests.iter().enumerate() {
            let refusal = match self.acquire(key, cost) {
                LocalDecision::Allow { left, full_at, .. } => {
                    told.push((left, index, full_at));
                    continue;
                }
                LocalDecision::Deny(denial) => AllLocal::Deny { index, denial },
                LocalDecision::Short { tokens } => AllLocal::Short { index, tokens },
                LocalDecision::Unknown => AllLocal::Unknown { index },
            };
            for (key, tokens) in self.keys.values_mut().zip(before) {
                key.tokens = tokens;
            }
            return refusal;
        }
        let least = told
            .into_iter()
            .min_by_key(|&(left, index, _)| (left, index));
        let (left, index, full_at) = least.unwrap_or((0, 0, Instant::ORIGIN));
        AllLocal::Allow {
            index,
            left,
            full_at,
            wake: false,
        }
    }
}

impl ModelKey {
    fn apply(&mut self, step: &Step, now: u64) -> Answer {
        let (live, dead) = (self.live(now), self.tokens - self.live(now));
        match *step {
            Step::Deposit { tokens, ticks, .. } => {
                self.tokens = live + tokens;
                self.deadline_ticks = self.deadline_ticks.max(now + ticks);
                tokens_only(0, dead)
            }
            Step::Withdraw { keep, .. } => {
                self.tokens = live.min(keep);
                tokens_only(live - self.tokens, dead)
            }
            Step::Renew { .. } => {
                let all = self.tokens;
                (self.tokens, self.deadline_ticks) = (0, 0);
                tokens_only(0, all)
            }
            Step::Deny { cost, ticks, .. } => {
                self.denial = Some((cost, now + ticks));
                self.full_at_ticks = now + 2 * ticks;
                Answer::Nothing
            }
            Step::Look { .. } => Answer::Tokens {
                live,
                dead,
                denied: std::mem::take(&mut self.denied),
            },
            _ => unreachable!("handled by the model"),
        }
    }

    fn live(&self, now: u64) -> u32 {
        if now < self.deadline_ticks {
            self.tokens
        } else {
            0
        }
    }

    fn full_at(&self) -> Instant {
        instant(self.full_at_ticks)
    }

    fn local_denial(&self, until: Instant) -> LocalDenial {
        LocalDenial {
            until,
            full_at: self.full_at(),
            is_in_fallback: false,
        }
    }

    fn denies(&self, cost: u32, now: u64) -> Option<Instant> {
        let (denied_cost, until) = self.denial?;
        (cost >= denied_cost && now < until).then(|| instant(until))
    }
}

fn tokens_only(live: u32, dead: u32) -> Answer {
    let denied = 0;
    Answer::Tokens { live, dead, denied }
}

fn key_ref(subject: &[u8]) -> KeyRef<'_> {
    let limit = LimitId(3);
    KeyRef { limit, subject }
}

fn instant(ticks: u64) -> Instant {
    Instant::from_nanos(ticks << 22)
}

fn later(now: Instant, ticks: u64) -> Instant {
    Instant::from_nanos(now.as_nanos() + (ticks << 22))
}

/// One less than there are keys in play.
const KEYS_MAX: usize = 3;

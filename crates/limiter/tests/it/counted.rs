//! The counts of decided requests: each under its limit and its reason, once.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::time::Duration;

use leasehold::{
    Decided, FailurePolicy, KeyRef, LimitId, LimitStats, Limiter, Mode, Reason, Stats, Tuning,
    Verdict,
};

use crate::fault_store::{Fault, FaultStore};
use crate::world::{PATIENCE, build, one_limit};

/// The tokens of verdicts as callers heard them: by limit, and by where it was allowed or why not.
#[derive(Debug, Default, Eq, PartialEq)]
struct Heard {
    allowed: BTreeMap<(Option<String>, usize), u64>,
    denied: BTreeMap<(Option<String>, usize), u64>,
}

const NAMES: [&str; 2] = ["api", "global"];

impl Heard {
    /// A verdict on `costs`, one under each limit that was asked.
    fn hear(&mut self, verdict: Verdict, costs: &[(usize, u32)]) {
        let name = |limit: usize| Some(NAMES[limit].to_owned());
        let Some(denial) = verdict.denial() else {
            for &(limit, cost) in costs {
                let counted = (name(limit), verdict.decided().index());
                *self.allowed.entry(counted).or_default() += u64::from(cost);
            }
            return;
        };
        let limit = denial.limit.map(|LimitId(limit)| limit as usize);
        let under = |(it, _): &&(usize, u32)| limit.is_none_or(|limit| *it == limit);
        let tokens = costs.iter().filter(under).map(|(_, cost)| u64::from(*cost));
        let counted = (limit.and_then(name), denial.reason.index());
        *self.denied.entry(counted).or_default() += tokens.sum::<u64>();
    }

    fn of(stats: &Stats) -> Self {
        let mut heard = Self::default();
        for row in stats.by_limit() {
            let name = || row.limit.as_deref().map(str::to_owned);
            let allowed = Decided::ALL.map(|decided| (decided.index(), row.allowed(decided)));
            let allowed = allowed.into_iter().filter(|(_, tokens)| *tokens > 0);
            (heard.allowed).extend(allowed.map(|(at, tokens)| ((name(), at), tokens)));
            let denied = Reason::ALL.map(|reason| (reason.index(), row.denied(reason)));
            let denied = denied.into_iter().filter(|(_, tokens)| *tokens > 0);
            (heard.denied).extend(denied.map(|(at, tokens)| ((name(), at), tokens)));
        }
        heard
    }
}

/// Waits until the counts of `limiter` are what was heard.
async fn counted(limiter: &Limiter, heard: &Heard) {
    let seen = async || (Heard::of(&limiter.stats()) == *heard).then_some(());
    let in_time = tokio::time::timeout(PATIENCE, async {
        while seen().await.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let in_time = in_time.await;
    assert!(
        in_time.is_ok(),
        "heard {heard:?}, counted {:?}",
        Heard::of(&limiter.stats())
    );
    for row in limiter.stats().by_limit() {
        let sum = |sum: u64, tokens: u64| sum + tokens;
        let allowed = Decided::ALL.map(|decided| row.allowed(decided));
        let denied = Reason::ALL.map(|reason| row.denied(reason));
        assert_eq!(allowed.into_iter().fold(0, sum), row.allowed_in_all());
        assert_eq!(denied.into_iter().fold(0, sum), row.denied_in_all());
    }
}

#[tokio::test]
async fn each_request_is_counted_under_its_limit_and_its_reason() {
    let limiter = build(one_limit("1/h burst 50"));
    let mut heard = Heard::default();
    // Some wait for the store, some find tokens here, the rest are denied by what is known here.
    for cost in [1, 2, 3].into_iter().cycle().take(60) {
        heard.hear(limiter.acquire("alice", cost).await, &[(0, cost)]);
        heard.hear(limiter.try_acquire("alice", cost), &[(0, cost)]);
    }
    let mut handle = limiter.handle("alice");
    heard.hear(handle.try_acquire(1), &[(0, 1)]);
    // Known to be denied, and for another reason.
    heard.hear(limiter.acquire("alice", 51).await, &[(0, 51)]);
    for _ in 0..3 {
        heard.hear(limiter.acquire("alice", u32::MAX).await, &[(0, u32::MAX)]);
        heard.hear(handle.try_acquire(u32::MAX), &[(0, u32::MAX)]);
    }
    heard.hear(limiter.try_acquire("bob", 7), &[(0, 7)]);
    heard.hear(limiter.acquire("x".repeat(1025), 5).await, &[(0, 5)]);
    heard.hear(limiter.acquire("carol", 0).await, &[(0, 0)]);
    heard.hear(limiter.acquire(("none", "alice"), 4).await, &[(0, 4)]);
    heard.hear(limiter.try_acquire(("none", "alice"), 4), &[(0, 4)]);
    heard.hear(limiter.handle(("none", "alice")).try_acquire(4), &[(0, 4)]);
    heard.denied.retain(|_, tokens| *tokens > 0);
    heard.allowed.retain(|_, tokens| *tokens > 0);
    let reasons: Vec<_> = heard.denied.keys().map(|(_, reason)| *reason).collect();
    for reason in [
        Reason::Exhausted,
        Reason::TooCostly,
        Reason::NotLeased,
        Reason::KeyTooLong,
        Reason::UnknownLimit,
    ] {
        assert!(reasons.contains(&reason.index()), "{reason:?}: {heard:?}");
    }
    counted(&limiter, &heard).await;
    limiter.shutdown().await.unwrap();
    heard.hear(limiter.acquire("dora", 9).await, &[(0, 9)]);
    // Denied before the end for want of tokens, for an hour.
    for verdict in [limiter.acquire("alice", 9).await, handle.try_acquire(9)] {
        assert_eq!(verdict.denial().unwrap().reason, Reason::ShutDown);
        heard.hear(verdict, &[(0, 9)]);
    }
    counted(&limiter, &heard).await;
}

#[tokio::test]
async fn a_denial_by_several_limits_is_counted_under_the_one_that_denied() {
    let limiter = build(one_limit("1/h burst 40").limit("global", "1/h burst 90"));
    let mut heard = Heard::default();
    let keys = |user| -> [(KeyRef<'static>, u32); 2] {
        [
            ((LimitId(0), user).into(), 2),
            ((LimitId(1), "everybody").into(), 3),
        ]
    };
    for user in ["alice", "bob", "alice", "bob"] {
        for _ in 0..12 {
            let verdict = limiter.acquire_all(&keys(user)).await;
            heard.hear(verdict, &[(0, 2), (1, 3)]);
            let verdict = limiter.try_acquire_all(&keys(user));
            heard.hear(verdict, &[(0, 2), (1, 3)]);
        }
    }
    let exhausted = |name: &str| (Some(name.to_owned()), Reason::Exhausted.index());
    assert!(heard.denied.contains_key(&exhausted("global")), "{heard:?}");
    counted(&limiter, &heard).await;
    limiter.shutdown().await.unwrap();
    // No limit was looked at.
    let verdict = limiter.acquire_all(&keys("alice")).await;
    heard.hear(verdict, &[(0, 2), (1, 3)]);
    assert!(heard.denied.contains_key(&(None, Reason::ShutDown.index())));
    counted(&limiter, &heard).await;
}

#[tokio::test]
async fn what_is_decided_without_the_store_is_counted_as_it_was_told() {
    for policy in [
        FailurePolicy::Closed,
        FailurePolicy::Open,
        FailurePolicy::Local,
    ] {
        let mut tuning = Tuning::default();
        tuning.max_replicas = NonZero::new(1);
        tuning.idle_after = Duration::from_millis(200);
        let builder = one_limit("1/h burst 20").tuning(tuning);
        let builder = builder.failure_policy("api", policy);
        let limiter = build(builder.store(FaultStore::new(Fault::Fails)));
        let mut heard = Heard::default();
        for _ in 0..60 {
            heard.hear(limiter.acquire("alice", 1).await, &[(0, 1)]);
            heard.hear(limiter.try_acquire("alice", 1), &[(0, 1)]);
        }
        // Denied here as others are, and for another reason.
        heard.hear(limiter.acquire("alice", 21).await, &[(0, 21)]);
        counted(&limiter, &heard).await;
    }
}

#[tokio::test]
async fn a_central_limiter_counts_what_the_store_decides() {
    let limiter = build(one_limit("1/h burst 20").mode(Mode::Central));
    let mut heard = Heard::default();
    for _ in 0..15 {
        heard.hear(limiter.acquire("alice", 2).await, &[(0, 2)]);
    }
    counted(&limiter, &heard).await;
    let api = limiter.stats().by_limit().next().cloned();
    let api: LimitStats = api.expect("there is a limit");
    assert_eq!(api.allowed(Decided::Store), 20);
    assert_eq!(api.denied(Reason::Exhausted), 10);
}

/// A token of the first request was counted twice: the task found it spent before its caller knew.
#[tokio::test]
async fn a_request_that_waited_is_counted_once_from_the_start() {
    for limit in ["100/s burst 20", "2/h"] {
        let limiter = build(one_limit(limit));
        let mut heard = Heard::default();
        heard.hear(limiter.acquire("alice", 1).await, &[(0, 1)]);
        assert_eq!(Heard::of(&limiter.stats()), heard, "{limit}");
        counted(&limiter, &heard).await;
    }
}

//! A verdict tells of the limit that decided: what is held here, and what remains of it.

use std::num::NonZero;
use std::time::Duration;

use leasehold::{
    Decided, Estimate, FailurePolicy, KeyRef, LimitId, Limiter, Mode, Reason, Verdict,
};

use crate::fault_store::{Fault, FaultStore};
use crate::world::{alone, build, denial, eventually, one_limit};

const USER: LimitId = LimitId(0);
const GLOBAL: LimitId = LimitId(1);

/// The tokens that remain by the verdict's own limit, checked to be within its bounds.
fn estimate(limiter: &Limiter, verdict: &Verdict) -> Estimate {
    let estimate = limiter.estimate(verdict).expect("a limit was looked at");
    assert_eq!(Some(estimate.limit), verdict.limit());
    assert!(estimate.remaining <= estimate.burst, "{estimate:?}");
    assert!(
        estimate.remaining >= verdict.held(),
        "{estimate:?}, {verdict:?}"
    );
    estimate
}

/// On an idle limit of 2000 it told 1999, then 29, 28 and so on, while 1970 were free.
#[tokio::test]
async fn what_remains_shrinks_by_each_request_whoever_decides_it() {
    for mode in [Mode::Lease, Mode::Central] {
        let limiter = build(one_limit("1/h burst 2000").mode(mode));
        for spent in 1..=300 {
            let verdict = limiter.acquire("alice", 1).await;
            assert!(verdict.is_allowed(), "{verdict:?}");
            let remaining = estimate(&limiter, &verdict).remaining;
            let expected = 2000 - spent;
            assert!(
                remaining.abs_diff(expected) <= 1,
                "{remaining}, not {expected}: {verdict:?}"
            );
        }
        let verdict = limiter.acquire("alice", 1).await;
        match mode {
            Mode::Central => assert_eq!(verdict.held(), 0, "nothing is held"),
            // A mode that another version may add is not run here.
            Mode::Lease | _ => assert!(verdict.held() < 1700, "{verdict:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_used_up_has_nothing_left_and_after_a_silence_all_of_it() {
    let limiter = alone("20/s burst 20");
    let denied = eventually("the burst is used up", async || {
        let verdict = limiter.acquire("alice", 1).await;
        verdict.denial().map(|_| verdict)
    })
    .await;
    assert_eq!(denied.limit(), Some(USER));
    let told = estimate(&limiter, &denied);
    assert_eq!((told.remaining, told.burst), (0, 20));
    eventually("the bucket is full", async || {
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let verdict = limiter.acquire("alice", 1).await;
        let told = limiter.estimate(&verdict)?;
        (told.remaining == 19).then_some(())
    })
    .await;
}

#[tokio::test]
async fn of_several_limits_the_one_that_decides_is_told() {
    let limits = one_limit("1/h burst 10").limit("global", "1/h burst 4");
    let limiter = build(limits);
    let both = [KeyRef::from("alice"), (GLOBAL, "all").into()].map(|key| (key, 1));
    for left in (0..4).rev() {
        let verdict = limiter.acquire_all(&both).await;
        assert!(verdict.is_allowed(), "{verdict:?}");
        assert_eq!(verdict.limit(), Some(GLOBAL), "fewer are left of it");
        let told = estimate(&limiter, &verdict);
        assert!(told.remaining.abs_diff(left) <= 1, "{told:?}, not {left}");
        assert_eq!(verdict.check().unwrap().limit, Some(GLOBAL));
    }
    for verdict in [
        limiter.acquire_all(&both).await,
        limiter.try_acquire_all(&both),
    ] {
        assert_eq!(denial(verdict).limit, Some(GLOBAL));
        assert_eq!(estimate(&limiter, &verdict).remaining, 0);
    }
    let verdict = limiter.acquire_all(&[both[0], (both[1].0, 5)]).await;
    assert_eq!(
        (denial(verdict).reason, verdict.limit()),
        (Reason::TooCostly, Some(GLOBAL))
    );
    let verdict = limiter.acquire("bob", 11).await;
    assert_eq!(
        (denial(verdict).reason, verdict.limit()),
        (Reason::TooCostly, Some(USER))
    );
}

/// It said that it had decided here, and told 0 remaining, of which nothing was true.
#[tokio::test]
async fn who_waited_for_the_store_is_told_so() {
    let limiter = build(one_limit("1/h burst 100"));
    let both = ["alice", "bob"].map(|name| (KeyRef::from(name), 1));
    let verdict = limiter.acquire_all(&both).await;
    assert!(verdict.is_allowed(), "{verdict:?}");
    assert_eq!(verdict.decided(), Decided::Store);
    assert_eq!(estimate(&limiter, &verdict).remaining, 99);
}

#[tokio::test]
async fn a_request_that_costs_nothing_is_told_what_is_known() {
    let limiter = alone("1/h burst 100");
    let verdict = limiter.try_acquire("alice", 0);
    assert!(verdict.is_allowed(), "{verdict:?}");
    assert_eq!(
        (verdict.limit(), limiter.estimate(&verdict)),
        (Some(USER), None)
    );
    assert!(limiter.acquire("alice", 30).await.is_allowed());
    let verdict = limiter.try_acquire("alice", 0);
    assert_eq!(estimate(&limiter, &verdict).remaining, 70);
}

#[tokio::test]
async fn without_the_store_no_more_than_the_burst_is_told() {
    for policy in [
        FailurePolicy::Closed,
        FailurePolicy::Local,
        FailurePolicy::Open,
    ] {
        let store = FaultStore::new(Fault::Fails);
        let mut builder = one_limit("1/h burst 50").store(store);
        builder = builder.failure_policy("api", policy);
        let mut tuning = leasehold::Tuning::default();
        tuning.max_replicas = NonZero::new(2);
        let limiter = build(builder.tuning(tuning));
        for _ in 0..40 {
            let verdict = limiter.acquire("alice", 1).await;
            assert_eq!(verdict.limit(), Some(USER), "{verdict:?}");
            if let Some(told) = limiter.estimate(&verdict) {
                assert!(told.remaining <= 50, "{told:?}");
                assert!(verdict.is_allowed() || told.remaining == 0, "{told:?}");
            }
        }
    }
}

//! The first request on a key.

use leasehold::{Decided, Limiter, Reason};

use crate::world::{alone, denial, eventually};

#[tokio::test]
async fn the_first_request_is_not_denied_on_one_thread() {
    nobodys_first_request_is_denied().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_request_is_not_denied_on_several_threads() {
    nobodys_first_request_is_denied().await;
}

async fn nobodys_first_request_is_denied() {
    let fast = alone("1000/s");
    let slow = alone("1/h");
    for user in 0..100 {
        let key = format!("user:{user}");
        for limiter in [&fast, &slow] {
            let verdict = limiter.acquire(&key, 1).await;
            assert!(verdict.is_allowed(), "{key}: {verdict:?}");
            assert_eq!(verdict.decided(), Decided::Store);
        }
    }
    for limiter in [fast, slow] {
        limiter.shutdown().await.expect("the store answers");
    }
}

#[tokio::test]
async fn a_request_that_does_not_wait_sends_for_tokens() {
    tokens_come_for_those_who_do_not_wait(&alone("1000/s")).await;
    tokens_come_for_those_who_do_not_wait(&alone("1/h")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_wait_sends_for_tokens_on_several_threads() {
    tokens_come_for_those_who_do_not_wait(&alone("1000/s")).await;
}

async fn tokens_come_for_those_who_do_not_wait(limiter: &Limiter) {
    let first = limiter.try_acquire("alice", 1);
    assert_eq!(first.decided(), Decided::Local);
    assert_eq!(denial(first).reason, Reason::NotLeased);
    let wait = denial(first).retry.wait();
    assert!(wait.is_some_and(|wait| !wait.is_zero()));
    let verdict = eventually("a token has come", async || {
        Some(limiter.try_acquire("alice", 1)).filter(leasehold::Verdict::is_allowed)
    });
    assert_eq!(verdict.await.decided(), Decided::Local);
}

#[tokio::test]
async fn all_tokens_come_for_those_who_do_not_wait() {
    let limiter = alone("1/h burst 20");
    let mut allowed = 0;
    let exhausted = eventually("the limit is reached", async || {
        let verdict = limiter.try_acquire("alice", 1);
        allowed += u64::from(verdict.is_allowed());
        verdict
            .denial()
            .filter(|denial| denial.reason == Reason::Exhausted)
    });
    exhausted.await;
    assert_eq!(allowed, 20);
}

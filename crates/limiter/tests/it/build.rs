//! Limiters that cannot be built, and the errors that say why.

use std::time::Duration;

use leasehold::{BuildError, Builder, FailurePolicy, LimitId, Limiter, Tuning, TuningError};

use crate::world::{PATIENCE, build, clock};

/// Texts, numbers and limits may be given; which one is bad is said by its name.
#[tokio::test]
async fn a_bad_limit_is_named_in_whatever_form_it_is_given() {
    let bad = |limiter: Builder| error(limiter.limit("other", "1/x")).to_string();
    let text = bad(Limiter::builder().limit("api", "1000/fortnight"));
    assert_eq!(
        text,
        "limit `api`: in `1000/fortnight` at `fortnight` (column 6): unknown unit of time: use \
         us, ms, s, min, h or day"
    );
    let owned = bad(Limiter::builder().limit("api", String::from("-1/s")));
    assert!(owned.starts_with("limit `api`: in `-1/s`"), "{owned}");
    let numbers = bad(Limiter::builder().limit("api", leasehold::Limit::per_second(0)));
    assert!(numbers.starts_with("limit `api`: a rate of 0"), "{numbers}");
    let limiter = Limiter::builder()
        .limit("api", leasehold::Limit::per_second(2))
        .limit("typed", limit())
        .build()
        .expect("both are limits");
    assert!(limiter.acquire("alice", 2).await.is_allowed());
    assert!(!limiter.acquire("alice", 2).await.is_allowed());
}

fn limit() -> leasehold::Limit {
    "10/s".parse().expect("a limit")
}

fn error(builder: Builder) -> BuildError {
    builder.build().expect_err("it cannot be built")
}

#[tokio::test]
async fn a_limiter_limits_something() {
    let error = error(Limiter::builder());
    assert_eq!(error, BuildError::NoLimit);
    assert!(error.to_string().contains(".limit("), "{error}");
}

#[tokio::test]
async fn no_two_limits_have_one_name() {
    let twice = Limiter::builder()
        .limit("api", limit())
        .limit("api", limit());
    let error = error(twice);
    assert_eq!(error, BuildError::NameTwice("api".to_owned()));
    assert!(error.to_string().contains("`api`"), "{error}");
}

/// Each limit was held against all before it, and each look-up by name against all: 50 000 limits
/// took 18 s.
#[tokio::test]
async fn a_hundred_thousand_limits_with_policies_are_built_and_found_in_no_time() {
    let names: Vec<_> = (0..100_000)
        .map(|tenant| format!("tenant-{tenant}"))
        .collect();
    let start = clock();
    let mut builder = Limiter::builder();
    for name in &names {
        builder = builder.limit(name, limit());
    }
    for name in &names {
        builder = builder.failure_policy(name, FailurePolicy::Open);
    }
    let limiter = build(builder);
    for (index, name) in (0..).zip(&names) {
        assert_eq!(limiter.limit_id(name), Some(LimitId(index)));
    }
    let took = clock().since(start);
    assert!(took < LINEAR, "{took:?}");
}

/// Time for work that takes a second or two on an idle machine, and minutes if each limit looks at
/// all others.
const LINEAR: Duration = Duration::from_secs(30);

/// All limits' bounds were worked out at every turn of the background task.
#[tokio::test]
async fn a_request_is_no_slower_for_a_hundred_thousand_other_limits() {
    let mut builder = Limiter::builder();
    for tenant in 0..100_000 {
        builder = builder.limit(&format!("tenant-{tenant}"), limit());
    }
    let limiter = build(builder.budget(PATIENCE));
    let start = clock();
    for user in 0..300 {
        let verdict = limiter.acquire(&format!("user:{user}"), 1).await;
        assert!(verdict.is_allowed(), "{verdict:?}");
    }
    let took = clock().since(start);
    assert!(took < LINEAR, "{took:?}");
}

#[tokio::test]
async fn a_name_that_is_missed_among_many_is_answered_in_a_line() {
    let mut builder = Limiter::builder().failure_policy("tenant", FailurePolicy::Open);
    for tenant in 0..1000 {
        builder = builder.limit(&format!("tenant-{tenant}"), limit());
    }
    let said = error(builder).to_string();
    assert!(
        said.contains("`tenant-0`") && said.contains("980 more"),
        "{said}"
    );
    assert!(said.len() < 1000, "{said}");
}

#[tokio::test]
async fn a_name_fits_a_key_of_any_store() {
    let long = "x".repeat(65);
    for name in ["", "a:b", "a b", "{a}", "näh", "a\n", &long] {
        let error = error(Limiter::builder().limit(name, limit()));
        assert_eq!(error, BuildError::BadName(name.to_owned()));
        assert!(error.to_string().contains("64 letters"), "{error}");
    }
    let longest = "x".repeat(64);
    for name in ["api", "per-user.v2_EU", "7", &longest] {
        assert!(Limiter::builder().limit(name, limit()).build().is_ok());
    }
}

#[tokio::test]
async fn nothing_that_must_be_there_is_zero() {
    let builder = || Limiter::builder().limit("api", limit());
    let zeros = [
        (builder().keys_max(0), "keys_max"),
        (builder().budget(Duration::ZERO), "budget"),
        (builder().call_timeout(Duration::ZERO), "call_timeout"),
    ];
    for (builder, name) in zeros {
        let error = error(builder);
        assert_eq!(error, BuildError::Zero(name));
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_limiter_is_built_within_a_runtime() {
    let error = error(Limiter::builder().limit("api", limit()));
    assert_eq!(error, BuildError::NoRuntime);
    assert!(error.to_string().contains("tokio runtime"), "{error}");
}

#[tokio::test]
async fn limits_are_found_by_their_names() {
    let limiter = Limiter::builder()
        .limit("first", limit())
        .limit("second", limit())
        .build();
    let limiter = limiter.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(limiter.limit_id("first"), Some(leasehold::LimitId(0)));
    assert_eq!(limiter.limit_id("second"), Some(leasehold::LimitId(1)));
    assert_eq!(limiter.limit_id("third"), None);
}

/// It was found by a panic of the background task, long after the limiter was built.
#[tokio::test]
async fn a_tuning_that_contradicts_itself_is_refused() {
    let mut tuning = Tuning::default();
    tuning.lease_min = Duration::from_secs(3600);
    let error = error(Limiter::builder().limit("api", limit()).tuning(tuning));
    let crossed = TuningError::Crossed("lease_min", "lease_max");
    assert_eq!(error, BuildError::Tuning(crossed));
    assert!(error.to_string().contains("lease_max"), "{error}");
}

#[tokio::test]
async fn a_failure_policy_names_a_limit_that_is_there() {
    let builder = Limiter::builder().limit("api", limit());
    let error = error(builder.failure_policy("apy", FailurePolicy::Open));
    let said = error.to_string();
    assert!(said.contains("`apy`") && said.contains("`api`"), "{said}");
}

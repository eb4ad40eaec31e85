//! Values that may stand for a key: the same everywhere, and differing keys are different keys.

use std::net::{IpAddr, Ipv4Addr};

use leasehold::{AsKey, LimitId, Limiter, Reason, Retry};

use crate::world::{build, denial, one_limit};

fn two_limits() -> Limiter {
    build(one_limit("1/h burst 100").limit("pro", "1/h burst 3"))
}

#[tokio::test]
async fn numbers_addresses_bytes_and_owned_text_are_keys_everywhere() {
    let limiter = two_limits();
    let address = IpAddr::from(Ipv4Addr::LOCALHOST);
    assert!(limiter.acquire(format!("user:{}", 1), 1).await.is_allowed());
    assert!(limiter.acquire(42_u64, 1).await.is_allowed());
    assert!(limiter.acquire(address, 1).await.is_allowed());
    assert!(limiter.acquire(b"abc", 1).await.is_allowed());
    assert!(limiter.acquire([7_u8; 16], 1).await.is_allowed());
    assert!(limiter.acquire(("pro", 42_u64), 1).await.is_allowed());
    assert!(limiter.acquire_all(&[(42_u64, 2)]).await.is_allowed());
    assert!(
        limiter
            .acquire_all(&[((LimitId(1), 42), 1)])
            .await
            .is_allowed()
    );
    let mixed = [(42.as_key().under("pro"), 1), (address.as_key(), 1)];
    assert!(limiter.acquire_all(&mixed).await.is_allowed());
    let mut handle = limiter.handle(("pro", 42));
    assert!(!handle.acquire(1).await.is_allowed(), "three are spent");
    let peek = limiter
        .peek(("pro", "42"))
        .await
        .expect("the store answers");
    assert_eq!(peek.free + peek.held, 0);
    let peek = limiter.peek(42).await.expect("the store answers");
    assert_eq!(peek.free + peek.held, 100 - 3);
    let peek = limiter.peek("127.0.0.1").await.expect("the store answers");
    assert_eq!(peek.free + peek.held, 100 - 2);
}

/// A tier may come from a database: a name that is no limit's ends no process.
#[tokio::test]
async fn the_name_of_no_limit_is_denied_for_ever() {
    let limiter = two_limits();
    let nobody = ("gold", "alice");
    let mut handle = limiter.handle(nobody);
    for verdict in [
        limiter.acquire(nobody, 1).await,
        limiter.try_acquire(nobody, 0),
        limiter
            .acquire_all(&[(nobody, 1), (("pro", "alice"), 1)])
            .await,
        limiter.try_acquire_all(&[(nobody, 1)]),
        handle.acquire(1).await,
        handle.try_acquire(1),
    ] {
        assert_eq!(denial(verdict).reason, Reason::UnknownLimit);
        assert_eq!(denial(verdict).retry, Retry::Never);
    }
    let error = limiter.peek(nobody).await.expect_err("there is none");
    assert_eq!(error.to_string(), Reason::UnknownLimit.to_string());
    assert_eq!(limiter.stats().batches, 0, "nobody was asked");
}

#[tokio::test]
async fn many_keys_of_which_only_some_have_texts_of_their_own_are_told_apart() {
    let limiter = two_limits();
    let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let numbers: Vec<u32> = (0..20).collect();
    let all: Vec<_> = (0..20)
        .map(|at| match at % 3 {
            0 => (names[at].as_key(), 1),
            _ => (numbers[at].as_key(), 1),
        })
        .collect();
    assert!(limiter.acquire_all(&all).await.is_allowed());
    for number in 0..20 {
        let peek = limiter.peek(number).await.expect("the store answers");
        assert_eq!(peek.free + peek.held, 99, "{number}");
    }
}

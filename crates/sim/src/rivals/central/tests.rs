//! The central limiter in a small world.

use super::*;
use crate::rivals::tiny_world::{ONE, SECOND_NS, Setting, run};

fn central(algorithm: Algorithm) -> CentralConfig {
    CentralConfig {
        algorithm,
        ..CentralConfig::default()
    }
}

#[test]
fn a_central_bucket_is_exact_whatever_the_number_of_replicas() {
    for replicas in [1, 3, 20] {
        let setting = Setting::poisson("1000/s burst 100", replicas, 2000.0, 10);
        for algorithm in [Algorithm::TokenBucket, Algorithm::LeakyBucket] {
            let run = run(&Central::new(central(algorithm)), &setting);
            assert!(
                (10_095..=10_100).contains(&run.admitted()),
                "{}",
                run.admitted()
            );
            assert_eq!(run.overshoot(&setting.limits[0]), 0);
            assert_eq!(run.messages, setting.arrivals.len() as u64);
            assert_eq!(
                run.admissions.len() + run.denials.len(),
                setting.arrivals.len()
            );
        }
    }
}

#[test]
fn a_fixed_window_admits_double_around_its_end_through_the_whole_path() {
    let at = |at_ns| (0..10).map(move |number| (at_ns, number % 3, ONE));
    let arrivals = at(59 * SECOND_NS).chain(at(61 * SECOND_NS)).collect();
    let setting = Setting::of("10/min", 3, arrivals);
    let most = |algorithm| run(&Central::new(central(algorithm)), &setting).admitted();
    assert_eq!(most(Algorithm::FixedWindow), 20);
    assert_eq!(most(Algorithm::SlidingWindowCounter), 10);
    assert_eq!(most(Algorithm::SlidingWindowLog), 10);
    assert_eq!(most(Algorithm::TokenBucket), 10);
}

#[test]
fn batching_saves_messages_and_admits_the_same() {
    let setting = Setting::poisson("1000/s burst 100", 4, 20_000.0, 2);
    let plain = run(&Central::new(CentralConfig::default()), &setting);
    let batched = run(
        &Central::new(CentralConfig {
            batch: true,
            ..CentralConfig::default()
        }),
        &setting,
    );
    assert_eq!(batched.calls, plain.calls);
    // One message under way per replica and round trip of 1 ms.
    assert!(batched.messages <= 4 * 2001, "{}", batched.messages);
    assert!(batched.admitted().abs_diff(plain.admitted()) <= 3);
    assert_eq!(batched.overshoot(&setting.limits[0]), 0);
}

#[test]
fn who_gives_up_in_the_queue_is_not_asked_for() {
    let mut setting = Setting::of("1000/s", 1, vec![(0, 0, ONE), (1000, 0, ONE)]);
    setting.round_trip_ns = SECOND_NS;
    setting.patience_ns = SECOND_NS / 2;
    let config = CentralConfig {
        batch: true,
        ..CentralConfig::default()
    };
    let run = run(&Central::new(config), &setting);
    // The first was asked for, and its token is spent although nobody waits any more.
    assert_eq!((run.messages, run.admitted(), run.late), (1, 1, 1));
}

#[test]
fn a_deny_cache_denies_at_no_call_until_the_advised_time() {
    let setting = Setting::overload("10/s burst 10", 2, 10_000);
    let plain = run(&Central::new(CentralConfig::default()), &setting);
    let config = CentralConfig {
        deny_cache: true,
        ..CentralConfig::default()
    };
    let cached = run(&Central::new(config), &setting);
    assert_eq!(plain.messages, 10_000);
    assert!(cached.messages < 400, "{}", cached.messages);
    assert!(
        cached.admitted() >= plain.admitted() - 2,
        "{}",
        cached.admitted()
    );
    assert_eq!(cached.overshoot(&setting.limits[0]), 0);
}

#[test]
fn without_the_store_requests_are_denied_or_allowed_as_configured() {
    let mut setting = Setting::overload("10/s burst 10", 2, 1000);
    setting.store_away_ns = (5 * SECOND_NS, u64::MAX);
    let with = |on_failure| {
        let config = CentralConfig {
            on_failure,
            ..CentralConfig::default()
        };
        run(&Central::new(config), &setting).admitted_within(5 * SECOND_NS + 1_000_000, u64::MAX)
    };
    assert_eq!(with(OnFailure::Closed), 0);
    assert_eq!(with(OnFailure::Open), 500);
}

#[test]
fn a_new_limit_is_what_the_store_goes_by() {
    let limits = |text: &str| vec![text.parse::<Limit>().unwrap()];
    let model = Central::new(CentralConfig::default());
    let mut replica = model.replica(0, 0, &limits("1/s"));
    let mut store = model.store(&limits("1/s"));
    replica.set_limits(&limits("50/s"), Instant::ORIGIN);
    let mut out = Outbox::default();
    for number in 0..60 {
        let ticket = Ticket(number);
        replica.acquire(
            &[ONE],
            ticket,
            Instant::FAR_FUTURE,
            Instant::ORIGIN,
            &mut out,
        );
    }
    let mut spent = 0;
    for message in &out.messages {
        store.execute(message, StoreTime::from_micros(5), &mut |_| spent += 1);
    }
    assert_eq!(spent, 50);
    store.forget();
    assert_eq!(store.keys(), 0);
}

//! The delayed counter in a small world.

use super::*;
use crate::model::StoreModel;
use crate::rivals::tiny_world::{ONE, Run, SECOND_NS, Setting, run};
use leasehold_core::StoreTime;

fn counter(interval: Span, counts: Counting) -> DelayedCounter {
    DelayedCounter::new(DelayedCounterConfig {
        interval,
        counts,
        ..DelayedCounterConfig::default()
    })
}

fn in_a_window(setting: &Setting, interval: Span) -> Run {
    run(&counter(interval, Counting::FixedWindow), setting)
}

#[test]
fn the_excess_is_about_what_arrives_within_an_interval() {
    // 2000/s against 5000 in 10 s: the quota is used up at 2.5 s. What comes until each of ten
    // replicas has heard of it is half an interval's on average, and one interval's at most.
    let setting = Setting::poisson("5000/10s", 10, 2000.0, 9);
    for (millis, least, most) in [(10, 1, 25), (100, 50, 210), (1000, 600, 2050)] {
        let run = in_a_window(&setting, Span::from_millis(millis));
        let beyond = run.admitted() - 5000;
        assert!((least..=most).contains(&beyond), "{beyond} at {millis} ms");
        // One message per replica and interval, until the quota is used up.
        assert!(run.messages <= 10 * (3500 / millis + 2), "{}", run.messages);
    }
}

#[test]
fn one_replica_alone_is_exact_within_each_window() {
    let setting = Setting::poisson("100/s", 1, 1000.0, 10);
    let run = in_a_window(&setting, Span::from_millis(100));
    // From its second window on a replica knows the store's windows, later by the half
    // millisecond that an answer takes.
    for second in 2..10 {
        let from = second * SECOND_NS + 500_000;
        let admitted = run.admitted_within(from, from + SECOND_NS);
        assert!(
            (95..=100).contains(&admitted),
            "{admitted} in second {second}"
        );
    }
}

#[test]
fn every_token_is_counted_once_at_the_store() {
    let setting = Setting::poisson("100000/min", 5, 1000.0, 50);
    let model = counter(Span::from_millis(100), Counting::FixedWindow);
    let run = run(&model, &setting);
    assert_eq!(
        run.admitted(),
        setting.arrivals.len() as u64,
        "the limit is far off"
    );
    // A sixth replica that comes late hears of them all.
    let limits = &setting.limits;
    let (mut replicas, mut store) = (
        [0, 1].map(|id| model.replica(id, 1, limits)),
        model.store(limits),
    );
    let mut out = Outbox::default();
    for at in 0..500 {
        let now = Instant::from_millis(at);
        for replica in &mut replicas {
            replica.acquire(&[ONE], Ticket(0), Instant::FAR_FUTURE, now, &mut out);
            if replica.poll_timeout(now).is_some_and(|due| due <= now) {
                replica.handle_timeout(now, &mut out);
                let message = out.messages.pop().unwrap();
                let store_now = StoreTime::from_micros(at * 1000 + 3_600_000_000);
                let answer = store.execute(&message, store_now, &mut |_| unreachable!());
                replica.handle_answer(&message, &answer, now, &mut out);
            }
        }
    }
    let mut counted = 0;
    for replica in &mut replicas {
        let now = Instant::from_millis(500);
        replica.shut_down(now, &mut out);
        assert!(!replica.is_drained());
        let message = out.messages.pop().unwrap();
        let answer = store.execute(&message, StoreTime::from_micros(3_600_500_000), &mut |_| ());
        replica.handle_answer(&message, &answer, now, &mut out);
        assert!(replica.is_drained());
        counted = answer.0[0].counts.current;
    }
    assert_eq!(counted, 1000);
}

#[test]
fn a_sliding_counter_does_not_admit_double_around_the_end_of_a_window() {
    let at = |at_ns| (0..100).map(move |number| (at_ns, number % 2, ONE));
    // The first meets a blank key; ten seconds later both replicas know the total.
    let arrivals = [40, 50, 59, 61].map(|second| at(second * SECOND_NS));
    let arrivals: Vec<_> = arrivals.into_iter().flatten().collect();
    let setting = Setting::of("150/min", 2, arrivals);
    let around = |counts| {
        let run = run(&counter(Span::from_millis(100), counts), &setting);
        run.admitted_within(55 * SECOND_NS, 65 * SECOND_NS)
    };
    let (fixed, sliding) = (
        around(Counting::FixedWindow),
        around(Counting::SlidingWindowCounter),
    );
    assert_eq!(fixed, 100, "a new window, and nobody has spent of it");
    assert!(sliding <= 5, "{sliding}");
}

#[test]
fn counts_whose_push_failed_are_lost_or_sent_again() {
    let mut setting = Setting::poisson("2000/min", 4, 100.0, 50);
    setting.store_away_ns = (2 * SECOND_NS, 12 * SECOND_NS);
    let admitted = |lost| {
        let config = DelayedCounterConfig {
            lost,
            ..DelayedCounterConfig::default()
        };
        run(&DelayedCounter::new(config), &setting).admitted()
    };
    // 1000 requests of the ten seconds are forgotten, so 1000 more pass.
    let (drop, resend) = (admitted(Lost::Drop), admitted(Lost::Resend));
    assert!((2000..2100).contains(&resend), "{resend}");
    assert!((2800..3200).contains(&drop), "{drop}");
}

#[test]
fn a_replica_that_is_cut_off_still_counts_what_it_spent_itself() {
    for lost in [Lost::Drop, Lost::Resend] {
        let mut setting = Setting::poisson("100/min", 1, 100.0, 50);
        setting.store_away_ns = (0, u64::MAX);
        let config = DelayedCounterConfig {
            lost,
            ..DelayedCounterConfig::default()
        };
        assert_eq!(run(&DelayedCounter::new(config), &setting).admitted(), 100);
    }
}

#[test]
fn idle_replicas_send_nothing() {
    let setting = Setting::of("10/s", 3, vec![(0, 1, ONE)]);
    assert_eq!(in_a_window(&setting, Span::from_millis(50)).messages, 1);
}

#[test]
fn replicas_and_the_store_forget_windows_that_are_over() {
    let model = counter(Span::from_millis(10), Counting::FixedWindow);
    let limits = ["10/s".parse().unwrap()];
    let (mut replica, mut store) = (model.replica(0, 1, &limits), model.store(&limits));
    let mut out = Outbox::default();
    for key in 0..20_000_u32 {
        let now = Instant::from_nanos(u64::from(key) * 2_000_000);
        let demand = Demand { key, ..ONE };
        replica.acquire(&[demand], Ticket(0), now, now, &mut out);
        replica.handle_timeout(now, &mut out);
        for message in std::mem::take(&mut out.messages) {
            let store_now = StoreTime::from_micros(now.as_nanos() / 1000);
            let answer = store.execute(&message, store_now, &mut |_| ());
            replica.handle_answer(&message, &answer, now, &mut out);
        }
        assert!(replica.counts.len() <= 4096 && store.keys() <= 4096);
    }
    assert!(store.keys() > 0);
}

#[test]
fn what_cannot_be_is_refused_with_a_mend() {
    let limits = ["10/min".parse().unwrap()];
    let config = DelayedCounterConfig {
        window: Some(Span::from_secs(1)),
        ..DelayedCounterConfig::default()
    };
    let error = config.check(&limits).unwrap_err();
    assert!(
        error.contains("`window`") && error.contains("at least 6s"),
        "{error}"
    );
    let config = DelayedCounterConfig {
        interval: Span::ZERO,
        ..DelayedCounterConfig::default()
    };
    assert!(config.check(&limits).unwrap_err().contains("`interval`"));
    assert_eq!(DelayedCounterConfig::default().check(&limits), Ok(()));
}

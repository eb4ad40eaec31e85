//! The block lease in a small world.

use super::*;
use crate::rivals::tiny_world::{ONE, Run, SECOND_NS, Setting, run};

fn config(block: u64, watermark: u64) -> BlockLeaseConfig {
    BlockLeaseConfig {
        block: Count(block),
        watermark: Count(watermark),
        ..BlockLeaseConfig::default()
    }
}

fn run_with(config: BlockLeaseConfig, setting: &Setting) -> Run {
    let replicas = u32::try_from(setting.replicas).unwrap();
    run(&BlockLease::new(config, replicas), setting)
}

fn per_second(count: u64, seconds: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "tests count little")]
    let per_second = count as f64 / seconds as f64;
    per_second
}

/// The most that the naive lease may admit beyond the burst is what replicas can hold, and it gets
/// near: the bucket fills up again behind full stocks.
#[test]
fn the_excess_is_what_replicas_hold_at_most() {
    for (replicas, block, watermark) in [(10, 10, 5), (10, 20, 0), (50, 10, 3)] {
        // A trickle that fills all stocks and the bucket, then a step to ten times the rate.
        let mut trickle = Setting::poisson("1000/s burst 100", replicas, 100.0, 30);
        let step = Setting::poisson("1000/s burst 100", replicas, 10_000.0, 5);
        let later = |(at_ns, replica, demand)| (at_ns + 30 * SECOND_NS, replica, demand);
        trickle
            .arrivals
            .extend(step.arrivals.into_iter().map(later));
        let run = run_with(config(block, watermark), &trickle);
        let bound = replicas as u64 * (block + watermark);
        let overshoot = run.overshoot(&trickle.limits[0]);
        assert!(overshoot <= bound, "{overshoot} of {bound}");
        assert!(overshoot * 4 >= bound, "{overshoot} of {bound}");
        assert!(run.held_max <= bound, "{} of {bound}", run.held_max);
    }
}

/// Twice the rate is offered. After a pause in which the rate yields a block the limit is used, and
/// calls grow with the replicas; after one that is as long for the whole fleet calls stay where
/// they are, and part of the limit is lost while all are away.
#[test]
fn under_overload_the_pause_trades_calls_for_use() {
    let measure = |retry, replicas| {
        let setting = Setting::poisson("1000/s burst 100", replicas, 2000.0, 20);
        let config = BlockLeaseConfig {
            retry,
            empty: Empty::Deny,
            ..config(10, 5)
        };
        let run = run_with(config, &setting);
        let used = per_second(run.admitted(), 20_000);
        (per_second(run.messages, 20), used)
    };
    let [(few, _), (many, used)] = [10, 100].map(|replicas| measure(Retry::Block, replicas));
    assert!(
        few > 400.0 && many > 2.0 * few && used > 0.98,
        "{few} {many} {used}"
    );
    let [(few, _), (many, used)] = [10, 100].map(|replicas| measure(Retry::Fleet, replicas));
    assert!(few < 170.0 && many < 1.1 * few, "{few} {many}");
    assert!((0.80..0.95).contains(&used), "{used}");
}

/// One token at a time, each fetched after the last was spent: 1 / (rtt + 1 / demand).
#[test]
fn stop_and_wait_agrees_with_its_closed_form() {
    let setting = Setting::poisson("1000/s burst 100", 1, 2000.0, 60);
    let config = BlockLeaseConfig {
        empty: Empty::Deny,
        ..config(1, 0)
    };
    let admitted = per_second(run_with(config, &setting).admitted(), 60);
    assert!((660.0..674.0).contains(&admitted), "{admitted}");
}

#[test]
fn below_the_limit_calls_are_demand_over_block_and_nobody_who_waits_is_denied() {
    let setting = Setting::poisson("1000/s burst 100", 10, 900.0, 60);
    let run = run_with(config(10, 0), &setting);
    let calls = per_second(run.messages, 60);
    assert!((88.0..93.0).contains(&calls), "{calls}");
    assert_eq!(run.denials.len(), 0);
    assert_eq!(run.admitted(), setting.arrivals.len() as u64);
}

#[test]
fn a_block_comes_whole_or_not_at_all_unless_partial() {
    let burst_of = |partial| {
        let arrivals = (0..30).map(|number| (number, 0, ONE)).collect();
        let setting = Setting::of("1/h burst 25", 1, arrivals);
        let config = BlockLeaseConfig {
            partial,
            ..config(10, 0)
        };
        run_with(config, &setting).admitted()
    };
    assert_eq!(burst_of(false), 20);
    assert_eq!(burst_of(true), 25);
}

#[test]
fn what_expires_is_dropped_and_not_given_back() {
    let arrivals = vec![
        (0, 0, ONE),
        (2 * SECOND_NS, 0, ONE),
        (4 * SECOND_NS, 0, ONE),
    ];
    let setting = Setting::of("1/h burst 20", 1, arrivals);
    let expiring = BlockLeaseConfig {
        expiry: Some(Span::from_secs(1)),
        ..config(10, 0)
    };
    // Two blocks are all there is: the third request finds nothing.
    assert_eq!(run_with(expiring, &setting).admitted(), 2);
    assert_eq!(run_with(config(10, 0), &setting).admitted(), 3);
}

#[test]
fn a_cost_above_the_block_asks_for_itself_and_one_above_the_burst_is_denied_for_good() {
    let costing = |cost| (0, 0, Demand { cost, ..ONE });
    let setting = Setting::of("1/h burst 50", 1, vec![costing(30), costing(51)]);
    let run = run_with(config(10, 0), &setting);
    assert_eq!(run.admitted(), 30);
    assert_eq!(run.denials, [(0, None)]);
}

#[test]
fn a_request_under_two_limits_waits_for_both_and_spends_both_or_none() {
    let limits: Vec<Limit> = ["1/h burst 5", "1/h burst 2"]
        .map(|text| text.parse().unwrap())
        .into();
    let model = BlockLease::new(config(1, 0), 1);
    let (mut replica, mut store) = (model.replica(0, 0, &limits), model.store(&limits));
    let both = [ONE, Demand { limit: 1, ..ONE }];
    let mut outcomes = Vec::new();
    for number in 0..4 {
        let mut out = Outbox::default();
        let (far, now) = (Instant::FAR_FUTURE, Instant::from_nanos(number));
        let decision = replica.acquire(&both, Ticket(number), far, now, &mut out);
        assert!(number > 0 || decision == Decision::Wait);
        while let Some(message) = out.messages.pop() {
            use crate::model::StoreModel;
            let answer = store.execute(&message, leasehold_core::StoreTime::ZERO, &mut |_| ());
            replica.handle_answer(&message, &answer, now, &mut out);
            replica.check();
        }
        outcomes.push(match (decision, out.verdicts.pop()) {
            (Decision::Allow, None) => Outcome::AllowedHere,
            (Decision::Wait, Some(verdict)) => verdict.outcome,
            (Decision::Deny { retry_after_ns }, None) => Outcome::Denied { retry_after_ns },
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(outcomes[..2], [Outcome::AllowedHere; 2]);
    assert!(matches!(
        outcomes[2..],
        [Outcome::Denied { .. }, Outcome::Denied { .. }]
    ));
    assert_eq!(replica.books.spent, 4, "two requests, two tokens each");
}

#[test]
fn who_waits_for_a_call_that_fails_meets_the_policy() {
    let mut setting = Setting::overload("10/s burst 10", 2, 100);
    setting.store_away_ns = (0, u64::MAX);
    let admitted = |on_failure| {
        let config = BlockLeaseConfig {
            on_failure,
            ..config(10, 0)
        };
        run_with(config, &setting).admitted()
    };
    assert_eq!(admitted(OnFailure::Closed), 0);
    assert_eq!(admitted(OnFailure::Open), 100);
}

#[test]
fn nothing_is_spent_on_who_has_stopped_waiting() {
    let mut setting = Setting::of(
        "1/h burst 1",
        1,
        vec![(0, 0, ONE), (SECOND_NS * 9 / 10, 0, ONE)],
    );
    setting.round_trip_ns = SECOND_NS;
    setting.patience_ns = SECOND_NS / 2;
    let run = run_with(config(1, 0), &setting);
    // The first gave up at half a second; its token is there for the second, who is in time.
    assert_eq!(run.admissions, [(SECOND_NS, ONE)]);
    assert_eq!(run.late, 0, "no verdict for the first");
}

#[test]
fn retries_are_read_from_words_and_times() {
    #[derive(Deserialize)]
    struct Text {
        retry: Retry,
    }
    let read =
        |text: &str| toml::from_str::<Text>(&format!("retry = \"{text}\"")).map(|text| text.retry);
    assert_eq!(read("at-once"), Ok(Retry::AtOnce));
    assert_eq!(read("block"), Ok(Retry::Block));
    assert_eq!(read("fleet"), Ok(Retry::Fleet));
    assert_eq!(read("50ms"), Ok(Retry::After(Span::from_millis(50))));
    assert!(read("soon").unwrap_err().to_string().contains("\"50ms\""));
}

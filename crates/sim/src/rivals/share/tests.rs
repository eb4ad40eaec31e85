//! The share limiter in a small world.

use super::*;
use crate::rivals::tiny_world::{Run, SECOND_NS, Setting, run};

fn run_with(config: ShareConfig, setting: &Setting) -> Run {
    let replicas = u32::try_from(setting.replicas).unwrap();
    run(&Share::new(config, replicas), setting)
}

#[test]
fn shares_follow_demand_and_sum_to_the_limit() {
    // 60 % of the demand, and more, on one replica of five.
    let mut setting = Setting::poisson("1000/s burst 100", 5, 2000.0, 30);
    for (_, replica, _) in setting.arrivals.iter_mut().step_by(2) {
        *replica = 0;
    }
    let run = run_with(ShareConfig::default(), &setting);
    let settled = run.admitted_within(12 * SECOND_NS, 30 * SECOND_NS);
    assert!((17_000..=18_100).contains(&settled), "{settled}");
    assert!(
        run.overshoot(&setting.limits[0]) <= 100,
        "{}",
        run.overshoot(&setting.limits[0])
    );
    assert!(run.messages <= 5 * 32, "{}", run.messages);
}

#[test]
fn shares_that_lie_idle_are_stuck_until_they_expire() {
    let mut setting = Setting::poisson("1000/s burst 100", 5, 2000.0, 30);
    for (at_ns, replica, _) in &mut setting.arrivals {
        if *at_ns >= 10 * SECOND_NS {
            *replica = 0;
        }
    }
    let run = run_with(ShareConfig::default(), &setting);
    let in_second = |second| run.admitted_within(second * SECOND_NS, (second + 1) * SECOND_NS);
    assert!(
        in_second(12) < 500,
        "a fifth and little more: {}",
        in_second(12)
    );
    assert!(in_second(20) > 990, "the whole: {}", in_second(20));
}

#[test]
fn before_a_share_is_assigned_the_fallback_applies() {
    let mut setting = Setting::overload("100/s burst 10", 5, 10_000);
    setting.store_away_ns = (0, u64::MAX);
    let admitted = |unassigned| {
        let config = ShareConfig {
            unassigned,
            ..ShareConfig::default()
        };
        run_with(config, &setting).admitted()
    };
    assert!((1000..=1010).contains(&admitted(Unassigned::Equal)));
    assert!((5000..=5050).contains(&admitted(Unassigned::Whole)));
    assert_eq!(admitted(Unassigned::Nothing), 0);
}

#[test]
fn a_portion_is_its_part_of_the_limit_and_none_is_nothing() {
    let limit: Limit = "1000/s burst 100".parse().unwrap();
    let half = portion_of(&limit, WHOLE / 2).unwrap();
    assert_eq!((half.burst(), half.time_for(500).as_secs()), (50, 1));
    assert_eq!(portion_of(&limit, 0), None);
    assert_eq!(portion_of(&limit, 1).unwrap().burst(), 1);
}

#[test]
fn a_share_under_a_new_limit_is_the_same_part_of_it() {
    let limits = |text: &str| vec![text.parse::<Limit>().unwrap()];
    let model = Share::new(ShareConfig::default(), 1);
    let mut replica = model.replica(0, 0, &limits("10/s"));
    let slot = Slot { limit: 0, key: 0 };
    let message = ShareMessage {
        replica: 0,
        offered: [(slot, 5)].into(),
        lasts_us: 1,
    };
    let (now, mut out) = (Instant::ORIGIN, Outbox::default());
    replica.handle_answer(&message, &ShareAnswer(vec![WHOLE / 2]), now, &mut out);
    assert_eq!(replica.open(slot).limit(now).unwrap().burst(), 5);
    replica.set_limits(&limits("1000/s"), now);
    assert_eq!(replica.open(slot).limit(now).unwrap().burst(), 500);
}

#[test]
fn shares_that_end_before_they_are_renewed_are_refused() {
    let config = ShareConfig {
        expiry: Span::from_secs(1),
        ..ShareConfig::default()
    };
    let error = config.check().unwrap_err();
    assert!(
        error.contains("`expiry`") && error.contains("at least 2s"),
        "{error}"
    );
}

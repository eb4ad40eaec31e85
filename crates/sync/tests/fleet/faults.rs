//! What is lost, late or gone.

use std::time::Duration;

use leasehold_core::Reason;

use crate::judge::{Outcome, Request};
use crate::network::Network;
use crate::report::{Report, ratio};
use crate::world::{Setup, World};

#[test]
fn the_same_seed_gives_the_same_outcomes() {
    let run = || {
        let mut world = World::new(&lossy("100/s burst 50"));
        world.offer_evenly(300.0);
        world.run(Duration::from_secs(5));
        format!("{:?} {:?}", world.requests, world.traffic)
    };
    assert_eq!(run(), run());
}

fn lossy(limit: &'static str) -> Setup {
    Setup {
        cost_max: 3,
        network: Network {
            delay_min: Duration::from_millis(1),
            delay_max: Duration::from_millis(50),
            loss: 0.02,
            duplicates: 0.02,
            ..Network::LOCAL
        },
        ..Setup::new(limit, 4)
    }
}

#[test]
fn nothing_is_admitted_twice_however_messages_travel() {
    for (name, limit, rate) in [
        ("l lossy 1000/s 3x 60 s", "1000/s", 1500.0),
        ("l lossy 100/s burst 50 3x 60 s", "100/s burst 50", 150.0),
        ("l lossy 5/min 60 s", "5/min", 20.0),
    ] {
        let mut world = World::new(&lossy(limit));
        world.offer_evenly(rate);
        world.run(Duration::from_secs(60));
        let report = Report::of(name, &mut world);
        assert_eq!(report.judged.overshoot, 0);
    }
}

#[test]
fn a_crash_strands_no_more_than_was_outstanding_and_for_one_lease() {
    let mut world = World::new(&Setup::new("1000/s", 4));
    world.offer_evenly(3000.0);
    world.run(Duration::from_secs(10));
    let stranded = world.outstanding_of(3);
    world.crash(3);
    world.offer_evenly(3000.0);
    world.run(Duration::from_secs(2));
    assert_eq!(
        world.outstanding_of(3),
        0,
        "no lease here is longer than a second"
    );
    world.run(Duration::from_secs(18));
    let report = Report::of("m crash at 10 of 30 s", &mut world);
    assert_eq!(report.judged.overshoot, 0);
    let after = world.judge_span(Duration::from_secs(10), Duration::from_secs(30));
    let survivors_hold = 200;
    assert!(after.admitted + stranded + survivors_hold >= 20_000);
}

/// A replica that went on spending after its lease had ended at the store would exceed the limit:
/// the store has charged those tokens, and gives what drains to others.
#[test]
fn a_replica_that_is_cut_off_spends_nothing_after_its_lease() {
    let held = (0..8).map(|delay| cut_off_at(5000 + delay * 37));
    assert!(
        held.sum::<u64>() > 0,
        "nothing was left to be spent too late"
    );
}

/// Cuts a replica off, comes back to it when its lease is over, and returns what it still holds.
fn cut_off_at(millis: u64) -> u64 {
    let mut setup = Setup::new("1000/s", 4);
    // Longer than the lease, so that the tokens stay where they are while a call is under way.
    setup.network.patience = Duration::from_secs(3);
    let mut world = World::new(&setup);
    let offer = |world: &mut World, first: f64, others: f64, millis: u64| {
        world.offer(|index| if index == 0 { first } else { others });
        world.run(Duration::from_millis(millis));
    };
    offer(&mut world, 900.0, 0.0, millis);
    world.cut_off(0);
    offer(&mut world, 100.0, 1000.0, 600);
    offer(&mut world, 0.0, 1000.0, 1400);
    offer(&mut world, 1000.0, 1000.0, 500);
    let held = world.in_cells(0);
    assert_eq!(world.judge().overshoot, 0);
    held
}

#[test]
fn the_limit_follows_a_demand_that_jumps() {
    let mut world = World::new(&Setup::new("1000/s", 4));
    world.offer(|index| if index == 0 { 3000.0 } else { 0.0 });
    world.run(Duration::from_secs(10));
    world.offer(|index| if index == 1 { 3000.0 } else { 0.0 });
    world.run(Duration::from_secs(10));
    let report = Report::of("n demand jumps at 10 of 20 s", &mut world);
    assert_eq!(report.judged.overshoot, 0);
    assert!(report.utilisation() >= 0.99);
    let second = world.judge_span(Duration::from_secs(10), Duration::from_secs(11));
    assert!(second.admitted >= 900, "{}", second.admitted);
}

#[test]
fn a_replica_that_shuts_down_gives_everything_back() {
    let mut world = World::new(&Setup::new("1000/s", 4));
    world.offer_evenly(900.0);
    world.run(Duration::from_millis(5_020));
    assert!(world.outstanding_of(2) > 0);
    world.shut_down(2);
    world.run(Duration::from_millis(10));
    assert!(world.replicas()[2].syncer.is_drained());
    assert_eq!(world.outstanding_of(2), 0);
    world.run(Duration::from_secs(5));
    let report = Report::of("o shut-down at 5 of 10 s", &mut world);
    assert_eq!(report.judged.overshoot, 0);
    assert_eq!(report.judged.false_denials, 0);
}

#[test]
fn a_store_that_is_away_is_said_so_soon_and_forgotten_soon() {
    let mut world = World::new(&Setup::new("1000/s", 4));
    world.offer_evenly(500.0);
    world.run(Duration::from_secs(5));
    world.set_store_up(false);
    world.run(Duration::from_secs(3));
    world.set_store_up(true);
    world.run(Duration::from_secs(7));
    let report = Report::of("p away from 5 to 8 of 15 s", &mut world);
    assert_eq!(report.judged.overshoot, 0);
    let denied = |from_ms: u64, to_ms: u64| {
        let span = from_ms * 1_000_000..to_ms * 1_000_000;
        world
            .requests
            .iter()
            .filter(move |request| span.contains(&request.at_ns))
            .filter(|request| request.admitted_ns().is_none())
    };
    let known = denied(5500, 8000).count();
    let at_once = denied(5500, 8000).filter(|request| is_unavailable_at_once(request));
    let soon = ratio(at_once.count() as u64, known as u64);
    let recovered = denied(8000, 15_000).map(|request| request.at_ns).max();
    let recovered = recovered.map_or(0, |at| at / 1_000_000 - 8000);
    println!(
        "    told at once {:.1} %, all served {recovered} ms after the store",
        soon * 100.0
    );
    // target: 0.95. Whoever comes while a probe is under way waits for it.
    assert!(soon >= 0.4);
    // target: 1250, the longest wait and a probe that was sent too early.
    assert!(recovered <= 2500);
}

fn is_unavailable_at_once(request: &Request) -> bool {
    match request.outcome {
        Outcome::Denied {
            reason: Reason::StoreUnavailable,
            heard_ns,
        } => heard_ns - request.at_ns < 5_000_000,
        _ => false,
    }
}

#[test]
fn when_demand_ends_everything_is_given_back_and_forgotten() {
    for limit in ["1000/s", "100/min", "5/min", "100/s burst 20"] {
        let mut world = World::new(&Setup::new(limit, 4));
        world.offer_evenly(100.0);
        world.run(Duration::from_secs(5));
        world.offer_evenly(0.0);
        let before = world.traffic.calls;
        // A replica that ran short of 5/min stays away for 12 s, and then asks once more.
        world.run(Duration::from_secs(40));
        let calls = world.traffic.calls - before;
        assert!(calls <= 12, "{limit}: {calls} calls for nobody");
        for index in 0..4 {
            assert_eq!(world.in_cells(index), 0, "{limit}");
            assert_eq!(world.outstanding_of(index), 0);
            assert_eq!(world.replicas()[index].syncer.tokens().held(), 0);
        }
        // target: a key is still known until the idle time has passed.
        world.run(Duration::from_secs(20));
        world.check_books();
        for replica in world.replicas() {
            assert_eq!(replica.cache.len(), 0, "{limit}");
        }
    }
}

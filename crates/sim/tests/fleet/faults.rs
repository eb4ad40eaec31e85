//! Messages, replicas and stores that are lost, late or gone.

use leasehold_sim::fleet::ScaleConfig;
use leasehold_sim::report::Slice;
use leasehold_sim::units::{Share, Span};

use crate::fleet::{run, run_and_watch, scenario};

const LOSSY: &str = "cost = { uniform = [1, 3] }\n\
    [network]\nlatency = { uniform = [\"2ms\", \"100ms\"] }\nloss = \"2%\"\nduplicates = \"2%\"\n\
    reorder = \"5%\"\nreorder-delay = \"50ms\"\n";

#[test]
fn the_same_seed_gives_the_same_run() {
    let scenario = scenario("100/s burst 50", 4, "300/s", 5, LOSSY);
    let (one, other) = (run_and_watch(&scenario), run_and_watch(&scenario));
    assert_eq!(one.0, other.0);
    assert_eq!(format!("{:?}", one.1), format!("{:?}", other.1));
}

#[test]
fn nothing_is_admitted_twice_however_messages_travel() {
    for (limit, offered) in [
        ("1000/s", "1500/s"),
        ("100/s burst 50", "150/s"),
        ("5/min", "20/s"),
    ] {
        let summary = run(&scenario(limit, 4, offered, 60, LOSSY)).summary;
        assert!(summary.overshoot <= 0.0, "{limit}: {}", summary.overshoot);
    }
}

#[test]
fn a_crash_strands_no_more_than_was_outstanding_and_for_one_lease() {
    let crash = "[[fault]]\nkind = \"crash\"\nat = \"10s\"\nreplicas = [3]\n";
    // In overload it may hold nothing at that moment.
    let run = run(&scenario("1000/s", 4, "950/s", 30, crash));
    assert!(run.summary.overshoot <= 0.0);
    assert!(run.summary.lost > 0, "it held something");
    // No lease here is longer than a second: from then on the others have the whole limit.
    let after = run.series.iter().filter(|slice| slice.at > 11.5);
    let (admitted, ideal) = after.fold((0.0, 0.0), |(admitted, ideal), slice| {
        (admitted + slice.admitted, ideal + slice.ideal)
    });
    assert!(admitted >= 0.99 * ideal, "{admitted} of {ideal}");
}

/// A replica that went on spending after its lease had ended at the store would exceed the limit:
/// the store has charged those tokens, and gives what drains to others. That a token is taken too
/// late is checked at every step; here replicas are cut off with tokens in hand.
#[test]
fn a_replica_that_is_cut_off_spends_nothing_after_its_lease() {
    let mut stranded = 0.0;
    for delay in 0..8_u32 {
        let at = 5000 + delay * 37;
        let gone = format!(
            "replica = 0\nuntil = \"{at}ms\"\n\
             [[load]]\noffered = \"100/s\"\nreplica = 0\nfrom = \"{at}ms\"\nuntil = \"5600ms\"\n\
             [[load]]\noffered = \"1000/s\"\nreplica = 0\nfrom = \"7s\"\n\
             [[load]]\noffered = \"3000/s\"\nreplica = 1\nfrom = \"{at}ms\"\n\
             [[fault]]\nkind = \"partition\"\nat = \"{at}ms\"\nreplicas = [0]\n"
        );
        let mut scenario = scenario("1000/s", 4, "900/s", 8, &gone);
        // Longer than the lease, so that the tokens stay where they are while a call is under way.
        scenario.fleet.call_timeout = "3s".parse().expect("a time");
        let run = run(&scenario);
        assert!(run.summary.overshoot <= 0.0);
        let cut_off = |slice: &&Slice| (5.8..6.9).contains(&slice.at);
        stranded += run.series.iter().filter(cut_off).map(held).sum::<f64>();
    }
    assert!(stranded > 0.0, "nothing was left to be spent too late");
}

#[test]
fn the_limit_follows_a_demand_that_jumps() {
    let jump = "replica = 0\nuntil = \"10s\"\n\
        [[load]]\noffered = \"3000/s\"\nreplica = 1\nfrom = \"10s\"\n";
    let run = run(&scenario("1000/s", 4, "3000/s", 20, jump));
    assert!(run.summary.overshoot <= 0.0);
    assert!(run.summary.utilisation.expect("there was demand") >= 0.99);
    let second = run
        .series
        .iter()
        .filter(|slice| slice.at > 10.0 && slice.at <= 11.0);
    let admitted: f64 = second.map(|slice| slice.admitted / 10.0).sum();
    assert!(admitted >= 900.0, "{admitted}");
}

#[test]
fn a_replica_that_shuts_down_gives_everything_back() {
    let mut scenario = scenario("1000/s", 4, "900/s", 10, "");
    scenario.fleet.scale = vec![ScaleConfig {
        at: Span::from_millis(5020),
        replicas: 3,
        over: Span::ZERO,
        drain: Span::from_millis(10),
        kill_share: Share::NONE,
    }];
    let run = run(&scenario);
    assert!(run.summary.overshoot <= 0.0);
    assert_eq!(run.summary.false_denials, 0);
    assert_eq!(run.summary.lost, 0, "tokens gone with the process");
}

#[test]
fn a_store_that_is_away_is_said_so_soon_and_forgotten_soon() {
    let away = "[[fault]]\nkind = \"partition\"\nat = \"5s\"\nfor = \"3s\"\nreplicas = \"all\"\n";
    let (run, decided) = run_and_watch(&scenario("1000/s", 4, "500/s", 15, away));
    assert!(run.summary.overshoot <= 0.0);
    let seconds = |from: f64, to: f64| {
        let denied = decided.iter().filter(|it| !it.allowed);
        denied.filter(move |it| {
            #[expect(clippy::cast_precision_loss, reason = "some seconds")]
            let arrived = it.arrived_ns as f64 / 1e9;
            (from..to).contains(&arrived)
        })
    };
    let known = seconds(5.5, 8.0).count();
    let at_once = seconds(5.5, 8.0).filter(|it| it.at_ns - it.arrived_ns < 5_000_000);
    // Whoever comes while a probe is under way waits for it.
    assert!(at_once.count() * 10 >= known * 4, "most are told at once");
    assert_eq!(seconds(10.5, 15.0).count(), 0, "all is well soon after");
}

#[test]
fn when_demand_ends_everything_is_given_back_and_forgotten() {
    for limit in ["1000/s", "100/min", "5/min", "100/s burst 20"] {
        let run = run(&scenario(limit, 4, "100/s", 65, "until = \"5s\"\n"));
        // A replica that ran short of 5/min stays away for 12 s, and then asks once more.
        let after = run.series.iter().filter(|slice| slice.at > 5.05);
        let calls: f64 = after.map(|slice| slice.calls / 10.0).sum();
        assert!(calls <= 12.5, "{limit}: {calls} calls for nobody");
        let last = run.series.last().expect("there are slices");
        assert_eq!(last.held, 0, "{limit}");
        assert_eq!(run.summary.replica_keys, 0, "{limit}: keys are still known");
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few tokens")]
fn held(slice: &Slice) -> f64 {
    slice.held as f64
}

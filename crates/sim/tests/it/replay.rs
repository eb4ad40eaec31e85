//! A run is a function of its scenario and its seed.

use rayon::ThreadPoolBuilder;

use leasehold_sim::report::Report;
use leasehold_sim::scenario::LEASED;

use crate::lab;

/// Everything that draws random numbers, at once.
const MESSY: &str = r#"
    schema = 1
    title = "all kinds of chance"
    duration = "4s"
    warmup = "1s"
    [[limit]]
    limit = "200/s burst 200"
    [[load]]
    offered = "300/s"
    keys = { count = 50, zipf = 0.9 }
    cost = { geometric = { mean = 1.5 } }
    clients = { retry = { exponential = { base = "10ms", cap = "1s", times = 3 } } }
    [fleet]
    replicas = 4
    clock = { skew = "5s", drift-ppm = 100 }
    restart = { every = "700ms", drain = "200ms", kill-share = "50%" }
    [balance]
    policy = { sticky = { spill = "10%" } }
    [network]
    latency = { lognormal = { p50 = "2ms", p99 = "40ms" } }
    loss = "1%"
    duplicates = "2%"
    reorder = "5%"
    [[fault]]
    kind = "mishaps"
    at = "500ms"
    every = "600ms"
    pick = [
    { weight = 1, kind = "flush" },
    { weight = 1, kind = "hang", for = "100ms" },
    { weight = 1, kind = "partition", for = "200ms", replicas = "50%" }]
    [rivals.central]
    kind = "central"
    [rivals.block-lease]
    kind = "block-lease"
    [rivals.delayed-counter]
    kind = "delayed-counter"
    [sweep]
    replicas = [2, 4]
"#;

fn report_on(threads: usize) -> Report {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build();
    pool.unwrap().install(|| lab::report(MESSY, 3))
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_one_thread_and_on_three() {
    let bytes = |report: &Report| format!("{report:?}");
    let alone = report_on(1);
    assert_eq!(bytes(&alone), bytes(&report_on(1)), "twice on one thread");
    assert_eq!(bytes(&alone), bytes(&report_on(3)), "on three threads");
}

#[test]
fn another_seed_gives_another_run() {
    let report = report_on(1);
    for limiter in &report.scenarios[0].points[0].limiters {
        let runs = &limiter.runs;
        assert_ne!(runs[0].summary, runs[1].summary, "{}", limiter.limiter);
    }
}

#[test]
fn who_looks_on_changes_nothing() {
    let scenario = lab::scenario(
        "3s",
        "[[limit]]\nlimit = \"500/s\"\n[[load]]\noffered = \"900/s\"\n[fleet]\nreplicas = 3",
    );
    let checked = lab::leased(&scenario, 7);
    let decided = lab::decisions(&scenario, LEASED, 7);
    let traces = leasehold_sim::load::Traces::new();
    let unchecked =
        leasehold_sim::run::run_one(&scenario, LEASED, 7, &traces, false, None).unwrap();
    assert_eq!(checked, unchecked);
    assert_eq!(checked.summary.requests, decided.len() as u64);
}

/// Later events cannot have mattered: a longer run begins as the shorter one.
#[test]
fn a_longer_run_begins_like_a_shorter_one() {
    let of = |duration| {
        lab::scenario(
            duration,
            "[[limit]]\nlimit = \"500/s\"\n[[load]]\noffered = \"900/s\"\nkeys = { count = 3 }\n\
             [fleet]\nreplicas = 3",
        )
    };
    let until = |decided: Vec<lab::Decided>| -> Vec<_> {
        let early = decided.into_iter();
        early.filter(|it| it.arrived_ns < 2_500_000_000).collect()
    };
    let short = until(lab::decisions(&of("3s"), LEASED, 5));
    let long = until(lab::decisions(&of("6s"), LEASED, 5));
    assert!(short.len() > 2000);
    assert_eq!(short, long);
}

//! Promises of the arrivals of whole loads: their laws in closed form, and which depend on which.

use proptest::prelude::*;

use super::statistics::{
    Z_BOTH_SIDES, chi_square_is_plausible, correlation, ks_is_plausible, mean_is_plausible, moments,
};
use super::*;
use crate::numbers::float;

fn config(text: &str) -> LoadConfig {
    toml::from_str(text).unwrap()
}

fn load(texts: &[&str], seconds: u64, seed: u64) -> Load {
    let configs: Vec<LoadConfig> = texts.iter().map(|text| config(text)).collect();
    Load::new(&configs, &Traces::new(), Span::from_secs(seconds), seed).unwrap()
}

fn all(mut load: Load) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    while let Some(at_ns) = load.next_at() {
        let arrival = load.pop();
        assert_eq!(arrival.at_ns, at_ns);
        arrivals.push(arrival);
    }
    arrivals
}

fn arrivals(text: &str, seconds: u64, seed: u64) -> Vec<Arrival> {
    all(load(&[text], seconds, seed))
}

fn times(text: &str, seconds: u64) -> Vec<u64> {
    arrivals(text, seconds, 1)
        .iter()
        .map(|arrival| arrival.at_ns)
        .collect()
}

fn gaps(times: &[u64]) -> Vec<f64> {
    times
        .windows(2)
        .map(|pair| float(pair[1] - pair[0]) / 1e9)
        .collect()
}

/// How many come in each window of a length.
fn counts(times: &[u64], window_ns: u64, seconds: u64) -> Vec<f64> {
    let windows = usize::try_from(seconds * 1_000_000_000 / window_ns).unwrap();
    let mut counts = vec![0.0; windows];
    for at_ns in times {
        if let Some(count) = counts.get_mut(usize::try_from(at_ns / window_ns).unwrap()) {
            *count += 1.0;
        }
    }
    counts
}

/// The variance of counts over their mean. Of Poisson it is 1.
fn dispersion(times: &[u64], window_ns: u64, seconds: u64) -> f64 {
    let (mean, variance) = moments(&counts(times, window_ns, seconds));
    variance / mean
}

/// Loads of every kind.
const KINDS: [&str; 10] = [
    "offered = \"800/s\"\narrivals = \"even\"",
    "offered = \"800/s\"",
    "offered = \"800/s\"\narrivals = { gamma = { cv = 3 } }",
    "arrivals = { mmpp = [{ rate = \"3k/s\", mean = \"20ms\" }, \
     { rate = \"30/s\", mean = \"80ms\" }] }",
    "offered = \"800/s\"\narrivals = { on-off = { alpha = 1.4, sources = 5, on = \"20ms\", \
     off = \"80ms\" } }",
    "offered = \"800/s\"\nspike = { every = \"300ms\", requests = 50, within = \"10ms\" }",
    "spike = { every = \"100ms\", requests = 50 }",
    "offered = \"800/s\"\ndiurnal = { period = \"1s\", low = 0 }\nfrom = \"100ms\"\n\
     until = \"900ms\"",
    "offered = \"800/s\"\nflash = { at = \"200ms\", times = 9, rise = \"100ms\", \
     fall = \"100ms\" }",
    "offered = \"800/s\"\nsteps = [{ at = \"300ms\", offered = \"0/s\" }, \
     { at = \"700ms\", offered = \"5k/s\" }]",
];

#[test]
fn even_arrivals_are_evenly_spaced_and_a_whole_span_has_a_whole_number() {
    let times = times("offered = \"3/s\"\narrivals = \"even\"", 3600);
    assert_eq!(times.len(), 3 * 3600);
    assert_eq!(times[0], 166_666_666);
    assert!(
        gaps(&times)
            .iter()
            .all(|gap| (gap - 1.0 / 3.0).abs() < 2e-9)
    );
}

#[test]
fn even_arrivals_stay_even_at_another_rate() {
    let text =
        "offered = \"10/s\"\narrivals = \"even\"\nsteps = [{ at = \"20s\", offered = \"1k/s\" }]";
    let times = times(text, 30);
    assert_eq!(times.len(), 200 + 10_000);
    assert!(
        times
            .windows(2)
            .skip(200)
            .all(|pair| (pair[1] - pair[0]).abs_diff(1_000_000) <= 1)
    );
}

#[test]
fn poisson_gaps_are_exponential_and_independent() {
    let times = times("offered = \"1000/s\"", 100);
    let mut gaps = gaps(&times);
    let pairs: Vec<(f64, f64)> = gaps.windows(2).map(|pair| (pair[0], pair[1])).collect();
    assert!(correlation(&pairs).abs() < Z_BOTH_SIDES / float(gaps.len() as u64).sqrt());
    assert!(ks_is_plausible(&mut gaps, |gap| 1.0 - (-gap * 1000.0).exp()));
    let dispersion = dispersion(&times, 100_000_000, 100);
    // Of 1000 windows; the variance of a variance is 2 / 999.
    assert!(
        (dispersion - 1.0).abs() < Z_BOTH_SIDES * (2.0_f64 / 999.0).sqrt(),
        "{dispersion}"
    );
}

#[test]
fn gamma_gaps_have_the_variation_that_was_asked_for() {
    for cv in [0.5, 1.0, 2.0, 4.0] {
        let text = format!("offered = \"1000/s\"\narrivals = {{ gamma = {{ cv = {cv:.1} }} }}");
        let gaps = gaps(&times(&text, 200));
        assert!(mean_is_plausible(&gaps, 0.001), "{cv}");
        let (mean, variance) = moments(&gaps);
        // A gamma has an excess kurtosis of 6 cv^2, from which its variance is as uncertain as
        // this.
        let deviation = ((2.0 + 6.0 * cv * cv) / float(gaps.len() as u64)).sqrt();
        let found = variance / (mean * mean) / (cv * cv);
        assert!(
            (found - 1.0).abs() < Z_BOTH_SIDES * deviation,
            "{cv}: {found}"
        );
    }
}

#[test]
fn mmpp_has_the_mean_and_the_dispersion_of_its_closed_form() {
    let text = "arrivals = { mmpp = [{ rate = \"3000/s\", mean = \"20ms\" }, \
    { rate = \"300/s\", mean = \"80ms\" }] }";
    let seconds = 600;
    let times = times(text, seconds);
    let (up, down): (f64, f64) = (1.0 / 0.02, 1.0 / 0.08);
    let (high, low) = (3000.0, 300.0);
    let mean = (high * down + low * up) / (up + down);
    let per_second = counts(&times, 1_000_000_000, seconds);
    assert!(
        mean_is_plausible(&per_second, mean),
        "{:?}",
        moments(&per_second)
    );
    for window_ns in [5_000_000, 50_000_000, 1_000_000_000] {
        let turns = (up + down) * float(window_ns) / 1e9;
        let limit = 2.0 * up * down * (high - low) * (high - low)
            / ((up + down).powi(2) * (high * down + low * up));
        let expected = 1.0 + limit * (1.0 - (1.0 - (-turns).exp()) / turns);
        let found = dispersion(&times, window_ns, seconds);
        let windows = float(seconds * 1_000_000_000 / window_ns).min(6000.0);
        let tolerance = Z_BOTH_SIDES * (2.0 / windows).sqrt();
        assert!(
            (found / expected - 1.0).abs() < tolerance,
            "{window_ns}: {found}, {expected}"
        );
    }
}

#[test]
fn offered_scales_the_states_of_mmpp() {
    let text = "offered = \"42/s\"\narrivals = { mmpp = [{ rate = \"3k/s\", mean = \"20ms\" }, \
    { rate = \"300/s\", mean = \"80ms\" }] }";
    let counts = counts(&times(text, 1000), 1_000_000_000, 1000);
    assert!(mean_is_plausible(&counts, 42.0), "{:?}", moments(&counts));
}

#[test]
fn on_off_sources_are_bursty_at_every_scale() {
    let text = "offered = \"1000/s\"\narrivals = { on-off = { alpha = 1.4, sources = 20, \
    on = \"20ms\", off = \"80ms\" } }";
    let seconds = 1000;
    let times = times(text, seconds);
    let scales = [100_000_000_u64, 1_000_000_000, 10_000_000_000];
    let found = scales.map(|window_ns| dispersion(&times, window_ns, seconds));
    // The dispersion of self-similar traffic grows with the scale to the power of 2H - 1, where
    // the Hurst exponent H is (3 - alpha) / 2: here to 0.6. What is not self-similar has 0.
    let growth = (found[2] / found[0]).log10() / 2.0;
    assert!((0.4..0.8).contains(&growth), "{found:?}: {growth}");
}

#[test]
fn on_off_sources_offer_what_was_asked_for() {
    let text = "offered = \"1000/s\"\narrivals = { on-off = { alpha = 1.4, sources = 20, \
    on = \"20ms\", off = \"80ms\" } }";
    let runs: Vec<f64> = (0..400)
        .map(|seed| float(arrivals(text, 1, seed).len() as u64))
        .collect();
    assert!(mean_is_plausible(&runs, 1000.0), "{:?}", moments(&runs));
}

#[test]
fn a_step_is_poisson_on_either_side() {
    let text = "offered = \"500/s\"\nsteps = [{ at = \"20s\", offered = \"10k/s\" }, \
    { at = \"22s\", offered = \"50/s\" }]";
    let times = times(text, 200);
    for (from, until, rate) in [(0, 20, 500.0), (20, 22, 10_000.0), (22, 200, 50.0)] {
        let within = Span::from_secs(from).0..Span::from_secs(until).0;
        let times: Vec<u64> = times
            .iter()
            .copied()
            .filter(|at| within.contains(at))
            .collect();
        let due = rate * float(until - from);
        let number = float(times.len() as u64);
        assert!(
            (number - due).abs() < Z_BOTH_SIDES * due.sqrt(),
            "{from}: {number}"
        );
        assert!(
            ks_is_plausible(&mut gaps(&times), |gap| 1.0 - (-gap * rate).exp()),
            "{from}"
        );
    }
}

#[test]
fn what_comes_later_leaves_what_came_before_as_it_was() {
    let plain = arrivals("offered = \"1000/s\"\nkeys = { count = 99 }", 30, 1);
    for shape in [
        "steps = [{ at = \"20s\", offered = \"10k/s\" }]",
        "flash = { at = \"20s\", times = 15, rise = \"2s\", hold = \"1s\", fall = \"1s\" }",
        "ramp = { at = \"20s\", times = 3, rise = \"5s\" }",
        "until = \"20s\"",
    ] {
        let text = format!("offered = \"1000/s\"\n{shape}\nkeys = {{ count = 99 }}");
        let shaped = arrivals(&text, 30, 1);
        let before = |all: &[Arrival]| all.partition_point(|one| one.at_ns < 20_000_000_000);
        assert_eq!(
            shaped[..before(&shaped)],
            plain[..before(&plain)],
            "{shape}"
        );
        assert_ne!(shaped, plain, "{shape}");
    }
}

#[test]
fn a_day_and_a_flash_offer_what_their_integrals_say() {
    let day = "offered = \"1000/s\"\ndiurnal = { period = \"60s\", low = \"20%\" }";
    let found = counts(&times(day, 120), 1_000_000_000, 120);
    let turn = |second: u64| (float(second) * std::f64::consts::TAU / 60.0).sin();
    let due =
        |second| 1000.0 - 800.0 * 30.0 / std::f64::consts::PI * (turn(second + 1) - turn(second));
    let expected: Vec<f64> = (0..120).map(due).collect();
    assert!(chi_square_is_plausible(&found, &expected), "{found:?}");

    let flash = "offered = \"1000/s\"\nflash = { at = \"1s\", times = 15, rise = \"1s\", \
    hold = \"1s\", fall = \"2s\" }";
    let found = counts(&times(flash, 12), 1_000_000_000, 12);
    let mut expected = vec![1000.0, 8000.0, 15_000.0];
    let left = |second: f64| 14_000.0 * 2.0 * (-second / 2.0).exp();
    let fallen = |second: f64| 1000.0 + left(second) - left(second + 1.0);
    expected.extend((0..9_u32).map(|second| fallen(f64::from(second))));
    assert!(chi_square_is_plausible(&found, &expected), "{found:?}");
}

#[test]
fn a_shape_goes_with_every_law() {
    // Twice a rate for a tenth of the time.
    for kind in [
        "arrivals = \"even\"",
        "arrivals = { gamma = { cv = 2 } }",
        "arrivals = { mmpp = [{ rate = \"30/s\", mean = \"2ms\" }, \
         { rate = \"3/s\", mean = \"8ms\" }] }",
        "arrivals = { on-off = { alpha = 1.9, sources = 50, on = \"2ms\", off = \"2ms\" } }",
    ] {
        let text = format!(
            "offered = \"2000/s\"\n{kind}\nflash = {{ at = \"50s\", times = 2, hold = \"10s\" }}"
        );
        let found = counts(&times(&text, 100), 10_000_000_000, 100);
        for (window, count) in found.iter().enumerate() {
            let due = if window == 5 { 40_000.0 } else { 20_000.0 };
            // Four deviations of the counts with jumps, which are the least certain.
            assert!((count / due - 1.0).abs() < 0.1, "{kind}: {found:?}");
        }
    }
}

#[test]
fn everyone_comes_at_second_zero() {
    let text =
        "offered = \"100/s\"\nspike = { every = \"10s\", requests = 500, within = \"10ms\" }";
    let all = times(text, 60);
    let plain = times("offered = \"100/s\"", 60);
    let mut spikes = Vec::new();
    let mut base = plain.iter().peekable();
    for at_ns in &all {
        if base.next_if(|next| *next == at_ns).is_none() {
            spikes.push(*at_ns);
        }
    }
    assert!(base.peek().is_none(), "a spike moves no other request");
    assert_eq!(spikes.len(), 6 * 500);
    let mut places: Vec<f64> = spikes
        .iter()
        .map(|at| float(at % 10_000_000_000) / 1e7)
        .collect();
    assert!(ks_is_plausible(&mut places, |place| place.clamp(0.0, 1.0)));
}

#[test]
fn a_spike_lasts_no_longer_than_its_load() {
    let text = "spike = { every = \"10s\", requests = 5 }\nfrom = \"5s\"\nuntil = \"30s\"";
    assert_eq!(
        times(text, 60),
        [[10_000_000_000; 5], [20_000_000_000; 5]].concat()
    );
    let cut = "spike = { every = \"10s\", requests = 500, within = \"10s\" }\nuntil = \"5s\"";
    let number = times(cut, 60).len();
    assert!((200..300).contains(&number), "{number}");
}

#[test]
fn costs_and_keys_leave_times_as_they_were_and_each_other() {
    let plain = arrivals("offered = \"1000/s\"\nkeys = { count = 1000 }", 10, 1);
    let costly = arrivals(
        "offered = \"1000/s\"\nkeys = { count = 1000 }\ncost = { geometric = { mean = 3 } }",
        10,
        1,
    );
    let skewed = arrivals(
        "offered = \"1000/s\"\nkeys = { count = 1000, zipf = 1.2 }\n\
         cost = { geometric = { mean = 3 } }",
        10,
        1,
    );
    assert_eq!(plain.len(), costly.len());
    assert!(
        plain
            .iter()
            .zip(&costly)
            .all(|(a, b)| (a.at_ns, a.key) == (b.at_ns, b.key))
    );
    assert!(plain.iter().zip(&costly).any(|(a, b)| a.cost != b.cost));
    assert_eq!(plain.len(), skewed.len());
    assert!(
        costly
            .iter()
            .zip(&skewed)
            .all(|(a, b)| (a.at_ns, a.cost) == (b.at_ns, b.cost))
    );
    assert!(costly.iter().zip(&skewed).any(|(a, b)| a.key != b.key));
}

#[test]
fn a_load_leaves_those_before_it_as_they_were() {
    let alone = all(load(&KINDS[..1], 1, 1));
    let together = all(load(&KINDS, 1, 1));
    assert!(together.is_sorted_by_key(|arrival| arrival.at_ns));
    let first: Vec<Arrival> = together
        .into_iter()
        .filter(|arrival| arrival.origin.load == 0)
        .collect();
    assert_eq!(alone, first);
}

/// The first requests of many runs: one of each, so that rejected draws shift nothing.
fn first_of_each_run(text: &str, which: fn(&Arrival) -> f64) -> Vec<f64> {
    let first = |seed| which(&load(&[text], 1, seed).pop());
    (0..2000).map(first).collect()
}

#[track_caller]
fn assert_independent(one: &[f64], other: &[f64]) {
    let pairs: Vec<(f64, f64)> = one.iter().copied().zip(other.iter().copied()).collect();
    assert!(pairs.len() >= 2000);
    let found = correlation(&pairs);
    assert!(
        found.abs() < Z_BOTH_SIDES / float(pairs.len() as u64).sqrt(),
        "{found}"
    );
}

const MARKED: &str = "keys = { count = 1000 }\ncost = { uniform = [1, 1000] }\n";

#[test]
fn two_loads_know_nothing_of_each_other() {
    let text = format!("offered = \"1000/s\"\n{MARKED}");
    let both = all(load(&[text.as_str(); 2], 10, 1));
    let [one, other] = [0, 1].map(|load| {
        let own = both.iter().filter(|arrival| arrival.origin.load == load);
        own.copied().collect::<Vec<Arrival>>()
    });
    let times = |all: &[Arrival]| all.iter().map(|one| one.at_ns).collect::<Vec<u64>>();
    assert_independent(&gaps(&times(&one)), &gaps(&times(&other)));
    let marks: [fn(&Arrival) -> f64; 2] = [|one| f64::from(one.key), |one| f64::from(one.cost)];
    for mark in marks {
        let of = |all: &[Arrival]| all.iter().map(mark).collect::<Vec<f64>>();
        assert_independent(&of(&one), &of(&other));
    }
}

#[test]
fn a_spike_has_keys_and_costs_of_its_own() {
    let spike = arrivals(
        &format!("{MARKED}spike = {{ every = \"9s\", requests = 5000 }}"),
        9,
        1,
    );
    let base = arrivals(&format!("{MARKED}offered = \"1000/s\""), 9, 1);
    let keys = |all: &[Arrival]| {
        all.iter()
            .map(|one| f64::from(one.key))
            .collect::<Vec<f64>>()
    };
    let costs = |all: &[Arrival]| {
        all.iter()
            .map(|one| f64::from(one.cost))
            .collect::<Vec<f64>>()
    };
    assert_independent(&keys(&spike), &keys(&base));
    assert_independent(&costs(&spike), &costs(&base));
}

#[test]
fn keys_and_costs_and_times_of_a_load_know_nothing_of_each_other() {
    let text = format!("offered = \"1000/s\"\n{MARKED}");
    let times = first_of_each_run(&text, |one| float(one.at_ns));
    let keys = first_of_each_run(&text, |one| f64::from(one.key));
    let costs = first_of_each_run(&text, |one| f64::from(one.cost));
    assert_independent(&times, &keys);
    assert_independent(&times, &costs);
    assert_independent(&keys, &costs);
}

#[test]
fn ties_go_by_the_position_of_the_load() {
    let even = "offered = \"10/s\"\narrivals = \"even\"";
    let spike = "spike = { every = \"1s\", requests = 2 }";
    let order: Vec<(u64, u16)> = all(load(&[spike, even, even], 1, 1))
        .iter()
        .map(|arrival| (arrival.at_ns, arrival.origin.load))
        .collect();
    assert!(order.is_sorted());
    assert_eq!(
        order[..4],
        [(0, 0), (0, 0), (50_000_000, 1), (50_000_000, 2)]
    );
}

#[test]
fn the_same_seed_gives_the_same_and_another_another() {
    for kind in &KINDS[1..] {
        assert_eq!(arrivals(kind, 1, 5), arrivals(kind, 1, 5));
        if *kind != KINDS[6] {
            assert_ne!(arrivals(kind, 1, 5), arrivals(kind, 1, 6), "{kind}");
        }
    }
}

#[test]
fn change_points_are_in_order_each_once_and_within_the_run() {
    let flash = "offered = \"1/s\"\nfrom = \"5s\"\n\
    flash = { at = \"20s\", times = 2, rise = \"1s\", hold = \"2s\" }";
    let steps = "offered = \"1/s\"\nuntil = \"60s\"\n\
    steps = [{ at = \"0s\", offered = \"2/s\" }, { at = \"21s\", offered = \"1/s\" }, \
    { at = \"70s\", offered = \"1/s\" }]";
    let load = load(&[flash, steps], 60, 1);
    assert_eq!(
        load.change_points(),
        [5, 20, 21, 23].map(|second| Span::from_secs(second).0)
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_cannot_be_is_refused_and_the_message_names_the_field() {
    for (text, field) in [
        ("", "`offered` is missing"),
        (
            "spike = { every = \"1s\", requests = 1 }\narrivals = \"even\"",
            "`offered` is missing",
        ),
        ("offered = \"2000M/s\"", "`offered`"),
        (
            "offered = \"1/s\"\nfrom = \"1s\"\nuntil = \"1s\"",
            "`until`",
        ),
        ("offered = \"1/s\"\ncost = 0", "`cost`"),
        ("offered = \"1/s\"\nkeys = { count = 0 }", "`keys.count`"),
        (
            "offered = \"1/s\"\nsteps = [{ at = \"2s\", offered = \"1/s\" }, \
             { at = \"2s\", offered = \"1/s\" }]",
            "`steps`",
        ),
        (
            "offered = \"1/s\"\nsteps = [{ at = \"2s\", offered = \"9999M/s\" }]",
            "`steps.offered`",
        ),
        (
            "offered = \"1/s\"\nramp = { at = \"0s\", times = -1, rise = \"1s\" }",
            "`ramp.times`",
        ),
        (
            "offered = \"1/s\"\nflash = { at = \"0s\", times = nan }",
            "`flash.times`",
        ),
        (
            "offered = \"1/s\"\ndiurnal = { period = \"0s\", low = 0 }",
            "`diurnal.period`",
        ),
        ("spike = { every = \"0s\", requests = 1 }", "`spike.every`"),
        (
            "spike = { every = \"1s\", requests = 0 }",
            "`spike.requests`",
        ),
        (
            "spike = { every = \"1s\", requests = 1, within = \"2s\" }",
            "`spike.within`",
        ),
        (
            "offered = \"1/s\"\narrivals = { gamma = { cv = 0 } }",
            "`arrivals.gamma.cv`",
        ),
        ("arrivals = { mmpp = [] }", "`arrivals.mmpp`"),
        (
            "arrivals = { mmpp = [{ rate = \"0/s\", mean = \"1s\" }] }",
            "`arrivals.mmpp`",
        ),
        (
            "arrivals = { mmpp = [{ rate = \"1/s\", mean = \"0s\" }] }",
            "`arrivals.mmpp.mean`",
        ),
        (
            "offered = \"1/s\"\narrivals = { on-off = { alpha = 1, sources = 1, on = \"1s\", \
             off = \"1s\" } }",
            "on-off.alpha",
        ),
        (
            "offered = \"1/s\"\narrivals = { on-off = { alpha = 2, sources = 0, on = \"1s\", \
             off = \"1s\" } }",
            "on-off.sources",
        ),
        (
            "offered = \"1/s\"\narrivals = { on-off = { alpha = 2, sources = 1, on = \"0s\", \
             off = \"1s\" } }",
            "on-off.on",
        ),
        (
            "arrivals = { trace = { path = \"x\" } }",
            "`x` was not read",
        ),
        (
            "arrivals = { trace = { path = \"x\", speed = 0 } }",
            "`trace.speed`",
        ),
        (
            "arrivals = { trace = { path = \"x\", keys-max = 0 } }",
            "`trace.keys-max`",
        ),
        (
            "offered = \"1/s\"\narrivals = { trace = { path = \"x\" } }",
            "`offered` does not go",
        ),
        (
            "spike = { every = \"1s\", requests = 1 }\narrivals = { trace = { path = \"x\" } }",
            "`spike` does not go",
        ),
        (
            "cost = 1\narrivals = { trace = { path = \"x\" } }",
            "`cost` does not go",
        ),
        (
            "keys = { count = 2 }\narrivals = { trace = { path = \"x\" } }",
            "`keys` does not go",
        ),
    ] {
        let configs = [config("offered = \"1/s\""), config(text)];
        let error = Load::new(&configs, &Traces::new(), Span::from_secs(60), 1).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with("load 2: ") && message.contains(field),
            "{text}: {message}"
        );
    }
    for text in [
        "rate = \"1/s\"",
        "arrivals = \"odd\"",
        "arrivals = { gamma = { cv = 1, k = 1 } }",
    ] {
        assert!(toml::from_str::<LoadConfig>(text).is_err(), "{text}");
    }
    let endless = Load::new(&[], &Traces::new(), Span(u64::MAX), 1);
    assert!(matches!(endless, Err(LoadError::TooLong(_))));
}

#[test]
fn no_load_is_no_arrivals() {
    let load = load(
        &["offered = \"0/s\"", "offered = \"10/s\"\nfrom = \"90s\""],
        60,
        1,
    );
    assert_eq!(load.next_at(), None);
}

fn replay(text: &str, options: &str) -> Result<Vec<(u64, u32, u32)>, LoadError> {
    let trace = Arc::new(Trace::parse(text.as_bytes()).unwrap());
    let traces = Traces::from([("t.csv".to_owned(), trace)]);
    let load = config(&format!(
        "arrivals = {{ trace = {{ path = \"t.csv\"{options}"
    ));
    let load = Load::new(&[load], &traces, Span::from_secs(60), 1)?;
    let keys_max = load.keys_max();
    let arrivals = all(load);
    assert!(
        arrivals
            .iter()
            .all(|arrival| u64::from(arrival.key) < keys_max)
    );
    Ok(arrivals
        .iter()
        .map(|arrival| (arrival.at_ns, arrival.key, arrival.cost))
        .collect())
}

#[test]
fn a_trace_is_replayed_as_recorded() {
    let text = "time,key,cost\n0.5,b,1\n0.5,a,2\n2,b,3\n60,c,4\n";
    assert_eq!(
        replay(text, " } }").unwrap(),
        [
            (500_000_000, 0, 1),
            (500_000_000, 1, 2),
            (2_000_000_000, 0, 3)
        ],
    );
    assert_eq!(
        replay(
            text,
            ", speed = 2.0, keys-max = 2 } }\nfrom = \"10s\"\nuntil = \"41s\"\nkeys = { first = 7 }"
        )
        .unwrap(),
        [
            (10_250_000_000, 7, 1),
            (10_250_000_000, 8, 2),
            (11_000_000_000, 7, 3),
            (40_000_000_000, 7, 4),
        ],
    );
}

#[test]
fn a_trace_with_dates_begins_with_its_first_request_if_told_so() {
    let text = "time\n1585706400.25\n1585706401\n";
    let error = replay(text, " } }").unwrap_err().to_string();
    assert!(error.contains("origin = \"first\""), "{error}");
    let rows = replay(text, ", origin = \"first\" } }").unwrap();
    assert_eq!(rows, [(0, 0, 1), (750_000_000, 0, 1)]);
}

#[test]
fn requests_of_one_stamp_are_spread_over_its_unit() {
    let text = "time,key\n1,a\n1,b\n1,c\n1,d\n3,e\n";
    let even = replay(text, ", spread = \"even\" } }").unwrap();
    let at: Vec<u64> = even.iter().map(|row| row.0 / 1_000_000).collect();
    assert_eq!(at, [1000, 1250, 1500, 1750, 3000]);
    assert!(even.iter().map(|row| row.1).eq(0..5));

    let many = format!("time_ms\n{}", "7\n".repeat(5000));
    let uniform = replay(&many, ", spread = \"uniform\" } }").unwrap();
    let mut places: Vec<f64> = uniform.iter().map(|row| float(row.0) / 1e6 - 7.0).collect();
    assert!(ks_is_plausible(&mut places, |place| place.clamp(0.0, 1.0)));

    let error = replay("time\n1\n1.5\n", ", spread = \"even\" } }")
        .unwrap_err()
        .to_string();
    assert!(error.contains("line 3"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_load_times_are_in_order_and_keys_and_costs_in_range(
        seed: u64,
        kinds in prop::collection::vec(0..KINDS.len(), 1..40),
        churn: bool,
    ) {
        let keys = if churn {
            "cost = { uniform = [2, 4] }\nkeys = { count = 9, first = 4, zipf = 0.9, \
             moving = { every = \"50ms\" }, churn = { share = 0.5, every = \"10ms\", \
             lifetime = \"25ms\" } }"
        } else {
            "cost = { uniform = [2, 4] }\nkeys = { count = 5, first = 1 }"
        };
        let texts: Vec<String> =
            kinds.iter().map(|kind| format!("{}\n{keys}", KINDS[*kind])).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let load = load(&texts, 1, seed);
        let keys = if churn { 4..4 + 9 + 99 + 3 } else { 1..6 };
        prop_assert_eq!(load.keys_max(), keys.end);
        let arrivals = all(load);
        prop_assert!(arrivals.is_sorted_by_key(|arrival| arrival.at_ns));
        for arrival in arrivals {
            prop_assert!(arrival.at_ns < 1_000_000_000);
            prop_assert!(keys.contains(&u64::from(arrival.key)));
            prop_assert!((2..=4).contains(&arrival.cost));
            prop_assert_eq!(arrival.origin.tries, 0);
            prop_assert!(usize::from(arrival.origin.load) < kinds.len());
        }
    }
}

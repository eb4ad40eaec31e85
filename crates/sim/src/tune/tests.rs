//! The tuner with the real limiter, on problems small enough for a test.

use super::*;
use crate::tune::figures::Aim;
use crate::units::{Count, PerSecond, Span};

fn question(limit: &str, replicas: u32, offered: f64) -> Question {
    Question {
        limit: limit.parse().unwrap(),
        replicas,
        offered: PerSecond(offered),
        keys: Count(1),
        zipf: 0.0,
        latency: Span::from_millis(1),
        objectives: Objectives::default(),
        seed: 1,
    }
}

/// Shorter than for an answer.
const MEASURED: Span = Span::from_secs(8);

fn in_world<R>(
    question: &Question,
    space: &Space,
    with: impl FnOnce(&Aim, &mut Lab<'_>) -> R,
) -> R {
    let mut world = World::new(question, Times::ONE, &|_| {}).unwrap();
    for scenario in &mut world.scenarios {
        scenario.duration = Span(scenario.warmup.0 + MEASURED.0);
        if let Some(flash) = &mut scenario.loads[0].flash {
            flash.at = Span(scenario.warmup.0 + MEASURED.0 / 3);
        }
    }
    let trial = |setting: &Setting, seed| world.run(space, setting, seed);
    let mut lab = Lab::new(&trial, question.seed);
    let aim = question.objectives.aim(&question.limit);
    with(&aim, &mut lab)
}

#[test]
fn nothing_that_the_search_did_not_try_is_much_cheaper() {
    let mut question = question("100/s burst 50", 3, 200.0);
    question.objectives.deficit = 0.02;
    question.objectives.lull_deficit = 0.1;
    let mut space = Space::new(&question.limit, 0);
    // A coarse space: the interval, how soon to report and how long to hold.
    for (axis, keep) in [(0, &[0, 2, 4][..]), (1, &[0, 2, 4]), (2, &[0, 2, 4])] {
        space.keep(axis, keep);
    }
    for axis in 3..space.axes.len() {
        space.keep(axis, &[2]);
    }
    in_world(&question, &space, |aim, lab| {
        let found = search(&space, aim, lab).unwrap();
        let all = space.product(&[0, 1, 2]);
        let bench = &mut lab.fresh;
        bench.run(&all, FEWER_SEEDS).unwrap();
        let runs = |setting: &Setting| &bench.of(setting)[..FEWER_SEEDS];
        let calls = |setting: &Setting| figures::spread(runs(setting), Measure::StoreCalls).mean;
        let found_calls = calls(&found);
        let kept = |setting: &Setting| aim.score(runs(setting), 0.0, true).violation <= 0.0;
        assert!(
            aim.score(bench.of(&found), 0.0, true).violation <= 0.0,
            "{found:?}"
        );
        let better = all
            .iter()
            .filter(|it| kept(it) && calls(it) < found_calls * 0.9);
        let better: Vec<_> = better.map(|it| (it, calls(it))).collect();
        assert!(
            better.is_empty(),
            "{found:?} at {found_calls}, but {better:?}"
        );
    });
}

#[test]
fn with_nothing_to_lose_reports_are_as_rare_as_they_can_be() {
    let mut question = question("100/s burst 100", 4, 300.0);
    question.objectives.deficit = 1.0;
    question.objectives.lull_deficit = 1.0;
    question.objectives.false_denials = 1.0;
    let mut space = Space::new(&question.limit, 0);
    for axis in 1..space.axes.len() {
        space.keep(axis, &[2]);
    }
    in_world(&question, &space, |aim, lab| {
        let found = search(&space, aim, lab).unwrap();
        let longest = space.axes[0].values.len() - 1;
        assert_eq!(found.0[0], longest, "{found:?}");
        // A replica that finds the bucket short reports once in an interval.
        let calls = figures::spread(lab.fresh.of(&found), Measure::StoreCalls).mean;
        assert!(calls < 4.0 / 1.6 * 2.0, "{calls} calls/s");
    });
}

#[test]
fn an_answer_does_not_depend_on_the_number_of_threads() {
    let question = question("100/s burst 50", 2, 150.0);
    let space = Space::new(&question.limit, 0);
    let answers = [1, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| {
            in_world(&question, &space, |_, lab| {
                lab.explored.run(&space.star(), 1).unwrap();
                let runs = lab.explored.tried();
                runs.map(|(setting, runs)| (setting.clone(), runs.to_vec()))
                    .collect::<Vec<_>>()
            })
        })
    });
    assert_eq!(answers[0], answers[1]);
}

/// The question that everybody asks first, held against a grid of 875 settings. Takes a minute or
/// two, so it is asked for by name.
#[test]
#[ignore = "runs 80 million requests; use a release build"]
fn the_default_question_is_answered_as_well_as_by_a_grid() {
    let question = question("1000/s burst 1000", 10, 3000.0);
    let space = Space::new(&question.limit, 0);
    let world = World::new(&question, Times::ONE, &|_| {}).unwrap();
    let trial = |setting: &Setting, seed| world.run(&space, setting, seed);
    let mut lab = Lab::new(&trial, question.seed);
    let aim = question.objectives.aim(&question.limit);
    let found = search(&space, &aim, &mut lab).unwrap();
    let calls = |runs: &[Figures]| figures::spread(runs, Measure::StoreCalls).mean;
    let enough = calls(lab.fresh.of(&found)) * 0.9;
    // Whoever is cheaper and may keep the bounds is run with more seeds.
    let mut grid = space.product(&[0, 2, 4, 5]);
    for (seeds, forgiven) in [(1, 1.0), (4, 0.25)] {
        lab.explored.run(&grid, seeds).unwrap();
        grid.retain(|setting| {
            let runs = &lab.explored.of(setting)[..seeds];
            calls(runs) < enough && aim.score(runs, forgiven, false).violation <= 0.0
        });
        eprintln!("{} cheaper with {seeds} seeds", grid.len());
    }
    lab.fresh.run(&grid, FEWER_SEEDS).unwrap();
    grid.retain(|setting| {
        let runs = lab.fresh.of(setting);
        calls(runs) < enough && aim.score(runs, 0.0, true).violation <= 0.0
    });
    assert!(grid.is_empty(), "{found:?}, {enough} calls/s, but {grid:?}");
}

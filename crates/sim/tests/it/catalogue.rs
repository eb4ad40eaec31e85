//! The scenarios in `simulations/`: each can be read, says where it comes from, and can fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use leasehold_sim::scenario::expect::Relation;
use leasehold_sim::scenario::{LEASED, Points};

fn simulations() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../simulations")
}

/// Name within `simulations/`, and text, of every scenario.
fn files() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for folder in ["behaviour", "papers", "seeds"] {
        for entry in fs::read_dir(simulations().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(
                path.extension().and_then(|it| it.to_str()),
                Some("toml"),
                "{} is no scenario",
                path.display()
            );
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            files.insert(
                format!("{folder}/{stem}"),
                fs::read_to_string(&path).unwrap(),
            );
        }
    }
    files
}

fn read(name: &str, text: &str) -> Points {
    Points::parse(&format!("{name}.toml"), text, &[]).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_scenario_can_be_run_and_says_where_its_numbers_come_from() {
    let files = files();
    assert!(files.len() >= 40, "only {} scenarios", files.len());
    for (name, text) in &files {
        for point in read(name, text).points {
            let scenario = &point.scenario;
            assert!(scenario.source.is_some(), "{name} has no `source`");
            assert!(scenario.beats.is_some(), "{name} has no `beats`");
        }
    }
}

/// A point about which nothing is expected tells nobody anything when it breaks.
#[test]
fn every_point_of_a_scenario_can_fail() {
    for (name, text) in &files() {
        for point in read(name, text).points {
            let ours: Vec<_> = point.scenario.expect.0.iter().collect();
            let of_overshoot = ours
                .iter()
                .find(|it| it.of == LEASED && it.metric == "overshoot");
            let of_overshoot = of_overshoot.unwrap_or_else(|| {
                panic!(
                    "{name} {}: nothing is expected of the overshoot",
                    point.label()
                )
            });
            assert!(
                matches!(of_overshoot.relation, Relation::Equal | Relation::AtMost),
                "{name} {}: {of_overshoot}",
                point.label()
            );
            assert!(
                ours.iter().any(|it| it.metric != "overshoot"),
                "{name} {}: a limiter that denies everything would pass",
                point.label()
            );
        }
    }
}

/// Zero, unless the store's memory is split, its clock jumps, or a failure policy admits more on
/// purpose: nothing else adds to the limit.
#[test]
fn overshoot_is_expected_to_be_zero_but_for_two_faults_and_two_policies() {
    let mut excused = Vec::new();
    for (name, text) in &files() {
        for point in read(name, text).points {
            let ours = point.scenario.expect.0.iter();
            let mut of_overshoot = ours.filter(|it| it.of == LEASED && it.metric == "overshoot");
            if of_overshoot.any(|it| it.relation != Relation::Equal || it.text.trim() != "== 0") {
                excused.push(format!("{name} {}", point.label()).trim_end().to_owned());
            }
        }
    }
    let expected = [
        "behaviour/failover split brain of 15 s",
        "behaviour/failure-policies away, local",
        "behaviour/failure-policies away, open",
        "behaviour/failure-policies three cut off, local",
        "behaviour/store-clock-forward",
    ];
    assert_eq!(excused, expected);
}

#[test]
fn the_table_names_every_scenario() {
    let table = fs::read_to_string(simulations().join("README.md")).unwrap();
    for name in files().keys() {
        assert!(
            table.contains(&format!("({name}.toml)")),
            "simulations/README.md lacks {name}"
        );
    }
}

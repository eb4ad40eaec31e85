//! Rows about the commands that simulate: `simulate`, `sweep`, `swarm` and `tune`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::program::{list, report, root, run};
use crate::runner::{Outcome, Setup, broken, promise};

/// Every scenario meets its expectations, and gives what the table of scenarios says.
pub(crate) fn scenarios(setup: &Setup) -> Outcome {
    let printed = setup
        .program
        .print(&["simulate", "simulations/", "--json"])?;
    let report = report(&printed)?;
    let scenarios = list(&report, "scenarios")?;
    let (mut points, mut checks) = (0, 0);
    for scenario in scenarios {
        for point in list(scenario, "points")? {
            points += 1;
            for check in list(point, "checks")? {
                checks += 1;
                promise(check["met"] == true, || {
                    format!("an expectation failed: {check}")
                })?;
            }
        }
    }
    promise(checks > 0, || "there are no expectations")?;
    let directory = tempfile::tempdir().map_err(broken)?;
    let file = directory.path().join("report.json");
    fs::write(&file, &printed).map_err(broken)?;
    let mut catalogue = Command::new(root().join("scripts/catalogue"));
    catalogue.arg("--check").arg(file);
    let table = run(catalogue)?;
    promise(table.code == Some(0), || table.said)?;
    let scenarios = scenarios.len();
    Ok(format!(
        "{scenarios} scenarios, {points} points, {checks} expectations met"
    ))
}

/// One seed gives the same output, whatever the number of threads.
pub(crate) fn same_bytes(setup: &Setup) -> Outcome {
    let files = [
        "simulations/papers/rateguard.toml",
        "simulations/behaviour/store-loss.toml",
    ];
    let mut printed = BTreeSet::new();
    for threads in ["1", "2", "2"] {
        let arguments = ["simulate", files[0], files[1], "--threads", threads];
        printed.insert(setup.program.print(&arguments)?);
    }
    promise(
        printed.len() == 1,
        || "two runs with one seed printed different things",
    )?;
    Ok("1 and 2 threads, and twice 2, print the same".to_owned())
}

/// A page of plots is complete in one file.
pub(crate) fn page(setup: &Setup) -> Outcome {
    let directory = tempfile::tempdir().map_err(broken)?;
    let file = directory.path().join("sweep.html");
    let path = file.to_string_lossy();
    let vary = ["--vary", "replicas=1,5,20", "--html", &path, "--seeds", "1"];
    let scenario = ["sweep", "simulations/behaviour/rivals.toml"];
    setup.program.print(&[&scenario[..], &vary].concat())?;
    let text = fs::read_to_string(&file).map_err(broken)?;
    let parts = ["<svg role", "class=\"conclusion\"", "<table"].map(|part| text.find(part));
    promise(
        parts[0].is_some() && parts.is_sorted_by(|a, b| a < b),
        || format!("a picture, a conclusion and tables do not follow each other: {parts:?}"),
    )?;
    let alone = text.replace("http://www.w3.org", "");
    let loads = alone.contains("http://") || alone.contains("<script");
    promise(!loads, || "it loads things")?;
    let size = text.chars().count() / 1000;
    Ok(format!("{size} kB, no script, nothing loaded"))
}

pub(crate) fn swarm(setup: &Setup) -> Outcome {
    setup.program.print(&["swarm", "--seeds", "1000"])?;
    Ok("1000 random worlds with random faults, nothing found".to_owned())
}

/// The bugs of `scripts/planted` can still be planted. That each is found takes minutes: run the
/// script by hand.
pub(crate) fn planted(_: &Setup) -> Outcome {
    let folder = fs::read_dir(root().join("crates/sim/tests/planted")).map_err(broken)?;
    let files = folder.map(|file| file.map(|file| file.path()));
    let mut patches: Vec<PathBuf> = files.collect::<Result<_, _>>().map_err(broken)?;
    patches.retain(|file| file.extension().is_some_and(|ending| ending == "patch"));
    patches.sort();
    for patch in &patches {
        let mut apply = Command::new("git");
        apply.args(["apply", "--check"]).arg(patch);
        let done = run(apply)?;
        promise(done.code == Some(0), || {
            format!(
                "{} no longer applies: {}",
                patch.display(),
                done.said.trim()
            )
        })?;
    }
    promise(!patches.is_empty(), || "there are none")?;
    Ok(format!("{} patches apply", patches.len()))
}

pub(crate) fn tuned(setup: &Setup) -> Outcome {
    let limit = ["tune", "--rate", "1000/s", "--burst", "1000"];
    let load = ["--replicas", "10", "--offered", "3000/s"];
    let printed = setup.program.print(&[&limit[..], &load].concat())?;
    let first = printed.trim().lines().next();
    Ok(first
        .ok_or_else(|| broken("it printed nothing"))?
        .to_owned())
}

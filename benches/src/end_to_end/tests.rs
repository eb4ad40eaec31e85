//! The command measures what it says, in the time of a test.

use leasehold_testbed::{LocalServer, ServerOptions};

use super::contenders::{Contender, Instance};
use super::figures::{Figures, measure as figure};
use super::open_loop::{self, OpenLoop};
use super::rows::{Effort, ROWS, Row};
use super::server_cost::{Cost, Host};
use super::targets::verdict;
use super::{RowResults, measure, selected, to_json};
use crate::machine::Machine;

/// A host of ours, or none: the test says that it is skipped.
fn host() -> Option<Host> {
    let binary = LocalServer::find_or_skip().into_iter().next()?;
    let options = ServerOptions {
        binary: Some(binary),
        ..ServerOptions::default()
    };
    Some(Host::start(&options).expect("it was found"))
}

/// A benchmark that leaves out what it cannot measure, or in which ours is wrong, is worse than
/// none.
#[test]
fn every_row_measures_every_contender_and_ours_keeps_its_limit() {
    let Some(host) = host() else { return };
    let rows: Vec<&Row> = ROWS.iter().collect();
    let results = measure(&host, &rows, &[], Effort::GLANCE);
    for row in &results {
        for &contender in row.row.contenders.iter().filter(|it| it.is_built()) {
            let measured = row.of(contender);
            let name = contender.name();
            let measured = measured.unwrap_or_else(|| panic!("{}: no {name}", row.row.name));
            let of = |name| measured.greatest(figure(name));
            assert!(of("decisions_per_s") > 0.0, "{}: {name}", row.row.name);
            assert!(of("longest_us") >= of("p50_us"), "{}: {name}", row.row.name);
            let asks = contender.always_asks();
            assert!(
                !asks || of("scripts_per_s") > 0.0,
                "{}: {name}",
                row.row.name
            );
        }
        keeps_its_limit(row);
    }
    let json = to_json(&Machine::now(&[]), &host, &results);
    let said = json["rows"].as_array().expect("a list");
    assert_eq!(said.len(), ROWS.len());
}

fn keeps_its_limit(row: &RowResults) {
    let ours = row.of(Contender::Leased).expect("checked above");
    let name = row.row.name;
    assert!(ours.greatest(figure("overshoot_tokens")) < 0.5, "{name}");
    assert!(ours.greatest(figure("admitted_per_s")) > 0.0, "{name}");
    let table = row.table();
    assert!(table.contains("exact"), "{table}");
}

/// The purpose of the whole command: the judge, the verdict and the table, on a limiter that nobody
/// would ship.
#[test]
fn a_fast_wrong_limiter_looks_wrong() {
    #[derive(Clone)]
    struct Everything;
    impl Instance for Everything {
        type Key = ();
        fn key(_: &str) {}
        async fn acquire(&self, (): &()) -> bool {
            true
        }
    }
    let row = selected(&["flash-crowd".to_owned()])[0];
    let load = OpenLoop {
        per_second: 100_000,
        first_percent: None,
        length_ns: 50_000_000,
        limit: row.limit,
        window_s: None,
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let outcome = runtime.block_on(open_loop::run(&[Everything], load));
    let outcome = outcome.expect("requests were answered");
    let mut results = RowResults::new(row);
    let figures = Figures {
        seconds: outcome.seconds,
        accuracy: outcome.accuracy,
        latency: outcome.latency,
        given_up: outcome.given_up,
        cost: Cost::default(),
    };
    results.add(Contender::Leased, figures);
    let said = verdict(&results, Contender::Leased);
    assert!(said[0].starts_with("WRONG"), "{said:?}");
    assert!(said[1].starts_with("MISSED: overshoot"), "{said:?}");
    assert!(results.table().contains("WRONG"));
}

#[test]
fn rows_are_selected_by_how_their_names_begin() {
    let names = |only: &[&str]| {
        let only: Vec<String> = only.iter().map(ToString::to_string).collect();
        let rows = selected(&only);
        rows.iter().map(|row| row.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]).len(), ROWS.len());
    assert_eq!(
        names(&["shared", "flood"]),
        ["flood", "shared-even", "shared-skewed"]
    );
    assert!(names(&["nothing"]).is_empty());
}

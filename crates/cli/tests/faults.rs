//! The whole way of `leasehold faults`: real processes, a real server, and a fault.

use assert_cmd::Command;
use leasehold_testbed::LocalServer;
use serde_json::Value;

/// Whether a row recovers in time depends on what else the machine does; that it keeps its bound
/// and loses no token does not.
#[test]
fn faults_are_tried_on_real_servers_and_cost_no_more_than_they_may() {
    let Some(server) = LocalServer::find_or_skip().into_iter().next() else {
        return;
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    command.env("LEASEHOLD_REDIS_SERVER", &server.path);
    let faults = ["server-killed", "replica-killed", "cut-off-local"];
    command.args(["faults", "--quick", "--json"]);
    command.args(faults.iter().flat_map(|name| ["--only", name]));
    let output = command.output().expect("the program was built");
    let said = String::from_utf8_lossy(&output.stderr);
    // 1 is a row that was broken, which is judged below.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    assert_eq!(report["kept"], output.status.success(), "{said}");
    let rows = report["rows"].as_array().expect("a list");
    assert_eq!(rows.len(), faults.len());
    for (row, name) in rows.iter().zip(faults) {
        assert_eq!(row["name"], name);
        check(row);
    }
}

fn check(row: &Value) {
    let found = &row["findings"];
    if found.is_null()
        && row["broken"][0]
            .as_str()
            .is_some_and(|why| why.contains(TOO_LONG))
    {
        eprintln!("SKIPPED: the machine stood still: {row}");
        return;
    }
    let number = |name: &str| {
        found[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name}: {row}"))
    };
    assert!(number("excess_tokens") <= number("bound_tokens"), "{row}");
    assert_eq!(number("tokens_lost"), 0, "{row}");
    assert_eq!(number("admitted_unpaid"), 0, "{row}");
    // A burst, and some of what the rate yields.
    assert!(number("admitted_tokens") > 1000, "{row}");
}

#[test]
fn an_unknown_fault_is_an_error_that_lists_those_there_are() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    let output = command.args(["faults", "--only", "meteor"]);
    let output = output.output().expect("the program was built");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("meteor") && said.contains("black-hole"),
        "{said}"
    );
}

/// Words of the report on a fault that took so long that there was no time left to look at what
/// followed.
const TOO_LONG: &str = "longer than planned";

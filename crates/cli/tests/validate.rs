//! The whole way of `leasehold validate`: real processes, a real server, and the simulator.

use assert_cmd::Command;
use leasehold_testbed::LocalServer;
use serde_json::Value;

/// A simulator that models another limiter than the one that runs misleads everybody who tunes by
/// it, and none of its own tests would tell.
#[test]
fn real_processes_do_what_the_simulator_says() {
    let Some(server) = LocalServer::find_or_skip().into_iter().next() else {
        return;
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    command.env("LEASEHOLD_REDIS_SERVER", &server.path);
    let output = command.args(["validate", "--quick", "--json"]).output();
    let output = output.expect("the program was built");
    let said = String::from_utf8_lossy(&output.stderr);
    // 1 is a prediction that is off, which is judged below.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    let settings = report["settings"].as_array().expect("a list");
    let names: Vec<_> = settings.iter().map(|it| it["name"].as_str()).collect();
    let expected = ["overload", "below-limit", "many-keys"].map(Some);
    assert_eq!(names, expected);
    for setting in settings {
        for row in setting["rows"].as_array().expect("a list") {
            check(&setting["name"], row);
        }
    }
}

#[test]
fn what_cannot_be_compared_is_an_error_of_its_own() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    let output = command.args(["validate", "--settings", "nowhere.toml"]);
    let output = output.output().expect("the program was built");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("nowhere.toml"), "{said}");
}

/// One short run beside other tests is off by more than the median of three long ones on a quiet
/// machine; a wrong model is off by much more still.
fn check(setting: &Value, row: &Value) {
    let Some(allowed) = row["allowed"].as_f64() else {
        return;
    };
    if row["name"] == "exchanges unanswered" {
        // A machine that stands still for a quarter of a second has some.
        return;
    }
    if row["name"] == "overshoot, tokens" {
        // How much of what is allowed three seconds use is chance: 0 to 29 tokens were measured.
        for most in [&row["measured"]["max"], &row["predicted"]["max"]] {
            let most = most.as_f64().expect("a number");
            assert!(most <= OVERSHOOT, "{setting}: {row} breaks the bound");
        }
        return;
    }
    let difference = row["difference"].as_f64().expect("a number");
    assert!(
        difference.abs() <= SLACK * allowed,
        "{setting}: {row} is off"
    );
}

/// Store calls within a quarter, admitted tokens within a twentieth.
const SLACK: f64 = 5.0;

/// The largest overshoot that a limit of the settings allows.
const OVERSHOOT: f64 = 50.0;

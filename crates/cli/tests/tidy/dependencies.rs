//! Which package may depend on which, read from `cargo metadata`.
//!
//! Dependencies of tests are free: nobody who uses the package gets them.

use std::env;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::files;

/// Arrows between our packages that the design does not have.
pub(crate) fn wrong_arrows(metadata: &Value) -> Vec<String> {
    let mut violations = Vec::new();
    for package in packages(metadata) {
        let role = role(package);
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == role) else {
            violations.push(format!(
                "{role}: no rule says what this package may depend on; decide, and add it to ARROWS"
            ));
            continue;
        };
        for to in shipped_dependencies(package).filter_map(path_role) {
            if !allowed.contains(&to.as_str()) {
                violations.push(format!(
                    "{role} -> {to}: the design has no such arrow; {role} may depend on: {}",
                    list(allowed)
                ));
            }
        }
    }
    violations
}

/// Packages that `core` depends on; there must be none.
pub(crate) fn needed_by_core(metadata: &Value) -> Vec<String> {
    let core = packages(metadata)
        .iter()
        .filter(|package| role(package) == "core");
    let needed = core
        .flat_map(shipped_dependencies)
        .filter(|dependency| dependency["optional"] == false);
    needed
        .map(|dependency| {
            format!(
                "core -> {}: core depends on nothing that is not optional",
                name(dependency)
            )
        })
        .collect()
}

/// Heavy dependencies outside their homes.
pub(crate) fn strayed(metadata: &Value) -> Vec<String> {
    let mut violations = Vec::new();
    for package in packages(metadata) {
        let role = role(package);
        for dependency in shipped_dependencies(package) {
            let home = HOMES.iter().find(|(heavy, _)| *heavy == name(dependency));
            if let Some((heavy, homes)) = home
                && !homes.contains(&role.as_str())
            {
                violations.push(format!(
                    "{role} -> {heavy}: only these may depend on {heavy}: {}",
                    list(homes)
                ));
            }
        }
    }
    violations
}

/// The metadata of our packages, from cargo.
pub(crate) fn of_workspace() -> Value {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(files::root())
        .output()
        .expect("cargo runs: it started this test");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

fn packages(metadata: &Value) -> &[Value] {
    metadata["packages"]
        .as_array()
        .expect("cargo lists packages")
}

/// Dependencies that users of the package get too: all but those of its tests.
fn shipped_dependencies(package: &Value) -> impl Iterator<Item = &Value> {
    let all = package["dependencies"]
        .as_array()
        .expect("cargo lists dependencies");
    all.iter().filter(|dependency| dependency["kind"] != "dev")
}

/// The directory a package lives in, which names its role: the package of `limiter` is `leasehold`.
fn role(package: &Value) -> String {
    let manifest = package["manifest_path"]
        .as_str()
        .expect("a package has a manifest");
    directory_name(
        Path::new(manifest)
            .parent()
            .expect("a manifest lies in a directory"),
    )
}

fn path_role(dependency: &Value) -> Option<String> {
    Some(directory_name(Path::new(dependency["path"].as_str()?)))
}

fn directory_name(path: &Path) -> String {
    let name = path.file_name().expect("a package's directory has a name");
    name.to_string_lossy().into_owned()
}

fn name(dependency: &Value) -> &str {
    dependency["name"]
        .as_str()
        .expect("a dependency has a name")
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        "nothing".into()
    } else {
        names.join(", ")
    }
}

/// Which package of ours may depend on which; packages are named by their directory.
///
/// `sim` and `limiter` are siblings, two drivers of the same code: no arrow joins them.
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("cache", &["core"]),
    ("sync", &["cache", "core"]),
    ("limiter", &["sync", "cache", "core"]),
    ("redis", &["limiter", "sync", "cache", "core"]),
    ("http", &["limiter", "sync", "cache", "core"]),
    ("judge", &[]),
    ("sim", &["judge", "sync", "cache", "core"]),
    ("plot", &[]),
    ("testbed", &[]),
    (
        "cli",
        &[
            "http", "redis", "sim", "judge", "plot", "testbed", "limiter", "sync", "cache", "core",
        ],
    ),
    // It runs the program, and so depends on none of its crates.
    ("acceptance", &["testbed"]),
    ("fuzz", &["redis", "sim", "sync", "cache", "core"]),
    (
        "benches",
        &[
            "cli", "http", "redis", "sim", "judge", "plot", "testbed", "limiter", "sync", "cache",
            "core",
        ],
    ),
];

/// Packages that some crates exist to keep out of the others, with the crates that may depend on
/// each.
const HOMES: &[(&str, &[&str])] = &[
    (
        "tokio",
        &["limiter", "redis", "http", "testbed", "cli", "benches"],
    ),
    ("redis", &["redis", "testbed", "cli", "benches"]),
    ("tower", &["http", "cli", "benches"]),
    ("clap", &["cli", "benches"]),
];

mod planted {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_arrow_against_the_design_is_caught() {
        let found = wrong_arrows(&workspace(&[("cache", on("sync")), ("sync", on("cache"))]));
        assert_eq!(
            found,
            ["cache -> sync: the design has no such arrow; cache may depend on: core"]
        );
    }

    #[test]
    fn an_arrow_of_a_build_script_counts_and_one_of_tests_does_not() {
        let mut build = on("limiter");
        build["kind"] = json!("build");
        let mut test = on("limiter");
        test["kind"] = json!("dev");
        assert_eq!(wrong_arrows(&workspace(&[("sim", build)])).len(), 1);
        assert_eq!(wrong_arrows(&workspace(&[("sim", test)])).len(), 0);
    }

    /// The judge must not be built of the limiter that it judges.
    #[test]
    fn a_judge_that_depends_on_what_it_judges_is_caught() {
        let found = wrong_arrows(&workspace(&[("judge", on("core")), ("sim", on("judge"))]));
        assert_eq!(
            found,
            ["judge -> core: the design has no such arrow; judge may depend on: nothing"]
        );
    }

    #[test]
    fn a_package_without_a_rule_is_caught() {
        let found = wrong_arrows(&workspace(&[("extra", on("core"))]));
        assert!(found[0].starts_with("extra: no rule"), "{found:?}");
    }

    #[test]
    fn a_dependency_of_core_is_caught_unless_it_is_optional() {
        let found = needed_by_core(&workspace(&[("core", external("libm", false))]));
        assert_eq!(
            found,
            ["core -> libm: core depends on nothing that is not optional"]
        );
        let optional = workspace(&[("core", external("serde", true))]);
        assert_eq!(needed_by_core(&optional).len(), 0);
        assert_eq!(
            needed_by_core(&workspace(&[("cache", external("libm", false))])).len(),
            0
        );
    }

    #[test]
    fn tokio_below_the_limiter_is_caught_even_if_optional() {
        let found = strayed(&workspace(&[
            ("sync", external("tokio", true)),
            ("limiter", external("tokio", false)),
            ("limiter", external("redis", false)),
        ]));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("sync -> tokio:"), "{found:?}");
        assert!(found[1].starts_with("limiter -> redis:"), "{found:?}");
    }

    fn workspace(dependencies: &[(&str, Value)]) -> Value {
        let package = |(role, dependency): &(&str, Value)| {
            json!({
                "manifest_path": format!("/project/crates/{role}/Cargo.toml"),
                "dependencies": [dependency],
            })
        };
        json!({ "packages": dependencies.iter().map(package).collect::<Vec<_>>() })
    }

    fn on(role: &str) -> Value {
        json!({
            "name": format!("leasehold-{role}"),
            "path": format!("/project/crates/{role}"),
            "kind": null,
            "optional": false,
        })
    }

    fn external(name: &str, optional: bool) -> Value {
        json!({ "name": name, "kind": null, "optional": optional })
    }
}

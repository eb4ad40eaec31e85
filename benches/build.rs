//! Tells the program what built it: figures are of a compiler and a profile, too.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let rustc = env::var_os("RUSTC").expect("cargo names the compiler");
    let version = Command::new(rustc).arg("--version").output();
    let version = version.expect("the compiler that builds this runs").stdout;
    let version = String::from_utf8_lossy(&version).trim().to_owned();
    println!("cargo::rustc-env=BENCHES_RUSTC={version}");

    let mut build = format!("{}, opt-level {}", profile(), of("OPT_LEVEL"));
    for (name, said) in OVERRIDES {
        println!("cargo::rerun-if-env-changed={name}");
        let value = of(name).replace('\u{1f}', " ");
        if !value.is_empty() {
            build = format!("{build}, {said} {value}");
        }
    }
    println!("cargo::rustc-env=BENCHES_BUILD={build}");
    println!("cargo::rerun-if-changed=build.rs");
}

/// The profile's own name, which is that of the folder three above `OUT_DIR`; `PROFILE` has the one
/// that it inherits from.
fn profile() -> String {
    let out = PathBuf::from(of("OUT_DIR"));
    let folder = out.ancestors().nth(3).and_then(Path::file_name);
    folder.map_or_else(|| of("PROFILE"), |name| name.to_string_lossy().into_owned())
}

fn of(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// Environment variables that change the build and are not in Cargo.toml.
const OVERRIDES: [(&str, &str); 3] = [
    ("CARGO_PROFILE_MEASURED_LTO", "LTO"),
    ("CARGO_PROFILE_MEASURED_CODEGEN_UNITS", "codegen units"),
    ("CARGO_ENCODED_RUSTFLAGS", "flags"),
];

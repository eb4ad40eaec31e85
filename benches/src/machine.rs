//! The machine, build, versions and date of a figure, without which it means nothing.
//!
//! What cannot be found out is `unknown`, never left out.

use std::fmt;
use std::fs;
use std::thread::available_parallelism;

use serde::Serialize;

/// A machine at the time of a measurement, and what was measured on it.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// When, in UTC.
    pub date: String,
    /// The processor's own name.
    pub cpu: String,
    /// Threads that may run at once.
    pub cores: usize,
    /// System and kernel.
    pub kernel: String,
    /// Over the last 1, 5 and 15 minutes, when the measurement began.
    pub load_average: String,
    /// The compiler.
    pub rustc: String,
    /// Profile, and what overrides Cargo.toml.
    pub build: String,
    /// Of what was measured, from Cargo.lock.
    pub versions: Vec<Version>,
}

/// A package of the dependency tree.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Version {
    /// Its name.
    pub package: String,
    /// Its version.
    pub version: String,
}

impl Machine {
    /// This machine now, with the versions of these packages.
    pub fn now(packages: &[&str]) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            date: jiff::Timestamp::now()
                .strftime("%Y-%m-%d %H:%M UTC")
                .to_string(),
            cpu: known(cpu_name(&read("/proc/cpuinfo"))),
            cores: available_parallelism().map_or(0, usize::from),
            kernel: known(Some(format!(
                "{} {}",
                std::env::consts::OS,
                read("/proc/sys/kernel/osrelease").trim()
            ))),
            load_average: known(load_average(&read("/proc/loadavg"))),
            rustc: env!("BENCHES_RUSTC").to_owned(),
            build: env!("BENCHES_BUILD").to_owned(),
            versions: versions(LOCK, packages),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, cpu, .. } = self;
        writeln!(f, "Machine:  {cores} x {cpu}, {}", self.kernel)?;
        writeln!(f, "Build:    {}, {}", self.rustc, self.build)?;
        writeln!(
            f,
            "When:     {}, load average {}",
            self.date, self.load_average
        )?;
        let versions = self.versions.iter();
        let versions = versions.map(|it| format!("{} {}", it.package, it.version));
        write!(f, "Versions: {}", versions.collect::<Vec<_>>().join(", "))
    }
}

/// The versions that this package was built from. Cargo writes them before it builds anything.
const LOCK: &str = include_str!("../../Cargo.lock");

/// The versions of these packages in a lock file; of one that is there twice, the newest.
fn versions(lock: &str, packages: &[&str]) -> Vec<Version> {
    let version = |package: &&str| {
        let name = format!("name = \"{package}\"");
        let mut lines = lock.lines();
        let mut found = None;
        while lines.by_ref().any(|line| line == name) {
            // The lock file is sorted: the newest comes last.
            found = lines.next().and_then(quoted).or(found);
        }
        Version {
            package: (*package).to_owned(),
            version: known(found),
        }
    };
    packages.iter().map(version).collect()
}

fn quoted(line: &str) -> Option<String> {
    let inside = line.strip_prefix("version = \"")?.strip_suffix('"')?;
    Some(inside.to_owned())
}

fn cpu_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn load_average(loadavg: &str) -> Option<String> {
    let averages: Vec<_> = loadavg.split(' ').take(3).collect();
    (averages.len() == 3).then(|| averages.join(" "))
}

fn known(found: Option<String>) -> String {
    let found = found.filter(|text| !text.is_empty());
    found.unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_that_were_built() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.2.3\"\n\n[[package]]\nname = \"b\"\n\
                    version = \"1.0.0\"\n\n[[package]]\nname = \"b\"\nversion = \"2.0.0\"\n";
        let version = |package: &str, version: &str| Version {
            package: package.into(),
            version: version.into(),
        };
        let found = versions(lock, &["b", "a", "c"]);
        let expected = [
            version("b", "2.0.0"),
            version("a", "1.2.3"),
            version("c", "unknown"),
        ];
        assert_eq!(found, expected);
        assert_ne!(versions(LOCK, &["papaya"])[0].version, "unknown");
    }

    #[test]
    fn what_the_system_says_is_found_in_its_files() {
        let cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t: x\n";
        assert_eq!(cpu_name(cpuinfo).unwrap(), "AMD EPYC");
        assert_eq!(load_average("0.1 0.2 0.3 1/2 3\n").unwrap(), "0.1 0.2 0.3");
        assert_eq!(known(cpu_name("")), "unknown");
        assert_eq!(known(load_average("")), "unknown");
    }
}

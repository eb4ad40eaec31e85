//! There is one limiter, and the simulator drives it: nothing in `crates/sim/src` grants, spends or
//! reconciles by itself, but for `rivals/`, which model others, and `judge/`, which looks on.
//!
//! # The rule
//!
//! 1. Outside those two no function is named after a step of the protocol.
//! 2. In `leased/`, where the real parts meet the world, no line of code calculates with tokens,
//!    and nothing of a ledger or a lease is made or written. `books.rs`, which counts what passes
//!    in and out only to hold it against the limiter's own books, is let off;
//!    so is `log.rs`, which writes messages to the log.
//! 3. The ledger, the cache, the syncer and the request path are the real ones: each is entered in
//!    one place. What is held is asked of the request path alone.

use std::fs;
use std::path::Path;

/// Names of steps of the protocol, as parts of a function's name.
const STEPS: &[&str] = &[
    "grant",
    "lease",
    "renew",
    "refill",
    "spend",
    "charge",
    "release",
    "expire",
    "merge",
    "reconcile",
];

/// The names of tokens.
const TOKENS: &[&str] = &[
    "granted",
    "spent",
    "released",
    "outstanding",
    "wanted",
    "needed",
    "tokens",
    "level",
    "cost",
    "burst",
    "rate",
    "share",
    "unspent",
    "held",
];

const SUMS: &[&str] = &[
    " + ", " - ", " * ", " / ", "+=", "-=", "*=", "_add(", "_sub(", "_mul(", ".sum(",
];

/// State of the protocol that is made or written.
const WRITES: &[&str] = &[
    "Ledger {",
    "Record {",
    "Meter::",
    "Lease {",
    ".granted =",
    ".spent =",
    ".released =",
    ".outstanding =",
    ".level =",
    ".records.insert",
];

/// Files that only count what passes in and out, or write it to a log.
const LET_OFF: &[&str] = &["books.rs", "log.rs"];

/// Assertions that look at a ledger, and change nothing.
const LOOKS: &[&str] = &["let sum: u64 = ledger.records"];

/// The breaches of the rule in a file, as (line, why).
fn violations(file: &str, text: &str) -> Vec<(usize, String)> {
    if file.starts_with("rivals") || file.starts_with("judge") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim() == "#[cfg(test)]" {
            break;
        }
        let code = line.split("//").next().unwrap_or_default();
        if let Some(name) = function(code)
            && let Some(step) = name.split('_').find(|part| STEPS.contains(part))
        {
            found.push((number, format!("fn {name}: to {step} is the limiter's")));
        }
        if !file.starts_with("leased") || LET_OFF.iter().any(|name| file.ends_with(name)) {
            continue;
        }
        if LOOKS.iter().any(|look| code.trim().starts_with(look)) {
            continue;
        }
        if let Some(write) = WRITES.iter().find(|write| code.contains(**write)) {
            found.push((number, format!("`{write}`: that is the limiter's")));
        }
        let counts = words(code).any(|word| TOKENS.contains(&word));
        if counts && SUMS.iter().any(|sum| code.contains(sum)) {
            found.push((number, format!("calculates with tokens: {}", code.trim())));
        }
    }
    found
}

/// The name of the function that a line begins.
fn function(code: &str) -> Option<&str> {
    let (before, after) = code.split_once("fn ")?;
    let is_item = before
        .split_whitespace()
        .all(|word| word.starts_with("pub") || ["const", "async"].contains(&word));
    let name = after.split(|c: char| !is_of_word(c)).next()?;
    (is_item && !name.is_empty()).then_some(name)
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !is_of_word(c))
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Name and text of each source file, names relative to `src`.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut files) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&root).unwrap().to_string_lossy();
                files.push((name.into_owned(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn nothing_here_grants_spends_or_reconciles() {
    let mut all = Vec::new();
    for (file, text) in sources() {
        for (line, why) in violations(&file, &text) {
            all.push(format!("{file}:{line}: {why}"));
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn the_real_ledger_cache_syncer_and_request_path_are_entered_in_one_place_each() {
    for (entry, home) in [
        ("Ledgers::new(", "leased/store.rs"),
        ("Owner::new(", "leased/replica.rs"),
        ("Syncer::new(", "leased/replica.rs"),
        ("RequestPath {", "leased/replica.rs"),
        (".path().acquire(", "leased/replica.rs"),
    ] {
        let uses = sources().into_iter().flat_map(|(file, text)| {
            let count = text.matches(entry).count();
            std::iter::repeat_n(file, count)
        });
        assert_eq!(uses.collect::<Vec<_>>(), [home], "{entry}");
    }
    for (file, text) in sources() {
        for around in [".try_acquire", ".lacks("] {
            assert!(!text.contains(around), "{file} asks the cache: `{around}`");
        }
    }
    let manifest = include_str!("../../Cargo.toml");
    for real in ["leasehold-core", "leasehold-cache", "leasehold-sync"] {
        assert!(
            manifest.lines().any(|line| line.starts_with(real)),
            "{real}"
        );
    }
}

mod planted {
    use super::violations;

    fn breaks(file: &str, text: &str) -> bool {
        !violations(file, text).is_empty()
    }

    #[test]
    fn a_step_of_the_protocol_is_caught_wherever_it_stands() {
        assert!(breaks(
            "world.rs",
            "    pub(crate) fn grant(&mut self, wanted: u64) -> u64 {"
        ));
        assert!(breaks(
            "server/store.rs",
            "fn expire_leases(now: u64) {}\nfn merge_reports() {}"
        ));
        assert!(!breaks("rivals/block_lease.rs", "fn grant(&mut self) {}"));
        assert!(!breaks("leased/replica.rs", "// fn grant(&mut self) {}"));
        assert!(!breaks(
            "world.rs",
            "fn send(&mut self) {}\n#[cfg(test)]\nfn grant() {}"
        ));
    }

    #[test]
    fn calculating_with_tokens_is_caught() {
        assert!(breaks(
            "leased/store.rs",
            "        let free = capacity - outstanding;"
        ));
        assert!(breaks(
            "leased/replica.rs",
            "self.spent += u64::from(demand.cost);"
        ));
        assert!(breaks(
            "leased/replica.rs",
            "let left = granted.saturating_sub(spent);"
        ));
        assert!(!breaks("leased/replica.rs", "let at = now + self.wake_ns;"));
        assert!(!breaks(
            "leased/books.rs",
            "self.taken += u64::from(demand.cost);"
        ));
    }

    #[test]
    fn writing_the_state_of_a_ledger_or_lease_is_caught() {
        assert!(breaks("leased/store.rs", "ledger.outstanding = 0;"));
        assert!(breaks(
            "leased/store.rs",
            "let record = Record { granted, spent };"
        ));
        assert!(!breaks("leased/store.rs", "let granted = lease.granted;"));
    }
}

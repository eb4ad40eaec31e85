//! Clocks, chance and threads: what must come in as a value below `limiter`, or go out as one.
//!
//! The rules read source text: comments, literals and test items are blanked, then words are looked
//! for. That misses what is spelt in some other way; clippy's `disallowed-methods` goes by meaning,
//! but knows only what it was told of. Neither replaces the simulator, which sees two runs differ.

use std::ops::Range;

use crate::files::File;

/// Violations in a source of a crate below `limiter`.
pub(crate) fn impurities(source: &File) -> Vec<String> {
    forbidden(source, IMPURE)
}

/// Where `limiter` reads time outside its one file for it.
pub(crate) fn clock_reads(source: &File) -> Vec<String> {
    if source.path == "crates/limiter/src/clock.rs" {
        return Vec::new();
    }
    forbidden(source, CLOCK)
}

/// Code that the compiler does not check, outside the files that must have some.
pub(crate) fn unchecked(source: &File) -> Vec<String> {
    if UNCHECKED_FILES.contains(&&*source.path) {
        return Vec::new();
    }
    forbidden(source, UNCHECKED)
}

/// Level units above `core`, where tokens and times are told instead.
///
/// The codec hands the scale of a limit to the script. Rivals of the simulator count for
/// themselves, and `weight` is also what a message costs a server, or how often a mishap comes.
pub(crate) fn level_units(source: &File) -> Vec<String> {
    let lets_off = |path: &&str| source.path.starts_with(*path);
    if OWN_SCALE.iter().any(&lets_off) {
        return Vec::new();
    }
    let has_other_weights = OTHER_WEIGHTS.iter().any(lets_off);
    let words = if has_other_weights {
        &LEVEL_UNITS[1..]
    } else {
        LEVEL_UNITS
    };
    forbidden(source, words)
}

/// The words that occur in what the source ships.
fn forbidden(source: &File, words: &[(&str, &str)]) -> Vec<String> {
    let mut violations = Vec::new();
    for (number, line) in shipped_code(&source.text).lines().enumerate() {
        let said = words.iter().filter(|(word, _)| has_word(line, word));
        violations.extend(
            said.map(|(word, reason)| {
                format!("{}:{}: `{word}`: {reason}", source.path, number + 1)
            }),
        );
    }
    violations
}

/// Whether `word` occurs and is not a part of a longer name: `operand::` is not `rand::`.
fn has_word(line: &str, word: &str) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let end = start + word.len();
        let goes_on_before = word.starts_with(in_name) && line[..start].ends_with(in_name);
        let goes_on_after = word.ends_with(in_name) && line[end..].starts_with(in_name);
        !goes_on_before && !goes_on_after
    })
}

/// The source with comments, literals and test items blanked; lines stay where they are.
pub(crate) fn shipped_code(text: &str) -> String {
    let mut code = code_only(text);
    for attribute in ["#[cfg(test)]", "#[cfg(all(test,"] {
        while let Some(start) = code.find(attribute) {
            let end = start + item_length(&code[start..]);
            blank(&mut code, start..end);
        }
    }
    code
}

/// The item that `rest` begins with ends after its outermost `{…}` or with its `;`.
fn item_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in rest.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && matches!(c, '}' | ';') {
            return at + 1;
        }
    }
    rest.len()
}

/// The source with comments and literals blanked.
fn code_only(text: &str) -> String {
    let mut code = text.to_owned();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let (before, rest) = text.split_at(at);
        if let Some(length) = comment_or_literal_length(before, rest) {
            blank(&mut code, at..at + length);
            at += length;
        } else {
            at += c.len_utf8();
        }
    }
    code
}

fn comment_or_literal_length(before: &str, rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        Some(rest.find('\n').unwrap_or(rest.len()))
    } else if rest.starts_with("/*") {
        Some(block_comment_length(rest))
    } else if rest.starts_with('"') {
        Some(string_length(rest))
    } else {
        raw_string_length(before, rest).or_else(|| char_length(rest))
    }
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn string_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `r"…"` and `r#"…"#`, unless the `r` ends a name.
fn raw_string_length(before: &str, rest: &str) -> Option<usize> {
    let hashes = rest.strip_prefix('r')?;
    let quoted = hashes.trim_start_matches('#');
    let ends_a_name = before.ends_with(|c: char| c.is_alphanumeric() && c != 'b' || c == '_');
    if !quoted.starts_with('"') || ends_a_name {
        return None;
    }
    let opening = rest.len() - quoted.len() + 1;
    let closing = format!("\"{}", "#".repeat(hashes.len() - quoted.len()));
    let inside = rest[opening..].find(&closing);
    Some(inside.map_or(rest.len(), |length| opening + length + closing.len()))
}

/// `'c'` and `'\n'`, but not the lifetime `'a`.
fn char_length(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    let mut chars = inside.chars();
    let length = match chars.next()? {
        '\\' => 2 + inside.get(2..)?.find('\'')?,
        c => c.len_utf8(),
    };
    inside[length..].starts_with('\'').then_some(length + 2)
}

/// Overwrites with spaces, and keeps the lines.
fn blank(code: &mut String, range: Range<usize>) {
    let blanked = |byte| if byte == b'\n' { '\n' } else { ' ' };
    let spaces: String = code[range.clone()].bytes().map(blanked).collect();
    code.replace_range(range, &spaces);
}

/// Words that must not occur in the crates below `limiter`, with the reason. Seeds may enter as
/// values, so `RandomState::with_seeds` is not here.
const IMPURE: &[(&str, &str)] = &[
    ("Instant::now", TIME_COMES_IN),
    ("SystemTime", TIME_COMES_IN),
    (".elapsed()", TIME_COMES_IN),
    ("quanta::", TIME_COMES_IN),
    ("rand::", SEEDS_COME_IN),
    ("thread_rng", SEEDS_COME_IN),
    ("fastrand::", SEEDS_COME_IN),
    ("getrandom", SEEDS_COME_IN),
    ("RandomState::new", SEEDS_COME_IN),
    ("RandomState::default", SEEDS_COME_IN),
    // These draw the keys of std's hasher; `with_hasher` takes one that was seeded.
    ("HashMap::new", SEEDS_COME_IN),
    ("HashSet::new", SEEDS_COME_IN),
    ("HashMap::with_capacity", SEEDS_COME_IN),
    ("HashSet::with_capacity", SEEDS_COME_IN),
    ("thread::spawn", EFFECTS_GO_OUT),
    ("thread::scope", EFFECTS_GO_OUT),
    ("thread::sleep", EFFECTS_GO_OUT),
    ("thread::Builder", EFFECTS_GO_OUT),
    ("tokio::", EFFECTS_GO_OUT),
    ("std::net", EFFECTS_GO_OUT),
    ("std::fs", EFFECTS_GO_OUT),
];

const TIME_COMES_IN: &str = "below `limiter` time comes in as the argument `now`";
const SEEDS_COME_IN: &str = "below `limiter` nothing is drawn at random; seeds come in as values";
const EFFECTS_GO_OUT: &str = "below `limiter` effects go out as values";

/// Words that count in level units.
const LEVEL_UNITS: &[(&str, &str)] = &[
    (".weight", CORE_WEIGHS),
    ("scale()", CORE_WEIGHS),
    ("capacity_level", CORE_WEIGHS),
    ("meter.level", CORE_WEIGHS),
];

const CORE_WEIGHS: &str = "above `core` the store's words are tokens and times, not level units";

/// Files that count in level units all the same.
const OWN_SCALE: [&str; 2] = ["crates/redis/src/codec.rs", "crates/sim/src/rivals/"];

/// Files in which something else has a weight.
const OTHER_WEIGHTS: [&str; 2] = ["crates/sim/src/server/", "crates/sim/src/faults/"];

/// Words that read a clock, of which one file of `limiter` may.
const CLOCK: &[(&str, &str)] = &[
    ("Instant::now", ONE_FILE_READS_TIME),
    ("SystemTime::now", ONE_FILE_READS_TIME),
    (".elapsed()", ONE_FILE_READS_TIME),
    ("quanta::", ONE_FILE_READS_TIME),
];

const UNCHECKED: &[(&str, &str)] = &[
    ("unsafe", FEW_FILES_ARE_UNCHECKED),
    ("unsafe_code", FEW_FILES_ARE_UNCHECKED),
];

/// Each says why it must, and what it gains.
const UNCHECKED_FILES: [&str; 4] = [
    "crates/cache/src/entry_table.rs",
    "crates/limiter/src/clock/counter.rs",
    "crates/limiter/src/clock/process.rs",
    "crates/limiter/tests/fork.rs",
];

const FEW_FILES_ARE_UNCHECKED: &str = "code that is not checked is only in \
    cache/src/entry_table.rs, counter.rs and process.rs in limiter/src/clock, and the test that \
    forks";

const ONE_FILE_READS_TIME: &str = "in `limiter` only src/clock.rs reads time";

mod planted {
    use super::*;

    #[test]
    fn every_impure_word_is_caught() {
        for (word, reason) in IMPURE {
            let found = impurities(&source("x.rs", &format!("\nlet x = {word}")));
            let expected = format!("x.rs:2: `{word}`: {reason}");
            assert!(found.contains(&expected), "{word}: {found:?}");
        }
    }

    #[test]
    fn seeds_as_values_and_longer_names_pass() {
        let pure = "let s = RandomState::with_seeds(1, 2, 3, 4); operand::f(); thread_local!();";
        assert_eq!(impurities(&source("x.rs", pure)), [""; 0]);
    }

    #[test]
    fn comments_literals_and_test_modules_are_not_code() {
        let text = r##"
            // Instant::now(), and "one quote
            /* thread::spawn /* rand:: */ SystemTime */
            fn f<'a>(x: &'a str) -> char {
                let q = '"'; let e = '\''; "tokio:: \" getrandom"; r#"quanta:: " "#; q
            }
            #[cfg(test)]
            use std::time::SystemTime;
            #[cfg(all(test, not(leasehold_loom)))]
            mod tests {
                fn f() { if true { Instant::now(); } let b = '}'; }
            }
        "##;
        assert_eq!(impurities(&source("x.rs", text)), [""; 0]);
        let after = format!("{text}\nfn late() {{ Instant::now(); }}");
        let found = impurities(&source("x.rs", &after));
        assert!(found[0].starts_with("x.rs:14: `Instant::now`"), "{found:?}");
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn a_second_file_that_reads_time_is_caught() {
        let text = "fn f() { std::time::Instant::now() }";
        assert_eq!(
            clock_reads(&source("crates/limiter/src/limiter.rs", text)).len(),
            1
        );
        assert_eq!(
            clock_reads(&source("crates/limiter/src/clock.rs", text)).len(),
            0
        );
    }

    #[test]
    fn level_units_above_core_are_caught() {
        let found = |path: &str, text: &str| level_units(&source(path, text)).len();
        for (word, _) in LEVEL_UNITS {
            let text = format!("let x = it {word}");
            assert_eq!(found("crates/sync/src/plan.rs", &text), 1, "{word}");
            assert_eq!(found("crates/redis/src/codec.rs", &text), 0, "{word}");
        }
        let weight = "let calls = message.weight.calls;";
        assert_eq!(found("crates/sim/src/server/queue.rs", weight), 0);
        assert_eq!(found("crates/sim/src/leased/store.rs", weight), 1);
        assert_eq!(found("crates/sim/src/server/queue.rs", "limit.scale()"), 1);
    }

    #[test]
    fn unchecked_code_is_caught_everywhere_but_in_its_files() {
        let text = "fn ticks() -> u64 { unsafe { rdtsc() } } // unsafe";
        let found = |path| unchecked(&source(path, text)).len();
        assert_eq!(found("crates/cache/src/lease.rs"), 1);
        assert_eq!(UNCHECKED_FILES.map(found), [0; 4]);
    }

    fn source(path: &str, text: &str) -> File {
        File {
            path: path.into(),
            text: text.into(),
        }
    }
}

//! The project's own rules, as tests: which package may depend on which, who may read a clock,
//! what a file begins with, and that every link leads somewhere.
//!
//! A rule is a function from what it reads to the violations it found, each a line that names the
//! place and the rule. Beside each rule are small bad samples that it must catch.

mod circles;
mod dependencies;
mod files;
mod links;
mod prose;
mod purity;

use files::File;

#[test]
fn dependencies_run_one_way() {
    check(dependencies::wrong_arrows(&dependencies::of_workspace()));
}

#[test]
fn core_depends_on_nothing() {
    check(dependencies::needed_by_core(&dependencies::of_workspace()));
}

#[test]
fn heavy_dependencies_stay_where_they_are_used() {
    check(dependencies::strayed(&dependencies::of_workspace()));
}

#[test]
fn nothing_below_the_limiter_reads_a_clock_draws_at_random_or_starts_a_thread() {
    for directory in ["crates/core/src", "crates/cache/src", "crates/sync/src"] {
        check(
            files::shipped(directory)
                .iter()
                .flat_map(purity::impurities),
        );
    }
}

#[test]
fn one_file_of_the_limiter_reads_time() {
    check(
        files::shipped("crates/limiter/src")
            .iter()
            .flat_map(purity::clock_reads),
    );
}

#[test]
fn nothing_above_core_counts_in_level_units() {
    for directory in WITHOUT_LEVELS {
        check(
            files::shipped(directory)
                .iter()
                .flat_map(purity::level_units),
        );
    }
}

#[test]
fn only_listed_files_have_code_that_the_compiler_does_not_check() {
    let sources = files::below("crates", "rs");
    check(sources.iter().flat_map(purity::unchecked));
}

#[test]
fn files_do_not_need_each_other_in_circles() {
    for directory in ["crates/core/src", "crates/cache/src", "crates/cli/src"] {
        let sources = files::shipped(directory);
        check(circles::circles(directory, &sources));
    }
}

#[test]
fn every_source_file_says_what_it_is() {
    let mut sources = files::below("crates", "rs");
    sources.extend(files::below("benches", "rs"));
    let sources = sources.iter().filter(|source| source.is_in("src"));
    check(sources.filter_map(missing_module_docs));
}

#[test]
fn docs_begin_with_their_noun() {
    check(sources_of(PLAIN).iter().flat_map(prose::headless));
}

#[test]
fn lines_end_within_100_columns() {
    check(sources_of(PLAIN).iter().flat_map(prose::wide));
    check(files::below("", "md").iter().flat_map(prose::wide));
}

#[test]
fn links_in_documents_lead_somewhere() {
    let documents = files::below("", "md");
    check(
        documents
            .iter()
            .flat_map(|document| links::broken(document, &links::target)),
    );
}

fn sources_of(directories: &[&str]) -> Vec<File> {
    let sources = directories
        .iter()
        .map(|directory| files::below(directory, "rs"));
    sources.flatten().collect()
}

/// Crates above `core` that are told tokens and times. `judge` is an oracle that shares no code.
const WITHOUT_LEVELS: [&str; 7] = [
    "crates/cache/src",
    "crates/sync/src",
    "crates/limiter/src",
    "crates/redis/src",
    "crates/sim/src",
    "crates/testbed/src",
    "crates/cli/src",
];

/// Directories whose docs and lines keep the rules of prose.
const PLAIN: &[&str] = &[
    "crates/core",
    "crates/cache",
    "crates/sync",
    "crates/limiter",
    "crates/redis",
    "crates/judge",
    "crates/testbed",
    "crates/plot",
    "crates/sim",
    "crates/cli",
    "crates/acceptance",
    "benches",
    "fuzz",
];

/// Fails with all violations, one a line.
fn check(violations: impl IntoIterator<Item = String>) {
    let violations: Vec<_> = violations.into_iter().collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

fn missing_module_docs(source: &File) -> Option<String> {
    let path = &source.path;
    (!source.text.starts_with("//!"))
        .then(|| format!("{path}:1: a source file begins with `//!` and says what it is"))
}

#[test]
fn a_file_without_module_docs_is_caught() {
    let file = |text: &str| File {
        path: "x.rs".into(),
        text: text.into(),
    };
    assert!(missing_module_docs(&file("// What?\nfn f() {}")).is_some());
    assert!(missing_module_docs(&file("//! This.\nfn f() {}")).is_none());
}

//! A job of `simulate` or `sweep`: scenarios that are read, run and made a report.

use std::path::{Path, PathBuf};

use leasehold_sim::load::Traces;
use leasehold_sim::report::{Report, Run};
use leasehold_sim::run::{self, Options};
use leasehold_sim::scenario::Points;
use leasehold_sim::scenario::expect::Expectations;

use super::error::SimulateError;
use super::files::{self, Source};
use super::how::{How, Varied};
use crate::progress::Progress;

/// Scenarios that were read, and how to run them.
#[derive(Debug)]
pub(crate) struct Job {
    sources: Vec<Source>,
    /// One per file.
    pub(crate) scenarios: Vec<Points>,
    pub(crate) traces: Traces,
    pub(crate) options: Options,
    threads: usize,
    /// The options that decide the results, as they were given on the command line.
    again: String,
}

impl Job {
    /// Reads scenarios; nothing is run if one of them cannot be.
    pub(crate) fn read(
        paths: &[PathBuf],
        varied: &[Varied],
        how: &How,
    ) -> Result<Self, SimulateError> {
        let sources = files::scenarios(paths)?;
        let vary: Vec<_> = varied.iter().map(|varied| varied.vary.clone()).collect();
        let mut traces = files::no_traces();
        let mut scenarios = Vec::new();
        for source in &sources {
            let (path, text) = (&source.path, source.text()?);
            let mut points = Points::parse(&path.to_string_lossy(), &text, &vary)?;
            files::read_traces(path, &mut points, &mut traces)?;
            scenarios.push(points);
        }
        let options = Options {
            seed: how.seed,
            seeds: how.seeds,
            checked: how.checked,
            rivals: !how.no_rivals,
        };
        let again = varied
            .iter()
            .map(|it| format!("--vary {} ", quoted(&it.text)));
        let again: Vec<String> = again.collect();
        Ok(Self {
            sources,
            scenarios,
            traces,
            options,
            // None given: the pool takes as many as there are cores.
            threads: how.threads.unwrap_or(0).into(),
            again: again.concat(),
        })
    }

    /// Keeps only the points that are labelled so, or else those whose label contains it.
    pub(crate) fn keep(&mut self, label: &str) -> Result<(), SimulateError> {
        let labels: Vec<String> = self.labels().collect();
        let exact = labels.iter().any(|known| known == label);
        for scenario in &mut self.scenarios {
            scenario.points.retain(|point| {
                let known = point.label();
                known == label || (!exact && known.contains(label))
            });
        }
        let kept: Vec<bool> = self
            .scenarios
            .iter()
            .map(|it| !it.points.is_empty())
            .collect();
        let mut keep = kept.iter();
        self.sources.retain(|_| *keep.next().expect("one per file"));
        self.scenarios
            .retain(|scenario| !scenario.points.is_empty());
        if self.scenarios.is_empty() {
            return Err(SimulateError::Narrow(format!(
                "no point is labelled `{label}`; there are: {}",
                listed(&labels)
            )));
        }
        Ok(())
    }

    /// Whatever comes will do.
    pub(crate) fn expect_nothing(&mut self) {
        let points = self.scenarios.iter_mut().flat_map(|it| &mut it.points);
        points.for_each(|point| point.scenario.expect = Expectations::default());
    }

    /// The labels of all points that have one.
    pub(crate) fn labels(&self) -> impl Iterator<Item = String> {
        let points = self.scenarios.iter().flat_map(|scenario| &scenario.points);
        let labels = points.map(leasehold_sim::scenario::Point::label);
        labels.filter(|label| !label.is_empty())
    }

    /// Runs everything.
    pub(crate) fn run(&self) -> Result<Report, SimulateError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads)
            .build()?;
        let runs = run::runs(&self.scenarios, &self.options);
        let progress = Progress::start("runs", Some(runs as u64));
        let done = |run: &Run| progress.count(run.summary.requests);
        let report =
            pool.install(|| run::run_all(&self.scenarios, &self.traces, &self.options, &done));
        let report = report.map_err(SimulateError::Run);
        progress.finish(report.is_ok(), pool.current_num_threads());
        report
    }

    /// The command that runs one point of the scenario at `position` with one seed.
    pub(crate) fn replay(&self, position: usize, label: &str, seed: u64) -> String {
        let file = quoted(&path_text(&self.sources[position].path));
        let again = &self.again;
        let point = match label {
            "" => String::new(),
            label => format!("--point {} ", quoted(label)),
        };
        format!("leasehold simulate {file} {again}{point}--seed {seed} --seeds 1")
    }
}

fn path_text(path: &Path) -> String {
    let text = path.to_string_lossy();
    // What looks like an option is none.
    if text.starts_with('-') {
        format!("./{text}")
    } else {
        text.into_owned()
    }
}

/// A few of many, for a message.
pub(crate) fn listed(labels: &[String]) -> String {
    match labels {
        [] => "none with a label".to_owned(),
        [.., _] if labels.len() <= LISTED_MAX => labels.join(", "),
        _ => format!("{}, …", labels[..LISTED_MAX].join(", ")),
    }
}

/// A word that a shell takes as it stands.
fn quoted(word: &str) -> String {
    let harmless = |letter: char| letter.is_ascii_alphanumeric() || "_-./=,:@%+".contains(letter);
    if !word.is_empty() && word.chars().all(harmless) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Labels beyond these help nobody.
const LISTED_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_words_as_they_stand() {
        assert_eq!(quoted("a/b.toml"), "a/b.toml");
        assert_eq!(quoted("limit=10/s burst 5"), "'limit=10/s burst 5'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("$(x)"), "'$(x)'");
        assert_eq!(path_text(Path::new("-x.toml")), "./-x.toml");
    }

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(listed(&["a".into(), "b".into()]), "a, b");
        assert!(listed(&vec!["a".to_owned(); 50]).ends_with("a, …"));
    }
}

//! `--events`: what happens in the runs of our limiter, one JSON object a line.
//!
//! # Invariant
//!
//! Every line names the scenario, the point and the seed of its run. Runs follow one another, and
//! the lines of a run are in order of time.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use leasehold_sim::record::{Happening, Recorder};
use leasehold_sim::run::{run_one, seeds};
use leasehold_sim::scenario::LEASED;
use serde::Serialize;

use super::error::SimulateError;
use super::job::Job;

/// Runs all points of the job with all their seeds and writes what happens to our limiter. The
/// books are checked, because only they tell tokens that a failure policy grants from leased ones.
pub(crate) fn write(file: &Path, job: &Job) -> Result<(), SimulateError> {
    let failed = |error| SimulateError::Write {
        file: file.to_owned(),
        error,
    };
    let mut out = BufWriter::new(File::create(file).map_err(failed)?);
    for scenario in &job.scenarios {
        for point in &scenario.points {
            let label = point.label();
            for seed in seeds(&point.scenario, &job.options) {
                let run = Run {
                    scenario: &scenario.name,
                    point: &label,
                    seed,
                };
                let mut lines = Lines::new(&mut out, run);
                let recorder: &mut dyn Recorder = &mut lines;
                run_one(
                    &point.scenario,
                    LEASED,
                    seed,
                    &job.traces,
                    true,
                    Some(recorder),
                )
                .map_err(SimulateError::Run)?;
                lines.outcome.map_err(failed)?;
            }
        }
    }
    out.flush().map_err(failed)
}

/// Which run a line is of.
#[derive(Clone, Copy, Serialize)]
struct Run<'a> {
    scenario: &'a str,
    point: &'a str,
    seed: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    run: Run<'a>,
    #[serde(flatten)]
    happening: &'a Happening<'a>,
}

/// Writes happenings. What goes wrong is told in the end, and nothing more is written from then on.
struct Lines<'a, W> {
    out: W,
    run: Run<'a>,
    outcome: io::Result<()>,
}

impl<'a, W: Write> Lines<'a, W> {
    const fn new(out: W, run: Run<'a>) -> Self {
        let outcome = Ok(());
        Self { out, run, outcome }
    }

    fn write(&mut self, happening: &Happening<'_>) -> io::Result<()> {
        let run = self.run;
        serde_json::to_writer(&mut self.out, &Line { run, happening })?;
        self.out.write_all(b"\n")
    }
}

impl<W: Write> Recorder for Lines<'_, W> {
    fn record(&mut self, happening: &Happening<'_>) {
        if self.outcome.is_ok() {
            self.outcome = self.write(happening);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Run<'static> = Run {
        scenario: "steps",
        point: "replicas=2",
        seed: 3,
    };

    #[test]
    fn a_line_names_its_run_and_what_happened() {
        let mut text = Vec::new();
        let mut lines = Lines::new(&mut text, RUN);
        let happening = |call| Happening::Heard {
            at_ns: 7,
            call,
            copy: 4,
            replica: 1,
        };
        lines.record(&happening(1));
        lines.record(&happening(2));
        lines.outcome.unwrap();
        let expected = "{\"scenario\":\"steps\",\"point\":\"replicas=2\",\"seed\":3,\
             \"event\":\"heard\",\"at_ns\":7,\"call\":1,\"copy\":4,\"replica\":1}\n";
        assert!(String::from_utf8(text).unwrap().starts_with(expected));
    }

    #[test]
    fn a_full_disk_is_told_in_the_end() {
        let mut room = [0_u8; 10];
        let mut lines = Lines::new(&mut room[..], RUN);
        lines.record(&Happening::Fault {
            at_ns: 1,
            what: "too long for that",
        });
        assert!(lines.outcome.is_err());
    }
}

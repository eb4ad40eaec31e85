//! `--events`: what happens in one run, one JSON object a line.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use leasehold_sim::record::{Happening, Recorder};
use leasehold_sim::run::run_one;
use leasehold_sim::scenario::{LEASED, Points};

use super::SimulateError;
use super::job::{Job, listed};

/// Runs the only point of the job with its only seed and writes what happens to our limiter.
pub(crate) fn write(file: &Path, job: &Job) -> Result<(), SimulateError> {
    let point = match job.scenarios.as_slice() {
        [Points { points, .. }] if points.len() == 1 => &points[0],
        [_] => {
            let labels: Vec<String> = job.labels().collect();
            let hint = "--events needs a single point: choose one by --point";
            return Err(narrow(format!("{hint}; there are: {}", listed(&labels))));
        }
        _ => {
            let hint = "--events needs a single scenario: name one file";
            return Err(narrow(hint.to_owned()));
        }
    };
    if job.options.seeds.unwrap_or(point.scenario.seeds) != 1 {
        return Err(narrow(
            "--events needs a single seed: add --seeds 1, and --seed N for another than the first"
                .to_owned(),
        ));
    }
    let failed = |error| SimulateError::Write {
        file: file.to_owned(),
        error,
    };
    let mut lines = Lines::new(BufWriter::new(File::create(file).map_err(failed)?));
    let options = &job.options;
    let recorder: &mut dyn Recorder = &mut lines;
    run_one(
        &point.scenario,
        LEASED,
        options.seed,
        &job.traces,
        options.checked,
        Some(recorder),
    )
    .map_err(SimulateError::Run)?;
    lines.finish().map_err(failed)
}

fn narrow(message: String) -> SimulateError {
    SimulateError::Narrow(message)
}

/// Writes happenings; what goes wrong is told in the end, and nothing more is written from then on.
struct Lines<W: Write> {
    out: W,
    outcome: io::Result<()>,
}

impl<W: Write> Lines<W> {
    const fn new(out: W) -> Self {
        let outcome = Ok(());
        Self { out, outcome }
    }

    fn write(&mut self, happening: &Happening<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, happening)?;
        self.out.write_all(b"\n")
    }

    fn finish(mut self) -> io::Result<()> {
        self.outcome?;
        self.out.flush()
    }
}

impl<W: Write> Recorder for Lines<W> {
    fn record(&mut self, happening: &Happening<'_>) {
        if self.outcome.is_ok() {
            self.outcome = self.write(happening);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_per_happening() {
        let mut text = Vec::new();
        let mut lines = Lines::new(&mut text);
        let happening = |call| Happening::Heard {
            at_ns: 7,
            call,
            replica: 1,
        };
        lines.record(&happening(1));
        lines.record(&happening(2));
        lines.finish().unwrap();
        let expected = "{\"event\":\"heard\",\"at_ns\":7,\"call\":1,\"replica\":1}\n";
        assert!(String::from_utf8(text).unwrap().starts_with(expected));
    }

    #[test]
    fn a_full_disk_is_told_in_the_end() {
        let mut room = [0_u8; 10];
        let mut lines = Lines::new(&mut room[..]);
        lines.record(&Happening::Fault {
            at_ns: 1,
            what: "too long for that",
        });
        assert!(lines.finish().is_err());
    }
}

//! Results of scenarios, as they are printed and written.

use leasehold_sim::report::Report;
use serde::Serialize;

use super::error::{self, SimulateError};
use super::how::How;
use super::job::Job;
use super::{csv, page, table};
use crate::output::print;

/// Writes the files that were asked for. `lead` is the field that plots run over.
pub(crate) fn write_files(
    how: &How,
    report: &Report,
    lead: Option<&str>,
) -> Result<(), SimulateError> {
    if let Some(file) = &how.csv {
        error::write(file, &csv::csv(report))?;
    }
    if let Some(file) = &how.html {
        error::write(file, page::page(report, lead).as_bytes())?;
    }
    if let Some(file) = &how.svg {
        let svg = page::svg(report, lead).ok_or_else(|| {
            SimulateError::Narrow(
                "--svg draws limiters and settings beside each other, and there is one only; \
                 vary a field or name a rival in the scenario"
                    .to_owned(),
            )
        })?;
        error::write(file, svg.as_bytes())?;
    }
    Ok(())
}

/// The report as one JSON object.
pub(crate) fn json(report: &Report) -> String {
    #[derive(Serialize)]
    struct Whole<'r> {
        expectations_met: bool,
        #[serde(flatten)]
        report: &'r Report,
    }
    let expectations_met = report.all_met();
    let whole = Whole {
        expectations_met,
        report,
    };
    serde_json::to_string_pretty(&whole).expect("a report is plain data")
}

pub(crate) fn print_outcome(report: &Report, job: &Job) {
    let failures = table::failures(report, job);
    if !failures.is_empty() {
        print(&failures);
    }
    print(&table::verdict(report));
}

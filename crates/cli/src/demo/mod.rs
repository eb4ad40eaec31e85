//! `leasehold demo`: real limiters on real load, judged from outside.

pub(crate) mod arguments;
pub(crate) mod arrivals;
pub(crate) mod company;
mod delayed_store;
pub(crate) mod drive;
pub(crate) mod error;
pub(crate) mod fleet;
pub(crate) mod log_lines;
pub(crate) mod plan;
pub(crate) mod probe;
pub(crate) mod progress;
pub(crate) mod replica;
pub(crate) mod replica_process;
pub(crate) mod report;
pub(crate) mod run;
mod server;
pub(crate) mod stalls;
mod store;
pub(crate) mod terms;
pub(crate) mod timed_store;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tokio::runtime::Runtime;

use self::arguments::DemoArguments;
use self::error::DemoError;
use self::plan::Plan;
use self::report::Report;
use crate::ending::Ending;
use crate::output::print;
use leasehold_judge::record::{Record, write_csv};

/// Runs the demo; all is well if every run kept its bound.
pub(crate) fn run(arguments: &DemoArguments) -> Result<Ending, DemoError> {
    let plan = Plan::new(arguments)?;
    // Opened first: a run whose results cannot be written is better not begun.
    let admissions = arguments.admissions.as_deref();
    let admissions = admissions.map(Admissions::open).transpose()?;
    let runtime = Runtime::new().map_err(DemoError::Runtime)?;
    let (leased, central) = runtime.block_on(async {
        let mut central = None;
        if arguments.compare {
            let run = drive::run(&plan.as_central()).await?;
            let interrupted = run.interrupted;
            central = Some(run);
            if interrupted {
                return Ok((None, central));
            }
        }
        Ok::<_, DemoError>((Some(drive::run(&plan).await?), central))
    })?;
    if let (Some(admissions), Some(leased)) = (admissions, &leased) {
        admissions.write(&leased.records)?;
    }
    let report = Report::new(&plan, leased.as_ref(), central.as_ref());
    let text = if arguments.json {
        report.json()
    } else {
        report.text()
    };
    print(&text);
    Ok(Ending::of(report.keeps_bound()))
}

/// The file for admitted requests. One that was not there before and is not written goes again.
struct Admissions {
    path: PathBuf,
    file: File,
    is_ours: bool,
}

impl Admissions {
    /// Opens the file. What it holds stays until it is written.
    fn open(path: &Path) -> Result<Self, DemoError> {
        let is_ours = !path.exists();
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let path = path.to_owned();
        match file {
            Ok(file) => Ok(Self {
                path,
                file,
                is_ours,
            }),
            Err(error) => Err(DemoError::File { path, error }),
        }
    }

    fn write(mut self, records: &[Record]) -> Result<(), DemoError> {
        self.is_ours = false;
        self.try_write(records).map_err(|error| DemoError::File {
            path: self.path.clone(),
            error,
        })
    }

    fn try_write(&self, records: &[Record]) -> io::Result<()> {
        // A pipe or a terminal has no length.
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        let mut file = BufWriter::new(&self.file);
        write_csv(records, &mut file)?;
        file.flush()
    }
}

impl Drop for Admissions {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

//! `leasehold demo`: real limiters on real load, judged from outside.

pub(crate) mod arrivals;
mod delayed_store;
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
pub(crate) mod signals;
pub(crate) mod stalls;
pub(crate) mod terms;
pub(crate) mod timed_store;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use leasehold::{BuildError, LimitError};
use leasehold_redis::ConnectError;
use thiserror::Error;
use tokio::runtime::Runtime;

use crate::args::{DemoArguments, print};
use crate::demo::plan::Plan;
use crate::demo::report::Report;
use leasehold_judge::record::{Record, write_csv};

/// Runs the demo; true if every run kept its bound.
pub(crate) fn run(arguments: &DemoArguments) -> Result<bool, DemoError> {
    let plan = Plan::new(arguments)?;
    // Opened first: a run whose results cannot be written is better not begun.
    let admissions = arguments.admissions.as_deref().map(create).transpose()?;
    let runtime = Runtime::new().map_err(DemoError::Runtime)?;
    let (leased, central) = runtime.block_on(async {
        let central = if arguments.compare {
            Some(run::run(&plan.as_central()).await?)
        } else {
            None
        };
        Ok::<_, DemoError>((run::run(&plan).await?, central))
    })?;
    if let Some((file, path)) = admissions {
        let written = write_admissions(file, &leased.records);
        written.map_err(|error| DemoError::File { path, error })?;
    }
    let report = Report::new(&plan, &leased, central.as_ref());
    let text = if arguments.json {
        report.json()
    } else {
        report.table()
    };
    print(&text);
    Ok(report.keeps_bound())
}

fn create(path: &Path) -> Result<(File, PathBuf), DemoError> {
    let path = path.to_owned();
    match File::create(&path) {
        Ok(file) => Ok((file, path)),
        Err(error) => Err(DemoError::File { path, error }),
    }
}

fn write_admissions(file: File, records: &[Record]) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    write_csv(records, &mut file)?;
    file.flush()
}

/// Why a demo cannot be run.
#[derive(Debug, Error)]
pub(crate) enum DemoError {
    #[error("this limit cannot be: {0}")]
    Limit(LimitError),
    #[error("this limit cannot be judged: {0}; use a shorter period")]
    Judged(leasehold_judge::LimitError),
    #[error("a demo of less than 0.1s shows nothing: give a longer --duration")]
    TooShort,
    #[error(
        "that is more than 50 million requests, each of which is kept to be judged: offer less, or for a shorter time"
    )]
    TooMany,
    #[error("{0}")]
    Build(BuildError),
    #[error("{0}")]
    Connect(ConnectError),
    #[error("{0}")]
    Url(leasehold_redis::UrlError),
    #[error("cannot write {path}: {error}", path = path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("cannot start the runtime: {0}")]
    Runtime(io::Error),
    #[error("the server does not answer: {0}")]
    Server(String),
    #[error("replica {replica}: {message}")]
    Replica { replica: u32, message: String },
}

impl DemoError {
    /// 2 for what the command line asked for, 1 for what failed.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Limit(_) | Self::Judged(_) | Self::TooShort | Self::TooMany | Self::Url(_) => {
                ExitCode::from(2)
            }
            _ => ExitCode::FAILURE,
        }
    }
}

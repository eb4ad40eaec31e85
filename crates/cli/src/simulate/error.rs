//! Why nothing was simulated, or nothing could be written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use leasehold_sim::scenario::ScenarioError;
use thiserror::Error;

#[derive(Debug, Error)]
pub(crate) enum SimulateError {
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    #[error("{}: {error}", file.display())]
    Read { file: PathBuf, error: io::Error },
    #[error("{}: no *.toml in it", .0.display())]
    NoScenarios(PathBuf),
    #[error(
        "{}: there is no such file, and no such scenario is built in; {meant}\
         `leasehold simulate --list` names those there are",
        path.display()
    )]
    Unknown { path: PathBuf, meant: String },
    #[error("{}: {message}", file.display())]
    Trace { file: PathBuf, message: String },
    #[error("{0}")]
    Narrow(String),
    #[error("{0}")]
    Run(String),
    #[error("cannot start the threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    #[error("cannot write {}: {error}", file.display())]
    Write { file: PathBuf, error: io::Error },
}

/// Refuses a file that cannot be written for want of a folder: better said before a long run.
pub(crate) fn check_place(file: &Path) -> Result<(), SimulateError> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let missing = folder.is_some_and(|folder| !folder.is_dir());
    let kind = match (missing, file.is_dir()) {
        (true, _) => io::ErrorKind::NotFound,
        (_, true) => io::ErrorKind::IsADirectory,
        _ => return Ok(()),
    };
    Err(SimulateError::Write {
        file: file.to_owned(),
        error: kind.into(),
    })
}

/// Writes a file as a whole.
pub(crate) fn write(file: &Path, content: &[u8]) -> Result<(), SimulateError> {
    fs::write(file, content).map_err(|error| SimulateError::Write {
        file: file.to_owned(),
        error,
    })
}

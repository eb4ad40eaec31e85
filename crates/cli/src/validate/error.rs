//! Why nothing was compared.

use std::io;
use std::path::PathBuf;

use leasehold_testbed::ServerError;
use thiserror::Error;

use crate::demo::error::DemoError;

/// Why nothing was compared.
#[derive(Debug, Error)]
pub(crate) enum ValidateError {
    #[error("{}: {error}", file.display())]
    Read { file: PathBuf, error: io::Error },
    #[error("{}: {message}", file.display())]
    Setting { file: PathBuf, message: String },
    #[error("no server to run against: {0}; or name one by --redis")]
    Server(#[from] ServerError),
    #[error("cannot start the runtime: {0}")]
    Runtime(io::Error),
    #[error("{0}")]
    Run(#[from] DemoError),
    #[error("interrupted: a part of a run cannot be compared")]
    Interrupted,
    #[error("replica {replica} {how}: a run without it cannot be compared")]
    Lost { replica: u32, how: String },
    #[error("what was observed cannot be simulated: {0}")]
    Simulated(String),
}

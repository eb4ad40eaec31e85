//! Why a demo cannot be run.

use std::io;
use std::path::PathBuf;

use leasehold::{BuildError, LimitError};
use leasehold_redis::{ConnectError, UrlError};
use thiserror::Error;

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
        "that is more than 50 million requests, each of which is kept to be judged: offer less, or \
         for a shorter time"
    )]
    TooMany,
    #[error("{0}")]
    Build(BuildError),
    #[error("{0}")]
    Connect(ConnectError),
    #[error("{0}")]
    Url(UrlError),
    #[error("cannot write {path}: {error}", path = path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("cannot start the runtime: {0}")]
    Runtime(io::Error),
    #[error("replica {replica}: {message}")]
    Replica { replica: u32, message: String },
}

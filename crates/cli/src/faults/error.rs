//! Why a fault, or none at all, could be tried.

use std::io;

use leasehold_testbed::ServerError;
use thiserror::Error;

use crate::demo::error::DemoError;
use crate::simulate::error::SimulateError;

/// Why a fault, or none at all, could be tried.
#[derive(Debug, Error)]
pub(crate) enum FaultsError {
    #[error("there is no fault `{0}`; there are {1}")]
    Unknown(String, String),
    #[error("no server of that kind was found; run scripts/server.sh, or leave --server out")]
    NoSuchServer,
    #[error("{0}")]
    Page(#[from] SimulateError),
    #[error("{0}")]
    Server(#[from] ServerError),
    #[error("cannot start the runtime: {0}")]
    Runtime(io::Error),
    #[error("{0}")]
    Run(#[from] DemoError),
    #[error("cannot listen before the server: {0}")]
    Proxy(io::Error),
    #[error("the server refuses what the fault needs: {0}")]
    Admin(String),
    #[error("the sentinels promoted nobody")]
    NoPromotion,
    #[error("the scene has no proxy to make worse")]
    NoProxy,
    #[error("the scene has no replicas and sentinels")]
    NoSet,
    #[error("the scene has no cluster")]
    NoCluster,
    #[error("no primary of the cluster serves the key")]
    NoOwner,
    #[error("nobody was locked out")]
    NotLockedOut,
    #[error("the replica that was to suffer is not there")]
    NoVictim,
    #[error("cannot signal the replica: {0}")]
    Signal(io::Error),
    #[error("the fault took longer than planned, and nothing can be said of the recovery")]
    TookTooLong,
    #[error("interrupted: a part of the matrix says nothing")]
    Interrupted,
}

impl FaultsError {
    pub(crate) fn admin(error: &redis::RedisError) -> Self {
        Self::Admin(error.to_string())
    }
}

//! A Lua script run on the server by its hash, and sent again when the server has forgotten it.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use redis::{Cmd, Pipeline, Value};

use crate::error::LinkError;
use crate::link::Link;
use crate::settings::Acknowledgement;
use crate::wire::Wire;

/// A script, and the number of round trips made for it.
#[derive(Debug)]
pub struct Script {
    body: String,
    sha: String,
    round_trips: AtomicU64,
}

impl Script {
    /// A script with this body.
    pub fn new(body: impl Into<String>) -> Self {
        let body = body.into();
        Self {
            sha: redis::Script::new(&body).get_hash().to_owned(),
            body,
            round_trips: AtomicU64::new(0),
        }
    }

    /// SHA-1 of the body, in hexadecimal: the name under which the server keeps it.
    pub fn sha(&self) -> &str {
        &self.sha
    }

    /// The number of round trips so far: each run, each load and each second run is one, whether or
    /// not its answer came.
    pub fn round_trips(&self) -> u64 {
        self.round_trips.load(Relaxed)
    }

    /// Runs the script with `keys` as `KEYS` and `arguments` as `ARGV`. If the server does not know
    /// the script, it has not run anything: it is sent the script and asked once more.
    ///
    /// # Errors
    ///
    /// [`LinkError`]. What the script itself returns as an error is [`LinkError::Refused`].
    pub async fn run(
        &self,
        link: &Link,
        keys: &[impl AsRef<[u8]>],
        arguments: &[impl AsRef<[u8]>],
    ) -> Result<Value, LinkError> {
        // One wire for all steps: a connection that was made meanwhile may lead to another server.
        self.run_on(&link.wire()?, keys, arguments).await
    }

    /// Runs the script over one connection, for a [`Greeting`](crate::Greeting).
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run).
    pub async fn run_on(
        &self,
        wire: &Wire,
        keys: &[impl AsRef<[u8]>],
        arguments: &[impl AsRef<[u8]>],
    ) -> Result<Value, LinkError> {
        self.run_as(wire, keys, arguments, ExtraCommands::default())
            .await
    }

    /// Runs the script with the commands that travel beside it.
    pub(crate) async fn run_as(
        &self,
        wire: &Wire,
        keys: &[impl AsRef<[u8]>],
        arguments: &[impl AsRef<[u8]>],
        extra: ExtraCommands,
    ) -> Result<Value, LinkError> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.sha).arg(keys.len());
        for key in keys {
            command.arg(key.as_ref());
        }
        for argument in arguments {
            command.arg(argument.as_ref());
        }
        match self.asked(wire, &command, extra).await {
            Err(error) if error.code() == Some("NOSCRIPT") => {
                self.load(wire).await?;
                self.asked(wire, &command, extra).await
            }
            answer => answer,
        }
    }

    /// Loads the script into the server, so that the next run need not. For a
    /// [`Greeting`](crate::Greeting).
    ///
    /// # Errors
    ///
    /// [`LinkError`]; [`LinkError::Garbled`] if the server answers with another hash than
    /// [`sha`](Self::sha).
    pub async fn load(&self, wire: &Wire) -> Result<(), LinkError> {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(&self.body);
        match self.counted(wire, &command).await? {
            Value::BulkString(sha) if sha == self.sha.as_bytes() => Ok(()),
            other => Err(LinkError::Garbled {
                what: format!("script {} was loaded as {other:?}", self.sha),
            }),
        }
    }

    async fn asked(
        &self,
        wire: &Wire,
        command: &Cmd,
        extra: ExtraCommands,
    ) -> Result<Value, LinkError> {
        if extra == ExtraCommands::default() {
            return self.counted(wire, command).await;
        }
        let mut pipeline = Pipeline::new();
        if extra.asking {
            pipeline.cmd("ASKING");
        }
        pipeline.add_command(command.clone());
        if let Some(wanted) = extra.acknowledgement {
            pipeline
                .cmd("WAIT")
                .arg(wanted.replicas)
                .arg(wanted.timeout_ms);
        }
        self.round_trips.fetch_add(1, Relaxed);
        let mut answers = wire.pipeline(&pipeline).await?.into_iter();
        let mut next = || answers.next().expect("as many answers as commands");
        if extra.asking {
            next()?;
        }
        let answer = next()?;
        match extra.acknowledgement {
            None => Ok(answer),
            Some(wanted) => acknowledged(wanted.replicas, &next()?).map(|()| answer),
        }
    }

    /// Sends one command and counts it as a round trip of this script.
    pub(crate) async fn counted(&self, wire: &Wire, command: &Cmd) -> Result<Value, LinkError> {
        self.round_trips.fetch_add(1, Relaxed);
        wire.query(command).await
    }
}

/// Commands that travel beside a script, in the same pipeline.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct ExtraCommands {
    /// `ASKING` before the script: the node is to answer although the partition is still being
    /// moved to it.
    pub(crate) asking: bool,
    /// `WAIT` after the script: wait until replicas have what the script changed.
    pub(crate) acknowledgement: Option<Acknowledgement>,
}

/// Checks the answer to `WAIT`: at least `wanted` replicas must have acknowledged.
fn acknowledged(wanted: u32, answer: &Value) -> Result<(), LinkError> {
    match *answer {
        Value::Int(acknowledged) if acknowledged >= i64::from(wanted) => Ok(()),
        Value::Int(acknowledged) => Err(LinkError::Unacknowledged {
            wanted,
            acknowledged: u64::try_from(acknowledged).unwrap_or(0),
        }),
        ref other => Err(LinkError::Garbled {
            what: format!("WAIT was answered with {other:?}"),
        }),
    }
}

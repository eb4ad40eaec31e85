//! One connection to the store, and whether it may still be used.
//!
//! # Invariant
//!
//! A request ends within the response timeout, whatever the peer does. A wire that was condemned
//! stays condemned and sends nothing more; it keeps the first reason.
//!
//! A connection is condemned when it is closed, when the server answers with an error that makes it
//! useless, and when [`timeouts_before_drop`](crate::Settings::timeouts_before_drop) requests in a
//! row got no answer. Requests that time out together count once: a timeout counts only if its
//! request began after the last timeout that was counted. Any answer starts the count over.

use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisResult, Value};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::error::{DownReason, LinkError};

/// One connection. Clones share it.
#[derive(Clone)]
pub struct Wire(Arc<Inner>);

struct Inner {
    connection: MultiplexedConnection,
    response_timeout: Duration,
    quiet: Mutex<Quiet>,
    verdict: OnceLock<(Instant, DownReason)>,
    /// Wakes the one supervisor.
    condemned: Notify,
}

impl Wire {
    pub(crate) fn new(
        connection: MultiplexedConnection,
        response_timeout: Duration,
        timeouts_before_drop: NonZeroU32,
    ) -> Self {
        Self(Arc::new(Inner {
            connection,
            response_timeout,
            quiet: Mutex::new(Quiet::new(timeouts_before_drop)),
            verdict: OnceLock::new(),
            condemned: Notify::new(),
        }))
    }

    /// Sends one command and waits for its answer. A future dropped earlier is not counted as a
    /// timeout, and the command may be executed all the same.
    ///
    /// # Errors
    ///
    /// [`LinkError`]; an error the server answers with is [`LinkError::Refused`].
    pub async fn query(&self, command: &Cmd) -> Result<Value, LinkError> {
        let mut connection = self.0.connection.clone();
        let request = connection.send_packed_command(command);
        let value = self.bounded(request).await?;
        self.judge(value)
    }

    /// Sends several commands in one round trip and waits for all their answers, which come in the
    /// order of the commands. The others are executed even if one is refused.
    ///
    /// # Errors
    ///
    /// [`LinkError`], if the answers did not come. An error that the server answers one command
    /// with has that command's place among the answers.
    ///
    /// # Panics
    ///
    /// If `pipeline` is a transaction: a script does what a transaction would.
    pub async fn pipeline(
        &self,
        pipeline: &Pipeline,
    ) -> Result<Vec<Result<Value, LinkError>>, LinkError> {
        assert!(!pipeline.is_transaction(), "transactions are not supported");
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.0.connection.clone();
        let request = connection.send_packed_commands(pipeline, 0, pipeline.len());
        let values = self.bounded(request).await?;
        if values.len() != pipeline.len() {
            let what = format!("{} answers to {} commands", values.len(), pipeline.len());
            return Err(LinkError::Garbled { what });
        }
        Ok(values.into_iter().map(|value| self.judge(value)).collect())
    }

    /// Waits until the wire is condemned, and returns why. Only one task may wait.
    pub(crate) async fn condemned(&self) -> DownReason {
        loop {
            if let Some((_, reason)) = self.0.verdict.get() {
                return reason.clone();
            }
            self.0.condemned.notified().await;
        }
    }

    /// Whether the wire may still be used.
    pub(crate) fn alive(&self) -> Result<(), LinkError> {
        match self.0.verdict.get() {
            None => Ok(()),
            Some((since, reason)) => Err(LinkError::Down {
                down_for: since.elapsed(),
                reason: reason.clone(),
            }),
        }
    }

    async fn bounded<T>(
        &self,
        request: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, LinkError> {
        self.alive()?;
        let started = Instant::now();
        let after = self.0.response_timeout;
        match timeout(after, request).await {
            Ok(Ok(answer)) => {
                self.quiet().handle_answer();
                Ok(answer)
            }
            Ok(Err(error)) => {
                // The peer is gone, or is out of step with us: no later answer could be trusted.
                self.condemn(DownReason::Closed);
                Err(LinkError::from(error))
            }
            Err(_) => {
                let gave_up = self.quiet().handle_timeout(started, Instant::now());
                if let Some(timeouts) = gave_up {
                    self.condemn(DownReason::Silent { timeouts });
                }
                Err(LinkError::TimedOut { after })
            }
        }
    }

    /// Turns an error of the server into a [`LinkError`], and condemns the wire if only another
    /// connection can help.
    fn judge(&self, value: Value) -> Result<Value, LinkError> {
        let Value::ServerError(reply) = value else {
            return Ok(value);
        };
        let error = LinkError::refused(&reply);
        if let LinkError::Refused { code, detail } = &error
            && USELESS.contains(&code.as_str())
        {
            self.condemn(DownReason::Useless {
                code: code.clone(),
                detail: detail.clone(),
            });
        }
        Err(error)
    }

    /// Condemns the wire for `reason`, unless it is condemned already. Returns the reason that
    /// holds.
    pub(crate) fn condemn(&self, reason: DownReason) -> DownReason {
        let (_, told) = self.0.verdict.get_or_init(|| (Instant::now(), reason));
        self.0.condemned.notify_one();
        told.clone()
    }

    fn quiet(&self) -> std::sync::MutexGuard<'_, Quiet> {
        self.0.quiet.lock().expect("nothing panics under this lock")
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("verdict", &self.0.verdict.get())
            .finish_non_exhaustive()
    }
}

/// The count of timeouts in a row.
#[derive(Debug)]
struct Quiet {
    bound: NonZeroU32,
    timeouts: u32,
    counted_at: Option<Instant>,
}

impl Quiet {
    fn new(bound: NonZeroU32) -> Self {
        Self {
            bound,
            timeouts: 0,
            counted_at: None,
        }
    }

    fn handle_answer(&mut self) {
        self.timeouts = 0;
    }

    /// A request begun at `started` timed out at `now`. Returns the count once it reaches the
    /// bound.
    fn handle_timeout(&mut self, started: Instant, now: Instant) -> Option<u32> {
        if self.counted_at.is_none_or(|counted| started >= counted) {
            self.timeouts += 1;
            self.counted_at = Some(now);
        }
        (self.timeouts >= self.bound.get()).then_some(self.timeouts)
    }
}

/// Errors after which another connection, perhaps to another server, may succeed: the server is a
/// replica, is still reading its data, or no longer accepts the login.
const USELESS: [&str; 5] = ["READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "WRONGPASS"];

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(250);
    const THREE: NonZeroU32 = NonZeroU32::new(3).unwrap();

    #[test]
    fn requests_that_time_out_together_count_once() {
        let mut quiet = Quiet::new(THREE);
        let start = Instant::now();
        for millis in 0..100 {
            let started = start + Duration::from_millis(millis);
            assert_eq!(quiet.handle_timeout(started, started + TIMEOUT), None);
        }
        assert_eq!(quiet.timeouts, 1);
    }

    #[test]
    fn three_timeouts_one_after_the_other_are_enough() {
        let mut quiet = Quiet::new(THREE);
        let start = Instant::now();
        assert_eq!(quiet.handle_timeout(start, start + TIMEOUT), None);
        let second = start + TIMEOUT;
        assert_eq!(quiet.handle_timeout(second, second + TIMEOUT), None);
        let third = second + TIMEOUT;
        assert_eq!(quiet.handle_timeout(third, third + TIMEOUT), Some(3));
    }

    #[test]
    fn an_answer_starts_the_count_over() {
        let mut quiet = Quiet::new(THREE);
        let mut started = Instant::now();
        for _ in 0..5 {
            for _ in 0..2 {
                assert_eq!(quiet.handle_timeout(started, started + TIMEOUT), None);
                started += TIMEOUT;
            }
            quiet.handle_answer();
        }
    }
}

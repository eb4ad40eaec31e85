//! The connection to the store, which is made again whenever it is lost.
//!
//! # Invariant
//!
//! A request never waits for a connection: without one it fails at once and says since when and
//! why. One task connects, so there is one attempt at a time, and only it changes the state that
//! requests read. A connection is up only after its [`Greeting`].
//!
//! The task is in one of three states: *connected*, until its [`Wire`] is condemned or the peer
//! closes it; *backing off*, for a random delay; *connecting*. For requests the link is down in the
//! latter two.

use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use redis::{Cmd, Pipeline, Value};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::backoff::{Backoff, random_seed};
use crate::connect::Greeting;
use crate::connector::{Connector, Live};
use crate::error::{ConnectError, DownReason, LinkError};
use crate::settings::Settings;
use crate::wire::Wire;

/// A connection to the store that reconnects by itself. Dropping the link closes it.
#[derive(Debug)]
pub struct Link {
    state: watch::Receiver<State>,
    supervisor: JoinHandle<()>,
}

impl Link {
    /// Connects, within the connect timeout, and keeps the connection up from then on. With
    /// sentinels, the connect timeout applies to each server that is asked.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] if this first attempt fails. No further attempt is made then.
    pub async fn connect(
        settings: Settings,
        greeting: impl Greeting,
    ) -> Result<Self, ConnectError> {
        let mut connector = Connector::new(settings, greeting);
        let first = connector.connect().await?;
        Ok(Self::supervised(connector, Some(first)))
    }

    /// Connects in the background, now and whenever the connection is lost. Until it is up,
    /// requests fail.
    ///
    /// # Panics
    ///
    /// If called outside a tokio runtime.
    pub fn lazy(settings: Settings, greeting: impl Greeting) -> Self {
        Self::supervised(Connector::new(settings, greeting), None)
    }

    fn supervised(connector: Connector<impl Greeting>, first: Option<Live>) -> Self {
        let (publish, state) = watch::channel(State::Down {
            since: Instant::now(),
            reason: DownReason::Starting,
        });
        if let Some(live) = &first {
            publish.send_replace(State::Up(live.wire.clone()));
        }
        let settings = connector.settings();
        let supervisor = Supervisor {
            backoff: Backoff::new(settings.backoff_min, settings.backoff_max, random_seed()),
            connector,
            publish,
            news: News::default(),
        };
        Self {
            state,
            supervisor: tokio::spawn(supervisor.run(first)),
        }
    }

    /// Sends one command over the live connection; see [`Wire::query`].
    ///
    /// # Errors
    ///
    /// [`LinkError`]; [`LinkError::Down`] at once if there is no connection.
    pub async fn query(&self, command: &Cmd) -> Result<Value, LinkError> {
        self.wire()?.query(command).await
    }

    /// Sends several commands over the live connection; see [`Wire::pipeline`].
    ///
    /// # Errors
    ///
    /// [`LinkError`]; [`LinkError::Down`] at once if there is no connection.
    ///
    /// # Panics
    ///
    /// If `pipeline` is a transaction.
    pub async fn pipeline(
        &self,
        pipeline: &Pipeline,
    ) -> Result<Vec<Result<Value, LinkError>>, LinkError> {
        self.wire()?.pipeline(pipeline).await
    }

    /// The live connection, for requests that must share one. It does not outlive a loss.
    ///
    /// # Errors
    ///
    /// [`LinkError::Down`] if there is none.
    pub fn wire(&self) -> Result<Wire, LinkError> {
        self.state.borrow().wire().cloned()
    }

    /// Waits until there is a connection. For start-up and tests: a request path must not wait.
    pub async fn up(&self) {
        self.reaches(|state| state.wire().is_ok()).await;
    }

    /// Waits until there is no connection.
    pub async fn down(&self) {
        self.reaches(|state| state.wire().is_err()).await;
    }

    /// Waits until the first attempt to connect has ended, no longer than the connect timeout.
    /// Returns the reason if there is no connection then.
    pub(crate) async fn tried(&self) -> Result<(), DownReason> {
        self.reaches(|state| !state.is_starting()).await;
        match &*self.state.borrow() {
            State::Up(_) => Ok(()),
            State::Down { reason, .. } => Err(reason.clone()),
        }
    }

    async fn reaches(&self, goal: impl Fn(&State) -> bool) {
        let mut state = self.state.clone();
        if state.wait_for(goal).await.is_err() {
            // The supervisor is gone, with the runtime. Nothing will change any more.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

/// The state of the link that a request finds.
#[derive(Debug)]
enum State {
    Up(Wire),
    Down { since: Instant, reason: DownReason },
}

impl State {
    fn is_starting(&self) -> bool {
        let Self::Down { reason, .. } = self else {
            return false;
        };
        *reason == DownReason::Starting
    }

    /// The wire; an error if it is condemned, even if the supervisor has not published that yet.
    fn wire(&self) -> Result<&Wire, LinkError> {
        match self {
            Self::Up(wire) => wire.alive().map(|()| wire),
            Self::Down { since, reason } => Err(LinkError::Down {
                down_for: since.elapsed(),
                reason: reason.clone(),
            }),
        }
    }
}

/// The last log lines about the connection. If it comes and goes for the same reason, that is
/// logged twice a minute; if it stays away, that is logged in any case.
#[derive(Default)]
struct News {
    /// The kind of reason that was logged last, and when.
    down: Option<(Discriminant<DownReason>, Instant)>,
    /// Whether the last line says that the connection is up.
    up: Option<bool>,
}

impl News {
    /// The connection is up. Returns whether to log it.
    fn is_up(&mut self) -> bool {
        self.up.replace(true) != Some(true)
    }

    /// The connection is down, for this reason. Returns whether to log it.
    fn is_down(&mut self, reason: &DownReason, now: Instant) -> bool {
        if self.up == Some(false) {
            return false;
        }
        let kind = discriminant(reason);
        let lately = |(told, at)| told == kind && now.duration_since(at) < QUIET;
        if self.down.is_some_and(lately) {
            return false;
        }
        (self.down, self.up) = (Some((kind, now)), Some(false));
        true
    }
}

const QUIET: Duration = Duration::from_secs(30);

/// The one task that connects.
struct Supervisor<G> {
    connector: Connector<G>,
    backoff: Backoff,
    publish: watch::Sender<State>,
    news: News,
}

impl<G: Greeting> Supervisor<G> {
    async fn run(mut self, mut first: Option<Live>) {
        loop {
            let live = match first.take() {
                Some(live) => live,
                None => self.connected().await,
            };
            let since = Instant::now();
            if self.news.is_up() {
                info!(store = %self.connector.settings(), server = %live.address, "connected");
            }
            self.publish.send_replace(State::Up(live.wire.clone()));
            let reason = tokio::select! {
                biased;
                reason = live.wire.condemned() => reason,
                () = live.driver => DownReason::Closed,
                to = self.connector.moved(&live.address) => {
                    let from = live.address.clone();
                    live.wire.condemn(DownReason::Moved { from, to })
                }
            };
            // The driver is dropped by now, so requests still on their way have failed.
            self.handle_down(&reason);
            self.backoff.handle_loss(since.elapsed());
            sleep(self.backoff.next_delay()).await;
        }
    }

    /// Connects, and tries again until that succeeds.
    async fn connected(&mut self) -> Live {
        loop {
            match self.connector.connect().await {
                Ok(live) => return live,
                Err(error) => self.handle_down(&error.into()),
            }
            sleep(self.backoff.next_delay()).await;
        }
    }

    /// Publishes to requests why there is no connection, and logs it unless that was logged lately.
    fn handle_down(&mut self, reason: &DownReason) {
        self.publish.send_if_modified(|state| match state {
            State::Down {
                reason: known @ DownReason::Starting,
                ..
            } => {
                *known = reason.clone();
                true
            }
            State::Down { reason: known, .. } => {
                known.clone_from(reason);
                false
            }
            State::Up(_) => {
                *state = State::Down {
                    since: Instant::now(),
                    reason: reason.clone(),
                };
                true
            }
        });
        if self.news.is_down(reason, Instant::now()) {
            warn!(store = %self.connector.settings(), %reason, "down");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_comes_and_goes_costs_few_lines_and_the_last_word_is_true() {
        let (mut news, mut lines) = (News::default(), 0);
        for _ in 0..600 {
            lines += u32::from(news.is_up());
            lines += u32::from(news.is_down(&DownReason::Closed, Instant::now()));
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert!((4..=6).contains(&lines), "{lines} in a minute");
        assert!(
            news.is_down(&DownReason::Silent { timeouts: 3 }, Instant::now())
                || news.up == Some(false)
        );
        news.is_up();
        let mut told = false;
        for _ in 0..400 {
            told |= news.is_down(&DownReason::Closed, Instant::now());
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert!(told, "it stayed away");
    }
}

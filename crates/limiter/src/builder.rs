//! How a limiter is put together.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::panic;
use std::sync::Arc;
use std::time::Duration;

use leasehold_cache::{Config, LimitId, Owner};
use leasehold_core::{Limit, LimitError};
use leasehold_sync::{FailurePolicy, NamedLimit, Syncer, Tuning, TuningError};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::warn;

use crate::clock::Clock;
use crate::limiter::{Limiter, Mode};
use crate::memory_store::MemoryStore;
use crate::names::Names;
use crate::shared::{Shared, Time};
use crate::store::Store;
use crate::sync_task::SyncTask;

/// Puts a [`Limiter`] together. Every setting but the limits has a default that suits most.
#[must_use = "a builder builds nothing until `build` is called"]
pub struct Builder {
    limits: Vec<NamedLimit>,
    policies: Vec<(Box<str>, FailurePolicy)>,
    store: Option<Arc<dyn Store>>,
    mode: Mode,
    tuning: Tuning,
    keys_max: usize,
    budget: Duration,
    call_timeout: Duration,
    shutdown_patience: Duration,
    /// One that starts at the limiter's start unless set.
    clock: Option<Clock>,
    /// The first limit that is none.
    refused: Option<BuildError>,
}

/// Why a limiter cannot be built.
#[derive(Clone, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum BuildError {
    /// A limit is none.
    #[error("limit `{0}`: {1}")]
    BadLimit(String, LimitError),
    /// There is nothing to limit by.
    #[error("no limit is given: add one with `.limit(\"name\", limit)`")]
    NoLimit,
    /// A failure policy is given for a limit that is not there.
    #[error("there is no limit named `{0}` for a failure policy to apply to: there are {1}")]
    NoSuchLimit(String, String),
    /// Two limits have one name.
    #[error("two limits are named `{0}`: names tell limits apart at the store")]
    NameTwice(String),
    /// The name cannot stand in a key.
    #[error(
        "`{0}` is no name for a limit: use 1 to 64 letters, digits, `.`, `_` and `-`; it becomes \
         part of the store's keys"
    )]
    BadName(String),
    /// There is no tokio runtime to run the background task on.
    #[error("a limiter is built within a tokio runtime, on which its background task runs")]
    NoRuntime,
    /// The tokio runtime has no timers.
    #[error(
        "the tokio runtime has no timers: build it with `enable_time` or `enable_all`, because a \
         limiter waits for its store no longer than it is told to"
    )]
    NoTimers,
    /// The tokio runtime has ended.
    #[error(
        "the tokio runtime has ended: keep it for as long as the limiter is used, whose background \
         task runs on it"
    )]
    RuntimeEnded,
    /// A duration or size of zero makes no sense.
    #[error("`{0}` is zero: nothing could be done in no time or no space")]
    Zero(&'static str),
    /// The tuning contradicts itself.
    #[error("tuning: {0}")]
    Tuning(#[from] TuningError),
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("limits", &self.limits)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            limits: Vec::new(),
            policies: Vec::new(),
            store: None,
            mode: Mode::Lease,
            tuning: Tuning::default(),
            keys_max: 100_000,
            budget: Duration::from_millis(100),
            call_timeout: Duration::from_millis(250),
            shutdown_patience: Duration::from_secs(1),
            clock: None,
            refused: None,
        }
    }

    /// Adds a limit: a text, a [`LimitBuilder`](leasehold_core::LimitBuilder) or a [`Limit`].
    ///
    /// Replicas that share a limit give it the same name. Keys that name no limit mean the one
    /// added first. What is wrong with the limit is said by [`build`](Self::build).
    ///
    /// # Examples
    ///
    /// ```
    /// use leasehold::{Limit, Limiter};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::builder()
    ///     .limit("api", "1000/s burst 2000")
    ///     .limit("login", Limit::per_minute(5).burst(10))
    ///     .build()?;
    ///
    /// let error = Limiter::builder().limit("api", "1000").build().unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "limit `api`: in `1000`: a period is missing: write tokens per period, as in `1000/s`"
    /// );
    /// # Ok(())
    /// # }
    /// ```
    pub fn limit<L>(mut self, name: &str, limit: L) -> Self
    where
        L: TryInto<Limit>,
        L::Error: Into<LimitError>,
    {
        match limit.try_into() {
            Ok(limit) => self.limits.push(NamedLimit {
                name: name.into(),
                limit,
                policy: FailurePolicy::Closed,
            }),
            Err(error) => {
                let error = BuildError::BadLimit(name.to_owned(), error.into());
                self.refused.get_or_insert(error);
            }
        }
        self
    }

    /// The failure policy of the limit of that name: what it admits while the store is away and its
    /// leases have ended. It admits nothing unless this is set.
    ///
    /// [`FailurePolicy::Local`] needs to know how many replicas there are before the store has
    /// replied: set [`Tuning::max_replicas`]. In [`Mode::Central`] there are no leases, and every
    /// limit is closed.
    pub fn failure_policy(mut self, name: &str, policy: FailurePolicy) -> Self {
        self.policies.push((name.into(), policy));
        self
    }

    /// The store that replicas share; a [`MemoryStore`] of its own unless set.
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Whether to lease, or to ask the store for every decision. Leases unless set.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The numbers that decide how much is leased and how often the store is asked.
    pub fn tuning(mut self, tuning: Tuning) -> Self {
        self.tuning = tuning;
        self
    }

    /// The most keys to remember at a time; 100 000 unless set. Beyond, the store decides each
    /// request on a key that is not remembered. Keys of requests under several limits, which the
    /// store cannot decide, are then remembered while they are in use: at most an eighth and 64
    /// more, and beyond that such requests are denied as
    /// [`Overloaded`](leasehold_core::Reason::Overloaded).
    pub fn keys_max(mut self, keys_max: usize) -> Self {
        self.keys_max = keys_max;
        self
    }

    /// The longest time [`acquire`](Limiter::acquire) may wait for the store; 100 ms unless
    /// set. It ends up to 1.5 ms early, as the runtime's timers are late by about as much.
    pub fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// The longest time an exchange with the store may take before it counts as failed; 250 ms
    /// unless set.
    pub fn call_timeout(mut self, call_timeout: Duration) -> Self {
        self.call_timeout = call_timeout;
        self
    }

    /// The clock of a test, by which the limiter reads the time and waits. If the store is an
    /// embedded one, give the store the clock too: [`MemoryStore::with_clock`].
    #[cfg(feature = "test-util")]
    pub fn clock(mut self, clock: &crate::test::TestClock) -> Self {
        self.clock = Some(Clock::of_test(clock));
        self
    }

    /// The longest time a shut-down may take to give leases back; 1 s unless set.
    pub fn shutdown_patience(mut self, patience: Duration) -> Self {
        self.shutdown_patience = patience;
        self
    }

    /// Builds the limiter and starts its background task on the current tokio runtime.
    ///
    /// The limiter lives as long as that runtime: when the runtime ends, every request is denied as
    /// [`TaskEnded`](leasehold_core::Reason::TaskEnded). Shut the limiter down before, to give back
    /// what is leased. A current-thread runtime runs the task only while somebody drives it, by
    /// `block_on`; [`Health::overdue`](crate::Health::overdue) tells if nobody does. Requests may
    /// come from any executor and any thread.
    ///
    /// # Errors
    ///
    /// [`BuildError`] says which setting cannot be.
    pub fn build(mut self) -> Result<Limiter, BuildError> {
        if let Some(error) = self.refused.take() {
            return Err(error);
        }
        self.check()?;
        let names = self.names()?;
        self.apply_policies(&names)?;
        self.warn_of_unknown_parts();
        let runtime = Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        check_timers()?;
        let limits: Arc<[NamedLimit]> = self.limits.into();
        let owner = Owner::new(Config {
            keys_max: self.keys_max,
            seed: random(),
            signals: SIGNALS,
        });
        let cache = Arc::clone(owner.requests());
        let clock = self.clock.unwrap_or_else(Clock::start);
        let own_store = || Arc::new(MemoryStore::on(clock.clone())) as Arc<dyn Store>;
        let store = self.store.unwrap_or_else(own_store);
        let partitions = store.partitions();
        let (tuning, for_syncer) = (self.tuning, Arc::clone(&limits));
        let syncer =
            Syncer::new(owner, for_syncer, tuning, random(), random()).with_partitions(partitions);
        let shared = Arc::new(Shared::new(
            cache,
            limits,
            names,
            self.shutdown_patience,
            syncer.store_status(),
            Time {
                clock,
                runtime: runtime.clone(),
            },
        ));
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let task = SyncTask::new(
            syncer,
            Arc::clone(&store),
            Arc::clone(&shared),
            inbox,
            self.call_timeout,
        );
        // A runtime that has ended drops what is spawned on it at once.
        if runtime.spawn(task.run()).is_finished() {
            return Err(BuildError::RuntimeEnded);
        }
        Ok(Limiter::new(
            shared,
            store,
            commands,
            self.mode,
            self.budget,
            self.tuning,
        ))
    }

    /// The names of the limits.
    fn names(&self) -> Result<Names, BuildError> {
        let bad = self.limits.iter().find(|limit| !is_name(&limit.name));
        if let Some(NamedLimit { name, .. }) = bad {
            return Err(BuildError::BadName(name.to_string()));
        }
        Names::of(&self.limits).map_err(|name| BuildError::NameTwice(name.to_owned()))
    }

    fn apply_policies(&mut self, names: &Names) -> Result<(), BuildError> {
        for (name, policy) in &self.policies {
            let Some(LimitId(index)) = names.find(name) else {
                return Err(BuildError::NoSuchLimit(name.to_string(), self.some_names()));
            };
            self.limits[index as usize].policy = *policy;
        }
        Ok(())
    }

    /// One line if a limit cannot follow its policy from the start.
    fn warn_of_unknown_parts(&self) {
        let is_local = |named: &&NamedLimit| named.policy == FailurePolicy::Local;
        // The store of its own is never away.
        let known = self.tuning.max_replicas.is_some() || self.store.is_none();
        if !known && let Some(NamedLimit { name, .. }) = self.limits.iter().find(is_local) {
            let limits = self.limits.iter().filter(is_local).count();
            warn!(
                target: "leasehold", limit = %name, limits,
                "a limit has the failure policy `local`, and `Tuning::max_replicas` is not set: \
                 while the store is away from the start, the limit is closed, because this \
                 replica's part of it is unknown"
            );
        }
    }

    /// The names of the limits for a message, or the first of them.
    fn some_names(&self) -> String {
        let quoted = |limit: &NamedLimit| format!("`{}`", limit.name);
        let names = self.limits.iter().map(quoted).take(NAMES_SAID);
        let names = names.collect::<Vec<_>>().join(", ");
        match self.limits.len().checked_sub(NAMES_SAID) {
            Some(more @ 1..) => format!("{names} and {more} more"),
            _ => names,
        }
    }

    fn check(&self) -> Result<(), BuildError> {
        if self.limits.is_empty() {
            return Err(BuildError::NoLimit);
        }
        let sizes = [
            (self.keys_max == 0, "keys_max"),
            (self.budget.is_zero(), "budget"),
            (self.call_timeout.is_zero(), "call_timeout"),
        ];
        let zero = sizes
            .into_iter()
            .find_map(|(is_zero, name)| is_zero.then_some(name));
        if let Some(name) = zero {
            return Err(BuildError::Zero(name));
        }
        self.tuning.check()?;
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

/// Whether the current runtime has timers. Tokio answers by a panic, and prints it.
fn check_timers() -> Result<(), BuildError> {
    let timer = panic::catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO)));
    timer.map_err(|_| BuildError::NoTimers)
}

/// A number that nobody can guess: the standard library's hash keys come from the system.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// Names that a message lists: enough to see a slip of the pen among.
const NAMES_SAID: usize = 20;

/// Commands that may wait for the task; the docs of [`Limiter::acquire_all`] give the number.
/// Requests beyond it are denied rather than queued, because a task with ten thousand misses to
/// serve takes longer than the budget of a request.
const COMMANDS: usize = 16_384;

/// Keys that may have signalled and not been looked at. Beyond, their alarms find them.
const SIGNALS: usize = 4096;

leasehold_core::debug_by_display!(BuildError);

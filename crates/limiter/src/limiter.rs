//! The limiter that a service links in.
//!
//! # Invariant
//!
//! Nothing on the request path awaits unless the key's lease is short and nobody knows that the
//! store is short too; then it awaits one exchange, within the budget.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use leasehold_cache::{Entry, KeyRef, LimitId};
use leasehold_core::{
    Decided, Estimate, Instant, Limit, Reason, Request, Retry, Status, Verdict, Wait,
};
use leasehold_sync::{
    Batch, COST_LEASED_MAX, Call, Counted, FailurePolicy, Heard, Joint, NamedLimit, Purpose,
    RequestPath, SlowRequest, Step, Then, Tuning, central_verdict,
};
use smallvec::SmallVec;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::builder::Builder;
use crate::caught::caught;
use crate::health::Health;
use crate::key::{AsKey, Key, LimitRef, Subject, Text};
use crate::key_handle::KeyHandle;
use crate::shared::Shared;
use crate::stats::Stats;
use crate::store::{Store, StoreError};
use crate::sync_task::{Caller, Command};

/// Decides requests by limits that it shares with other replicas through a store.
///
/// Cheap to clone; clones share everything. When the last one goes, what is leased is given back
/// in the background; [`shutdown`](Self::shutdown) does so in the open.
///
/// # Examples
///
/// ```
/// use leasehold::Limiter;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::builder().limit("api", "100/min burst 20").build()?;
/// match limiter.acquire("user:42", 1).await.check() {
///     Ok(admitted) => println!("go ahead, {} left here", admitted.held),
///     Err(denial) => println!("{denial}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Limiter {
    inner: Arc<Inner>,
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("limits", &self.inner.shared.limits)
            .field("mode", &self.inner.mode)
            .finish_non_exhaustive()
    }
}

struct Inner {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    commands: mpsc::Sender<Command>,
    mode: Mode,
    budget: Duration,
    tuning: Tuning,
}

/// The place where a limiter decides requests.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Mode {
    /// This process, from what it leases; the store where a lease does not pay.
    #[default]
    Lease,
    /// The store, asked for every decision: exact and slow. The baseline to compare with.
    Central,
}

/// Some leases could not be given back. They end by themselves within one lease time.
#[derive(Clone, Copy, Eq, Error, PartialEq)]
#[error("{tokens} tokens were not given back in time; the store frees them when their leases end")]
pub struct NotReleased {
    /// Tokens outstanding at the store.
    pub tokens: u64,
}

/// The state of a key, here and at the store: the answer to [`Limiter::peek`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Peek {
    /// Tokens leased here and not spent.
    pub held: u64,
    /// Tokens at the store that nobody has leased or spent.
    pub free: u64,
    /// Tokens leased by all replicas, and not yet reported spent.
    pub outstanding: u64,
    /// Replicas that hold leases.
    pub replicas: u64,
    /// Time until the bucket is full if nothing more is spent.
    pub reset: Duration,
}

impl Limiter {
    /// Starts putting a limiter together.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(
        shared: Arc<Shared>,
        store: Arc<dyn Store>,
        commands: mpsc::Sender<Command>,
        mode: Mode,
        budget: Duration,
        tuning: Tuning,
    ) -> Self {
        let inner = Inner {
            shared,
            store,
            commands,
            mode,
            budget,
            tuning,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The number of the limit named `name`. A key that names its limit by number,
    /// `(limiter.limit_id("global")?, "all")`, saves the look-up of the name.
    pub fn limit_id(&self, name: &str) -> Option<LimitId> {
        self.inner.shared.names.find(name)
    }

    /// A handle of one key, for callers that keep it: it decides faster.
    ///
    /// # Panics
    ///
    /// If the key has the [`LimitId`] of another limiter.
    pub fn handle(&self, key: impl AsKey) -> KeyHandle {
        let key = key.as_key();
        let known = self.resolve(key.limit());
        if let Some(limit) = known {
            let _checked = self.path().limit(limit);
        }
        KeyHandle::new(self.clone(), known, key.subject())
    }

    /// Decides at once, from what is held here. Never waits and does no I/O.
    ///
    /// A key of which nothing is held yet is denied as [`Reason::NotLeased`], and tokens are sent
    /// for: use [`acquire`](Self::acquire) where the first request must not be denied. In
    /// [`Mode::Central`] nothing is ever held.
    ///
    /// [`AsKey`] lists what may stand for a key.
    ///
    /// # Panics
    ///
    /// If the key has the [`LimitId`] of another limiter.
    #[inline]
    pub fn try_acquire(&self, key: impl AsKey, cost: u32) -> Verdict {
        let key = key.as_key();
        let Some(limit) = self.resolve(key.limit()) else {
            return self.unknown_limit(cost);
        };
        let subject = key.subject();
        match self.decide_fast(KeyRef { limit, subject }, cost) {
            Ok(verdict) => verdict,
            Err(slow) => self.decide_slow_at_once(slow, limit, subject, cost),
        }
    }

    /// Decides, from what is held here if that suffices, and otherwise after one exchange with
    /// the store, which waiting requests share. Waits no longer than the budget.
    ///
    /// May be cancelled at any time. A request that stops waiting costs nothing, with one
    /// exception: on a key too slow to lease, the store may be charging it at that moment.
    ///
    /// # Examples
    ///
    /// ```
    /// use leasehold::{Denial, Limiter, Reason, Retry};
    ///
    /// async fn handle(limiter: &Limiter, user: &str, cost: u32) -> Result<(), Denial> {
    ///     limiter.acquire(user, cost).await.check()?;
    ///     println!("go ahead");
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::builder().limit("api", "100/s burst 20").build()?;
    /// handle(&limiter, "user:42", 1).await?;
    ///
    /// // Clients choose their names: one of more than 1024 bytes is no key.
    /// let denial = handle(&limiter, &"x".repeat(1025), 1).await.unwrap_err();
    /// assert_eq!((denial.reason, denial.retry), (Reason::KeyTooLong, Retry::Never));
    ///
    /// let denial = handle(&limiter, "user:42", 21).await.unwrap_err();
    /// assert_eq!((denial.reason, denial.retry), (Reason::TooCostly, Retry::Never));
    ///
    /// limiter.shutdown().await?;
    /// let denial = handle(&limiter, "user:42", 1).await.unwrap_err();
    /// assert_eq!((denial.reason, denial.retry), (Reason::ShutDown, Retry::Never));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`AsKey`] lists what may stand for a key.
    ///
    /// # Panics
    ///
    /// If the key has the [`LimitId`] of another limiter.
    pub async fn acquire(&self, key: impl AsKey, cost: u32) -> Verdict {
        let decided = {
            let key = key.as_key();
            let Some(limit) = self.resolve(key.limit()) else {
                return self.unknown_limit(cost);
            };
            let subject = key.subject();
            self.decide_fast(KeyRef { limit, subject }, cost)
        };
        match decided {
            Ok(verdict) => verdict,
            Err(slow) => match self.decide_key_slow(slow, &key, cost) {
                Some(verdict) => verdict,
                // Apart, because it is ten times what all the rest takes, and a future is copied
                // whole from where it is made to where it is awaited, also by callers that wait for
                // nothing.
                None => Box::pin(self.ask_key(key, cost)).await,
            },
        }
    }

    /// Decides under several limits at once: all costs are spent, or none is. What lacks here is
    /// asked for in one exchange; then all is taken together.
    ///
    /// The verdict tells which limit decided ([`Verdict::limit`]): the one that denies, or, if all
    /// allow, the one closest to exhaustion by [`estimate`](Self::estimate). Its other numbers are
    /// of that limit too. In [`Mode::Central`], which cannot undo, every such request is denied as
    /// [`Reason::NeedsLeases`].
    ///
    /// Keys of several types are brought to one by [`AsKey::as_key`].
    ///
    /// A key that is named more than once pays the sum. A key with cost 0 takes no part: its limit
    /// is not looked at. If no key costs anything, or `requests` is empty, no limit applies: the
    /// verdict allows and names no limit, and there is no estimate of what remains.
    ///
    /// There is no bound on how many keys are named. The time is proportional to their number, and
    /// the limiter does not yield while it decides. For up to eight keys whose tokens are here it
    /// allocates nothing and sets no timer. Only 16 384 keys can wait for the store at a time: if
    /// more lack tokens, the request is denied as [`Reason::Overloaded`], and finds more of them
    /// next time.
    ///
    /// # Panics
    ///
    /// If a key that costs anything has the [`LimitId`] of another limiter.
    ///
    /// # Examples
    ///
    /// ```
    /// use leasehold::Limiter;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::builder()
    ///     .limit("user", "100/min")
    ///     .limit("global", "5000/s")
    ///     .build()?;
    /// let both = [(("user", "user:42"), 1), (("global", "all"), 1)];
    /// assert!(limiter.acquire_all(&both).await.is_allowed());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn acquire_all<K: AsKey>(&self, requests: &[(K, u32)]) -> Verdict {
        match self.decide_all(requests, |_, _| ()) {
            Ok(verdict) => verdict,
            // Apart, because this future is large, and a future is copied.
            Err(()) => Box::pin(self.ask_all(requests)).await,
        }
    }

    /// Decides under several limits at once without waiting, as [`try_acquire`](Self::try_acquire)
    /// does under one. For keys named twice, costs of 0 and the number of keys see
    /// [`acquire_all`](Self::acquire_all).
    ///
    /// # Panics
    ///
    /// If a key that costs anything has the [`LimitId`] of another limiter.
    pub fn try_acquire_all<K: AsKey>(&self, requests: &[(K, u32)]) -> Verdict {
        let miss = |key: KeyRef<'_>, cost| self.miss(key.limit, key.subject, cost);
        self.decide_all(requests, miss)
            .unwrap_or_else(|missed| missed)
    }

    /// An estimate of what the limit that decided has left of the key, for a header. It costs no
    /// exchange with the store; [`peek`](Self::peek) costs one, and says more.
    ///
    /// | | [`Verdict::held`] | [`Estimate::remaining`] |
    /// |---|---|---|
    /// | counts | what this replica holds on lease | what no replica has leased or spent, and what this one holds |
    /// | may be spent without asking the store | all of it, until the lease ends | only what is held |
    /// | between two exchanges | shrinks by each request here | also grows at the rate |
    /// | a central decision | 0, because nothing is held | what the store had left |
    /// | a denied request | 0 | 0 |
    /// | use | a lower bound, for decisions | `RateLimit-Remaining` and its like, for people |
    ///
    /// `None` if the verdict was reached without a look at a limit: no key was named, or
    /// [`FailurePolicy::Open`] allowed while the store did not answer.
    ///
    /// # Panics
    ///
    /// If the verdict is of another limiter and names a limit that this one lacks.
    ///
    /// # Examples
    ///
    /// ```
    /// use leasehold::Limiter;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::builder().limit("api", "1000/s burst 2000").build()?;
    /// let verdict = limiter.acquire("user:42", 5).await;
    /// let estimate = limiter.estimate(&verdict).ok_or("a limit was looked at")?;
    /// println!("RateLimit-Remaining: {}", estimate.remaining);
    /// assert_eq!((estimate.burst, estimate.remaining), (2000, 1995));
    /// # Ok(())
    /// # }
    /// ```
    pub fn estimate(&self, verdict: &Verdict) -> Option<Estimate> {
        let limit = self.path().limit(verdict.limit()?);
        limit.estimate(verdict)
    }

    /// The state of a key here and at the store. Spends nothing, and costs one exchange.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store does not answer within the budget, or does not serve the key.
    ///
    /// # Panics
    ///
    /// If the key has the [`LimitId`] of another limiter.
    pub async fn peek(&self, key: impl AsKey) -> Result<Peek, StoreError> {
        let (key, now) = (key.as_key(), self.inner.shared.now());
        let key = self.nameable(&key)?;
        let reply = self.ask_store(key, Request::Spend { cost: 0 }, now).await?;
        if let Some(reason) = reply.status.unserved() {
            return Err(StoreError::new(reason));
        }
        let entry = self.inner.shared.cache.get(key);
        let held = entry.map_or(0, |entry| entry.lease.view(now).live);
        Ok(Peek {
            held: u64::from(held),
            free: reply.free,
            outstanding: reply.outstanding,
            replicas: reply.replicas,
            reset: reply.full_in.as_duration(),
        })
    }

    /// Resets a key: all that was charged on it is forgiven, as if it had drained. What replicas
    /// hold on lease, or have spent and not yet reported, stays theirs and counts: from now on no
    /// more than the burst and the rate are admitted.
    ///
    /// The next request here finds the tokens. Another replica that remembers a denial of the key
    /// looks at the store once a second while the key is asked for, or when the wait that it was
    /// told ends, if that is within fifteen. If it denies more than a hundred keys at once,
    /// they share a hundred looks a second.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store does not answer within the budget; if what is stored under the
    /// key cannot be read, which is left as it is; and for some seconds after the store lost its
    /// memory, because leases that it forgot may be spent until then.
    ///
    /// # Panics
    ///
    /// If the key has the [`LimitId`] of another limiter.
    ///
    /// # Examples
    ///
    /// ```
    /// # use leasehold::Limiter;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::builder().limit("login", "5/day").build()?;
    /// assert!(limiter.acquire("alice", 5).await.is_allowed());
    /// assert!(!limiter.acquire("alice", 5).await.is_allowed());
    /// limiter.reset("alice").await?;
    /// assert!(limiter.acquire("alice", 5).await.is_allowed());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn reset(&self, key: impl AsKey) -> Result<(), StoreError> {
        let (key, now) = (key.as_key(), self.inner.shared.now());
        let key = self.nameable(&key)?;
        let reply = self.ask_store(key, Request::Forgive, now).await?;
        if let Some(reason) = reply.status.unserved() {
            return Err(StoreError::new(reason));
        }
        if let Wait::For(wait) = reply.wait {
            let wait = wait.as_duration();
            return Err(StoreError::new(format_args!(
                "the store lost its memory, and no key can be reset for another {wait:.1?}: leases \
                 that it forgot may be spent until then"
            )));
        }
        if reply.status != Status::Forgiven {
            return Err(StoreError::new("the store did not reset the key"));
        }
        self.inner.shared.cache.forget_denial(key);
        // If the task ends meanwhile, nothing is denied any more by what it remembers.
        let command = Command::Forgiven { key: key.into() };
        let _ = self.within_budget(self.inner.commands.send(command)).await;
        Ok(())
    }

    /// The key, if it is one that the store can have.
    fn nameable<'k>(&self, key: &'k Key<'_>) -> Result<KeyRef<'k>, StoreError> {
        let key = KeyRef {
            limit: self
                .resolve(key.limit())
                .ok_or_else(|| StoreError::new(Reason::UnknownLimit))?,
            subject: key.subject(),
        };
        let closed = self.inner.shared.closed();
        let known = self.path().without_tokens(key, 0, closed);
        match known.and_then(|verdict| verdict.denial()) {
            Some(denial) => Err(StoreError::new(denial.reason)),
            None => Ok(key),
        }
    }

    /// The counts of what the limiter has done so far.
    pub fn stats(&self) -> Stats {
        let keys = self.inner.shared.cache.len() as u64;
        let shared = &*self.inner.shared;
        shared.counters.read(keys, &shared.limits)
    }

    /// The most tokens beyond burst + rate x window that this replica may now cause to be admitted
    /// on any one key of `limit`: its overshoot budget and, while the store is away, what its
    /// failure policy adds. `None` if there is no bound, because the limit is
    /// [`FailurePolicy::Open`](crate::FailurePolicy::Open) and the store is away. It suits a metric
    /// named `overshoot_bound_tokens`.
    ///
    /// It counts no loss of the store's memory beyond what the protocol excludes: see
    /// `docs/PROTOCOL.md` for those cases.
    ///
    /// # Panics
    ///
    /// If `limit` is of another limiter.
    pub fn overshoot_bound(&self, limit: LimitId) -> Option<u64> {
        self.inner.shared.counters.overshoot_bound(limit)
    }

    /// Gives back all that is leased, so that a deployment loses no capacity, and ends the
    /// background task. Requests that wait are denied, and so are all that come after.
    ///
    /// All who call this wait for the same end, and hear the same of it. In a forked child there is
    /// nothing to give back: what is leased is the parent's.
    ///
    /// # Errors
    ///
    /// [`NotReleased`] if the store did not confirm within the patience of the builder, or if the
    /// runtime of the background task ended first.
    pub async fn shutdown(&self) -> Result<(), NotReleased> {
        let shared = &*self.inner.shared;
        if shared.is_forked() {
            return Ok(());
        }
        if !shared.has_ended() {
            // Nobody hears it if the task is ending already.
            let _ = self.inner.commands.send(Command::ShutDown).await;
        }
        match shared.ended().await {
            0 => Ok(()),
            tokens => Err(NotReleased { tokens }),
        }
    }

    /// Whether the limiter works, and what is amiss if it does not.
    ///
    /// # Examples
    ///
    /// ```
    /// use leasehold::{Limiter, TaskState};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::builder().limit("api", "100/s").build()?;
    /// assert!(limiter.health().is_good());
    /// limiter.shutdown().await?;
    /// assert_eq!(limiter.health().task, TaskState::ShutDown);
    /// # Ok(())
    /// # }
    /// ```
    pub fn health(&self) -> Health {
        self.inner.shared.health()
    }

    /// The number of a limit; `None` if this limiter has none of that name.
    #[inline]
    fn resolve(&self, limit: LimitRef<'_>) -> Option<LimitId> {
        match limit {
            LimitRef::Id(limit) => Some(limit),
            LimitRef::Name(name) => self.limit_id(name),
        }
    }

    /// [`decide_slow`](Self::decide_slow) for a key in any form.
    #[cold]
    fn decide_key_slow(&self, slow: SlowRequest, key: &impl AsKey, cost: u32) -> Option<Verdict> {
        let key = key.as_key();
        match self.resolve(key.limit()) {
            Some(limit) => self.decide_slow(slow, limit, key.subject(), cost),
            None => Some(self.unknown_limit(cost)),
        }
    }

    /// Waits for a verdict on a key in any form, within the budget.
    async fn ask_key(&self, key: impl AsKey, cost: u32) -> Verdict {
        let key = key.as_key();
        let Some(limit) = self.resolve(key.limit()) else {
            return self.unknown_limit(cost);
        };
        let subject = key.subject();
        self.ask(KeyRef { limit, subject }, cost).await
    }

    /// The verdict of the fast path: see [`RequestPath::acquire_fast`].
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a call would return the verdict through memory"
    )]
    pub(crate) fn decide_fast(&self, key: KeyRef<'_>, cost: u32) -> Result<Verdict, SlowRequest> {
        let now = self.inner.shared.now_approx();
        let step = self.path().acquire_fast(key, cost, now);
        self.follow(step, |_| cost)
    }

    /// As [`decide_fast`](Self::decide_fast), for an entry that the caller has already looked
    /// up.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a call would return the verdict through memory"
    )]
    pub(crate) fn decide_fast_at(
        &self,
        entry: &Arc<Entry>,
        cost: u32,
    ) -> Result<Verdict, SlowRequest> {
        let now = self.inner.shared.now_approx();
        let step = self.path().acquire_fast_at(entry, cost, now);
        self.follow(step, |_| cost)
    }

    /// The verdict of the slow path, if it can be had here and now. The key comes in parts, so that
    /// the fast path need not lay it down in memory.
    #[cold]
    #[inline(never)]
    pub(crate) fn decide_slow(
        &self,
        slow: SlowRequest,
        limit: LimitId,
        subject: &[u8],
        cost: u32,
    ) -> Option<Verdict> {
        let closed = self.inner.shared.closed();
        let step = self.path().acquire_slow(slow, limit, subject, closed);
        if let Step::Decided {
            then: Then::Report, ..
        } = step
            && !self.report(KeyRef { limit, subject }, cost)
        {
            return None;
        }
        self.follow(step, |_| cost).ok()
    }

    /// Has the sync task hear of tokens that were spent of the replica's advance. Returns whether
    /// it does; if not, they are not spent.
    fn report(&self, key: KeyRef<'_>, cost: u32) -> bool {
        let command = Command::Advanced {
            key: key.into(),
            cost,
        };
        let told = self.inner.commands.try_send(command).is_ok();
        if !told {
            self.path().undo_advance(key, cost);
        }
        told
    }

    /// The verdict of the slow path on a request that does not wait.
    #[cold]
    #[inline(never)]
    fn decide_slow_at_once(
        &self,
        slow: SlowRequest,
        limit: LimitId,
        subject: &[u8],
        cost: u32,
    ) -> Verdict {
        let known = self.decide_slow(slow, limit, subject, cost);
        known.unwrap_or_else(|| self.miss(limit, subject, cost))
    }

    /// The entry of a key, if it is known here.
    #[cold]
    pub(crate) fn entry(&self, key: KeyRef<'_>) -> Option<Arc<Entry>> {
        self.inner.shared.cache.get(key)
    }

    #[inline]
    fn path(&self) -> RequestPath<'_> {
        RequestPath {
            cache: &self.inner.shared.cache,
            limits: &self.inner.shared.limits,
            status: &self.inner.shared.status,
        }
    }

    /// The verdict, counted and with the sync task woken if need be; what lacks if there is none.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a call would return the verdict through memory"
    )]
    fn follow<Lacking>(
        &self,
        step: Step<Lacking>,
        cost: impl FnOnce(&Verdict) -> u32,
    ) -> Result<Verdict, Lacking> {
        match step {
            Step::Decided { verdict, then } => {
                match then {
                    // What is to be reported has been.
                    Then::Nothing | Then::Report => {}
                    Then::Wake => self.wake(),
                    Then::Count(counted) => self.count(&verdict, cost(&verdict), counted),
                }
                Ok(verdict)
            }
            Step::Undecided(lacking) => Err(lacking),
        }
    }

    /// Counts a verdict that the cache has not counted, or under another reason.
    #[cold]
    #[inline(never)]
    fn count(&self, verdict: &Verdict, cost: u32, counted: Counted) {
        let verdicts = &self.inner.shared.counters.verdicts;
        verdicts.count(verdict, cost, counted);
    }

    /// The denial of a request for a limit that is not there.
    #[cold]
    pub(crate) fn unknown_limit(&self, cost: u32) -> Verdict {
        self.count(&UNKNOWN_LIMIT, cost, Counted::No);
        UNKNOWN_LIMIT
    }

    /// A key runs low: the sync task has something to do.
    #[cold]
    #[inline(never)]
    fn wake(&self) {
        self.inner.shared.wake.notify_one();
    }

    /// Sends for tokens and does not wait for them. The key comes in parts, so that the fast path
    /// need not lay it down in memory.
    #[cold]
    #[inline(never)]
    pub(crate) fn miss(&self, limit: LimitId, subject: &[u8], cost: u32) -> Verdict {
        let key = KeyRef { limit, subject };
        if cost > COST_LEASED_MAX {
            let verdict = Verdict::deny(Decided::Local, Reason::TooCostly, Retry::Never);
            let verdict = verdict.with_limit(limit);
            self.count(&verdict, cost, Counted::No);
            return verdict;
        }
        if self.inner.mode == Mode::Lease {
            let key = key.into();
            // If the task is too busy to hear it, another request will ask.
            let _ = self
                .inner
                .commands
                .try_send(Command::Prefetch { key, cost });
        }
        let soon = self.inner.tuning.call_gap;
        let verdict = Verdict::deny(Decided::Local, Reason::NotLeased, Retry::After(soon));
        let verdict = verdict.with_limit(limit);
        self.count(&verdict, cost, Counted::No);
        verdict
    }

    /// Waits for a verdict that cannot be had here, within the budget.
    pub(crate) async fn ask(&self, key: KeyRef<'_>, cost: u32) -> Verdict {
        let verdicts = &self.inner.shared.counters.verdicts;
        match self.inner.mode {
            Mode::Lease => {
                let verdict = self.ask_task(key, cost).await.with_limit(key.limit);
                verdicts.count_from_task(&verdict, cost);
                verdict
            }
            Mode::Central => {
                let verdict = self.ask_central(key, cost).await.with_limit(key.limit);
                verdicts.count(&verdict, cost, Counted::No);
                verdict
            }
        }
    }

    /// Waits for the sync task's verdict.
    async fn ask_task(&self, key: KeyRef<'_>, cost: u32) -> Verdict {
        let verdict = match self.send(key, cost, Purpose::Spend) {
            Ok(verdict) => verdict,
            Err(denied) => return denied,
        };
        match self.within_budget(verdict).await {
            Some(verdict) => verdict.unwrap_or_else(|_| self.inner.shared.dropped()),
            None if self.inner.shared.closed().is_some() => self.inner.shared.dropped(),
            None if self.named(key).policy == FailurePolicy::Open => {
                let (verdicts, limit) = (&self.inner.shared.counters.verdicts, key.limit);
                let key = key.into();
                let verdict = Verdict::allow_unknown(Decided::Fallback);
                verdicts.expect_from_task(limit, &verdict, cost);
                let told = self
                    .inner
                    .commands
                    .try_send(Command::Admitted { key, cost });
                if told.is_err() {
                    // The task is too busy to hear it: it is admitted and not charged.
                    verdicts.count_uncharged(limit, cost);
                }
                verdict
            }
            None => self.budget_spent(),
        }
    }

    /// Queues a request for the sync task.
    fn send(
        &self,
        key: KeyRef<'_>,
        cost: u32,
        purpose: Purpose,
    ) -> Result<oneshot::Receiver<Verdict>, Verdict> {
        let (sender, verdict) = oneshot::channel();
        let spends = (purpose == Purpose::Spend).then_some((key.limit, cost));
        let command = Command::Acquire {
            key: key.into(),
            cost,
            purpose,
            waiter: Caller::new(sender, spends),
        };
        match self.inner.commands.try_send(command) {
            Ok(()) => Ok(verdict),
            Err(mpsc::error::TrySendError::Full(_)) => {
                let soon = Retry::After(self.inner.budget);
                Err(Verdict::deny(Decided::Fallback, Reason::Overloaded, soon))
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(self.inner.shared.dropped()),
        }
    }

    async fn ask_central(&self, key: KeyRef<'_>, cost: u32) -> Verdict {
        let now = self.inner.shared.now();
        let cost = u64::from(cost);
        let Ok(reply) = self.ask_store(key, Request::Spend { cost }, now).await else {
            let soon = Retry::After(self.inner.budget);
            return Verdict::deny(Decided::Fallback, Reason::StoreUnavailable, soon);
        };
        central_verdict(&reply, self.limit_of(key), self.inner.budget)
    }

    /// Asks the store itself, once, within the budget.
    async fn ask_store(
        &self,
        key: KeyRef<'_>,
        request: Request,
        now: Instant,
    ) -> Result<leasehold_core::Reply, StoreError> {
        let shared = &*self.inner.shared;
        let partition = self.path().partition_of(key);
        let batch = Batch {
            // No lease is named, so nobody is.
            replica: 0,
            partition,
            known_birth: shared.status.known_birth(partition),
            quarantine: self.inner.tuning.quarantine(),
            enroll: None,
            limits: Arc::clone(&shared.limits),
            calls: vec![Call::new(key, request)],
            sent: now,
        };
        shared.counters.count_batch(1);
        let exchange = caught(async { self.inner.store.exchange(&batch).await });
        let answer = match self.within_budget(exchange).await {
            Some(Ok(answer)) => answer,
            Some(Err(panic)) => Err(StoreError::new(format_args!("the store panicked: {panic}"))),
            None => {
                let budget = self.inner.budget;
                Err(StoreError::new(format_args!("no answer within {budget:?}")))
            }
        };
        let answer = answer.inspect_err(|_| shared.counters.count_failure())?;
        answer.check(&batch).map_err(StoreError::new)?;
        shared.status.handle_answer(&batch, &answer);
        let reply = answer.replies.first().copied();
        let reply = reply.filter(|reply| reply.answers(&request));
        reply.ok_or_else(|| StoreError::new("no reply that a ledger would give"))
    }

    /// The verdict on several requests if it can be had here and now, or else what `miss` makes of
    /// one that lacks tokens.
    #[inline]
    fn decide_all<K: AsKey, M>(
        &self,
        requests: &[(K, u32)],
        miss: impl FnOnce(KeyRef<'_>, u32) -> M,
    ) -> Result<Verdict, M> {
        let texts = texts(requests);
        let named = match self.named_keys(requests, &texts) {
            Ok(named) => named,
            Err(denied) => {
                let cost = requests
                    .iter()
                    .fold(0, |sum: u32, (_, cost)| sum.saturating_add(*cost));
                self.count(&denied, cost, Counted::No);
                return Ok(denied);
            }
        };
        let (requests, shared) = (merged(&named), &*self.inner.shared);
        let (closed, now) = (shared.closed(), shared.now_approx());
        let step = self.path().acquire_all(&requests, closed, now);
        let cost = |verdict: &Verdict| cost_under(&requests, verdict);
        self.follow(step, cost).map_err(|index| {
            let (key, cost) = requests[index];
            miss(key, cost)
        })
    }

    /// The keys of several requests, each with the number of its limit; a denial if there is no
    /// such limit, or if nothing is leased.
    #[inline]
    fn named_keys<'r, K: AsKey>(
        &self,
        requests: &'r [(K, u32)],
        texts: &'r [Text],
    ) -> Result<Few<'r>, Verdict> {
        if self.inner.mode != Mode::Lease {
            return Err(NEEDS_LEASES);
        }
        let mut texts = texts.iter();
        let named = requests.iter().map(|(key, cost)| {
            let (limit, subject) = key.as_key().parts();
            let limit = self.resolve(limit).ok_or(UNKNOWN_LIMIT)?;
            let subject = match subject {
                Subject::Bytes(bytes) => bytes,
                Subject::Text(_) => texts.next().map_or(&[][..], Text::as_bytes),
            };
            Ok((KeyRef { limit, subject }, *cost))
        });
        named.collect()
    }

    /// Waits for a verdict on several requests that cannot be had here, within the budget.
    #[cold]
    async fn ask_all<K: AsKey>(&self, requests: &[(K, u32)]) -> Verdict {
        let texts = texts(requests);
        let requests = match self.named_keys(requests, &texts) {
            Ok(requests) => requests,
            Err(denied) => return denied,
        };
        let requests = merged(&requests);
        // Of the key whose tokens are awaited.
        let awaited = AtomicU32::new(requests.first().map_or(0, |(key, _)| key.limit.0));
        let work = self.ask_all_unbounded(&requests, &awaited);
        if let Some(verdict) = self.within_budget(work).await {
            return verdict;
        }
        let verdict = self.budget_spent();
        let verdict = verdict.with_limit(LimitId(awaited.load(Relaxed)));
        self.count(&verdict, cost_under(&requests, &verdict), Counted::No);
        verdict
    }

    async fn ask_all_unbounded(
        &self,
        requests: &[(KeyRef<'_>, u32)],
        awaited: &AtomicU32,
    ) -> Verdict {
        let mut joint = Joint::default();
        loop {
            let shared = &*self.inner.shared;
            let (closed, now) = (shared.closed(), shared.now_approx());
            let step = joint.step(self.path(), requests, closed, now);
            let cost = |verdict: &Verdict| cost_under(requests, verdict);
            let lacking = match self.follow(step, cost) {
                Ok(verdict) => {
                    self.count_taken(&verdict, requests);
                    return verdict;
                }
                Err(lacking) => lacking,
            };
            // All that lacks is asked for before any answer is awaited.
            let asked = lacking.into_iter().map(|index| {
                let (key, cost) = requests[index];
                (key.limit, self.send(key, cost, Purpose::Stock))
            });
            for (limit, asked) in asked.collect::<Vec<_>>() {
                awaited.store(limit.0, Relaxed);
                let verdict = match asked {
                    Ok(verdict) => {
                        let verdict = verdict.await;
                        verdict.unwrap_or_else(|_| self.inner.shared.dropped())
                    }
                    Err(denied) => denied,
                };
                let verdict = verdict.with_limit(limit);
                match joint.handle_verdict(verdict) {
                    Heard::Wait => {}
                    Heard::TryAgain => break,
                    Heard::Denied(verdict) => {
                        self.count(&verdict, cost_under(requests, &verdict), Counted::No);
                        return verdict;
                    }
                }
            }
        }
    }

    /// Counts tokens that a request took after it had waited: where it was decided.
    fn count_taken(&self, verdict: &Verdict, requests: &[(KeyRef<'_>, u32)]) {
        let (verdicts, decided) = (&self.inner.shared.counters.verdicts, verdict.decided());
        if verdict.is_allowed() && decided != Decided::Local {
            for &(key, cost) in requests {
                verdicts.count_elsewhere(key.limit, decided, cost);
            }
        }
    }

    fn named(&self, key: KeyRef<'_>) -> &NamedLimit {
        let LimitId(index) = key.limit;
        let named = self.inner.shared.limits.get(index as usize);
        named.expect("the key names a limit of this limiter")
    }

    fn limit_of(&self, key: KeyRef<'_>) -> &Limit {
        self.path().limit(key.limit)
    }

    /// Waits for `work`, no longer than the budget. The runtime counts in whole milliseconds and
    /// rounds up twice, so this asks for less: it ends up to 1.5 ms before the budget does, or half
    /// a millisecond after.
    async fn within_budget<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let budget = self.inner.budget;
        let less = budget.saturating_sub(ROUNDED_UP).max(budget / 2);
        self.inner.shared.timeout(less, work).await
    }

    fn budget_spent(&self) -> Verdict {
        let soon = Retry::After(self.inner.budget);
        Verdict::deny(Decided::Fallback, Reason::BudgetSpent, soon)
    }
}

/// The tokens asked for under the limit that decided; all that were asked for if none did.
fn cost_under(requests: &[(KeyRef<'_>, u32)], verdict: &Verdict) -> u32 {
    let decided = |(key, _): &&(KeyRef<'_>, u32)| verdict.limit().is_none_or(|it| it == key.limit);
    let costs = requests.iter().filter(decided).map(|(_, cost)| *cost);
    costs.fold(0, u32::saturating_add)
}

/// The texts of those keys that have one of their own, such as the digits of a number. They stand
/// apart, because most keys have none, and lend their bytes.
#[inline]
fn texts<K: AsKey>(requests: &[(K, u32)]) -> SmallVec<[Text; FEW]> {
    let text = |(key, _): &(K, u32)| match key.as_key().parts().1 {
        Subject::Bytes(_) => None,
        Subject::Text(text) => Some(text),
    };
    requests.iter().filter_map(text).collect()
}

/// The requests with each key named once, without those that cost nothing, so that each key is
/// asked for what it pays in all. Keys keep the order in which they are first named.
fn merged<'r, 'k>(requests: &'r [(KeyRef<'k>, u32)]) -> Merged<'r, 'k> {
    if requests.len() > FEW {
        return merged_many(requests);
    }
    let is_plain = |(index, (key, cost)): (usize, &(KeyRef<'k>, u32))| {
        *cost > 0 && requests[..index].iter().all(|(other, _)| other != key)
    };
    if requests.iter().enumerate().all(is_plain) {
        return Merged::Plain(requests);
    }
    let mut few: Few<'k> = SmallVec::new();
    for &(key, cost) in requests.iter().filter(|(_, cost)| *cost > 0) {
        match few.iter_mut().find(|(other, _)| *other == key) {
            Some((_, total)) => *total = total.saturating_add(cost),
            None => few.push((key, cost)),
        }
    }
    Merged::Changed(few)
}

/// Merges by a map, because to compare each key with all before it takes quadratic time.
#[cold]
fn merged_many<'r, 'k>(requests: &'r [(KeyRef<'k>, u32)]) -> Merged<'r, 'k> {
    let mut places: HashMap<KeyRef<'k>, usize> = HashMap::with_capacity(requests.len());
    let mut many: Few<'k> = SmallVec::with_capacity(requests.len());
    for &(key, cost) in requests.iter().filter(|(_, cost)| *cost > 0) {
        let place = *places.entry(key).or_insert(many.len());
        match many.get_mut(place) {
            Some((_, total)) => *total = total.saturating_add(cost),
            None => many.push((key, cost)),
        }
    }
    if many.len() == requests.len() {
        return Merged::Plain(requests);
    }
    Merged::Changed(many)
}

/// Requests in which each key is named once.
#[expect(
    clippy::large_enum_variant,
    reason = "a box would be the allocation that a few requests do without"
)]
enum Merged<'r, 'k> {
    /// They came so.
    Plain(&'r [(KeyRef<'k>, u32)]),
    Changed(Few<'k>),
}

impl<'k> Deref for Merged<'_, 'k> {
    type Target = [(KeyRef<'k>, u32)];

    #[inline]
    fn deref(&self) -> &Self::Target {
        match self {
            Self::Plain(requests) => requests,
            Self::Changed(requests) => requests,
        }
    }
}

type Few<'k> = SmallVec<[(KeyRef<'k>, u32); FEW]>;

/// Requests under more limits than this at once are rare, and allocate.
const FEW: usize = 8;

/// The key names a limit that this limiter has not.
const UNKNOWN_LIMIT: Verdict = Verdict::deny(Decided::Local, Reason::UnknownLimit, Retry::Never);

/// Several limits are asked for in central mode.
const NEEDS_LEASES: Verdict = Verdict::deny(Decided::Local, Reason::NeedsLeases, Retry::Never);

impl Drop for Inner {
    fn drop(&mut self) {
        if self.shared.is_forked() {
            // What they have open is the parent's, and whoever held their locks is not there.
            mem::forget((self.commands.clone(), Arc::clone(&self.store)));
        }
    }
}

const ROUNDED_UP: Duration = Duration::from_micros(1500);

leasehold_core::debug_by_display!(NotReleased);

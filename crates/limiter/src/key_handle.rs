//! A key that its caller keeps, so that nobody looks it up again.
//!
//! # Invariant
//!
//! A handle decides by the entry that the cache has of its key. Where the cache has forgotten that
//! entry, or had none yet, the handle looks again before it decides; so it never holds on to what
//! another entry has taken over, and keeps nothing from being forgotten but a little memory.

use std::fmt;
use std::sync::Arc;

use leasehold_cache::{Entry, KeyRef, LimitId};
use leasehold_core::Verdict;
use leasehold_sync::SlowRequest;

use crate::key::AsKey;
use crate::limiter::Limiter;

/// One key of a [`Limiter`], looked up once: for callers that keep it, such as a connection or a
/// tenant.
///
/// A handle decides as the limiter does, without hashing and looking up the key. Its methods take
/// `&mut self`, because a handle remembers the entry it found; clone it for other tasks, which is
/// cheap.
///
/// A handle does not keep its key in the cache: a key that nobody asks for is given back and
/// forgotten, and found again by the next request.
///
/// # Examples
///
/// ```
/// use leasehold::Limiter;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::builder().limit("api", "100/s").build()?;
/// let mut tenant = limiter.handle("tenant:7");
/// assert!(tenant.acquire(1).await.is_allowed());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct KeyHandle {
    limiter: Limiter,
    limit: LimitId,
    subject: Arc<[u8]>,
    /// As last seen in the cache.
    entry: Option<Arc<Entry>>,
}

impl KeyHandle {
    /// A handle of the key of `subject` under `limit`; `None` for a limit that is not there.
    pub(crate) fn new(limiter: Limiter, limit: Option<LimitId>, subject: &[u8]) -> Self {
        Self {
            limiter,
            limit: limit.unwrap_or(NO_LIMIT),
            subject: subject.into(),
            entry: None,
        }
    }

    /// The key it stands for.
    pub fn key(&self) -> KeyRef<'_> {
        KeyRef {
            limit: self.limit,
            subject: &self.subject,
        }
    }

    /// Decides at once, as [`Limiter::try_acquire`] does.
    #[inline]
    pub fn try_acquire(&mut self, cost: u32) -> Verdict {
        match self.decide_fast(cost) {
            Ok(verdict) => verdict,
            Err(slow) => self.decide_slow_at_once(slow, cost),
        }
    }

    /// Decides, and waits for the store if need be, as [`Limiter::acquire`] does.
    pub async fn acquire(&mut self, cost: u32) -> Verdict {
        match self.decide_fast(cost) {
            Ok(verdict) => verdict,
            Err(slow) => match self.decide_slow(slow, cost) {
                Some(verdict) => verdict,
                None => Box::pin(self.limiter.ask(self.key(), cost)).await,
            },
        }
    }

    /// The verdict of the fast path. `Err(None)`: the key has no entry.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a call would return the verdict through memory"
    )]
    fn decide_fast(&mut self, cost: u32) -> Result<Verdict, Option<SlowRequest>> {
        let known = self.entry.as_ref();
        if known.is_none_or(|entry| entry.is_forgotten()) {
            self.entry = self.limiter.entry(self.key());
        }
        match &self.entry {
            Some(entry) => self.limiter.decide_fast_at(entry, cost).map_err(Some),
            None => Err(None),
        }
    }

    /// The verdict of the slow path, if it can be had here and now.
    #[cold]
    fn decide_slow(&self, slow: Option<SlowRequest>, cost: u32) -> Option<Verdict> {
        let slow = match slow {
            Some(slow) => slow,
            None if self.limit == NO_LIMIT => return Some(self.limiter.unknown_limit(cost)),
            None => match self.limiter.decide_fast(self.key(), cost) {
                Ok(verdict) => return Some(verdict),
                Err(slow) => slow,
            },
        };
        self.limiter
            .decide_slow(slow, self.limit, &self.subject, cost)
    }

    #[cold]
    #[inline(never)]
    fn decide_slow_at_once(&self, slow: Option<SlowRequest>, cost: u32) -> Verdict {
        let known = self.decide_slow(slow, cost);
        known.unwrap_or_else(|| self.limiter.miss(self.limit, &self.subject, cost))
    }
}

impl fmt::Debug for KeyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHandle")
            .field("key", &self.key().as_key())
            .finish_non_exhaustive()
    }
}

/// No limit has this number: there are not so many.
const NO_LIMIT: LimitId = LimitId(u32::MAX);

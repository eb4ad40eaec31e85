//! The request path of a replica: how a request is decided on its own thread, before the sync task
//! is asked, and what a request under several limits waits for.
//!
//! # Invariant
//!
//! Every driver decides here and nowhere else. A request that cannot be decided has spent nothing,
//! and it makes sense to ask the sync task: its cost is within the burst, and under several limits
//! within what a lease can hold.
//!
//! Any thread may call. Nothing here waits: what is to be asked for goes out as a value, and
//! [`Joint`] counts the verdicts that come back.

use std::sync::Arc;
use std::time::Duration;

use leasehold_cache::{
    AllLocal, DenialCell, Entry, KeyRef, LimitId, LocalDecision, LocalDenial, Requests,
};
use leasehold_core::{Decided, Instant, Limit, Reason, Retry, Verdict};

use crate::batch::NamedLimit;
use crate::fallback::FailurePolicy;
use crate::fallback::in_fallback;
use crate::key_state::COST_LEASED_MAX;
use crate::partition::partition_of;
use crate::store_status::StoreStatus;

/// The state by which a request thread decides.
#[derive(Clone, Copy, Debug)]
pub struct RequestPath<'a> {
    /// The leases and denials of the replica.
    pub cache: &'a Requests,
    /// The limits that keys name.
    pub limits: &'a [NamedLimit],
    /// The parts of the store that are away, by the sync task.
    pub status: &'a StoreStatus,
}

/// The outcome of a request on its own thread: a verdict, or what it lacks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "a verdict that nobody looks at limits nothing"]
pub enum Step<Lacking> {
    /// There is a verdict.
    Decided {
        /// The verdict.
        verdict: Verdict,
        /// The rest of the work.
        then: Then,
    },
    /// Not decided yet, and nothing is spent. What lacks says how it goes on: by the slow path, by
    /// asking the sync task, or by a denial.
    Undecided(Lacking),
}

/// A request that left the fast path: see [`RequestPath::acquire_fast`]. Nothing is spent. If it
/// was denied by what the cache knows, the cache has counted it so, and
/// [`acquire_slow`](RequestPath::acquire_slow) says what is to be counted instead.
#[derive(Debug, Eq, PartialEq)]
#[must_use = "the request has no verdict yet"]
pub struct SlowRequest {
    cost: u32,
    /// `None`: the lease is short, the key is unknown, or the cost is 0.
    denial: Option<LocalDenial>,
    /// The sync task has a new signal and should be woken.
    wake: bool,
    now: Instant,
}

/// The work that is left for the caller once a request is decided. One word says it, so that the
/// common path looks at one word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Then {
    /// Nothing. The cache has counted the tokens, as spent or as denied because the key has none,
    /// and the sync task reads its counts: see [`Tokens`](crate::Tokens).
    Nothing,
    /// The sync task is to be woken, because it has a new signal. The cache has counted the tokens.
    Wake,
    /// The caller counts the tokens.
    Count(Counted),
    /// The tokens are of the replica's advance: the caller has the sync task hear of them, by
    /// [`Syncer::handle_advanced`](crate::Syncer::handle_advanced), which reports them to the
    /// store. If that is not possible, it [undoes](RequestPath::undo_advance) the advance, and the
    /// request is not decided.
    Report,
}

/// The place of a request in the counts of the cache before its caller counts it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Counted {
    /// It is not there.
    No,
    /// Its tokens count as denied because the key has none. The verdict has another reason, so the
    /// caller counts it under that one, and takes it from the other.
    AsExhausted,
    /// As [`AsExhausted`](Self::AsExhausted), of a key in fallback: its tokens count as denied
    /// because the store is away.
    AsUnavailable,
}

impl<'a> RequestPath<'a> {
    /// Decides a request under one limit.
    ///
    /// `closed` is why the limiter is closed, if it is. Requests that a lease pays, or whose limit
    /// is known here to be exhausted, are decided regardless.
    ///
    /// # Panics
    ///
    /// If the key names no limit.
    #[inline]
    pub fn acquire(
        self,
        key: KeyRef<'_>,
        cost: u32,
        closed: Option<Reason>,
        now: Instant,
    ) -> Step<()> {
        match self.acquire_fast(key, cost, now) {
            Step::Decided { verdict, then } => Step::Decided { verdict, then },
            Step::Undecided(slow) => self.acquire_slow(slow, key.limit, key.subject, closed),
        }
    }

    /// The fast path of [`acquire`](Self::acquire): decides if a lease pays, or if the limit is
    /// known here to be exhausted. [`acquire_slow`](Self::acquire_slow) decides the rest.
    ///
    /// This half is inlined and the other is a call, so that the verdict of a common request never
    /// passes through memory, where it would be written in parts and read as a whole.
    ///
    /// # Panics
    ///
    /// If the key names no limit.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a call would return the verdict through memory"
    )]
    pub fn acquire_fast(self, key: KeyRef<'_>, cost: u32, now: Instant) -> Step<SlowRequest> {
        let said = self.cache.try_acquire(key, cost, now);
        self.judge(said, || key.limit, || key, cost, now)
    }

    /// As [`acquire_fast`](Self::acquire_fast), for an entry that the caller has already looked up,
    /// and that is not forgotten.
    ///
    /// # Panics
    ///
    /// If the key names no limit.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a call would return the verdict through memory"
    )]
    pub fn acquire_fast_at(self, entry: &Arc<Entry>, cost: u32, now: Instant) -> Step<SlowRequest> {
        let said = self.cache.try_acquire_at(entry, cost, now);
        self.judge(said, || entry.limit(), || entry.key(), cost, now)
    }

    /// The verdict on a common request, by what the cache said. The limit comes by itself, because
    /// a request that is allowed has no need of the rest of its key.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a call would return the verdict through memory"
    )]
    fn judge<'k>(
        self,
        said: LocalDecision,
        limit: impl Fn() -> LimitId,
        key: impl Fn() -> KeyRef<'k>,
        cost: u32,
        now: Instant,
    ) -> Step<SlowRequest> {
        // Cases with the same outcome share a branch, so that the compiler emits comparisons, and
        // no table of jumps.
        let (denial, wake) = match said {
            LocalDecision::Allow {
                left,
                full_at,
                wake,
            } if cost > 0 => return Step::allowed(limit(), left, full_at, wake, now),
            // A key in fallback is denied for another reason, and a retry helps a request only if
            // the limit can ever allow it: the slow path tells these apart.
            LocalDecision::Deny(denial)
                if !denial.is_in_fallback && self.needs_tokens(key(), cost) =>
            {
                return Step::exhausted(limit(), denial, now);
            }
            LocalDecision::Deny(denial) => (Some(denial), false),
            LocalDecision::Allow { wake, .. } => (None, wake),
            LocalDecision::Short { .. } | LocalDecision::Unknown => (None, false),
        };
        Step::Undecided(SlowRequest {
            cost,
            denial,
            wake,
            now,
        })
    }

    /// The slow path of [`acquire`](Self::acquire), for the key that
    /// [`acquire_fast`](Self::acquire_fast) was asked about. The key comes in parts, so that the
    /// fast path need not lay it down in memory.
    ///
    /// # Panics
    ///
    /// If the key names no limit.
    #[cold]
    #[inline(never)]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a request is decided and counted once"
    )]
    pub fn acquire_slow(
        self,
        slow: SlowRequest,
        limit: LimitId,
        subject: &[u8],
        closed: Option<Reason>,
    ) -> Step<()> {
        let SlowRequest {
            cost,
            denial,
            wake,
            now,
        } = slow;
        let key = KeyRef { limit, subject };
        match denial {
            Some(denial) if self.needs_tokens(key, cost) => {
                Step::exhausted_or_in_fallback(limit, denial, now)
            }
            Some(denial) => self
                .without_lease(key, cost, closed, now)
                .counted_as_denied(denial.is_in_fallback),
            None => match self.without_lease(key, cost, closed, now) {
                // There are no tokens to count.
                Step::Decided { verdict, .. } if wake => Step::Decided {
                    verdict,
                    then: Then::Wake,
                },
                step => step,
            },
        }
    }

    /// Decides a request for which the cache has no tokens and no denial that counts.
    fn without_lease(
        self,
        key: KeyRef<'_>,
        cost: u32,
        closed: Option<Reason>,
        now: Instant,
    ) -> Step<()> {
        let known = self.without_tokens(key, cost, closed);
        let known = match known {
            Some(verdict) if verdict.is_allowed() => self.known_of(key, now).or(known),
            None => self.without_store(key, now),
            denied => denied,
        };
        match known {
            Some(verdict) => Step::known(verdict),
            None => self.by_advance(key, cost, now),
        }
    }

    /// Decides a request by the replica's advance of its key, if enough is left of it.
    fn by_advance(self, key: KeyRef<'_>, cost: u32, now: Instant) -> Step<()> {
        let right = self.status.right(self.partition_of(key));
        let most = right.tokens(self.limit(key.limit), now);
        if cost > most {
            return Step::Undecided(());
        }
        let entry = self.cache.get(key);
        if entry.as_ref().is_some_and(|entry| entry.is_in_fallback()) {
            return Step::Undecided(());
        }
        let Some(left) = self.cache.take_advance(key, cost, most) else {
            return Step::Undecided(());
        };
        let full_at = entry.map_or(now, |entry| entry.full_at());
        let verdict = Verdict::allow_here(left, key.limit, full_at, now);
        let then = Then::Report;
        Step::Decided { verdict, then }
    }

    /// Undoes an advance of which the sync task cannot be told.
    pub fn undo_advance(self, key: KeyRef<'_>, cost: u32) {
        self.cache.put_back_advance(key, cost);
    }

    /// Decides a request under several limits, each key named once: all costs are spent, or none
    /// is. Undecided is the position of one that lacks tokens. Without a key there is no limit, and
    /// the request is allowed.
    ///
    /// # Panics
    ///
    /// If a key names no limit.
    #[inline]
    pub fn acquire_all(
        self,
        requests: &[(KeyRef<'_>, u32)],
        closed: Option<Reason>,
        now: Instant,
    ) -> Step<usize> {
        if let Some(reason) = closed {
            return Step::known(denied_for_good(reason));
        }
        if requests.is_empty() {
            return Step::known(Verdict::allow_unknown(Decided::Local));
        }
        for &(key, cost) in requests {
            if !self.needs_tokens(key, cost) {
                let known = self.without_tokens(key, cost, None);
                return Step::known(known.expect("it needs no tokens"));
            }
        }
        // Told of is the limit that is closest to exhaustion.
        let rank = |limit, held: u32, full_at: Instant| {
            let full_nanos = full_at.nanos_since(now);
            self.limit(limit).remaining(u64::from(held), full_nanos)
        };
        let limit_of = |index: usize| requests[index].0.limit;
        match self.cache.try_acquire_all(requests, rank, now) {
            AllLocal::Allow {
                index,
                left,
                full_at,
                wake,
            } => Step::allowed(limit_of(index), left, full_at, wake, now),
            AllLocal::Deny { index, denial } => {
                Step::exhausted_or_in_fallback(limit_of(index), denial, now)
            }
            AllLocal::Short { index, .. } | AllLocal::Unknown { index } => {
                let known = self.without_store(requests[index].0, now);
                known.map_or(Step::Undecided(index), Step::known)
            }
        }
    }

    /// Whether nothing else can be said of a request.
    #[inline]
    fn needs_tokens(self, key: KeyRef<'_>, cost: u32) -> bool {
        let cost_max = self.limit(key.limit).cost_max();
        cost > 0 && u64::from(cost) <= cost_max && key.subject.len() <= SUBJECT_BYTES_MAX
    }

    /// A verdict that needs no tokens and no store, off the common path.
    ///
    /// # Panics
    ///
    /// If the key names no limit.
    #[cold]
    pub fn without_tokens(
        self,
        key: KeyRef<'_>,
        cost: u32,
        closed: Option<Reason>,
    ) -> Option<Verdict> {
        let deny = |reason| denied_for_good(reason).with_limit(key.limit);
        if let Some(reason) = closed {
            Some(deny(reason))
        } else if self.needs_tokens(key, cost) {
            None
        } else if u64::from(cost) > self.limit(key.limit).cost_max() {
            Some(deny(Reason::TooCostly))
        } else if key.subject.len() > SUBJECT_BYTES_MAX {
            Some(deny(Reason::KeyTooLong))
        } else {
            Some(Verdict::allow_unknown(Decided::Local).with_limit(key.limit))
        }
    }

    /// The verdict on a request that needs no tokens, with the tokens and the time that are known
    /// of its key.
    fn known_of(self, key: KeyRef<'_>, now: Instant) -> Option<Verdict> {
        let entry = self.cache.get(key)?;
        let live = entry.lease.view(now).live;
        Some(Verdict::allow_here(live, key.limit, entry.full_at(), now))
    }

    /// A denial in place of a question, if the store is away and the limit is closed then.
    #[cold]
    fn without_store(self, key: KeyRef<'_>, now: Instant) -> Option<Verdict> {
        if self.named(key.limit).policy != FailurePolicy::Closed {
            return None;
        }
        let denial = self.status.denial(self.partition_of(key), now)?;
        Some(denial.with_limit(key.limit))
    }

    /// In which partition of the store a key lies.
    ///
    /// # Panics
    ///
    /// If the key names no limit.
    pub fn partition_of(self, key: KeyRef<'_>) -> u32 {
        let name = &self.named(key.limit).name;
        partition_of(name, key.subject, self.status.partitions())
    }

    /// The limit of this name.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[inline]
    pub fn limit(self, limit: LimitId) -> &'a Limit {
        &self.named(limit).limit
    }

    #[inline]
    fn named(self, LimitId(index): LimitId) -> &'a NamedLimit {
        let named = self.limits.get(index as usize);
        named.expect("the key names a limit of this limiter")
    }
}

impl<Lacking> Step<Lacking> {
    #[inline]
    fn allowed(limit: LimitId, left: u32, full_at: Instant, wake: bool, now: Instant) -> Self {
        let verdict = Verdict::allow_here(left, limit, full_at, now);
        let then = if wake { Then::Wake } else { Then::Nothing };
        Self::Decided { verdict, then }
    }

    /// Denied by what is known here: the limit is used up. The key is not in fallback.
    #[inline]
    fn exhausted(limit: LimitId, denial: LocalDenial, now: Instant) -> Self {
        let until = denial.until + ROUNDED_DOWN;
        Self::Decided {
            verdict: Verdict::deny_here(limit, until, denial.full_at, now),
            then: Then::Nothing,
        }
    }

    /// As [`exhausted`](Self::exhausted); or, of a key in fallback, denied for want of the store,
    /// because this replica's local limit is used up.
    fn exhausted_or_in_fallback(limit: LimitId, denial: LocalDenial, now: Instant) -> Self {
        match Self::exhausted(limit, denial, now) {
            Self::Decided { verdict, then } if denial.is_in_fallback => Self::Decided {
                verdict: in_fallback(verdict),
                then,
            },
            step => step,
        }
    }

    #[inline]
    const fn known(verdict: Verdict) -> Self {
        let then = Then::Count(Counted::No);
        Self::Decided { verdict, then }
    }

    /// This step, of a request that the cache has counted among those denied for want of tokens;
    /// of a key in fallback, for want of the store.
    #[cold]
    fn counted_as_denied(mut self, is_in_fallback: bool) -> Self {
        if let Self::Decided { then, .. } = &mut self {
            *then = Then::Count(if is_in_fallback {
                Counted::AsUnavailable
            } else {
                Counted::AsExhausted
            });
        }
        self
    }
}

/// A request under several limits that may have to wait: it sends for the tokens of all keys that
/// lack them, hears of each, and then tries to take all at once, until it has a verdict.
#[derive(Debug, Default)]
pub struct Joint {
    /// Keys of which nothing has been heard yet.
    awaited: usize,
    /// Where the verdicts were reached that it has heard: the farthest.
    decided: Option<Decided>,
}

/// The next step of a joint request after a verdict on one of its keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "the request goes on, or ends"]
pub enum Heard {
    /// It waits for the next.
    Wait,
    /// All keys have had their tokens: it tries again.
    TryAgain,
    /// One limit denies it, and so it is denied, whatever else it waits for.
    Denied(Verdict),
}

impl Joint {
    /// Tries to take all, each key named once. Undecided are the positions of those keys for which
    /// to send, with [`Purpose::Stock`](crate::Purpose::Stock): at least one. Then comes
    /// [`handle_verdict`](Self::handle_verdict) for each of them.
    ///
    /// # Panics
    ///
    /// If a key names no limit, or verdicts are awaited still.
    pub fn step(
        &mut self,
        path: RequestPath<'_>,
        requests: &[(KeyRef<'_>, u32)],
        closed: Option<Reason>,
        now: Instant,
    ) -> Step<Vec<usize>> {
        assert_eq!(self.awaited, 0, "who waits does not try");
        let short = match path.acquire_all(requests, closed, now) {
            Step::Decided { verdict, then } => {
                let verdict = verdict.with_decided(self.decided.unwrap_or(verdict.decided()));
                return Step::Decided { verdict, then };
            }
            Step::Undecided(short) => short,
        };
        let too_costly = requests.iter().find(|(_, cost)| *cost > COST_LEASED_MAX);
        if let Some((key, _)) = too_costly {
            let verdict = Verdict::deny(Decided::Local, Reason::TooCostly, Retry::Never);
            return Step::known(verdict.with_limit(key.limit));
        }
        // The one that stood in the way may have been supplied by now, and then is so told.
        let lacks = |(index, (key, cost)): (usize, &(KeyRef<'_>, u32))| {
            (index == short || path.cache.lacks(*key, *cost, now)).then_some(index)
        };
        let lacking: Vec<usize> = requests.iter().enumerate().filter_map(lacks).collect();
        self.awaited = lacking.len();
        Step::Undecided(lacking)
    }

    /// The sync task has a verdict on one of the keys for which was sent.
    pub fn handle_verdict(&mut self, verdict: Verdict) -> Heard {
        if !verdict.is_allowed() {
            return Heard::Denied(verdict);
        }
        self.decided = match (self.decided, verdict.decided()) {
            (Some(Decided::Fallback), _) | (_, Decided::Local) => self.decided,
            (_, decided) => Some(decided),
        };
        self.awaited -= 1;
        match self.awaited {
            0 => Heard::TryAgain,
            _ => Heard::Wait,
        }
    }
}

/// A denial here, of what no wait will make allowed.
const fn denied_for_good(reason: Reason) -> Verdict {
    Verdict::deny(Decided::Local, reason, Retry::Never)
}

/// The most by which the time that a remembered denial tells is too short: it is kept in whole
/// ticks, and a request may be told a time that is 20 us ahead. A caller that comes back exactly
/// then finds that the store has a token.
const ROUNDED_DOWN: Duration = DenialCell::TICK.saturating_add(Duration::from_micros(32));

/// Longer subjects are nobody's name. The store keeps each in a key of its own.
const SUBJECT_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use leasehold_cache::{Config, OwnedEntry, Owner};

    use super::*;
    use crate::key_state::RETRY_AFTER_MIN;

    const NOW: Instant = Instant::from_millis(1000);
    const LATER: Instant = Instant::from_millis(3000);
    const FULL_AT: Instant = Instant::from_millis(1700);
    const ALICE: KeyRef<'_> = key(b"alice");
    const BOB: KeyRef<'_> = key(b"bob");

    const fn key(subject: &[u8]) -> KeyRef<'_> {
        let limit = LimitId::FIRST;
        KeyRef { limit, subject }
    }

    /// A replica under one limit with these leases.
    struct Replica {
        cache: Owner,
        limits: [NamedLimit; 1],
        status: StoreStatus,
    }

    impl Replica {
        fn with(leases: &[(KeyRef<'_>, u32)]) -> Self {
            let mut replica = Self {
                cache: Owner::new(Config {
                    keys_max: 4,
                    seed: 1,
                    signals: 4,
                }),
                limits: [NamedLimit {
                    name: "api".into(),
                    limit: "1000/s burst 4000000000".parse().unwrap(),
                    policy: FailurePolicy::Closed,
                }],
                status: StoreStatus::new(1),
            };
            for &(key, tokens) in leases {
                replica.lease(key, tokens);
            }
            replica
        }

        fn lease(&mut self, key: KeyRef<'_>, tokens: u32) {
            self.cache.insert(key).unwrap();
            let mut entry = self.owned(key);
            entry.deposit(tokens, LATER, NOW);
            entry.set_full_at(FULL_AT);
        }

        fn owned(&mut self, key: KeyRef<'_>) -> OwnedEntry {
            let entry = self.cache.requests().get(key).unwrap();
            self.cache.claim(&entry).unwrap()
        }

        fn path(&self) -> RequestPath<'_> {
            RequestPath {
                cache: self.cache.requests(),
                limits: &self.limits,
                status: &self.status,
            }
        }

        fn acquire(&self, key: KeyRef<'_>, cost: u32) -> Step<()> {
            self.path().acquire(key, cost, None, NOW)
        }

        fn step(&self, joint: &mut Joint, requests: &[(KeyRef<'_>, u32)]) -> Step<Vec<usize>> {
            joint.step(self.path(), requests, None, NOW)
        }
    }

    const fn decided<T>(verdict: Verdict, wake: bool) -> Step<T> {
        let then = if wake { Then::Wake } else { Then::Nothing };
        Step::Decided { verdict, then }
    }

    const fn allow(left: u64) -> Verdict {
        let full_in = Duration::from_millis(700);
        Verdict::allow(Decided::Local, left, full_in).with_limit(LimitId::FIRST)
    }

    const fn deny<T>(reason: Reason) -> Step<T> {
        Step::known(denied_for_good(reason).with_limit(LimitId::FIRST))
    }

    #[test]
    fn while_the_store_is_away_a_closed_limit_is_denied_in_place_and_what_is_leased_is_spent() {
        let mut replica = Replica::with(&[(ALICE, 1)]);
        replica.status.set(0, Some(LATER));
        let denied = deny_for(Reason::StoreUnavailable, LATER.since(NOW));
        assert_eq!(replica.acquire(ALICE, 1), decided(allow(0), false));
        assert_eq!(replica.acquire(ALICE, 1), denied);
        let all = [(ALICE, 1), (BOB, 1)];
        let path = replica.path();
        let Step::Decided { verdict, .. } = path.acquire_all(&all, None, NOW) else {
            panic!("the limit is closed");
        };
        assert!(!verdict.is_allowed());
        assert_eq!(
            path.acquire(ALICE, 1, None, LATER),
            Step::Undecided(()),
            "somebody looks"
        );
        replica.limits[0].policy = FailurePolicy::Local;
        assert_eq!(replica.acquire(ALICE, 1), Step::Undecided(()));
    }

    fn deny_for(reason: Reason, wait: Duration) -> Step<()> {
        let retry = Retry::After(wait);
        Step::known(Verdict::deny(Decided::Fallback, reason, retry).with_limit(LimitId::FIRST))
    }

    #[test]
    fn what_is_held_is_spent_and_who_finds_it_low_wakes_the_task() {
        let mut replica = Replica::with(&[(ALICE, 5)]);
        let mut alice = replica.owned(ALICE);
        assert_eq!(replica.acquire(ALICE, 2), decided(allow(3), false));
        alice.set_watermark(3);
        assert_eq!(replica.acquire(ALICE, 1), decided(allow(2), true));
        assert_eq!(replica.acquire(ALICE, 3), Step::Undecided(()));
        assert_eq!(replica.acquire(BOB, 1), Step::Undecided(()));
        assert_eq!(replica.acquire(ALICE, 2), decided(allow(0), true).once());
    }

    impl<T> Step<T> {
        /// The task has been called already, and has not looked yet.
        fn once(self) -> Self {
            match self {
                Self::Decided { verdict, .. } => decided(verdict, false),
                undecided @ Self::Undecided(_) => undecided,
            }
        }
    }

    /// The signal was raised and nobody was woken: later requests, which found it raised, woke
    /// nobody either.
    #[test]
    fn who_finds_a_key_low_and_spends_nothing_wakes_the_task_too() {
        let mut replica = Replica::with(&[(ALICE, 2)]);
        replica.owned(ALICE).set_watermark(3);
        let free = replica.acquire(ALICE, 0);
        assert!(
            matches!(free, Step::Decided { verdict, then: Then::Wake } if verdict.is_allowed()),
            "{free:?}"
        );
        assert_eq!(replica.acquire(ALICE, 1), decided(allow(1), false));
    }

    #[test]
    fn who_is_denied_here_is_told_when_to_come_back_and_never_at_once() {
        let mut replica = Replica::with(&[(ALICE, 0)]);
        let mut alice = replica.owned(ALICE);
        let denied = |wait| {
            let verdict = Verdict::deny(Decided::Local, Reason::Exhausted, Retry::After(wait));
            verdict
                .with_reset(Duration::from_millis(700))
                .with_limit(LimitId::FIRST)
        };
        // A denial ends on a whole tick of its cell.
        let until = Instant::from_nanos(1200 << 20);
        alice.deny(1, until);
        let verdict = denied(until.since(NOW) + ROUNDED_DOWN);
        assert_eq!(replica.acquire(ALICE, 1), decided(verdict, false));
        let requests = [(ALICE, 1), (BOB, 1)];
        let all = replica.path().acquire_all(&requests, None, NOW);
        assert_eq!(all, decided(verdict, false));

        let too_costly = replica.acquire(ALICE, 4_000_000_001);
        assert_eq!(too_costly, deny(Reason::TooCostly).counted_as_denied(false));

        let just_before = Instant::from_nanos(until.as_nanos() - 1);
        let path = replica.path();
        let Step::Decided { verdict, .. } = path.acquire(ALICE, 1, None, just_before) else {
            panic!("it is denied still");
        };
        let retry = verdict.denial().unwrap().retry;
        let soon = ROUNDED_DOWN + Duration::from_nanos(1);
        assert_eq!(retry, Retry::After(soon));
        assert!(soon >= RETRY_AFTER_MIN);
    }

    #[test]
    fn what_needs_no_tokens_is_decided_without_them() {
        let replica = Replica::with(&[(ALICE, 5)]);
        let nothing = Verdict::allow_unknown(Decided::Local);
        let long = [b'x'; SUBJECT_BYTES_MAX + 1];
        for (key, cost, expected) in [
            (BOB, 4_000_000_001, deny(Reason::TooCostly)),
            (key(&long), 1, deny(Reason::KeyTooLong)),
            (key(&long), 0, deny(Reason::KeyTooLong)),
            (key(&long[1..]), 1, Step::Undecided(())),
            (BOB, 0, Step::known(nothing.with_limit(LimitId::FIRST))),
            (ALICE, 0, Step::known(allow(5))),
        ] {
            assert_eq!(replica.acquire(key, cost), expected);
        }
        let path = replica.path();
        for reason in [Reason::ShutDown, Reason::Forked] {
            assert_eq!(path.acquire(BOB, 0, Some(reason), NOW), deny(reason));
            let denied = Step::known(denied_for_good(reason));
            assert_eq!(path.acquire_all(&[], Some(reason), NOW), denied);
        }
        let all = |closed| path.acquire_all(&[], closed, NOW);
        assert_eq!(all(None), Step::known(nothing));
        let requests = [(ALICE, 1), (BOB, 4_000_000_001)];
        assert_eq!(
            path.acquire_all(&requests, None, NOW),
            deny(Reason::TooCostly)
        );
        assert!(
            !replica.cache.requests().lacks(ALICE, 5, NOW),
            "nothing is spent"
        );
    }

    #[test]
    fn a_joint_request_sends_for_all_that_lacks_and_takes_all_at_once() {
        let mut replica = Replica::with(&[(ALICE, 5)]);
        let carol = key(b"carol");
        let requests = [(BOB, 2), (ALICE, 2), (carol, 1)];
        let mut joint = Joint::default();
        assert_eq!(
            replica.step(&mut joint, &requests),
            Step::Undecided(vec![0, 2])
        );
        assert!(
            !replica.cache.requests().lacks(ALICE, 5, NOW),
            "and holds nothing"
        );
        replica.lease(BOB, 2);
        assert_eq!(joint.handle_verdict(allow(2)), Heard::Wait);
        replica.lease(carol, 1);
        assert_eq!(joint.handle_verdict(allow(1)), Heard::TryAgain);
        let _ = replica.acquire(BOB, 1);
        assert_eq!(
            replica.step(&mut joint, &requests),
            Step::Undecided(vec![0]),
            "somebody was faster"
        );
        replica.lease(BOB, 1);
        assert_eq!(joint.handle_verdict(allow(2)), Heard::TryAgain);
        assert_eq!(
            replica.step(&mut joint, &requests),
            decided(allow(0), false)
        );
        assert!(replica.cache.requests().lacks(ALICE, 4, NOW));
    }

    /// It told of tokens of one limit and of the time of another, and of neither by name.
    #[test]
    fn of_several_limits_the_one_closest_to_exhaustion_is_told_of() {
        let mut replica = Replica::with(&[(ALICE, 5)]);
        let [small, large] = ["10/s burst 20", "1000/s burst 2000"].map(|it| it.parse().unwrap());
        replica.limits[0].limit = large;
        let mut limits = replica.limits.to_vec();
        limits.push(NamedLimit {
            limit: small,
            ..limits[0].clone()
        });
        let other = KeyRef {
            limit: LimitId(1),
            subject: b"all",
        };
        replica.lease(other, 9);
        let mut alice = replica.owned(ALICE);
        let path = RequestPath {
            limits: &limits,
            ..replica.path()
        };
        let told = |requests: &[(KeyRef<'_>, u32)]| match path.acquire_all(requests, None, NOW) {
            Step::Decided { verdict, .. } => (verdict.limit().unwrap(), verdict.held()),
            undecided @ Step::Undecided(_) => panic!("{undecided:?}"),
        };
        // 700 ms to go: 700 tokens of 2000 are used, and 7 of 20.
        assert_eq!(told(&[(ALICE, 1), (other, 1)]), (LimitId(1), 8));
        assert_eq!(told(&[(other, 1), (ALICE, 1)]), (LimitId(1), 7));
        alice.set_full_at(NOW + Duration::from_millis(1999));
        assert_eq!(told(&[(other, 1), (ALICE, 1)]), (LimitId(0), 2));
        alice.withdraw(0, NOW);
        alice.deny(1, LATER);
        let denied = path.acquire_all(&[(other, 1), (ALICE, 1)], None, NOW);
        assert!(
            matches!(denied, Step::Decided { verdict, .. } if verdict.limit() == Some(LimitId(0)))
        );
    }

    #[test]
    fn a_joint_request_that_waited_for_the_store_says_so() {
        for (heard, expected) in [
            ([Decided::Local, Decided::Local], Decided::Local),
            ([Decided::Store, Decided::Local], Decided::Store),
            ([Decided::Fallback, Decided::Store], Decided::Fallback),
        ] {
            let mut replica = Replica::with(&[]);
            let mut joint = Joint::default();
            let requests = [(ALICE, 1), (BOB, 1)];
            let _ = replica.step(&mut joint, &requests);
            for (decided, (key, cost)) in heard.into_iter().zip(requests) {
                replica.lease(key, cost);
                let _ = joint.handle_verdict(Verdict::allow(decided, 1, Duration::ZERO));
            }
            let verdict = allow(0).with_decided(expected);
            assert_eq!(replica.step(&mut joint, &requests), decided(verdict, false));
        }
    }

    #[test]
    fn one_denial_ends_a_joint_request() {
        let replica = Replica::with(&[]);
        let mut joint = Joint::default();
        let requests = [(ALICE, 1), (BOB, 1)];
        assert_eq!(
            replica.step(&mut joint, &requests),
            Step::Undecided(vec![0, 1])
        );
        let denied = Verdict::deny(Decided::Store, Reason::Exhausted, Retry::Never);
        assert_eq!(joint.handle_verdict(denied), Heard::Denied(denied));
    }

    #[test]
    fn what_no_lease_holds_cannot_be_had_under_several_limits() {
        let replica = Replica::with(&[(ALICE, 5)]);
        let mut joint = Joint::default();
        let requests = [(ALICE, 1), (BOB, COST_LEASED_MAX + 1)];
        assert_eq!(replica.step(&mut joint, &requests), deny(Reason::TooCostly));
        assert!(
            !replica.cache.requests().lacks(ALICE, 5, NOW),
            "nothing is spent"
        );
    }
}

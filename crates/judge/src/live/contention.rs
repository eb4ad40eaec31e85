//! False denials: requests that were denied although there was plenty.
//!
//! Compared one by one, the answers of two correct limiters differ on half of the requests under
//! overload, since each admits as many but not the same ones. So a denial is held against the
//! limiter only where there was no contention: where the ideal admitted the request, and had no
//! bucket of its keys short within a second of its arrival, before or after. A request that the
//! ideal denies makes those of its keys short that had no room for it; its others it says nothing
//! of.
//!
//! # Invariant
//!
//! The answer is that of the definition, though neither requests nor denials are kept. The ideal's
//! denials on a key form *episodes*, with more than a second between one and the next. A request
//! that met no contention when it came, comes between two episodes: the first denial after it
//! begins one. So an episode's beginning is all that must be known later.
//!
//! Kept are the episodes of the last minute and the candidates of the last second. Who waited for
//! more than half a minute has no false denial.

use std::collections::VecDeque;

use super::Arrived;

/// The ideal's denials, and the limiter's that may yet prove false.
#[derive(Debug, Default)]
pub(super) struct Contention {
    episodes: VecDeque<Episode>,
    /// The number of the oldest episode that is kept.
    oldest: u32,
    /// The number of the next one.
    next: u32,
    candidates: VecDeque<Candidate>,
    /// The keys of the candidates, in their order.
    slots: VecDeque<u32>,
    false_denials: u64,
}

/// A stretch in which the ideal kept denying requests of one key.
#[derive(Debug)]
struct Episode {
    first_ns: u64,
    last_ns: u64,
    /// The number of the key's episode before.
    previous: u32,
}

/// A denied request that had met no contention.
#[derive(Debug)]
struct Candidate {
    arrived_ns: u64,
    /// From then on a denial of the ideal is no longer near, nor will one come that is.
    settled_ns: u64,
    /// The number of the first episode that began after it came.
    episode: u32,
    keys: u32,
}

impl Contention {
    /// The number of the next episode.
    pub(super) fn next_episode(&self) -> u32 {
        self.next
    }

    /// Whether the ideal denied something, on a key with this latest episode, within a second
    /// before `now_ns`.
    pub(super) fn is_near(&self, episode: u32, now_ns: u64) -> bool {
        self.kept(episode)
            .is_some_and(|episode| now_ns - episode.last_ns <= NEAR_NS)
    }

    /// The ideal denies something on the key with this latest episode. Returns what is the latest
    /// afterwards.
    pub(super) fn deny(&mut self, latest: u32, now_ns: u64) -> u32 {
        let goes_on = |episode: &&mut Episode| {
            now_ns - episode.last_ns <= NEAR_NS && now_ns - episode.first_ns <= EPISODE_MOST_NS
        };
        if let Some(episode) = self.kept_mut(latest).filter(goes_on) {
            episode.last_ns = now_ns;
            return latest;
        }
        self.forget_older(now_ns);
        let number = self.next;
        assert!(
            number != NO_EPISODE,
            "fewer than 2^32 episodes: each takes a second of some key"
        );
        self.next += 1;
        self.episodes.push_back(Episode {
            first_ns: now_ns,
            last_ns: now_ns,
            previous: latest,
        });
        number
    }

    /// The limiter denies a request that the ideal admitted and that had met no contention.
    pub(super) fn suspect(
        &mut self,
        now_ns: u64,
        arrived: &Arrived,
        slots: impl Iterator<Item = u32>,
    ) {
        if now_ns - arrived.at_ns > WAIT_MOST_NS {
            return;
        }
        let before = self.slots.len();
        self.slots.extend(slots);
        let keys = self.slots.len() - before;
        self.candidates.push_back(Candidate {
            arrived_ns: arrived.at_ns,
            // In order of the verdicts, not of the arrivals: a queue will do.
            settled_ns: now_ns + NEAR_NS + 1,
            episode: arrived.episode,
            keys: u32::try_from(keys).expect("a request has a few demands"),
        });
    }

    /// Settles all candidates whose second is over by `now_ns`. `latest` names the latest episode
    /// of a key.
    pub(super) fn settle(&mut self, now_ns: u64, latest: impl Fn(u32) -> u32) {
        while let Some(candidate) = self.candidates.front()
            && candidate.settled_ns <= now_ns
        {
            let slots = self.slots.iter().take(candidate.keys as usize);
            let is_near = |&slot: &u32| {
                let denied_ns = self.first_since(latest(slot), candidate.episode);
                denied_ns.is_some_and(|denied_ns| denied_ns - candidate.arrived_ns <= NEAR_NS)
            };
            if !slots.into_iter().any(is_near) {
                self.false_denials += 1;
            }
            self.slots.drain(..candidate.keys as usize);
            self.candidates.pop_front();
        }
    }

    /// How many have proved false so far.
    pub(super) fn false_denials(&self) -> u64 {
        self.false_denials
    }

    /// When the first episode began that is no older than `since`, of a key with this latest one.
    fn first_since(&self, latest: u32, since: u32) -> Option<u64> {
        let mut number = latest;
        let mut first_ns = None;
        while let Some(episode) = self.kept(number)
            && number >= since
        {
            first_ns = Some(episode.first_ns);
            number = episode.previous;
        }
        first_ns
    }

    fn forget_older(&mut self, now_ns: u64) {
        while let Some(oldest) = self.episodes.front()
            && oldest.first_ns + KEPT_NS < now_ns
        {
            self.episodes.pop_front();
            self.oldest += 1;
        }
    }

    fn kept(&self, number: u32) -> Option<&Episode> {
        let place = number.checked_sub(self.oldest)?;
        self.episodes.get(place as usize)
    }

    fn kept_mut(&mut self, number: u32) -> Option<&mut Episode> {
        let place = number.checked_sub(self.oldest)?;
        self.episodes.get_mut(place as usize)
    }
}

/// No episode has this number.
pub(super) const NO_EPISODE: u32 = u32::MAX;

/// How far from contention a denial must be to count as false. Long against the intervals at which
/// replicas and store agree (milliseconds to tenths of a second), short against a run.
const NEAR_NS: u64 = 1_000_000_000;

/// The longest wait of a request that is judged here; bounds what must be kept.
const WAIT_MOST_NS: u64 = 30_000_000_000;

/// Then another episode begins, though the first goes on: that later ones can be forgotten in order
/// of their beginnings. It begins amid contention, so nobody's first denial.
const EPISODE_MOST_NS: u64 = 30_000_000_000;

/// Covers the longest wait with the second after it, and the longest episode with the second after.
const KEPT_NS: u64 = 64_000_000_000;

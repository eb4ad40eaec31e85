//! The judge of a run while it goes on.
//!
//! It sees requests arrive, tokens being taken and verdicts given, and compares with
//! what was promised ([`promise`](LimitFindings)) and with the ideal bucket, which answers the same
//! requests in the same order without delay.
//!
//! # Invariant
//!
//! Nothing is kept of a request once it is decided but counts; memory goes by the number of keys,
//! replicas and slices, and by what happens within a second.
//!
//! # Time
//!
//! The judge is called in order of time. It rounds all times down to the microsecond, because the
//! store reads its clock so: what the store counts as one instant is one instant here. Rounding
//! keeps the order, and what a store grants at its rounded time is taken at a rounded time no
//! earlier.
//!
//! # Several limits
//!
//! The ideal admits a request if all buckets of its demands have room, and then takes from all. A
//! request must not name one key of one limit twice.

mod admitted;
mod contention;
mod convergence;
mod fairness;
mod findings;
mod key;
mod promise;
mod series;
mod sliding;
#[cfg(test)]
mod tests;

use self::admitted::Admitted;
pub use self::admitted::Spend;
use self::contention::Contention;
pub use self::convergence::Convergence;
use self::convergence::Watch;
use self::fairness::Replicas;
pub use self::fairness::{Fairness, Starvation};
pub use self::findings::Findings;
use self::key::Key;
pub use self::promise::{LimitFindings, PeakSecond, WorstWindow};
use self::series::Slices;
pub use self::series::{Deficit, Series};
use std::ops::Range;

use crate::Demand;
use crate::limit::JudgedLimit;
use crate::tally::Volumes;

/// The setup of a judge: the limits, and from when on volumes count.
#[derive(Clone, Debug)]
pub struct JudgeSetup {
    /// The promises, limit by limit.
    pub limits: Vec<Promised>,
    /// How many replicas there will be at most; more cost a moment when they come.
    pub replicas_max: u32,
    /// The end of the warm-up: volumes count from here, safety always.
    pub measure_from_ns: u64,
    /// How long the slices of the series are; [`SLICE_NS`] if nothing speaks for another length.
    pub slice_ns: u64,
}

/// The promise of one limit.
#[derive(Clone, Debug)]
pub struct Promised {
    /// The numbers in force at the start.
    pub limit: JudgedLimit,
    /// The numbers that come into force later, in order; see [`Judge::change_limit`].
    pub later: Vec<JudgedLimit>,
    /// How many keys it has.
    pub keys: u32,
}

impl Promised {
    /// A limit whose numbers stay.
    pub const fn constant(limit: JudgedLimit, keys: u32) -> Self {
        Self {
            limit,
            later: Vec::new(),
            keys,
        }
    }
}

/// A limit as the ideal knows it.
#[derive(Debug)]
struct Rule {
    /// Its numbers now.
    limit: JudgedLimit,
    /// Its numbers later, the next one last.
    later: Vec<JudgedLimit>,
    /// Which places its keys have among those of all limits.
    slots: Range<u32>,
    /// Counts of the requests after the warm-up.
    volumes: Volumes,
}

impl Rule {
    /// Which place a key of it has among those of all limits.
    fn slot(&self, key: u32) -> u32 {
        let slot = self.slots.start + key;
        assert!(slot < self.slots.end, "the limit has no key {key}");
        slot
    }
}

/// How long a slice of the series usually is.
pub const SLICE_NS: u64 = 100_000_000;

/// Sees a run and says what to think of it.
#[derive(Debug)]
pub struct Judge {
    /// The current instant.
    now_ns: u64,
    measure_from_ns: u64,
    /// When the next slice, window or second ends.
    next_ns: u64,
    rules: Vec<Rule>,
    /// Those of the first limit, then those of the next.
    keys: Vec<Key>,
    /// Requests that arrived in the warm-up.
    warm_up: Volumes,
    /// Requests that arrived after it.
    measured: Volumes,
    disagreements: u64,
    first_denials: u64,
    deficit: Deficit,
    admitted: Admitted,
    contention: Contention,
    replicas: Replicas,
    watch: Watch,
    slices: Slices,
    /// When candidates for false denials are settled next.
    settle_ns: u64,
}

/// A note of a request's arrival, for the judge to have back when the request gets its verdict.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    at_ns: u64,
    tokens: u64,
    /// The number of the next episode of contention.
    episode: u32,
    is_ideal: bool,
    is_contended: bool,
    is_first: bool,
}

impl Arrived {
    /// Whether the ideal admitted it.
    pub fn ideal_admitted(&self) -> bool {
        self.is_ideal
    }
}

impl Judge {
    /// A run that begins at 0.
    ///
    /// # Panics
    ///
    /// If a slice is shorter than a microsecond, or there are 2^32 keys.
    pub fn new(setup: &JudgeSetup) -> Self {
        assert!(setup.slice_ns >= INSTANT_NS, "a slice has some length");
        let mut end = 0_u32;
        let rule = |promised: &Promised| {
            let start = end;
            end = end
                .checked_add(promised.keys)
                .expect("there are fewer than 2^32 keys");
            Rule {
                limit: promised.limit,
                later: promised.later.iter().rev().copied().collect(),
                slots: start..end,
                volumes: Volumes::default(),
            }
        };
        let rules: Vec<Rule> = setup.limits.iter().map(rule).collect();
        let promises = setup.limits.iter().map(|promised| {
            let later = promised.later.iter().copied();
            let numbers = [promised.limit].into_iter().chain(later);
            (numbers.collect(), promised.keys)
        });
        let mut judge = Self {
            now_ns: 0,
            measure_from_ns: setup.measure_from_ns,
            next_ns: 0,
            rules,
            keys: vec![Key::new(); end as usize],
            warm_up: Volumes::default(),
            measured: Volumes::default(),
            disagreements: 0,
            first_denials: 0,
            deficit: Deficit::default(),
            admitted: Admitted::new(promises),
            contention: Contention::default(),
            replicas: Replicas::new(setup.replicas_max, setup.measure_from_ns),
            watch: Watch::default(),
            slices: Slices::new(setup.slice_ns),
            settle_ns: SETTLE_NS,
        };
        judge.next_ns = judge.nearest_end();
        judge
    }

    /// A request arrives at a replica, and the ideal answers it. Hand back what this returns when
    /// it has its verdict.
    pub fn arrive(&mut self, at_ns: u64, replica: u32, demands: &[Demand]) -> Arrived {
        let now_ns = self.advance(at_ns);
        let mut arrived = Arrived {
            at_ns: now_ns,
            tokens: 0,
            episode: self.contention.next_episode(),
            is_ideal: true,
            is_contended: false,
            is_first: false,
        };
        let is_measured = now_ns >= self.measure_from_ns;
        // The compiler sees through one demand and keeps its key at hand.
        if let [demand] = demands {
            self.ask(demand, &mut arrived);
            self.answer(demand, arrived.is_ideal, is_measured);
        } else {
            for demand in demands {
                self.ask(demand, &mut arrived);
            }
            for demand in demands {
                self.answer(demand, arrived.is_ideal, is_measured);
            }
        }
        let volumes = self.volumes(is_measured);
        volumes.offered.count(arrived.tokens);
        if arrived.is_ideal {
            volumes.ideal_admitted.count(arrived.tokens);
        }
        self.replicas
            .arrive(now_ns, replica, arrived.tokens, arrived.is_ideal);
        arrived
    }

    /// A replica takes tokens that it holds, for a request that is told so at this instant.
    pub fn take(&mut self, at_ns: u64, demand: Demand) {
        let now_ns = self.advance(at_ns);
        self.rules[demand.limit as usize].slot(demand.key);
        self.admitted.take(now_ns, demand);
    }

    /// The store takes tokens by itself, at this instant. Say by [`settle`](Self::settle) what
    /// became of them: until then nothing that was taken later can be judged.
    pub fn spend(&mut self, at_ns: u64, demand: Demand) -> Spend {
        let now_ns = self.advance(at_ns);
        self.rules[demand.limit as usize].slot(demand.key);
        self.admitted.spend(now_ns, demand)
    }

    /// A caller has been told that its request is allowed by what the store spent; or nobody ever
    /// will be told, because the answer was lost, or came too late, or to a process that has ended.
    /// Then nothing was admitted. What is not settled when the run ends was admitted to nobody.
    ///
    /// # Panics
    ///
    /// If the spend has been settled before.
    pub fn settle(&mut self, spend: Spend, told: bool) {
        self.admitted.settle(spend, told);
    }

    /// A request has its verdict.
    pub fn decide(
        &mut self,
        at_ns: u64,
        arrived: Arrived,
        replica: u32,
        demands: &[Demand],
        allowed: bool,
    ) {
        let now_ns = self.advance(at_ns);
        let is_measured = arrived.at_ns >= self.measure_from_ns;
        self.volumes(is_measured).decide(allowed, arrived.tokens);
        if allowed {
            self.replicas.admit(replica, arrived.tokens);
        }
        if !is_measured {
            return;
        }
        for demand in demands {
            let volumes = &mut self.rules[demand.limit as usize].volumes;
            volumes.decide(allowed, demand.cost.into());
        }
        self.disagreements += u64::from(allowed != arrived.is_ideal);
        if !allowed {
            self.replicas.deny(now_ns, replica, arrived.at_ns);
            self.suspect(&arrived, demands);
        }
    }

    /// The next numbers of a limit come into force, which are `new`.
    ///
    /// The ideal adopts them at once, with what is in use carried over. A window is judged by the
    /// largest rate and the largest burst that were in force at any instant of it; see
    /// [`LimitFindings`].
    ///
    /// # Panics
    ///
    /// If [`Promised::later`] says otherwise.
    pub fn change_limit(&mut self, at_ns: u64, limit: u32, new: JudgedLimit) {
        let now_ns = self.advance(at_ns);
        let rule = &mut self.rules[limit as usize];
        assert_eq!(
            rule.later.pop(),
            Some(new),
            "the next numbers were promised"
        );
        let old = std::mem::replace(&mut rule.limit, new);
        for key in &mut self.keys[rule.slots.start as usize..rule.slots.end as usize] {
            key.drain(now_ns, old);
            key.change(old, new);
        }
        self.admitted.change(now_ns, limit);
    }

    /// Something happens after which the limiter must find its way again: a step of the load, the
    /// end of a fault.
    pub fn mark(&mut self, at_ns: u64) {
        let now_ns = self.advance(at_ns);
        let volumes = self.total();
        self.watch.mark(now_ns, &volumes);
        self.next_ns = self.nearest_end();
    }

    /// The run ends.
    pub fn finish(mut self, end_ns: u64) -> Findings {
        let end_ns = self.advance(end_ns);
        self.deficit.note(end_ns, self.measured.shortfall());
        // No later denial of the ideal will excuse any of the rest.
        self.settle_candidates(u64::MAX);
        let total = self.total();
        let (fairness, starvation) = self.replicas.finish();
        Findings {
            measure_from_ns: self.measure_from_ns,
            end_ns,
            total,
            measured: self.measured,
            utilisation: self.measured.utilisation(),
            deficit: self.deficit,
            limits: self
                .admitted
                .finish(self.rules.into_iter().map(|rule| rule.volumes).collect()),
            false_denials: self.contention.false_denials(),
            disagreements: self.disagreements,
            first_denials: self.first_denials,
            fairness,
            starvation,
            convergence: self.watch.finish(),
            series: self.slices.finish(end_ns, &total),
        }
    }

    /// Asks the ideal about one demand.
    #[inline]
    fn ask(&mut self, demand: &Demand, arrived: &mut Arrived) {
        let rule = &self.rules[demand.limit as usize];
        let key = &mut self.keys[rule.slot(demand.key) as usize];
        key.drain(arrived.at_ns, rule.limit);
        arrived.tokens += u64::from(demand.cost);
        arrived.is_ideal &= key.ideal.has_room(demand.cost.into(), rule.limit);
        arrived.is_contended |= self.contention.is_near(key.episode, arrived.at_ns);
        arrived.is_first |= !key.is_known;
        key.is_known = true;
    }

    /// The ideal does for one demand what it has decided on the request.
    #[inline]
    fn answer(&mut self, demand: &Demand, is_ideal: bool, is_measured: bool) {
        let rule = &mut self.rules[demand.limit as usize];
        let key = &mut self.keys[rule.slot(demand.key) as usize];
        let cost = u64::from(demand.cost);
        if is_ideal {
            key.ideal.add(cost, rule.limit);
        } else if !key.ideal.has_room(cost, rule.limit) {
            key.episode = self.contention.deny(key.episode, self.now_ns);
        }
        if is_measured {
            rule.volumes.offered.count(cost);
            if is_ideal {
                rule.volumes.ideal_admitted.count(cost);
            }
        }
    }

    /// The limiter has just denied this.
    fn suspect(&mut self, arrived: &Arrived, demands: &[Demand]) {
        if !arrived.is_ideal {
            return;
        }
        self.first_denials += u64::from(arrived.is_first);
        if !arrived.is_contended {
            let slot = |demand: &Demand| self.rules[demand.limit as usize].slot(demand.key);
            let slots = demands.iter().map(slot);
            self.contention.suspect(self.now_ns, arrived, slots);
        }
    }

    /// Moves on to an instant, closing what ends before it. Returns it.
    #[inline]
    fn advance(&mut self, at_ns: u64) -> u64 {
        let now_ns = at_ns - at_ns % INSTANT_NS;
        if now_ns != self.now_ns {
            assert!(now_ns > self.now_ns, "the judge is called in order of time");
            self.deficit.note(self.now_ns, self.measured.shortfall());
            while self.next_ns <= now_ns {
                self.close();
            }
            self.now_ns = now_ns;
        }
        now_ns
    }

    /// Closes what ends next. Nothing of the instant at which it ends has been seen yet.
    #[cold]
    fn close(&mut self) {
        let end_ns = self.next_ns;
        let total = self.total();
        if self.slices.next_ns() == end_ns {
            self.slices.close(&total);
        }
        if self.replicas.next_ns() == end_ns {
            self.replicas.close(total.ideal_admitted.tokens);
        }
        if self.watch.next_ns() == end_ns {
            let limits = self.rules.iter().map(|rule| rule.limit);
            self.watch.close(end_ns, &total, limits);
        }
        if self.settle_ns == end_ns {
            self.settle_ns += SETTLE_NS;
            self.settle_candidates(end_ns);
        }
        self.next_ns = self.nearest_end();
    }

    fn nearest_end(&self) -> u64 {
        let windows = self.replicas.next_ns().min(self.watch.next_ns());
        self.slices.next_ns().min(windows).min(self.settle_ns)
    }

    fn settle_candidates(&mut self, now_ns: u64) {
        let latest = |slot: u32| self.keys[slot as usize].episode;
        self.contention.settle(now_ns, latest);
    }

    fn volumes(&mut self, is_measured: bool) -> &mut Volumes {
        if is_measured {
            &mut self.measured
        } else {
            &mut self.warm_up
        }
    }

    fn total(&self) -> Volumes {
        self.warm_up + self.measured
    }
}

/// The store's clock counts microseconds.
const INSTANT_NS: u64 = 1000;

/// How often candidates for false denials are settled: bounds how many wait longer than they must.
const SETTLE_NS: u64 = 100_000_000;

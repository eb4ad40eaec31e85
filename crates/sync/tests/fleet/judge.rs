//! What came of the requests, held against the limit and against one ideal bucket per key.
//!
//! All in exact integers and independent of the code under test: a token weighs the period of the
//! rate in microseconds, and each microsecond drains the rate's tokens. Times are rounded down to
//! the microsecond, which is how a store reads its clock.

use leasehold_core::{Limit, Reason};

/// One request, from its arrival to what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) key: u32,
    pub(crate) cost: u32,
    pub(crate) at_ns: u64,
    pub(crate) outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Nobody has answered yet. Once the budget is spent that is a denial.
    Waiting,
    /// Allowed from tokens or denied by a denial that was there.
    Local {
        /// Whether it was allowed.
        allowed: bool,
    },
    /// Allowed after a wait.
    Allowed {
        /// When its tokens were taken: by the replica from a lease, or by the store.
        admitted_ns: u64,
        /// When it heard.
        heard_ns: u64,
    },
    /// Denied after a wait.
    Denied {
        /// Why.
        reason: Reason,
        /// When it heard.
        heard_ns: u64,
    },
}

impl Request {
    /// When tokens were taken for it, if they were.
    pub(crate) fn admitted_ns(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Local { allowed: true } => Some(self.at_ns),
            Outcome::Allowed { admitted_ns, .. } => Some(admitted_ns),
            _ => None,
        }
    }
}

/// The judgement of a run. Tokens unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Judgement {
    pub(crate) requests: u64,
    /// Requests decided on the spot.
    pub(crate) local: u64,
    pub(crate) admitted: u64,
    /// What one bucket would have admitted.
    pub(crate) ideal: u64,
    /// Beyond the limit in the worst window of the worst key, rounded up.
    pub(crate) overshoot: u64,
    /// Requests denied while the ideal bucket of their key denied nothing for a second around.
    pub(crate) false_denials: u64,
    /// Requests denied before the ideal bucket of their key denied any.
    pub(crate) early_denials: u64,
}

/// Judges requests in order of their arrival.
pub(crate) fn judge(requests: &[Request], limit: &Limit) -> Judgement {
    let mut by_key: Vec<&Request> = requests.iter().collect();
    by_key.sort_by_key(|request| request.key);
    let mut sum = Judgement::default();
    for of_key in by_key.chunk_by(|a, b| a.key == b.key) {
        judge_key(of_key, limit, &mut sum);
    }
    sum
}

fn judge_key(requests: &[&Request], limit: &Limit, sum: &mut Judgement) {
    sum.requests += requests.len() as u64;
    let local = |request: &&&Request| matches!(request.outcome, Outcome::Local { .. });
    sum.local += requests.iter().filter(local).count() as u64;

    let mut admissions: Vec<(u64, u32)> = requests
        .iter()
        .filter_map(|request| Some((request.admitted_ns()?, request.cost)))
        .collect();
    admissions.sort_unstable();
    sum.admitted += admissions
        .iter()
        .map(|(_, cost)| u64::from(*cost))
        .sum::<u64>();
    sum.overshoot = sum.overshoot.max(overshoot(&admissions, limit));

    let mut ideal = Queue::new(limit);
    let mut ideal_denials = Vec::new();
    for request in requests {
        ideal.drain(request.at_ns);
        if ideal.level + ideal.weight(request.cost) <= ideal.room {
            ideal.level += ideal.weight(request.cost);
            sum.ideal += u64::from(request.cost);
        } else {
            ideal_denials.push(request.at_ns);
        }
    }
    for request in requests
        .iter()
        .filter(|request| request.admitted_ns().is_none())
    {
        let nearby = request.at_ns.saturating_sub(SECOND)..=request.at_ns + SECOND;
        let first = ideal_denials.partition_point(|at| at < nearby.start());
        let justified = ideal_denials
            .get(first)
            .is_some_and(|at| nearby.contains(at));
        sum.false_denials += u64::from(!justified);
        let early = ideal_denials
            .first()
            .is_none_or(|first| request.at_ns < *first);
        sum.early_denials += u64::from(early);
    }
}

/// By how many tokens the worst window of these admissions exceeds the limit: the highest level
/// of a queue that they fill and the rate drains, beyond the burst.
pub(crate) fn overshoot(admissions: &[(u64, u32)], limit: &Limit) -> u64 {
    let mut queue = Queue::new(limit);
    let mut highest = 0;
    for (at_ns, cost) in admissions {
        queue.drain(*at_ns);
        queue.level += queue.weight(*cost);
        highest = highest.max(queue.level);
    }
    let beyond = highest.saturating_sub(queue.room);
    u64::try_from(beyond.div_ceil(queue.period)).expect("no more than were admitted")
}

struct Queue {
    level: u128,
    at_us: u64,
    room: u128,
    period: u128,
    tokens: u128,
}

impl Queue {
    fn new(limit: &Limit) -> Self {
        let period = u128::from(limit.rate().period.0);
        Self {
            level: 0,
            at_us: 0,
            room: u128::from(limit.burst()) * period,
            period,
            tokens: u128::from(limit.rate().tokens),
        }
    }

    fn weight(&self, cost: u32) -> u128 {
        u128::from(cost) * self.period
    }

    fn drain(&mut self, now_ns: u64) {
        let micros = now_ns / 1000;
        let elapsed = u128::from(micros - self.at_us);
        self.level = self.level.saturating_sub(elapsed * self.tokens);
        self.at_us = micros;
    }
}

pub(crate) const SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn limit() -> Limit {
        "10/s burst 2".parse().unwrap()
    }

    fn request(at_millis: u64, allowed: bool) -> Request {
        Request {
            key: 0,
            cost: 1,
            at_ns: at_millis * 1_000_000,
            outcome: Outcome::Local { allowed },
        }
    }

    #[test]
    fn one_token_too_many_or_too_soon_is_an_overshoot() {
        let at = |millis: &[u64]| -> Vec<(u64, u32)> {
            millis
                .iter()
                .map(|millis| (millis * 1_000_000, 1))
                .collect()
        };
        assert_eq!(overshoot(&at(&[5, 5, 105, 205]), &limit()), 0);
        assert_eq!(
            overshoot(&at(&[5, 5, 104]), &limit()),
            1,
            "a millisecond early"
        );
        assert_eq!(overshoot(&at(&[5, 5, 5, 5]), &limit()), 2);
    }

    #[test]
    fn a_denial_is_false_where_one_bucket_denied_nothing() {
        let requests = [
            request(0, false),
            request(2000, true),
            request(2000, true),
            request(2000, false),
            request(2900, false),
            request(4000, false),
        ];
        let judged = judge(&requests, &limit());
        assert_eq!((judged.admitted, judged.ideal), (2, 5));
        assert_eq!(judged.false_denials, 2, "the first and the last");
        assert_eq!(judged.early_denials, 1);
    }
}

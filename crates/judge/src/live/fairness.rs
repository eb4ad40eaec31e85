//! Fairness: the part of its fair share that each replica got.
//!
//! Per second: the tokens that the ideal admitted are shared out among the replicas by max-min,
//! what fills the smallest demands first (water-filling), and what each was admitted is taken
//! relative to its share. Jain's index of these, `(sum x)^2 / (n * sum x^2)`, is 1 if all are
//! treated alike and `1/n` if one gets everything. Seconds in which nobody got anything, or in
//! which the ideal admitted nothing, say nothing of fairness and are left out; so is the last one
//! if it is not whole.
//!
//! **Starvation**: how long a replica asked in vain while the ideal admitted somebody. From the
//! arrival of the first of a row of denied requests of one replica to the verdict of the latest,
//! if the ideal admitted anything meanwhile.

use serde::Serialize;

/// How alike replicas were treated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fairness {
    /// Seconds that were looked at.
    pub windows: u64,
    /// The mean of Jain's index over them.
    pub jain_mean: f64,
    /// Its 5th percentile: in one second of twenty it was no higher.
    pub jain_low: f64,
}

/// The longest time that a replica asked in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Starvation {
    /// How long.
    pub longest_ns: u64,
    /// Which replica; the first of several.
    pub replica: u32,
    /// When its latest denial was.
    pub end_ns: u64,
}

/// All replicas, in the window that is open.
#[derive(Debug)]
pub(super) struct Replicas {
    each: Vec<Replica>,
    jain: Vec<f64>,
    starvation: Option<Starvation>,
    /// When the open window closes.
    next_ns: u64,
    /// Whether it counts: the one before the measurement begins does not.
    counts: bool,
    /// Tokens the ideal had admitted when it opened.
    ideal_before: u64,
    /// When the ideal last admitted anything.
    ideal_admitted_ns: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Replica {
    /// Tokens asked for in the open window.
    demand: u64,
    /// Tokens admitted in it.
    admitted: u64,
    /// When the first arrived of the requests denied since one was admitted.
    denied_since_ns: Option<u64>,
}

impl Replicas {
    /// Windows begin at `measure_from_ns`.
    pub(super) fn new(replicas: u32, measure_from_ns: u64) -> Self {
        let counts = measure_from_ns == 0;
        Self {
            each: vec![Replica::default(); replicas as usize],
            jain: Vec::new(),
            starvation: None,
            next_ns: if counts { WINDOW_NS } else { measure_from_ns },
            counts,
            ideal_before: 0,
            ideal_admitted_ns: None,
        }
    }

    /// A request arrives.
    pub(super) fn arrive(&mut self, now_ns: u64, replica: u32, tokens: u64, ideal_admits: bool) {
        if ideal_admits {
            self.ideal_admitted_ns = Some(now_ns);
        }
        self.replica(replica).demand += tokens;
    }

    /// A request is admitted.
    pub(super) fn admit(&mut self, replica: u32, tokens: u64) {
        let replica = self.replica(replica);
        replica.admitted += tokens;
        replica.denied_since_ns = None;
    }

    /// A request is denied.
    pub(super) fn deny(&mut self, now_ns: u64, replica: u32, arrived_ns: u64) {
        let since = &mut self.replica(replica).denied_since_ns;
        let since_ns = *since.get_or_insert(arrived_ns);
        let longest_ns = now_ns.saturating_sub(since_ns);
        let is_longest = longest_ns > self.starvation.map_or(0, |longest| longest.longest_ns);
        let in_vain = self.ideal_admitted_ns.is_some_and(|at| at >= since_ns);
        if is_longest && in_vain {
            self.starvation = Some(Starvation {
                longest_ns,
                replica,
                end_ns: now_ns,
            });
        }
    }

    /// When the open window closes.
    pub(super) fn next_ns(&self) -> u64 {
        self.next_ns
    }

    /// Closes the window; the ideal has admitted so many tokens since the run began.
    pub(super) fn close(&mut self, ideal_admitted: u64) {
        let ideal = ideal_admitted - self.ideal_before;
        if self.counts {
            self.jain.extend(self.jain_of_window(ideal));
        }
        for replica in &mut self.each {
            (replica.demand, replica.admitted) = (0, 0);
        }
        self.ideal_before = ideal_admitted;
        self.counts = true;
        self.next_ns += WINDOW_NS;
    }

    /// The findings in the end.
    #[expect(clippy::cast_precision_loss, reason = "a mean for display")]
    pub(super) fn finish(mut self) -> (Option<Fairness>, Option<Starvation>) {
        self.jain.sort_by(f64::total_cmp);
        let windows = self.jain.len();
        let fairness = (windows > 0).then(|| Fairness {
            windows: windows as u64,
            jain_mean: self.jain.iter().sum::<f64>() / windows as f64,
            jain_low: self.jain[(windows.div_ceil(20)) - 1],
        });
        (fairness, self.starvation)
    }

    #[expect(clippy::cast_precision_loss, reason = "a second's tokens are few")]
    fn jain_of_window(&self, ideal: u64) -> Option<f64> {
        let asking = self.each.iter().filter(|replica| replica.demand > 0);
        let mut demands: Vec<u64> = asking.clone().map(|replica| replica.demand).collect();
        let level = water_level(&mut demands, ideal);
        if level <= 0.0 {
            return None;
        }
        jain(asking.map(|replica| replica.admitted as f64 / level.min(replica.demand as f64)))
    }

    /// Grows if there are more than was said.
    fn replica(&mut self, replica: u32) -> &mut Replica {
        let place = replica as usize;
        if place >= self.each.len() {
            self.each.resize(place + 1, Replica::default());
        }
        &mut self.each[place]
    }
}

/// The level up to which all demands are filled if `capacity` is poured over them: each gets its
/// demand or the level, whichever is less. Infinite if there is enough for all.
#[expect(clippy::cast_precision_loss, reason = "a second's tokens are few")]
fn water_level(demands: &mut [u64], capacity: u64) -> f64 {
    demands.sort_unstable();
    let mut left = capacity;
    for (place, &demand) in demands.iter().enumerate() {
        let unfilled = (demands.len() - place) as u64;
        if u128::from(demand) * u128::from(unfilled) > u128::from(left) {
            return left as f64 / unfilled as f64;
        }
        left -= demand;
    }
    f64::INFINITY
}

/// Jain's index; `None` if nobody has anything.
fn jain(amounts: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for amount in amounts {
        count += 1.0;
        sum += amount;
        squares += amount * amount;
    }
    (squares > 0.0).then(|| sum * sum / (count * squares))
}

const WINDOW_NS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn water_fills_the_small_demands_first() {
        let level = |demands: &[u64], capacity| water_level(&mut demands.to_vec(), capacity);
        // 2 and 4 are filled; 14 are left for the two large ones.
        assert!(near(level(&[50, 2, 10, 4], 20), 7.0));
        assert!(near(level(&[10, 10], 10), 5.0));
        assert!(near(level(&[1, 10], 11), f64::INFINITY) || level(&[1, 10], 11).is_infinite());
        assert!(level(&[1, 10], 10).is_finite());
        assert!(near(level(&[3], 0), 0.0));
        assert!(level(&[], 5).is_infinite());
    }

    #[test]
    fn jain_is_one_for_alike_and_one_over_n_for_all_to_one() {
        assert!(near(jain([3.0, 3.0, 3.0].into_iter()).unwrap(), 1.0));
        assert!(near(jain([0.0, 5.0, 0.0, 0.0].into_iter()).unwrap(), 0.25));
        assert_eq!(jain([0.0, 0.0].into_iter()), None);
    }

    #[test]
    fn shares_go_by_demand_not_by_number() {
        let mut replicas = Replicas::new(2, 0);
        // The ideal admits 100: the small demand of 20 is filled, the large one gets 80.
        replicas.arrive(0, 0, 300, true);
        replicas.arrive(0, 1, 20, true);
        replicas.admit(0, 80);
        replicas.admit(1, 20);
        replicas.close(100);
        // Now the small one gets half of its share.
        replicas.arrive(1, 0, 300, true);
        replicas.arrive(1, 1, 20, true);
        replicas.admit(0, 80);
        replicas.admit(1, 10);
        replicas.close(200);
        let fairness = replicas.finish().0.unwrap();
        let unfair = 1.5 * 1.5 / (2.0 * 1.25);
        assert_eq!(fairness.windows, 2);
        assert!(near(fairness.jain_mean, f64::midpoint(1.0, unfair)));
        assert!(near(fairness.jain_low, unfair));
    }

    #[test]
    fn the_low_end_is_one_window_of_twenty() {
        let mut replicas = Replicas::new(2, 0);
        for second in 0..40 {
            replicas.arrive(0, 0, 10, true);
            replicas.arrive(0, 1, 10, true);
            replicas.admit(0, 10);
            replicas.admit(1, if second < 2 { 0 } else { 10 });
            replicas.close(20 * (second + 1));
        }
        assert!(near(replicas.finish().0.unwrap().jain_low, 0.5));
    }

    #[test]
    fn what_comes_before_the_measurement_does_not_count() {
        let mut replicas = Replicas::new(2, 5 * WINDOW_NS);
        assert_eq!(replicas.next_ns(), 5 * WINDOW_NS);
        replicas.arrive(0, 0, 10, true);
        replicas.arrive(0, 1, 10, true);
        replicas.admit(0, 10);
        replicas.close(10);
        assert_eq!(replicas.next_ns(), 6 * WINDOW_NS);
        replicas.arrive(0, 0, 10, true);
        replicas.admit(0, 10);
        replicas.close(20);
        let fairness = replicas.finish().0.unwrap();
        assert_eq!(fairness.windows, 1);
        assert!(near(fairness.jain_mean, 1.0));
    }

    #[test]
    fn a_replica_starves_only_while_the_ideal_admits_somebody() {
        let mut replicas = Replicas::new(1, 0);
        replicas.arrive(5, 0, 1, true);
        replicas.arrive(10, 0, 1, false);
        replicas.deny(12, 0, 10);
        replicas.arrive(50, 0, 1, false);
        replicas.deny(50, 0, 50);
        assert_eq!(replicas.starvation, None, "the ideal admitted before only");
        // Another replica, which is not known yet.
        replicas.arrive(60, 7, 1, true);
        replicas.admit(7, 1);
        replicas.arrive(90, 0, 1, false);
        replicas.deny(91, 0, 90);
        let starved = Starvation {
            longest_ns: 81,
            replica: 0,
            end_ns: 91,
        };
        assert_eq!(replicas.starvation, Some(starved));
        replicas.admit(0, 1);
        replicas.deny(140, 0, 100);
        replicas.deny(180, 0, 180);
        assert_eq!(replicas.finish().1, Some(starved), "a shorter row");
    }
}

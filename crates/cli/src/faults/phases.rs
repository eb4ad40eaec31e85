//! The time of a run, cut by its fault: what was used of the limit in each part, and when it was
//! used in full again.

use std::ops::Range;
use std::time::Duration;

use leasehold_judge::JudgedLimit;
use leasehold_judge::record::Record;
use leasehold_sim::numbers::float;

/// Instants on the machine's clock.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "the unit")]
pub(crate) struct Phases {
    /// The load has been on for a while.
    pub(crate) warm_ns: u64,
    /// The fault began,
    pub(crate) begin_ns: u64,
    /// ended,
    pub(crate) end_ns: u64,
    /// and then the load.
    pub(crate) stop_ns: u64,
}

impl Phases {
    pub(crate) fn before(&self) -> Range<u64> {
        self.warm_ns..self.begin_ns
    }

    pub(crate) fn during(&self) -> Range<u64> {
        self.begin_ns..self.end_ns
    }

    pub(crate) fn after(&self) -> Range<u64> {
        self.end_ns..self.stop_ns
    }
}

/// Tokens admitted over those that the ideal bucket admits of the same requests, of those that came
/// within `phase`. None if there is too little to tell.
///
/// `requests` are of one key, each with the ideal's answer.
pub(crate) fn utilisation(requests: &[(Record, bool)], phase: &Range<u64>) -> Option<f64> {
    if phase.end.saturating_sub(phase.start) < TELLING_NS {
        return None;
    }
    let within = requests
        .iter()
        .filter(|(record, _)| phase.contains(&record.start_ns));
    let (mut admitted, mut ideal) = (0, 0);
    for (record, ideally) in within {
        admitted += if record.admitted { record.cost } else { 0 };
        ideal += if *ideally { record.cost } else { 0 };
    }
    (ideal > 0).then(|| f64::from(admitted) / f64::from(ideal))
}

/// How long after `phase` began the limit was used in full again: the start of the first half
/// second in which no less than [`IN_FULL`] of what its rate yields was admitted. None if there is
/// none.
///
/// Half a second averages over some dozen renewals of a lease. `admitted` are the instants of
/// admissions of one key, one token each, in order.
pub(crate) fn recovery(
    admitted: &[u64],
    limit: JudgedLimit,
    phase: &Range<u64>,
) -> Option<Duration> {
    let last = phase.end.checked_sub(WINDOW_NS)?;
    let in_full = full_window(limit);
    let starts = (phase.start..=last).step_by(STEP_NS);
    let until = |at| admitted.partition_point(|&instant| instant < at);
    let mut starts =
        starts.filter(|&at| float((until(at + WINDOW_NS) - until(at)) as u64) >= in_full);
    let first = starts.next()?;
    Some(Duration::from_nanos(first - phase.start))
}

/// Tokens in a window that count as full use of the limit.
fn full_window(limit: JudgedLimit) -> f64 {
    let yielded = float(limit.tokens) / float(limit.per_ns) * float(WINDOW_NS);
    yielded * IN_FULL
}

/// Part of the limit that counts as all of it.
pub(crate) const IN_FULL: f64 = 0.98;

const WINDOW_NS: u64 = 500_000_000;
const STEP_NS: usize = 10_000_000;

/// Shorter phases hold too few renewals of leases for a share to say much.
const TELLING_NS: u64 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn limit() -> JudgedLimit {
        JudgedLimit::new(1000, 1_000_000_000, 100).unwrap()
    }

    fn request(start_ns: u64, admitted: bool, ideally: bool) -> (Record, bool) {
        let record = Record {
            start_ns,
            end_ns: start_ns,
            replica: 0,
            key: 0,
            cost: 1,
            admitted,
        };
        (record, ideally)
    }

    /// An admission each millisecond, but for a gap.
    fn admitted_but(gap: Range<u64>) -> Vec<u64> {
        (0..5000)
            .filter(|ms| !gap.contains(ms))
            .map(|ms| ms * MS)
            .collect()
    }

    #[test]
    fn each_phase_counts_its_own_requests() {
        let phases = Phases {
            warm_ns: 1000 * MS,
            begin_ns: 2000 * MS,
            end_ns: 3000 * MS,
            stop_ns: 4000 * MS,
        };
        let requests: Vec<_> = (0..5000)
            .map(|ms| request(ms * MS, !(2000..2750).contains(&ms), true))
            .collect();
        let used = |phase| utilisation(&requests, &phase);
        assert_eq!(used(phases.before()), Some(1.0));
        assert_eq!(used(phases.during()), Some(0.25));
        assert_eq!(used(phases.after()), Some(1.0));
        assert_eq!(used(5000 * MS..6000 * MS), None, "nothing came");
        assert_eq!(used(2000 * MS..2001 * MS), None, "too short to tell");
    }

    #[test]
    fn recovery_is_the_start_of_the_first_full_half_second() {
        let after = 2000 * MS..5000 * MS;
        let recovers = |gap| recovery(&admitted_but(gap), limit(), &after);
        assert_eq!(recovers(0..0), Some(Duration::ZERO));
        assert_eq!(recovers(1500..2000), Some(Duration::ZERO));
        // 490 of 500 are enough.
        assert_eq!(recovers(1500..2800), Some(Duration::from_millis(790)));
        assert_eq!(recovers(1500..4900), None);
        let too_short = recovery(&admitted_but(0..0), limit(), &(0..400 * MS));
        assert_eq!(too_short, None);
    }

    #[test]
    fn a_little_less_than_the_limit_is_not_all_of_it() {
        let sparse: Vec<u64> = (0..5000)
            .filter(|ms| ms % 20 != 0)
            .map(|ms| ms * MS)
            .collect();
        assert_eq!(recovery(&sparse, limit(), &(0..5000 * MS)), None);
    }
}

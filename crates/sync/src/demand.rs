//! The demand for one key at this replica, allowed or denied, and the typical cost of a request.

use std::time::Duration;

use leasehold_core::{Demand, Instant, Limit};

use crate::demand_meter::DemandMeter;
use crate::plan::{Outlook, Supply};
use crate::typical_cost::TypicalCost;

/// The demand of this moment, and the demand over the longest time that a key stays away from a
/// bucket that runs short. A single request now tells nothing about the next seconds.
#[derive(Debug)]
pub(crate) struct KeyDemand {
    fast: DemandMeter,
    slow: DemandMeter,
    cost: TypicalCost,
}

impl KeyDemand {
    /// No demand yet. The longer time constant is for a bucket that runs short.
    pub(crate) fn new(time_constant: Duration, longer: Duration, now: Instant) -> Self {
        Self {
            fast: DemandMeter::new(time_constant, now),
            slow: DemandMeter::new(longer, now),
            cost: TypicalCost::default(),
        }
    }

    /// A request for `cost` tokens has reached the sync task.
    pub(crate) fn handle_request(&mut self, cost: u32) {
        self.cost.observe(cost);
    }

    /// Counts `tokens` that were asked for since the last look.
    pub(crate) fn observe(&mut self, tokens: u64, now: Instant) {
        self.fast.observe(tokens, now);
        self.slow.observe(tokens, now);
    }

    /// The rate to expect over the time that a plan is made for, and the cost of a request.
    pub(crate) fn outlook(&self, supply: Supply) -> Outlook {
        Outlook {
            rate: self.meter(supply).rate(),
            cost: self.cost.tokens(),
        }
    }

    /// The demand as the store is told of it.
    pub(crate) fn report(&self, supply: Supply, limit: &Limit) -> Demand {
        self.meter(supply).report(limit)
    }

    fn meter(&self, supply: Supply) -> &DemandMeter {
        match supply {
            Supply::Exhausted => &self.slow,
            Supply::Ample | Supply::Tight => &self.fast,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_that_runs_short_is_planned_for_by_the_demand_of_seconds() {
        let at = |millis| Instant::from_millis(millis);
        let (short, long) = (Duration::from_millis(50), Duration::from_secs(5));
        let mut demand = KeyDemand::new(short, long, at(1000));
        demand.handle_request(3);
        demand.observe(100, at(1050));
        let rate = |supply| demand.outlook(supply).rate;
        assert!(rate(Supply::Ample) > 900.0);
        assert!(rate(Supply::Exhausted) < 20.0);
        assert!((demand.outlook(Supply::Tight).cost - 3.0).abs() < 1e-9);
        let limit: Limit = "100/s".parse().unwrap();
        let told = |supply| demand.report(supply, &limit);
        assert!(told(Supply::Exhausted) < told(Supply::Ample));
    }
}

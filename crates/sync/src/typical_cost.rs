//! The typical cost of a request of one key, so that tokens can be counted as requests.
//!
//! The background task does not see all requests: requests that a lease serves pass it by, and
//! costly requests find the lease short more often. So a request that costs less than is typical
//! counts in full at once, and one that costs more counts a little.

use crate::demand_meter::as_float;

/// At least 1: of a key that nobody has come for, 1.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TypicalCost(Option<f64>);

impl TypicalCost {
    /// Somebody came for `cost` tokens.
    pub(crate) fn observe(&mut self, cost: u32) {
        let cost = as_float(u64::from(cost.max(1)));
        let typical = self
            .0
            .map_or(cost, |typical| typical + (cost - typical) / SLOWLY);
        self.0 = Some(typical.min(cost));
    }

    pub(crate) fn tokens(self) -> f64 {
        self.0.unwrap_or(1.0)
    }
}

/// As many dear requests in a row as go most of the way.
const SLOWLY: f64 = 8.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cheap_request_counts_at_once_and_dear_ones_a_little_each() {
        let mut cost = TypicalCost::default();
        let tokens = |cost: TypicalCost| format!("{:.0}", cost.tokens());
        assert_eq!(tokens(cost), "1");
        cost.observe(100);
        assert_eq!(tokens(cost), "100");
        cost.observe(4);
        assert_eq!(tokens(cost), "4");
        cost.observe(100);
        assert_eq!(tokens(cost), "16");
        for _ in 0..50 {
            cost.observe(100);
        }
        assert_eq!(tokens(cost), "100");
    }
}

//! When a client of a closed load sends its next request.
//!
//! # Invariant
//!
//! No later request makes up for one that came late: a client that was kept waiting goes on from
//! where it is. So clients never send faster than their pace.

use rand::RngExt;
use rand_distr::Exp1;

use super::config::{AimdConfig, ClientsConfig, Think};
use crate::numbers::whole;
use crate::stream::Stream;
use crate::units::Span;

/// The pace of all clients of a load.
#[derive(Debug)]
pub(super) enum Pace {
    Think(Think),
    Want {
        period_ns: u64,
    },
    Aimd {
        config: AimdConfig,
        flows: Vec<Flow>,
    },
}

/// A client that feels its way.
///
/// Its rate grows in a straight line. It sends when the rate since its last request has summed up
/// to one: so a rate that has fallen close to nothing soon sends again.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// Per second, as of `as_of_ns`.
    rate: f64,
    /// The part of the next request that has not come up yet.
    owed: f64,
    as_of_ns: u64,
    /// When a denial last counted.
    fell_ns: Option<u64>,
}

impl Pace {
    /// The pace of a closed load; `None` if requests come from outside.
    pub(super) fn new(config: &ClientsConfig) -> Option<Self> {
        let population = config.population() as usize;
        if let Some(think) = config.think {
            return Some(Self::Think(think));
        }
        if let Some(want) = config.want {
            let period_ns = nanos(1.0 / want.0);
            return Some(Self::Want { period_ns });
        }
        config.aimd.map(|config| Self::Aimd {
            flows: vec![Flow::new(&config); population],
            config,
        })
    }

    /// When a client sends its first request: somewhere in the time from one to the next, or all
    /// would be in step for ever.
    pub(super) fn first(&mut self, client: u32, chance: &mut Stream) -> u64 {
        match self {
            Self::Think(think @ Think::Exponential(_)) => pause(*think, chance),
            Self::Think(Think::Fixed(time)) => chance.random_range(0..time.0),
            Self::Want { period_ns } => chance.random_range(0..*period_ns),
            Self::Aimd { config, flows } => {
                let flow = &mut flows[client as usize];
                flow.owed = chance.random();
                flow.due_in(config)
            }
        }
    }

    /// A client sends. What it tries again is of no matter to its pace: who feels the way does
    /// not try again.
    pub(super) fn sent(&mut self, client: u32, at_ns: u64) {
        if let Self::Aimd { config, flows } = self {
            let flow = &mut flows[client as usize];
            flow.go_on(config, at_ns);
            flow.owed = 1.0;
        }
    }

    /// When a client sends its next request, after one that it sent first at `first_at_ns` and is
    /// done with now.
    pub(super) fn next(
        &mut self,
        client: u32,
        first_at_ns: u64,
        allowed: bool,
        now_ns: u64,
        chance: &mut Stream,
    ) -> u64 {
        match self {
            Self::Think(think) => now_ns.saturating_add(pause(*think, chance)),
            Self::Want { period_ns } => first_at_ns.saturating_add(*period_ns).max(now_ns),
            Self::Aimd { config, flows } => {
                let flow = &mut flows[client as usize];
                flow.go_on(config, now_ns);
                if !allowed {
                    flow.fall(config, now_ns);
                }
                now_ns.saturating_add(flow.due_in(config))
            }
        }
    }
}

impl Flow {
    fn new(config: &AimdConfig) -> Self {
        Self {
            rate: config.start.0,
            owed: 1.0,
            as_of_ns: 0,
            fell_ns: None,
        }
    }

    /// Time passes.
    fn go_on(&mut self, config: &AimdConfig, now_ns: u64) {
        let passed = Span(now_ns - self.as_of_ns).as_secs_f64();
        let gained = config.gain() * passed;
        self.owed -= (self.rate + gained / 2.0) * passed;
        self.rate += gained;
        self.as_of_ns = now_ns;
    }

    /// A denial: counts unless it is of the same round trip as the last one.
    fn fall(&mut self, config: &AimdConfig, now_ns: u64) {
        let same = |fell_ns: u64| now_ns - fell_ns < config.rtt.0;
        if !self.fell_ns.is_some_and(same) {
            self.rate *= config.factor.get();
            self.fell_ns = Some(now_ns);
        }
    }

    /// How long it takes until the next request has come up, at a rate that grows.
    fn due_in(&self, config: &AimdConfig) -> u64 {
        if self.owed <= 0.0 {
            return 0;
        }
        // The root of rate * t + gain * t^2 / 2 = owed, written so that nothing cancels.
        let root = (self.rate * self.rate + 2.0 * config.gain() * self.owed).sqrt();
        nanos(2.0 * self.owed / (self.rate + root))
    }
}

impl AimdConfig {
    /// The gain of the rate, per second and second.
    fn gain(&self) -> f64 {
        self.step.rate.0 / self.step.per.as_secs_f64()
    }
}

fn pause(think: Think, chance: &mut Stream) -> u64 {
    match think {
        Think::Fixed(time) => time.0,
        Think::Exponential(mean) => {
            let times: f64 = chance.sample(Exp1);
            nanos(times * mean.as_secs_f64())
        }
    }
}

/// Seconds in whole nanoseconds, at least one: a client that was answered never sends at once for
/// ever.
fn nanos(seconds: f64) -> u64 {
    whole((seconds * 1e9).round()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::stream;

    const SECOND: u64 = 1_000_000_000;

    fn pace(text: &str) -> Pace {
        let config: ClientsConfig = toml::from_str(text).unwrap();
        config.check().unwrap();
        Pace::new(&config).unwrap()
    }

    /// Times at which one client sends in `seconds`, if each answer comes at once.
    fn times(pace: &mut Pace, seconds: u64, allowed: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut chance = stream(1, "test", 0);
        let mut at_ns = pace.first(0, &mut chance);
        let mut times = vec![];
        while at_ns < seconds * SECOND {
            times.push(at_ns);
            pace.sent(0, at_ns);
            at_ns = pace.next(0, at_ns, allowed(at_ns), at_ns, &mut chance);
        }
        times
    }

    #[test]
    fn a_client_pauses_for_a_fixed_time_or_by_chance() {
        let fixed = times(
            &mut pace("count = 1\nthink = { fixed = \"100ms\" }"),
            10,
            |_| true,
        );
        assert_eq!(fixed.len(), 100);
        assert!(
            fixed
                .windows(2)
                .all(|pair| pair[1] - pair[0] == SECOND / 10)
        );
        let chance = times(
            &mut pace("count = 1\nthink = { exponential = \"100ms\" }"),
            1000,
            |_| true,
        );
        // Poisson: 10000, standard deviation 100.
        assert!((9600..=10_400).contains(&chance.len()), "{}", chance.len());
        let long = chance
            .windows(2)
            .filter(|pair| pair[1] - pair[0] > SECOND / 10);
        let long = long.count() * 1000 / chance.len();
        assert!((348..=388).contains(&long), "{long}");
    }

    #[test]
    fn a_client_that_wants_a_rate_keeps_it_and_makes_up_for_nothing() {
        let mut pace = pace("count = 1\nwant = \"4/s\"");
        let mut chance = stream(1, "test", 0);
        let mut next = |first_at, now| pace.next(0, first_at, true, now, &mut chance);
        assert_eq!(next(SECOND, SECOND), SECOND + SECOND / 4);
        assert_eq!(next(SECOND, SECOND + SECOND / 8), SECOND + SECOND / 4);
        assert_eq!(next(SECOND, 9 * SECOND), 9 * SECOND);
    }

    #[test]
    fn a_flow_that_is_never_denied_grows_in_a_straight_line() {
        let mut pace = pace("count = 1\naimd = { start = \"10/s\" }");
        let times = times(&mut pace, 20, |_| true);
        // 10 a second at first and 10 a second more each second: 200 + 2000 in 20 s.
        assert!(times.len().abs_diff(2200) <= 1, "{}", times.len());
        let within = times.iter().filter(|at_ns| **at_ns < 10 * SECOND).count();
        assert!(within.abs_diff(600) <= 1, "{within}");
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "halves of powers of two are exact")]
    fn a_denial_halves_the_rate_once_in_a_round_trip() {
        let config: ClientsConfig =
            toml::from_str("count = 1\naimd = { start = \"64/s\" }").unwrap();
        let config = config.aimd.unwrap();
        let mut flow = Flow::new(&config);
        flow.fall(&config, SECOND);
        flow.fall(&config, SECOND + 39_999_999);
        assert_eq!(flow.rate, 32.0);
        flow.fall(&config, SECOND + 40_000_000);
        assert_eq!(flow.rate, 16.0);
    }

    #[test]
    fn a_flow_that_is_always_denied_slows_down_and_never_stops() {
        let mut pace = pace("count = 1\naimd = { start = \"500/s\" }");
        let times = times(&mut pace, 100, |_| false);
        // Each fall halves a rate r, and the next request comes when it is r again, after t:
        // r = r / 2 + g t and 1 = r t / 2 + g t^2 / 2, so t = sqrt(2 / (3 g)), with g = 10.
        let settled = times.iter().filter(|at_ns| **at_ns > 50 * SECOND).count();
        let expected = 50.0 * 15.0_f64.sqrt();
        let settled = f64::from(u32::try_from(settled).unwrap());
        assert!((settled - expected).abs() <= 2.0, "{settled} {expected}");
    }

    #[test]
    fn flows_at_one_rate_share_it_whatever_they_start_with() {
        // A limit of 100 a second that denies everybody above it: rates come together.
        let config: ClientsConfig =
            toml::from_str("count = 1\naimd = { start = \"90/s\" }").unwrap();
        let fast = config.aimd.unwrap();
        let mut flows = [Flow::new(&fast), Flow::new(&fast)];
        flows[1].rate = 5.0;
        for step in 1..4000 {
            let now_ns = step * SECOND / 100;
            for flow in &mut flows {
                flow.go_on(&fast, now_ns);
            }
            if flows[0].rate + flows[1].rate > 100.0 {
                for flow in &mut flows {
                    flow.fall(&fast, now_ns);
                }
            }
        }
        assert!((flows[0].rate - flows[1].rate).abs() < 1.0);
    }

    #[test]
    fn first_requests_are_spread_over_the_time_between_two() {
        for text in [
            "count = 4000\nwant = \"4/s\"",
            "count = 4000\nthink = { fixed = \"250ms\" }",
        ] {
            let mut pace = pace(text);
            let mut chance = stream(1, "test", 0);
            let first = (0..4000).map(|client| pace.first(client, &mut chance));
            let first: Vec<u64> = first.collect();
            assert!(first.iter().all(|at_ns| *at_ns < SECOND / 4));
            let early = first.iter().filter(|at_ns| **at_ns < SECOND / 16).count();
            assert!((890..=1110).contains(&early), "{early}");
        }
    }
}

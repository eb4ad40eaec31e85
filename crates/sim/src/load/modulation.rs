//! How the rate jumps by chance: states of exponential length, or sources that are on and off.
//!
//! # Invariant
//!
//! The mean of the level is 1 at every time, from the first on: a run begins in the middle of
//! things, with states drawn as an observer who comes at any time finds them.
//!
//! A level holds for at least a nanosecond, so time goes on. The jumps depend on nothing but
//! their own stream, so that a change of the offered rate leaves them where they were.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::RngExt;
use rand_distr::{Distribution, Exp1, OpenClosed01, Pareto};

use super::config::{ArrivalsConfig, OnOffConfig, StateConfig, mean_of};
use crate::numbers::{float, whole};
use crate::stream::Stream;

/// A factor of the rate that jumps.
#[derive(Debug)]
pub(super) struct Modulation {
    random: Stream,
    law: Law,
    /// The factor now.
    level: f64,
    /// The first nanosecond at which it is another.
    ends_ns: u64,
}

#[derive(Debug)]
enum Law {
    Steady,
    States(States),
    Sources(Sources),
}

impl Modulation {
    pub(super) fn new(arrivals: &ArrivalsConfig, mut random: Stream) -> Self {
        let (law, (level, ends_ns)) = match arrivals {
            ArrivalsConfig::Mmpp(states) => {
                let mut states = States::new(states, &mut random);
                let first = states.next(0, &mut random);
                (Law::States(states), first)
            }
            ArrivalsConfig::OnOff(on_off) => {
                let sources = Sources::new(on_off, &mut random);
                let first = sources.level();
                (Law::Sources(sources), first)
            }
            _ => (Law::Steady, (1.0, u64::MAX)),
        };
        Self {
            random,
            law,
            level,
            ends_ns,
        }
    }

    /// The factor at `at_ns`, and when it is another. Times do not go back.
    pub(super) fn at(&mut self, at_ns: u64) -> (f64, u64) {
        while self.ends_ns <= at_ns {
            (self.level, self.ends_ns) = match &mut self.law {
                Law::Steady => break,
                Law::States(states) => states.next(self.ends_ns, &mut self.random),
                Law::Sources(sources) => sources.next(&mut self.random),
            };
        }
        (self.level, self.ends_ns)
    }
}

/// States of exponential length, one after the other.
#[derive(Debug)]
struct States {
    levels: Vec<f64>,
    means_ns: Vec<f64>,
    next: usize,
}

impl States {
    fn new(states: &[StateConfig], random: &mut Stream) -> Self {
        let mean = mean_of(states);
        let means_ns: Vec<f64> = states.iter().map(|state| float(state.mean.0)).collect();
        // The longer a state lasts, the likelier a run begins in it. What is left of it then is
        // as long as the whole: an exponential has no memory.
        let mut chance = random.random::<f64>() * means_ns.iter().sum::<f64>();
        let mut is_past = |mean_ns: &f64| {
            chance -= mean_ns;
            chance >= 0.0
        };
        let first = means_ns
            .iter()
            .take_while(|mean_ns| is_past(mean_ns))
            .count();
        Self {
            levels: states.iter().map(|state| state.rate.0 / mean).collect(),
            next: first.min(means_ns.len() - 1),
            means_ns,
        }
    }

    fn next(&mut self, at_ns: u64, random: &mut Stream) -> (f64, u64) {
        let state = self.next;
        self.next = (state + 1) % self.levels.len();
        let exponential: f64 = random.sample(Exp1);
        let length_ns = whole(exponential * self.means_ns[state]).max(1);
        (self.levels[state], at_ns.saturating_add(length_ns))
    }
}

/// Sources that are on and off for times with heavy tails.
#[derive(Debug)]
struct Sources {
    on: Tail,
    off: Tail,
    /// When each is switched, which one, and whether it is on until then.
    switches: BinaryHeap<Reverse<(u64, u32, bool)>>,
    number_on: u32,
    level_of_one: f64,
}

impl Sources {
    fn new(config: &OnOffConfig, random: &mut Stream) -> Self {
        let on = Tail::new(config.alpha, float(config.on.0));
        let off = Tail::new(config.alpha, float(config.off.0));
        let share_on = on.mean_ns / (on.mean_ns + off.mean_ns);
        let number = u32::try_from(config.sources.0).expect("checked to be small");
        let mut switches = BinaryHeap::new();
        let mut number_on = 0;
        for source in 0..number {
            let is_on = random.random::<f64>() < share_on;
            let tail = if is_on { &on } else { &off };
            switches.push(Reverse((tail.rest_ns(random), source, is_on)));
            number_on += u32::from(is_on);
        }
        Self {
            on,
            off,
            switches,
            number_on,
            level_of_one: (f64::from(number) * share_on).recip(),
        }
    }

    /// The level now, and when it is another.
    fn level(&self) -> (f64, u64) {
        let Reverse((ends_ns, ..)) = self.switches.peek().expect("there is at least one source");
        (f64::from(self.number_on) * self.level_of_one, *ends_ns)
    }

    /// Switches the source whose time has come.
    fn next(&mut self, random: &mut Stream) -> (f64, u64) {
        let mut first = self
            .switches
            .peek_mut()
            .expect("there is at least one source");
        let Reverse((at_ns, source, was_on)) = *first;
        let tail = if was_on {
            self.number_on -= 1;
            &self.off
        } else {
            self.number_on += 1;
            &self.on
        };
        let ends_ns = at_ns.saturating_add(tail.draw_ns(random));
        *first = Reverse((ends_ns, source, !was_on));
        drop(first);
        self.level()
    }
}

/// Pareto's law of times: the chance of more than x is `(least / x)^alpha`.
#[derive(Clone, Copy, Debug)]
struct Tail {
    law: Pareto<f64>,
    alpha: f64,
    least_ns: f64,
    mean_ns: f64,
}

impl Tail {
    fn new(alpha: f64, mean_ns: f64) -> Self {
        let least_ns = mean_ns * (alpha - 1.0) / alpha;
        Self {
            law: Pareto::new(least_ns, alpha).expect("the mean is above 0 and alpha above 1"),
            alpha,
            least_ns,
            mean_ns,
        }
    }

    /// A whole time.
    fn draw_ns(&self, random: &mut Stream) -> u64 {
        whole(self.law.sample(random)).max(1)
    }

    /// The rest of the time that an observer finds: long ones are found more often. More than
    /// x is left with the chance of the tail's integral beyond x over the whole integral.
    fn rest_ns(&self, random: &mut Stream) -> u64 {
        let chance: f64 = random.sample(OpenClosed01);
        let rest_ns = if chance > self.alpha.recip() {
            self.mean_ns * (1.0 - chance)
        } else {
            self.least_ns * (self.alpha * chance).powf((1.0 - self.alpha).recip())
        };
        whole(rest_ns).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::LoadConfig;
    use crate::load::statistics::{hill, ks_is_plausible, mean_is_plausible};
    use crate::stream::stream;

    fn arrivals(text: &str) -> ArrivalsConfig {
        toml::from_str::<LoadConfig>(&format!("arrivals = {text}"))
            .unwrap()
            .arrivals
    }

    /// The level at each of some times, in many runs.
    fn levels(arrivals: &ArrivalsConfig, at_ns: u64) -> Vec<f64> {
        let level = |run| {
            Modulation::new(arrivals, stream(run, "test", 0))
                .at(at_ns)
                .0
        };
        (0..4000).map(level).collect()
    }

    #[test]
    fn the_mean_level_is_one_from_the_first_moment_on() {
        for text in [
            "{ mmpp = [{ rate = \"3000/s\", mean = \"200ms\" }, \
             { rate = \"300/s\", mean = \"800ms\" }] }",
            "{ mmpp = [{ rate = \"0/s\", mean = \"1s\" }, { rate = \"5/s\", mean = \"10ms\" }, \
             { rate = \"1/s\", mean = \"2s\" }] }",
            "{ on-off = { alpha = 1.4, sources = 3, on = \"200ms\", off = \"800ms\" } }",
            "{ on-off = { alpha = 1.1, sources = 1, on = \"1s\", off = \"1ms\" } }",
        ] {
            let arrivals = arrivals(text);
            for at_ns in [0, 1, 50_000_000, 1_000_000_000, 7_300_000_000] {
                assert!(
                    mean_is_plausible(&levels(&arrivals, at_ns), 1.0),
                    "{text} at {at_ns}"
                );
            }
        }
    }

    #[test]
    fn times_on_and_off_have_the_tail_and_the_mean_that_were_asked_for() {
        for alpha in [1.2, 1.4, 1.6, 3.0] {
            let tail = Tail::new(alpha, 1e9);
            let mut random = stream(3, "test", 0);
            let mut draws: Vec<f64> = (0..100_000)
                .map(|_| float(tail.draw_ns(&mut random)))
                .collect();
            let law = |x: f64| 1.0 - (tail.least_ns / x).powf(alpha).min(1.0);
            assert!(ks_is_plausible(&mut draws, law), "{alpha}");
            let estimate = hill(&mut draws, 5000);
            assert!(
                (estimate / alpha - 1.0).abs() < 3.3 / 5000_f64.sqrt(),
                "{alpha}: {estimate}"
            );
        }
    }

    #[test]
    fn the_rest_of_a_time_follows_the_integrated_tail() {
        for alpha in [1.2, 1.6, 3.0] {
            let tail = Tail::new(alpha, 1e9);
            let mut random = stream(3, "test", 0);
            let mut draws: Vec<f64> = (0..100_000)
                .map(|_| float(tail.rest_ns(&mut random)))
                .collect();
            // The integral of the chance of more than u, for u from 0 to x, over the mean.
            let law = |x: f64| {
                let flat = x.min(tail.least_ns) / tail.mean_ns;
                let beyond = (x / tail.least_ns).max(1.0).powf(1.0 - alpha);
                flat + (1.0 - beyond) / alpha
            };
            assert!(ks_is_plausible(&mut draws, law), "{alpha}");
        }
    }

    #[test]
    fn states_come_in_the_order_written() {
        let arrivals = arrivals(
            "{ mmpp = [{ rate = \"1/s\", mean = \"1s\" }, { rate = \"2/s\", mean = \"1s\" }, \
             { rate = \"3/s\", mean = \"1s\" }] }",
        );
        let mut modulation = Modulation::new(&arrivals, stream(1, "test", 0));
        let (mut level, mut ends_ns) = modulation.at(0);
        for _ in 0..20 {
            let (next, next_ends_ns) = modulation.at(ends_ns);
            assert!(next_ends_ns > ends_ns);
            let expected = if level > 1.25 { 0.5 } else { level + 0.5 };
            assert!((next - expected).abs() < 1e-9, "{next} after {level}");
            (level, ends_ns) = (next, next_ends_ns);
        }
    }

    #[test]
    fn states_last_as_long_as_they_are_told() {
        let arrivals = arrivals("{ mmpp = [{ rate = \"1/s\", mean = \"200ms\" }] }");
        let mut modulation = Modulation::new(&arrivals, stream(1, "test", 0));
        let mut lengths = Vec::new();
        let mut ends_ns = 0;
        for _ in 0..20_000 {
            let (_, next_ns) = modulation.at(ends_ns);
            lengths.push(float(next_ns - ends_ns));
            ends_ns = next_ns;
        }
        assert!(ks_is_plausible(&mut lengths, |x| 1.0 - (-x / 2e8).exp()));
    }
}

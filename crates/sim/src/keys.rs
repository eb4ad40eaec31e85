//! Which key a request is for.
//!
//! # Invariant
//!
//! Every key that is ever drawn is at least `first` and below `first` + [`KeysConfig::keys_max`],
//! which is known before a run: whoever keeps something per key can do so in a table.
//!
//! Nothing here grows with the number of keys. A hot spot moves by renumbering: the ranks stay
//! as they are, and each epoch maps them to keys by a permutation of its own. It depends on the
//! seed of the run, the epoch and the number of keys alone, so that two loads which share their
//! keys share their hot spots.

mod zipf;

use rand::{Rng, RngExt};
use serde::Deserialize;

use crate::stream::{Stream, stream};
use crate::units::{Count, Share, Span};

use zipf::Zipf;

/// The keys of a load.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct KeysConfig {
    /// How many there are from the start, at least 1.
    pub count: Count,
    /// The number of the first. Two loads share keys if their numbers overlap.
    pub first: Count,
    /// The exponent of Zipf's law, by which some keys are asked for more than others: the k-th
    /// in proportion to `k^-zipf`. At 0 all are alike, at 0.99 it is the law of many traces.
    pub zipf: f64,
    /// Other keys become the most asked for, again and again.
    pub moving: Option<MovingConfig>,
    /// Keys that come and go, besides those that are there from the start.
    pub churn: Option<ChurnConfig>,
}

/// A hot spot that moves.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MovingConfig {
    /// How long it stays.
    pub every: Span,
}

/// Keys that come and go.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ChurnConfig {
    /// The part of the requests that is for such keys.
    pub share: Share,
    /// A new one comes this often.
    pub every: Span,
    /// How long it is asked for; all that live are asked for alike. If absent, until the next
    /// one comes. Rounded up to a multiple of `every`.
    pub lifetime: Option<Span>,
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self {
            count: Count(1),
            first: Count(0),
            zipf: 0.0,
            moving: None,
            churn: None,
        }
    }
}

impl KeysConfig {
    /// How many keys there are at most in a run of `duration`; they are numbered from
    /// [`first`](Self::first).
    pub fn keys_max(&self, duration: Span) -> u64 {
        let churned = self.churn.map_or(0, |churn| churn.keys_max(duration));
        self.count.0.saturating_add(churned)
    }

    /// Finds what no field can say by itself.
    ///
    /// # Errors
    ///
    /// A message that names the field and the mend.
    pub fn check(&self, duration: Span) -> Result<(), String> {
        if self.count.0 == 0 {
            return Err("`keys.count` is 0, but a request is for some key: at least 1".into());
        }
        if !(0.0..=ZIPF_MAX).contains(&self.zipf) {
            return Err(format!(
                "`keys.zipf` must be from 0 to {ZIPF_MAX}, such as 0.99"
            ));
        }
        if self.moving.is_some_and(|moving| moving.every == Span::ZERO) {
            return Err("`keys.moving.every` is 0: say how long a hot spot stays".into());
        }
        if let Some(churn) = &self.churn {
            if churn.every == Span::ZERO {
                return Err("`keys.churn.every` is 0: say how often a new key comes".into());
            }
            if churn.lifetime == Some(Span::ZERO) {
                return Err("`keys.churn.lifetime` is 0: say how long a key is asked for".into());
            }
        }
        if self.first.0.saturating_add(self.keys_max(duration)) > u64::from(u32::MAX) {
            return Err(format!(
                "`keys` has numbers beyond {}: lower `count` or `first`, or raise `churn.every`",
                u32::MAX,
            ));
        }
        Ok(())
    }
}

impl ChurnConfig {
    fn keys_max(&self, duration: Span) -> u64 {
        let born = duration.0.saturating_sub(1) / self.every.0.max(1);
        born.saturating_add(self.alive())
    }

    /// How many live at once.
    fn alive(&self) -> u64 {
        let lifetime = self.lifetime.unwrap_or(self.every);
        lifetime.0.div_ceil(self.every.0.max(1)).max(1)
    }
}

/// Draws keys. The times that it is asked for do not go back.
#[derive(Clone, Debug)]
pub struct Keys {
    random: Stream,
    ranks: Ranks,
    count: u32,
    first: u32,
    moving: Option<HotSpot>,
    churn: Option<Churn>,
}

#[derive(Clone, Copy, Debug)]
enum Ranks {
    One,
    Alike,
    Zipf(Zipf),
}

impl Keys {
    /// The `index`th drawer of keys in a run of `duration` with a seed.
    ///
    /// # Errors
    ///
    /// As [`KeysConfig::check`].
    pub fn new(config: &KeysConfig, duration: Span, seed: u64, index: u64) -> Result<Self, String> {
        config.check(duration)?;
        let count = checked(config.count.0);
        let ranks = match count {
            1 => Ranks::One,
            _ if config.zipf == 0.0 => Ranks::Alike,
            _ => Ranks::Zipf(Zipf::new(count, config.zipf)),
        };
        // Without a hot spot there is none to move.
        let moving = config.moving.filter(|_| matches!(ranks, Ranks::Zipf(_)));
        let churn = config.churn.map(|churn| Churn {
            random: stream(seed, "keys-churn", index),
            share: churn.share.get(),
            every_ns: churn.every.0,
            alive: checked(churn.alive()),
        });
        Ok(Self {
            random: stream(seed, "keys", index),
            ranks,
            count,
            first: checked(config.first.0),
            moving: moving.map(|moving| HotSpot::new(seed, count, moving.every.0)),
            churn,
        })
    }

    /// The key of a request at `at_ns`.
    #[inline]
    pub fn draw(&mut self, at_ns: u64) -> u32 {
        if let Some(churn) = &mut self.churn
            && let Some(newcomer) = churn.draw(at_ns)
        {
            return self.first + self.count + newcomer;
        }
        let rank = match &self.ranks {
            Ranks::One => 0,
            Ranks::Alike => self.random.random_range(0..self.count),
            Ranks::Zipf(zipf) => zipf.draw(&mut self.random),
        };
        let key = match &mut self.moving {
            None => rank,
            Some(spot) => spot.at(at_ns).apply(rank),
        };
        self.first + key
    }
}

/// A permutation of ranks for each epoch.
#[derive(Clone, Debug)]
struct HotSpot {
    seed: u64,
    every_ns: u64,
    ends_ns: u64,
    order: Permutation,
}

impl HotSpot {
    fn new(seed: u64, count: u32, every_ns: u64) -> Self {
        Self {
            seed,
            every_ns,
            ends_ns: every_ns,
            order: Permutation::identity(count),
        }
    }

    fn at(&mut self, at_ns: u64) -> &Permutation {
        if at_ns >= self.ends_ns {
            let epoch = at_ns / self.every_ns;
            self.ends_ns = (epoch + 1).saturating_mul(self.every_ns);
            let mut random = stream(self.seed, "hot-spot", epoch);
            self.order = Permutation::random(self.order.count, &mut random);
        }
        &self.order
    }
}

/// `rank * factor + offset` modulo the count. The factor has no divisor in common with the
/// count, so that no two ranks become the same key.
#[derive(Clone, Copy, Debug)]
struct Permutation {
    count: u32,
    factor: u32,
    offset: u32,
}

impl Permutation {
    const fn identity(count: u32) -> Self {
        Self {
            count,
            factor: 1,
            offset: 0,
        }
    }

    /// A permutation of `count` ranks, at least two.
    fn random(count: u32, random: &mut Stream) -> Self {
        let factor = loop {
            let factor = random.random_range(1..count);
            if greatest_common_divisor(factor, count) == 1 {
                break factor;
            }
        };
        Self {
            count,
            factor,
            offset: random.random_range(0..count),
        }
    }

    fn apply(self, rank: u32) -> u32 {
        let image = u64::from(rank) * u64::from(self.factor) + u64::from(self.offset);
        checked(image % u64::from(self.count))
    }
}

/// Newcomers, numbered by birth: at each time a stretch of `alive` numbers lives.
#[derive(Clone, Debug)]
struct Churn {
    random: Stream,
    share: f64,
    every_ns: u64,
    alive: u32,
}

impl Churn {
    fn draw(&mut self, at_ns: u64) -> Option<u32> {
        let chance = self.random.next_u64();
        // The upper half decides whether, the lower one who.
        let whether = f64::from(checked(chance >> 32)) / TWO_TO_32;
        let who = ((chance & u64::from(u32::MAX)) * u64::from(self.alive)) >> 32;
        let oldest = at_ns / self.every_ns;
        (whether < self.share).then(|| checked(oldest + who))
    }
}

fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// A number of a key, or of keys, which [`KeysConfig::check`] has found to be in range.
fn checked(number: u64) -> u32 {
    u32::try_from(number).expect("the numbers of all keys were checked before")
}

/// No trace comes near; beyond, nearly all requests are for one key anyway.
const ZIPF_MAX: f64 = 20.0;

const TWO_TO_32: f64 = 4_294_967_296.0;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::load::statistics::chi_square_is_plausible;

    fn keys(text: &str) -> Keys {
        Keys::new(&config(text), DURATION, 1, 0).unwrap()
    }

    fn config(text: &str) -> KeysConfig {
        toml::from_str(text).unwrap()
    }

    fn counts(keys: &mut Keys, number: usize, at_ns: u64) -> Vec<f64> {
        let mut counts = vec![0.0; number];
        for _ in 0..100_000 {
            counts[keys.draw(at_ns) as usize] += 1.0;
        }
        counts
    }

    #[test]
    fn without_zipf_all_keys_are_alike() {
        let counts = counts(&mut keys("count = 1000"), 1000, 0);
        assert!(chi_square_is_plausible(&counts, &[100.0; 1000]));
    }

    #[test]
    fn the_first_key_moves_all_and_nothing_else() {
        let mut plain = keys("count = \"1k\"\nzipf = 1.1");
        let mut moved = keys("count = \"1k\"\nzipf = 1.1\nfirst = 500");
        for _ in 0..1000 {
            assert_eq!(plain.draw(0) + 500, moved.draw(0));
        }
    }

    #[test]
    fn a_hot_spot_moves_when_its_time_is_over_and_two_loads_share_it() {
        let text = "count = 100\nzipf = 1.2\nmoving = { every = \"10s\" }";
        let mut one = keys(text);
        let mut other = Keys::new(&config(text), DURATION, 1, 1).unwrap();
        let hottest = |counts: Vec<f64>| {
            (0..100)
                .max_by(|a, b| counts[*a].total_cmp(&counts[*b]))
                .unwrap()
        };
        let second = Span::from_secs(1).0;
        let times = [
            0,
            10 * second - 1,
            10 * second,
            20 * second - 1,
            20 * second,
            30 * second,
        ];
        let spots = times.map(|at_ns| {
            let spot = hottest(counts(&mut one, 100, at_ns));
            assert_eq!(hottest(counts(&mut other, 100, at_ns)), spot);
            spot
        });
        assert_eq!(spots[0], spots[1]);
        assert_eq!(spots[2], spots[3]);
        assert_eq!(BTreeSet::from(spots).len(), 4);
    }

    #[test]
    fn newcomers_take_their_share_and_live_as_long_as_they_are_told() {
        let mut keys =
            keys("count = 10\nchurn = { share = \"20%\", every = \"1s\", lifetime = \"4s\" }");
        for second in [0, 1, 7, 59] {
            let at_ns = Span::from_secs(second).0;
            let counts = counts(&mut keys, 74, at_ns);
            let second = usize::try_from(second).unwrap();
            let mut expected = [0.0; 74];
            expected[..10].fill(8000.0);
            expected[10 + second..14 + second].fill(5000.0);
            let (counts, expected): (Vec<f64>, Vec<f64>) = counts
                .iter()
                .zip(&expected)
                .filter(|(count, expected)| **expected > 0.0 || **count > 0.0)
                .unzip();
            assert!(
                chi_square_is_plausible(&counts, &expected),
                "{counts:?} {expected:?}"
            );
        }
    }

    #[test]
    fn newcomers_do_not_change_the_order_of_the_others() {
        let mut plain = keys("count = 1000");
        let mut churned = keys("count = 1000\nchurn = { share = 0.5, every = \"1s\" }");
        let old = (0..10_000)
            .map(|_| churned.draw(0))
            .filter(|key| *key < 1000);
        let old: Vec<u32> = old.collect();
        assert!(old.len() > 4000);
        for key in old {
            assert_eq!(key, plain.draw(0));
        }
    }

    #[test]
    fn the_number_of_keys_is_met_and_not_exceeded() {
        let config =
            config("count = 3\nchurn = { share = 1, every = \"700ms\", lifetime = \"2s\" }");
        let mut keys = Keys::new(&config, Span::from_secs(10), 1, 0).unwrap();
        let last = Span::from_secs(10).0 - 1;
        let highest = (0..100).map(|_| keys.draw(last)).max().unwrap();
        assert_eq!(u64::from(highest) + 1, config.keys_max(Span::from_secs(10)));
        assert_eq!(config.keys_max(Span::from_secs(10)), 3 + 14 + 3);
    }

    #[test]
    fn what_cannot_be_is_refused_and_the_message_names_the_field() {
        for (text, field) in [
            ("count = 0", "keys.count"),
            ("zipf = -0.1", "keys.zipf"),
            ("zipf = nan", "keys.zipf"),
            ("moving = { every = \"0s\" }", "keys.moving.every"),
            ("churn = { share = 1, every = \"0s\" }", "keys.churn.every"),
            (
                "churn = { share = 1, every = \"1s\", lifetime = \"0s\" }",
                "keys.churn.lifetime",
            ),
            ("churn = { share = 1, every = \"1ns\" }", "churn.every"),
            ("count = \"3000M\"\nfirst = \"3000M\"", "keys"),
        ] {
            let error = config(text).check(DURATION).unwrap_err();
            assert!(error.contains(field), "{text}: {error}");
        }
        assert!(toml::from_str::<KeysConfig>("number = 5").is_err());
    }

    proptest! {
        #[test]
        fn a_permutation_uses_each_key_once(count in 2_u32..500, seed: u64) {
            let order = Permutation::random(count, &mut stream(seed, "test", 0));
            let keys: BTreeSet<u32> = (0..count).map(|rank| order.apply(rank)).collect();
            prop_assert_eq!(keys.len(), count as usize);
            prop_assert!(keys.last() < Some(&count));
        }
    }

    const DURATION: Span = Span::from_secs(60);
}

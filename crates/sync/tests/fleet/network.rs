//! What may happen to a message on its way.

use std::time::Duration;

use crate::random::Random;

/// A network between replicas and the store. Messages overtake each other as their delays have it.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// Shortest time one way.
    pub(crate) delay_min: Duration,
    /// Longest time one way; in between, all times are as likely.
    pub(crate) delay_max: Duration,
    /// Probability that a request, or a reply, is lost.
    pub(crate) loss: f64,
    /// Probability that a request arrives a second time, up to a second late.
    pub(crate) duplicates: f64,
    /// When the driver gives up on a call.
    pub(crate) patience: Duration,
}

impl Network {
    /// One data centre: a round trip takes a millisecond, and nothing is lost.
    pub(crate) const LOCAL: Self = Self {
        delay_min: Duration::from_micros(500),
        delay_max: Duration::from_micros(500),
        loss: 0.0,
        duplicates: 0.0,
        patience: Duration::from_millis(250),
    };

    /// The delays after which copies of a request arrive.
    pub(crate) fn requests(&self, random: &mut Random) -> [Option<u64>; 2] {
        let first = self.reply(random);
        let copy = random
            .happens(self.duplicates)
            .then(|| self.delay_ns(random) + random.below(1_000_000_000));
        [first, copy]
    }

    /// The delay after which a message arrives, if it does.
    pub(crate) fn reply(&self, random: &mut Random) -> Option<u64> {
        let lost = random.happens(self.loss);
        let delay = self.delay_ns(random);
        (!lost).then_some(delay)
    }

    fn delay_ns(&self, random: &mut Random) -> u64 {
        let spread = self.delay_max.saturating_sub(self.delay_min);
        nanos(self.delay_min) + random.below(nanos(spread) + 1)
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("no scenario lasts for centuries")
}

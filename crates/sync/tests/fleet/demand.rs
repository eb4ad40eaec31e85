//! Which keys are asked for.

use std::rc::Rc;

use crate::random::Random;

/// How requests spread over keys.
#[derive(Clone, Debug)]
pub(crate) enum Keys {
    /// All for one.
    One,
    /// By popularity: for each key the probability that it or one before it is drawn.
    Cumulative(Rc<[f64]>),
}

impl Keys {
    /// `count` keys of which the n-th is asked for in proportion to `1 / n^exponent`; an exponent
    /// of 0 treats all alike.
    pub(crate) fn zipf(count: u32, exponent: f64) -> Self {
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = (1..=count)
            .map(|rank| {
                sum += f64::from(rank).powf(-exponent);
                sum
            })
            .collect();
        for part in &mut cumulative {
            *part /= sum;
        }
        Self::Cumulative(cumulative.into())
    }

    pub(crate) fn draw(&self, random: &mut Random) -> u32 {
        match self {
            Self::One => 0,
            Self::Cumulative(cumulative) => {
                let fraction = random.fraction();
                let rank = cumulative.partition_point(|part| *part <= fraction);
                u32::try_from(rank.min(cumulative.len() - 1)).expect("as many as were counted")
            }
        }
    }
}

//! Inputs made from other inputs.
//!
//! # Invariant
//!
//! A seed gives the same input for ever, from the same corpus.

use leasehold_core::SplitMix64;

/// Numbers from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(SplitMix64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    fn next(&mut self) -> u64 {
        self.0.draw()
    }

    /// Below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        let end = end as u64;
        usize::try_from(self.next() % end).expect("below a usize")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// An input of the corpus with a few changes.
pub(crate) fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(6) {
        mutate(&mut input, corpus, random);
    }
    input.truncate(LENGTH_MAX);
    input
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let end = random.below(input.len() + 1);
    let start = random.below(end + 1);
    match random.below(10) {
        0 => drop(input.drain(start..end)),
        1 => insert(input, start, &[random.byte()]),
        2 => insert(input, start, &random.next().to_le_bytes()),
        3 => insert(input, start, WORDS[random.below(WORDS.len())].as_bytes()),
        // Some of it twice.
        4 => {
            let piece = input[start..end.min(start + PIECE_MAX)].to_vec();
            insert(input, end, &piece);
        }
        // Some of another.
        5 => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len() + 1);
            let to = (from + 1 + random.below(PIECE_MAX)).min(other.len());
            insert(input, start, &other[from..to]);
        }
        // A digit for a digit, a bit, a byte, a neighbour.
        kind => {
            let Some(byte) = input.get_mut(start) else {
                return;
            };
            *byte = match kind {
                6 if byte.is_ascii_digit() => b'0' + random.byte() % 10,
                6 | 7 => *byte ^ (1 << (random.byte() % 8)),
                8 => random.byte(),
                _ => byte.wrapping_add(random.byte() % 3).wrapping_sub(1),
            };
        }
    }
}

fn insert(input: &mut Vec<u8>, place: usize, piece: &[u8]) {
    input.splice(place..place, piece.iter().copied());
}

/// Longer inputs find nothing that shorter ones do not, and take longer.
const LENGTH_MAX: usize = 4096;
const PIECE_MAX: usize = 64;

/// Words that random bytes would not contain.
const WORDS: [&str; 40] = [
    "/",
    "s",
    "us",
    "ms",
    "min",
    "h",
    "day",
    "365day",
    " burst ",
    " overshoot ",
    "%",
    "0",
    "00",
    "1_000",
    "k",
    "M",
    "G",
    "18446744073709551615",
    "4503599627370496",
    "9223372036854775807",
    "-1",
    "1e308",
    "nan",
    "inf",
    "\"",
    "=",
    "[",
    "]",
    "{",
    "}",
    "\n",
    "redis://",
    "rediss://",
    "redis+sentinel://",
    "redis+unix:///",
    "@",
    ":",
    "#",
    "%7B",
    "|",
];

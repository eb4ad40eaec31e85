//! Things that are numbered as they come, and go in nearly the same order: requests that wait.
//!
//! # Invariant
//!
//! A number names one thing for ever. Memory goes by the span of the numbers in use, from the
//! oldest to the latest, so whatever is put in must be taken out in time.

use std::collections::VecDeque;

/// A map from numbers, which count up, that is looked up without hashing and searching.
#[derive(Debug)]
pub(crate) struct Sequence<T> {
    /// The number of the first place.
    first: u64,
    places: VecDeque<Option<T>>,
}

impl<T> Sequence<T> {
    pub(crate) const fn new() -> Self {
        Self {
            first: 0,
            places: VecDeque::new(),
        }
    }

    /// The number of the next to come.
    #[inline]
    pub(crate) fn next_number(&self) -> u64 {
        self.first + self.places.len() as u64
    }

    /// Puts in the next, which is called [`next_number`](Self::next_number).
    #[inline]
    pub(crate) fn push(&mut self, thing: T) {
        self.places.push_back(Some(thing));
    }

    #[inline]
    pub(crate) fn find(&self, number: u64) -> Option<&T> {
        self.places.get(self.place(number)?)?.as_ref()
    }

    #[inline]
    pub(crate) fn take(&mut self, number: u64) -> Option<T> {
        let place = self.place(number)?;
        let thing = self.places.get_mut(place)?.take()?;
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
        Some(thing)
    }

    /// All that are there, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let places = (self.first..).zip(&self.places);
        places.filter_map(|(number, thing)| Some((number, thing.as_ref()?)))
    }

    #[inline]
    fn place(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_found_by_their_numbers_until_they_are_taken() {
        let mut sequence = Sequence::new();
        for (number, thing) in (0..).zip(['a', 'b', 'c', 'd']) {
            assert_eq!(sequence.next_number(), number);
            sequence.push(thing);
        }
        assert_eq!(sequence.take(1), Some('b'));
        assert_eq!((sequence.take(1), sequence.find(1)), (None, None));
        assert_eq!(sequence.take(0), Some('a'));
        assert_eq!((sequence.take(0), sequence.find(0)), (None, None));
        assert_eq!(sequence.find(2), Some(&'c'));
        assert_eq!(sequence.find(4), None, "it has not come yet");
        let rest: Vec<_> = sequence.iter().collect();
        assert_eq!(rest, [(2, &'c'), (3, &'d')]);
    }

    #[test]
    fn numbers_are_never_used_again_and_places_are() {
        let mut sequence = Sequence::new();
        for number in 0..1000 {
            assert_eq!(sequence.next_number(), number);
            sequence.push(number);
            if number >= 10 {
                // The oldest but one, then the oldest.
                let oldest = number / 2 * 2 - 10;
                let taken = oldest + (number + 1) % 2;
                assert_eq!(sequence.take(taken), Some(taken));
            }
        }
        assert!(sequence.places.capacity() <= 32);
    }
}

//! Replicas that are kept: by a client for its connection, or by many requests as a favourite.
//!
//! # Invariant
//!
//! Whoever is kept is named by number, and only then by position: who else comes or goes makes no
//! difference. Looking it up again takes one comparison unless the fleet has changed.

use rand::RngExt;
use rand::distr::{Bernoulli, Distribution};

use super::{below, below_except, odds};
use crate::numbers::float;
use crate::stream::{Stream, stream};
use crate::units::{Count, Span};

/// A replica that is kept, and where it was among the living.
#[derive(Clone, Copy, Debug)]
struct Seat {
    replica: u32,
    position: u32,
}

impl Seat {
    const NOBODY: Self = Self {
        replica: u32::MAX,
        position: 0,
    };

    fn take(position: usize, living: &[u32]) -> Self {
        Self {
            replica: living[position],
            position: u32::try_from(position).expect("replicas are numbered in 32 bits"),
        }
    }

    /// Where it is now; `None` once it lives no more.
    #[inline]
    fn find(&mut self, living: &[u32]) -> Option<usize> {
        let position = self.position as usize;
        if living.get(position) == Some(&self.replica) {
            return Some(position);
        }
        let position = living.binary_search(&self.replica).ok()?;
        *self = Self::take(position, living);
        Some(position)
    }
}

/// The replica of each client.
#[derive(Debug)]
pub(super) struct Connections {
    /// By client.
    seats: Vec<Seat>,
    /// Whether a connection ends before a request: so the number of its requests is geometric.
    ends: Bernoulli,
}

impl Connections {
    pub(super) fn new(requests: Count) -> Self {
        let ends = odds(1.0 / float(requests.0));
        Self {
            seats: Vec::new(),
            ends,
        }
    }

    pub(super) fn pick(&mut self, client: u32, living: &[u32], chance: &mut Stream) -> usize {
        let client = client as usize;
        if client >= self.seats.len() {
            self.seats.resize(client + 1, Seat::NOBODY);
        }
        let seat = &mut self.seats[client];
        let ends = self.ends.sample(chance);
        if let Some(position) = seat.find(living).filter(|_| !ends) {
            return position;
        }
        let position = below(living.len(), chance);
        *seat = Seat::take(position, living);
        position
    }
}

/// A replica that gets more than its part, until it is no more or another one's turn comes.
#[derive(Debug)]
pub(super) struct Favourite {
    seat: Seat,
    /// Where it is taken from, if it is not by chance.
    to: Option<u32>,
    every_ns: u64,
    /// When it is another one's turn.
    moves_ns: u64,
    seed: u64,
    chance: Stream,
}

impl Favourite {
    /// Whoever is at a position, and stays the favourite while it lives.
    pub(super) fn at(to: u32) -> Self {
        Self {
            to: Some(to),
            ..Self::moving(Span(u64::MAX), 0)
        }
    }

    /// Another one in every period, by chance. Periods begin at multiples of `every`.
    pub(super) fn moving(every: Span, seed: u64) -> Self {
        Self {
            seat: Seat::NOBODY,
            to: None,
            every_ns: every.0,
            moves_ns: 0,
            seed,
            chance: stream(seed, "balance moves", 0),
        }
    }

    /// Where it is now.
    #[inline]
    pub(super) fn find(&mut self, at_ns: u64, living: &[u32]) -> usize {
        if at_ns >= self.moves_ns {
            return self.turn(at_ns, living);
        }
        match self.seat.find(living) {
            Some(position) => position,
            None => self.appoint(None, living),
        }
    }

    #[cold]
    fn turn(&mut self, at_ns: u64, living: &[u32]) -> usize {
        let period = at_ns / self.every_ns;
        self.moves_ns = (period + 1).saturating_mul(self.every_ns);
        // The chance of a period is its own: it does not depend on the periods in which no
        // request came, nor on what became of the favourite.
        self.chance = stream(self.seed, "balance moves", period);
        let before = self.seat.find(living);
        self.appoint(before, living)
    }

    fn appoint(&mut self, before: Option<usize>, living: &[u32]) -> usize {
        let position = match (self.to, before) {
            (Some(to), _) => to as usize % living.len(),
            (None, None) => self.chance.random_range(0..living.len()),
            (None, Some(before)) => below_except(living.len(), before, &mut self.chance),
        };
        self.seat = Seat::take(position, living);
        position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_keeps_its_replica_for_a_geometric_number_of_requests() {
        let mut connections = Connections::new(Count(100));
        let mut chance = stream(1, "test", 0);
        let living: Vec<u32> = (10..1010).collect();
        let (mut lengths, mut last) = (vec![], usize::MAX);
        for _ in 0..200_000 {
            let position = connections.pick(7, &living, &mut chance);
            if position != last {
                lengths.push(0_u32);
                last = position;
            }
            *lengths.last_mut().unwrap() += 1;
        }
        // Some 2000 connections: mean 100 with a standard error of 2.2.
        let count = f64::from(u32::try_from(lengths.len()).unwrap());
        let mean = 200_000.0 / count;
        assert!((91.0..109.0).contains(&mean), "{mean}");
        // A geometric number exceeds its mean with probability 1/e.
        let long = lengths.iter().filter(|length| **length > 100).count();
        let long = f64::from(u32::try_from(long).unwrap()) / count;
        assert!((0.32..0.42).contains(&long), "{long}");
    }

    #[test]
    fn clients_go_their_own_ways_and_leave_only_replicas_that_end() {
        let mut connections = Connections::new(Count(1_000_000_000));
        let mut chance = stream(1, "test", 0);
        let before: Vec<u32> = (0..10).collect();
        let after: Vec<u32> = (0..12).filter(|replica| *replica != 4).collect();
        let at = |connections: &mut Connections, living: &[u32], chance: &mut Stream| {
            let picks = (0..500).map(|client| living[connections.pick(client, living, chance)]);
            picks.collect::<Vec<_>>()
        };
        let first = at(&mut connections, &before, &mut chance);
        assert_eq!(at(&mut connections, &before, &mut chance), first);
        let second = at(&mut connections, &after, &mut chance);
        for (was, is) in first.iter().zip(&second) {
            assert!(was == is || *was == 4);
            assert_ne!(*is, 4);
        }
        let of = |replica| first.iter().filter(|it| **it == replica).count();
        assert!((0..10).all(|replica| (20..=85).contains(&of(replica))));
    }

    #[test]
    fn a_moving_favourite_is_another_one_in_each_period_and_the_same_within() {
        let mut favourite = Favourite::moving(Span::from_secs(10), 3);
        let living: Vec<u32> = (0..5).collect();
        let mut at = |tenths: u64| favourite.find(tenths * 100_000_000, &living);
        let periods: Vec<usize> = (0..200).map(|period| at(period * 100)).collect();
        assert!(periods.windows(2).all(|pair| pair[0] != pair[1]));
        let taken: std::collections::BTreeSet<_> = periods.iter().collect();
        assert_eq!(taken.len(), 5);

        let mut favourite = Favourite::moving(Span::from_secs(10), 3);
        let mut at = |tenths: u64| favourite.find(tenths * 100_000_000, &living);
        let within: Vec<usize> = (0..100).map(&mut at).collect();
        assert!(within.iter().all(|position| *position == periods[0]));
        assert_eq!(at(100), periods[1]);
    }

    #[test]
    fn a_favourite_that_ends_is_followed_by_one_that_lives() {
        let mut favourite = Favourite::moving(Span::from_secs(10), 3);
        let living: Vec<u32> = (0..5).collect();
        let first = favourite.find(0, &living);
        let others: Vec<u32> = (0..6).filter(|it| *it != living[first]).collect();
        let second = favourite.find(1, &others);
        assert_eq!(favourite.find(2, &others), second);
        let fewer = [others[second]];
        assert_eq!(favourite.find(3, &fewer), 0);
    }
}

//! Requests from outside that were denied and are tried again.
//!
//! # Invariant
//!
//! A place is in use from the first denial of its request until the request is satisfied or given
//! up, and its number travels with each try in between. Places are used again, so there are never
//! more than requests that were waiting at one time.

use super::client::Sent;
use crate::arrival::Arrival;

/// Requests that are tried again.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    places: Vec<Place>,
    free: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    first_at_ns: u64,
    key: u32,
    cost: u32,
    /// How often it was sent before; 0 if the place is free.
    tries: u16,
    /// Whether this try was sent.
    asking: bool,
}

impl Waiting {
    /// Sends the request of a place once more.
    pub(super) fn send(&mut self, place: u32) -> Sent {
        let place = &mut self.places[place as usize];
        assert!(
            !place.asking && place.tries > 0,
            "a request that waits is sent once"
        );
        place.asking = true;
        Sent {
            key: place.key,
            cost: place.cost,
            tries: place.tries,
        }
    }

    /// An answer comes; says when the request was first sent.
    pub(super) fn hear(&self, request: &Arrival) -> u64 {
        if request.origin.tries == 0 {
            return request.at_ns;
        }
        let place = &self.places[request.origin.client as usize];
        assert!(
            place.asking && place.tries == request.origin.tries,
            "a retry hears one answer"
        );
        place.first_at_ns
    }

    /// A request will be sent again; says which place is its own.
    pub(super) fn keep(&mut self, request: &Arrival, first_at_ns: u64) -> u32 {
        let kept = Place {
            first_at_ns,
            key: request.key,
            cost: request.cost,
            tries: request.origin.tries + 1,
            asking: false,
        };
        let place = match request.origin.tries {
            0 => self.free.pop(),
            _ => Some(request.origin.client),
        };
        if let Some(place) = place {
            self.places[place as usize] = kept;
            return place;
        }
        let place = u32::try_from(self.places.len()).expect("fewer than 2^32 requests wait");
        self.places.push(kept);
        place
    }

    /// A request is satisfied or given up: its place, if it has one, is free.
    pub(super) fn finish(&mut self, request: &Arrival) {
        if request.origin.tries > 0 {
            self.places[request.origin.client as usize].tries = 0;
            self.free.push(request.origin.client);
        }
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }
}

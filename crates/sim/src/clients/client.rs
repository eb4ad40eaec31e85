//! A client of a closed load: it has one request at a time.
//!
//! # Invariant
//!
//! Either its request is on its way and it waits for one answer, or it will send one.

use crate::arrival::Arrival;

/// A client.
#[derive(Clone, Debug, Default)]
pub(super) struct Client {
    /// When its request was first sent.
    first_at_ns: u64,
    /// The request that is tried again, if any.
    key: u32,
    cost: u32,
    /// How often its request was sent before; 0 if the next one is a new one.
    tries: u16,
    asking: bool,
}

/// The request that is sent.
pub(super) struct Sent {
    pub(super) key: u32,
    pub(super) cost: u32,
    pub(super) tries: u16,
}

impl Client {
    /// Sends what it has to send; a new request is about `key` and costs 1.
    pub(super) fn send(&mut self, at_ns: u64, key: u32) -> Sent {
        assert!(!self.asking, "a client has one request at a time");
        self.asking = true;
        if self.tries == 0 {
            self.first_at_ns = at_ns;
            (self.key, self.cost) = (key, 1);
        }
        Sent {
            key: self.key,
            cost: self.cost,
            tries: self.tries,
        }
    }

    /// Its answer comes; says when the request was first sent.
    pub(super) fn hear(&mut self, request: &Arrival) -> u64 {
        assert!(
            self.asking && self.tries == request.origin.tries,
            "a client hears one answer to each try"
        );
        self.asking = false;
        self.first_at_ns
    }

    /// The request will be tried again.
    pub(super) fn keep(&mut self, request: &Arrival) {
        self.tries += 1;
        (self.key, self.cost) = (request.key, request.cost);
    }

    /// The next request will be a new one.
    pub(super) fn finish(&mut self) {
        self.tries = 0;
    }
}

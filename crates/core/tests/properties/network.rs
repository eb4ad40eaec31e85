//! A network that loses, repeats and delays, and keeps no order.

use leasehold_core::{Micros, RecordId, Reply, Request, StoreTime};

use crate::random::Random;

/// Loses, repeats and delays, each as often as this network does.
#[derive(Debug)]
pub(crate) struct Network {
    lost_percent: u64,
    repeated_percent: u64,
    late_requests_percent: u64,
    late_replies_percent: u64,
    latest: u64,
    on_their_way: Vec<(u64, Message)>,
}

impl Network {
    pub(crate) fn any(random: &mut Random) -> Self {
        Self {
            lost_percent: random.one_of(&[0, 5, 30]),
            repeated_percent: random.one_of(&[0, 10, 40]),
            late_requests_percent: random.one_of(&[0, 10, 50]),
            late_replies_percent: random.one_of(&[0, 10, 80]),
            latest: random.one_of(&[100_000, 4_000_000]),
            on_their_way: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, message: &Message, now: u64, random: &mut Random) {
        if random.chance(self.lost_percent) {
            return;
        }
        let copies = 1 + u64::from(random.chance(self.repeated_percent));
        for _ in 0..copies {
            let at = now + self.delay(message, random);
            self.on_their_way.push((at, message.clone()));
        }
    }

    fn delay(&self, message: &Message, random: &mut Random) -> u64 {
        let late_percent = match message {
            Message::Request { .. } => self.late_requests_percent,
            Message::Reply { .. } => self.late_replies_percent,
        };
        let late = random.chance(late_percent);
        random.within(if late { 0..=self.latest } else { 0..=5_000 })
    }

    /// The next message that arrives no later than `until`.
    pub(crate) fn next_until(&mut self, until: u64) -> Option<(u64, Message)> {
        let places = 0..self.on_their_way.len();
        let first = places.min_by_key(|&place| self.on_their_way[place].0)?;
        (self.on_their_way[first].0 <= until).then(|| self.on_their_way.remove(first))
    }

    pub(crate) fn break_connections(&mut self) {
        self.on_their_way.clear();
    }
}

/// A message that is on its way.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Request {
        request: Request,
        known: StoreTime,
        from: RecordId,
        sent: u64,
    },
    Reply {
        reply: Reply,
        since: StoreTime,
        to: RecordId,
        lease: Micros,
        sent: u64,
    },
}

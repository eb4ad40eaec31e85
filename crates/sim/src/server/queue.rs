//! The messages at one server: one that it works on, and those that wait.
//!
//! # Invariant
//!
//! The first of the queue is the one that is worked on, and only while there is one is there an
//! end to its work. Standing still moves that end by as long as it lasts.

use std::collections::VecDeque;

use crate::model::Weight;
use crate::numbers::{float, whole};
use crate::server::{FaultId, StoreConfig};

#[derive(Clone, Debug)]
pub(crate) struct Queue {
    service_ns: u64,
    service_per_call_ns: u64,
    max: usize,
    waiting: VecDeque<Waiting>,
    work: Work,
    slow_downs: Vec<(FaultId, f64)>,
    slowness: f64,
}

/// A message at the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) flight: u64,
    pub(crate) weight: Weight,
    /// Whether it brings the script along.
    pub(crate) reloads: bool,
    pub(crate) arrived_ns: u64,
}

/// A message that is done with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Served {
    pub(crate) message: Waiting,
    pub(crate) waited_ns: u64,
    pub(crate) busy_ns: u64,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    /// There is none.
    None,
    /// On the first message.
    UnderWay { until_ns: u64, busy_ns: u64 },
    /// The server stands still. `left_ns` of the first message's work is to be done, if there
    /// was any.
    Halted { left_ns: Option<u64>, busy_ns: u64 },
}

impl Queue {
    pub(crate) fn new(config: &StoreConfig) -> Self {
        Self {
            service_ns: config.service.0,
            service_per_call_ns: config.service_per_call.0,
            max: usize::try_from(config.queue_max.0).unwrap_or(usize::MAX),
            waiting: VecDeque::new(),
            work: Work::None,
            slow_downs: Vec::new(),
            slowness: 1.0,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= self.max
    }

    #[inline]
    pub(crate) fn push(&mut self, message: Waiting) {
        self.waiting.push_back(message);
        if matches!(self.work, Work::None) {
            self.begin(message.arrived_ns);
        }
    }

    /// When the work on the first message ends.
    #[inline]
    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        match self.work {
            Work::UnderWay { until_ns, .. } => Some(until_ns),
            Work::None | Work::Halted { .. } => None,
        }
    }

    /// The message whose work has ended by now, if there is one; the next is begun then.
    #[inline]
    pub(crate) fn handle_timeout(&mut self, now_ns: u64) -> Option<Served> {
        let Work::UnderWay { until_ns, busy_ns } = self.work else {
            return None;
        };
        if until_ns > now_ns {
            return None;
        }
        let message = self.waiting.pop_front().expect("it was worked on");
        self.work = Work::None;
        self.begin(until_ns);
        Some(Served {
            message,
            // Standing still before or during its own work counts as waiting.
            waited_ns: until_ns.saturating_sub(message.arrived_ns + busy_ns),
            busy_ns,
        })
    }

    /// The server stands still.
    pub(crate) fn halt(&mut self, now_ns: u64) {
        self.work = match self.work {
            Work::None => Work::Halted {
                left_ns: None,
                busy_ns: 0,
            },
            Work::UnderWay { until_ns, busy_ns } => Work::Halted {
                left_ns: Some(until_ns.saturating_sub(now_ns)),
                busy_ns,
            },
            halted @ Work::Halted { .. } => halted,
        };
    }

    /// The server goes on.
    pub(crate) fn go_on(&mut self, now_ns: u64) {
        let Work::Halted { left_ns, busy_ns } = self.work else {
            return;
        };
        self.work = Work::None;
        match left_ns {
            None => self.begin(now_ns),
            Some(left_ns) => {
                let until_ns = now_ns + left_ns;
                self.work = Work::UnderWay { until_ns, busy_ns };
            }
        }
    }

    /// The server forgets what waits: whose messages those are.
    pub(crate) fn drop_all(&mut self) -> Vec<u64> {
        self.work = Work::None;
        self.waiting
            .drain(..)
            .map(|message| message.flight)
            .collect()
    }

    pub(crate) fn slow_down(&mut self, fault: FaultId, times: f64) {
        self.slow_downs.push((fault, times));
        self.slowness = self.slow_downs.iter().map(|(_, times)| times).product();
    }

    /// Does nothing if the server was not slowed down by this: it may be another by now.
    pub(crate) fn speed_up(&mut self, fault: FaultId) {
        self.slow_downs.retain(|(begun, _)| *begun != fault);
        self.slowness = self.slow_downs.iter().map(|(_, times)| times).product();
    }

    /// An empty queue of a server like this one, that is not halted.
    pub(crate) fn of_another(&self) -> Self {
        Self {
            waiting: VecDeque::new(),
            work: Work::None,
            slow_downs: self.slow_downs.clone(),
            ..*self
        }
    }

    /// Turns to the first message, if there is one.
    #[inline]
    fn begin(&mut self, now_ns: u64) {
        if let Some(first) = self.waiting.front() {
            let calls = u64::from(first.weight.calls);
            let busy_ns = self.slowed(self.service_ns + calls * self.service_per_call_ns);
            self.work = Work::UnderWay {
                until_ns: now_ns + busy_ns,
                busy_ns,
            };
        }
    }

    #[inline]
    fn slowed(&self, busy_ns: u64) -> u64 {
        if self.slow_downs.is_empty() {
            return busy_ns;
        }
        whole((float(busy_ns) * self.slowness).round())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        Queue::new(&StoreConfig::default())
    }

    fn message(flight: u64, calls: u32, arrived_ns: u64) -> Waiting {
        Waiting {
            flight,
            weight: Weight {
                calls,
                ..Weight::default()
            },
            reloads: false,
            arrived_ns,
        }
    }

    fn done(queue: &mut Queue, at_ns: u64) -> (u64, u64) {
        assert_eq!(queue.poll_timeout(), Some(at_ns));
        let served = queue.handle_timeout(at_ns).unwrap();
        (served.message.flight, served.waited_ns)
    }

    #[test]
    fn messages_are_served_one_at_a_time_in_order() {
        let mut queue = queue();
        queue.push(message(1, 10, 0));
        queue.push(message(2, 1, 1000));
        assert!(queue.handle_timeout(39_999).is_none(), "not yet");
        assert_eq!(done(&mut queue, 40_000), (1, 0));
        assert_eq!(done(&mut queue, 53_000), (2, 39_000));
        assert_eq!(queue.poll_timeout(), None);
        queue.push(message(3, 0, 100_000));
        assert_eq!(
            done(&mut queue, 110_000),
            (3, 0),
            "an idle server turns to it at once"
        );
    }

    /// M/D/1: the mean wait is `load / (2 * (1 - load))` service times.
    #[test]
    fn waits_are_those_of_queueing_theory() {
        use rand::RngExt;

        let mut queue = queue();
        let mut random = crate::stream::stream(1, "arrivals", 0);
        let (mut now, mut waits) = (0.0_f64, Vec::new());
        let service_ns = 10_000.0;
        let load = 0.7;
        for flight in 0..200_000 {
            now -= (1.0 - random.random::<f64>()).ln() * service_ns / load;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "small"
            )]
            let arrived_ns = now as u64;
            while let Some(served) = queue.handle_timeout(arrived_ns) {
                waits.push(served.waited_ns);
            }
            queue.push(message(flight, 0, arrived_ns));
        }
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let mean = waits.iter().sum::<u64>() as f64 / waits.len() as f64;
        let expected = service_ns * load / (2.0 * (1.0 - load));
        assert!(
            (mean / expected - 1.0).abs() < 0.03,
            "{mean} is not {expected}"
        );
    }

    #[test]
    fn nothing_is_done_while_the_server_stands_still_and_work_goes_on_where_it_stopped() {
        let mut queue = queue();
        queue.push(message(1, 0, 0));
        queue.halt(4000);
        queue.push(message(2, 0, 5000));
        assert_eq!(queue.poll_timeout(), None);
        assert!(queue.handle_timeout(1_000_000).is_none());
        queue.go_on(1_000_000);
        assert_eq!(done(&mut queue, 1_006_000), (1, 996_000));
        assert_eq!(done(&mut queue, 1_016_000), (2, 1_001_000));
    }

    #[test]
    fn an_idle_server_that_stands_still_serves_what_came_meanwhile() {
        let mut queue = queue();
        queue.halt(0);
        queue.push(message(1, 0, 5000));
        queue.go_on(9000);
        assert_eq!(done(&mut queue, 19_000), (1, 4000));
    }

    #[test]
    fn slow_downs_multiply_and_end() {
        let mut queue = queue();
        queue.slow_down(FaultId(0), 10.0);
        queue.slow_down(FaultId(1), 3.0);
        queue.push(message(1, 0, 0));
        assert_eq!(done(&mut queue, 300_000), (1, 0));
        queue.speed_up(FaultId(0));
        queue.push(message(2, 0, 1_000_000));
        assert_eq!(done(&mut queue, 1_030_000), (2, 0));
        queue.speed_up(FaultId(1));
        queue.speed_up(FaultId(2));
        queue.push(message(3, 0, 2_000_000));
        assert_eq!(done(&mut queue, 2_010_000), (3, 0));
    }

    #[test]
    fn what_is_dropped_is_never_served() {
        let mut queue = queue();
        queue.push(message(1, 0, 0));
        queue.push(message(2, 0, 0));
        assert_eq!(queue.drop_all(), [1, 2]);
        assert_eq!(queue.poll_timeout(), None);
        queue.push(message(3, 0, 20_000));
        assert_eq!(done(&mut queue, 30_000), (3, 0));
    }
}

//! Requests: each arrives, is decided or waits, and is answered.

use crate::agenda::Deadlines;
use crate::arrival::{Arrival, Origin};
use crate::model::{Decision, Demand, LimiterModel, Outcome, ReplicaModel, Ticket, Verdict};
use crate::record::{Cover, Happening};
use crate::scenario::{Per, Scenario};
use crate::sequence::Sequence;
use crate::world::{Event, World};
use leasehold_judge::Arrived;

/// Requests that wait, and what all have in common.
pub(crate) struct Requests {
    /// By ticket: the numbers of those who did not have to wait are used again.
    waiting: Sequence<Waiting>,
    budget_ns: u64,
    give_ups: Deadlines<Ticket>,
    per: Vec<Per>,
    /// To which replica a load is pinned, by load.
    pinned: Vec<Option<u32>>,
    /// The demands of the request at hand.
    demands: Vec<Demand>,
}

/// A request that waits.
struct Waiting {
    arrival: Arrival,
    arrived: Arrived,
    replica: u32,
}

/// How a request was decided.
struct Answer {
    allowed: bool,
    decided: &'static str,
    retry_after_ns: Option<u64>,
    taken_ns: Option<u64>,
    cover: Option<Cover>,
    /// Which copy of a message the store executed.
    copy: Option<u64>,
}

impl Answer {
    /// A replica allows a request by tokens that it holds.
    const fn allowed(decided: &'static str, cover: Cover, now_ns: u64) -> Self {
        Self {
            allowed: true,
            decided,
            retry_after_ns: None,
            taken_ns: Some(now_ns),
            cover: Some(cover),
            copy: None,
        }
    }

    const fn denied(decided: &'static str, retry_after_ns: Option<u64>) -> Self {
        Self {
            allowed: false,
            decided,
            retry_after_ns,
            taken_ns: None,
            cover: None,
            copy: None,
        }
    }
}

impl Requests {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            waiting: Sequence::new(),
            budget_ns: scenario.fleet.budget.0,
            give_ups: Deadlines::new(scenario.fleet.budget.0),
            per: scenario.limits.iter().map(|it| it.per).collect(),
            pinned: scenario.loads.iter().map(|it| it.replica).collect(),
            demands: Vec::with_capacity(scenario.limits.len()),
        }
    }

    pub(crate) fn replica_of(&self, ticket: Ticket) -> Option<u32> {
        self.waiting.find(ticket.0).map(|waiting| waiting.replica)
    }

    /// When the next request may have waited for long enough.
    #[inline]
    pub(crate) fn next_give_up(&self) -> Option<u64> {
        self.give_ups.next_at()
    }

    pub(crate) fn pop_give_up(&mut self) -> Option<Ticket> {
        self.give_ups.pop()
    }

    /// Puts down what a request costs under each limit.
    fn demand(&mut self, arrival: &Arrival) {
        self.demands.clear();
        for (limit, per) in (0..).zip(&self.per) {
            self.demands.push(Demand {
                limit,
                key: per.bucket(arrival.key),
                cost: arrival.cost,
            });
        }
    }
}

impl<S: LimiterModel> World<'_, S> {
    /// A request comes, and a replica is chosen for it.
    pub(super) fn arrive(&mut self, arrival: Arrival) {
        let pinned = self.requests.pinned[usize::from(arrival.origin.load)];
        let pinned = pinned.filter(|replica| self.living.contains(replica));
        let replica = match (pinned, self.living.as_slice()) {
            (Some(replica), _) => replica,
            (None, []) => {
                // No replica lives: no limiter decides it, so none is judged by it.
                if self.clients.listens(arrival.origin.load) {
                    self.clients.answered(&arrival, false, None, self.now_ns);
                }
                return;
            }
            (None, living) => {
                let replicas = &self.replicas;
                let busy = |replica: u32| replicas[replica as usize].waiting;
                self.balancer.pick(
                    self.now_ns,
                    arrival.key,
                    self.clients.caller(&arrival),
                    living,
                    &busy,
                )
            }
        };
        self.requests.demand(&arrival);
        let arrived = self
            .judge
            .arrive(self.now_ns, replica, &self.requests.demands);
        if self.replicas[replica as usize].backlog.is_some() {
            self.hold(replica, arrival, arrived);
            return;
        }
        self.ask(replica, arrival, arrived);
    }

    /// A request to a replica that is paused: it waits at the door.
    fn hold(&mut self, replica: u32, arrival: Arrival, arrived: Arrived) {
        let ticket = self.wait(replica, arrival, arrived);
        let held = Event::Held {
            replica,
            arrival,
            ticket,
        };
        let backlog = self.replicas[replica as usize].backlog.as_mut();
        backlog.expect("just seen").push(held);
    }

    /// Its replica goes on, and sees the request now.
    pub(super) fn admit_held(&mut self, replica: u32, arrival: Arrival, ticket: Ticket) {
        if let Some(waiting) = self.requests.waiting.take(ticket.0) {
            self.replicas[replica as usize].waiting -= 1;
            self.requests.demand(&arrival);
            self.ask(replica, arrival, waiting.arrived);
        }
    }

    /// Asks the replica about the demands at hand, which are the request's.
    fn ask(&mut self, index: u32, arrival: Arrival, arrived: Arrived) {
        let ticket = Ticket(self.requests.waiting.next_number());
        let now_ns = self.now_ns;
        let replica = &mut self.replicas[index as usize];
        let now = replica.clock.reading(now_ns);
        // When the world gives up, by the replica's own clock: both must mean the same time.
        let deadline = replica.clock.reading(now_ns + self.requests.budget_ns);
        let Some(model) = &mut replica.model else {
            return;
        };
        let demands = &self.requests.demands;
        let decision = model.acquire(demands, ticket, deadline, now, &mut self.out);
        match decision {
            Decision::Allow => {
                for demand in demands {
                    self.judge.take(now_ns, *demand);
                }
                let answer = Answer::allowed("local", self.cover(ticket), now_ns);
                self.answer(index, &arrival, arrived, &answer);
            }
            Decision::Deny { retry_after_ns } => {
                let answer = Answer::denied("local", retry_after_ns);
                self.answer(index, &arrival, arrived, &answer);
            }
            Decision::Wait => {
                let ticket = self.wait(index, arrival, arrived);
                self.requests.give_ups.set(now_ns, ticket);
            }
        }
        if self.out.stirred || !self.out.messages.is_empty() || !self.out.verdicts.is_empty() {
            self.do_as_told(index);
        }
    }

    fn wait(&mut self, replica: u32, arrival: Arrival, arrived: Arrived) -> Ticket {
        let ticket = Ticket(self.requests.waiting.next_number());
        self.requests.waiting.push(Waiting {
            arrival,
            arrived,
            replica,
        });
        self.replicas[replica as usize].waiting += 1;
        ticket
    }

    /// The answer to a request that waited. Those who were told otherwise meanwhile do not hear.
    pub(super) fn hear_verdict(&mut self, index: u32, verdict: Verdict) {
        let Some(waiting) = self.requests.waiting.take(verdict.ticket.0) else {
            assert!(
                verdict.outcome != Outcome::AllowedHere,
                "tokens were taken for a request that nobody waits for"
            );
            return;
        };
        self.replicas[index as usize].waiting -= 1;
        self.requests.demand(&waiting.arrival);
        let answer = match verdict.outcome {
            Outcome::AllowedHere => {
                for demand in &self.requests.demands {
                    self.judge.take(self.now_ns, *demand);
                }
                Answer::allowed("store", self.cover(verdict.ticket), self.now_ns)
            }
            Outcome::AllowedByStore => {
                let demands = self.requests.demands.iter();
                let tell = |demand: &Demand| self.spent.tell(*demand, &mut self.judge);
                Answer {
                    allowed: true,
                    decided: "store",
                    retry_after_ns: None,
                    taken_ns: demands.map(tell).max(),
                    cover: Some(Cover::Store),
                    copy: Some(self.spent.copy()),
                }
            }
            Outcome::Denied { retry_after_ns } => Answer::denied("store", retry_after_ns),
        };
        self.answer(index, &waiting.arrival, waiting.arrived, &answer);
    }

    /// A request has waited for as long as it may.
    pub(super) fn give_up(&mut self, ticket: Ticket) {
        let Some(waiting) = self.requests.waiting.take(ticket.0) else {
            return;
        };
        self.replicas[waiting.replica as usize].waiting -= 1;
        self.requests.demand(&waiting.arrival);
        let answer = Answer::denied("budget", Some(self.requests.budget_ns));
        self.answer(waiting.replica, &waiting.arrival, waiting.arrived, &answer);
    }

    /// All requests that wait at a replica whose process ends fail.
    pub(super) fn abandon(&mut self, replica: u32) {
        let waiting = self.requests.waiting.iter();
        let tickets: Vec<Ticket> = waiting
            .filter(|(_, waiting)| waiting.replica == replica)
            .map(|(number, _)| Ticket(number))
            .collect();
        for ticket in tickets {
            self.give_up(ticket);
        }
    }

    /// The cover of tokens that a replica has just now taken for a request.
    fn cover(&mut self, ticket: Ticket) -> Cover {
        let by_policy = &mut self.out.by_policy;
        match by_policy.iter().position(|it| *it == ticket) {
            Some(place) => {
                by_policy.swap_remove(place);
                Cover::Policy
            }
            None => Cover::Lease,
        }
    }

    /// A request has its answer.
    fn answer(&mut self, index: u32, arrival: &Arrival, arrived: Arrived, answer: &Answer) {
        let now_ns = self.now_ns;
        let demands = &self.requests.demands;
        self.judge
            .decide(now_ns, arrived, index, demands, answer.allowed);
        self.meters
            .decided(arrival.at_ns, now_ns, answer.decided == "local");
        if let Some(recorder) = &mut self.recorder {
            recorder.record(&Happening::Decision {
                at_ns: now_ns,
                arrived_ns: arrival.at_ns,
                taken_ns: answer.taken_ns,
                replica: index,
                life: self.replicas[index as usize].lives,
                demands,
                allowed: answer.allowed,
                decided: answer.decided,
                cover: answer.cover,
                copy: answer.copy,
                retry_after_ns: answer.retry_after_ns,
                rule_version: self.replicas[index as usize].rule_version,
            });
        }
        let Origin { load, .. } = arrival.origin;
        if self.clients.listens(load) {
            self.clients
                .answered(arrival, answer.allowed, answer.retry_after_ns, now_ns);
        }
    }
}

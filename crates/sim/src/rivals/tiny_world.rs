//! A world for tests: replicas and a store with one constant delay and no faults, so that what a
//! test sees is the limiter's own doing.

use std::collections::BTreeMap;

use leasehold_core::{Instant, Limit, StoreTime};
use rand::RngExt;

use crate::model::{
    Decision, Demand, LimiterModel, Outbox, Outcome, ReplicaModel, StoreModel, Ticket,
};
use crate::stream::stream;

/// An event of a tiny world.
pub(super) struct Setting {
    pub(super) limits: Vec<Limit>,
    pub(super) replicas: usize,
    /// From a replica to the store and back, in nanoseconds.
    pub(super) round_trip_ns: u64,
    /// When which replica meets which request, by time.
    pub(super) arrivals: Vec<(u64, usize, Demand)>,
    /// From when until when no message is answered.
    pub(super) store_away_ns: (u64, u64),
    /// How long a request waits.
    pub(super) patience_ns: u64,
}

/// The result.
#[derive(Default)]
pub(super) struct Run {
    /// When how many tokens of which key were spent, by time.
    pub(super) admissions: Vec<(u64, Demand)>,
    /// When a request was denied, and the advice it got.
    pub(super) denials: Vec<(u64, Option<u64>)>,
    /// Requests that were still waiting when their time ran out.
    pub(super) late: usize,
    pub(super) messages: u64,
    pub(super) calls: u64,
    /// The most tokens that lay unspent at replicas.
    pub(super) held_max: u64,
}

impl Setting {
    /// Poisson arrivals of cost 1 on one key, to replicas drawn evenly; at whole microseconds, as
    /// the store reads its clock.
    pub(super) fn poisson(limit: &str, replicas: usize, per_second: f64, seconds: u64) -> Self {
        let mut rng = stream(7, "arrivals", 0);
        let mut at = 0.0;
        let arrivals = std::iter::from_fn(|| {
            at -= (1.0 - rng.random::<f64>()).ln() / per_second;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "tests"
            )]
            let at_ns = (at * 1e6) as u64 * 1000;
            (at_ns < seconds * SECOND_NS).then(|| (at_ns, rng.random_range(0..replicas), ONE))
        });
        let arrivals = arrivals.collect();
        Self::of(limit, replicas, arrivals)
    }

    /// So many requests within 10 seconds, evenly, in turn to each replica.
    pub(super) fn overload(limit: &str, replicas: usize, requests: u64) -> Self {
        let step = 10 * SECOND_NS / requests;
        let times = (0..requests).map(|number| number * step);
        let arrivals = times.zip((0..replicas).cycle());
        let arrivals = arrivals.map(|(at_ns, replica)| (at_ns, replica, ONE));
        Self::of(limit, replicas, arrivals.collect())
    }

    pub(super) fn of(limit: &str, replicas: usize, arrivals: Vec<(u64, usize, Demand)>) -> Self {
        Self {
            limits: vec![limit.parse().unwrap()],
            replicas,
            round_trip_ns: 1_000_000,
            arrivals,
            store_away_ns: (0, 0),
            patience_ns: 10 * SECOND_NS,
        }
    }

    pub(super) fn all_to_one(mut self) -> Self {
        self.arrivals
            .iter_mut()
            .for_each(|(_, replica, _)| *replica = 0);
        self
    }
}

impl Run {
    /// Tokens spent.
    pub(super) fn admitted(&self) -> u64 {
        self.admitted_within(0, u64::MAX)
    }

    /// Tokens spent from `from_ns` until before `to_ns`.
    pub(super) fn admitted_within(&self, from_ns: u64, to_ns: u64) -> u64 {
        let within = |(at_ns, _): &&(u64, Demand)| (from_ns..to_ns).contains(at_ns);
        let costs = self.admissions.iter().filter(within);
        costs.map(|(_, demand)| u64::from(demand.cost)).sum()
    }

    /// Tokens beyond the limit in the worst window, rounded up: the peak of a queue that
    /// admissions fill and the rate drains, above the burst.
    pub(super) fn overshoot(&self, limit: &Limit) -> u64 {
        let period_ns = u128::from(limit.rate().period.0) * 1000;
        let (mut level, mut drained_at, mut peak) = (0_u128, 0, 0);
        for (at_ns, demand) in &self.admissions {
            let drained = u128::from(at_ns - drained_at) * u128::from(limit.rate().tokens);
            level = level.saturating_sub(drained) + u128::from(demand.cost) * period_ns;
            drained_at = *at_ns;
            peak = level.max(peak);
        }
        let beyond = peak.saturating_sub(u128::from(limit.burst()) * period_ns);
        u64::try_from(beyond.div_ceil(period_ns)).unwrap()
    }
}

enum Event<S: LimiterModel> {
    Arrival(usize),
    Timer {
        replica: usize,
    },
    AtStore {
        replica: usize,
        message: S::Message,
    },
    Answer {
        replica: usize,
        message: S::Message,
        answer: S::Answer,
    },
    Failure {
        replica: usize,
        message: S::Message,
    },
}

struct World<'a, S: LimiterModel> {
    setting: &'a Setting,
    events: BTreeMap<(u64, u64), Event<S>>,
    next_event: u64,
    models: Vec<S::Replica>,
    store: S::Store,
    waiting: BTreeMap<Ticket, (u64, Vec<Demand>)>,
    run: Run,
}

/// Runs the world to its end: until a minute after the last arrival.
pub(super) fn run<S: LimiterModel>(limiter: &S, setting: &Setting) -> Run {
    let replica = |id| limiter.replica(id as u64, 1000 + id as u64, &setting.limits);
    let mut world: World<'_, S> = World {
        setting,
        events: BTreeMap::new(),
        next_event: 0,
        models: (0..setting.replicas).map(replica).collect(),
        store: limiter.store(&setting.limits),
        waiting: BTreeMap::new(),
        run: Run::default(),
    };
    world.run_all();
    world.run
}

impl<S: LimiterModel> World<'_, S> {
    fn run_all(&mut self) {
        let Some(last) = self.setting.arrivals.last() else {
            return;
        };
        let end_ns = last.0 + 60 * SECOND_NS;
        self.at(self.setting.arrivals[0].0, Event::Arrival(0));
        while let Some(((now_ns, _), event)) = self.events.pop_first() {
            if now_ns > end_ns {
                break;
            }
            self.handle(event, now_ns);
            let held = self.models.iter().map(ReplicaModel::held).sum();
            self.run.held_max = self.run.held_max.max(held);
        }
        // Not by order of the clock but of events: verdicts and the store's word come apart.
        self.run.admissions.sort_by_key(|(at_ns, _)| *at_ns);
    }

    fn at(&mut self, at_ns: u64, event: Event<S>) {
        self.next_event += 1;
        self.events.insert((at_ns, self.next_event), event);
    }

    fn handle(&mut self, event: Event<S>, now_ns: u64) {
        let now = Instant::from_nanos(now_ns);
        let mut out = Outbox::default();
        let arrival = matches!(event, Event::Arrival(_));
        let replica = match event {
            Event::Arrival(number) => {
                if let Some(next) = self.setting.arrivals.get(number + 1) {
                    self.at(next.0, Event::Arrival(number + 1));
                }
                self.handle_arrival(number, now_ns, &mut out)
            }
            Event::Timer { replica } => {
                let due = self.models[replica].poll_timeout(now);
                if due.is_none_or(|due| due > now) {
                    return;
                }
                self.models[replica].handle_timeout(now, &mut out);
                replica
            }
            Event::AtStore { replica, message } => return self.execute(replica, message, now_ns),
            Event::Answer {
                replica,
                message,
                answer,
            } => {
                self.models[replica].handle_answer(&message, &answer, now, &mut out);
                replica
            }
            Event::Failure { replica, message } => {
                self.models[replica].handle_failure(&message, now, &mut out);
                replica
            }
        };
        self.take(replica, arrival, out, now_ns);
    }

    fn handle_arrival(
        &mut self,
        number: usize,
        now_ns: u64,
        out: &mut Outbox<S::Message>,
    ) -> usize {
        let (_, replica, demand) = self.setting.arrivals[number];
        let (ticket, deadline_ns) = (Ticket(number as u64), now_ns + self.setting.patience_ns);
        let (deadline, now) = (
            Instant::from_nanos(deadline_ns),
            Instant::from_nanos(now_ns),
        );
        match self.models[replica].acquire(&[demand], ticket, deadline, now, out) {
            Decision::Allow => self.run.admissions.push((now_ns, demand)),
            Decision::Deny { retry_after_ns } => self.run.denials.push((now_ns, retry_after_ns)),
            Decision::Wait => {
                self.waiting.insert(ticket, (deadline_ns, vec![demand]));
            }
        }
        replica
    }

    fn execute(&mut self, replica: usize, message: S::Message, now_ns: u64) {
        let half_ns = self.setting.round_trip_ns / 2;
        let (away_from, away_to) = self.setting.store_away_ns;
        if (away_from..away_to).contains(&now_ns) {
            return self.at(now_ns + half_ns, Event::Failure { replica, message });
        }
        let weight = S::Store::weigh(&message);
        assert!(weight.calls > 0 && weight.bytes_in > 0 && weight.bytes_out > 0);
        self.run.messages += 1;
        self.run.calls += u64::from(weight.calls);
        let admissions = &mut self.run.admissions;
        let mut spent = |demand| admissions.push((now_ns, demand));
        let now = StoreTime::from_micros(STORE_EPOCH_US + now_ns / 1000);
        let answer = self.store.execute(&message, now, &mut spent);
        self.at(
            now_ns + half_ns,
            Event::Answer {
                replica,
                message,
                answer,
            },
        );
    }

    fn take(&mut self, replica: usize, arrival: bool, out: Outbox<S::Message>, now_ns: u64) {
        let half_ns = self.setting.round_trip_ns / 2;
        // A replica that is only asked to decide must say so if its timer has moved.
        let quiet = arrival && !out.stirred && out.messages.is_empty() && out.verdicts.is_empty();
        for message in out.messages {
            self.at(now_ns + half_ns, Event::AtStore { replica, message });
        }
        for verdict in out.verdicts {
            let waited = self.waiting.remove(&verdict.ticket);
            let (deadline_ns, demands) = waited.expect("one verdict for each who waits");
            match verdict.outcome {
                _ if deadline_ns < now_ns => self.run.late += 1,
                Outcome::AllowedByStore => {}
                Outcome::AllowedHere => {
                    let admitted = demands.into_iter().map(|demand| (now_ns, demand));
                    self.run.admissions.extend(admitted);
                }
                Outcome::Denied { retry_after_ns } => {
                    self.run.denials.push((now_ns, retry_after_ns));
                }
            }
        }
        self.models[replica].check();
        if quiet {
            return;
        }
        if let Some(due) = self.models[replica].poll_timeout(Instant::from_nanos(now_ns)) {
            assert!(
                due.as_nanos() > now_ns,
                "a timer that is due was not served"
            );
            self.at(due.as_nanos(), Event::Timer { replica });
        }
    }
}

pub(super) const SECOND_NS: u64 = 1_000_000_000;

/// One token of the only key of the only limit.
pub(super) const ONE: Demand = Demand {
    limit: 0,
    key: 0,
    cost: 1,
};

/// A whole number of days, and not where any replica's clock begins.
const STORE_EPOCH_US: u64 = 20_000 * 86_400_000_000;

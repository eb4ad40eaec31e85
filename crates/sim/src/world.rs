//! The world: requests, replicas, a network and a store in virtual time.
//!
//! # Invariant
//!
//! Events happen in order of time, those of one time in the order in which they were planned, and
//! an arrival after the events of its time. All chance comes from streams of the seed. So a run is
//! a function of its scenario, its model and its seed.
//!
//! The world knows no limiter: it passes requests, messages and the time to whatever
//! [`LimiterModel`] it is given, and tells the [`Judge`] what came of them.

mod calls;
mod changes;
mod meters;
mod requests;
mod summary;

use leasehold_core::{Instant, Limit};

use crate::agenda::Agenda;
use crate::arrival::Arrival;
use crate::balance::Balancer;
use crate::clients::Clients;
use crate::faults::{self, FaultEvent};
use crate::fleet::{self, Clock, FleetEvent};
use crate::load::Load;
use crate::model::{LimiterModel, Outbox, ReplicaModel, Ticket};
use crate::network::Link;
use crate::numbers::float;
use crate::record::Recorder;
use crate::scenario::Scenario;
use crate::server::Store;
use crate::stream::stream;
use crate::world::calls::{Calls, Reply, Spent};
use crate::world::meters::{Meters, Readings};
use crate::world::requests::Requests;
use leasehold_judge::{Findings, Judge};

/// A world that runs.
pub(crate) struct World<'a, S: LimiterModel> {
    model: S,
    scenario: &'a Scenario,
    seed: u64,
    now_ns: u64,
    agenda: Agenda<Event<S>>,
    load: Load,
    clients: Clients,
    balancer: Balancer,
    limits: Vec<Limit>,
    rule_version: u32,
    replicas: Vec<Replica<S>>,
    /// Replicas that take requests, ascending.
    living: Vec<u32>,
    /// By replica, also of those that are yet to start: faults do not wait for them.
    links: Vec<Link>,
    store: Store<S::Store>,
    requests: Requests,
    calls: Calls<S>,
    judge: Judge,
    meters: Meters,
    recorder: Option<&'a mut dyn Recorder>,
    /// Kept between events so that nothing is allocated for each.
    out: Outbox<S::Message>,
    /// Tokens that the store spent for the message whose answer is being handled.
    spent: Spent,
}

/// One replica.
struct Replica<S: LimiterModel> {
    /// `None` once its process has ended.
    model: Option<S::Replica>,
    clock: Clock,
    /// The one timer that is set, and its stamp: another stamp is a timer that was set anew.
    timer: Option<u64>,
    stamp: u64,
    /// While it is paused: what happens to it once it goes on.
    backlog: Option<Vec<Event<S>>>,
    /// Pauses under way.
    pauses: u32,
    /// How often it has started.
    lives: u64,
    /// The limits that it has heard of.
    limits: Vec<Limit>,
    /// Requests that wait here.
    waiting: u32,
    rule_version: u32,
    /// Times the timer rang without time having passed.
    rung_at: (u64, u32),
}

/// An event of the world.
enum Event<S: LimiterModel> {
    Timer {
        replica: u32,
        stamp: u64,
    },
    /// A copy of a message has reached the store.
    AtStore {
        parcel: u64,
    },
    /// The store gets round to messages.
    Turn,
    /// The store's reply has reached the replica.
    Reply {
        call: u64,
        reply: Reply<S>,
    },
    /// A call has not been answered for too long.
    Overdue {
        call: u64,
    },
    /// A request has waited for too long.
    GiveUp {
        ticket: Ticket,
    },
    /// A request that came while its replica was paused.
    Held {
        replica: u32,
        arrival: Arrival,
        ticket: Ticket,
    },
    Fleet(FleetEvent),
    Fault(FaultEvent),
    /// From here on it is measured how soon all is well again.
    Mark,
    /// A slice of time is over.
    Slice,
    /// The warm-up is over.
    Measure,
}

/// The result of a run.
pub(crate) struct Outcome {
    pub(crate) findings: Findings,
    pub(crate) readings: Readings,
    pub(crate) events: u64,
}

impl<'a, S: LimiterModel> World<'a, S> {
    /// A world at time 0.
    ///
    /// # Errors
    ///
    /// What is wrong with the scenario, where only all its parts together tell.
    pub(crate) fn new(
        model: S,
        scenario: &'a Scenario,
        traces: &crate::load::Traces,
        seed: u64,
        recorder: Option<&'a mut dyn Recorder>,
    ) -> Result<Self, String> {
        let limits: Vec<Limit> = scenario.limits.iter().map(|it| it.limit).collect();
        let load = scenario.load(traces, seed)?;
        let plan = fleet::plan(&scenario.fleet, scenario.duration, seed);
        let instances = fleet::instances(&plan);
        let faults = faults::timeline(&scenario.faults, scenario.duration, instances, seed)
            .map_err(|error| error.to_string())?;
        let store = Store::new(&scenario.store, model.store(&limits));
        let link = |replica| Link::new(&scenario.network, seed, replica);
        let mut world = Self {
            links: (0..instances).map(link).collect(),
            judge: Judge::new(&scenario.judged(&load, &plan, &faults)?),
            meters: Meters::new(scenario),
            requests: Requests::new(scenario),
            calls: Calls::new(&scenario.fleet),
            clients: scenario.clients(seed),
            balancer: Balancer::new(&scenario.balance, seed),
            model,
            scenario,
            seed,
            now_ns: 0,
            agenda: Agenda::new(),
            load,
            limits,
            rule_version: 0,
            replicas: Vec::new(),
            living: Vec::new(),
            store,
            recorder,
            out: Outbox::default(),
            spent: Spent::default(),
        };
        world.plan_all(plan, faults);
        Ok(world)
    }

    fn plan_all(&mut self, fleet: Vec<(u64, FleetEvent)>, faults: Vec<(u64, FaultEvent)>) {
        let mut marks = self.scenario.change_points(&self.load);
        for (at_ns, event) in fleet {
            self.agenda.plan(at_ns, Event::Fleet(event));
        }
        for (at_ns, event) in faults {
            if event.ends() {
                marks.push(at_ns);
            }
            self.agenda.plan(at_ns, Event::Fault(event));
        }
        marks.sort_unstable();
        marks.dedup();
        for at_ns in marks {
            self.agenda.plan(at_ns, Event::Mark);
        }
        self.agenda.plan(self.scenario.warmup.0, Event::Measure);
        self.agenda.plan(self.scenario.slice.0, Event::Slice);
    }

    /// Lets all of it happen.
    pub(crate) fn run(mut self) -> Outcome {
        let end_ns = self.scenario.duration.0;
        self.run_until(end_ns, true);
        self.meters.stop(&self.store);
        let models = self.replicas.iter().filter_map(|it| it.model.as_ref());
        self.meters.replica_keys = models.map(|model| model.keys() as u64).max().unwrap_or(0);
        // Whoever still waits gets an answer or gives up.
        let patience = self.scenario.fleet.budget.0 + self.scenario.fleet.call_timeout.0;
        self.run_until(end_ns + patience, false);
        self.check();
        let events = self.agenda.planned();
        let tries = self.tries();
        Outcome {
            readings: self.meters.finish(&self.store, tries),
            findings: self.judge.finish(self.now_ns),
            events,
        }
    }

    /// Tries for each request that callers who listen have wanted.
    fn tries(&self) -> f64 {
        let loads = (0..).zip(&self.scenario.loads).map(|(load, _)| load);
        let tallies = loads.filter_map(|load: u16| self.clients.tally(load));
        let (tries, requests) = tallies.fold((0, 0), |(tries, requests), tally| {
            (tries + tally.tries, requests + tally.requests)
        });
        let mean = float(tries) / float(requests);
        if requests > 0 { mean } else { 1.0 }
    }

    fn run_until(&mut self, end_ns: u64, offered: bool) {
        let never = u64::MAX;
        loop {
            let event_at = self.agenda.next_at().unwrap_or(never);
            let give_up_at = self.requests.next_give_up().unwrap_or(never);
            let overdue_at = self.calls.next_overdue().unwrap_or(never);
            let (load_at, client_at) = if offered {
                let load_at = self.load.next_at().unwrap_or(never);
                (load_at, self.clients.next_at().unwrap_or(never))
            } else {
                (never, never)
            };
            let planned = event_at.min(give_up_at).min(overdue_at);
            let next = planned.min(load_at).min(client_at);
            if next >= end_ns {
                break;
            }
            self.now_ns = next;
            if event_at == next {
                let (_, event) = self.agenda.pop().expect("just seen");
                self.happen(event);
            } else if overdue_at == next {
                let call = self.calls.pop_overdue().expect("just seen");
                self.happen(Event::Overdue { call });
            } else if give_up_at == next {
                let ticket = self.requests.pop_give_up().expect("just seen");
                self.happen(Event::GiveUp { ticket });
            } else if load_at == next {
                let arrival = self.load.pop();
                self.arrive(arrival);
            } else {
                let arrival = self.clients.pop();
                self.arrive(arrival);
            }
        }
        self.now_ns = end_ns;
    }

    fn happen(&mut self, event: Event<S>) {
        let Some(event) = self.unless_paused(event) else {
            return;
        };
        match event {
            Event::Timer { replica, stamp } => self.ring(replica, stamp),
            Event::AtStore { parcel } => self.receive(parcel),
            Event::Turn => self.take_turns(),
            Event::Reply { call, reply } => self.hear(call, reply),
            Event::Overdue { call } => self.fail(call),
            Event::GiveUp { ticket } => self.give_up(ticket),
            Event::Held {
                replica,
                arrival,
                ticket,
            } => self.admit_held(replica, arrival, ticket),
            Event::Fleet(event) => self.change_fleet(event),
            Event::Fault(event) => self.change_world(event),
            Event::Mark => self.judge.mark(self.now_ns),
            Event::Slice => self.slice(),
            Event::Measure => {
                self.meters.start(&mut self.store);
                self.clients.count_anew();
            }
        }
    }

    /// Holds back an event of a replica that is paused.
    fn unless_paused(&mut self, event: Event<S>) -> Option<Event<S>> {
        let replica = match &event {
            Event::Timer { replica, .. } | Event::Held { replica, .. } => Some(*replica),
            Event::Reply { call, .. } | Event::Overdue { call } => self.calls.replica_of(*call),
            Event::GiveUp { ticket } => self.requests.replica_of(*ticket),
            _ => None,
        };
        let backlog = replica.and_then(|it| self.replicas[it as usize].backlog.as_mut());
        match backlog {
            Some(backlog) => {
                backlog.push(event);
                None
            }
            None => Some(event),
        }
    }

    fn slice(&mut self) {
        let models = self.replicas.iter().filter_map(|it| it.model.as_ref());
        let held = models.map(ReplicaModel::held).sum();
        self.meters.slice(self.now_ns, held, &self.store);
        self.agenda
            .plan(self.now_ns + self.scenario.slice.0, Event::Slice);
    }

    fn ring(&mut self, index: u32, stamp: u64) {
        let now_ns = self.now_ns;
        let replica = &mut self.replicas[index as usize];
        if replica.stamp != stamp {
            return;
        }
        replica.timer = None;
        let times = match replica.rung_at {
            (at_ns, times) if at_ns == now_ns => times + 1,
            _ => 0,
        };
        assert!(
            times < RINGS_MAX,
            "the timer rings on and on while time stands still"
        );
        replica.rung_at = (now_ns, times);
        let now = replica.clock.reading(now_ns);
        if let Some(model) = &mut replica.model {
            model.handle_timeout(now, &mut self.out);
            self.do_as_told(index);
        }
    }

    /// Does what a model has said, and sets its timer.
    fn do_as_told(&mut self, replica: u32) {
        let mut out = std::mem::take(&mut self.out);
        for message in out.messages.drain(..) {
            self.send(replica, message);
        }
        // Kept where it is looked up: by the verdicts.
        self.out.by_policy.append(&mut out.by_policy);
        for verdict in out.verdicts.drain(..) {
            self.hear_verdict(replica, verdict);
        }
        self.out.by_policy.clear();
        std::mem::swap(&mut out.by_policy, &mut self.out.by_policy);
        out.stirred = false;
        self.out = out;
        self.set_timer(replica);
    }

    fn set_timer(&mut self, index: u32) {
        let replica = &mut self.replicas[index as usize];
        let now = replica.clock.reading(self.now_ns);
        let Some(model) = &mut replica.model else {
            return;
        };
        let due: Option<Instant> = model.poll_timeout(now);
        let at_ns = due.map(|due| replica.clock.when(due).max(self.now_ns));
        if at_ns == replica.timer {
            return;
        }
        replica.timer = at_ns;
        replica.stamp += 1;
        let stamp = replica.stamp;
        if let Some(at_ns) = at_ns {
            let replica = index;
            self.agenda.plan(at_ns, Event::Timer { replica, stamp });
        }
    }

    /// Holds the books of every replica against each other.
    fn check(&self) {
        for model in self.replicas.iter().filter_map(|it| it.model.as_ref()) {
            model.check();
        }
    }

    /// A name and a seed for a process, which no other shares.
    fn seed_of(&self, replica: u32) -> (u64, u64) {
        let lives = self.replicas[replica as usize].lives;
        let mut random = stream(self.seed, "replica", (lives << 32) | u64::from(replica));
        (
            rand::Rng::next_u64(&mut random),
            rand::Rng::next_u64(&mut random),
        )
    }
}

/// Rings at one instant before it is a fault of ours.
const RINGS_MAX: u32 = 1000;

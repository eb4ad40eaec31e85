//! A few replicas, a network that does what networks do, and one key.

use leasehold_core::{LeaseRequest, Limit, Micros, RecordId, Request, Status, StoreTime, Wait};

use crate::habits::{Event, Faults, Habits};
use crate::network::{Message, Network};
use crate::random::{Random, replaying};
use crate::replica::{LEASE_LONGEST, Replica};
use crate::store::Store;
use crate::virtual_queue::VirtualQueue;

/// Everything there is.
pub(crate) struct Fleet<'a> {
    random: &'a mut Random,
    habits: Habits,
    limit: Limit,
    now: u64,
    store: Store,
    saved: Vec<Store>,
    replicas: Vec<Replica>,
    processes: u64,
    network: Network,
    queue: VirtualQueue,
}

impl<'a> Fleet<'a> {
    /// Replicas that have all met the store once.
    pub(crate) fn new(faults: Faults, random: &'a mut Random) -> Self {
        let limit = any_limit(random);
        let store = Store::new(limit, StoreTime::from_micros(START));
        let mut fleet = Self {
            habits: Habits::any(faults, random),
            limit,
            now: START,
            saved: vec![store.clone()],
            store,
            replicas: Vec::new(),
            processes: 0,
            network: Network::any(random),
            queue: VirtualQueue::new(&limit),
            random,
        };
        for _ in 0..fleet.random.within(1..=6) {
            let replica = fleet.start_replica(StoreTime::from_micros(START));
            fleet.replicas.push(replica);
        }
        fleet.tell(|| format!("{limit}, {:?}, {:?}", fleet.habits, fleet.network));
        fleet
    }

    /// Lets time go by and one more thing happen.
    pub(crate) fn step(&mut self) {
        let until = self.now + self.habits.any_pause(self.random);
        while let Some((at, message)) = self.network.next_until(until) {
            self.now = at;
            self.deliver(&message);
        }
        self.now = until;
        let index = self.random.index(self.replicas.len());
        match self.habits.any_event(self.random) {
            Event::Sync => self.sync(index),
            Event::Spend => self.spend(index),
            Event::Release => self.release(index),
            Event::SpendAtStore => self.spend_at_store(index),
            Event::Crash => self.crash(index),
            Event::Flush => self.flush(),
            Event::Save => self.saved.push(self.store.clone()),
            Event::Restart => self.restart(),
        }
    }

    /// Tokens by which some window is over the promise.
    pub(crate) fn excess(&self) -> u64 {
        self.queue.excess()
    }

    /// Tokens granted by a store that took its buckets for full because it had forgotten them.
    pub(crate) fn granted_in_oblivion(&self) -> u64 {
        self.store.granted_in_oblivion()
    }

    /// Once all leases are over, a single caller can have all there is, exactly when it was told:
    /// nothing has leaked, and nobody waits in vain.
    pub(crate) fn settle(&mut self) {
        let over = StoreTime::from_micros(self.now) + LEASE_LONGEST;
        let known = self
            .store
            .marker()
            .map_or(StoreTime::ZERO, |birth| birth.since);
        let capacity = self.limit.capacity();
        let spend_all = Request::Spend { cost: capacity };
        let spend_all_at = |now| self.store.clone().execute(&spend_all, known, now).0;
        let due = match spend_all_at(over).wait {
            Wait::None => over,
            Wait::For(wait) => {
                let drained = Micros::from_duration(self.limit.time_for(capacity));
                assert!(wait.0 < drained.0 + self.limit.scale().tick);
                let early = over + Micros(wait.0 - 1);
                assert_eq!(spend_all_at(early).status, Status::Denied);
                over + wait
            }
            Wait::Held => panic!("all leases are over, yet something is held"),
        };
        assert_eq!(spend_all_at(due).status, Status::Spent);
        let newcomer = self.start_replica(known);
        let ask_for_all = Request::Lease(LeaseRequest {
            wanted: capacity,
            needed: capacity,
            ..newcomer.ask(&self.limit, self.random)
        });
        let (reply, _) = self.store.execute(&ask_for_all, known, due);
        assert_eq!(reply.granted, capacity);
    }

    fn sync(&mut self, index: usize) {
        let replica = &self.replicas[index];
        let request = replica.ask(&self.limit, self.random);
        let message = Message::Request {
            request: Request::Lease(request),
            known: replica.known,
            from: replica.record,
            sent: replica.clock(self.now),
        };
        self.tell(|| format!("{index} sends {request:?}"));
        self.network.send(&message, self.now, self.random);
    }

    fn spend(&mut self, index: usize) {
        let live = self.replicas[index].live(self.now);
        let tokens = self.random.within(0..=live);
        let tokens = if self.random.chance(50) { live } else { tokens };
        self.replicas[index].spend(tokens);
        self.admit(tokens);
        self.tell(|| format!("{index} spends {tokens} of {live}"));
    }

    fn release(&mut self, index: usize) {
        let tokens = self.replicas[index].release(self.random);
        self.tell(|| format!("{index} releases {tokens}"));
    }

    fn spend_at_store(&mut self, index: usize) {
        let cost = self.random.within(0..=self.limit.burst());
        let replica = &self.replicas[index];
        let message = Message::Request {
            request: Request::Spend { cost },
            known: replica.known,
            from: replica.record,
            sent: replica.clock(self.now),
        };
        self.network.send(&message, self.now, self.random);
    }

    fn crash(&mut self, index: usize) {
        self.replicas[index] = self.start_replica(StoreTime::ZERO);
        self.tell(|| format!("{index} crashes"));
    }

    fn flush(&mut self) {
        self.store.flush();
        self.tell(|| "the store is flushed".into());
    }

    fn restart(&mut self) {
        let saved = self.random.index(self.saved.len());
        let now = StoreTime::from_micros(self.now);
        self.store.restart_from(&self.saved[saved], now);
        self.network.break_connections();
        self.tell(|| format!("the store restarts: {:?}", self.store));
    }

    fn start_replica(&mut self, known: StoreTime) -> Replica {
        self.processes += 1;
        Replica::start(self.processes, known, self.random)
    }

    fn deliver(&mut self, message: &Message) {
        match message {
            Message::Request {
                request,
                known,
                from,
                sent,
            } => self.execute(request, *known, *from, *sent),
            Message::Reply {
                reply,
                since,
                to,
                lease,
                sent,
            } => {
                self.tell(|| format!("{to:?} hears {reply:?}"));
                let mut processes = self.replicas.iter_mut();
                let process = processes.find(|replica| replica.record.replica == to.replica);
                let Some(replica) = process else { return };
                replica.known = replica.known.max(*since);
                if replica.record == *to {
                    replica.hear(reply, *lease, *sent);
                }
            }
        }
    }

    fn execute(&mut self, request: &Request, known: StoreTime, from: RecordId, sent: u64) {
        let now = StoreTime::from_micros(self.now);
        let (reply, birth) = self.store.execute(request, known, now);
        self.tell(|| format!("the store answers {from:?}: {reply:?}"));
        let lease = match *request {
            Request::Spend { cost } => {
                if reply.status == Status::Spent {
                    self.admit(cost);
                }
                Micros(0)
            }
            Request::Charge { tokens } => {
                self.admit(tokens);
                Micros(0)
            }
            Request::Forgive => unreachable!("this fleet resets nothing"),
            Request::Lease(LeaseRequest { lease, .. }) => lease,
        };
        let message = Message::Reply {
            reply,
            since: birth.since,
            to: from,
            lease,
            sent,
        };
        self.network.send(&message, self.now, self.random);
    }

    fn admit(&mut self, tokens: u64) {
        self.queue.admit(tokens, self.now);
    }

    fn tell(&self, event: impl FnOnce() -> String) {
        if replaying() {
            eprintln!("{:>9} us: {}", self.now - START, event());
        }
    }
}

/// Mostly few tokens that come slowly against leases of a second or two, so that any token too
/// many shows; sometimes so many that the clock is read in coarser steps.
fn any_limit(random: &mut Random) -> Limit {
    let tokens = random.within(1..=7);
    let period = random.within(200_000..=10_000_000);
    let burst = random.within(1..=12);
    let overshoot = random.one_of(&[0, 0, 3]);
    let text = if random.chance(5) {
        "999983/day burst 2000000".into()
    } else {
        format!("{tokens}/{period}us burst {burst} overshoot {overshoot}")
    };
    text.parse().expect("a limit of few tokens is exact")
}

/// When schedules begin: any time that is not the store's epoch.
const START: u64 = 1_700_000_000_000_000;

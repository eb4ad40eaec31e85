//! A fleet of replicas that spend advances, a network that does what networks do, and a store of a
//! few keys.

use std::collections::BTreeMap;

use leasehold_core::{
    Birth, Enroll, Ledgers, Limit, Micros, Reply, Request, Seat, Status, StoreTime,
};

use crate::enrolled::{Enrolled, Flaw, Item};
use crate::random::{Random, replaying};
use crate::virtual_queue::VirtualQueue;

/// Troubles beyond messages and replicas.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    /// The store loses its memory, or falls back to what it saved.
    pub(crate) losses: bool,
    /// A rule that all replicas break.
    pub(crate) flaw: Option<Flaw>,
}

/// Everything there is.
pub(crate) struct AdvanceFleet<'a> {
    random: &'a mut Random,
    habits: Habits,
    flaw: Option<Flaw>,
    keys: Vec<Key>,
    now: u64,
    store: Ledgers<usize>,
    saved: Vec<Ledgers<usize>>,
    /// The longest that a lease, or a seat, can run.
    longest: Micros,
    /// The latest birth that anybody has heard of; newcomers are told.
    known: StoreTime,
    replicas: Vec<Enrolled>,
    processes: u64,
    serial: u64,
    on_their_way: BTreeMap<(u64, u64), Message>,
}

struct Key {
    limit: Limit,
    queue: VirtualQueue,
}

/// One batch of a replica.
#[derive(Clone, Debug)]
struct Call {
    serial: u64,
    from: u64,
    known: StoreTime,
    /// The replica's own time.
    sent: u64,
    items: Vec<Item>,
    enroll: Option<Enroll>,
}

#[derive(Clone, Debug)]
enum Message {
    Call(Call),
    Answer(Call, Birth, Vec<Reply>, Option<Seat>),
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A replica spends of an advance.
    Spend,
    /// A replica spends of a lease.
    SpendLease,
    /// A replica sends a batch.
    Call,
    /// Every replica sends a batch.
    Round,
    /// Everybody spends all that is left of an advance, and maybe all that the store has.
    Rush,
    /// Most replicas crash with their advances spent, and others take their place.
    Redeploy,
    /// Replicas come, and wait until they may use parts that others give up.
    Grow,
    Crash,
    Leave,
    Join,
    Flush,
    Save,
    Restart,
}

/// How often what happens in one schedule.
#[derive(Debug)]
struct Habits {
    pauses_longest: [u64; 4],
    jump_percent: u64,
    events: Vec<(Event, u64)>,
    replicas_most: usize,
    lost_percent: u64,
    repeated_percent: u64,
    late_percent: u64,
    latest: u64,
    report_percent: u64,
    ask_percent: u64,
    lease_percent: u64,
    enroll_percent: u64,
}

impl Habits {
    fn any(trouble: Trouble, longest: u64, random: &mut Random) -> Self {
        let lossy = |random: &mut Random| {
            if trouble.losses {
                random.one_of(&[0, 1, 2])
            } else {
                0
            }
        };
        Self {
            pauses_longest: [(); 4].map(|()| {
                random.one_of(&[
                    1_000,
                    20_000,
                    longest / 10,
                    longest / 2,
                    longest,
                    3 * longest,
                ])
            }),
            jump_percent: random.one_of(&[0, 20, 50]),
            events: vec![
                (Event::Spend, random.one_of(&[2, 20, 40])),
                (Event::SpendLease, random.one_of(&[0, 0, 10])),
                (Event::Call, random.one_of(&[10, 40])),
                (Event::Round, random.one_of(&[5, 20])),
                (Event::Rush, random.one_of(&[1, 5, 20])),
                (Event::Redeploy, random.one_of(&[0, 0, 1, 5])),
                (Event::Grow, random.one_of(&[0, 0, 1, 3])),
                (Event::Crash, random.one_of(&[0, 1, 5])),
                (Event::Leave, random.one_of(&[0, 1, 5])),
                (Event::Join, random.one_of(&[1, 5, 10])),
                (Event::Flush, lossy(random)),
                (Event::Save, lossy(random)),
                (Event::Restart, lossy(random)),
            ],
            replicas_most: random.one_of(&[2, 4, 5, 8, 8]),
            lost_percent: random.one_of(&[0, 0, 5, 30]),
            repeated_percent: random.one_of(&[0, 10, 40]),
            late_percent: random.one_of(&[0, 0, 10, 50]),
            latest: random.one_of(&[100_000, longest / 2, 3 * longest]),
            report_percent: random.one_of(&[5, 50, 90]),
            ask_percent: random.one_of(&[0, 0, 5, 40]),
            lease_percent: random.one_of(&[0, 0, 5, 40]),
            enroll_percent: random.one_of(&[30, 90]),
        }
    }

    fn any_event(&self, random: &mut Random) -> Event {
        random.weighted(&self.events)
    }
}

impl<'a> AdvanceFleet<'a> {
    pub(crate) fn new(trouble: Trouble, random: &'a mut Random) -> Self {
        let longest = random.one_of(&[2_000_000, 5_000_000, 20_000_000]);
        let keys = (0..random.one_of(&[1, 1, 2])).map(|_| Key::any(longest, random));
        let mut fleet = Self {
            keys: keys.collect(),
            habits: Habits::any(trouble, longest, random),
            flaw: trouble.flaw,
            now: START,
            store: Ledgers::new(random.one_of(&[1, 1000])),
            saved: Vec::new(),
            longest: Micros(longest),
            known: StoreTime::ZERO,
            replicas: Vec::new(),
            processes: 0,
            serial: 0,
            on_their_way: BTreeMap::new(),
            random,
        };
        let (birth, _) = fleet.execute(StoreTime::ZERO, &[]);
        fleet.known = birth.since;
        fleet.saved.push(fleet.store.clone());
        for _ in 0..fleet.random.within(1..=5) {
            fleet.join();
        }
        fleet.tell(|| {
            let limits: Vec<String> = fleet.keys.iter().map(|it| it.limit.to_string()).collect();
            format!("{limits:?}, {:?}, {:?}", fleet.longest, fleet.habits)
        });
        fleet
    }

    /// Lets time go by and one more thing happen.
    pub(crate) fn step(&mut self) {
        if self.replicas.is_empty() {
            self.join();
        }
        let index = self.random.index(self.replicas.len());
        let until = self.now + self.any_pause(index);
        self.pass(until);
        match self.habits.any_event(self.random) {
            Event::Spend => self.spend(index),
            Event::SpendLease => self.spend_lease(index),
            Event::Call => self.call(index),
            Event::Round => (0..self.replicas.len()).for_each(|index| self.call(index)),
            Event::Rush => self.rush(),
            Event::Redeploy => self.redeploy(),
            Event::Grow => self.grow(),
            Event::Crash => self.crash(index),
            Event::Leave => self.leave(index),
            Event::Join => self.join(),
            Event::Flush => self.flush(),
            Event::Save => self.saved.push(self.store.clone()),
            Event::Restart => self.restart(),
        }
    }

    /// Tokens by which some window of some key is over the promise.
    pub(crate) fn excess(&self) -> u64 {
        self.keys
            .iter()
            .map(|key| key.queue.excess())
            .max()
            .unwrap_or(0)
    }

    /// The fullest that any key ever was, in percent of its capacity.
    pub(crate) fn fullest_percent(&self) -> u64 {
        let peaks = self.keys.iter().map(|key| key.queue.peak_percent());
        peaks.max().unwrap_or(0)
    }

    /// Once nothing goes wrong any more, each replica has its part, all that it spent of it is
    /// restored, and all together have nearly the whole capacity at once.
    pub(crate) fn settle(&mut self) {
        self.on_their_way.clear();
        if self.replicas.is_empty() {
            self.join();
        }
        for replica in &mut self.replicas {
            replica.give_up_all();
        }
        // A loss of memory is noticed; then all that was given before it ends, as do the entries
        // and leases of replicas that are gone.
        self.ask_the_store(0, &Request::Spend { cost: 0 });
        self.now += 4 * self.longest.0;
        // Replicas with too many parts hear of it and confirm it, and others take them. A full
        // store may have room for one key at a time.
        let is_settled = |fleet: &Self| {
            let mut replicas = fleet.replicas.iter();
            replicas.all(|replica| replica.is_settled(fleet.due_to(replica), fleet.now))
        };
        for _ in 0..ROUNDS_MAX {
            self.round_without_faults(DAY, true);
            self.fill();
            if is_settled(self) {
                break;
            }
        }
        assert!(is_settled(self), "{:?}", self.replicas);
        for (key, Key { limit, .. }) in self.keys.iter().enumerate() {
            for replica in &self.replicas {
                let part = limit.advance() * u64::from(self.due_to(replica)) / 5040;
                assert_eq!(
                    replica.left(key, limit, self.now),
                    part,
                    "{limit} {replica:?}"
                );
            }
        }
        for key in 0..self.keys.len() {
            let look = self.ask_the_store(key, &Request::Spend { cost: 0 });
            let Key { limit, .. } = self.keys[key];
            assert_eq!(look.free, limit.capacity() - limit.advance());
        }
    }

    fn due_to(&self, replica: &Enrolled) -> u32 {
        let replicas = u32::try_from(self.replicas.len()).expect("a few replicas");
        (5040 / replicas.max(4)).min(replica.most)
    }

    /// Lets so much time go by that all buckets fill.
    fn fill(&mut self) {
        let filled_in = self.keys.iter().map(Key::filled_in);
        self.now += 3 * filled_in.max().unwrap_or(0);
    }

    fn round_without_faults(&mut self, lease: Micros, reports: bool) {
        for index in 0..self.replicas.len() {
            self.serial += 1;
            let replica = &mut self.replicas[index];
            let call = Call {
                serial: self.serial,
                from: replica.id,
                known: replica.known,
                sent: replica.clock(self.now),
                items: (0..self.keys.len())
                    .filter(|_| reports)
                    .map(|key| replica.report(key))
                    .collect(),
                enroll: replica.enroll(self.serial, lease, self.now),
            };
            let (birth, replies) = self.execute(call.known, &call.items);
            let now = StoreTime::from_micros(self.now);
            let seat = call.enroll.map(|enroll| self.store.enroll(&enroll, now));
            self.hear(&call, birth, &replies, seat);
        }
    }

    fn any_pause(&mut self, index: usize) -> u64 {
        let jump = self.random.chance(self.habits.jump_percent);
        let turn = self.any_turn(index).filter(|turn| jump && *turn > self.now);
        if let Some(turn) = turn {
            return turn - self.now;
        }
        let longest = self.random.one_of(&self.habits.pauses_longest);
        self.random.of_any_size(1..=longest)
    }

    /// A time from which on something is otherwise.
    fn any_turn(&mut self, index: usize) -> Option<u64> {
        let key = self.any_key();
        let limit = &self.keys[key].limit;
        match self.random.within(0..=2) {
            0 => self.replicas[index].quarantine_ends(limit, self.now),
            1 => {
                let entries = self.store.roster().entries();
                let expiries = entries.map(|(_, expiry, _)| expiry.as_micros());
                expiries.filter(|expiry| *expiry > self.now).min()
            }
            _ => self.forgotten_at(key),
        }
    }

    /// When the ledger of the key is forgotten, if there is one.
    fn forgotten_at(&self, key: usize) -> Option<u64> {
        let is_kept = |time| {
            self.store
                .ledger(&key, StoreTime::from_micros(time))
                .is_some()
        };
        if !is_kept(self.now) || is_kept(self.now + FAR) {
            return None;
        }
        let (mut kept, mut forgotten) = (self.now, self.now + FAR);
        while kept + 1 < forgotten {
            let middle = kept.midpoint(forgotten);
            if is_kept(middle) {
                kept = middle;
            } else {
                forgotten = middle;
            }
        }
        Some(forgotten)
    }

    fn any_key(&mut self) -> usize {
        self.random.index(self.keys.len())
    }

    fn pass(&mut self, until: u64) {
        while let Some(first) = self.on_their_way.first_entry() {
            if first.key().0 > until {
                break;
            }
            let ((at, _), message) = first.remove_entry();
            self.now = at;
            match message {
                Message::Call(call) => self.serve(call),
                Message::Answer(call, birth, replies, seat) => {
                    self.hear(&call, birth, &replies, seat);
                }
            }
        }
        self.now = until;
    }

    fn spend(&mut self, index: usize) {
        let key = self.any_key();
        let left = self.replicas[index].left(key, &self.keys[key].limit, self.now);
        let all = self.random.chance(50);
        let tokens = if all {
            left
        } else {
            self.random.within(0..=left)
        };
        self.spend_of_advance(index, key, tokens);
    }

    fn spend_of_advance(&mut self, index: usize, key: usize, tokens: u64) {
        self.replicas[index].spend(key, tokens);
        self.keys[key].queue.admit(tokens, self.now);
        if tokens > 0 {
            let id = self.replicas[index].id;
            self.tell(|| format!("{id} spends {tokens} of the advance of {key}"));
        }
    }

    fn spend_lease(&mut self, index: usize) {
        let key = self.any_key();
        let live = self.replicas[index].leases[key].live(self.now);
        let tokens = if self.random.chance(50) {
            live
        } else {
            self.random.within(0..=live)
        };
        self.replicas[index].leases[key].spend(tokens);
        self.keys[key].queue.admit(tokens, self.now);
        if tokens > 0 {
            let id = self.replicas[index].id;
            self.tell(|| format!("{id} spends {tokens} of its lease of {key}"));
        }
    }

    fn rush(&mut self) {
        let key = self.any_key();
        if self.random.chance(70) {
            self.drain(key);
        }
        self.spend_all_advances(key);
    }

    fn spend_all_advances(&mut self, key: usize) {
        for index in 0..self.replicas.len() {
            let left = self.replicas[index].left(key, &self.keys[key].limit, self.now);
            self.spend_of_advance(index, key, left);
        }
    }

    fn drain(&mut self, key: usize) {
        let look = self.ask_the_store(key, &Request::Spend { cost: 0 });
        if look.free > 0 {
            let reply = self.ask_the_store(key, &Request::Spend { cost: look.free });
            if reply.status != Status::Spent {
                assert_eq!(reply.status, Status::Full, "what is free can be spent");
                return;
            }
            self.keys[key].queue.admit(look.free, self.now);
            self.tell(|| format!("{} are spent at the store of {key}", look.free));
        }
    }

    fn call(&mut self, index: usize) {
        let mut items = Vec::new();
        for key in 0..self.keys.len() {
            let replica = &self.replicas[index];
            let limit = &self.keys[key].limit;
            if self.random.chance(self.habits.report_percent) {
                items.push(replica.report(key));
            }
            if self.random.chance(self.habits.ask_percent) {
                let cost = self.random.within(0..=limit.cost_max());
                items.push(replica.ask(key, Request::Spend { cost }));
            }
            if self.random.chance(self.habits.lease_percent) {
                items.push(replica.ask_for_lease(key, limit, self.now, self.random));
            }
        }
        self.serial += 1;
        let enrolls = self.random.chance(self.habits.enroll_percent);
        let shortest = if self.random.chance(80) {
            self.longest.0
        } else {
            1_000_000
        };
        let lease = Micros(self.random.within(shortest..=self.longest.0));
        let replica = &mut self.replicas[index];
        let enroll = enrolls
            .then(|| replica.enroll(self.serial, lease, self.now))
            .flatten();
        let call = Call {
            serial: self.serial,
            from: replica.id,
            known: replica.known,
            sent: replica.clock(self.now),
            items,
            enroll,
        };
        self.tell(|| format!("{} sends {:?} {:?}", call.from, call.items, call.enroll));
        self.send(call);
    }

    fn send(&mut self, call: Call) {
        if self.random.chance(self.habits.lost_percent) {
            // Whoever sends no further enroll before this can no longer be executed, finds out.
            self.give_up(&call);
            self.tell(|| format!("lost: call {}", call.serial));
            return;
        }
        let in_order = call.enroll.is_some() && self.flaw != Some(Flaw::EnrollsInDisorder);
        if !in_order && self.random.chance(self.habits.repeated_percent) {
            let at = self.arrival();
            self.post(at, Message::Call(call.clone()));
        }
        let at = self.arrival();
        self.post(at, Message::Call(call));
    }

    fn arrival(&mut self) -> u64 {
        let late = self.random.chance(self.habits.late_percent);
        self.now
            + self.random.within(if late {
                0..=self.habits.latest
            } else {
                0..=5_000
            })
    }

    fn post(&mut self, at: u64, message: Message) {
        self.serial += 1;
        self.on_their_way.insert((at, self.serial), message);
    }

    fn serve(&mut self, call: Call) {
        let (birth, replies) = self.execute(call.known, &call.items);
        for (item, reply) in call.items.iter().zip(&replies) {
            if let Request::Spend { cost } = item.request
                && reply.status == Status::Spent
            {
                self.keys[item.key].queue.admit(cost, self.now);
            }
        }
        let now = StoreTime::from_micros(self.now);
        let seat = call.enroll.map(|enroll| self.store.enroll(&enroll, now));
        let given: u32 = self
            .store
            .roster()
            .entries()
            .map(|(_, _, parts)| parts)
            .sum();
        assert!(given <= 5040, "{given} parts are given of 5040");
        self.tell(|| {
            let said: Vec<_> = replies.iter().map(|it| (it.status, it.free)).collect();
            format!(
                "call of {} is executed: {birth:?} {said:?} {seat:?}",
                call.from
            )
        });
        if self.random.chance(self.habits.lost_percent) {
            self.give_up(&call);
            self.tell(|| format!("{} hears no answer", call.from));
            if self.flaw == Some(Flaw::RestoresUnheard) {
                let free = replies.iter().map(|reply| Reply { free: 1, ..*reply });
                let free: Vec<Reply> = free.collect();
                self.hear(&call, birth, &free, None);
            }
            return;
        }
        let at = self.arrival();
        if at > self.now + 5_000 && self.random.chance(50) {
            self.give_up(&call);
        }
        self.post(at, Message::Answer(call, birth, replies, seat));
    }

    fn give_up(&mut self, call: &Call) {
        let mut replicas = self.replicas.iter_mut();
        if let Some(replica) = replicas.find(|replica| replica.id == call.from) {
            replica.give_up(call.serial);
        }
    }

    fn hear(&mut self, call: &Call, birth: Birth, replies: &[Reply], seat: Option<Seat>) {
        self.known = self.known.max(birth.since);
        self.tell(|| format!("{} hears the answer of {birth:?}: {seat:?}", call.from));
        let mut replicas = self.replicas.iter_mut();
        let Some(replica) = replicas.find(|replica| replica.id == call.from) else {
            return;
        };
        replica.known = replica.known.max(birth.since);
        for (item, reply) in call.items.iter().zip(replies) {
            replica.hear(item, reply);
        }
        if let (Some(enroll), Some(seat)) = (call.enroll, seat) {
            replica.sit(&seat, birth.since, call.serial, (call.sent, enroll.lease));
        }
    }

    fn crash(&mut self, index: usize) {
        let replica = self.replicas.swap_remove(index);
        self.tell(|| format!("{} crashes", replica.id));
    }

    /// Each act may be left out, so that each is missed somewhere.
    fn redeploy(&mut self) {
        let key = self.any_key();
        let acts = [(); 6].map(|()| self.random.chance(75));
        if acts[0] && self.random.chance(70) {
            self.drain(key);
            let pause = self.random.within(0..=self.longest.0 * 9 / 10);
            self.pass(self.now + pause);
        }
        if acts[1] {
            self.spend_all_advances(key);
        }
        let replicas = self.replicas.len();
        let spared_percent = self.random.one_of(&[0, 0, 50]);
        for index in (0..replicas).rev() {
            if !self.random.chance(spared_percent) {
                self.crash(index);
            }
        }
        if acts[2] {
            let entries = self.store.roster().entries();
            let last = entries.map(|(_, expiry, _)| expiry.as_micros()).max();
            self.pass(last.unwrap_or(0).max(self.now));
        }
        if acts[3] {
            self.drain(key);
        }
        while self.replicas.len() < replicas {
            self.join();
        }
        if acts[4] {
            self.wait_for_others_parts(key);
        }
        if acts[5] {
            self.drain(key);
            self.spend_all_advances(key);
        }
    }

    fn grow(&mut self) {
        let key = self.any_key();
        if self.random.chance(75) {
            self.spend_all_advances(key);
        }
        for _ in 0..self.random.within(1..=4) {
            self.join();
        }
        self.wait_for_others_parts(key);
        self.drain(key);
        self.spend_all_advances(key);
    }

    /// Lets a busy time go by, until the parts that were others' may be used.
    fn wait_for_others_parts(&mut self, key: usize) {
        let (is_busy, reports) = (self.random.chance(75), self.random.chance(70));
        let pause = (self.longest.0 / 2).min(self.keys[key].filled_in() / 4);
        for _ in 0..self.random.within(2..=12) {
            self.round_without_faults(self.longest, reports);
            let limit = &self.keys[key].limit;
            let mut replicas = self.replicas.iter();
            let end = replicas.find_map(|replica| replica.quarantine_ends(limit, self.now));
            let next = self.now + pause;
            self.pass(end.unwrap_or(next).min(next));
            if is_busy {
                self.drain(key);
            }
            if end.is_none_or(|end| end <= next) {
                return;
            }
        }
    }

    fn leave(&mut self, index: usize) {
        if !self.replicas[index].is_charged() {
            return;
        }
        let mut replica = self.replicas.swap_remove(index);
        self.tell(|| format!("{} leaves", replica.id));
        self.serial += 1;
        let call = Call {
            serial: self.serial,
            from: replica.id,
            known: replica.known,
            sent: 0,
            items: Vec::new(),
            enroll: Some(replica.leave()),
        };
        self.send(call);
    }

    fn join(&mut self) {
        if self.replicas.len() >= self.habits.replicas_most {
            return;
        }
        self.processes += 1;
        let (id, keys) = (self.processes, self.keys.len());
        let replica = Enrolled::start(id, keys, self.known, self.flaw, self.random);
        self.replicas.push(replica);
        self.tell(|| format!("{id} joins"));
    }

    fn flush(&mut self) {
        self.store.forget_all();
        self.tell(|| "the store forgets all".into());
    }

    fn restart(&mut self) {
        let saved = self.random.index(self.saved.len());
        self.store = self.saved[saved].clone();
        self.store.restart(StoreTime::from_micros(self.now));
        self.tell(|| "the store restarts".into());
    }

    /// Asks the store without a network, as one that knows all that anybody does.
    fn ask_the_store(&mut self, key: usize, request: &Request) -> Reply {
        let now = StoreTime::from_micros(self.now);
        let calls = [(key, &self.keys[key].limit, request)];
        let (birth, replies) = self.store.execute(self.known, self.longest, calls, now);
        self.known = birth.since;
        replies[0]
    }

    fn execute(&mut self, known: StoreTime, items: &[Item]) -> (Birth, Vec<Reply>) {
        let now = StoreTime::from_micros(self.now);
        let keys = &self.keys;
        let calls = items.iter();
        let calls = calls.map(|item| (item.key, &keys[item.key].limit, &item.request));
        self.store.execute(known, self.longest, calls, now)
    }

    fn tell(&self, event: impl FnOnce() -> String) {
        if replaying() {
            eprintln!("{:>9} us: {}", self.now - START, event());
        }
    }
}

impl Key {
    fn any(longest: u64, random: &mut Random) -> Self {
        let limit = any_limit(longest, random);
        let queue = VirtualQueue::new(&limit);
        Self { limit, queue }
    }

    /// The time in which an empty bucket fills, or longer.
    fn filled_in(&self) -> u64 {
        let rate = self.limit.rate();
        self.limit.capacity() * rate.period.0 / rate.tokens + 1
    }
}

/// Mostly few tokens that come slowly, so that any token too many shows. The time in which the
/// advance is yielded is about as long as a lease: all that matters takes as long then.
fn any_limit(longest: u64, random: &mut Random) -> Limit {
    let text = match random.within(0..=19) {
        0 => "1/s burst 3 advance 1".into(),
        1 => "100/min burst 100 advance 10".into(),
        2 => "10000/s burst 20000 advance 10%".into(),
        _ => {
            let advance = random.one_of(&[4, 5, 8, 20, 40]);
            let grantable = random.one_of(&[1, 4, 20, 60]);
            let overshoot = random.one_of(&[0, 0, advance, grantable]);
            let burst = advance + grantable - overshoot;
            let tokens = random.one_of(&[1, 3]);
            let yielded_in = longest * random.one_of(&[1, 2, 4, 8, 16]) / 8;
            let period = yielded_in * tokens / advance;
            format!("{tokens}/{period}us burst {burst} overshoot {overshoot} advance {advance}")
        }
    };
    text.parse().expect("a limit of few tokens is exact")
}

/// When schedules begin: any time that is not the store's epoch.
const START: u64 = 1_700_000_000_000_000;

/// The longest lease there is: nothing ends while a fleet settles.
const DAY: Micros = Micros(86_400_000_000);

/// Rounds without faults, a filled bucket apart, after which all must be as it should.
const ROUNDS_MAX: usize = 12;

/// Longer than most ledgers are kept.
const FAR: u64 = 120_000_000;

//! Callers do something with their answers: try again, give up, or ask for the next thing.
//!
//! Two kinds of load have clients. In an open one, requests come from outside, and whoever is
//! denied may try again. In a closed one there are so many clients, each with one request at a
//! time: it sends, waits for the answer, perhaps tries again, and goes on at its pace.
//!
//! # Invariant
//!
//! What is sent is a function of the configuration, the seed and the answers. Each request is
//! waited for by one caller, who has either sent it and not heard, or will send it at one time:
//! so there is no more than one entry for each client, and for each request that was denied and
//! not yet given up. Entries of one time come in the order in which they were made.
//!
//! What comes after the end of the run is never sent.

mod client;
mod config;
mod pace;
mod retry;
mod tally;
mod waiting;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use self::client::Client;
pub use self::config::{AimdConfig, ClientsConfig, GainConfig, Think};
use self::pace::Pace;
pub use self::retry::Retry;
pub use self::tally::Tally;
use self::waiting::Waiting;
use crate::arrival::{Arrival, Origin};
use crate::stream::{Stream, stream};
use crate::units::Span;

/// The callers of all loads that have clients.
#[derive(Debug)]
pub struct Clients {
    groups: Vec<Group>,
    /// The group of each load, or [`NOBODY`].
    by_load: Vec<u16>,
    turns: BinaryHeap<Reverse<Turn>>,
    /// Turns so far.
    made: u64,
    end_ns: u64,
}

/// When a caller sends. Ordered as it is written: by time, then by number.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Turn {
    at_ns: u64,
    number: u64,
    group: u16,
    caller: u32,
}

/// The callers of one load.
#[derive(Debug)]
struct Group {
    load: u16,
    /// The number of its first client among the clients of all loads.
    first_caller: u32,
    keys: u32,
    retry: Retry,
    give_up_ns: u64,
    callers: Callers,
    chance: Stream,
    tally: Tally,
}

#[derive(Debug)]
enum Callers {
    /// Whoever was denied.
    Open(Waiting),
    /// A fixed number, each at its pace.
    Closed { clients: Vec<Client>, pace: Pace },
}

impl Clients {
    /// The callers of some loads: each with its position in the scenario and the number of its
    /// keys. Clients have keys in turn. The configurations have passed their
    /// [`check`](ClientsConfig::check).
    ///
    /// # Panics
    ///
    /// If a load is named twice.
    pub fn new(configs: &[(u16, ClientsConfig, u32)], duration: Span, seed: u64) -> Self {
        let mut clients = Self {
            groups: Vec::with_capacity(configs.len()),
            by_load: Vec::new(),
            turns: BinaryHeap::new(),
            made: 0,
            end_ns: duration.0,
        };
        let mut first_caller = 0;
        for (load, config, keys) in configs {
            let group = Group::new(*load, first_caller, config, *keys, seed);
            first_caller += group.population();
            clients.add(group);
        }
        clients
    }

    fn add(&mut self, mut group: Group) {
        let (load, index) = (usize::from(group.load), self.groups.len());
        if load >= self.by_load.len() {
            self.by_load.resize(load + 1, NOBODY);
        }
        assert_eq!(self.by_load[load], NOBODY, "a load has its clients once");
        let index = u16::try_from(index).expect("there are as many groups as loads");
        self.by_load[load] = index;
        for caller in 0..group.population() {
            let at_ns = group.first_turn(caller);
            self.plan(at_ns, index, caller);
        }
        self.groups.push(group);
    }

    /// Whether answers to requests of a load are to be told. Of all others nothing is kept.
    #[inline]
    pub fn listens(&self, load: u16) -> bool {
        self.group_of(load).is_some()
    }

    /// How many clients a load has; 0 if its requests come from outside.
    pub fn population(&self, load: u16) -> u32 {
        let group = self.group_of(load);
        group.map_or(0, |group| self.groups[group].population())
    }

    /// The owner of a connection, for a balancer: the client that has sent `request`, and otherwise
    /// whoever its key stands for. No two clients of a scenario are the same, and no client is a
    /// key; the same key of two open loads is the same.
    #[inline]
    pub fn caller(&self, request: &Arrival) -> u32 {
        let all = self.groups.last().map_or(0, Group::end_caller);
        match self
            .group_of(request.origin.load)
            .map(|it| &self.groups[it])
        {
            Some(group) if group.population() > 0 => group.first_caller + request.origin.client,
            _ => all.saturating_add(request.key),
        }
    }

    /// When the next request is sent.
    #[inline]
    pub fn next_at(&self) -> Option<u64> {
        self.turns.peek().map(|Reverse(turn)| turn.at_ns)
    }

    /// The next request, which is sent now.
    ///
    /// A first try has the client's key and costs 1; the caller may put in another key or cost,
    /// since a retry repeats what [`answered`](Self::answered) was told.
    ///
    /// # Panics
    ///
    /// If there is none: [`next_at`](Self::next_at) says.
    pub fn pop(&mut self) -> Arrival {
        let Reverse(turn) = self.turns.pop().expect("somebody sends next");
        self.groups[usize::from(turn.group)].send(turn.caller, turn.at_ns)
    }

    /// `request` is answered: to be told once for each request of a load that
    /// [listens](Self::listens), as it was sent. `retry_after_ns` is what the answer advises, and
    /// `None` if no time would help.
    ///
    /// # Panics
    ///
    /// If nobody is waiting for this answer.
    pub fn answered(
        &mut self,
        request: &Arrival,
        allowed: bool,
        retry_after_ns: Option<u64>,
        now_ns: u64,
    ) {
        let index = self
            .group_of(request.origin.load)
            .expect("the load has clients");
        let group = &mut self.groups[index];
        let answer = if allowed {
            Answer::Allowed
        } else {
            Answer::Denied { retry_after_ns }
        };
        if let Some((at_ns, caller)) = group.hear(request, answer, now_ns, self.end_ns) {
            let index = self.by_load[usize::from(request.origin.load)];
            self.plan(at_ns, index, caller);
        }
    }

    /// Counts of a load's requests so far; `None` if it has no clients.
    pub fn tally(&self, load: u16) -> Option<&Tally> {
        self.group_of(load).map(|group| &self.groups[group].tally)
    }

    /// Counts from now on only: the warm-up is over. A request that was begun before and ends
    /// later counts where it ends.
    pub fn count_anew(&mut self) {
        for group in &mut self.groups {
            group.tally = Tally::default();
        }
    }

    fn plan(&mut self, at_ns: u64, group: u16, caller: u32) {
        if at_ns < self.end_ns {
            let number = self.made;
            self.made += 1;
            self.turns.push(Reverse(Turn {
                at_ns,
                number,
                group,
                caller,
            }));
        }
    }

    #[inline]
    fn group_of(&self, load: u16) -> Option<usize> {
        match self.by_load.get(usize::from(load)) {
            None | Some(&NOBODY) => None,
            Some(&group) => Some(usize::from(group)),
        }
    }
}

/// The answer that a caller is told.
#[derive(Clone, Copy)]
enum Answer {
    Allowed,
    Denied { retry_after_ns: Option<u64> },
}

impl Group {
    fn new(load: u16, first_caller: u32, config: &ClientsConfig, keys: u32, seed: u64) -> Self {
        let callers = match (Pace::new(config), config.population()) {
            (Some(pace), population) => Callers::Closed {
                clients: vec![Client::default(); population as usize],
                pace,
            },
            (None, _) => Callers::Open(Waiting::default()),
        };
        Self {
            load,
            first_caller,
            keys: keys.max(1),
            retry: config.retry,
            give_up_ns: config.give_up.map_or(u64::MAX, |budget| budget.0),
            callers,
            chance: stream(seed, "clients", load.into()),
            tally: Tally::default(),
        }
    }

    fn population(&self) -> u32 {
        match &self.callers {
            Callers::Open(_) => 0,
            Callers::Closed { clients, .. } => {
                u32::try_from(clients.len()).expect("clients are numbered in 32 bits")
            }
        }
    }

    fn end_caller(&self) -> u32 {
        self.first_caller + self.population()
    }

    /// When a client sends its first request.
    fn first_turn(&mut self, client: u32) -> u64 {
        match &mut self.callers {
            Callers::Open(_) => unreachable!("an open load has no clients"),
            Callers::Closed { pace, .. } => pace.first(client, &mut self.chance),
        }
    }

    fn send(&mut self, caller: u32, at_ns: u64) -> Arrival {
        let sent = match &mut self.callers {
            Callers::Open(waiting) => waiting.send(caller),
            Callers::Closed { clients, pace } => {
                pace.sent(caller, at_ns);
                clients[caller as usize].send(at_ns, caller % self.keys)
            }
        };
        let origin = Origin {
            load: self.load,
            tries: sent.tries,
            client: caller,
        };
        Arrival {
            at_ns,
            key: sent.key,
            cost: sent.cost,
            origin,
        }
    }

    /// When and by whom something is sent because of this answer.
    fn hear(
        &mut self,
        request: &Arrival,
        answer: Answer,
        now_ns: u64,
        end_ns: u64,
    ) -> Option<(u64, u32)> {
        let first_at_ns = match &mut self.callers {
            Callers::Open(waiting) => waiting.hear(request),
            Callers::Closed { clients, .. } => {
                clients[request.origin.client as usize].hear(request)
            }
        };
        self.tally.count_try(request.origin.tries);
        let retry_at_ns = match answer {
            Answer::Allowed => {
                self.tally.count_success(now_ns - first_at_ns);
                None
            }
            Answer::Denied { retry_after_ns } => {
                let at_ns = self.retry_at(request, retry_after_ns, first_at_ns, now_ns);
                match at_ns {
                    Some(at_ns) if at_ns >= end_ns => self.tally.cut_short += 1,
                    Some(_) => {}
                    None => self.tally.given_up += 1,
                }
                at_ns
            }
        };
        match retry_at_ns {
            Some(at_ns) if at_ns < end_ns => Some((at_ns, self.keep(request, first_at_ns))),
            // Nothing is sent at or after the end, so the caller is done.
            Some(_) => {
                self.finish(request);
                None
            }
            None => self.go_on(request, answer, first_at_ns, now_ns),
        }
    }

    /// When a request that was denied is tried again, if it is.
    fn retry_at(
        &mut self,
        request: &Arrival,
        retry_after_ns: Option<u64>,
        first_at_ns: u64,
        now_ns: u64,
    ) -> Option<u64> {
        let tries = request.origin.tries;
        let wait_ns = self.retry.wait(tries, retry_after_ns, &mut self.chance)?;
        let at_ns = now_ns.saturating_add(wait_ns);
        (at_ns - first_at_ns <= self.give_up_ns).then_some(at_ns)
    }

    /// Keeps a request to be tried again, and says under which caller.
    fn keep(&mut self, request: &Arrival, first_at_ns: u64) -> u32 {
        match &mut self.callers {
            Callers::Open(waiting) => waiting.keep(request, first_at_ns),
            Callers::Closed { clients, .. } => {
                clients[request.origin.client as usize].keep(request);
                request.origin.client
            }
        }
    }

    fn finish(&mut self, request: &Arrival) {
        if let Callers::Open(waiting) = &mut self.callers {
            waiting.finish(request);
        }
    }

    /// A request has been satisfied or given up: the client turns to its next one.
    fn go_on(
        &mut self,
        request: &Arrival,
        answer: Answer,
        first_at_ns: u64,
        now_ns: u64,
    ) -> Option<(u64, u32)> {
        match &mut self.callers {
            Callers::Open(waiting) => {
                waiting.finish(request);
                None
            }
            Callers::Closed { clients, pace } => {
                let client = request.origin.client;
                clients[client as usize].finish();
                let allowed = matches!(answer, Answer::Allowed);
                let at_ns = pace.next(client, first_at_ns, allowed, now_ns, &mut self.chance);
                Some((at_ns, client))
            }
        }
    }
}

/// Stands for "no group".
const NOBODY: u16 = u16::MAX;

#[cfg(test)]
mod tests;

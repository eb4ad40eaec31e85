//! All that replicas talk to: one server, or two of them while the store is split.
//!
//! # Invariant
//!
//! There is one primary. An old one exists only from a split to the join, and only those replicas
//! talk to it that were told to stay.

use std::collections::BTreeMap;
use std::sync::Arc;

use leasehold_core::StoreTime;

use crate::model::{Demand, StoreModel};
use crate::server::account::Account;
use crate::server::machine::Machine;
use crate::server::queue::{Served, Waiting};
use crate::server::{Admission, FaultId, Memory, Silence, StoreChange, StoreConfig};

/// The store.
#[derive(Clone, Debug)]
pub struct Store<K> {
    primary: Machine<K>,
    old: Option<Old<K>>,
    snapshots: BTreeMap<u32, K>,
    account: Account,
}

/// The primary that is none, and who does not know.
#[derive(Clone, Debug)]
struct Old<K> {
    server: Machine<K>,
    stay: Arc<[u32]>,
}

/// Which server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The one that is left when a split ends, and the only one otherwise.
    Primary,
    /// The one that a split has left behind.
    Old,
}

/// A message whose turn has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Turn {
    /// Execute it, now, and send the answer.
    Execute {
        /// Whose it is.
        flight: u64,
        /// Where.
        side: Side,
    },
    /// Nothing was executed: the server has lost the script. The sender hears of it over its link
    /// and sends the message again, with the script.
    ScriptMissing {
        /// Whose it is.
        flight: u64,
    },
}

impl<K: StoreModel> Store<K> {
    /// An empty store that works.
    pub fn new(config: &StoreConfig, model: K) -> Self {
        Self {
            primary: Machine::new(config, model),
            old: None,
            snapshots: BTreeMap::new(),
            account: Account::new(),
        }
    }

    /// A message of `replica` arrives; `flight` is what it is called in [`Turn`]s. `reloads` if it
    /// is sent again because of a [`Turn::ScriptMissing`].
    #[inline]
    pub fn receive(
        &mut self,
        flight: u64,
        replica: u32,
        message: &K::Message,
        reloads: bool,
        now_ns: u64,
    ) -> Admission {
        let server = match &mut self.old {
            Some(old) if old.stay.binary_search(&replica).is_ok() => &mut old.server,
            _ => &mut self.primary,
        };
        let waiting = Waiting {
            flight,
            weight: K::weigh(message),
            reloads,
            arrived_ns: now_ns,
        };
        let admission = server.receive(waiting);
        match admission {
            Admission::Queued => self.account.queued(waiting.weight),
            Admission::Refused => self.account.refused(),
            Admission::Swallowed => self.account.swallowed(),
        }
        admission
    }

    /// When the next turn comes, if nothing else happens before.
    #[inline]
    pub fn poll_timeout(&self) -> Option<u64> {
        let primary = self.primary.queue.poll_timeout();
        match &self.old {
            None => primary,
            Some(old) => [primary, old.server.queue.poll_timeout()]
                .into_iter()
                .flatten()
                .min(),
        }
    }

    /// A message whose turn has come by now, if there is one. To be asked until there is none.
    #[inline]
    pub fn handle_timeout(&mut self, now_ns: u64) -> Option<Turn> {
        if let Some(done) = self.primary.queue.handle_timeout(now_ns) {
            return Some(self.take_turn(Side::Primary, &done));
        }
        let old = self.old.as_mut()?;
        let done = old.server.queue.handle_timeout(now_ns)?;
        Some(self.take_turn(Side::Old, &done))
    }

    fn take_turn(&mut self, side: Side, done: &Served) -> Turn {
        self.account.served(done.waited_ns, done.busy_ns);
        let flight = done.message.flight;
        let server = self.server_mut(side);
        server.has_script |= done.message.reloads;
        if server.has_script {
            Turn::Execute { flight, side }
        } else {
            self.account.script_missing();
            Turn::ScriptMissing { flight }
        }
    }

    /// Executes the message of a [`Turn::Execute`]. Its answer leaves now.
    pub fn execute(
        &mut self,
        side: Side,
        message: &K::Message,
        now_ns: u64,
        spent: &mut dyn FnMut(Demand),
    ) -> K::Answer {
        self.account.executed(K::weigh(message), now_ns);
        let server = self.server_mut(side);
        let now = server.clock.reading(now_ns);
        server.model.execute(message, now, spent)
    }

    /// A fault begins or ends. Returns whose messages were lost while their senders could see the
    /// connection break.
    ///
    /// # Panics
    ///
    /// If a change refers to a snapshot that was not taken, or a split follows a split: a
    /// [`timeline`](crate::faults::timeline) has neither.
    pub fn change(&mut self, change: &StoreChange, now_ns: u64) -> Vec<u64> {
        match change {
            StoreChange::Snapshot(number) => {
                self.snapshots.insert(*number, self.primary.model.clone());
            }
            StoreChange::Stop { fault, silence } => return self.stop(*fault, *silence),
            StoreChange::Load { fault } => self.each(|server| server.load(*fault)),
            StoreChange::Start { fault, memory } => self.start(*fault, *memory, now_ns),
            StoreChange::Flush => self.primary.model.forget(),
            StoreChange::FlushScripts => self.primary.has_script = false,
            StoreChange::Hang(fault) => self.primary.hang(*fault, now_ns),
            StoreChange::Resume(fault) => self.each(|server| server.resume(*fault, now_ns)),
            StoreChange::SlowDown { fault, times } => self.primary.queue.slow_down(*fault, *times),
            StoreChange::SpeedUp(fault) => self.each(|server| server.queue.speed_up(*fault)),
            StoreChange::StepClock(micros) => self.primary.clock.step(*micros),
            StoreChange::Split { snapshot, stay } => self.split(*snapshot, stay, now_ns),
            StoreChange::Join => return self.join(),
        }
        Vec::new()
    }

    /// The work that the store was asked to do since the measurement began.
    pub const fn account(&self) -> &Account {
        &self.account
    }

    /// From now on the account counts.
    pub fn begin_measuring(&mut self) {
        self.account.clear();
    }

    /// The store's memory; while it is split, the new primary's.
    pub const fn model(&self) -> &K {
        &self.primary.model
    }

    /// The store's clock.
    pub fn time(&self, now_ns: u64) -> StoreTime {
        self.primary.clock.reading(now_ns)
    }

    /// The clock of one side.
    pub fn time_of(&mut self, side: Side, now_ns: u64) -> StoreTime {
        self.server_mut(side).clock.reading(now_ns)
    }

    /// Whether the primary answers.
    pub fn is_up(&self) -> bool {
        self.primary.is_up()
    }

    fn server_mut(&mut self, side: Side) -> &mut Machine<K> {
        match side {
            Side::Primary => &mut self.primary,
            Side::Old => &mut self.old.as_mut().expect("it has just had a turn").server,
        }
    }

    fn each(&mut self, change: impl Fn(&mut Machine<K>)) {
        change(&mut self.primary);
        if let Some(old) = &mut self.old {
            change(&mut old.server);
        }
    }

    fn stop(&mut self, fault: FaultId, silence: Silence) -> Vec<u64> {
        let lost = self.primary.stop(fault, silence);
        self.account.lost(lost.len());
        match silence {
            Silence::Refuses => lost,
            Silence::Silent => Vec::new(),
        }
    }

    fn start(&mut self, fault: FaultId, memory: Memory, now_ns: u64) {
        let remembered = match memory {
            Memory::Snapshot(number) => Some(self.remembered(number)),
            Memory::Kept | Memory::Empty => None,
        };
        // It may have become the old primary meanwhile, or be gone.
        let old = self.old.as_mut().map(|old| &mut old.server);
        let mut servers = [Some(&mut self.primary), old].into_iter().flatten();
        let Some(server) = servers.find_map(|server| server.start(fault).then_some(server)) else {
            return;
        };
        match remembered {
            Some(model) => server.model = model,
            None if memory == Memory::Empty => server.model.forget(),
            None => {}
        }
        let now = server.clock.reading(now_ns);
        server.model.restart(now);
    }

    fn split(&mut self, snapshot: u32, stay: &Arc<[u32]>, now_ns: u64) {
        assert!(self.old.is_none(), "a split follows a split");
        let mut model = self.remembered(snapshot);
        model.restart(self.time(now_ns));
        let primary = self.primary.another(model);
        self.old = Some(Old {
            server: std::mem::replace(&mut self.primary, primary),
            stay: Arc::clone(stay),
        });
    }

    fn join(&mut self) -> Vec<u64> {
        let mut old = self.old.take().expect("a split ends once");
        let lost = old.server.queue.drop_all();
        self.account.lost(lost.len());
        lost
    }

    fn remembered(&mut self, number: u32) -> K {
        let model = self.snapshots.remove(&number);
        model.expect("a snapshot is taken before it is used")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Weight;

    /// Remembers the messages that it has executed: for each its number and the time.
    #[derive(Clone, Debug, Default)]
    struct Diary(Vec<(u32, StoreTime)>);

    impl StoreModel for Diary {
        type Message = u32;
        type Answer = usize;

        fn execute(
            &mut self,
            message: &u32,
            now: StoreTime,
            spent: &mut dyn FnMut(Demand),
        ) -> usize {
            self.0.push((*message, now));
            spent(Demand {
                limit: 0,
                key: *message,
                cost: 1,
            });
            self.0.len()
        }

        fn forget(&mut self) {
            self.0.clear();
        }

        fn weigh(_: &u32) -> Weight {
            Weight {
                calls: 2,
                bytes_in: 100,
                bytes_out: 50,
            }
        }

        fn keys(&self) -> usize {
            self.0.len()
        }
    }

    /// A store, and what was sent to it: message `n` is flight `n`.
    struct Bench {
        store: Store<Diary>,
        now_ns: u64,
    }

    impl Bench {
        fn new() -> Self {
            let config = StoreConfig::default();
            Self {
                store: Store::new(&config, Diary::default()),
                now_ns: 0,
            }
        }

        fn send(&mut self, replica: u32, message: u32) -> Admission {
            let flight = u64::from(message);
            self.store
                .receive(flight, replica, &message, false, self.now_ns)
        }

        /// Lets time pass, and executes what is due at the time at which it is.
        fn run_to(&mut self, end_ns: u64) -> Vec<Turn> {
            let mut turns = Vec::new();
            while let Some(at_ns) = self.store.poll_timeout().filter(|at_ns| *at_ns <= end_ns) {
                self.now_ns = at_ns;
                while let Some(turn) = self.store.handle_timeout(at_ns) {
                    turns.push(turn);
                    if let Turn::Execute { flight, side } = turn {
                        let message = u32::try_from(flight).unwrap();
                        self.store.execute(side, &message, at_ns, &mut |_| {});
                    }
                }
            }
            self.now_ns = end_ns;
            turns
        }

        fn change(&mut self, change: &StoreChange) -> Vec<u64> {
            self.store.change(change, self.now_ns)
        }

        fn stop(&mut self) -> Vec<u64> {
            self.stop_by(FIRST, Silence::Refuses)
        }

        fn stop_by(&mut self, fault: FaultId, silence: Silence) -> Vec<u64> {
            self.change(&StoreChange::Stop { fault, silence })
        }

        fn start(&mut self, memory: Memory) {
            self.start_from(FIRST, memory);
        }

        fn start_from(&mut self, fault: FaultId, memory: Memory) {
            self.change(&StoreChange::Start { fault, memory });
        }

        /// Another server takes over, with what this one knows, and replica 0 stays.
        fn split(&mut self) {
            self.change(&StoreChange::Snapshot(9));
            let (snapshot, stay) = (9, Arc::from([0]));
            self.change(&StoreChange::Split { snapshot, stay });
        }

        fn known(&self) -> Vec<u32> {
            let known = self.store.model().0.iter();
            known.map(|(message, _)| *message).collect()
        }

        /// A message comes, and is executed.
        fn settle(&mut self, message: u32) {
            assert_eq!(self.send(0, message), Admission::Queued);
            assert_eq!(self.run_to(self.now_ns + MS).len(), 1);
        }
    }

    const FIRST: FaultId = FaultId(1);
    const SECOND: FaultId = FaultId(2);
    const MS: u64 = 1_000_000;
    /// 10 us, and 3 us for each of two keys.
    const SERVICE: u64 = 16_000;

    #[test]
    fn a_message_takes_effect_when_the_server_is_done_with_it() {
        let mut bench = Bench::new();
        bench.send(0, 1);
        bench.send(1, 2);
        assert_eq!(bench.run_to(SERVICE - 1), []);
        assert_eq!(bench.run_to(2 * SERVICE).len(), 2);
        let times: Vec<u64> = (bench.store.model().0.iter())
            .map(|(_, time)| time.as_micros() % 1_000_000)
            .collect();
        assert_eq!(times, [16, 32]);
        let traffic = bench.store.account().traffic();
        assert_eq!(
            (traffic.messages, traffic.calls, traffic.busy_ns),
            (2, 4, 2 * SERVICE)
        );
        assert_eq!((traffic.bytes_in, traffic.bytes_out), (200, 100));
        assert_eq!(bench.store.account().waits().max(), {
            bench.store.account().waits().highest_equivalent(SERVICE)
        });
    }

    #[test]
    fn what_waited_when_the_server_went_down_is_never_executed() {
        let mut bench = Bench::new();
        bench.send(0, 1);
        bench.send(0, 2);
        assert_eq!(bench.stop(), [1, 2], "their connections break");
        assert!(!bench.store.is_up());
        assert_eq!(bench.send(0, 3), Admission::Refused);
        bench.start(Memory::Kept);
        assert_eq!(bench.run_to(10 * MS), []);
        bench.settle(4);
        assert_eq!(bench.known(), [4]);
        let traffic = bench.store.account().traffic();
        assert_eq!((traffic.refused, traffic.lost), (1, 2));
    }

    #[test]
    fn nobody_hears_from_a_machine_that_is_gone() {
        let mut bench = Bench::new();
        bench.send(0, 1);
        assert_eq!(bench.stop_by(FIRST, Silence::Silent), [0; 0]);
        assert_eq!(bench.send(0, 2), Admission::Swallowed);
        bench.change(&StoreChange::Load { fault: FIRST });
        assert_eq!(bench.send(0, 3), Admission::Refused);
        bench.start(Memory::Kept);
        bench.settle(4);
        let traffic = bench.store.account().traffic();
        assert_eq!(
            (traffic.refused, traffic.swallowed, traffic.lost),
            (1, 1, 1)
        );
    }

    #[test]
    fn a_server_that_is_down_twice_must_start_twice() {
        let mut bench = Bench::new();
        bench.stop_by(SECOND, Silence::Silent);
        bench.stop();
        bench.start(Memory::Kept);
        assert_eq!(bench.send(0, 1), Admission::Swallowed);
        bench.start_from(SECOND, Memory::Kept);
        bench.settle(2);
    }

    #[test]
    fn a_server_comes_up_with_the_memory_that_it_is_given() {
        let mut bench = Bench::new();
        bench.settle(1);
        bench.change(&StoreChange::Snapshot(0));
        bench.settle(2);
        bench.stop();
        bench.start(Memory::Kept);
        assert_eq!(bench.known(), [1, 2]);
        bench.stop();
        assert_eq!(bench.known(), [1, 2], "it forgets when it comes up");
        bench.start(Memory::Snapshot(0));
        assert_eq!(bench.known(), [1]);
        bench.stop();
        bench.start(Memory::Empty);
        assert_eq!(bench.known(), [0; 0]);
        bench.settle(3);
        bench.change(&StoreChange::Flush);
        assert_eq!(bench.known(), [0; 0]);
    }

    #[test]
    fn a_server_that_stands_still_executes_late_what_came_meanwhile() {
        let mut bench = Bench::new();
        bench.change(&StoreChange::Hang(FIRST));
        assert_eq!(bench.send(0, 1), Admission::Queued);
        assert_eq!(bench.run_to(5000 * MS), []);
        bench.change(&StoreChange::Hang(SECOND));
        bench.change(&StoreChange::Resume(FIRST));
        assert_eq!(bench.run_to(6000 * MS), [], "another hang goes on");
        bench.change(&StoreChange::Resume(SECOND));
        assert_eq!(bench.run_to(6001 * MS).len(), 1);
        let (_, time) = bench.store.model().0[0];
        assert_eq!(
            time,
            bench.store.time(6000 * MS + SERVICE),
            "the clock has gone on"
        );
    }

    #[test]
    fn a_server_that_was_killed_while_it_stood_still_works_when_it_is_back() {
        let mut bench = Bench::new();
        bench.change(&StoreChange::Hang(SECOND));
        bench.send(0, 1);
        bench.stop();
        bench.change(&StoreChange::Hang(FaultId(3)));
        bench.start(Memory::Kept);
        assert!(bench.store.is_up());
        bench.settle(2);
        bench.change(&StoreChange::Resume(SECOND));
        assert_eq!(bench.known(), [2]);
    }

    /// The end of a hang that a kill had cut short once ended the next hang too.
    #[test]
    fn the_end_of_one_hang_does_not_end_another() {
        let mut bench = Bench::new();
        bench.change(&StoreChange::Hang(SECOND));
        bench.stop();
        bench.start(Memory::Kept);
        bench.change(&StoreChange::Hang(FaultId(3)));
        bench.change(&StoreChange::Resume(SECOND));
        assert!(!bench.store.is_up());
        bench.change(&StoreChange::Resume(FaultId(3)));
        assert!(bench.store.is_up());
    }

    /// The server that takes over was told to come up, which had never been down: a panic.
    #[test]
    fn a_server_that_was_down_when_another_took_over_comes_back_as_the_old_one() {
        let mut bench = Bench::new();
        bench.settle(1);
        bench.stop();
        bench.split();
        assert!(bench.store.is_up(), "the new primary is");
        assert_eq!(bench.send(0, 2), Admission::Refused);
        assert_eq!(bench.send(1, 3), Admission::Queued);
        bench.change(&StoreChange::Load { fault: FIRST });
        bench.start(Memory::Empty);
        bench.send(0, 4);
        bench.run_to(bench.now_ns + MS);
        assert_eq!(bench.known(), [1, 3], "the new primary forgets nothing");
        let old = &bench.store.old.as_ref().unwrap().server.model.0;
        assert_eq!(old.len(), 1, "what it knew is lost: {old:?}");
    }

    #[test]
    fn the_end_of_what_befell_a_server_that_is_gone_changes_nothing() {
        let mut bench = Bench::new();
        bench.settle(1);
        bench.change(&StoreChange::Snapshot(0));
        bench.settle(2);
        bench.stop();
        bench.split();
        bench.change(&StoreChange::Join);
        bench.change(&StoreChange::Load { fault: FIRST });
        bench.start(Memory::Snapshot(0));
        assert_eq!(bench.known(), [1, 2]);
        assert!(bench.store.snapshots.is_empty(), "nothing is kept for it");
        bench.settle(3);
    }

    #[test]
    fn while_the_store_is_split_what_begins_begins_at_the_new_primary() {
        let mut bench = Bench::new();
        bench.change(&StoreChange::Hang(SECOND));
        bench.split();
        bench.stop();
        assert_eq!(bench.send(1, 1), Admission::Refused);
        assert_eq!(bench.send(0, 2), Admission::Queued);
        bench.change(&StoreChange::Resume(SECOND));
        assert_eq!(bench.run_to(bench.now_ns + MS).len(), 1);
        bench.change(&StoreChange::Join);
        assert_eq!(bench.send(0, 3), Admission::Refused, "and stays with it");
        bench.start(Memory::Kept);
        bench.settle(4);
        assert_eq!(bench.known(), [4]);
    }

    #[test]
    fn a_full_server_refuses() {
        let config = StoreConfig {
            queue_max: crate::units::Count(2),
            ..StoreConfig::default()
        };
        let mut bench = Bench::new();
        bench.store = Store::new(&config, Diary::default());
        let all = [1, 2, 3].map(|message| bench.send(0, message));
        assert_eq!(
            all,
            [Admission::Queued, Admission::Queued, Admission::Refused]
        );
        bench.run_to(SERVICE);
        assert_eq!(bench.send(0, 4), Admission::Queued);
    }

    #[test]
    fn until_somebody_reloads_the_script_nothing_is_executed() {
        let mut bench = Bench::new();
        bench.change(&StoreChange::FlushScripts);
        bench.send(0, 1);
        bench.send(1, 2);
        let missing = |flight| Turn::ScriptMissing { flight };
        assert_eq!(bench.run_to(MS), [missing(1), missing(2)]);
        bench.store.receive(1, 0, &1, true, MS);
        bench.store.receive(3, 2, &3, false, MS);
        bench.run_to(2 * MS);
        assert_eq!(bench.known(), [1, 3]);
        assert_eq!(bench.store.account().traffic().scripts_missing, 2);
    }

    #[test]
    fn while_the_store_is_split_each_side_knows_only_its_own() {
        let mut bench = Bench::new();
        bench.settle(1);
        bench.change(&StoreChange::Snapshot(7));
        bench.settle(2);
        let stay = Arc::from([1, 3]);
        bench.change(&StoreChange::Split { snapshot: 7, stay });
        for replica in 0..4 {
            bench.send(replica, 10 + replica);
        }
        let turns = bench.run_to(bench.now_ns + MS);
        let old = |turn: &&Turn| {
            matches!(
                turn,
                Turn::Execute {
                    side: Side::Old,
                    ..
                }
            )
        };
        assert_eq!((turns.len(), turns.iter().filter(old).count()), (4, 2));
        assert_eq!(
            bench.known(),
            [1, 10, 12],
            "and what came after the snapshot is lost"
        );
        let old = &bench.store.old.as_ref().unwrap().server.model.0;
        let old: Vec<u32> = old.iter().map(|(message, _)| *message).collect();
        assert_eq!(old, [1, 2, 11, 13]);
        bench.send(3, 19);
        assert_eq!(
            bench.run_to(bench.now_ns + MS).len(),
            1,
            "the old side alone"
        );
        bench.send(3, 20);
        assert_eq!(
            bench.change(&StoreChange::Join),
            [20],
            "the old side's connections break"
        );
        bench.send(3, 21);
        bench.run_to(bench.now_ns + MS);
        assert_eq!(bench.known(), [1, 10, 12, 21]);
    }

    #[test]
    fn the_clock_goes_on_over_faults() {
        let mut bench = Bench::new();
        let before = bench.store.time(0).as_micros();
        bench.change(&StoreChange::StepClock(-2_000_000));
        bench.stop();
        bench.start(Memory::Empty);
        assert_eq!(bench.store.time(3000 * MS).as_micros(), before + 1_000_000);
    }
}

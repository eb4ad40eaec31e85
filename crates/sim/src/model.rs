//! The interface between the world and the model of a limiter: replicas that decide, a store that
//! they ask, and the messages between them.
//!
//! The world knows nothing else of what it runs, so leased and rival limiters meet the same
//! arrivals, networks, stores and faults.

use leasehold_core::{Instant, Limit, StoreTime};
pub use leasehold_judge::Demand;

use crate::record::{Executed, Sending};

/// Names a request that waits. Never reused within a run.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ticket(pub u64);

/// A replica's immediate answer to a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Its cost is spent.
    Allow,
    /// Nothing is spent.
    Deny {
        /// Advised time until the next try, in nanoseconds; `None` if no time will help.
        retry_after_ns: Option<u64>,
    },
    /// A [`Verdict`] will name its ticket.
    Wait,
}

/// The answer to a request that waited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// Whose it is.
    pub ticket: Ticket,
    /// The outcome.
    pub outcome: Outcome,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Allowed: the replica has just now spent tokens that it held.
    AllowedHere,
    /// Allowed: the store spent the tokens when it executed the call; see
    /// [`StoreModel::execute`].
    AllowedByStore,
    /// Denied.
    Denied {
        /// As in [`Decision::Deny`].
        retry_after_ns: Option<u64>,
    },
}

/// A replica's effects besides its decision.
#[derive(Debug)]
pub struct Outbox<M> {
    /// Messages to the store, in order. Each is answered once, or fails once.
    pub messages: Vec<M>,
    /// Verdicts for those who wait.
    pub verdicts: Vec<Verdict>,
    /// Requests that are allowed by tokens which the replica has granted itself, because the store
    /// is away and the failure policy says so.
    pub by_policy: Vec<Ticket>,
    /// Whether [`ReplicaModel::acquire`] may have changed what [`ReplicaModel::poll_timeout`] says;
    /// everything else may have changed it in any case.
    pub stirred: bool,
}

impl<M> Default for Outbox<M> {
    fn default() -> Self {
        Self {
            messages: Vec::new(),
            verdicts: Vec::new(),
            by_policy: Vec::new(),
            stirred: false,
        }
    }
}

/// The model of one kind of limiter.
pub trait LimiterModel {
    /// The message that travels to the store.
    type Message: Clone;
    /// The answer that travels back.
    type Answer: Clone;
    /// The limiter of one replica.
    type Replica: ReplicaModel<Message = Self::Message, Answer = Self::Answer>;
    /// The memory of the store, and the script that runs on it.
    type Store: StoreModel<Message = Self::Message, Answer = Self::Answer>;

    /// A replica that starts now. `id` is never used twice, `seed` decides all its chance.
    fn replica(&self, id: u64, seed: u64, limits: &[Limit]) -> Self::Replica;

    /// An empty store.
    fn store(&self, limits: &[Limit]) -> Self::Store;
}

/// The model of one replica's limiter. `now` is always the replica's own clock, which never goes
/// back.
pub trait ReplicaModel {
    /// As in [`LimiterModel`].
    type Message;
    /// As in [`LimiterModel`].
    type Answer;

    /// A request comes: all its demands are to be spent, or none. It waits until `deadline` at
    /// most; the world answers whoever is late, and the replica spends nothing on them.
    fn acquire(
        &mut self,
        demands: &[Demand],
        ticket: Ticket,
        deadline: Instant,
        now: Instant,
        out: &mut Outbox<Self::Message>,
    ) -> Decision;

    /// The store has answered `message`.
    fn handle_answer(
        &mut self,
        message: &Self::Message,
        answer: &Self::Answer,
        now: Instant,
        out: &mut Outbox<Self::Message>,
    );

    /// `message` was not answered in time, or the store could not be reached.
    fn handle_failure(
        &mut self,
        message: &Self::Message,
        now: Instant,
        out: &mut Outbox<Self::Message>,
    );

    /// A time has come that [`poll_timeout`](Self::poll_timeout) named.
    fn handle_timeout(&mut self, now: Instant, out: &mut Outbox<Self::Message>);

    /// When the replica wants to hear of the time, if nothing else happens before.
    fn poll_timeout(&mut self, now: Instant) -> Option<Instant>;

    /// The replica is told to stop: nothing more is asked of it, and it gives back what it holds.
    fn shut_down(&mut self, now: Instant, out: &mut Outbox<Self::Message>);

    /// Whether there is nothing left to give back.
    fn is_drained(&self) -> bool;

    /// From now on these limits apply: the same ones, with other numbers.
    fn set_limits(&mut self, limits: &[Limit], now: Instant);

    /// Tokens that lie here unspent, for all keys together.
    fn held(&self) -> u64 {
        0
    }

    /// Keys of which the replica remembers something.
    fn keys(&self) -> usize {
        0
    }

    /// Panics if the replica's own books do not balance; what these are, its type says.
    fn check(&self) {}
}

/// The model of the store: its memory, and the script that runs on it.
pub trait StoreModel: Clone {
    /// As in [`LimiterModel`].
    type Message;
    /// As in [`LimiterModel`].
    type Answer;

    /// Executes `message` in one step, at the store's time. Each demand that it spends by itself,
    /// not by way of a grant, it says to `spent`: that is when such a request is admitted.
    fn execute(
        &mut self,
        message: &Self::Message,
        now: StoreTime,
        spent: &mut dyn FnMut(Demand),
    ) -> Self::Answer;

    /// Forgets everything, as on a restart without saved data.
    fn forget(&mut self);

    /// The server has started from what it had saved, or a copy of another server's state has been
    /// promoted: whoever connects to it can tell that it is another server.
    fn restart(&mut self, _now: StoreTime) {}

    /// The cost and size of a message, for the store's account.
    fn weigh(message: &Self::Message) -> Weight;

    /// Keys of which something is remembered.
    fn keys(&self) -> usize;

    /// The content of a message, for the log.
    fn sending(_message: &Self::Message) -> Sending {
        Sending::default()
    }

    /// The answer to a message, for the log.
    fn answered(_message: &Self::Message, _answer: &Self::Answer) -> Executed {
        Executed::default()
    }
}

/// The weight of a message at the store.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Weight {
    /// Keys that it is about: calls.
    pub calls: u32,
    /// Bytes on the wire, to the store.
    pub bytes_in: u32,
    /// Bytes on the wire, from the store.
    pub bytes_out: u32,
}

//! Messages: each travels, is executed or lost, and is answered or given up on.

use std::collections::BTreeMap;

use crate::agenda::Deadlines;
use crate::fleet::FleetConfig;
use crate::model::{Demand, LimiterModel, ReplicaModel, StoreModel};
use crate::network::Delivery;
use crate::record::{Executed, Happening, Loss, Sending};
use crate::server::{Admission, Turn};
use crate::world::{Event, World};
use leasehold_judge::{Judge, Spend};

/// Messages under way. Maps in order of sending: small, and their order is everybody's.
pub(crate) struct Calls<S: LimiterModel> {
    /// Calls that a replica waits for.
    awaited: BTreeMap<u64, Call<S::Message>>,
    sent: u64,
    /// Copies of messages that have reached the store, or are on their way back with an answer.
    parcels: BTreeMap<u64, Parcel<S>>,
    posted: u64,
    overdue: Deadlines<u64>,
    /// When the store's next turn is planned.
    turn_at: Option<u64>,
}

struct Call<M> {
    replica: u32,
    message: M,
}

/// One copy of a message.
struct Parcel<S: LimiterModel> {
    call: u64,
    replica: u32,
    message: S::Message,
    /// The time of the way back.
    back_ns: u64,
    /// Whether the script travels with it.
    reloads: bool,
}

/// The reply that comes back.
pub(crate) enum Reply<S: LimiterModel> {
    /// The store has executed the message.
    Answer {
        /// The answer.
        answer: S::Answer,
        /// The tokens that it has spent.
        spent: Spent,
    },
    /// The store has refused it, or the connection broke.
    Broken,
    /// The store has lost the script.
    ScriptMissing,
}

impl<S: LimiterModel> Reply<S> {
    /// Drops a reply that reaches nobody.
    pub(crate) fn abandon(self, judge: &mut Judge) {
        if let Self::Answer { spent, .. } = self {
            spent.abandon(judge);
        }
    }
}

/// Tokens that the store has spent by itself when it executed a message, of which no caller has
/// been told yet.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    at_ns: u64,
    /// Which copy of the message it executed.
    copy: u64,
    demands: Vec<(Demand, Spend)>,
}

impl Spent {
    /// Which copy of a message the store executed.
    pub(crate) const fn copy(&self) -> u64 {
        self.copy
    }

    /// A caller is told of tokens for this demand. Says when they were taken.
    ///
    /// # Panics
    ///
    /// If the store has not spent them.
    pub(crate) fn tell(&mut self, demand: Demand, judge: &mut Judge) -> u64 {
        let place = self.demands.iter().position(|(spent, _)| *spent == demand);
        let place = place.expect("the store has spent what the replica says it has");
        let (_, spend) = self.demands.swap_remove(place);
        judge.settle(spend, true);
        self.at_ns
    }

    /// Drops the calls that nobody will be told of.
    pub(crate) fn abandon(self, judge: &mut Judge) {
        for (_, spend) in self.demands {
            judge.settle(spend, false);
        }
    }
}

impl<S: LimiterModel> Calls<S> {
    pub(crate) fn new(fleet: &FleetConfig) -> Self {
        Self {
            awaited: BTreeMap::new(),
            sent: 0,
            parcels: BTreeMap::new(),
            posted: 0,
            overdue: Deadlines::new(fleet.call_timeout.0),
            turn_at: None,
        }
    }

    pub(crate) fn replica_of(&self, call: u64) -> Option<u32> {
        self.awaited.get(&call).map(|call| call.replica)
    }

    /// When the next message may have gone unanswered for too long.
    #[inline]
    pub(crate) fn next_overdue(&self) -> Option<u64> {
        self.overdue.next_at()
    }

    pub(crate) fn pop_overdue(&mut self) -> Option<u64> {
        self.overdue.pop()
    }

    /// A process has ended: it hears no answers.
    pub(crate) fn forget(&mut self, replica: u32) {
        self.awaited.retain(|_, call| call.replica != replica);
    }
}

impl<S: LimiterModel> World<'_, S> {
    /// A replica sends a message.
    pub(super) fn send(&mut self, replica: u32, message: S::Message) {
        let call = self.calls.sent;
        self.calls.sent += 1;
        if let Some(recorder) = &mut self.recorder {
            let Sending {
                known_birth_us,
                hold_us,
                limits,
                keys,
            } = S::Store::sending(&message);
            recorder.record(&Happening::Sent {
                at_ns: self.now_ns,
                call,
                replica,
                life: self.replicas[replica as usize].lives,
                known_birth_us,
                hold_us,
                limits,
                keys,
            });
        }
        self.post(call, replica, &message, false);
        self.calls.awaited.insert(call, Call { replica, message });
        self.calls.overdue.set(self.now_ns, call);
    }

    /// Gives a message to the network.
    fn post(&mut self, call: u64, replica: u32, message: &S::Message, reloads: bool) {
        let deliveries = self.links[replica as usize].to_store(self.now_ns);
        if deliveries.first.is_none() {
            self.lose(call, None, Loss::ToStore);
        }
        if let (Some(recorder), Some(_)) = (&mut self.recorder, deliveries.copy) {
            recorder.record(&Happening::Doubled {
                at_ns: self.now_ns,
                call,
                copy: self.calls.posted + u64::from(deliveries.first.is_some()),
            });
        }
        for Delivery { at_ns, back_ns } in deliveries {
            let parcel = Parcel {
                call,
                replica,
                message: message.clone(),
                back_ns,
                reloads,
            };
            let number = self.calls.posted;
            self.calls.posted += 1;
            self.calls.parcels.insert(number, parcel);
            self.agenda.plan(at_ns, Event::AtStore { parcel: number });
        }
    }

    /// A message reaches the store.
    pub(super) fn receive(&mut self, number: u64) {
        let parcel = &self.calls.parcels[&number];
        let (replica, reloads) = (parcel.replica, parcel.reloads);
        let admission = self
            .store
            .receive(number, replica, &parcel.message, reloads, self.now_ns);
        match admission {
            Admission::Queued => self.plan_turn(),
            Admission::Refused => self.refuse(number, Loss::Refused),
            Admission::Swallowed => {
                let parcel = self.calls.parcels.remove(&number).expect("just seen");
                self.lose(parcel.call, Some(number), Loss::Swallowed);
            }
        }
    }

    /// A copy of a message is not executed, and its sender can see that.
    pub(super) fn refuse(&mut self, number: u64, why: Loss) {
        let call = self.calls.parcels[&number].call;
        self.lose(call, Some(number), why);
        self.reply(number, Reply::Broken);
    }

    /// A copy of a message, or its answer, is gone.
    fn lose(&mut self, call: u64, copy: Option<u64>, why: Loss) {
        if let Some(recorder) = &mut self.recorder {
            let at_ns = self.now_ns;
            recorder.record(&Happening::Lost {
                at_ns,
                call,
                copy,
                why,
            });
        }
    }

    /// The store may have changed its mind about when it wants to hear of the time.
    pub(super) fn plan_turn(&mut self) {
        let at_ns = self.store.poll_timeout();
        if at_ns != self.calls.turn_at {
            self.calls.turn_at = at_ns;
            if let Some(at_ns) = at_ns {
                self.agenda.plan(at_ns.max(self.now_ns), Event::Turn);
            }
        }
    }

    /// The store gets round to messages.
    pub(super) fn take_turns(&mut self) {
        self.calls.turn_at = None;
        while let Some(turn) = self.store.handle_timeout(self.now_ns) {
            match turn {
                Turn::ScriptMissing { flight } => {
                    let call = self.calls.parcels[&flight].call;
                    self.lose(call, Some(flight), Loss::ScriptMissing);
                    self.reply(flight, Reply::ScriptMissing);
                }
                Turn::Execute { flight, side } => {
                    let parcel = &self.calls.parcels[&flight];
                    let (judge, now_ns) = (&mut self.judge, self.now_ns);
                    let mut spent = Spent {
                        at_ns: now_ns,
                        copy: flight,
                        demands: Vec::new(),
                    };
                    let mut take = |demand| {
                        spent.demands.push((demand, judge.spend(now_ns, demand)));
                    };
                    let answer = self.store.execute(side, &parcel.message, now_ns, &mut take);
                    if let Some(recorder) = &mut self.recorder {
                        let Executed {
                            birth_us,
                            emptied_us,
                            keys,
                        } = S::Store::answered(&parcel.message, &answer);
                        recorder.record(&Happening::Executed {
                            at_ns: now_ns,
                            call: parcel.call,
                            copy: flight,
                            store_us: self.store.time_of(side, now_ns).as_micros(),
                            birth_us,
                            emptied_us,
                            keys,
                        });
                    }
                    self.reply(flight, Reply::Answer { answer, spent });
                }
            }
        }
        self.plan_turn();
    }

    /// Sends the store's reply to one copy of a message back to its sender.
    pub(super) fn reply(&mut self, number: u64, reply: Reply<S>) {
        let parcel = self.calls.parcels.remove(&number);
        let Parcel {
            call,
            replica,
            back_ns,
            ..
        } = parcel.expect("each copy has one answer");
        let link = &mut self.links[replica as usize];
        if let Some(at_ns) = link.to_replica(self.now_ns, back_ns) {
            self.agenda.plan(at_ns, Event::Reply { call, reply });
        } else {
            self.lose(call, Some(number), Loss::ToReplica);
            reply.abandon(&mut self.judge);
        }
    }

    /// Something comes back to a replica. What is late, or comes twice, finds nobody.
    pub(super) fn hear(&mut self, call: u64, reply: Reply<S>) {
        let (answer, spent) = match reply {
            Reply::Broken => return self.fail(call),
            Reply::ScriptMissing => {
                if let Some(Call { replica, message }) = self.calls.awaited.get(&call) {
                    let (replica, message) = (*replica, message.clone());
                    self.post(call, replica, &message, true);
                }
                return;
            }
            Reply::Answer { answer, spent } => (answer, spent),
        };
        let Some(Call { replica, message }) = self.calls.awaited.remove(&call) else {
            self.lose(call, Some(spent.copy), Loss::Unawaited);
            spent.abandon(&mut self.judge);
            return;
        };
        if let Some(recorder) = &mut self.recorder {
            recorder.record(&Happening::Heard {
                at_ns: self.now_ns,
                call,
                copy: spent.copy,
                replica,
            });
        }
        let hearer = &mut self.replicas[replica as usize];
        let now = hearer.clock.reading(self.now_ns);
        if let Some(model) = &mut hearer.model {
            model.handle_answer(&message, &answer, now, &mut self.out);
            self.spent = spent;
            self.do_as_told(replica);
            std::mem::take(&mut self.spent).abandon(&mut self.judge);
        } else {
            spent.abandon(&mut self.judge);
        }
    }

    /// A message was not answered in time, or the store refused it.
    pub(super) fn fail(&mut self, call: u64) {
        let Some(Call { replica, message }) = self.calls.awaited.remove(&call) else {
            return;
        };
        if let Some(recorder) = &mut self.recorder {
            recorder.record(&Happening::Failed {
                at_ns: self.now_ns,
                call,
                replica,
            });
        }
        let sender = &mut self.replicas[replica as usize];
        let now = sender.clock.reading(self.now_ns);
        if let Some(model) = &mut sender.model {
            model.handle_failure(&message, now, &mut self.out);
            self.do_as_told(replica);
        }
    }
}

//! Changes while the world runs: replicas come and go, links and stores fail, limits change.

use crate::faults::{FaultEvent, ReplicaChange};
use crate::fleet::FleetEvent;
use crate::model::{LimiterModel, ReplicaModel};
use crate::record::{Happening, Loss};
use crate::scenario::judged;
use crate::world::{Event, Replica, World};

impl<S: LimiterModel> World<'_, S> {
    pub(super) fn change_fleet(&mut self, event: FleetEvent) {
        self.note(&event.to_string());
        match event {
            FleetEvent::Start { replica } => {
                debug_assert_eq!(replica as usize, self.replicas.len(), "numbered in order");
                let clock = self.scenario.fleet.clock.clock(replica, self.seed);
                self.replicas.push(Replica {
                    model: None,
                    clock,
                    timer: None,
                    stamp: 0,
                    backlog: None,
                    pauses: 0,
                    waiting: 0,
                    lives: 0,
                    limits: self.limits.clone(),
                    rule_version: self.rule_version,
                    rung_at: (0, 0),
                });
                self.start(replica);
            }
            FleetEvent::Drain { replica } => {
                self.living.retain(|it| *it != replica);
                let drained = &mut self.replicas[replica as usize];
                let now = drained.clock.reading(self.now_ns);
                if let Some(model) = &mut drained.model {
                    model.shut_down(now, &mut self.out);
                    self.do_as_told(replica);
                }
            }
            FleetEvent::Gone { replica } | FleetEvent::Kill { replica } => self.stop(replica),
        }
    }

    /// A process starts, and remembers nothing.
    fn start(&mut self, index: u32) {
        let (id, seed) = self.seed_of(index);
        let replica = &mut self.replicas[index as usize];
        replica.model = Some(self.model.replica(id, seed, &replica.limits));
        replica.lives += 1;
        self.links[index as usize].reconnect();
        self.living.push(index);
        self.living.sort_unstable();
        self.set_timer(index);
    }

    /// A process ends. What it held is lost until its leases expire; who waits there hears nothing.
    fn stop(&mut self, index: u32) {
        let replica = &mut self.replicas[index as usize];
        let Some(model) = replica.model.take() else {
            return;
        };
        self.meters.lost += model.held();
        replica.timer = None;
        replica.stamp += 1;
        replica.pauses = 0;
        for event in replica.backlog.take().unwrap_or_default() {
            if let Event::Reply { reply, .. } = event {
                reply.abandon(&mut self.judge);
            }
        }
        self.living.retain(|it| *it != index);
        self.calls.forget(index);
        self.abandon(index);
    }

    pub(super) fn change_world(&mut self, event: FaultEvent) {
        self.note(&event.to_string());
        match event {
            FaultEvent::Network { replicas, change } => {
                for &replica in replicas.iter() {
                    if let Some(link) = self.links.get_mut(replica as usize) {
                        link.change(change);
                    }
                }
            }
            FaultEvent::Store(change) => {
                // Their connections broke.
                for parcel in self.store.change(&change, self.now_ns) {
                    self.refuse(parcel, Loss::Dropped);
                }
                self.plan_turn();
            }
            FaultEvent::Replicas { replicas, change } => {
                for &replica in replicas.iter() {
                    if (replica as usize) < self.replicas.len() {
                        self.change_replica(replica, change);
                    }
                }
            }
            FaultEvent::Limit {
                replicas,
                name,
                limit,
            } => {
                let position = self.scenario.position_of(name.as_deref());
                let to_all = replicas.len() >= self.replicas.len();
                self.rule_version += 1;
                for &index in replicas.iter() {
                    let Some(replica) = self.replicas.get_mut(index as usize) else {
                        continue;
                    };
                    replica.limits[position] = limit;
                    replica.rule_version = self.rule_version;
                    let now = replica.clock.reading(self.now_ns);
                    if let Some(model) = &mut replica.model {
                        model.set_limits(&replica.limits, now);
                    }
                    self.set_timer(index);
                }
                // A rule that reaches only some is a mishap: the old one is still promised.
                if to_all {
                    self.limits[position] = limit;
                    let limit = judged(&limit).expect("checked with the scenario");
                    let position = u32::try_from(position).expect("limits are few");
                    self.judge.change_limit(self.now_ns, position, limit);
                }
            }
        }
    }

    fn change_replica(&mut self, index: u32, change: ReplicaChange) {
        let replica = &mut self.replicas[index as usize];
        match change {
            ReplicaChange::Crash => self.stop(index),
            ReplicaChange::Restart if replica.model.is_none() => self.start(index),
            ReplicaChange::Restart => {}
            ReplicaChange::Pause => {
                replica.pauses += 1;
                replica.backlog.get_or_insert_default();
            }
            ReplicaChange::Resume => {
                replica.pauses = replica.pauses.saturating_sub(1);
                if replica.pauses == 0 {
                    for event in replica.backlog.take().unwrap_or_default() {
                        self.happen(event);
                    }
                }
            }
        }
    }

    fn note(&mut self, what: &str) {
        if let Some(recorder) = &mut self.recorder {
            let at_ns = self.now_ns;
            recorder.record(&Happening::Fault { at_ns, what });
        }
    }
}
